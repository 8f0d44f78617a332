"""Sizes, steps, guidance and samplers that suit the model of a chosen file: suggested, and only where others are set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from graph.build import build
from graph.document import parse
from graph.files import Folders
from models.checkpoint import Weights, read_header
from nodes.origins import Origins
from nodes.registry import builtin
from nodes.suggestions import Suggestions
from tests.published_files import Published, write_published
from tests.tiny_families import write_family

FILES: dict[str, Published] = {
    "v1-5-pruned-emaonly.safetensors": "sd1",
    "v2-1_512.safetensors": "sd2",
    "sd_xl_base_1.0.safetensors": "xl",
    "sd_xl_refiner_1.0.safetensors": "refiner",
    "sd_xl_turbo_1.0_fp16.safetensors": "xl",
    "sdxl_lightning_4step.safetensors": "xl",
    "Hyper-SDXL-8steps.safetensors": "xl",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    folders = Folders.standard(tmp_path_factory.mktemp("base"))
    root = folders.roots("checkpoints")[0]
    for name, kind in FILES.items():
        write_published(root / name, kind)
    write_family(root / "narrow_xl.safetensors", "xl")
    for name in ("painted.safetensors", "lcm-lora-sdxl.safetensors"):
        write_published(folders.roots("loras")[0] / name, "sd1")
    return folders


def suggested(
    folders: Folders, file: str, size: tuple[int, int] = (512, 512), loras: tuple[str, ...] = (), **sampling: Any
) -> dict[str, Any]:
    """What is suggested of text to image with a file, by "node.input"."""
    settings = {"seed": 1, "steps": 20, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    wires = {"positive": ["5", 0], "negative": ["5", 0], "latent_image": ["4", 0]}
    nodes: dict[str, Any] = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": file}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": size[0], "height": size[1], "batch_size": 1}},
        "5": {"class_type": "CLIPTextEncode", "inputs": {"text": "a", "clip": ["1", 1]}},
        "7": {"class_type": "VAEDecode", "inputs": {"samples": ["6", 0], "vae": ["1", 2]}},
        "8": {"class_type": "SaveImage", "inputs": {"images": ["7", 0], "filename_prefix": "x"}},
    }
    model = "1"
    for at, name in enumerate(loras):
        lora = {"model": [model, 0], "lora_name": name, "strength_model": 1.0}
        model = f"l{at}"
        nodes[model] = {"class_type": "LoraLoaderModelOnly", "inputs": lora}
    nodes["6"] = {"class_type": "KSampler", "inputs": settings | wires | sampling | {"model": [model, 0]}}
    graph = build(parse(json.dumps(nodes)), builtin(), folders)
    assert not graph.problems
    found = list(Suggestions(Origins(), folders)(graph))
    assert all(one.file == file for one in found)
    return {f"{one.node_id}.{name}": value for one in found for name, value in one.values.items()}


@pytest.mark.parametrize(
    ("file", "side"), [(name, {"sd1": 512, "sd2": 512}.get(kind, 1024)) for name, kind in list(FILES.items())[:4]]
)
def test_what_suits_is_left_alone(folders: Folders, file: str, side: int) -> None:
    assert suggested(folders, file, (side, side)) == {}
    assert suggested(folders, file, (side, side), steps=50, cfg=4.5, scheduler="karras") == {}


def test_the_size_that_a_family_learned_with(folders: Folders) -> None:
    xl, old = "sd_xl_base_1.0.safetensors", "v1-5-pruned-emaonly.safetensors"
    assert suggested(folders, xl) == {"4.width": 1024, "4.height": 1024}
    assert suggested(folders, xl, (832, 1216)) == {}, "another shape of the same area"
    assert suggested(folders, xl, (512, 768)) == {"4.width": 832, "4.height": 1280}, "the shape stays"
    assert suggested(folders, old, (1024, 1024)) == {"4.width": 512, "4.height": 512}


def test_stable_diffusion_2_that_predicts_v_draws_larger(folders: Folders) -> None:
    file = "v2-1_768-ema.safetensors"
    write_published(folders.roots("checkpoints")[0] / file, "sd2", marks=("v_pred",))
    assert suggested(folders, file, (768, 768)) == {}
    assert suggested(folders, file, (512, 512)) == {"4.width": 768, "4.height": 768}


@pytest.mark.parametrize(
    ("kind", "marks", "side"), [("depth", (), 512), ("unclip", ("v_pred",), 768), ("xl_inpainting", (), 1024)]
)
def test_models_that_read_more_draw_as_large_as_the_others_of_their_family(
    folders: Folders, kind: Published, marks: tuple[str, ...], side: int
) -> None:
    file = f"published_{kind}.safetensors"
    write_published(folders.roots("checkpoints")[0] / file, kind, marks=marks)
    assert suggested(folders, file, (side, side)) == {}
    assert suggested(folders, file, (2 * side, 2 * side)) == {"4.width": side, "4.height": side}


def test_turbo_draws_small_in_few_steps_without_guidance(folders: Folders) -> None:
    turbo = "sd_xl_turbo_1.0_fp16.safetensors"
    few: dict[str, Any] = {"sampler_name": "euler_ancestral", "scheduler": "sgm_uniform", "cfg": 1.0}
    assert suggested(folders, turbo, scheduler="simple") == {
        "6.steps": 4, "6.cfg": 1.0
    }  # fmt: skip
    assert suggested(folders, turbo, **few, steps=1) == {}
    assert suggested(folders, turbo, (1024, 1024), **few, steps=1) == {"4.width": 512, "4.height": 512}
    assert suggested(folders, turbo, **few | {"sampler_name": "dpmpp_2m", "scheduler": "karras"}, steps=1) == {
        "6.sampler_name": "euler_ancestral",
        "6.scheduler": "sgm_uniform",
    }


@pytest.mark.parametrize(
    ("file", "steps"), [("sdxl_lightning_4step.safetensors", 4), ("Hyper-SDXL-8steps.safetensors", 8)]
)
def test_names_say_in_how_many_steps_a_model_draws(folders: Folders, file: str, steps: int) -> None:
    schedule = {"6.scheduler": "sgm_uniform"}
    assert suggested(folders, file, (1024, 1024)) == {"6.steps": steps, "6.cfg": 1.0} | schedule
    assert suggested(folders, file, (1024, 1024), steps=steps, cfg=1.0) == schedule
    for sampler in ("euler", "ddim"):
        for scheduler in ("sgm_uniform", "simple"):
            told: dict[str, Any] = {"steps": steps, "cfg": 1.0, "sampler_name": sampler, "scheduler": scheduler}
            assert suggested(folders, file, (1024, 1024), **told) == {}
    told = {"steps": steps, "cfg": 1.0, "sampler_name": "dpmpp_2m", "scheduler": "karras"}
    assert suggested(folders, file, (1024, 1024), **told) == {"6.sampler_name": "euler"} | schedule


def test_what_others_made_of_few_step_models_is_sampled_as_they_say(folders: Folders) -> None:
    merged = "painted_lightning_dpm_sde.safetensors"
    write_published(folders.roots("checkpoints")[0] / merged, "xl")
    few: dict[str, Any] = {"steps": 6, "cfg": 2.0, "sampler_name": "dpmpp_sde", "scheduler": "karras"}
    assert suggested(folders, merged, (1024, 1024), **few) == {}
    assert suggested(folders, merged, (1024, 1024)) == {"6.steps": 6, "6.cfg": 1.0}


def test_a_lora_that_keeps_guidance_is_guided(folders: Folders) -> None:
    lora, xl = "Hyper-SDXL-8steps-CFG-lora.safetensors", "sd_xl_base_1.0.safetensors"
    write_published(folders.roots("loras")[0] / lora, "sd1")
    told: dict[str, Any] = {"steps": 8, "cfg": 5.0, "scheduler": "sgm_uniform"}
    assert suggested(folders, xl, (1024, 1024), (lora,), **told) == {}
    assert suggested(folders, xl, (1024, 1024), (lora,), **told | {"cfg": 1.0}) == {"6.cfg": 5.0}
    one = "Hyper-SDXL-1step-lora.safetensors"
    write_published(folders.roots("loras")[0] / one, "sd1")
    assert suggested(folders, xl, (1024, 1024), (one,)) == {"6.steps": 1, "6.cfg": 1.0, "6.sampler_name": "lcm"}


def test_a_lora_on_the_way_may_ask_for_anything(folders: Folders) -> None:
    xl, size = "sd_xl_base_1.0.safetensors", (1024, 1024)
    assert suggested(folders, xl, size, steps=4) == {"6.steps": 25}
    assert suggested(folders, xl, size, ("painted.safetensors",), steps=4) == {}
    found = suggested(folders, xl, size, ("lcm-lora-sdxl.safetensors", "painted.safetensors"))
    assert found == {"6.steps": 6, "6.cfg": 1.0, "6.sampler_name": "lcm", "6.scheduler": "sgm_uniform"}


def test_few_steps_with_little_guidance_are_meant(folders: Folders) -> None:
    assert suggested(folders, "sd_xl_base_1.0.safetensors", (1024, 1024), steps=8, cfg=1.5) == {}


def test_values_from_links_and_several_values_are_not_judged(folders: Folders) -> None:
    xl = "sd_xl_base_1.0.safetensors"
    assert suggested(folders, xl, (1024, 1024), steps={"__sweep__": [2, 4, 6]}) == {}


def test_nobody_knows_what_suits_a_network_of_another_width(folders: Folders) -> None:
    assert suggested(folders, "narrow_xl.safetensors") == {}


def test_a_header_is_read_once(folders: Folders) -> None:
    read: list[Path] = []

    def header(path: Path) -> Weights:
        read.append(path)
        return read_header(path)

    suggestions = Suggestions(Origins(header), folders)
    text = {"1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd_xl_base_1.0.safetensors"}}}
    for node, kind in (("2", "PreviewAny"), ("3", "PreviewAny")):
        text[node] = {"class_type": kind, "inputs": {"source": ["1", 0]}}
    graph = build(parse(json.dumps(text)), builtin(), folders)
    for _ in range(3):
        assert list(suggestions(graph)) == []
    assert len(read) == 1
