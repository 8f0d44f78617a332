"""What changes a U-Net's attention and features, each against an independent implementation with the same weights."""

from __future__ import annotations

import math
import pickle
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import tomesd.merge
import torch
from diffusers.models.attention_processor import PAGIdentitySelfAttnProcessor2_0
from diffusers.utils.torch_utils import apply_freeu
from torch import Tensor, nn
from torch.nn import functional as F

from models.attention import Place, Site
from models.config import UNetConfig
from models.deep_shrink import DeepShrink
from models.denoiser import Denoiser, Guided
from models.family import SD1
from models.freeu import FreeU, strengthened, weakened
from models.guidance import Cfg
from models.hypertile import HyperTile, tiles
from models.multiplied import CLIP_LAYERS, UNET_LAYERS, Multiplied
from models.normalized_attention import NormalizedAttention
from models.perturbed_attention import PerturbedAttention
from models.reading import Reading
from models.self_attention_guidance import KERNEL, SelfAttentionGuidance, blurred_where, looked_at
from models.steering import Call, Ground, Steering
from models.token_merging import TokenMerging, merging
from models.types import Cond, Conditioning
from models.unet import UNet
from tests.models.oracles import diffusers_unet, randomized, relative_error

CONFIG = UNetConfig(model_channels=32, context_dim=24)
SIGMA = torch.tensor(2.5)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def unet() -> UNet:
    with torch.device("meta"):
        network: nn.Module = UNet(CONFIG)
    return randomized(network)  # type: ignore[return-value]


X = normal(1, 4, 16, 24)
TEXTS = tuple(Conditioning((Cond(normal(1, 77, 24, seed=seed), torch.zeros(1, 24)),)) for seed in (1, 2))


def guided(unet: UNet, steering: Steering | None = None, cfg: float = 5.0, x: Tensor = X) -> Tensor:
    words = {number: text.conds[0].tokens for number, text in enumerate(TEXTS)}
    begun = [steering.begin(Ground(CONFIG, SD1.diffusion.levels, words))] if steering else []
    steers = begun[0].steer if begun else (lambda call, reading: reading)
    denoiser = Denoiser(unet, SD1.diffusion, lambda: None, steers)
    with torch.inference_mode():
        return Guided(denoiser, TEXTS, Cfg(cfg), steering=begun)(x, SIGMA)


def estimate(theirs: Any, x: Tensor, text: int) -> Tensor:
    """D by diffusers' U-Net."""
    t = SD1.diffusion.levels.timestep(SIGMA).expand(len(x))
    with torch.inference_mode():
        eps: Tensor = theirs(x / (SIGMA**2 + 1).sqrt(), t, TEXTS[text].conds[0].tokens.expand(len(x), -1, -1)).sample
    return x - SIGMA * eps


@pytest.mark.parametrize("cfg", [5.0, 1.0])
def test_guidance_by_perturbed_attention_is_diffusers(unet: UNet, cfg: float) -> None:
    theirs = diffusers_unet(unet)
    positive, negative = (estimate(theirs, X, text) for text in (0, 1))
    theirs.mid_block.attentions[0].transformer_blocks[0].attn1.set_processor(PAGIdentitySelfAttnProcessor2_0())
    perturbed = estimate(theirs, X.repeat(2, 1, 1, 1), 0)[1:]
    expected = negative + cfg * (positive - negative) + 3.0 * (positive - perturbed)
    assert relative_error(guided(unet, PerturbedAttention(3.0), cfg), expected) < 1e-5
    assert relative_error(guided(unet, cfg=cfg), expected) > 1e-3


@torch.inference_mode()
def test_self_attention_guidance_by_its_algorithm(unet: UNet) -> None:
    theirs, maps = diffusers_unet(unet), list[Tensor]()
    positive, negative = (estimate(theirs, X, text) for text in (0, 1))
    layer = theirs.mid_block.attentions[0].transformer_blocks[0].attn1
    keep = layer.register_forward_pre_hook(
        lambda module, args, kwargs: maps.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
    )
    estimate(theirs, X, 1)
    keep.remove()
    q, k = (layer.head_to_batch_dim(project(maps[0])) for project in (layer.to_q, layer.to_k))
    probabilities = layer.get_attention_scores(q, k)  # [heads, N, N]
    mask = (probabilities.mean(0).sum(0) > 1.0).float().view(1, 1, 2, 3)
    assert 0 < mask.mean() < 1
    distance = torch.linspace(-(KERNEL - 1) / 2, (KERNEL - 1) / 2, KERNEL)
    weights = torch.exp(-0.5 * (distance / 1.5) ** 2)
    weights /= weights.sum()
    kernel = torch.mm(weights[:, None], weights[None])[None, None].expand(4, 1, KERNEL, KERNEL)
    blurred = F.conv2d(F.pad(negative, [KERNEL // 2] * 4, mode="reflect"), kernel, groups=4)
    where = F.interpolate(mask, size=(16, 24))
    degraded = blurred * where + negative * (1 - where)
    expected = negative + 5.0 * (positive - negative)
    expected = expected + 0.75 * (degraded - estimate(theirs, X + degraded - negative, 1))
    assert relative_error(guided(unet, SelfAttentionGuidance(0.75, 1.5)), expected) < 1e-5


def test_self_attention_guidance_also_without_guidance_and_not_of_the_smallest_latents(unet: UNet) -> None:
    assert relative_error(guided(unet, SelfAttentionGuidance(0.75, 1.5), cfg=1.0), guided(unet, cfg=1.0)) > 1e-3
    small = normal(1, 4, 4, 16)
    assert torch.equal(guided(unet, SelfAttentionGuidance(0.75, 1.5), x=small), guided(unet, x=small))
    assert torch.equal(blurred_where(X, torch.zeros(1, 1, 2, 2), 2.0), X)
    assert torch.allclose(blurred_where(X, torch.ones(1, 1, 2, 2), 0.0), X)
    assert looked_at(torch.zeros(1, 6, 8), torch.zeros(1, 6, 8), 2).shape == (1, 6)


@pytest.mark.parametrize("level", [0, 1])
def test_freeu_is_diffusers(level: int) -> None:
    h, skip = normal(2, 64, 9, 12, seed=1), normal(2, 64, 9, 12, seed=2)
    found = strengthened(h, 1.3, by_structure=False), weakened(skip, 0.7)
    b, s = (
        {"b1": 1.0, "b2": 1.0, "s1": 1.0, "s2": 1.0} | given
        for given in ({f"b{level + 1}": 1.3}, {f"s{level + 1}": 0.7})
    )
    expected = apply_freeu(level, h.clone(), skip.clone(), **(b | {f"s{level + 1}": s[f"s{level + 1}"]}))
    assert all(relative_error(ours, theirs) < 1e-5 for ours, theirs in zip(found, expected, strict=True))


def test_freeu_s_second_version_follows_the_structure(unet: UNet) -> None:
    h = normal(2, 8, 5, 6)
    expected = h.clone()
    for item in range(2):
        mean = h[item].mean(0)
        structure = (mean - mean.min()) / (mean.max() - mean.min())
        expected[item, :4] *= (1.4 - 1) * structure + 1
    assert torch.allclose(strengthened(h, 1.4, by_structure=True), expected, atol=1e-6)
    with torch.inference_mode():
        plain = guided(unet)
        assert relative_error(guided(unet, FreeU(1, 1, 1, 1, by_structure=True)), plain) < 1e-5
        for changed in (
            FreeU(1.3, 1, 1, 1, True),
            FreeU(1, 1.4, 1, 1, True),
            FreeU(1, 1, 0.5, 1, True),
            FreeU(1, 1, 1, 0.2, False),
        ):
            assert relative_error(guided(unet, changed), plain) > 1e-4


@pytest.mark.parametrize(("height", "width"), [(8, 12), (9, 7)])
@pytest.mark.parametrize("ratio", [0.3, 0.75, 1.0])
def test_tokens_are_merged_as_tomesd_merges_them(height: int, width: int, ratio: float) -> None:
    x, y = normal(2, height * width, 16), normal(2, height * width, 5, seed=3)
    merge, unmerge = merging(x, height, width, ratio, torch.Generator().manual_seed(4))
    theirs = tomesd.merge.bipartite_soft_matching_random2d(
        x, width, height, 2, 2, int(height * width * ratio), False, torch.Generator().manual_seed(4)
    )
    merged = merge(y)
    assert merged.shape[1] < y.shape[1]
    assert merged.shape == theirs[0](y).shape  # theirs orders equal numbers by chance
    assert torch.allclose(unmerge(merged), theirs[1](theirs[0](y)), atol=1e-6)


def test_merging_nothing_is_attention_as_it_was(unet: UNet) -> None:
    assert torch.equal(guided(unet, TokenMerging(0.0)), guided(unet))
    assert relative_error(guided(unet, TokenMerging(0.5)), guided(unet)) > 1e-4
    assert torch.equal(guided(unet, TokenMerging(0.5)), guided(unet, TokenMerging(0.5))), "the same picture each time"


def reading_of(steering: Steering, x: Tensor) -> Reading:
    call = Call(x, torch.zeros(len(x)), 1.0, [SimpleNamespace(number=0, controls=(), for_controls=None)])
    return steering.begin(Ground(CONFIG, SD1.diffusion.levels)).steer(call, Reading(normal(1, 77, 24)))


def test_hypertile_looks_within_tiles() -> None:
    x, tokens = torch.zeros(2, 4, 16, 24), normal(2, 16 * 24, 8)
    seen: list[tuple[int, ...]] = []

    def inner(x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        assert torch.equal(x, keys) and torch.equal(x, values)
        seen.append(tuple(x.shape))
        return x - x.mean(1, keepdim=True)  # what depends on all that a tile holds

    site = Site(Place("input", 1), 0, False, 8)
    around = reading_of(HyperTile(64, 1, 0, False), x).around
    found = around(site, tokens, tokens, tokens, inner).view(2, 16, 24, 8)
    assert seen == [(2 * 2 * 3, 8 * 8, 8)]
    for row in (0, 8):
        for column in (0, 8, 16):
            tile = tokens.view(2, 16, 24, 8)[:, row : row + 8, column : column + 8]
            expected = tile - tile.mean((1, 2), keepdim=True)
            assert torch.allclose(found[:, row : row + 8, column : column + 8], expected, atol=1e-6)
    deep = tokens[:, : 8 * 12]
    assert torch.equal(around(site, deep, deep, deep, lambda x, k, v: x * 2), deep * 2), "only at full size"
    text = Site(Place("input", 1), 0, True, 8)
    assert torch.equal(around(text, tokens, deep, deep, lambda x, k, v: x + k.mean()), tokens + deep.mean())


def test_hypertile_s_depths_and_tiles(unet: UNet) -> None:
    shapes: list[int] = []
    x = torch.zeros(1, 4, 16, 16)
    for scale in (False, True):
        around = reading_of(HyperTile(32, 1, 1, scale), x).around
        deep = normal(1, 64, 8)
        around(Site(Place("input", 4), 0, False, 8), deep, deep, deep, lambda x, k, v: shapes.append(x.shape[1]) or x)  # type: ignore[func-returns-value]
    assert shapes == [16, 64]
    assert {tiles(24, 5, 3, Random(seed)) for seed in range(40)} == {4, 3, 2}
    assert tiles(7, 4, 2, Random(0)) == 1 and tiles(3, 4, 2, Random(0)) == 1
    assert relative_error(guided(unet, HyperTile(64, 2, 1, False)), guided(unet)) > 1e-4


def test_multiplied_attention_is_that_of_multiplied_weights(unet: UNet) -> None:
    shapes = {name: tuple(t.shape) for name, t in unet.state_dict().items()}
    changes = Multiplied(UNET_LAYERS, (0.5, 1.0, 2.0, 3.0), ".attn2.").changes(shapes, "model")
    layer = "input_blocks.1.1.transformer_blocks.0.attn2."
    assert {name.removeprefix(layer) for name in changes if name.startswith(layer)} == {
        "to_q.weight", "to_v.weight", "to_out.0.weight", "to_out.0.bias",
    }  # fmt: skip
    assert not any(".attn1." in name for name in changes) and len(changes) == 4 * 16
    weight = normal(3, 3)
    assert torch.equal(changes[layer + "to_q.weight"](weight), weight * 0.5)
    assert torch.equal(changes[layer + "to_out.0.bias"](weight), weight * 3)
    text = {f"text_model.encoder.layers.0.{one}.{end}": (8,) for one in CLIP_LAYERS for end in ("weight", "bias")}
    assert set(Multiplied(CLIP_LAYERS, (2.0, 2.0, 2.0, 2.0)).changes(text, "clip")) == set(text)


class NormalizedProcessor:
    """The paper's equations 7 to 10 as an attention processor of diffusers, for the whole batch."""

    def __init__(self, negative: Tensor, scale: float, tau: float, alpha: float) -> None:
        self.negative, self.scale, self.tau, self.alpha = negative, scale, tau, alpha

    def __call__(self, attn: Any, x: Tensor, encoder_hidden_states: Tensor, **_: Any) -> Tensor:
        def z(words: Tensor) -> Tensor:
            q, k, v = (
                part.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
                for part in (attn.to_q(x), attn.to_k(words), attn.to_v(words))
            )
            return (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1).matmul(v).transpose(1, 2).flatten(2)

        positive, negative = z(encoder_hidden_states), z(self.negative.expand(len(x), -1, -1))
        further = positive * self.scale - negative * (self.scale - 1)
        ratio = torch.norm(further, p=1, dim=-1, keepdim=True) / torch.norm(positive, p=1, dim=-1, keepdim=True)
        further = torch.where(ratio > self.tau, further / ratio * self.tau, further)
        return attn.to_out[0](self.alpha * further + (1 - self.alpha) * positive)


@pytest.mark.parametrize("cfg", [1.0, 5.0])
def test_normalized_attention_by_its_equations(unet: UNet, cfg: float) -> None:
    """At a cfg of 1 the negative text is in no batch, and counts all the same."""
    theirs, settings = diffusers_unet(unet), (9.0, 1.1, 0.6)
    negative, plain = estimate(theirs, X, 1), estimate(theirs, X, 0)
    for name, module in theirs.named_modules():
        if name.endswith("attn2"):
            module.set_processor(NormalizedProcessor(TEXTS[1].conds[0].tokens, *settings))
    positive = estimate(theirs, X, 0)
    expected = negative + cfg * (positive - negative)
    assert relative_error(guided(unet, NormalizedAttention(*settings), cfg), expected) < 1e-5
    assert relative_error(positive, plain) > 1e-3
    assert torch.equal(guided(unet, NormalizedAttention(9.0, 1.1, 0.0), cfg), guided(unet, cfg=cfg))


@pytest.mark.parametrize("after_skip", [True, False])
def test_deep_shrink_makes_smaller_what_goes_deeper(unet: UNet, after_skip: bool) -> None:
    """Input block 3 is the first way down in size; its maps meet the way up before the last attention of that size."""
    theirs = diffusers_unet(unet)

    def resized(h: Tensor, factor: float) -> Tensor:
        size = tuple(round(side * factor) for side in h.shape[-2:])
        return F.interpolate(h, size=size, mode="bicubic")

    def down(module: nn.Module, given: Any, made: Any) -> Any:
        h, skips = made
        small = resized(h, 0.5)
        return small, skips if after_skip else (*skips[:-1], small)

    theirs.down_blocks[0].register_forward_hook(down)
    if after_skip:
        theirs.up_blocks[2].attentions[1].register_forward_hook(lambda module, given, made: (resized(made[0], 2.0),))
    else:  # the skip is small as well, and the next one decides how large the way up becomes
        larger = theirs.up_blocks[2].upsamplers[0]
        larger.forward = lambda h, *_: larger.conv(F.interpolate(h, size=(32, 48), mode="nearest"))
    x = normal(1, 4, 32, 48)
    positive, negative = (estimate(theirs, x, text) for text in (0, 1))
    shrink = DeepShrink(3, 2.0, end=1.0, after_skip=after_skip)
    assert relative_error(guided(unet, shrink, x=x), negative + 5.0 * (positive - negative)) < 1e-5
    assert torch.equal(guided(unet, DeepShrink(3, 2.0, start=0.9, end=1.0), x=x), guided(unet, x=x)), "not yet"


@pytest.mark.parametrize(
    "steering",
    [
        PerturbedAttention(1.0),
        SelfAttentionGuidance(1.0, 2.0),
        FreeU(1, 1, 1, 1, True),
        TokenMerging(0.5),
        HyperTile(256, 2, 0, True),
        NormalizedAttention(5.0, 1.5, 0.5),
        DeepShrink(3, 2.0),
    ],
)
def test_what_steers_can_be_pickled(steering: Steering) -> None:
    assert pickle.loads(pickle.dumps(steering)) == steering
    assert math.isfinite(hash(steering))
