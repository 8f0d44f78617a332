"""Loading SD v1's components from every format, number type and naming that files have."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models import weights as weights_module
from models.checkpoint import CheckpointError, Part, load_part, read_header
from models.packed import can_pack
from models.reading import Reading
from tests.tiny_checkpoint import PREFIXES, Format, save, tiny_networks, tiny_state

CPU = torch.device("cpu")
PARTS: tuple[Part, ...] = ("model", "clip", "vae")
FORMATS: tuple[Format, ...] = ("safetensors", "zip", "legacy")
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def networks() -> dict[Part, nn.Module]:
    networks = tiny_networks()
    for network in networks.values():
        for weight in network.parameters():
            weight.mul_(1.0001)  # so that 16 bits cannot hold them
    return networks


@pytest.fixture
def state(networks: dict[Part, nn.Module]) -> State:
    return tiny_state(networks)


def load(path: Path, part: Part, dtype: torch.dtype | None = None) -> nn.Module:
    return load_part(read_header(path), part, dtype=dtype, device=CPU)


def assert_same(loaded: nn.Module, made: nn.Module, stored: torch.dtype, dtype: torch.dtype | None = None) -> None:
    expected = made.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, expected[name].to(stored).to(dtype or stored), rtol=0, atol=0)


class TestRoundTrip:
    @pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
    @pytest.mark.parametrize("file_format", FORMATS)
    def test_every_format_and_number_type(
        self, tmp_path: Path, networks: dict[Part, nn.Module], file_format: Format, stored: torch.dtype
    ) -> None:
        path = save(tiny_state(networks, stored), tmp_path / "tiny.any", file_format)
        header = read_header(path)
        assert header.parts() == set(PARTS)
        for part in PARTS:
            for dtype in (None, torch.float32, torch.float16, torch.bfloat16):
                loaded = load_part(header, part, dtype=dtype, device=CPU)
                assert_same(loaded, networks[part], stored, dtype)
                assert type(loaded) is type(networks[part])
                assert loaded.config == networks[part].config
                assert not any(m.training for m in loaded.modules())
                assert not any(p.requires_grad for p in loaded.parameters())

    @pytest.mark.parametrize("file_format", FORMATS)
    def test_a_loaded_network_runs(self, tmp_path: Path, state: State, file_format: Format) -> None:
        path = save(state, tmp_path / "tiny", file_format)
        with torch.inference_mode():
            text = load(path, "clip")(torch.zeros(1, 77, dtype=torch.int64))
            eps = load(path, "model")(torch.randn(1, 4, 8, 8), torch.tensor([999.0]), Reading(text))
            assert load(path, "vae").decode(eps).shape == (1, 3, 64, 64)  # type: ignore[operator]

    @pytest.mark.parametrize("file_format", ["zip", "legacy"])
    def test_a_state_dict_without_wrapper(self, tmp_path: Path, state: State, file_format: Format, networks) -> None:  # type: ignore[no-untyped-def]
        torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=file_format == "zip")
        assert_same(load(tmp_path / "a.pt", "model"), networks["model"], torch.float32)

    @pytest.mark.parametrize("file_format", ["zip", "legacy"])
    def test_tensors_that_share_storage_or_are_transposed(
        self, tmp_path: Path, state: State, networks: dict[Part, nn.Module], file_format: Format
    ) -> None:
        name = "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight"
        state[name] = state[name].t().contiguous().t()
        both = torch.stack(
            [state["first_stage_model.encoder.conv_in.bias"], state["first_stage_model.decoder.norm_out.bias"]]
        )
        state["first_stage_model.encoder.conv_in.bias"], state["first_stage_model.decoder.norm_out.bias"] = both
        path = save(state, tmp_path / "tiny.ckpt", file_format)
        for part in PARTS:
            for dtype in (torch.float32, torch.float16):
                assert_same(load(path, part, dtype), networks[part], torch.float32, dtype)

    def test_a_header_travels_between_processes(
        self, tmp_path: Path, state: State, networks: dict[Part, nn.Module]
    ) -> None:
        header = pickle.loads(pickle.dumps(read_header(save(state, tmp_path / "tiny.ckpt", "zip"))))
        assert_same(load_part(header, "vae", dtype=None, device=CPU), networks["vae"], torch.float32)

    def test_mixed_number_types_become_float32(self, tmp_path: Path, state: State) -> None:
        state["first_stage_model.quant_conv.bias"] = state["first_stage_model.quant_conv.bias"].half()
        path = save(state, tmp_path / "tiny.safetensors", "safetensors")
        assert {t.dtype for t in load(path, "vae").state_dict().values()} == {torch.float32}

    @pytest.mark.parametrize("file_format", ["safetensors", "zip"])
    def test_one_component_is_read_without_the_others(
        self, tmp_path: Path, state: State, file_format: Format, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        header = read_header(save(state, tmp_path / "tiny", file_format))
        read = 0

        class Counting(io.FileIO):
            def readinto(self, buffer, /):  # type: ignore[no-untyped-def]
                nonlocal read
                read += (n := super().readinto(buffer))
                return n

        monkeypatch.setattr(weights_module, "_opened", lambda path: io.BufferedReader(Counting(path), 16))
        clip = load_part(header, "clip", dtype=torch.float16, device=CPU)
        needed = sum(2 * t.nbytes for t in clip.state_dict().values())
        assert needed <= read < 1.01 * needed + 100


class TestNaming:
    """The same tensors under the names that various programs have given them."""

    @pytest.mark.parametrize(
        ("part", "rename"),
        [
            ("vae", lambda name: name),
            ("vae", lambda name: "first_stage_model." + name),
            ("clip", lambda name: name),
            ("clip", lambda name: name.removeprefix("text_model.")),  # as transformers 5 writes it
            ("clip", lambda name: "cond_stage_model.transformer." + name.removeprefix("text_model.")),
            ("model", lambda name: name),
            ("model", lambda name: "diffusion_model." + name),
            ("model", lambda name: "model.diffusion_model." + name),
        ],
    )
    @pytest.mark.parametrize("file_format", FORMATS)
    def test_a_component_alone(
        self,
        tmp_path: Path,
        networks: dict[Part, nn.Module],
        part: Part,
        rename: Callable[[str], str],
        file_format: Format,
    ) -> None:
        state = {rename(name): tensor for name, tensor in networks[part].state_dict().items()}
        path = save(state, tmp_path / "part", file_format)
        assert read_header(path).parts() == {part}
        assert_same(load(path, part), networks[part], torch.float32)
        other: Part = "clip" if part == "vae" else "vae"
        with pytest.raises(CheckpointError, match=r"^part holds no (VAE|text encoder), only a "):
            load(path, other)

    def test_attention_stored_as_linear_layers(
        self, tmp_path: Path, state: State, networks: dict[Part, nn.Module]
    ) -> None:
        for layer in ("q", "k", "v", "proj_out"):
            for side in ("encoder", "decoder"):
                name = f"first_stage_model.{side}.mid.attn_1.{layer}.weight"
                state[name] = state[name][:, :, 0, 0]
        path = save(state, tmp_path / "tiny.safetensors", "safetensors")
        assert_same(load(path, "vae"), networks["vae"], torch.float32)

    def test_averaged_weights_only_when_asked_for(
        self, tmp_path: Path, state: State, networks: dict[Part, nn.Module]
    ) -> None:
        for name in networks["model"].state_dict():
            state["model_ema." + f"diffusion_model.{name}".replace(".", "")] = 2 * state[PREFIXES["model"] + name]
        state["model_ema.decay"] = torch.tensor(0.9999)
        header = read_header(save(state, tmp_path / "tiny.ckpt", "zip"))
        assert_same(load_part(header, "model", dtype=None, device=CPU), networks["model"], torch.float32)
        averaged = load_part(header, "model", dtype=None, device=CPU, ema=True)
        for name, tensor in averaged.state_dict().items():
            assert torch.equal(tensor, 2 * networks["model"].state_dict()[name])
        with pytest.raises(ValueError, match="only the U-Net"):
            load_part(header, "vae", dtype=None, device=CPU, ema=True)

    def test_no_averaged_weights(self, tmp_path: Path, state: State) -> None:
        header = read_header(save(state, tmp_path / "tiny.ckpt", "zip"))
        with pytest.raises(CheckpointError, match=r"^tiny\.ckpt holds no averaged"):
            load_part(header, "model", dtype=None, device=CPU, ema=True)

    def test_what_training_leaves_in_a_file_is_ignored(
        self, tmp_path: Path, state: State, networks: dict[Part, nn.Module]
    ) -> None:
        names = (
            "model_ema.decay",
            "first_stage_model.loss.logvar",
            "cond_stage_model.logit_scale",
            "lora_te_x.lora_up.weight",
        )
        path = save(state | {name: torch.zeros(2) for name in names}, tmp_path / "tiny.safetensors", "safetensors")
        for part in PARTS:
            assert_same(load(path, part), networks[part], torch.float32)


class TestRefusal:
    """A file that does not fit says which it is, what is wrong, and where."""

    def test_missing_tensors(self, tmp_path: Path, state: State) -> None:
        for name in (gone := [name for name in state if ".mid." in name]):
            del state[name]
        path = save(state, tmp_path / "tiny.safetensors", "safetensors")
        with pytest.raises(
            CheckpointError, match=rf"^tiny\.safetensors lacks {len(gone)} tensors of its VAE: first_stage"
        ):
            load(path, "vae")
        assert load(path, "clip")

    def test_any_missing_tensor_is_named(self, tmp_path: Path, state: State) -> None:
        roots = ("input_blocks.0.0.weight", "token_embedding.weight", "decoder.up.0.block.0.norm1.weight")
        for part, prefix in PREFIXES.items():
            names = [name for name in state if name.startswith(prefix) and not name.endswith((*roots, "position_ids"))]
            for name in names[:: max(1, len(names) // 12)] + [n for n in names if ".op." in n]:
                path = save({n: t for n, t in state.items() if n != name}, tmp_path / "x.safetensors", "safetensors")
                with pytest.raises(CheckpointError, match="lacks 1 tensor of its") as error:
                    load(path, part)
                assert name in str(error.value)

    @pytest.mark.parametrize("shape", [(3, 3), (8, 8, 3, 3), ()])
    def test_a_wrong_shape(self, tmp_path: Path, state: State, shape: tuple[int, ...]) -> None:
        state["first_stage_model.quant_conv.weight"] = torch.zeros(8, 8, 1, 1)
        state["first_stage_model.post_quant_conv.weight"] = torch.zeros(shape)
        path = save(state, tmp_path / "tiny.safetensors", "safetensors")
        with pytest.raises(CheckpointError) as error:
            load(path, "vae")
        assert str(error.value) == (
            f"tiny.safetensors: first_stage_model.post_quant_conv.weight has the shape {list(shape)}, expected [4, 4, 1, 1]"
        )

    @pytest.mark.parametrize("part", PARTS)
    def test_shapes_that_make_no_network(self, tmp_path: Path, state: State, part: Part) -> None:
        for name in state:
            if name.startswith(PREFIXES[part]):
                state[name] = state[name].reshape(-1)[:1]
        path = save(state, tmp_path / "tiny.safetensors", "safetensors")
        with pytest.raises(CheckpointError, match=r"^tiny\.safetensors"):
            load(path, part)

    def test_whole_numbers_where_weights_belong(self, tmp_path: Path, state: State) -> None:
        name = "first_stage_model.quant_conv.bias"
        state[name] = torch.zeros(8, dtype=torch.int8)
        path = save(state, tmp_path / "tiny.safetensors", "safetensors")
        with pytest.raises(CheckpointError, match=rf"{name} holds torch.int8, expected floating-point"):
            load(path, "vae")

    @pytest.mark.parametrize(
        ("part", "name"),
        [
            ("model", "model.diffusion_model.input_blocks.1.1.attn3.weight"),
            ("vae", "first_stage_model.encoder.down.0.attn.0.q.weight"),
            ("clip", "cond_stage_model.transformer.text_model.encoder.adapter.weight"),
        ],
    )
    def test_a_network_with_more_layers(self, tmp_path: Path, state: State, part: Part, name: str) -> None:
        path = save(state | {name: torch.zeros(1)}, tmp_path / "tiny.safetensors", "safetensors")
        with pytest.raises(CheckpointError, match=rf"with 1 tensors? that Stable Diffusion v1's has not: {name}"):
            load(path, part)

    def test_block_numbers_without_end(self, tmp_path: Path, state: State) -> None:
        state["model.diffusion_model.input_blocks.999999999.0.in_layers.0.weight"] = torch.zeros(1)
        path = save(state, tmp_path / "tiny.safetensors", "safetensors")
        with pytest.raises(CheckpointError, match="block number"):
            load(path, "model")

    def test_a_file_replaced_between_header_and_weights(
        self, tmp_path: Path, state: State, networks: dict[Part, nn.Module]
    ) -> None:
        path = save(state, tmp_path / "tiny.safetensors", "safetensors")
        header = read_header(path)
        os.utime(path, ns=(1, 1))
        assert_same(load_part(header, "vae", dtype=None, device=CPU), networks["vae"], torch.float32)
        other = save({"x": torch.zeros(3)} | state, tmp_path / "other", "safetensors")
        other.replace(path)
        with pytest.raises(CheckpointError, match=r"^tiny\.safetensors was changed"):
            load_part(header, "vae", dtype=None, device=CPU)


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ({f"model.diffusion_model.{name}": (8, 8) for name in ("label_emb.0.0.weight", "out.2.weight", "middle_block.0.out_layers.3.weight")}, "an SDXL model without attention in its middle block (SSD-1B)"),
        ({"edm_mean": (4,), "edm_std": (4,)}, "an SDXL model with latents of its own (Playground 2.5)"),
        ({"edm_vpred.sigma_max": ()}, "an SDXL model of continuous noise levels (CosXL)"),
        ({"model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight": (1,)}, "a Stable Diffusion 3 model"),
        ({"double_blocks.0.img_attn.qkv.weight": (1,)}, "a Flux model"),
        ({"decoder.conv_in.weight": (512, 16, 3, 3)}, "a VAE with 16 latent channels (Stable Diffusion 3, Flux)"),
        ({"model.diffusion_model.input_blocks.1.1.time_stack.0.norm1.weight": (1,)}, "a video model"),
        ({"lora_unet_down_blocks_0_attn.lora_up.weight": (1,)}, "a LoRA"),
        ({"unet.down_blocks.0.attn.to_q.lora_A.weight": (1,)}, "a LoRA"),
        ({"control_model.input_blocks.0.0.weight": (320, 4, 3, 3)}, "a ControlNet"),
        ({"emb_params": (2, 768)}, "a textual-inversion embedding"),
        ({"clip_l": (2, 768), "clip_g": (2, 1280)}, "a textual-inversion embedding"),
        ({"<cat-toy>": (768,)}, "a textual-inversion embedding"),
        ({"down_blocks.0.resnets.0.conv1.weight": (1,), "conv_in.weight": (1,)}, "a component in the layout of diffusers"),
        ({"encoder.down_blocks.0.resnets.0.conv1.weight": (1,), "quant_conv.weight": (1,)}, "a component in the layout of diffusers"),
        ({"vision_model.post_layernorm.weight": (1024,)}, "a CLIP vision model"),
        ({"model.1.sub.0.RDB1.conv1.0.weight": (32, 64, 3, 3)}, "an upscaler"),
        ({"body.0.rdb1.conv1.weight": (32, 64, 3, 3)}, "an upscaler"),
        ({"a": (1,), "b": (2,), "c": (), "d": (1,), "e": (1,)}, "not a Stable Diffusion checkpoint (it holds a, b, c, d, …)"),
        ({}, "not a Stable Diffusion checkpoint (it holds nothing)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("file_format", ["safetensors", "zip"])
def test_other_kinds_of_file_are_named(
    tmp_path: Path, names: dict[str, tuple[int, ...]], kind: str, file_format: Format
) -> None:
    path = save({name: torch.zeros(shape) for name, shape in names.items()}, tmp_path / "x.file", file_format)
    with pytest.raises(CheckpointError) as error:
        read_header(path)
    assert str(error.value).startswith(f"x.file is {kind};")
    assert "Stable Diffusion" in str(error.value) and "SDXL" in str(error.value)


def test_a_text_encoder_of_1024_channels_is_no_reason_to_refuse_a_consistent_file(tmp_path: Path) -> None:
    names = {
        "input_blocks.0.0.weight": (8, 4, 3, 3),
        "middle_block.1.transformer_blocks.0.attn2.to_k.weight": (8, 1024),
        "text_model.embeddings.token_embedding.weight": (99, 1024),
    }
    path = save({name: torch.zeros(shape) for name, shape in names.items()}, tmp_path / "x", "safetensors")
    assert read_header(path).parts() == {"model", "clip_h"}


# --- the layout of diffusers --------------------------------------------------------------------------------------------


class TestDiffusersLayout:
    """One file a component, as `save_pretrained` writes it."""

    @pytest.mark.parametrize("part", ["model", "vae"])
    def test_a_file_of_diffusers_is_the_same_network(
        self, tmp_path: Path, state: State, networks: dict[Part, nn.Module], part: Part
    ) -> None:
        loaded = load(as_diffusers(state, part, tmp_path), part, torch.float32)
        assert read_header(tmp_path / "component.safetensors").unused() == []
        assert_same(loaded, networks[part], torch.float32)

    def test_the_names_of_older_attention(self, tmp_path: Path, state: State, networks: dict[Part, nn.Module]) -> None:
        tensors = load_file(as_diffusers(state, "vae", tmp_path))
        for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            tensors = {name.replace(f".{new}.", f".{old}."): tensor for name, tensor in tensors.items()}
        save_file(tensors, tmp_path / "old.safetensors")
        assert_same(load(tmp_path / "old.safetensors", "vae"), networks["vae"], torch.float32)

    @pytest.mark.parametrize("level", ["", "text_model."])
    def test_a_text_encoder_of_old_and_new_transformers(
        self, tmp_path: Path, networks: dict[Part, nn.Module], level: str
    ) -> None:
        tensors = {name.replace("text_model.", level): x for name, x in networks["clip"].state_dict().items()}
        save_file(tensors, tmp_path / "model.safetensors")
        assert_same(load(tmp_path / "model.safetensors", "clip"), networks["clip"], torch.float32)

    def test_controlnets_are_told_apart(self, tmp_path: Path, state: State) -> None:
        tensors = load_file(as_diffusers(state, "model", tmp_path))
        down = {name: tensor for name, tensor in tensors.items() if not name.startswith("up_blocks")}
        save_file(down | {"controlnet_cond_embedding.conv_in.weight": torch.zeros(1)}, tmp_path / "c.safetensors")
        assert read_header(tmp_path / "c.safetensors").parts() == {"controlnet"}


def as_diffusers(state: State, part: Part, folder: Path) -> Path:
    """The component as diffusers converts and names it."""
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint

    if part == "model":
        config = {"layers_per_block": 1, "class_embed_type": None, "addition_embed_type": None}
        theirs = convert_ldm_unet_checkpoint(dict(state), config)
    else:
        theirs = convert_ldm_vae_checkpoint(
            dict(state), dict.fromkeys(("down_block_types", "up_block_types"), ["x"] * 4)
        )
    save_file({name: tensor.clone().contiguous() for name, tensor in theirs.items()}, folder / "component.safetensors")
    return folder / "component.safetensors"


@pytest.mark.parametrize("packed", [False, pytest.param(True, marks=pytest.mark.skipif(not can_pack(), reason="-"))])
@pytest.mark.parametrize("end", ["scale_weight", "weight_scale"])
def test_weights_in_8_bits_with_a_scale(tmp_path: Path, state: State, end: str, packed: bool) -> None:
    kept, exact = dict(state), dict(state)
    for name in [name for name in state if name.endswith("attn1.to_q.weight")]:
        scale = state[name].abs().max() / 448
        kept[name] = (state[name] / scale).to(torch.float8_e4m3fn)
        kept[name.removesuffix("weight") + end] = scale
        exact[name] = kept[name].float() * scale
    kept["model.diffusion_model.scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
    save_file(kept, tmp_path / "fp8.safetensors")
    save_file(exact, tmp_path / "exact.safetensors")
    assert read_header(tmp_path / "fp8.safetensors").unused() == []
    generator = torch.Generator().manual_seed(0)
    x, context = (torch.randn(shape, generator=generator) for shape in ((1, 4, 8, 8), (1, 77, 8)))
    made = []
    for name in ("fp8", "exact"):
        header = read_header(tmp_path / f"{name}.safetensors")
        unet = load_part(header, "model", dtype=torch.float32, device=CPU, packed=packed)
        with torch.inference_mode():
            made.append(unet(x, torch.tensor([500.0]), Reading(context)))
    torch.testing.assert_close(*made)
