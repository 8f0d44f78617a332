"""The SDXL templates that ComfyUI's front end comes with run, on narrow random checkpoints named as they name them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from safetensors.torch import save_file

from graph.build import build
from graph.cache import Cache
from graph.context import Run
from graph.execute import Executor
from graph.files import Folders
from graph.flatten import flatten
from graph.litegraph import read_editor
from graph.node_shapes import shapes_of
from models.config import VisionConfig
from models.precision import Precision
from models.residency import Residency
from models.types import nbytes
from models.vision import VisionModel
from nodes.one_family import OneFamily
from nodes.origins import Origins
from nodes.registry import builtin
from nodes.services import Services
from tests.templates import needed, templates
from tests.tiny_checkpoint import randomly
from tests.tiny_families import G, Kind, write_family

pytestmark = [pytest.mark.acceptance, needed]

CHECKPOINTS: dict[str, Kind] = {
    "sd_xl_base_1.0.safetensors": "xl",
    "sd_xl_turbo_1.0_fp16.safetensors": "xl",
    "sd_xl_refiner_1.0.safetensors": "refiner",
}


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("image_sdxl_simple", 1024),
        ("sdxl_simple_example", 1024),
        ("sdxl_refiner_prompt_example", 1024),
        ("sdxlturbo_example", 512),
        ("sdxl_revision_text_prompts", 1024),
    ],
)
def test_a_template_runs(tmp_path: Path, name: str, size: int, one_thread: Any) -> None:
    import torch

    folders, registry = Folders.standard(tmp_path), builtin()
    for file, kind in CHECKPOINTS.items():
        write_family(folders.roots("checkpoints")[0] / file, kind)
    _write_vision(folders.roots("clip_vision")[0] / "clip_vision_g.safetensors")
    for number in (1, 2):
        picture = PIL.Image.effect_mandelbrot((64, 48), (-2, -1, 1, 1), 10 * number).convert("RGB")
        picture.save(folders.input_dir / f"sdxl_revision_text_prompts_ref_image{number}.png")
    made = flatten(read_editor(templates()[name]), shapes_of(registry, folders))
    assert not made.document.problems
    graph = build(made.document, registry, folders)
    assert not graph.problems
    services = Services(Residency(torch.device("cpu"), Precision(), budget=2**32, packing=True), folders)
    executor = Executor(
        services, registry, folders, Cache(2**28, nbytes), scope=torch.inference_mode, checks=(OneFamily(Origins()),)
    )
    executor.execute(Run("run", made.document, lambda event: None), graph)
    executor.close()
    [drawn] = folders.output_dir.rglob("*.png")
    with PIL.Image.open(drawn) as image:
        assert image.size == (size, size)
        assert len(set(image.resize((16, 16)).tobytes())) > 8, "a picture of one colour"


def _write_vision(path: Path) -> None:
    """A narrow vision tower whose vectors are as wide as the narrow pooled texts."""
    tower = randomly(lambda: VisionModel(VisionConfig(width=16, layers=2, intermediate=24, projection=G.projection)), 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tower.state_dict().items()}, path)
