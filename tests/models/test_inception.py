"""FID's Inception network, against torch-fidelity's with the same random weights in the same file."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from models.checkpoint import CheckpointError, load_part, read_header
from models.inception import FEATURES, SIDE, Inception
from tests.models.oracles import relative_error

LEGACY = {"_use_new_zipfile_serialization": False}  # the published file is that old


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """torch-fidelity's class; its package imports torchvision, the file of this class does not."""
    package = ModuleType("torch_fidelity")
    package.__path__ = [str(distribution("torch-fidelity").locate_file("torch_fidelity"))]
    monkeypatch.setitem(sys.modules, "torch_fidelity", package)
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    return FeatureExtractorInceptionV3


@cache
def random_state() -> Mapping[str, Tensor]:
    """The tensors of the published file, its unused classifier too; sizes that keep activations near 1."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {"fc.weight": torch.zeros(1008, FEATURES), "fc.bias": torch.zeros(1008)}
    with torch.device("meta"):
        names = Inception().state_dict()
    for name, tensor in names.items():
        x = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim > 1:
            x *= math.sqrt(2 / tensor[0].numel())
        elif name.endswith("running_var"):
            x = 1 + 0.2 * x.clamp(-3, 3).abs()
        elif name.endswith("weight"):
            x = 1 + 0.1 * x
        else:
            x *= 0.1
        state[name] = x
        if name.endswith("running_var"):
            state[name.replace("running_var", "num_batches_tracked")] = torch.tensor(0)
    return state


def load(path: Path) -> Inception:
    network = load_part(read_header(path), "inception", dtype=torch.float32, device=torch.device("cpu"))
    assert isinstance(network, Inception)
    return network


@torch.inference_mode()
def test_it_sees_what_torch_fidelity_sees(tmp_path: Path, peer: Any) -> None:
    path = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    torch.save(dict(random_state()), path, **LEGACY)
    expected = peer("inception", ["2048"], feature_extractor_weights_path=str(path)).eval()
    pictures = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    ours = load(path)
    [features] = expected(pictures)
    # theirs makes (u - 128) / 128 of a byte u, pytorch-fid and ours 2u / 255 - 1
    assert relative_error(ours(pictures / 256), features) < 2e-6
    assert relative_error(ours.see((pictures[0] / 256).movedim(0, -1)), features[0]) < 2e-6


@torch.inference_mode()
def test_pictures_of_any_size_are_brought_to_299_pixels(tmp_path: Path) -> None:
    torch.save(dict(random_state()), tmp_path / "inception.pth")
    ours = load(tmp_path / "inception.pth")
    small = torch.rand(64, 48, 3, generator=torch.Generator().manual_seed(2))
    large = torch.nn.functional.interpolate(small.movedim(-1, 0)[None], size=(SIDE, SIDE), mode="bilinear")
    assert relative_error(ours.see(small), ours(large)[0]) < 1e-6


def test_a_file_without_some_of_it_is_refused(tmp_path: Path) -> None:
    missing = "Mixed_6c.branch7x7_2.conv.weight"
    torch.save({name: tensor for name, tensor in random_state().items() if name != missing}, tmp_path / "inception.pth")
    with pytest.raises(CheckpointError, match=r"lacks 1 tensor of its Inception network: Mixed_6c.branch7x7_2.conv"):
        load(tmp_path / "inception.pth")
