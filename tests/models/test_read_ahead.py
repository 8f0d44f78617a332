"""Weights are asked for before they are needed: these bytes and no others, and nobody minds if it fails."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from models.checkpoint import Part, Weights, read_header
from tests.tiny_checkpoint import write_tiny_checkpoint

pytestmark = pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system takes no advice")


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    return read_header(write_tiny_checkpoint(tmp_path / "tiny.safetensors"))


def test_the_parts_come_whole(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    advised: list[int] = []
    step = 2**12

    def advise(file: int, start: int, length: int, how: int) -> None:
        assert how == os.POSIX_FADV_WILLNEED and length == step
        advised.extend(range(start, start + length))

    monkeypatch.setattr("models.weights._ADVISED", step)
    monkeypatch.setattr(os, "posix_fadvise", advise)
    parts: tuple[Part, ...] = ("vae", "model")
    for part in parts:
        advised.clear()
        weights.read_ahead(part)
        infos = [info for name, info in weights.tensors.items() if name.startswith(weights.prefixes[part])]
        wanted = {byte for info in infos for byte in range(info.offset or 0, (info.offset or 0) + info.span)}
        assert wanted <= set(advised)
        assert len(set(advised)) < len(wanted) + step * len(infos)


def test_a_file_that_is_gone_is_no_failure(weights: Weights) -> None:
    weights.read_ahead("clip", "model", "vae")
    weights.path.unlink()
    weights.read_ahead("clip", "model", "vae")
