"""Every kind of file that Stable Diffusion 2, SDXL and its refiner come in gives, through the nodes, what one plain file gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from graph.errors import InputError
from graph.sockets import Directory
from models.checkpoint import CheckpointError, load_part
from models.config import ClipConfig
from models.diffusers_names import diffusers_name
from models.open_clip_names import open_clip_name, stacked_name
from models.precision import Precision
from models.prediction import Eps, Velocity
from models.reading import Reading
from models.residency import Residency
from models.types import Clip, Latent, Model, Vae
from nodes.conditioning import clip_text_encode
from nodes.gguf_loaders import clip_loader_gguf, dual_clip_loader_gguf, unet_loader_gguf
from nodes.latent import vae_decode
from nodes.loaders import Checkpoint, checkpoint_loader_simple, clip_loader, dual_clip_loader, unet_loader, vae_loader
from nodes.pipelines import diffusers_loader
from tests.gguf_files import kinds, write_gguf
from tests.models.oracles import diffusers_vae, relative_error
from tests.nodes.conftest import Workplace
from tests.nodes.test_pipelines import open_clip, pipeline, single_file
from tests.tiny_checkpoint import Format, save, tiny_vae
from tests.tiny_families import UNETS, G, H, Kind, family_state, open_clip_state

Name = Literal["sd2", "sd2_v", "xl", "refiner"]
FAMILIES: tuple[Name, ...] = ("sd2", "sd2_v", "xl", "refiner")
UNET, TEXT, VAE = "model.diffusion_model.", ("cond_stage_model.", "conditioner."), "first_stage_model."
NORM = UNET + "output_blocks.3.1.transformer_blocks.0.norm1.bias"
"""What deviates more in those networks of Stable Diffusion 2 that predict v."""
FP8 = torch.float8_e4m3fn

State = dict[str, Tensor]


def kind_of(family: Name) -> Kind:
    return "sd2" if family == "sd2_v" else family


@cache
def made(kind: Kind) -> State:
    return {name: tensor.contiguous() for name, tensor in family_state(kind).items()}


def state_of(family: Name) -> State:
    """The whole checkpoint in float32, whose numbers are whole in float16."""
    state = dict(made(kind_of(family)))
    if family == "sd2_v":
        state[NORM] = (15 * state[NORM]).half().float()
    return state


def part(state: Mapping[str, Tensor], prefix: str) -> State:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def put(place: Workplace, folder: str, name: str, write: Callable[[Path], object]) -> Any:
    """The file as a node gets it, once `write` has written it."""
    root = place.folders.roots(folder)[0]
    root.mkdir(parents=True, exist_ok=True)
    write(root / name)
    return place.file(folder, name)


def put_state(place: Workplace, folder: str, name: str, state: Mapping[str, Tensor]) -> Any:
    return put(place, folder, name, lambda path: save_file(dict(state), path, metadata={"format": "pt"}))


# --- what a file gives -----------------------------------------------------------------------------------------------------


class Given(NamedTuple):
    """What the networks of a file compute, each of the same inputs."""

    noise: Tensor
    tokens: Tensor
    pooled: Tensor
    pixels: Tensor


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


def noise_of(place: Workplace, model: Model) -> Tensor:
    with place.services.residency.use(model) as unet:
        config = unet.config
        vector = random(2, config.vector_dim) if config.vector_dim else None
        reading = Reading(random(2, 7, config.context_dim), vector=vector)
        return unet(random(2, 4, 8, 6), torch.tensor([999.0, 3.0]), reading)


def text_of(place: Workplace, clip: Clip) -> tuple[Tensor, Tensor]:
    [cond] = clip_text_encode(place.ctx(), clip=clip, text="a red fox").conds
    return cond.tokens, cond.pooled


def pixels_of(place: Workplace, vae: Vae) -> Tensor:
    pixels: Tensor = vae_decode(place.ctx(), samples=Latent(random(1, 4, 3, 4)), vae=vae).pixels
    return pixels


def given(place: Workplace, loaded: Checkpoint) -> Given:
    model, clip, vae = loaded
    return Given(noise_of(place, model), *text_of(place, clip), pixels_of(place, vae))


def loaded(place: Workplace, name: str, state: Mapping[str, Tensor]) -> Checkpoint:
    return checkpoint_loader_simple(place.ctx(), ckpt_name=put_state(place, "checkpoints", name, state))


def plain(place: Workplace, family: Name, state: Mapping[str, Tensor] | None = None) -> Checkpoint:
    """The one file that all others are held to."""
    opened = loaded(place, "plain.safetensors", state or state_of(family))
    expected = {"sd2": "Stable Diffusion 2", "sd2_v": "Stable Diffusion 2", "xl": "SDXL", "refiner": "SDXL refiner"}
    assert opened.model.family.name == expected[family]
    assert opened.model.family.diffusion.prediction == (Velocity() if family == "sd2_v" else Eps())
    return opened


def same(ours: Checkpoint, theirs: Checkpoint, place: Workplace) -> None:
    """Of one family, and equal to the bit in all that they compute. Nothing is told of the file."""
    assert ours.model.family == theirs.model.family and ours.clip.readings == theirs.clip.readings
    for name, one, other in zip(Given._fields, given(place, ours), given(place, theirs), strict=True):
        assert torch.equal(one, other), name
    assert place.warnings == []


# --- one file ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("file_format", ["safetensors", "zip", "legacy"])
def test_a_whole_checkpoint(place: Workplace, family: Name, file_format: Format) -> None:
    """In float16, and the other in float32."""
    state = {name: tensor.half() for name, tensor in state_of(family).items()}
    end = "safetensors" if file_format == "safetensors" else "ckpt"
    file = put(place, "checkpoints", f"it.{end}", lambda path: save(state, path, file_format))
    same(checkpoint_loader_simple(place.ctx(), ckpt_name=file), plain(place, family), place)


def in_eight_bits(state: Mapping[str, Tensor], scaled: bool) -> tuple[State, State]:
    """A file in 8 bits, and the numbers that are meant. scaled: matrices alone, with a scale each; else all numbers."""
    kept: State = {}
    meant: State = {}
    for name, tensor in state.items():
        if scaled and (tensor.ndim != 2 or not name.endswith(".weight")):
            kept[name] = meant[name] = tensor
        elif scaled:
            scale = tensor.abs().max() / torch.finfo(FP8).max
            kept[name] = (tensor / scale).to(FP8)
            kept[name.removesuffix("weight") + "scale_weight"] = scale
            meant[name] = kept[name].float() * scale
        else:
            kept[name] = tensor.to(FP8)
            meant[name] = kept[name].float()
    return kept, meant


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaled"])
def test_a_checkpoint_and_a_unet_in_eight_bits(place: Workplace, family: Name, scaled: bool) -> None:
    state = state_of(family)
    kept, meant = in_eight_bits(state, scaled)
    expected = plain(place, family, meant)
    same(loaded(place, "eight.safetensors", kept), expected, place)
    exact = noise_of(place, loaded(place, "exact.safetensors", state).model)
    assert relative_error(noise_of(place, expected.model), exact) < 0.3
    unet = part(kept, UNET)
    for names in (unet, in_diffusers_names(family, unet)):
        alone = put_state(place, "diffusion_models", "eight.safetensors", names)
        model = unet_loader(place.ctx(), unet_name=alone, weight_dtype="default")
        assert torch.equal(noise_of(place, model), noise_of(place, expected.model))
    assert place.warnings == []


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["F16", "Q8_0"])
def test_a_checkpoint_in_gguf(place: Workplace, family: Name, kind: str) -> None:
    meant: dict[str, Any] = {}
    state = state_of(family)
    file = put(place, "checkpoints", "it.gguf", lambda path: meant.update(write_gguf(path, state, kinds(kind))))
    expected = plain(place, family, {name: torch.from_numpy(numbers.copy()) for name, numbers in meant.items()})
    same(checkpoint_loader_simple(place.ctx(), ckpt_name=file), expected, place)


# --- networks by themselves --------------------------------------------------------------------------------------------------


def in_diffusers_names(family: Name, unet: Mapping[str, Tensor]) -> State:
    blocks = UNETS[kind_of(family)].num_res_blocks

    def renamed(name: str) -> str:
        layer, _, end = name.rpartition(".")
        return f"{diffusers_name(layer, blocks)}.{end}"

    return {renamed(name): tensor for name, tensor in unet.items()}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("names", ["whole", "bare", "diffusers"])
@pytest.mark.parametrize("form", ["safetensors", "F16", "Q8_0", "flat"])
def test_a_unet(place: Workplace, family: Name, names: str, form: str) -> None:
    """As checkpoints name its weights, with and without what stands before them, and as diffusers does; F16, Q8_0: in GGUF,
    flat: with convolutions that are flattened and quantised too, as ComfyUI's are."""
    state = state_of(family)
    unet = part(state, UNET)
    whole = {UNET + name: x for name, x in unet.items()}
    held = {"whole": whole, "bare": unet, "diffusers": in_diffusers_names(family, unet)}[names]
    if form == "safetensors":
        file = put_state(place, "diffusion_models", "it.safetensors", held)
        model = unet_loader(place.ctx(), unet_name=file, weight_dtype="default")
    else:
        meant: dict[str, Any] = {}
        numbers = kinds("Q8_0" if form == "flat" else form)
        file = put(
            place, "diffusion_models", "it.gguf",
            lambda path: meant.update(write_gguf(path, held, numbers, flat=form == "flat")),
        )  # fmt: skip
        model = unet_loader_gguf(place.ctx(), unet_name=file)
        rounded = [torch.from_numpy(meant[name].copy()) for name in held]
        state |= {UNET + name: x for name, x in zip(unet, rounded, strict=True)}
    expected = plain(place, family, state)
    assert model.family == expected.model.family
    assert torch.equal(noise_of(place, model), noise_of(place, expected.model))
    assert place.warnings == []


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("names", ["whole", "bare", "diffusers"])
@pytest.mark.parametrize("form", ["safetensors", "ckpt", "gguf"])
def test_an_autoencoder(place: Workplace, family: Name, names: str, form: str) -> None:
    state = state_of(family)
    vae = part(state, VAE)
    if names == "whole":
        vae = {VAE + name: x for name, x in vae.items()}
    elif names == "diffusers":
        vae = {name: x.contiguous() for name, x in diffusers_vae(tiny_vae()).state_dict().items()}

    def write(path: Path) -> None:
        match form:
            case "safetensors":
                save_file(vae, path)
            case "ckpt":
                save(vae, path, "zip")
            case _:
                write_gguf(path, vae, kinds("F16"))

    opened = vae_loader(place.ctx(), vae_name=put(place, "vae", f"it.{form}", write))
    assert torch.equal(pixels_of(place, opened), pixels_of(place, plain(place, family).vae))
    assert place.warnings == []


# --- text encoders by themselves ---------------------------------------------------------------------------------------------

WIDE_H = replace(H, width=1024)  # by which a file tells that it is ViT-H
WIDE_G = replace(G, width=32, intermediate=64)  # whose rows are whole blocks


class Tower(NamedTuple):
    """A text tower of OpenCLIP, and where it stands in a checkpoint."""

    config: ClipConfig
    prefix: str


TOWERS: Mapping[Name, Tower] = {
    "sd2": Tower(WIDE_H, "cond_stage_model.model."),
    "xl": Tower(WIDE_G, "conditioner.embedders.1.model."),
    "refiner": Tower(WIDE_G, "conditioner.embedders.0.model."),
}


@cache
def open_clip_half(family: Name) -> State:
    config, prefix = TOWERS[family]
    return {name: x.half().contiguous() for name, x in open_clip_state(config, prefix, 3).items()}


def in_transformers_names(family: Name, tower: State) -> State:
    """As diffusers makes the tower one of transformers, and transformers saves it."""
    config, prefix = TOWERS[family]
    network = open_clip({prefix + name: x.float() for name, x in tower.items()}, prefix, config, config.layers)
    return {name: x.half().contiguous() for name, x in network.state_dict().items()}


def write_tower(path: Path, tower: State, form: str) -> State:
    """Write it, and say which numbers are meant by its names."""
    if form == "safetensors":
        save_file(tower, path)
        return tower
    if form == "fp8":
        kept, meant = in_eight_bits({name: x.float() for name, x in tower.items()}, scaled=True)
        save_file(kept, path)
        return meant
    found = write_gguf(path, tower, kinds(form))
    return {name: torch.from_numpy(numbers.copy()) for name, numbers in found.items()}


@pytest.mark.parametrize(
    ("family", "form"),
    [("sd2", "safetensors"), *product(("xl", "refiner"), ("safetensors", "fp8", "F16", "Q8_0"))],
)
@pytest.mark.parametrize("layout", ["open_clip", "transformers"])
def test_text_encoders(place: Workplace, family: Name, layout: str, form: str) -> None:
    """Of SDXL both towers, in either order."""
    state = {name: x for name, x in state_of(family).items() if not name.startswith(TOWERS[family].prefix)}
    whole = part(open_clip_half(family), TOWERS[family].prefix)
    tower = in_transformers_names(family, whole) if layout == "transformers" else whole
    meant: State = {}
    file = put(
        place, "text_encoders", "it.gguf" if form in ("F16", "Q8_0") else "it.safetensors",
        lambda path: meant.update(write_tower(path, tower, form)),
    )  # fmt: skip
    if layout == "transformers":
        meant = in_open_clip_names(meant, whole)
    expected = plain(place, family, state | {TOWERS[family].prefix + name: x for name, x in meant.items()}).clip
    if family == "xl":
        first = part(state, "conditioner.embedders.0.transformer.")
        other = put_state(place, "text_encoders", "l.safetensors", first)
        load = dual_clip_loader if form in ("safetensors", "fp8") else dual_clip_loader_gguf
        clips = [load(place.ctx(), clip_name1=a, clip_name2=b, type="sdxl") for a, b in ((file, other), (other, file))]
    elif form in ("safetensors", "fp8"):
        clips = [clip_loader(place.ctx(), clip_name=file, type="stable_diffusion")]
    else:
        clips = [clip_loader_gguf(place.ctx(), clip_name=file, type="stable_diffusion")]
    for clip in clips:
        assert clip.readings == expected.readings
        (tokens, pooled), (wanted, wanted_pooled) = text_of(place, clip), text_of(place, expected)
        assert torch.equal(tokens, wanted)
        if family == "sd2":  # whose U-Net reads no pooled text, so that diffusers keeps no matrix for it
            continue
        torch.testing.assert_close(
            pooled, wanted_pooled, rtol=0, atol=2e-5
        )  # one of the files has the matrix transposed
    assert place.warnings == []


def in_open_clip_names(tower: State, whole: State) -> State:
    """Numbers of a tower in transformers' names, as OpenCLIP has them, and what transformers leaves out from `whole`."""
    found: State = {}
    stacks: dict[str, dict[int, Tensor]] = {}
    for name, x in tower.items():
        own = name if name.startswith(("text_model.", "text_projection")) else f"text_model.{name}"
        if stacked := stacked_name(own):
            stacks.setdefault(stacked[0], {})[stacked[1]] = x
        else:
            found[open_clip_name(own)] = x.T.contiguous() if own.startswith("text_projection") else x
    return whole | found | {name: torch.cat([x for _, x in sorted(of.items())]) for name, of in stacks.items()}


# --- folders of diffusers ----------------------------------------------------------------------------------------------------

SMALL = "200KB"


def folder_of(place: Workplace, kind: Kind, **saving: Any) -> Path:
    """The folder that diffusers saves of its pipeline."""
    root: Path = place.folders.roots("diffusers")[0] / "it"
    pipe = pipeline(kind)
    if saving.get("variant"):
        pipe.to(torch.float16)
    pipe.save_pretrained(root, **saving)
    return root


def opened(place: Workplace, variant: str | None = None) -> Checkpoint:
    folder = Directory("diffusers", holding="model_index.json").coerce("it", place.folders)
    found: Checkpoint = diffusers_loader(place.ctx(), model_path=folder, variant=variant)
    return found


@pytest.mark.parametrize("kind", ["sd2", "xl", "refiner"])
@pytest.mark.parametrize(
    "saving",
    [
        {"variant": "fp16"},
        {"max_shard_size": SMALL},
        {"max_shard_size": SMALL, "variant": "fp16"},
        {"safe_serialization": False},
    ],
    ids=["fp16", "shards", "fp16_shards", "bin"],
)
def test_a_folder_as_diffusers_saves_it(place: Workplace, kind: Kind, saving: dict[str, Any]) -> None:
    """In float16, in many files with an index, both, or in pickles; the whole one in float32 is in test_pipelines."""
    root = folder_of(place, kind, **saving)
    assert bool([*root.glob("unet/*-of-*")]) is ("max_shard_size" in saving)
    folder, file = opened(place, saving.get("variant")), loaded(place, "plain.safetensors", single_file(kind))
    assert folder.model.family == file.model.family and folder.clip.readings == file.clip.readings
    one, other = given(place, folder), given(place, file)
    assert torch.equal(one.noise, other.noise) and torch.equal(one.tokens, other.tokens)
    assert torch.equal(one.pixels, other.pixels)
    if kind != "sd2":
        torch.testing.assert_close(one.pooled, other.pooled, rtol=0, atol=2e-5)
    assert place.warnings == []


def test_a_file_of_many_that_is_replaced_makes_another_model(place: Workplace) -> None:
    root = folder_of(place, "xl", max_shard_size=SMALL)
    before = opened(place).model
    was = noise_of(place, before)
    shard = min(root.glob("unet/*-of-*"))
    write_again(shard, {name: x + 0.01 for name, x in load_file(shard).items()})
    after = opened(place).model
    assert after.identity != before.identity and not torch.equal(noise_of(place, after), was)
    index = root / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    assert {path for path, _ in after.own_files} == {index, *root.glob("unet/*-of-*")}
    residency = Residency(torch.device("cpu"), Precision(), 2**30, is_same=place.folders.identity.matches)
    with residency.use(after):
        pass
    with pytest.raises(CheckpointError, match=f"{shard.name} was changed|was replaced"), residency.use(before):
        pass
    for text, said in (
        ('{"weight_map": {"conv_in.weight": "../x.safetensors"}}', "which is no file of weights beside it"),
        (f'{{"weight_map": {{"nothing": "{shard.name}"}}}}', f"names nothing, which {shard.name} does not hold"),
        ('{"weights": {}}', "is no index of weights in several files"),
    ):
        index.write_text(text)
        with pytest.raises(InputError, match=said):
            opened(place)
    index.unlink()
    with pytest.raises(InputError, match=r"but not the \.index\.json"):
        opened(place)


def write_again(path: Path, state: State) -> None:
    save_file(state, path.with_suffix(".new"), metadata={"format": "pt"})
    path.with_suffix(".new").replace(path)


def test_a_missing_file_of_many_is_named(place: Workplace) -> None:
    shard = min(folder_of(place, "refiner", max_shard_size=SMALL).glob("unet/*-of-*"))
    shard.unlink()
    with pytest.raises(InputError, match=rf"in unet/: {shard.name} does not exist"):
        opened(place)


@pytest.mark.parametrize("streamed", [False, True])
def test_many_files_are_streamed_layer_by_layer(place: Workplace, streamed: bool) -> None:
    """As one file is where memory is short, to the bit."""
    folder_of(place, "xl", max_shard_size=SMALL)
    folder, file = opened(place), loaded(place, "plain.safetensors", single_file("xl"))
    x, reading = random(1, 4, 8, 6), Reading(random(1, 7, 32), vector=random(1, UNETS["xl"].vector_dim))
    made = []
    for model in (folder.model, file.model):
        network = load_part(
            model.weights,
            "model",
            dtype=torch.float32,
            device=torch.device("cpu"),
            streamed=streamed,
            packed=not streamed,
        )
        made.append(network(x, torch.tensor([500.0]), reading))
    assert torch.equal(*made)
