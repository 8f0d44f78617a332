"""The programs of the bench run: what they measure is not looked at here."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import fresh
from bench.peers import Process, Rival
from tests.random_checkpoint import random_checkpoint

pytestmark = pytest.mark.acceptance


@pytest.mark.parametrize("side", ["ours", "theirs"])
@pytest.mark.parametrize("module", ["bench.loading", "bench.memory"])
def test_each_side_gives_its_figures(module: str, side: str) -> None:
    size = ["128"] if module == "bench.memory" else []
    assert all(figure > 0 for figure in fresh.figures(module, side, random_checkpoint(), *size))


@pytest.mark.parametrize("form", ["fp32", "fp16", "int8"])
def test_our_networks_answer_beside_their_rivals(form: str, tmp_path: Path) -> None:
    process = Process(Rival("darkroom", form), random_checkpoint(), 128, tmp_path)
    try:
        assert process.ask(f"step {tmp_path / 'step.npy'}") > 0
    finally:
        process.close()
