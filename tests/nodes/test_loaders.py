"""CheckpointLoaderSimple and VAELoader: handles to networks, and what is said about files that hold none."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from graph.errors import InputError
from models.types import Clip, Latent, Model, Vae
from nodes.conditioning import clip_text_encode
from nodes.latent import vae_decode
from nodes.loaders import Checkpoint, checkpoint_loader_simple, vae_loader
from tests.nodes.conftest import CHECKPOINT, Workplace
from tests.tiny_checkpoint import WIDTH, write_tiny_checkpoint


def load(place: Workplace, name: str = CHECKPOINT) -> Checkpoint:
    loaded = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", name))
    assert isinstance(loaded, Checkpoint)
    return loaded


def checkpoints(place: Workplace) -> Path:
    return place.folders.roots("checkpoints")[0]


def test_a_checkpoint_is_three_handles_and_nothing_is_loaded_yet(place: Workplace) -> None:
    model, clip, vae = load(place)
    assert (type(model), type(clip), type(vae)) == (Model, Clip, Vae)
    assert place.services.residency.resident_bytes == 0
    assert pickle.loads(pickle.dumps(model)) == model


def test_each_handle_leads_to_its_network(place: Workplace) -> None:
    model, clip, vae = load(place)
    with place.services.residency.use(model) as unet, place.services.residency.use(clip) as encoder:
        assert unet.config.context_dim == encoder.config.width == WIDTH
    with place.services.residency.use(vae) as autoencoder:
        assert autoencoder.config.factor == 8


def test_a_replaced_file_makes_other_handles_and_an_equal_copy_the_same(place: Workplace) -> None:
    before = load(place).model
    (checkpoints(place) / "copy.safetensors").write_bytes((checkpoints(place) / CHECKPOINT).read_bytes())
    assert load(place, "copy.safetensors").model.identity == before.identity
    write_tiny_checkpoint(checkpoints(place) / CHECKPOINT, seed=1)
    assert load(place).model.identity != before.identity


def test_a_ckpt_file_is_a_checkpoint_too(place: Workplace) -> None:
    tensors = load_file(checkpoints(place) / CHECKPOINT)
    torch.save({"state_dict": tensors, "global_step": 470_000}, checkpoints(place) / "old.ckpt")
    clip = load(place, "old.ckpt").clip
    again = clip_text_encode(place.ctx(), text="a", clip=clip).conds[0].tokens
    assert torch.equal(again, clip_text_encode(place.ctx(), text="a", clip=load(place).clip).conds[0].tokens)


def test_an_autoencoder_of_its_own_file_is_that_of_the_checkpoint_it_came_from(place: Workplace) -> None:
    tensors = load_file(checkpoints(place) / CHECKPOINT)
    folder = place.folders.roots("vae")[0]
    folder.mkdir(parents=True, exist_ok=True)
    prefix = "first_stage_model."
    bare = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    save_file(bare, folder / "bare.safetensors")
    torch.save({"state_dict": bare}, folder / "bare.ckpt")
    (folder / "whole.safetensors").symlink_to(checkpoints(place) / CHECKPOINT)
    latent = Latent(torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0)))
    wanted = vae_decode(place.ctx(), samples=latent, vae=load(place).vae)
    for name in ("bare.safetensors", "bare.ckpt", "whole.safetensors"):
        vae = vae_loader(place.ctx(), vae_name=place.file("vae", name))
        assert torch.equal(vae_decode(place.ctx(), samples=latent, vae=vae).pixels, wanted.pixels), name
    rest = {name: t for name, t in tensors.items() if not name.startswith(prefix)}
    save_file(rest, folder / "other.safetensors")
    (folder / "broken.ckpt").write_bytes(b"hello")
    for name in ("other.safetensors", "broken.ckpt"):
        with pytest.raises(InputError, match=name) as caught:
            vae_loader(place.ctx(), vae_name=place.file("vae", name))
        assert caught.value.input_name == "vae_name"


@pytest.mark.parametrize("part", ["model.diffusion_model.", "cond_stage_model.", "first_stage_model."])
def test_a_file_without_one_of_the_three_says_which(place: Workplace, part: str) -> None:
    tensors = load_file(checkpoints(place) / CHECKPOINT)
    save_file(
        {name: t for name, t in tensors.items() if not name.startswith(part)}, checkpoints(place) / "part.safetensors"
    )
    word = {"model.diffusion_model.": "model", "cond_stage_model.": "clip", "first_stage_model.": "vae"}[part]
    with pytest.raises(InputError, match=rf"part\.safetensors.*lacks {word}$") as caught:
        load(place, "part.safetensors")
    assert caught.value.input_name == "ckpt_name"


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x02garbage", b"PK\x03\x04"])
def test_a_file_that_is_no_checkpoint_blames_the_input(place: Workplace, content: bytes) -> None:
    (checkpoints(place) / "broken.ckpt").write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.ckpt") as caught:
        load(place, "broken.ckpt")
    assert caught.value.input_name == "ckpt_name"


def test_a_file_cut_short_blames_the_input(place: Workplace) -> None:
    content = (checkpoints(place) / CHECKPOINT).read_bytes()
    (checkpoints(place) / "cut.safetensors").write_bytes(content[:-1])
    with pytest.raises(InputError, match=r"cut\.safetensors is truncated") as caught:
        load(place, "cut.safetensors")
    assert caught.value.input_name == "ckpt_name"


def test_a_file_that_lacks_tensors_is_blamed_with_their_names(place: Workplace) -> None:
    tensors = load_file(checkpoints(place) / CHECKPOINT)
    del tensors["first_stage_model.decoder.conv_out.weight"]
    save_file(tensors, checkpoints(place) / "hole.safetensors")
    with pytest.raises(
        InputError, match=r"hole\.safetensors lacks.*first_stage_model\.decoder\.conv_out\.weight"
    ) as caught:
        loaded = load(place, "hole.safetensors")
        vae_decode(place.ctx(), samples=Latent(torch.zeros(1, 4, 1, 1)), vae=loaded.vae)
    assert caught.value.input_name in ("ckpt_name", "vae")
