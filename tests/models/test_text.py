"""A prompt -> conditioning: weights, chunks, embeddings, where the pooled vector is taken."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor

from models.clip import TextModel
from models.config import ClipConfig
from models.text import encode_text
from models.tokenizer import BOS, EOS, ClipTokenizer
from models.types import Cond
from tests.tiny_checkpoint import WIDTH, tiny_clip

pytestmark = pytest.mark.usefixtures("one_thread")

TOKENIZER = ClipTokenizer()


@pytest.fixture(scope="module")
def clip() -> TextModel:
    return tiny_clip()


def encode(clip: TextModel, text: str, **embeddings: Tensor) -> Cond:
    with torch.inference_mode():
        return encode_text(clip, TOKENIZER, text, embeddings)


def hidden(clip: TextModel, *ids: int) -> Tensor:
    """The text tower's own answer to one chunk of these tokens: [77, D]."""
    framed = [BOS, *ids] + [EOS] * (76 - len(ids))
    with torch.inference_mode():
        return clip(torch.tensor([framed]))[0]


def test_a_plain_prompt_is_what_the_text_tower_answers(clip: TextModel) -> None:
    cond = encode(clip, "a red circle")
    ids = TOKENIZER.encode("a red circle")
    assert len(ids) == 3
    torch.testing.assert_close(cond.tokens, hidden(clip, *ids)[None])
    assert cond.tokens.dtype == torch.float32 and cond.tokens.shape == (1, 77, WIDTH)
    torch.testing.assert_close(cond.pooled, cond.tokens[:, 4])  # at the first EOS, after BOS and three tokens


def test_the_empty_prompt_is_pooled_right_after_its_beginning(clip: TextModel) -> None:
    cond = encode(clip, "")
    torch.testing.assert_close(cond.tokens, hidden(clip)[None])
    torch.testing.assert_close(cond.pooled, cond.tokens[:, 1])


@pytest.mark.parametrize("weight", [1.3, 0.0, -1.0, 5.0])
def test_a_weight_moves_a_word_away_from_the_empty_prompt(clip: TextModel, weight: float) -> None:
    ids = [*TOKENIZER.encode("a red"), *TOKENIZER.encode("circle")]
    z, z0 = hidden(clip, *ids), hidden(clip)
    expected = z.clone()
    expected[3] = z0[3] + weight * (z[3] - z0[3])  # each position against the empty prompt's at that position
    cond = encode(clip, f"a red (circle:{weight})")
    torch.testing.assert_close(cond.tokens[0], expected)


def test_weights_do_not_touch_the_pooled_vector(clip: TextModel) -> None:
    torch.testing.assert_close(encode(clip, "(a red circle:1.7)").pooled, encode(clip, "a red circle").pooled)
    torch.testing.assert_close(encode(clip, "(a red circle:0)").pooled, encode(clip, "a red circle").pooled)


def test_weight_zero_is_the_empty_prompt_at_those_places(clip: TextModel) -> None:
    cond = encode(clip, "(a red circle:0)")
    torch.testing.assert_close(cond.tokens[0, 1:4], hidden(clip)[1:4])


def test_weights_of_one_change_nothing_and_cost_nothing(clip: TextModel) -> None:
    batches: list[int] = []
    handle = clip.text_model.encoder.layers[0].register_forward_pre_hook(
        lambda module, args: batches.append(len(args[0]))
    )
    try:
        plain, unweighted = encode(clip, "a red circle"), encode(clip, "(a red circle:1.0)")
        encode(clip, "(a red circle:1.1)")
    finally:
        handle.remove()
    assert torch.equal(plain.tokens, unweighted.tokens)
    assert batches == [1, 1, 2], "only a weighted prompt is encoded along with the empty one"


def test_a_long_prompt_is_chunks_joined_along_the_tokens(clip: TextModel) -> None:
    ids = TOKENIZER.encode("red " * 100)
    assert len(ids) == 100
    cond = encode(clip, "red " * 100)
    torch.testing.assert_close(cond.tokens[0], torch.cat([hidden(clip, *ids[:75]), hidden(clip, *ids[75:])]))
    torch.testing.assert_close(cond.pooled, cond.tokens[:, 76])  # of the first chunk, though full of words


def test_a_weight_in_the_second_chunk_counts_from_that_chunk_s_place(clip: TextModel) -> None:
    ids = TOKENIZER.encode("red " * 75)
    [circle] = TOKENIZER.encode("circle")
    z, z0 = hidden(clip, circle), hidden(clip)
    cond = encode(clip, "red " * 75 + "(circle:2)")
    torch.testing.assert_close(cond.tokens[0, :77], hidden(clip, *ids))
    torch.testing.assert_close(cond.tokens[0, 78], z0[1] + 2 * (z[1] - z0[1]))
    torch.testing.assert_close(cond.tokens[0, 79:], z[2:])


def test_rows_of_the_token_table_spliced_in_are_those_tokens(clip: TextModel) -> None:
    """An embedding made of two words' own vectors must mean those two words."""
    table = clip.text_model.embeddings.token_embedding.weight
    vectors = table[TOKENIZER.encode("red circle")].clone()
    spliced = encode(clip, "a embedding:mine on white", mine=vectors)
    torch.testing.assert_close(spliced.tokens, encode(clip, "a red circle on white").tokens)
    torch.testing.assert_close(spliced.pooled, encode(clip, "a red circle on white").pooled)


def test_an_embedding_takes_the_weight_around_it(clip: TextModel) -> None:
    table = clip.text_model.embeddings.token_embedding.weight
    vectors = table[TOKENIZER.encode("circle")].clone()
    spliced = encode(clip, "red (embedding:mine:1.6) white", mine=vectors)
    torch.testing.assert_close(spliced.tokens, encode(clip, "red (circle:1.6) white").tokens)


def test_a_prompt_that_is_one_long_embedding_is_pooled_at_its_end(clip: TextModel) -> None:
    vectors = torch.randn(75, WIDTH, generator=torch.Generator().manual_seed(0))
    cond = encode(clip, "embedding:mine", mine=vectors)
    assert cond.tokens.shape == (1, 77, WIDTH)
    torch.testing.assert_close(cond.pooled, cond.tokens[:, 76])


def test_encoding_leaves_the_model_as_it_was(clip: TextModel) -> None:
    before = {name: tensor.clone() for name, tensor in clip.state_dict().items()}
    encode(clip, "(a embedding:mine:1.5) b", mine=torch.ones(2, WIDTH))
    assert all(torch.equal(tensor, before[name]) for name, tensor in clip.state_dict().items())


def test_a_half_precision_text_encoder_gives_float32(clip: TextModel) -> None:
    half = encode(tiny_clip().bfloat16(), "a (red:1.2) circle")
    whole = encode(clip, "a (red:1.2) circle")
    assert half.tokens.dtype == half.pooled.dtype == torch.float32
    assert (half.tokens - whole.tokens).norm() / whole.tokens.norm() < 0.05


def test_a_tick_that_raises_stops_the_encoder(clip: TextModel, caplog: pytest.LogCaptureFixture) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
        encode_text(clip, TOKENIZER, "a red circle", tick=stop)


@pytest.mark.parametrize("layer", [-1, -2, -3, -9])
def test_a_text_encoder_that_stops_early(layer: int) -> None:
    """Against transformers: the hidden state of that layer, behind the final norm; the pooled vector is the last one's."""
    from transformers import CLIPTextConfig, CLIPTextModel

    theirs = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=64, num_hidden_layers=3, num_attention_heads=1, intermediate_size=32, hidden_act="quick_gelu"
        )
    ).eval()
    ours = TextModel(ClipConfig(width=64, layers=3, intermediate=32))
    state = {name: x for name, x in theirs.state_dict().items() if not name.endswith("position_ids")}
    ours.load_state_dict({f"text_model.{name.removeprefix('text_model.')}": x for name, x in state.items()})
    tokenizer = ClipTokenizer()
    ids = torch.tensor([[BOS, *tokenizer.encode("a red fox"), *[EOS] * 77][:77]])
    with torch.no_grad():
        out = theirs(ids, output_hidden_states=True)
        norm = getattr(theirs, "text_model", theirs).final_layer_norm
        expected = norm(out.hidden_states[layer]) if layer >= -3 else out.last_hidden_state
        cond = encode_text(ours, tokenizer, "a red fox", layer=layer)
    torch.testing.assert_close(cond.tokens, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(cond.pooled, encode_text(ours, tokenizer, "a red fox").pooled)
