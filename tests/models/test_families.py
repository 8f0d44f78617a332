"""Families are told by their files' names and shapes, and each one's text is read as transformers reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.checkpoint import Part, load_part, own_shapes, read_header
from models.clip import TextModel
from models.config import ClipConfig
from models.family import SD1, SD2, SDXL, SDXL_REFINER, UNKNOWN, Family, TowerReading, text_family
from models.prediction import Eps, Velocity
from models.text import encode_text, side_by_side
from models.tokenizer import BOS, EOS, ClipTokenizer
from models.unclip import UnclipRecipe
from tests.models.oracles import relative_error
from tests.tiny_checkpoint import CLIP, save, tiny_networks, tiny_state
from tests.tiny_families import EYES, UNETS, G, H, Kind, family_state, write_family

pytestmark = pytest.mark.usefixtures("one_thread")

TOLERANCE = 1e-5
TOKENIZER = ClipTokenizer()
CPU = torch.device("cpu")
UNCLIP = replace(SD2, name="Stable Diffusion 2 unCLIP", vector=UnclipRecipe(EYES.projection))
FAMILIES: Mapping[Kind, Family] = {
    "sd2": SD2,
    "depth": SD2,
    "unclip": UNCLIP,
    "xl": SDXL,
    "xl_inpainting": SDXL,
    "refiner": SDXL_REFINER,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[Kind, Path]:
    folder = tmp_path_factory.mktemp("families")
    return {kind: write_family(folder / f"{kind}.safetensors", kind, dtype=torch.float32) for kind in UNETS}


@pytest.mark.parametrize("kind", UNETS)
def test_the_family_is_told_by_the_header(files: Mapping[Kind, Path], kind: Kind) -> None:
    weights, family = read_header(files[kind]), FAMILIES[kind]
    assert replace(weights.family, diffusion=family.diffusion) == family
    eyes = {"clip_vision"} if kind == "unclip" else set[str]()
    assert weights.parts() == {"model", "vae", *(reading.tower for reading in family.text), *eyes}
    assert weights.unused() == []


@pytest.mark.parametrize("kind", UNETS)
@pytest.mark.parametrize("file_format", ["safetensors", "zip", "legacy"])
def test_every_weight_is_read_from_any_format(tmp_path: Path, kind: Kind, file_format: Any) -> None:
    weights = read_header(save(family_state(kind), tmp_path / "x.file", file_format))
    for part in weights.parts():
        network = load_part(weights, part, dtype=torch.float32, device=CPU)
        packed = load_part(weights, part, dtype=torch.float32, device=CPU, packed=True)
        assert own_shapes(weights, part) == {name: tuple(t.shape) for name, t in network.state_dict().items()}
        assert {name for name, _ in packed.named_modules()} == {name for name, _ in network.named_modules()}


def test_scales_and_levels_of_the_families() -> None:
    assert [family.latent.scale for family in (SD1, SD2, SDXL, SDXL_REFINER)] == [0.18215, 0.18215, 0.13025, 0.13025]


@pytest.mark.parametrize(("marks", "velocity", "zero"), [((), False, False), (("v_pred",), True, False), (("v_pred", "ztsnr"), True, True)])  # fmt: skip
def test_trainers_marks_count_for_xl(tmp_path: Path, marks: tuple[str, ...], velocity: bool, zero: bool) -> None:
    path = write_family(tmp_path / "x.safetensors", "xl", marks=marks)
    diffusion = read_header(path).family.diffusion
    assert diffusion.prediction == (Velocity() if velocity else Eps()) and diffusion.levels.zero_terminal is zero


@pytest.mark.parametrize(("spread", "channels", "velocity"), [(0.3, 4, True), (0.02, 4, False), (0.3, 9, False)])
def test_stable_diffusion_2_predicts_v_where_a_norm_s_biases_deviate(
    tmp_path: Path, spread: float, channels: int, velocity: bool
) -> None:
    state = family_state("sd2")
    name = "model.diffusion_model.output_blocks.3.1.transformer_blocks.0.norm1.bias"
    state[name] = spread * torch.linspace(-1.7, 1.7, len(state[name]))
    first = "model.diffusion_model.input_blocks.0.0.weight"
    state[first] = torch.cat([state[first], state[first][:, :1].repeat(1, channels - 4, 1, 1)], dim=1)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "x.safetensors")
    assert read_header(tmp_path / "x.safetensors").family.diffusion.prediction == (Velocity() if velocity else Eps())


# --- text ------------------------------------------------------------------------------------------------------------------


def theirs(config: ClipConfig, state: Mapping[str, Tensor], prefix: str) -> Any:
    """transformers' text model with the weights of a checkpoint, in OpenCLIP's names as diffusers converts them."""
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    model = CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=config.vocab,
            hidden_size=config.width,
            intermediate_size=config.intermediate,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            hidden_act=config.activation,
            projection_dim=config.projection or config.width,
            bos_token_id=BOS,
            eos_token_id=EOS,
        )
    ).eval()
    if any(name.startswith(f"{prefix}text_model.") for name in state):
        converted = {name.removeprefix(prefix): x for name, x in state.items() if name.startswith(prefix)}
    else:
        converted = convert_open_clip_checkpoint(model, dict(state), prefix)
    level = "" if any(name.startswith("embeddings.") for name in model.text_model.state_dict()) else "text_model."
    text = {name.removeprefix("text_model."): x for name, x in converted.items() if name.startswith("text_model.")}
    model.text_model.load_state_dict({level + name: x for name, x in text.items()}, strict=False)
    if "text_projection.weight" in converted:
        model.text_projection.weight.data = converted["text_projection.weight"]
    return model


def padded(text: str, padding: int) -> Tensor:
    ids = TOKENIZER.encode(text)
    return torch.tensor([[BOS, *ids, EOS] + [padding] * (75 - len(ids))])


def read(path: Path, text: str, family: Family) -> Any:
    weights = read_header(path)
    conds = []
    for reading in family.text:
        tower = load_part(weights, reading.tower, dtype=torch.float32, device=CPU)
        assert isinstance(tower, TextModel)
        conds.append(encode_text(tower, TOKENIZER, text, reading=reading))
    return side_by_side(conds)


def test_sdxl_reads_two_towers_side_by_side(files: Mapping[Kind, Path]) -> None:
    state, text = load_file(files["xl"]), "a red fox under a green star"
    with torch.inference_mode():
        cond = read(files["xl"], text, SDXL)
        first = theirs(ClipConfig(CLIP.width, 3, CLIP.intermediate), state, "conditioner.embedders.0.transformer.")
        second = theirs(G, state, "conditioner.embedders.1.model.")
        one = first(padded(text, EOS), output_hidden_states=True)
        two = second(padded(text, 0), output_hidden_states=True)
    expected = torch.cat([one.hidden_states[-2], two.hidden_states[-2]], dim=-1)
    assert relative_error(cond.tokens, expected) <= TOLERANCE
    assert relative_error(cond.pooled, two.text_embeds) <= TOLERANCE


def test_the_refiner_reads_the_second_alone(files: Mapping[Kind, Path]) -> None:
    with torch.inference_mode():
        cond = read(files["refiner"], "a red fox", SDXL_REFINER)
        two = theirs(G, load_file(files["refiner"]), "conditioner.embedders.0.model.")
        two = two(padded("a red fox", 0), output_hidden_states=True)
    assert relative_error(cond.tokens, two.hidden_states[-2]) <= TOLERANCE
    assert relative_error(cond.pooled, two.text_embeds) <= TOLERANCE


def test_stable_diffusion_2_reads_the_layer_before_the_last_behind_the_norm(files: Mapping[Kind, Path]) -> None:
    with torch.inference_mode():
        cond = read(files["sd2"], "a red fox", SD2)
        model = theirs(H, load_file(files["sd2"]), "cond_stage_model.model.")
        hidden = model(padded("a red fox", 0), output_hidden_states=True).hidden_states[-2]
        expected = getattr(model.text_model, "text_model", model.text_model).final_layer_norm(hidden)
    assert relative_error(cond.tokens, expected) <= TOLERANCE


def test_a_tower_without_its_last_layer_which_nobody_reads_is_read_at_the_same_one(files: Mapping[Kind, Path]) -> None:
    weights = read_header(files["sd2"])
    whole = load_part(weights, "clip_h", dtype=torch.float32, device=CPU)
    short = load_part(weights, "clip_h", dtype=torch.float32, device=CPU)
    assert isinstance(whole, TextModel) and isinstance(short, TextModel)
    del short.text_model.encoder.layers[-1]
    short.config = ClipConfig(H.width, H.layers - 1, H.intermediate)
    reading = TowerReading("clip_h", padding=0, layer=-2, layers=H.layers)
    with torch.inference_mode():
        one, other = (encode_text(tower, TOKENIZER, "a fox", reading=reading) for tower in (whole, short))
    torch.testing.assert_close(one.tokens, other.tokens, rtol=0, atol=0)


@pytest.mark.parametrize(("layer", "place"), [(-1, -1), (-3, -3)])
def test_clip_skip_of_sdxl_takes_layers_without_the_norm(files: Mapping[Kind, Path], layer: int, place: int) -> None:
    weights, reading = read_header(files["xl"]), SDXL.text[1]
    tower = load_part(weights, "clip_g", dtype=torch.float32, device=CPU)
    assert isinstance(tower, TextModel)
    with torch.inference_mode():
        cond = encode_text(tower, TOKENIZER, "a fox", layer=layer, reading=reading)
        two = theirs(G, load_file(files["xl"]), "conditioner.embedders.1.model.")
        hidden = two(padded("a fox", 0), output_hidden_states=True).hidden_states
        assert relative_error(cond.tokens, hidden[place]) <= TOLERANCE
        beyond = encode_text(tower, TOKENIZER, "a fox", layer=-24, reading=reading)
        assert relative_error(beyond.tokens, two.text_model(padded("a fox", 0)).last_hidden_state) <= TOLERANCE


# --- files that hold a part ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "projection", "part"),
    [
        (1024, 0, "clip_h"),
        (1280, 1280, "clip_g"),
        (768, 0, "clip"),
        (768, 768, "clip"),
        (40, 40, "clip_g"),
        (40, 0, "clip"),
    ],
)
@pytest.mark.parametrize("level", ["", "text_model."])
def test_a_text_encoder_by_itself_is_told_by_its_width(
    tmp_path: Path, width: int, projection: int, part: Part, level: str
) -> None:
    with torch.device("meta"):
        names = TextModel(ClipConfig(width, 1, 8, vocab=64, projection=projection)).state_dict()
    state = {name.replace("text_model.", level): torch.zeros(tensor.shape) for name, tensor in names.items()}
    save_file(state, tmp_path / "text.safetensors")
    weights = read_header(tmp_path / "text.safetensors")
    assert weights.parts() == {part} and weights.unused() == []
    load_part(weights, part, dtype=torch.float32, device=CPU)


@pytest.mark.parametrize(
    ("held", "family"),
    [({"clip"}, SD1), ({"clip_h"}, SD2), ({"clip_g"}, SDXL_REFINER), ({"clip", "clip_g"}, SDXL), (set(), SD1)],
)
def test_towers_alone_are_the_text_encoder_of_a_family(held: set[str], family: Family) -> None:
    assert text_family(held) is family


def test_files_that_do_not_tell_their_family_say_so(tmp_path: Path) -> None:
    state = tiny_state(tiny_networks())
    vae = {name: x for name, x in state.items() if name.startswith("first_stage_model.")}
    assert read_header(save(vae, tmp_path / "vae.safetensors")).family.name == UNKNOWN.name == ""
    assert read_header(save(state, tmp_path / "sd1.safetensors")).family == SD1
