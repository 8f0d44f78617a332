"""IP-Adapters of every kind, against diffusers' U-Net and transformers' vision tower with the same weights."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from diffusers.models.embeddings import (
    ImageProjection,
    IPAdapterFullImageProjection,
    IPAdapterPlusImageProjection,
    MultiIPAdapterImageProjection,
)
from safetensors.torch import save_file
from torch import Tensor, nn

from graph.errors import InputError
from models.config import VisionConfig
from models.ip_adapter import IPAdapter, IPAdapterConfig
from models.types import Image, Mask, Model, nbytes
from models.vision import VisionModel, vision_input
from nodes.ip_adapter import (
    ip_adapter,
    ip_adapter_advanced,
    ip_adapter_model_loader,
    ip_adapter_unified_loader,
    prep_image_for_clip_vision,
)
from nodes.loaders import checkpoint_loader_simple
from nodes.vision import clip_vision_loader
from tests.models.oracles import diffusers_unet, randomized, relative_error
from tests.models.vision_peers import transformers_vision
from tests.nodes.conftest import CHECKPOINT, Workplace
from tests.nodes.one_step import NEGATIVE, POSITIVE, Given, drawn, expected
from tests.tiny_checkpoint import WIDTH, tiny_unet

TOWER = VisionConfig(width=64, layers=3, intermediate=96, patch=8, grid=4, projection=32)
SITES = ((1, 16), (3, 16), (5, 16), (7, 32))  # on the way down, twice on the way up, in the middle
KINDS = {
    "plain": IPAdapterConfig("vector", 32, 4, WIDTH, 0, 0, SITES),
    "plus": IPAdapterConfig("resampler", 64, 6, WIDTH, 128, 2, SITES),
    "full face": IPAdapterConfig("patches", 64, 0, WIDTH, 0, 0, SITES),
}
PICTURES = torch.rand(2, 40, 56, 3, generator=torch.Generator().manual_seed(1))


def build(config: IPAdapterConfig) -> IPAdapter:
    with torch.device("meta"):
        network: nn.Module = IPAdapter(config)
    return randomized(network)  # type: ignore[return-value]


def tower() -> VisionModel:
    with torch.device("meta"):
        network: nn.Module = VisionModel(TOWER)
    return randomized(network)  # type: ignore[return-value]


@pytest.fixture
def model(place: Workplace) -> Model:
    loaded: Model = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT)).model
    return loaded


def stored(place: Workplace, folder: str, name: str, state: Mapping[str, Tensor], nested: bool = False) -> Any:
    path: Path = place.folders.roots(folder)[0] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if nested:
        parts: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
        for key, tensor in state.items():
            part, rest = key.split(".", 1)
            parts[part][rest] = tensor
        torch.save(parts, path)
    else:
        save_file(dict(state), path)
    return place.file(folder, name)


def prompted(place: Workplace, model: Model, kind: str, nested: bool = False, **given: Any) -> Model:
    name = "ip.bin" if nested else "ip.safetensors"
    file = stored(place, "ipadapter", name, build(KINDS[kind]).state_dict(), nested)
    vision = clip_vision_loader(
        place.ctx(), clip_name=stored(place, "clip_vision", "tower.safetensors", tower().state_dict())
    )
    inputs = {
        "image": Image(PICTURES[:1]), "weight": 0.8, "weight_type": "linear", "combine_embeds": "concat",
        "embeds_scaling": "V only", "clip_vision": vision,
    }  # fmt: skip
    made: Model = ip_adapter_advanced(
        place.ctx(),
        model=model,
        **{"ipadapter": ip_adapter_model_loader(place.ctx(), ipadapter_file=file), **inputs, **given},
    )
    return made


def diffusers_ip_unet(kind: str, weight: float) -> Any:
    """diffusers' U-Net with diffusers' adapter."""
    theirs, state, config = diffusers_unet(tiny_unet()), build(KINDS[kind]).state_dict(), KINDS[kind]
    head = {
        name.removeprefix("image_proj."): tensor for name, tensor in state.items() if name.startswith("image_proj.")
    }
    projection: nn.Module
    if kind == "plain":
        projection = ImageProjection(32, WIDTH, 4)
        projection.load_state_dict({name.replace("proj", "image_embeds"): tensor for name, tensor in head.items()})
    elif kind == "full face":
        projection = IPAdapterFullImageProjection(64, WIDTH)
        names = {"proj.0": "ff.net.0.proj", "proj.2": "ff.net.2", "proj.3": "norm"}
        projection.load_state_dict({names[name[:6]] + name[6:]: tensor for name, tensor in head.items()})
    else:
        projection = IPAdapterPlusImageProjection(64, WIDTH, 128, 2, 64, 2, config.tokens)
        inside = {
            "0.norm1": "ln0", "0.norm2": "ln1", "0.to_q": "attn.to_q", "0.to_out": "attn.to_out.0",
            "1.0": "ff.0", "1.1": "ff.1.net.0.proj", "1.3": "ff.1.net.2",
        }  # fmt: skip
        named = {}
        for name, tensor in head.items():
            match = re.fullmatch(r"(layers\.\d+)\.(.+)\.(weight|bias)", name)
            if match and match[2] == "0.to_kv":
                for one, half in zip(("to_k", "to_v"), tensor.chunk(2), strict=True):
                    named[f"{match[1]}.attn.{one}.weight"] = half
            else:
                named[f"{match[1]}.{inside[match[2]]}.{match[3]}" if match else name] = tensor
        projection.load_state_dict(named)
    theirs.encoder_hid_proj = MultiIPAdapterImageProjection([projection])
    theirs.register_to_config(encoder_hid_dim_type="ip_image_proj")
    tokens = 17 if kind == "full face" else config.tokens
    processors, number = {}, 0
    for name in theirs.attn_processors:
        if "attn2" not in name:
            processors[name] = theirs.attn_processors[name]
            continue
        processor = IPAdapterAttnProcessor2_0(SITES[number][1], WIDTH, (tokens,), scale=weight)
        site = f"ip_adapter.{SITES[number][0]}."
        processor.load_state_dict({f"{end}.0.weight": state[f"{site}{end}.weight"] for end in ("to_k_ip", "to_v_ip")})
        processors[name], number = processor, number + 1
    assert number == 4
    theirs.set_attn_processor(processors)
    return theirs


def seeing(kind: str, pictures: Tensor | None) -> Given:
    """What their U-Net is given of a picture, or of none."""
    theirs = transformers_vision(tower())
    x = vision_input(PICTURES[:1] if pictures is None else pictures, TOWER.image_size, crop=True)
    with torch.inference_mode():
        said = theirs(torch.zeros_like(x) if pictures is None else x, output_hidden_states=True)
    seen = said.hidden_states[-2] if kind != "plain" else said.image_embeds
    if kind == "plain" and pictures is None:
        seen = torch.zeros_like(seen)
    return lambda x, context: {"added_cond_kwargs": {"image_embeds": [seen[:, None]]}}


@pytest.mark.parametrize("nested", [False, True], ids=["safetensors", "bin"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_picture_is_a_prompt_as_diffusers_has_it(place: Workplace, model: Model, kind: str, nested: bool) -> None:
    found = drawn(place, prompted(place, model, kind, nested), POSITIVE, NEGATIVE)
    wanted = expected(seeing(kind, PICTURES[:1]), seeing(kind, None), unet=diffusers_ip_unet(kind, 0.8))
    assert relative_error(found, wanted) < 1e-5
    assert relative_error(found, drawn(place, model, POSITIVE, NEGATIVE)) > 1e-3
    assert not place.warnings


def test_a_negative_picture_and_keys_that_weigh(place: Workplace, model: Model) -> None:
    negative = prompted(place, model, "plus", image_negative=Image(PICTURES[1:]))
    wanted = expected(seeing("plus", PICTURES[:1]), seeing("plus", PICTURES[1:]), unet=diffusers_ip_unet("plus", 0.8))
    assert relative_error(drawn(place, negative, POSITIVE, NEGATIVE), wanted) < 1e-5
    keys = prompted(place, model, "plus", embeds_scaling="K+V")
    assert not torch.equal(
        drawn(place, keys, POSITIVE, NEGATIVE), drawn(place, prompted(place, model, "plus"), POSITIVE, NEGATIVE)
    )


def test_where_and_when_it_counts(place: Workplace, model: Model) -> None:
    def picture(changed: Model, **given: Any) -> Tensor:
        return drawn(place, changed, POSITIVE, NEGATIVE, **given)

    plain, whole = picture(model), picture(prompted(place, model, "plain"))
    ones, zeros = (Mask(torch.full((1, 32, 24), value)) for value in (1.0, 0.0))
    assert torch.allclose(picture(prompted(place, model, "plain", attn_mask=ones)), whole, atol=1e-4)
    assert torch.allclose(picture(prompted(place, model, "plain", attn_mask=zeros)), plain, atol=1e-4)
    half = Mask(torch.cat([torch.ones(1, 32, 12), torch.zeros(1, 32, 12)], dim=2))
    assert not torch.allclose(picture(prompted(place, model, "plain", attn_mask=half)), whole)
    assert torch.equal(picture(prompted(place, model, "plain", start_at=0.5)), plain)
    assert not torch.equal(picture(prompted(place, model, "plain", start_at=0.5), steps=6), picture(model, steps=6))
    assert prompted(place, model, "plain", weight=0.0) is model


def test_several_pictures(place: Workplace, model: Model) -> None:
    def picture(**given: Any) -> Tensor:
        return drawn(place, prompted(place, model, "plain", **given), POSITIVE, NEGATIVE)

    once, twice = picture(), Image(PICTURES[:1].repeat(2, 1, 1, 1))
    for combine in ("concat", "average"):
        assert relative_error(picture(image=twice, combine_embeds=combine), once) < 1e-5
        assert relative_error(picture(image=Image(PICTURES), combine_embeds=combine), once) > 1e-3
    three, one = Image(PICTURES[[0, 0, 0]]), Image(PICTURES[:1])
    assert relative_error(picture(image=three, image_negative=twice), picture(image_negative=one)) < 1e-5


def test_what_does_not_fit_is_told(place: Workplace, model: Model) -> None:
    with pytest.raises(InputError, match="is missing") as caught:
        prompted(place, model, "plain", clip_vision=None)
    assert caught.value.input_name == "clip_vision"
    small = VisionConfig(width=64, layers=1, intermediate=8, patch=8, grid=2, projection=16)
    with torch.device("meta"):
        other: nn.Module = VisionModel(small)
    file = stored(place, "clip_vision", "other.safetensors", randomized(other).state_dict())
    vision = clip_vision_loader(place.ctx(), clip_name=file)
    with pytest.raises(InputError, match=r"other\.safetensors sees vectors of width 16.*ip\.safetensors.*width 32"):
        prompted(place, model, "plain", clip_vision=vision)
    wide = IPAdapterConfig("vector", 32, 4, 24, 0, 0, ((1, 16), (3, 32)))
    wrong = ip_adapter_model_loader(
        place.ctx(), ipadapter_file=stored(place, "ipadapter", "xl.safetensors", build(wide).state_dict())
    )
    with pytest.raises(
        InputError, match=r"xl\.safetensors was made.*2 layers.*width 24.*tiny\.safetensors has 4"
    ) as caught:
        prompted(place, model, "plain", ipadapter=wrong)
    assert caught.value.input_name == "ipadapter"
    with pytest.raises(InputError, match=r"tiny\.safetensors holds no IP-Adapter"):
        ip_adapter_model_loader(place.ctx(), ipadapter_file=place.file("checkpoints", CHECKPOINT))


def test_a_prompted_model_travels_and_counts_its_tensors(place: Workplace, model: Model) -> None:
    changed = prompted(place, model, "plain")
    copy = pickle.loads(pickle.dumps(changed))
    assert torch.equal(drawn(place, copy, POSITIVE, NEGATIVE), drawn(place, changed, POSITIVE, NEGATIVE))
    assert nbytes(changed) >= sum(2 * 2 * 4 * channels * 4 for _, channels in SITES) and nbytes(model) == 0


def test_the_unified_loader_finds_adapter_and_tower_by_their_names(place: Workplace, model: Model) -> None:
    """And the plain node gives what the one with all settings gives."""
    stored(place, "ipadapter", "sub/ip-adapter_sd15.safetensors", build(KINDS["plain"]).state_dict())
    stored(place, "clip_vision", "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors", tower().state_dict())
    load = ip_adapter_unified_loader
    same, adapter = load(place.ctx(), model=model, preset="STANDARD (medium strength)")
    assert same is model
    found = ip_adapter(
        place.ctx(), model=model, ipadapter=adapter, image=Image(PICTURES[:1]), weight=0.8, weight_type="standard"
    )
    wanted = prompted(place, model, "plain")
    assert torch.equal(drawn(place, found, POSITIVE, NEGATIVE), drawn(place, wanted, POSITIVE, NEGATIVE))
    for preset, said in (
        ("PLUS (high strength)", "ip-adapter-plus_sd15"),
        ("VIT-G (medium strength)", "ip-adapter_sd15_vit-g"),
    ):
        with pytest.raises(InputError, match=said):
            load(place.ctx(), model=model, preset=preset)
    stored(place, "ipadapter", "ip-adapter_sd15_vit-G.safetensors", build(KINDS["plain"]).state_dict())
    with pytest.raises(InputError, match="vit-bigg-14"):
        load(place.ctx(), model=model, preset="VIT-G (medium strength)")
    stored(place, "ipadapter", "ip-adapter_sd15_light_v11.safetensors", build(KINDS["plain"]).state_dict())
    assert "light" in load(place.ctx(), model=model, preset="LIGHT - SD1.5 only (low strength)")[1].weights.path.name


def test_an_adapter_without_its_tower_says_so(place: Workplace, model: Model) -> None:
    file = stored(place, "ipadapter", "ip.safetensors", build(KINDS["plain"]).state_dict())
    alone = ip_adapter_model_loader(place.ctx(), ipadapter_file=file)
    with pytest.raises(InputError, match="vision tower"):
        ip_adapter(place.ctx(), model=model, ipadapter=alone, image=Image(PICTURES), weight_type="standard")


@pytest.mark.parametrize(
    ("position", "box"),
    [("left", (0, 0, 40, 40)), ("center", (8, 0, 48, 40)), ("right", (16, 0, 56, 40)), ("top", (8, 0, 48, 40))],
)
@pytest.mark.parametrize("interpolation", ["LANCZOS", "BOX"])
def test_the_square_that_a_tower_sees_is_pillows(
    place: Workplace, position: str, box: tuple[int, int, int, int], interpolation: str
) -> None:
    pictures = (PICTURES * 255).to(torch.uint8)
    ctx = place.ctx()
    found = prep_image_for_clip_vision(
        ctx, image=Image(pictures / 255), interpolation=interpolation, crop_position=position
    ).pixels
    method = PIL.Image.Resampling[interpolation]
    expected = PIL.Image.fromarray(pictures[1].numpy()).crop(box).resize((224, 224), method)
    assert np.abs(found[1].numpy() * 255 - np.asarray(expected)).max() <= 1 and not ctx.warnings
    padded = prep_image_for_clip_vision(
        ctx, image=Image(pictures / 255), interpolation=interpolation, crop_position="pad", sharpening=0.5
    ).pixels
    assert not padded[:, :20].any() and padded[:, 112].any() and ctx.warnings[0].input_name == "sharpening"
