"""A prompt through a checkpoint's text encoder, with embeddings from files; and encoded prompts put together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from graph.context import Cancel
from graph.errors import InputError, Interrupted
from graph.spec import NodeSpec
from models.areas import Area, Share
from models.text import encode_text
from models.tokenizer import ClipTokenizer
from models.types import Clip, Cond, Conditioning
from nodes.conditioning import (
    clip_text_encode,
    conditioning_average,
    conditioning_combine,
    conditioning_concat,
    conditioning_set_area,
    conditioning_set_area_percentage,
    conditioning_set_area_strength,
)
from nodes.loaders import checkpoint_loader_simple
from nodes.services import Context
from tests.nodes.conftest import CHECKPOINT, Workplace
from tests.tiny_checkpoint import WIDTH, tiny_clip


@pytest.fixture
def clip(place: Workplace) -> Clip:
    loaded: Clip = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT)).clip
    return loaded


def encode(place: Workplace, clip: Clip, text: str, ctx: Context | None = None) -> Cond:
    [cond] = clip_text_encode(ctx or place.ctx(), text=text, clip=clip).conds
    assert isinstance(cond, Cond)
    return cond


def embedding(place: Workplace, name: str, vectors: Tensor) -> None:
    path = place.folders.roots("embeddings")[0] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file({"emb_params": vectors}, path)
    else:
        torch.save({"string_to_param": {"*": vectors}}, path)


def rows(text: str) -> Tensor:
    """The text encoder's own vectors of some words: an embedding file of them must mean those words."""
    return tiny_clip().text_model.embeddings.token_embedding.weight[ClipTokenizer().encode(text)].clone()


@pytest.mark.parametrize("text", ["", "a red circle", "(a:1.3) red (circle)", "red " * 80])
def test_a_prompt_is_encoded_by_the_checkpoint_s_text_encoder(place: Workplace, clip: Clip, text: str) -> None:
    expected = encode_text(tiny_clip(), ClipTokenizer(), text)
    cond = encode(place, clip, text)
    torch.testing.assert_close(cond.tokens, expected.tokens)
    torch.testing.assert_close(cond.pooled, expected.pooled)
    assert cond.tokens.shape == (1, 154 if len(text) > 100 else 77, WIDTH)


@pytest.mark.parametrize("file", ["mine.safetensors", "mine.pt", "mine.bin"])
@pytest.mark.parametrize("written", ["mine", "whole name"])
def test_an_embedding_is_named_with_or_without_its_ending(
    place: Workplace, clip: Clip, file: str, written: str
) -> None:
    embedding(place, file, rows("red circle"))
    name = file if written == "whole name" else written
    cond = encode(place, clip, f"a embedding:{name}, on white")
    torch.testing.assert_close(cond.tokens, encode(place, clip, "a red circle, on white").tokens)


@pytest.mark.parametrize("name", ["mine", "sub/mine", "mine.pt", "sub/mine.pt"])
def test_an_embedding_may_lie_in_a_folder_below(place: Workplace, clip: Clip, name: str) -> None:
    embedding(place, "some/sub/mine.pt", rows("red circle"))
    cond = encode(place, clip, f"a embedding:{name}")
    torch.testing.assert_close(cond.tokens, encode(place, clip, "a red circle").tokens)


def test_of_equal_names_the_nearest_counts(place: Workplace, clip: Clip) -> None:
    embedding(place, "a/mine.pt", rows("blue square"))
    embedding(place, "mine.pt", rows("red circle"))
    assert torch.equal(encode(place, clip, "embedding:mine").tokens, encode(place, clip, "red circle").tokens)
    assert torch.equal(encode(place, clip, "embedding:a/mine").tokens, encode(place, clip, "blue square").tokens)


@pytest.mark.parametrize("name", ["gone", "../mine", "/etc/passwd", ""])
def test_a_missing_embedding_is_a_warning_and_the_prompt_goes_on(place: Workplace, clip: Clip, name: str) -> None:
    torch.save({"*": rows("blue")}, place.folders.roots("embeddings")[0].parent / "mine.pt")
    ctx = place.ctx()
    cond = encode(place, clip, f"a embedding:{name} red" if name else "a red embedding:", ctx)
    torch.testing.assert_close(cond.tokens, encode(place, clip, "a red").tokens)
    [warning] = ctx.warnings
    assert warning.input_name == "text" and f"embedding:{name} " in warning.message


def test_an_embedding_of_another_text_encoder_blames_the_prompt(place: Workplace, clip: Clip) -> None:
    embedding(place, "sdxl.pt", torch.zeros(2, 1280))
    with pytest.raises(InputError, match=r"sdxl.*1280") as caught:
        encode(place, clip, "a embedding:sdxl")
    assert caught.value.input_name == "text"


def test_a_damaged_embedding_blames_the_prompt(place: Workplace, clip: Clip) -> None:
    (place.folders.roots("embeddings")[0] / "broken.pt").write_bytes(b"nothing")
    with pytest.raises(InputError, match="broken") as caught:
        encode(place, clip, "a embedding:broken")
    assert caught.value.input_name == "text"


def freshness(place: Workplace, text: object) -> object:
    assert clip_text_encode.freshness is not None
    return clip_text_encode.freshness("6", {"text": text}, place.folders)


def test_the_files_a_prompt_names_count_for_its_result(place: Workplace) -> None:
    text = "a embedding:mine"
    before = freshness(place, text)
    embedding(place, "mine.pt", torch.zeros(1, WIDTH))
    made = freshness(place, text)
    embedding(place, "mine.pt", torch.ones(1, WIDTH))
    replaced = freshness(place, text)
    assert before != made and made != replaced, "a file that came, and one that changed"
    embedding(place, "other.pt", torch.ones(1, WIDTH))
    assert freshness(place, text) == replaced, "another file is nobody's business"
    assert freshness(place, "no embedding") == []


def test_an_interrupt_stops_the_text_encoder(place: Workplace, clip: Clip) -> None:
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Interrupted):
        clip_text_encode(place.ctx(cancel=cancel), text="a", clip=clip)


def test_a_checkpoint_damaged_since_it_was_opened_blames_the_input(
    place: Workplace, clip: Clip, tmp_path: Path
) -> None:
    with clip.towers[0].weights.path.open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(InputError, match=CHECKPOINT) as caught:
        encode(place, clip, "a")
    assert caught.value.input_name == "clip"


# --- encoded prompts put together -----------------------------------------------------------------------------------


def text(seed: int, tokens: int = 77, width: int = 8) -> Conditioning:
    generator = torch.Generator().manual_seed(seed)
    return Conditioning(
        (Cond(torch.randn(1, tokens, width, generator=generator), torch.randn(1, width, generator=generator)),)
    )


def test_combined_prompts_stay_apart(place: Workplace) -> None:
    first, second = text(1), text(2, tokens=154)
    combined: Conditioning = conditioning_combine(place.ctx(), conditioning_1=first, conditioning_2=second)
    assert combined.conds == (*first.conds, *second.conds)


def test_a_prompt_is_appended_to_each_of_the_others(place: Workplace) -> None:
    both: Conditioning = conditioning_combine(place.ctx(), conditioning_1=text(1), conditioning_2=text(2))
    joined: Conditioning = conditioning_concat(place.ctx(), conditioning_to=both, conditioning_from=text(3))
    [end] = text(3).conds
    for cond, before in zip(joined.conds, both.conds, strict=True):
        assert torch.equal(cond.tokens, torch.cat([before.tokens, end.tokens], dim=1))
        assert torch.equal(cond.pooled, before.pooled)


@pytest.mark.parametrize("tokens", [77, 154, 231])
def test_the_average_has_the_length_of_the_first(place: Workplace, tokens: int) -> None:
    [to], [other] = text(1, tokens=154).conds, text(2, tokens).conds
    mixed: Conditioning = conditioning_average(
        place.ctx(),
        conditioning_to=text(1, tokens=154),
        conditioning_from=text(2, tokens),
        conditioning_to_strength=0.3,
    )
    [cond] = mixed.conds
    shared = min(tokens, 154)
    torch.testing.assert_close(
        cond.tokens[:, :shared], to.tokens[:, :shared] * 0.3 + other.tokens[:, :shared] * (1 - 0.3)
    )
    torch.testing.assert_close(cond.tokens[:, shared:], to.tokens[:, shared:] * 0.3)
    torch.testing.assert_close(cond.pooled, to.pooled * 0.3 + other.pooled * (1 - 0.3))


@pytest.mark.parametrize(
    ("node", "more"), [(conditioning_concat, {}), (conditioning_average, {"conditioning_to_strength": 0.5})]
)
def test_prompts_of_two_kinds_of_encoder_do_not_mix(place: Workplace, node: NodeSpec, more: dict[str, float]) -> None:
    with pytest.raises(InputError, match="width 16, the other has 8") as caught:
        node(place.ctx(), conditioning_to=text(1), conditioning_from=text(2, width=16), **more)
    assert caught.value.input_name == "conditioning_from"


def test_areas_are_given_in_pixels_or_in_shares(place: Workplace) -> None:
    both: Conditioning = conditioning_combine(place.ctx(), conditioning_1=text(1), conditioning_2=text(2))
    placed: Conditioning = conditioning_set_area(
        place.ctx(), conditioning=both, width=64, height=96, x=32, y=16, strength=0.8
    )
    assert [(cond.area, cond.strength) for cond in placed.conds] == [(Area(12, 8, 2, 4), 0.8)] * 2  # as recorded
    shared: Conditioning = conditioning_set_area_percentage(
        place.ctx(), conditioning=placed, width=0.5, height=0.75, x=0.25, y=0.1, strength=0.5
    )
    assert [(cond.area, cond.strength) for cond in shared.conds] == [(Share(0.75, 0.5, 0.1, 0.25), 0.5)] * 2
    weak: Conditioning = conditioning_set_area_strength(place.ctx(), conditioning=shared, strength=0.1)
    assert [(cond.area, cond.strength) for cond in weak.conds] == [(Share(0.75, 0.5, 0.1, 0.25), 0.1)] * 2
    assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(weak.conds, both.conds, strict=True))


def test_what_is_appended_or_mixed_leaves_the_area_as_it_was(place: Workplace) -> None:
    placed: Conditioning = conditioning_set_area(place.ctx(), conditioning=text(1), width=64, height=64, strength=0.5)
    joined: Conditioning = conditioning_concat(place.ctx(), conditioning_to=placed, conditioning_from=text(2))
    mixed: Conditioning = conditioning_average(
        place.ctx(), conditioning_to=placed, conditioning_from=text(2), conditioning_to_strength=0.5
    )
    for result in (joined, mixed):
        assert (result.conds[0].area, result.conds[0].strength) == (Area(8, 8, 0, 0), 0.5)
