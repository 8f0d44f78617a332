"""From the start of a process to its first picture, with the embedded model and the example workflow.

`python -m bench.start ours|theirs CHECKPOINT` is such a process.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.pairs import Row

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / "workflows" / "text_to_image.json"
EMBEDDED = ROOT / "models" / "embedded" / "checkpoints"
RUNS = 3


def table() -> Iterator[Row]:
    """One line."""
    from bench import fresh, peer

    checkpoint = EMBEDDED / _inputs("4")["ckpt_name"]
    peer.diffusers_folder(checkpoint)
    fresh.process_seconds("bench.start", "theirs", checkpoint)  # whose files are then in the system's cache
    yield from fresh.seconds(
        ("process start to first picture, embedded model",),
        lambda side: [fresh.process_seconds("bench.start", side, checkpoint)],
        RUNS,
    )


def draw_ours() -> None:
    """What `main.py run` does."""
    import main

    with tempfile.TemporaryDirectory() as base:
        if main.main(["run", str(WORKFLOW), "--base-directory", base, "--cpu"]) != 0:
            raise RuntimeError("the workflow failed")


def draw_theirs(checkpoint: Path) -> None:
    """The same in diffusers: the same weights, text, steps and sampler; a PNG in the end."""
    from bench import peer

    with tempfile.TemporaryDirectory() as base:
        sampling, prompts = _inputs("3"), (_inputs("6")["text"], _inputs("7")["text"])
        folder, side = peer.diffusers_folder(checkpoint), _inputs("5")["width"]
        peer.draw(folder, prompts, side, sampling["steps"], sampling["cfg"], Path(base, "picture.png"))


def _inputs(node: str) -> dict[str, Any]:
    """What the workflow gives to one of its nodes."""
    return dict(json.loads(WORKFLOW.read_text())[node]["inputs"])


if __name__ == "__main__":
    draw_ours() if sys.argv[1] == "ours" else draw_theirs(Path(sys.argv[2]))
