"""CheckpointLoaderSimple and VAELoader: handles to networks, and what is said about files that hold none."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from graph.errors import InputError
from models.prediction import Eps, Velocity
from models.types import Clip, Latent, Model, Vae
from nodes.checkpoint_configs import checkpoint_loader
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
    with place.services.residency.use(model) as unet, place.services.residency.use(clip.towers[0]) as encoder:
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


def changed_file(place: Workplace, change: Callable[[dict[str, Tensor]], object], **metadata: str) -> Checkpoint:
    """What the loader gives for the tiny checkpoint after `change`."""
    tensors = load_file(checkpoints(place) / CHECKPOINT)
    change(tensors)
    save_file(tensors, checkpoints(place) / "other.safetensors", metadata=metadata)
    return load(place, "other.safetensors")


def without(start: str) -> Callable[[dict[str, Tensor]], object]:
    return lambda tensors: [tensors.pop(name) for name in list(tensors) if name.startswith(start)]


def test_only_who_asks_for_a_part_that_is_not_there_is_told(place: Workplace) -> None:
    loaded, whole = changed_file(place, without("first_stage_model.")), load(place)
    latent = Latent(torch.zeros(1, 4, 2, 2))
    with pytest.raises(InputError, match=r"other\.safetensors holds no VAE, only a U-Net and a text enc") as caught:
        vae_decode(place.ctx(), samples=latent, vae=loaded.vae)
    assert caught.value.input_name == "vae"
    loaded = changed_file(place, without("cond_stage_model."))
    assert torch.equal(
        vae_decode(place.ctx(), samples=latent, vae=loaded.vae).pixels,
        vae_decode(place.ctx(), samples=latent, vae=whole.vae).pixels,
    )
    with pytest.raises(InputError, match=r"holds no text encoder, only a U-Net and a VAE") as caught:
        clip_text_encode(place.ctx(), text="a", clip=loaded.clip)
    assert caught.value.input_name == "clip"
    assert place.warnings == []


def test_a_file_without_a_unet_is_no_checkpoint(place: Workplace) -> None:
    with pytest.raises(InputError, match=r"other\.safetensors holds no U-Net, only a text encoder and a VAE") as caught:
        changed_file(place, without("model.diffusion_model."))
    assert caught.value.input_name == "ckpt_name"


@pytest.mark.parametrize(
    ("channels", "said"),
    [(7, "an upscaling model (7 input channels)"), (6, "6 input")],
)
def test_a_unet_that_reads_what_it_cannot_be_given_is_refused_by_its_name(
    place: Workplace, channels: int, said: str
) -> None:
    name = "model.diffusion_model.input_blocks.0.0.weight"

    def widen(tensors: dict[str, Tensor]) -> None:
        tensors[name] = torch.cat([tensors[name], tensors[name][:, :1].repeat(1, channels - 4, 1, 1)], 1)

    with pytest.raises(InputError, match=re.escape(said)) as caught:
        changed_file(place, widen)
    assert caught.value.input_name == "ckpt_name"


@pytest.mark.parametrize(
    ("marker", "metadata"), [({"v_pred": torch.zeros(0)}, {}), ({}, {"modelspec.prediction_type": "v"})]
)
def test_a_note_that_a_model_predicts_v_counts(
    place: Workplace, marker: dict[str, Tensor], metadata: dict[str, str]
) -> None:
    loaded = changed_file(place, lambda tensors: tensors.update(marker), **metadata)
    assert isinstance(loaded.model.weights.family.diffusion.prediction, Velocity)
    assert not place.warnings


def test_tensors_that_nothing_reads_are_told_with_their_number(place: Workplace) -> None:
    strange = {f"bundle_emb.{i}.string_to_param.*": torch.zeros(1, 8) for i in range(5)}
    harmless = {
        "model_ema.decay": torch.zeros(()),
        "cond_stage_model.logit_scale": torch.zeros(()),
        "betas": torch.ones(3),
    }
    changed_file(place, lambda tensors: tensors.update(harmless))
    assert place.warnings == []
    changed_file(place, lambda tensors: tensors.update(strange | harmless))
    [warning] = place.warnings
    assert warning.message.startswith("5 tensors of other.safetensors are not used: bundle_emb.0")
    assert warning.message.endswith(", …") and warning.input_name == "ckpt_name"


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


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('model:\n  params:\n    parameterization: "v"\n', Velocity),
        ("model:\n  params:\n    linear_start: 0.00085\n", Eps),
        ("    parameterization: eps\n", Eps),
    ],
)
def test_a_configuration_says_what_a_model_predicts(place: Workplace, text: str, kind: type) -> None:
    folder = place.folders.roots("configs")[0]
    folder.mkdir(parents=True)
    (folder / "v2-inference.yaml").write_text(text)
    ckpt = place.file("checkpoints", CHECKPOINT)
    given = {"config_name": place.folders.find("configs", "v2-inference.yaml", (".yaml",)), "ckpt_name": ckpt}
    loaded = checkpoint_loader(place.ctx(), **given)
    plain = checkpoint_loader_simple(place.ctx(), ckpt_name=ckpt)
    assert isinstance(loaded.model.diffusion.prediction, kind)
    assert loaded.clip == plain.clip and loaded.vae == plain.vae
    assert (loaded.model == plain.model) is (kind is Eps)
    (folder / "v2-inference.yaml").write_text("parameterization: flow\n")
    with pytest.raises(InputError, match="predicts flow"):
        checkpoint_loader(place.ctx(), **given)
