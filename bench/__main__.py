"""`make bench`: every ratio in one run, as a table to paste into RESULTS.md."""

from __future__ import annotations

import os
import platform
from datetime import date

import psutil
import torch

from bench import editor, engine, memory, networks, server
from tests.random_checkpoint import random_checkpoint


def main() -> None:
    """Print the table."""
    print(f"{date.today()}, {_machine()}, torch {torch.__version__}\n")
    print("| engine | nodes | µs a node, run | µs a node, cached |\n|---|---|---|---|")
    for line in engine.table():
        print(f"| {line.shape} | {line.nodes} | {line.run:.1f} | {line.cached:.1f} |", flush=True)
    print("\n| against diffusers, same weights | ours | theirs | ratio |\n|---|---|---|---|", flush=True)
    checkpoint = random_checkpoint()
    for table in (memory.table, networks.table):  # a child's peak counts from its parent's size: while we are small
        for row in table(checkpoint):
            print(f"| {row.name} | {row.ours} | {row.theirs} | {row.ratio:.2f} |", flush=True)
    print("\n| server | measured | goal |\n|---|---|---|", flush=True)
    for figure in server.table():
        print(f"| {figure.name} | {figure.measured} | {figure.goal} |", flush=True)
    if reason := editor.missing():
        print(f"\nTHE EDITOR IS NOT MEASURED: {reason}")
        return
    print(
        "\n| the editor, 95th percentile of frames | ours | official | ratio | goal |\n|---|---|---|---|---|",
        flush=True,
    )
    for measured in editor.table():
        print(measured.text(), flush=True)


def _machine() -> str:
    return (
        f"{platform.machine()} {platform.system()}, {os.cpu_count()} cores, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB, {torch.get_num_threads()} threads"
    )


if __name__ == "__main__":
    main()
