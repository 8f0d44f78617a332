"""GGUF files in workflows: every loader opens them, by each name that users' workflows have for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from graph.errors import InputError
from models.types import Clip, Model
from nodes.conditioning import clip_text_encode
from nodes.gguf_loaders import clip_loader_gguf, dual_clip_loader_gguf, unet_loader_gguf
from nodes.loaders import Checkpoint, checkpoint_loader_simple, clip_loader, unet_loader, vae_loader
from nodes.saving import model_save
from tests.gguf_files import kinds, write_gguf
from tests.nodes.conftest import CHECKPOINT, Workplace


def placed(place: Workplace, folder: str, name: str) -> Path:
    root = place.folders.roots(folder)[0]
    root.mkdir(parents=True, exist_ok=True)
    return root / name


@pytest.fixture
def state(place: Workplace) -> dict[str, Tensor]:
    return load_file(placed(place, "checkpoints", CHECKPOINT))


def part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def encoded(place: Workplace, clip: Clip) -> Tensor:
    return clip_text_encode(place.ctx(), clip=clip, text="a cat").conds[0].tokens


def test_a_whole_checkpoint_and_each_of_its_networks_alone(place: Workplace, state: dict[str, Tensor]) -> None:
    floats = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    meant = write_gguf(placed(place, "checkpoints", "small.gguf"), floats, kinds("Q8_0"))
    save_file(
        {name: torch.from_numpy(numbers.copy()) for name, numbers in meant.items()},
        placed(place, "checkpoints", "full.safetensors"),
    )
    small, full = (
        checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", name))
        for name in ("small.gguf", "full.safetensors")
    )
    assert isinstance(small, Checkpoint) and isinstance(full, Checkpoint)
    assert torch.equal(encoded(place, small.clip), encoded(place, full.clip))
    write_gguf(
        placed(place, "text_encoders", "clip.gguf"), part(floats, "cond_stage_model.transformer."), kinds("Q8_0")
    )
    write_gguf(placed(place, "vae", "vae.gguf"), part(floats, "first_stage_model."), kinds("Q8_0"))
    file = place.file("text_encoders", "clip.gguf")
    for clip in (
        clip_loader(place.ctx(), clip_name=file, type="stable_diffusion"),
        clip_loader_gguf(place.ctx(), clip_name=file, type="stable_diffusion"),
    ):
        assert torch.equal(encoded(place, clip), encoded(place, full.clip))
    vae = vae_loader(place.ctx(), vae_name=place.file("vae", "vae.gguf"))
    with place.services.residency.use(vae) as loaded, place.services.residency.use(full.vae) as expected:
        pairs = zip(loaded.state_dict().items(), expected.state_dict().values(), strict=True)
        assert all(torch.equal(one, other) for (name, one), other in pairs if one.ndim < 2 or not one.isnan().all())
    with pytest.raises(InputError, match=r"clip\.gguf and clip\.gguf hold ViT-L"):
        dual_clip_loader_gguf(place.ctx(), clip_name1=file, clip_name2=file, type="sdxl")


def test_a_unet_alone_is_found_by_its_bare_names_and_saved_in_sixteen_bits(
    place: Workplace, state: dict[str, Tensor]
) -> None:
    wide = {
        name: tensor for name, tensor in part(state, "model.diffusion_model.").items() if tensor.shape[-1:] == (32,)
    }
    assert wide, "some rows are whole blocks"
    write_gguf(placed(place, "diffusion_models", "unet.gguf"), part(state, "model.diffusion_model."), kinds("Q8_0"))
    file = place.file("diffusion_models", "unet.gguf")
    model = unet_loader_gguf(place.ctx(), unet_name=file)
    assert model == unet_loader(place.ctx(), unet_name=file, weight_dtype="default")
    assert isinstance(model, Model) and model.family.name == "Stable Diffusion 1"
    model_save(place.ctx(), model=model, filename_prefix="unet")
    [saved] = place.output.glob("unet*.safetensors")
    assert {tensor.dtype for tensor in load_file(saved).values()} == {torch.float16}
    [warning] = place.warnings
    assert warning.message == "the weights of unet.gguf are quantised; they are saved as float16"
