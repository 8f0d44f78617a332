"""T2I-Adapters against diffusers' with the same weights, in both layouts of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.checkpoint import load_part, read_header
from models.t2i_adapter import AdapterConfig, T2IAdapter, adapter_config
from tests.models.oracles import randomized, relative_error

FULL = AdapterConfig(3, (32, 64, 128, 128))
SKETCH = AdapterConfig(1, (32, 64, 128, 128))
LIGHT = AdapterConfig(3, (32, 64, 128, 128), 4, (8, 16, 32, 32), 3)


def build(config: AdapterConfig) -> T2IAdapter:
    with torch.device("meta"):
        network: nn.Module = T2IAdapter(config)
    return randomized(network)  # type: ignore[return-value]


def diffusers_adapter(config: AdapterConfig) -> Any:
    from diffusers import T2IAdapter as Theirs

    with torch.device("meta"):
        theirs = Theirs(
            in_channels=config.channels,
            channels=list(config.widths[:-1] if config.light else config.widths),
            num_res_blocks=config.blocks,
            adapter_type="light_adapter" if config.light else "full_adapter",
        )
    return theirs.eval()


def theirs_from(state: dict[str, Tensor], config: AdapterConfig) -> dict[str, Tensor]:
    """Weights by diffusers' names: blocks are numbered through in the published files, level by level there."""
    if config.light:
        return {"adapter." + name.replace(".body.", ".resnets."): tensor for name, tensor in state.items()}
    named = {}
    for name, tensor in state.items():
        if name.startswith("body."):
            _, number, rest = name.split(".", 2)
            level, block = divmod(int(number), 2)
            name = f"body.{level}.{rest}" if rest.startswith("in_conv") else f"body.{level}.resnets.{block}.{rest}"
        named["adapter." + name] = tensor
    return named


@pytest.mark.parametrize("config", [FULL, SKETCH, LIGHT], ids=["full", "one channel", "light"])
@pytest.mark.parametrize("size", [(64, 128), (72, 40)])
def test_an_adapter_is_diffusers_in_either_layout(config: AdapterConfig, size: tuple[int, int], tmp_path: Path) -> None:
    ours, theirs = build(config), diffusers_adapter(config)
    state = ours.state_dict()
    theirs.load_state_dict(theirs_from(state, config), assign=True)
    assert adapter_config({name: tuple(t.shape) for name, t in state.items()}) == config
    pictures = torch.rand(2, config.channels, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found, expected = ours(pictures), theirs(pictures)
    assert len(found) == len(expected) == 4
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(found, expected, strict=True))
    for name, written in (("published", state), ("diffusers", theirs.state_dict())):
        save_file(written, tmp_path / f"{name}.safetensors")
        weights = read_header(tmp_path / f"{name}.safetensors")
        assert weights.parts() == {"t2i_adapter"} and not weights.unused()
        loaded = load_part(weights, "t2i_adapter", dtype=None, device=torch.device("cpu"))
        assert all(torch.equal(tensor, state[own]) for own, tensor in loaded.state_dict().items())


def test_the_full_size_is_the_published_one() -> None:
    with torch.device("meta"):
        ours = T2IAdapter(AdapterConfig())
    theirs = diffusers_adapter(AdapterConfig())
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
