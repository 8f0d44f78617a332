"""Prompts in A1111's language as nodes encode them, LoRA files by prompt, and words by a seed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from graph.errors import InputError
from models.types import Conditioning, Latent, Sigmas
from nodes import a1111_text, conditioning
from nodes.loaders import Checkpoint, checkpoint_loader_simple
from nodes.lora import lora_loader
from nodes.sampling import ksampler
from tests.nodes.conftest import CHECKPOINT, Workplace
from tests.nodes.test_lora import FC1, QUERY, lora


@pytest.fixture
def loaded(place: Workplace) -> Checkpoint:
    found: Checkpoint = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT))
    return found


def encode(place: Workplace, text: str, **inputs: object) -> Conditioning:
    model = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT))
    inputs = {"weighting": "comfy", **inputs}
    found: Conditioning = a1111_text.clip_text_encode_a1111(place.ctx(), text=text, clip=model.clip, **inputs)
    return found


def plain(place: Workplace, text: str) -> Tensor:
    model = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT))
    return conditioning.clip_text_encode(place.ctx(), text=text, clip=model.clip).conds[0].tokens


def test_plain_words_are_the_usual_prompt(place: Workplace) -> None:
    torch.testing.assert_close(encode(place, "a cat").conds[0].tokens, plain(place, "a cat"))
    nested = encode(place, "a (big (cat:2):1.5)").conds[0].tokens
    torch.testing.assert_close(nested, plain(place, "a (big :1.5)(cat:3.0)"))


def test_break_is_a_part_of_its_own(place: Workplace) -> None:
    found = encode(place, "a cat BREAK a dog").conds[0].tokens
    torch.testing.assert_close(found, torch.cat([plain(place, "a cat"), plain(place, "a dog")], dim=1))


def test_a_change_happens_between_its_steps(place: Workplace) -> None:
    levels = torch.tensor([14.6, 6.0, 3.0, 1.0, 0.3, 0.0])
    conds = encode(place, "[a cat:a dog:2]", sigmas=Sigmas(levels)).conds
    assert [float(cond.start) for cond in conds] == [0.0, conds[0].end]
    torch.testing.assert_close(conds[1].tokens, plain(place, "a dog"))
    border = 1 - conds[0].end
    model = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT)).model
    before, after = (float(model.diffusion.levels.timestep(level)) / 999 for level in levels[1:3])
    assert before > border > after
    assert len(encode(place, "[a|b]", steps=6).conds) == 6


def test_and_leads_away_from_the_negative_prompt_part_by_part(place: Workplace) -> None:
    """u + cfg * sum of w_i (c_i - u), composable diffusion (Liu et al. 2022, arXiv:2206.01714, equation 12)."""
    loaded = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT))

    def estimate(positive: Conditioning, negative: Conditioning, cfg: float) -> Tensor:
        return ksampler(
            place.ctx(), model=loaded.model, seed=1, steps=1, cfg=cfg, sampler_name="euler", scheduler="normal",
            positive=positive, negative=negative, latent_image=Latent(torch.zeros(1, 4, 8, 8)),
        ).samples  # fmt: skip

    def prompt(text: str) -> Conditioning:
        return Conditioning((encode(place, text).conds[0],))

    negative = prompt("ugly")
    joined = encode(place, "a cat AND a dog:0.5", negative=negative)
    u, cat, dog = (estimate(prompt(text), negative, 1.0) for text in ("ugly", "a cat", "a dog"))
    expected = u + 4.0 * ((cat - u) + 0.5 * (dog - u))
    torch.testing.assert_close(estimate(joined, negative, 4.0), expected, rtol=1e-3, atol=1e-3)
    encode(place, "a AND b")
    assert [warning.input_name for warning in place.warnings] == ["negative"]


def test_weights_of_another_kind(place: Workplace) -> None:
    clip = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT)).clip

    def weighted(text: str, normalization: str, kind: str) -> Tensor:
        return a1111_text.clip_text_encode_weighted(
            place.ctx(), text=text, clip=clip, token_normalization=normalization, weight_interpretation=kind
        ).conds[0].tokens  # fmt: skip

    torch.testing.assert_close(weighted("a (cat:1.5)", "none", "comfy"), plain(place, "a (cat:1.5)"))
    tokens = weighted("a (cat:1.5)", "none", "A1111")
    assert float(tokens.mean()) == pytest.approx(float(plain(place, "a cat").mean()), abs=1e-5)
    assert not torch.allclose(tokens, plain(place, "a (cat:1.5)"))
    assert torch.allclose(weighted("(cat:1.5)", "mean", "comfy"), plain(place, "cat"), atol=1e-5)


def test_lora_files_come_by_prompt(place: Workplace, loaded: Checkpoint) -> None:
    ctx, (model, clip) = place.ctx(), (loaded.model, loaded.clip)
    file = lora(place, QUERY, FC1, name="style.safetensors")
    usual = lora_loader(ctx, model=model, clip=clip, lora_name=file, strength_model=0.8, strength_clip=0.4)
    found = a1111_text.lora_from_prompt(ctx, model=model, clip=clip, text="a cat, <lora:style:0.8:0.4>, red")
    assert found.text == "a cat, red"
    assert (found.model, found.clip) == (usual.model, usual.clip)


def test_a_lora_that_is_not_there_is_told(place: Workplace, loaded: Checkpoint) -> None:
    found = a1111_text.lora_from_prompt(
        place.ctx(),
        model=loaded.model,
        clip=loaded.clip,
        text="a <lora:nobody:1> cat",
    )
    assert found.model == loaded.model and "nobody" not in found.text
    assert "nobody" in place.warnings[0].message


def test_words_by_a_seed_and_by_wildcards(place: Workplace) -> None:
    folder = place.folders.input_dir / "wildcards" / "deep"
    folder.mkdir(parents=True)
    (folder / "colour.txt").write_text("# a comment\nred\n\n")
    assert a1111_text.dynamic_prompt(place.ctx(), text="a __deep/colour__ cat", seed=3) == "a red cat"
    for text in ("__../secret__", "__nobody__"):
        with pytest.raises(InputError, match="wildcards"):
            a1111_text.dynamic_prompt(place.ctx(), text=text, seed=3)
