"""What other programs say of their pictures, as workflows; sd-parsers reads the same texts for comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from graph.a1111_prompt import read_prompt
from graph.compose import compose
from graph.document import Link
from graph.generation import Generation, Hires, LoraUse
from graph.other_programs import read_settings
from graph.parameters_text import read_parameters, write_parameters
from graph.sampler_names import sampler_of

A1111 = """a (cute:1.3) cat, <lora:detail:0.8>, easynegative
on a [mat], [dog:wolf:0.5]
Negative prompt: blurry, (bad hands)
Steps: 28, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 12345678901234567890, Size: 512x768, Model hash: 6ce0161689, \
Model: v1-5-pruned, Denoising strength: 0.45, Clip skip: 2, Hires upscale: 1.5, Hires steps: 12, Hires upscaler: \
4x-UltraSharp, Lora hashes: "detail: aaa, other: bbb", ADetailer model: face_yolov8n.pt, Version: v1.6.0"""

INVOKE = {
    "positive_prompt": "a cat",
    "negative_prompt": "a dog",
    "width": 640,
    "height": 512,
    "seed": 77,
    "cfg_scale": 5.5,
    "steps": 31,
    "scheduler": "dpmpp_2m_k",
    "model": {"name": "stable-diffusion-v1-5", "type": "main"},
    "loras": [{"model": {"name": "detail"}, "weight": 0.6}],
    "vae": {"name": "vae-ft-mse"},
    "clip_skip": 1,
    "controlnets": [{"control_model": "canny"}],
}
SWARM = {
    "sui_image_params": {
        "prompt": "a cat",
        "negativeprompt": "a dog",
        "model": "v1-5-pruned",
        "seed": 5,
        "steps": 22,
        "cfgscale": 4.5,
        "width": 512,
        "height": 640,
        "sampler": "euler_ancestral",
        "scheduler": "karras",
        "loras": ["detail"],
        "loraweights": ["0.5"],
    }
}
FOOOCUS = {
    "metadata_scheme": "fooocus",
    "prompt": "a cat",
    "negative_prompt": "a dog",
    "steps": 30,
    "guidance_scale": 4.0,
    "resolution": "(896, 1152)",
    "seed": "123",
    "sampler": "dpmpp_2m_sde_gpu",
    "scheduler": "karras",
    "base_model": "juggernaut",
    "base_model_hash": "aaaa",
    "loras": [["detail.safetensors", 0.1, "hash"]],
    "styles": "['Fooocus V2']",
    "clip_skip": 2,
}
NOVEL = {
    "steps": 28,
    "sampler": "k_euler_ancestral",
    "seed": 99,
    "strength": 0.7,
    "noise": 0.2,
    "scale": 11.0,
    "uc": "[bad]",
}
DRAW = {
    "c": "a cat",
    "uc": "a dog",
    "steps": 8,
    "sampler": "DPM++ 2M Karras",
    "seed": 4,
    "scale": 5,
    "size": "512x512",
    "model": "sd_v1.5_f16.ckpt",
}
DIFFUSERS = {
    "prompt": "a cat",
    "negative_prompt": "a dog",
    "num_inference_steps": 25,
    "guidance_scale": 7.5,
    "seed": 3,
    "width": 512,
    "height": 512,
    "scheduler": "EulerAncestralDiscreteScheduler",
    "model": "stable-diffusion-v1-5/stable-diffusion-v1-5",
}
OLD_INVOKE = {
    "model_weights": "stable-diffusion-1.5",
    "image": {
        "prompt": [{"prompt": "a cat [a dog]", "weight": 1.0}],
        "steps": 50,
        "cfg_scale": 7.5,
        "sampler": "k_lms",
        "seed": 42,
        "width": 512,
        "height": 512,
    },
}

FILES: Mapping[str, dict[str, str]] = {
    "a1111": {"parameters": A1111},
    "forge_jpeg": {"usercomment": A1111.replace("DPM++ 2M Karras", "DPM++ 2M, Schedule type: Karras")},
    "invokeai": {"invokeai_metadata": json.dumps(INVOKE)},
    "invokeai_old": {"sd-metadata": json.dumps(OLD_INVOKE), "dream": "x"},
    "invokeai_dream": {"dream": '"a cat [a dog]" -s 50 -S 42 -W 512 -H 640 -C 7.5 -A k_lms'},
    "swarm": {"parameters": json.dumps(SWARM)},
    "fooocus": {"parameters": json.dumps(FOOOCUS), "fooocus_scheme": "fooocus"},
    "novelai": {
        "title": "NovelAI generated image",
        "software": "NovelAI",
        "source": "Stable Diffusion 1D44365E",
        "description": "{{a}} cat",
        "comment": json.dumps(NOVEL),
    },
    "draw_things": {"usercomment": json.dumps(DRAW)},
    "diffusers": {"parameters": json.dumps(DIFFUSERS)},
}


def read(name: str, embeddings: Sequence[str] = ()) -> Generation:
    """What one of these files says."""
    found = read_settings(FILES[name], embeddings)
    assert found is not None
    return found


def files(folder: str) -> list[str]:
    """What lies in the model folders."""
    names = {
        "checkpoints": ["other.safetensors", "SD1/V1-5-Pruned.safetensors"],
        "loras": ["style/detail.safetensors"],
        "vae": ["vae-ft-mse.pt"],
    }
    return names.get(folder, [])


def test_a1111_text_is_read_whole() -> None:
    made = read("a1111", ["easynegative"])
    assert made.prompt == "a (cute:1.3) cat, embedding:easynegative\non a (mat:0.91), wolf"
    assert made.negative == "blurry, (bad hands)"
    assert (made.steps, made.sampler, made.scheduler, made.cfg) == (28, "dpmpp_2m", "karras", 6.5)
    assert (made.seed, made.width, made.height) == (12345678901234567890, 512, 768)
    assert (made.model, made.clip_skip) == ("v1-5-pruned", 2)
    assert made.loras == (LoraUse("detail", 0.8, 0.8),)
    assert made.hires == Hires(1.5, None, 12, 0.45, "4x-UltraSharp")
    told = "\n".join(made.notes)
    assert "[dog:wolf:0.5] changes during sampling" in told
    assert "ADetailer model (face_yolov8n.pt)" in told
    assert "drawn on a GPU" in told


def test_forge_says_the_schedule_apart() -> None:
    made = read("forge_jpeg")
    assert (made.sampler, made.scheduler) == ("dpmpp_2m", "karras")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("invokeai", ("a cat", "a dog", 31, "dpmpp_2m", "karras", 5.5, 77, 640, 512, "stable-diffusion-v1-5")),
        ("invokeai_old", ("a cat", "a dog", 50, "lms", "normal", 7.5, 42, 512, 512, "stable-diffusion-1.5")),
        ("invokeai_dream", ("a cat", "a dog", 50, "lms", "normal", 7.5, 42, 512, 640, "")),
        ("swarm", ("a cat", "a dog", 22, "euler_ancestral", "karras", 4.5, 5, 512, 640, "v1-5-pruned")),
        ("fooocus", ("a cat", "a dog", 30, "dpmpp_2m_sde", "karras", 4.0, 123, 896, 1152, "juggernaut")),
        ("novelai", ("(a:1.1) cat", "(bad:0.952)", 28, "euler_ancestral", "normal", 11.0, 99, 512, 512, NOVEL and "Stable Diffusion 1D44365E")),
        ("draw_things", ("a cat", "a dog", 8, "dpmpp_2m", "karras", 5, 4, 512, 512, "sd_v1.5_f16.ckpt")),
        ("diffusers", ("a cat", "a dog", 25, "euler_ancestral", "normal", 7.5, 3, 512, 512, "stable-diffusion-v1-5")),
    ],
)  # fmt: skip
def test_other_programs_are_read(name: str, expected: tuple[object, ...]) -> None:
    made = read(name)
    said = (made.prompt, made.negative, made.steps, made.sampler, made.scheduler, made.cfg, made.seed)
    assert (*said, made.width, made.height, made.model) == expected
    assert made.program


def test_what_is_left_out_is_told() -> None:
    assert any("controlnets" in note for note in read("invokeai").notes)
    assert any("styles" in note for note in read("fooocus").notes)
    assert read("invokeai").loras == (LoraUse("detail", 0.6, 0.6),)
    assert read("swarm").loras == (LoraUse("detail", 0.5, 0.5),)
    assert read("fooocus").loras == (LoraUse("detail.safetensors", 0.1, 0.1),)


def test_texts_of_nobody_are_nothing() -> None:
    assert read_settings({}) is None
    assert read_settings({"comment": "made with love", "parameters": "{}", "usercomment": "[1]"}) is None


def test_a_workflow_finds_its_files_by_the_names_that_people_know() -> None:
    made = compose(read("a1111"), files)
    nodes = made.document.nodes
    assert nodes["4"].inputs["ckpt_name"] == "SD1/V1-5-Pruned.safetensors"
    assert nodes["20"].inputs == {
        "lora_name": "style/detail.safetensors",
        "strength_model": 0.8,
        "strength_clip": 0.8,
        "model": Link("4", 0),
        "clip": Link("4", 1),
    }
    assert nodes["10"].inputs == {"clip": Link("20", 1), "stop_at_clip_layer": -2}
    assert nodes["6"].inputs["clip"] == Link("10", 0)
    assert nodes["3"].inputs["model"] == Link("20", 0)
    assert nodes["3"].inputs["seed"] == 12345678901234567890
    assert (nodes["12"].inputs["width"], nodes["12"].inputs["height"]) == (768, 1152)
    assert (nodes["13"].inputs["steps"], nodes["13"].inputs["denoise"]) == (12, 0.45)
    assert nodes["8"].inputs == {"samples": Link("13", 0), "vae": Link("4", 2)}
    assert any("4x-UltraSharp" in note for note in made.notes)
    absent = compose(read("draw_things"), files)
    assert absent.document.nodes["4"].inputs["ckpt_name"] == "sd_v1.5_f16.ckpt"
    assert "the model sd_v1.5_f16.ckpt is not in checkpoints" in absent.notes


def test_what_a_picture_says_is_read_back_as_it_was() -> None:
    made = Generation(
        prompt='a (cute:1.3) cat, with "quotes"',
        negative="blurry",
        steps=12,
        sampler="dpmpp_2m_sde",
        scheduler="exponential",
        cfg=4.5,
        seed=2**63,
        width=320,
        height=640,
        model="a, comma: and colon",
        clip_skip=2,
        loras=(LoraUse("detail", 0.8, 0.5),),
    )
    again = read_parameters(write_parameters(made))
    for name in ("negative", "steps", "sampler", "scheduler", "cfg", "seed", "width", "height", "model", "loras"):
        assert getattr(again, name) == getattr(made, name), name
    assert again.prompt == made.prompt


@pytest.mark.parametrize(
    ("name", "schedule", "expected"),
    [
        ("Euler a", "", ("euler_ancestral", "normal")),
        ("DPM++ 2M SDE Heun Exponential", "", ("dpmpp_2m_sde_heun", "exponential")),
        ("DPM++ 2M", "Automatic", ("dpmpp_2m", "karras")),
        ("DPM++ 2M", "SGM Uniform", ("dpmpp_2m", "sgm_uniform")),
        ("UniPC", "", ("uni_pc", "normal")),
        ("kdpm_2_a_k", "", ("dpm_2_ancestral", "karras")),
        ("Restart", "", ("", "normal")),
    ],
)
def test_samplers_are_known_by_all_their_names(name: str, schedule: str, expected: tuple[str, str]) -> None:
    assert sampler_of(name, schedule) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\[kept\] and \(kept\)", r"\[kept\] and \(kept\)"),
        ("[[twice]]", "((twice:0.91):0.91)"),
        ("[open", "[open"),
        ("a]", "a]"),
        ("[cat|dog]", "cat"),
        ("one BREAK two", "one two"),
        ("<hypernet:x:1>a", "a"),
    ],
)
def test_prompts_are_translated(text: str, expected: str) -> None:
    assert read_prompt(text).text == expected


def test_sd_parsers_reads_the_same() -> None:
    peer: Any = pytest.importorskip("sd_parsers")
    for name in ("a1111", "invokeai", "novelai", "fooocus", "invokeai_old", "invokeai_dream"):
        found = _by_peer(peer, FILES[name])
        assert found is not None, name
        made = read(name)
        (sampler,) = found.samplers
        assert sampler.parameters.get("seed") is None or int(sampler.parameters["seed"]) == made.seed, name
        if name not in ("novelai", "a1111"):  # it leaves prompts as they are
            assert [prompt.value for prompt in sampler.prompts] == [made.prompt], name


def _by_peer(peer: Any, texts: Mapping[str, str]) -> Any:
    import io

    import PIL.Image
    from PIL.PngImagePlugin import PngInfo

    names = {"title": "Title", "software": "Software", "source": "Source", "description": "Description"}
    names |= {"comment": "Comment", "dream": "Dream"}
    info, buffer = PngInfo(), io.BytesIO()
    for key, text in texts.items():
        info.add_text(names.get(key, key), text)
    PIL.Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=info)
    buffer.seek(0)
    return peer.ParserManager().parse(PIL.Image.open(buffer))
