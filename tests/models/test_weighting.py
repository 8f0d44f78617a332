"""What weights of words become, against the library compel and by the documentation of those rules."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from models.clip import TextModel
from models.text import TextRecipe, encode_text
from models.tokenizer import BOS, EOS, ClipTokenizer
from models.weighting import WEIGHTINGS
from tests.models.oracles import transformers_text
from tests.tiny_checkpoint import tiny_clip

pytestmark = pytest.mark.usefixtures("one_thread")

TOKENIZER = ClipTokenizer()


@pytest.fixture(scope="module")
def clip() -> TextModel:
    return tiny_clip()


@pytest.fixture(scope="module")
def library(clip: TextModel) -> Any:
    from compel.embeddings_provider import EmbeddingsProvider

    class Tokens(SimpleNamespace):
        """Our tokenizer, as that of transformers is called."""

        def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
            return {"input_ids": [[BOS, *TOKENIZER.encode(text), EOS] for text in texts]}

    tokens = Tokens(bos_token_id=BOS, eos_token_id=EOS, pad_token_id=EOS, model_max_length=77)
    return EmbeddingsProvider(tokens, transformers_text(clip), device="cpu")


def encoded(clip: TextModel, text: str, rule: str) -> Tensor:
    with torch.inference_mode():
        return encode_text(clip, TOKENIZER, text, recipe=TextRecipe(weigh=WEIGHTINGS[rule])).tokens


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a (red:0.5) circle", [("a ", 1.0), ("red", 0.5), (" circle", 1.0)]),
        (
            "(pears:0.2) and (apples:0.5) in a bowl",
            [("pears", 0.2), (" and ", 1.0), ("apples", 0.5), (" in a bowl", 1.0)],
        ),
        ("a (red:1.4) and (blue sky:0.0)", [("a ", 1.0), ("red", 1.4), (" and ", 1.0), ("blue sky", 0.0)]),
        ("(red:0.3) and (red:0.7)", [("red", 0.3), (" and ", 1.0), ("red", 0.7)]),
        ("a circle (big:1.7)", [("a circle ", 1.0), ("big", 1.7)]),
    ],
)
def test_compel_is_the_library_s(clip: TextModel, library: Any, text: str, words: list[tuple[str, float]]) -> None:
    fragments, weights = ([each[i] for each in words] for i in (0, 1))
    with torch.inference_mode():
        expected = library.get_embeddings_for_weighted_prompt_fragments([fragments], [weights])
    torch.testing.assert_close(encoded(clip, text, "compel"), expected, rtol=1e-4, atol=1e-5)


def test_down_weight_mixes_prompts_that_lack_words(clip: TextModel) -> None:
    """(pears:.2) and (apples:.5): 0.2 of all, 0.3 without pears, 0.5 without both; by transformers with a mask."""
    theirs, parts = transformers_text(clip), ("pears", " and ", "apples", " in a bowl")
    ids = [TOKENIZER.encode(part) for part in parts]
    row = [BOS, *(token for part in ids for token in part), EOS]
    row += [EOS] * (77 - len(row))

    def without(*words: int) -> Tensor:
        mask, at = torch.ones(1, 77, dtype=torch.long), 1
        for i, part in enumerate(ids):
            mask[0, at : at + len(part)] = i not in words
            at += len(part)
        with torch.inference_mode():
            return theirs(torch.tensor([row]), attention_mask=mask).last_hidden_state

    expected = 0.2 * without() + 0.3 * without(0) + 0.5 * without(0, 2)
    text = "(pears:0.2) and (apples:0.5) in a bowl"
    torch.testing.assert_close(encoded(clip, text, "down_weight"), expected, rtol=1e-4, atol=1e-5)
    doubled = "(pears:0.4)( and :2.0)(apples:1.0)( in a bowl:2.0)"
    torch.testing.assert_close(encoded(clip, doubled, "down_weight"), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rule", WEIGHTINGS)
def test_no_weights_are_the_plain_prompt_and_long_prompts_work(clip: TextModel, rule: str) -> None:
    plain = encoded(clip, "a red circle", "comfy")
    torch.testing.assert_close(encoded(clip, "a (red:1.0) circle", rule), plain)
    long = " ".join(["circle"] * 100)
    found = encoded(clip, f"{long} (red:0.5)", rule)
    assert found.shape[1] == 154 and found.isfinite().all()
    if rule in ("compel", "down_weight"):  # nothing of the first chunk looks at a word of the second
        torch.testing.assert_close(found[:, :77], encoded(clip, f"{long} red", rule)[:, :77])
