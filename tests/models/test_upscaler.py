"""Networks that enlarge pictures, in every naming of their files, against the layers spelled out; and their tiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from models.checkpoint import load_part, read_header
from models.upscaler import MARGIN, TILE, CompactNet, RRDBNet, Upscaler, UpscalerConfig, build_upscaler
from models.weights import CheckpointError

pytestmark = pytest.mark.usefixtures("one_thread")

State = Mapping[str, Tensor]


def randomized(network: Upscaler) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, tensor in network.state_dict().items():
        spread = 0.25 if tensor.ndim == 1 else tensor[0].numel() ** -0.5
        state[name] = torch.randn(tensor.shape, generator=generator) * spread
    network.load_state_dict(state)
    return state


def esrgan(x: Tensor, state: State, blocks: int, doublings: int, unshuffle: int = 1) -> Tensor:
    """The paper's figure 4, layer by layer."""

    def conv(name: str, h: Tensor) -> Tensor:
        return F.conv2d(h, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)

    first = conv("conv_first", F.pixel_unshuffle(x, unshuffle))
    h = first
    for i in range(blocks):
        before = h
        for j in (1, 2, 3):
            start, seen = h, h
            for k in (1, 2, 3, 4):
                seen = torch.cat([seen, F.leaky_relu(conv(f"body.{i}.rdb{j}.conv{k}", seen), 0.2)], 1)
            h = conv(f"body.{i}.rdb{j}.conv5", seen) * 0.2 + start
        h = h * 0.2 + before
    h = first + conv("conv_body", h)
    for i in range(doublings):
        h = F.leaky_relu(conv(f"conv_up{i + 1}", h.repeat_interleave(2, 2).repeat_interleave(2, 3)), 0.2)
    return conv("conv_last", F.leaky_relu(conv("conv_hr", h), 0.2))


def load(state: State, path: Path) -> Upscaler:
    save_file(dict(state), path) if path.suffix == ".safetensors" else torch.save({"params_ema": dict(state)}, path)
    network = load_part(read_header(path), "upscaler", dtype=torch.float32, device=torch.device("cpu"))
    assert isinstance(network, Upscaler)
    return network


def as_first_written(state: State) -> dict[str, Tensor]:
    """ESRGAN's own names, which count layers."""
    tail = {"conv_up1": 3, "conv_up2": 6, "conv_hr": 8, "conv_last": 10}
    names = {}
    for name in state:
        layer, end = name.rsplit(".", 1)
        if layer == "conv_first":
            names[name] = f"model.0.{end}"
        elif layer == "conv_body":
            names[name] = f"model.1.sub.2.{end}"
        elif layer in tail:
            names[name] = f"model.{tail[layer]}.{end}"
        else:
            _, i, rdb, conv = layer.split(".")
            names[name] = f"model.1.sub.{i}.{rdb.upper()}.{conv}.0.{end}"
    return {names[name]: tensor for name, tensor in state.items()}


def as_of_the_years_between(state: State) -> dict[str, Tensor]:
    changed = (("conv_body", "trunk_conv"), ("body.", "RRDB_trunk."), (".rdb", ".RDB"), ("conv_up", "upconv"))

    def renamed(name: str) -> str:
        for new, old in (*changed, ("conv_hr", "HRconv")):
            name = name.replace(new, old)
        return name

    return {renamed(name): tensor for name, tensor in state.items()}


@pytest.mark.parametrize("naming", [dict, as_first_written, as_of_the_years_between])
@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
def test_esrgan_of_every_naming(tmp_path: Path, naming: Callable[[State], dict[str, Tensor]], name: str) -> None:
    state = randomized(RRDBNet(UpscalerConfig(scale=4, width=8, blocks=2, growth=4)))
    network = load(naming(state), tmp_path / name)
    x = torch.rand(1, 3, 7, 9)
    assert network.config == UpscalerConfig(4, 8, 2, 4)
    with torch.no_grad():
        torch.testing.assert_close(network(x), esrgan(x, state, 2, 2), rtol=1e-5, atol=1e-5)


def test_pixels_that_are_put_into_channels_first(tmp_path: Path) -> None:
    """Real-ESRGAN's network for a factor of two; sides that are odd are filled up and cut again."""
    state = randomized(RRDBNet(UpscalerConfig(scale=2, width=8, blocks=1, growth=4, unshuffle=2)))
    network = load(state, tmp_path / "x2.safetensors")
    picture = torch.rand(7, 9, 3)
    with torch.no_grad():
        made = network.enlarge(picture)
        expected = esrgan(F.pad(picture.movedim(-1, 0)[None], (0, 1, 0, 1), mode="replicate"), state, 1, 2, 2)
    assert made.shape == (14, 18, 3)
    torch.testing.assert_close(made, expected[0, :, :14, :18].movedim(0, -1).clamp(0, 1))


def test_the_compact_network(tmp_path: Path) -> None:
    state = randomized(CompactNet(UpscalerConfig(scale=4, width=8, blocks=2, growth=0)))
    network = load(state, tmp_path / "compact.pth")
    assert network.config == UpscalerConfig(4, 8, 2, 0)
    x = torch.rand(1, 3, 6, 5)
    h = x
    for i in range(0, 6, 2):
        h = F.conv2d(h, state[f"body.{i}.weight"], state[f"body.{i}.bias"], padding=1)
        h = torch.where(h > 0, h, h * state[f"body.{i + 1}.weight"][:, None, None])
    h = F.conv2d(h, state["body.6.weight"], state["body.6.bias"], padding=1)
    expected = h.view(1, 3, 4, 4, 6, 5).permute(0, 1, 4, 2, 5, 3).reshape(1, 3, 24, 20)
    with torch.no_grad():
        torch.testing.assert_close(network(x), expected + x.repeat_interleave(4, 2).repeat_interleave(4, 3))


def test_tiles_leave_no_seam() -> None:
    """A network that sees no further than the margin of its tiles."""
    network = CompactNet(UpscalerConfig(scale=2, width=4, blocks=MARGIN // 4, growth=0))
    randomized(network)
    picture = torch.rand(TILE + 50, TILE * 2 - 30, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = network(picture.movedim(-1, 0)[None])[0].movedim(0, -1).clamp(0, 1)
        tiled = network.enlarge(picture)
    torch.testing.assert_close(tiled, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("change", ["grey", "hole"])
def test_what_is_no_upscaler_for_pictures_is_refused(tmp_path: Path, change: str) -> None:
    state = dict(randomized(RRDBNet(UpscalerConfig(scale=4, width=8, blocks=1, growth=4))))
    if change == "grey":
        state["conv_last.weight"], state["conv_last.bias"] = torch.zeros(1, 8, 3, 3), torch.zeros(1)
    else:
        del state["body.0.rdb2.conv3.weight"]
    with pytest.raises(
        CheckpointError, match="not in colour" if change == "grey" else r"lacks.*body\.0\.rdb2\.conv3\.weight"
    ):
        load(state, tmp_path / "bad.safetensors")


def test_published_shapes_are_read() -> None:
    with torch.device("meta"):
        names = {n: tuple(t.shape) for n, t in RRDBNet(UpscalerConfig(4, 64, 23, 32)).state_dict().items()}
        assert build_upscaler(names).config == UpscalerConfig(4, 64, 23, 32)
    assert sum(torch.Size(shape).numel() for shape in names.values()) == 16_697_987  # of RealESRGAN_x4plus
