"""`make bench`: every ratio in one run, as a table to paste into RESULTS.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from datetime import date

import psutil
import torch

from bench import again, editor, engine, loading, memory, networks, peers, server, shortcuts, start
from bench.pairs import Row
from models.packed import can_pack
from tests.random_checkpoint import random_checkpoint


def main() -> None:
    """Print the table."""
    print(f"{date.today()}, {_machine()}, torch {torch.__version__}\n")
    print("| engine | nodes | µs a node, run | µs a node, cached |\n|---|---|---|---|")
    for line in engine.table():
        print(f"| {line.shape} | {line.nodes} | {line.run:.1f} | {line.cached:.1f} |", flush=True)
    print(f"\nThe default workflow again, everything at hand: {1e3 * again.seconds():.2f} ms inside the engine.")
    print("\n| against diffusers, same weights | ours | theirs | ratio |\n|---|---|---|---|", flush=True)
    for row in _rows():
        print(f"| {row.name} | {row.ours} | {row.theirs} | {row.ratio:.2f} |", flush=True)
    for missing in _missing():
        print(f"\nNot measured: {missing}.")
    print("\n| server | measured | goal |\n|---|---|---|", flush=True)
    for figure in server.table():
        print(f"| {figure.name} | {figure.measured} | {figure.goal} |", flush=True)
    for table in (editor.main, memory.lean, shortcuts.main, peers.main):
        print()
        table()


def _rows() -> Iterator[Row]:
    checkpoint = random_checkpoint()
    yield from start.table()
    yield from memory.table(checkpoint)
    yield from loading.table(checkpoint)
    yield from networks.table(checkpoint)


def _missing() -> Iterator[str]:
    if not can_pack(torch.bfloat16):
        yield "--bf16-unet, since this processor does not compute in bfloat16"
    yield "anything on a GPU: `python -m bench.gpu` does that"


def _machine() -> str:
    return (
        f"{platform.machine()} {platform.system()}, {os.cpu_count()} cores, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB, {torch.get_num_threads()} threads"
    )


if __name__ == "__main__":
    main()
