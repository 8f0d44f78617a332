"""What steers SDXL: ControlNet, union networks, Control-LoRA, T2I-Adapter and IP-Adapter, against diffusers' on its U-Net."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from diffusers.models.embeddings import ImageProjection, MultiIPAdapterImageProjection
from safetensors.torch import save_file
from torch import Tensor, nn

from graph.errors import InputError
from models.config import UNetConfig, VisionConfig
from models.ip_adapter import IPAdapter, IPAdapterConfig
from models.t2i_adapter import AdapterConfig, T2IAdapter
from models.types import Cond, Conditioning, Image, Latent, Model
from models.unet import UNet
from models.vision import VisionModel, vision_input
from nodes.control import control_net_apply_advanced, control_net_loader, set_union_control_net_type
from nodes.ip_adapter import ip_adapter_advanced, ip_adapter_model_loader
from nodes.loaders import checkpoint_loader_simple
from nodes.sampling import ksampler
from nodes.vision import clip_vision_loader
from tests.models.oracles import SINUSOIDS, diffusers_unet, randomized, relative_error
from tests.models.steering_peers import diffusers_controlnet, narrow_controlnet
from tests.models.vision_peers import transformers_vision
from tests.nodes.conftest import CHECKPOINT, Workplace
from tests.nodes.one_step import CFG, SIGMA, normal
from tests.tiny_families import family_state

POOLED = 24
XL = UNetConfig(4, 4, 16, (1, 2, 4), 2, (0, 1, 2), 2, 32, linear=True, vector_dim=POOLED + 6 * SINUSOIDS)
"""Like the published one in all but its width and depths: two residual blocks a level, no attention in the first."""
HINT = torch.rand(1, 64, 80, 3, generator=torch.Generator().manual_seed(3))
HEIGHT, WIDTH = 8, 10

Also = Callable[[Tensor, Tensor, Mapping[str, Tensor]], Mapping[str, Any]]


def text(seed: int) -> Conditioning:
    return Conditioning((Cond(normal(1, 77, XL.context_dim, seed=seed), normal(1, POOLED, seed=-seed)),))


POSITIVE, NEGATIVE = text(1), text(2)


@pytest.fixture(scope="module")
def unet() -> UNet:
    with torch.device("meta"):
        network: nn.Module = UNet(XL)
    return randomized(network)  # type: ignore[return-value]


@pytest.fixture
def model(place: Workplace, unet: UNet) -> Model:
    state = {name: x for name, x in family_state("xl").items() if not name.startswith("model.")}
    state |= {f"model.diffusion_model.{name}": tensor for name, tensor in unet.state_dict().items()}
    save_file(state, place.folders.roots("checkpoints")[0] / "xl.safetensors")
    loaded: Model = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", "xl.safetensors")).model
    return loaded


def stored(place: Workplace, folder: str, name: str, state: Mapping[str, Tensor]) -> Any:
    path = place.folders.roots(folder)[0] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: tensor.contiguous().clone() for key, tensor in state.items()}, path)
    return place.file(folder, name)


def opened(place: Workplace, state: Mapping[str, Tensor], name: str = "control.safetensors") -> Any:
    return control_net_loader(place.ctx(), control_net_name=stored(place, "controlnet", name, state))


def steered(place: Workplace, model: Model, loaded: Any, strength: float = 0.8) -> Tensor:
    both = control_net_apply_advanced(
        place.ctx(),
        positive=POSITIVE,
        negative=NEGATIVE,
        control_net=loaded,
        image=Image(HINT),
        strength=strength,
    )
    return drawn(place, model, both.positive, both.negative)


def drawn(place: Workplace, model: Model, positive: Conditioning, negative: Conditioning) -> Tensor:
    """The latent after one step to 0, whose result is the estimate itself."""
    latent = Latent(torch.zeros(1, 4, HEIGHT, WIDTH))
    made: Latent = ksampler(
        place.ctx(), model=model, positive=positive, negative=negative, latent_image=latent,
        seed=5, steps=1, cfg=CFG, sampler_name="euler", scheduler="normal",
    )  # fmt: skip
    assert not place.warnings
    return made.samples


def expected(theirs: Any, positive: Also, negative: Also | None = None) -> Tensor:
    """The same by diffusers' U-Net, given what other networks of theirs add."""
    sigma = torch.tensor(SIGMA)
    x = torch.randn(1, 4, HEIGHT, WIDTH, generator=torch.manual_seed(5)) * (1 + sigma**2).sqrt()
    scaled = x / (1 + sigma**2).sqrt()

    def eps(given: Conditioning, also: Also) -> Tensor:
        [cond] = given.conds
        assert cond.pooled is not None
        sizes = torch.tensor([[8.0 * HEIGHT, 8 * WIDTH, 0, 0, 8 * HEIGHT, 8 * WIDTH]])
        added = {"text_embeds": cond.pooled, "time_ids": sizes}
        more = also(scaled, cond.tokens, added)
        return theirs(scaled, 999.0, cond.tokens, **{"added_cond_kwargs": added, **more}).sample

    with torch.inference_mode():
        away = eps(NEGATIVE, negative or positive)
        return (x - sigma * (away + CFG * (eps(POSITIVE, positive) - away))) / 0.13025


def by(theirs: Any, **given: Any) -> Also:
    """What diffusers' control network adds."""

    def residuals(x: Tensor, context: Tensor, added: Mapping[str, Tensor]) -> Mapping[str, Any]:
        seen = {"controlnet_cond": HINT.movedim(-1, 1), "conditioning_scale": 0.8} | given
        skips, middle = theirs(x, 999.0, context, added_cond_kwargs=added, return_dict=False, **seen)
        return {"down_block_additional_residuals": skips, "mid_block_additional_residual": middle}

    return residuals


def test_without_anything_the_step_is_theirs(place: Workplace, model: Model, unet: UNet) -> None:
    found = drawn(place, model, POSITIVE, NEGATIVE)
    assert relative_error(found, expected(diffusers_unet(unet, POOLED), lambda *given: {})) <= 1e-5


@pytest.mark.parametrize("layout", ["published", "diffusers"])
def test_a_controlnet(place: Workplace, model: Model, unet: UNet, layout: str) -> None:
    net = narrow_controlnet(XL)
    theirs = diffusers_controlnet(net.state_dict(), XL)
    loaded = opened(place, (net if layout == "published" else theirs).state_dict())
    found = steered(place, model, loaded)
    assert relative_error(found, expected(diffusers_unet(unet, POOLED), by(theirs))) <= 1e-5


def test_a_union_network(place: Workplace, model: Model, unet: UNet) -> None:
    from diffusers import ControlNetUnionModel

    theirs = ControlNetUnionModel(
        block_out_channels=(16, 32, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        layers_per_block=2, cross_attention_dim=XL.context_dim, norm_num_groups=4, attention_head_dim=(1, 1, 1),
        transformer_layers_per_block=(2, 1, 2), use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=SINUSOIDS, projection_class_embeddings_input_dim=XL.vector_dim, num_control_type=6,
        num_trans_channel=16, num_proj_channel=16, num_trans_layer=1, num_trans_head=8,
        conditioning_embedding_out_channels=(8, 8, 16, 16),
    ).eval()  # fmt: skip
    randomized(theirs)
    for layer in theirs.transformer_layes:
        layer.attn.batch_first = True  # as it is, it looks across the items of a batch, and not from hint to latent
    for module in theirs.modules():
        if isinstance(module, nn.GroupNorm):
            module.num_groups = min(32, module.num_channels // 4)
    loaded = opened(place, theirs.state_dict(), "union_promax.safetensors")
    told = set_union_control_net_type(place.ctx(), control_net=loaded, type="canny/lineart/anime_lineart/mlsd")
    flags = torch.nn.functional.one_hot(torch.tensor([3]), 6).float()
    given = {"controlnet_cond": [HINT.movedim(-1, 1)], "control_type": flags, "control_type_idx": [3]}
    wanted = expected(diffusers_unet(unet, POOLED), by(theirs, **given, conditioning_scale=[0.8]))
    assert relative_error(steered(place, model, told), wanted) <= 1e-5


def test_a_control_lora(place: Workplace, model: Model, unet: UNet) -> None:
    net = narrow_controlnet(XL, seed=4)
    base, file, whole = unet.state_dict(), {"lora_controlnet": torch.tensor([])}, dict[str, Tensor]()
    for i, (name, tensor) in enumerate(net.state_dict().items()):
        if name not in base:
            whole[name] = file[name] = tensor  # the hint's eyes, and the ways out
        elif name.endswith("weight") and tensor.ndim > 1:
            up, down = normal(tensor.shape[0], 2, seed=i) * 0.1, normal(2, *tensor.shape[1:], seed=-i) * 0.1
            file[name.replace("weight", "up")], file[name.replace("weight", "down")] = up, down
            whole[name] = base[name] + (up @ down.flatten(1)).view(tensor.shape)
        else:
            whole[name] = file[name] = tensor
    assert any(name.startswith("label_emb.") and name.endswith(".up") for name in file)
    found = steered(place, model, opened(place, file, "control-lora-canny-rank128.safetensors"))
    theirs = diffusers_controlnet(whole, XL)
    assert relative_error(found, expected(diffusers_unet(unet, POOLED), by(theirs))) <= 1e-5


def diffusers_adapter(channels: int) -> Any:
    from diffusers import T2IAdapter as Theirs

    widths = [XL.model_channels * mult for mult in (1, 2, 4, 4)]
    theirs = Theirs(
        in_channels=channels, channels=widths, num_res_blocks=2, downscale_factor=16, adapter_type="full_adapter_xl"
    )
    return randomized(theirs)


def published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The names that files for SDXL had before diffusers': blocks are numbered through."""
    named = {}
    for name, tensor in state.items():
        name = name.removeprefix("adapter.")
        if name.startswith("body."):
            _, level, rest = name.split(".", 2)
            block, inside = (
                (0, rest) if rest.startswith("in_conv") else (int(rest.split(".")[1]), rest.split(".", 2)[2])
            )
            name = f"body.{2 * int(level) + block}.{inside}"
        named[name] = tensor
    return named


@pytest.mark.parametrize("layout", ["published", "diffusers"])
@pytest.mark.parametrize("channels", [3, 1])
def test_a_t2i_adapter(place: Workplace, model: Model, unet: UNet, channels: int, layout: str) -> None:
    adapter = diffusers_adapter(channels)
    state = adapter.state_dict()
    loaded = opened(place, published(state) if layout == "published" else state, "t2i-adapter-canny-sdxl.safetensors")
    picture = nn.functional.interpolate(HINT.movedim(-1, 1), (64, 80))
    maps = adapter(picture.mean(1, keepdim=True) if channels == 1 else picture)

    def residuals(x: Tensor, context: Tensor, added: Mapping[str, Tensor]) -> Mapping[str, Any]:
        return {"down_intrablock_additional_residuals": [one * 0.8 for one in maps]}

    found = steered(place, model, loaded)
    assert relative_error(found, expected(diffusers_unet(unet, POOLED), residuals)) <= 1e-5
    assert relative_error(found, drawn(place, model, POSITIVE, NEGATIVE)) > 1e-3


def test_an_adapter_of_another_family_is_refused_either_way(place: Workplace, model: Model) -> None:
    widths = tuple(XL.model_channels * mult for mult in (1, 2, 4, 4))
    with torch.device("meta"):
        old: nn.Module = T2IAdapter(AdapterConfig(3, widths))
    with pytest.raises(InputError, match=r"sd15\.safetensors was made for another kind of model.*xl\.safetensors"):
        steered(place, model, opened(place, randomized(old).state_dict(), "sd15.safetensors"))
    tiny = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT)).model
    with pytest.raises(InputError, match=r"sdxl\.safetensors was made for another kind of model.*tiny\.safetensors"):
        steered(place, tiny, opened(place, diffusers_adapter(3).state_dict(), "sdxl.safetensors"))


TOWER = VisionConfig(width=64, layers=3, intermediate=96, patch=8, grid=4, projection=20)


def test_an_ip_adapter(place: Workplace, model: Model, unet: UNet) -> None:
    theirs = diffusers_unet(unet, POOLED)
    widths = [
        module.to_q.out_features
        for name, module in theirs.named_modules()
        if name.endswith("attn2") and hasattr(module, "to_q")
    ]
    names = [name for name in theirs.attn_processors if "attn2" in name]
    sites = tuple(
        (2 * number + 1, theirs.get_submodule(name.removesuffix(".processor")).to_q.out_features)
        for number, name in enumerate(names)
    )
    assert len(sites) == len(widths) and len({width for _, width in sites}) == 2
    with torch.device("meta"):
        network: nn.Module = IPAdapter(IPAdapterConfig("vector", TOWER.projection, 4, XL.context_dim, 0, 0, sites))
        seeing: nn.Module = VisionModel(TOWER)
    state, tower = randomized(network).state_dict(), randomized(seeing)
    assert isinstance(tower, VisionModel)

    projection = ImageProjection(TOWER.projection, XL.context_dim, 4)
    head = {name.removeprefix("image_proj."): x for name, x in state.items() if name.startswith("image_proj.")}
    projection.load_state_dict({name.replace("proj", "image_embeds"): x for name, x in head.items()})
    theirs.encoder_hid_proj = MultiIPAdapterImageProjection([projection])
    theirs.register_to_config(encoder_hid_dim_type="ip_image_proj")
    processors = dict(theirs.attn_processors)
    for name, (number, width) in zip(names, sites, strict=True):
        processors[name] = IPAdapterAttnProcessor2_0(width, XL.context_dim, (4,), scale=0.7)
        ends = {f"{end}.0.weight": state[f"ip_adapter.{number}.{end}.weight"] for end in ("to_k_ip", "to_v_ip")}
        processors[name].load_state_dict(ends)
    theirs.set_attn_processor(processors)

    prompted = ip_adapter_advanced(
        place.ctx(), model=model, image=Image(HINT), weight=0.7, weight_type="linear", combine_embeds="concat",
        embeds_scaling="V only",
        ipadapter=ip_adapter_model_loader(
            place.ctx(), ipadapter_file=stored(place, "ipadapter", "ip-adapter_sdxl.safetensors", state)
        ),
        clip_vision=clip_vision_loader(
            place.ctx(), clip_name=stored(place, "clip_vision", "bigG.safetensors", tower.state_dict())
        ),
    )  # fmt: skip
    with torch.inference_mode():
        seen = transformers_vision(tower)(vision_input(HINT, TOWER.image_size, crop=True)).image_embeds

    def with_picture(vector: Tensor) -> Also:
        return lambda x, context, added: {"added_cond_kwargs": {**added, "image_embeds": [vector[:, None]]}}

    wanted = expected(theirs, with_picture(seen), with_picture(torch.zeros_like(seen)))
    assert relative_error(drawn(place, prompted, POSITIVE, NEGATIVE), wanted) <= 1e-5
