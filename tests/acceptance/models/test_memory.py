"""Memory over many runs, over many checkpoints, and for large pictures."""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from graph.cache import Cache
from graph.calls import Relief
from graph.context import Run
from graph.document import parse
from graph.execute import Executor
from graph.files import Folders
from models.activations import decode_bytes
from models.checkpoint import Weights, load_part, read_header
from models.config import VaeConfig
from models.packed import can_pack
from models.precision import Precision
from models.residency import Residency, is_out_of_memory
from models.types import Model, TextTower, Vae, nbytes
from nodes.registry import builtin
from nodes.services import Services
from tests.random_checkpoint import random_checkpoint
from tests.tiny_checkpoint import write_tiny_checkpoint

pytestmark = [pytest.mark.acceptance, pytest.mark.usefixtures("one_thread")]

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[3]
EMBEDDED = ROOT / "models" / "embedded" / "checkpoints" / "darkroom-world-256.safetensors"
WARM_UP, EVERY = 50, 5
MIB = 2**20


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which parts were read, each time."""
    seen: list[str] = []

    def counted(weights: Weights, part: Any, **how: Any) -> nn.Module:
        seen.append(part)
        return load_part(weights, part, **how)

    monkeypatch.setattr("models.residency.load_part", counted)
    return seen


def resident() -> int:
    """Bytes of this process that are in memory."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)


@contextmanager
def executor(base: Path, budget: int) -> Iterator[Executor[Services]]:
    """The engine as `main.py` puts it together, with room for a few results only."""
    folders = Folders.standard(base)
    residency = Residency(CPU, Precision(), budget, can_pack(), folders.identity.matches)
    relief = Relief(is_out_of_memory, residency.clear)
    with Executor(
        Services(residency, folders),
        builtin(),
        folders,
        Cache(MIB, nbytes),
        scope=torch.inference_mode,
        relief=relief,
    ) as opened:
        yield opened


def workflow(run: int, checkpoint: str) -> str:
    """A picture that no run before has made; every eighth is larger, every third prompt is a long one."""
    document = json.loads((ROOT / "workflows" / "text_to_image.json").read_text())
    side = 128 if run % 8 == 0 else 64
    document["4"]["inputs"]["ckpt_name"] = checkpoint
    document["5"]["inputs"] |= {"width": side, "height": side}
    document["6"]["inputs"]["text"] = f"picture {run} of a (red:1.2) boat" + " and a blue house" * (run % 3 * 20)
    document["3"]["inputs"] |= {"seed": run, "steps": 2}
    return json.dumps(document)


@pytest.mark.parametrize(("fits", "runs"), [(True, 500), (False, 200)], ids=["all fit", "each drives the other out"])
def test_resident_memory_is_flat_over_many_runs(tmp_path: Path, fits: bool, runs: int, loads: list[str]) -> None:
    folder = tmp_path / "models/checkpoints"
    folder.mkdir(parents=True)
    source = EMBEDDED if EMBEDDED.exists() else write_tiny_checkpoint(tmp_path / "tiny.safetensors")
    for name in "ab":  # the same weights, but not the same file
        save_file(load_file(source), folder / f"{name}.safetensors", {"name": name})
    in_use = 2 * source.stat().st_size  # in float32
    seen = []
    with executor(tmp_path, 2**30 if fits else in_use * 3 // 2) as engine:
        for run in range(runs):
            engine.execute(Run(str(run), parse(workflow(run, "ab"[run // 2 % 2] + ".safetensors"))))
            for picture in (tmp_path / "output").glob("*.png"):
                picture.unlink()
            if run >= WARM_UP and run % EVERY == 0:
                seen.append(resident())
    third = len(seen) // 3
    early, late = statistics.median(seen[:third]), statistics.median(seen[-third:])
    print(f"\nresident memory: {early / MIB:.1f} MiB early, {late / MIB:.1f} MiB late, {len(loads)} loads")
    assert (len(loads) == 6) == fits, "where both fit, each network is loaded once"
    assert late - early < 8 * MIB


def test_switching_between_two_full_size_checkpoints_that_fit_loads_nothing(loads: list[str]) -> None:
    weights = read_header(random_checkpoint())
    place = Residency(CPU, Precision(*[torch.bfloat16] * 3), 8 * 2**30)

    def switch(name: str) -> float:
        start = time.perf_counter()
        for handle in (TextTower(weights, name), Model(weights, name), Vae(weights, name)):
            with place.use(handle):
                pass
        return time.perf_counter() - start

    first = [switch(name) for name in "ab"]
    again = [switch(name) for name in "abababab"]
    print(f"\nfirst use {first[0]:.2f} s and {first[1]:.2f} s, switching {1e6 * max(again):.0f} us")
    assert len(loads) == 6
    assert max(again) < 0.01


DECODING = """
import torch
from bench.memory import peak_bytes
from models.config import VaeConfig
from models.packed import can_pack, pack
from models.tiled import decode_tiled
from models.vae import AutoencoderKL

vae = AutoencoderKL(VaeConfig(ch=32)).eval().requires_grad_(False)  # SD v1's shape, a quarter of its width
if can_pack():
    pack(vae)
with torch.inference_mode():
    vae.decode(torch.randn(1, 4, 8, 8))
    before = peak_bytes()
    decode_tiled(vae, torch.randn(1, 4, 256, 256))
print(peak_bytes() - before)
"""


def test_a_picture_of_2048_pixels_is_decoded_in_the_memory_of_a_tile() -> None:
    done = subprocess.run([sys.executable, "-c", DECODING], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    peak, picture = int(done.stdout), 3 * 2048**2 * 4
    tile, whole = (decode_bytes(VaeConfig(ch=32), side, side, torch.float32) for side in (64, 256))
    print(f"\npeak {peak / MIB:.0f} MiB, of which the picture takes {picture / MIB:.0f}; whole: {whole / MIB:.0f}")
    assert peak < picture + tile
    assert peak < whole / 8
