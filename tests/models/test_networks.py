"""The numbers of Stable Diffusion v1, and equality with transformers and diffusers on random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.clip import TextModel
from models.config import ClipConfig, UNetConfig, VaeConfig, clip_config, unet_config, vae_config
from models.reading import Reading
from models.sinusoids import timestep_embedding
from models.unet import ResBlock, UNet
from models.vae import AutoencoderKL, ResnetBlock
from tests.models.oracles import (
    SINUSOIDS,
    diffusers_unet,
    diffusers_vae,
    randomized,
    relative_error,
    transformers_text,
)
from tests.random_checkpoint import manifest

TOLERANCE = 1e-5
XL = UNetConfig(4, 4, 320, (1, 2, 4), 2, (0, 2, 10), 10, 2048, linear=True, vector_dim=2816)
REFINER = UNetConfig(4, 4, 384, (1, 2, 4, 4), 2, (0, 4, 4, 0), 4, 1280, linear=True, vector_dim=2560)
PREFIXES = {
    UNet: "model.diffusion_model.",
    AutoencoderKL: "first_stage_model.",
    TextModel: "cond_stage_model.transformer.",
}
TINY_UNET = UNetConfig(model_channels=32, context_dim=48)
SD2_UNET = replace(TINY_UNET, context_dim=40, linear=True)
POOLED = 16  # width of the pooled text in narrow SDXL networks
XL_UNET = UNetConfig(4, 4, 32, (1, 2, 4), 2, (0, 2, 3), 3, 40, linear=True, vector_dim=POOLED + 6 * SINUSOIDS)
REFINER_UNET = UNetConfig(
    4, 4, 32, (1, 2, 4, 4), 2, (0, 2, 2, 0), 2, 16, linear=True, vector_dim=POOLED + 5 * SINUSOIDS
)
TINY_VAE = VaeConfig(ch=16)
TINY_CLIP = ClipConfig(width=128, layers=3, intermediate=512, vocab=1000)


def build(network: type[UNet | AutoencoderKL | TextModel], config: object) -> nn.Module:
    with torch.device("meta"):
        return network(config).eval()  # type: ignore[arg-type]


def full_unet() -> UNet:
    return build(UNet, UNetConfig())  # type: ignore[return-value]


def full_vae() -> AutoencoderKL:
    return build(AutoencoderKL, VaeConfig())  # type: ignore[return-value]


def full_xl() -> UNet:
    return build(UNet, XL)  # type: ignore[return-value]


def full_refiner() -> UNet:
    return build(UNet, REFINER)  # type: ignore[return-value]


def full_text() -> TextModel:
    return build(TextModel, ClipConfig())  # type: ignore[return-value]


def in_manifest(prefix: str) -> dict[str, tuple[int, ...]]:
    return {name.removeprefix(prefix): shape for name, shape in manifest().items() if name.startswith(prefix)}


class TestNumbers:
    @pytest.mark.parametrize(
        ("make", "parameters"),
        [
            (full_unet, 859_520_964),
            (full_xl, 2_567_463_684),
            (full_refiner, 2_259_526_660),
            (full_vae, 83_653_863),
            (full_text, 123_060_480),
        ],
    )
    def test_parameters(self, make: Callable[[], nn.Module], parameters: int) -> None:
        assert sum(p.numel() for p in make().parameters()) == parameters

    @pytest.mark.parametrize("make", [full_unet, full_vae, full_text])
    def test_names_and_shapes_are_those_of_the_published_file(self, make: Callable[[], nn.Module]) -> None:
        network = make()
        published = in_manifest(PREFIXES[type(network)])
        published.pop("text_model.embeddings.position_ids", None)
        assert {name: tuple(t.shape) for name, t in network.state_dict().items()} == published

    def test_configs_read_from_the_published_shapes_are_the_defaults(self) -> None:
        assert unet_config(in_manifest(PREFIXES[UNet])) == UNetConfig()
        assert vae_config(in_manifest(PREFIXES[AutoencoderKL])) == VaeConfig()
        assert clip_config(in_manifest(PREFIXES[TextModel])) == ClipConfig()

    def test_unet(self) -> None:
        config = UNetConfig()
        assert (config.model_channels, config.num_res_blocks, config.heads(640), config.context_dim) == (320, 2, 8, 768)
        assert config.channel_mult == (1, 2, 4, 4)
        assert config.transformer_depth == (1, 1, 1, 0)  # at 1, 1/2 and 1/4 of the latent's size

    def test_autoencoder(self) -> None:
        config = VaeConfig()
        assert (config.factor, config.z_channels, config.embed_dim, config.ch_mult) == (8, 4, 4, (1, 2, 4, 4))

    def test_text_encoder(self) -> None:
        config = ClipConfig()
        assert (config.positions, config.width, config.layers, config.heads, config.vocab) == (77, 768, 12, 12, 49408)

    def test_a_512_picture_is_a_4x64x64_latent(self) -> None:
        vae = full_vae()
        moments = vae.encode(torch.empty(1, 3, 512, 512, device="meta"))
        assert moments.shape == (1, 2 * 4, 64, 64)  # means and log variances
        assert vae.decode(moments[:, :4]).shape == (1, 3, 512, 512)

    def test_the_unet_keeps_the_latents_shape(self) -> None:
        x, t, context = (torch.empty(shape, device="meta") for shape in [(2, 4, 64, 64), (2,), (2, 77, 768)])
        assert full_unet()(x, t, Reading(context)).shape == x.shape

    def test_77_tokens(self) -> None:
        assert full_text()(torch.zeros(1, 77, dtype=torch.int64, device="meta")).shape == (1, 77, 768)

    @pytest.mark.parametrize("make", [full_unet, full_vae])
    def test_norms_have_32_groups(self, make: Callable[[], nn.Module]) -> None:
        assert {m.num_groups for m in make().modules() if isinstance(m, nn.GroupNorm)} == {32}


@pytest.mark.parametrize(
    ("network", "config", "read"),
    [
        (UNet, TINY_UNET, unet_config),
        (UNet, SD2_UNET, unet_config),
        (UNet, replace(SD2_UNET, in_channels=9), unet_config),
        (UNet, XL_UNET, unet_config),
        (UNet, REFINER_UNET, unet_config),
        (UNet, XL, unet_config),
        (UNet, REFINER, unet_config),
        (UNet, UNetConfig(9, 4, 64, (1, 3), 1, (0, 2), 1, 40), unet_config),
        (UNet, UNetConfig(model_channels=16, channel_mult=(1,), num_res_blocks=3, transformer_depth=(1,)), unet_config),
        (AutoencoderKL, TINY_VAE, vae_config),
        (AutoencoderKL, VaeConfig(32, (1, 2), 1, 3, 6, 5), vae_config),
        (TextModel, TINY_CLIP, clip_config),
        (TextModel, ClipConfig(64, 12, 100, 300, 20), clip_config),
    ],
)
def test_any_architecture_is_read_from_its_shapes(
    network: type[nn.Module], config: object, read: Callable[[object], object]
) -> None:
    shapes = {name: tuple(t.shape) for name, t in build(network, config).state_dict().items()}  # type: ignore[arg-type]
    assert read(shapes) == config


@pytest.fixture(scope="module")
def unet() -> UNet:
    return randomized(build(UNet, TINY_UNET))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    return randomized(build(AutoencoderKL, TINY_VAE))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def their_unet(unet: UNet) -> Any:
    return diffusers_unet(unet)


class TestParity:
    """With narrow networks of the full layout; tests/acceptance has the full size."""

    @pytest.mark.parametrize("size", [(16, 16), (8, 24), (9, 17), (13, 6)])
    def test_unet(self, unet: UNet, their_unet: Any, size: tuple[int, int]) -> None:
        x, context = normal(2, 4, *size), normal(2, 77, TINY_UNET.context_dim)
        t = torch.tensor([999.0, 321.0])
        with torch.inference_mode():
            assert relative_error(unet(x, t, Reading(context)), their_unet(x, t, context).sample) <= TOLERANCE

    @pytest.mark.parametrize(
        ("config", "numbers"),
        [
            (SD2_UNET, 0),
            (replace(SD2_UNET, in_channels=5), 0),  # with depth
            (replace(SD2_UNET, in_channels=9), 0),  # for inpainting
            (XL_UNET, 6),
            (replace(XL_UNET, in_channels=9), 6),
            (REFINER_UNET, 5),
            (replace(SD2_UNET, vector_dim=POOLED), 0),
        ],
        ids=["SD 2", "depth", "inpainting", "SDXL", "SDXL inpainting", "refiner", "unCLIP"],
    )
    def test_unets_of_other_families(self, config: UNetConfig, numbers: int) -> None:
        unet = randomized(build(UNet, config))
        x, context, t = normal(2, 4, 8, 12), normal(2, 77, config.context_dim), torch.tensor([999.0, 321.0])
        beside = normal(2, config.in_channels - 4, 8, 12) if config.in_channels > 4 else None
        pooled, sizes = (
            normal(2, POOLED),
            torch.tensor([[768.0, 512, 8, 0, 1024, 640], [512, 768, 0, 4, 6, 2.5]])[:, :numbers],
        )
        added = {"text_embeds": pooled, "time_ids": sizes} if numbers else None
        vector = torch.cat([pooled, sinusoids(sizes)], dim=1) if config.vector_dim else None
        seen_in_a_picture = pooled if vector is not None and not numbers else None
        theirs = diffusers_unet(unet, POOLED)  # type: ignore[arg-type]
        seen = x if beside is None else torch.cat([x, beside], dim=1)
        with torch.inference_mode():
            ours = unet(x, t, Reading(context, beside, vector=vector))
            expected = theirs(seen, t, context, added_cond_kwargs=added, class_labels=seen_in_a_picture).sample
        assert relative_error(ours, expected) <= TOLERANCE

    def test_a_vector_that_a_unet_needs_is_asked_for(self) -> None:
        x, t, context = (torch.empty(shape, device="meta") for shape in [(1, 4, 8, 8), (1,), (1, 77, 40)])
        with pytest.raises(ValueError, match="reads a vector"):
            build(UNet, XL_UNET)(x, t, Reading(context))

    def test_vae_encode(self, vae: AutoencoderKL) -> None:
        x = normal(2, 3, 40, 64)
        with torch.inference_mode():
            assert relative_error(vae.encode(x), diffusers_vae(vae).encode(x).latent_dist.parameters) <= TOLERANCE

    def test_vae_decode(self, vae: AutoencoderKL) -> None:
        z = normal(2, 4, 5, 8)
        with torch.inference_mode():
            assert relative_error(vae.decode(z), diffusers_vae(vae).decode(z).sample) <= TOLERANCE

    @pytest.mark.parametrize(
        ("config", "length"),
        [(TINY_CLIP, 77), (TINY_CLIP, 20), (ClipConfig(), 77)],
        ids=["tiny", "tiny, short", "full size"],
    )
    def test_text(self, config: ClipConfig, length: int) -> None:
        text = randomized(build(TextModel, config))
        assert isinstance(text, TextModel)
        tokens = torch.randint(config.vocab - 2, (2, length), generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            assert relative_error(text(tokens), transformers_text(text)(tokens).last_hidden_state) <= TOLERANCE


class Stop(Exception):
    """What the ticks of these tests raise."""


class TestTick:
    """A tick comes before each block, so that an interrupt takes effect within one."""

    def test_unet(self) -> None:
        unet = full_unet()
        x, t, context = (torch.empty(shape, device="meta") for shape in [(1, 4, 8, 8), (1,), (1, 77, 768)])
        self.check(unet, ResBlock, lambda tick: unet(x, t, Reading(context), tick), ticks=25, per_tick=2)

    def test_vae_encode(self) -> None:
        vae = full_vae()
        x = torch.empty(1, 3, 64, 64, device="meta")
        self.check(vae, ResnetBlock, lambda tick: vae.encode(x, tick), ticks=14, per_tick=1)

    def test_vae_decode(self) -> None:
        vae = full_vae()
        z = torch.empty(1, 4, 8, 8, device="meta")
        self.check(vae, ResnetBlock, lambda tick: vae.decode(z, tick), ticks=18, per_tick=1)

    def test_text(self) -> None:
        text = full_text()
        vectors = torch.empty(1, 77, 768, device="meta")
        self.check(text, nn.LayerNorm, lambda tick: text.encode(vectors, tick), ticks=12, per_tick=2)

    def check(
        self,
        network: nn.Module,
        block: type[nn.Module],
        forward: Callable[[Callable[[], None]], Tensor],
        ticks: int,
        per_tick: int,
    ) -> None:
        """`forward` ticks `ticks` times, and once a tick raises, no more of its blocks run."""
        ran: list[nn.Module] = []
        for module in network.modules():
            if isinstance(module, block):
                module.register_forward_hook(lambda module, *_: ran.append(module))
        ticked: list[None] = []
        forward(lambda: ticked.append(None))
        assert len(ticked) == ticks

        for last in (1, 2, ticks // 2, ticks):
            ran.clear()
            numbers = count(1)

            def tick(numbers: count[int] = numbers, last: int = last) -> None:
                if next(numbers) == last:
                    raise Stop

            with pytest.raises(Stop):
                forward(tick)
            assert len(ran) <= per_tick * (last - 1)
            assert next(numbers) == last + 1  # nothing ticked after it


def sinusoids(numbers: Tensor) -> Tensor:
    """As SDXL's vector has the numbers of a picture's size: [B, n] -> [B, n * SINUSOIDS]."""
    return timestep_embedding(numbers.flatten(), SINUSOIDS).view(len(numbers), -1)


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))
