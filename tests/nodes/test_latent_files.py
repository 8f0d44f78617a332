"""LoadLatent, and that it reads what SaveLatent writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from graph.build import build
from graph.cache import Cache
from graph.context import Context, Run
from graph.document import Document
from graph.errors import InputError
from graph.execute import Executor
from graph.files import FileRef, Folders
from graph.object_info import describe
from graph.spec import Registry, node
from models.precision import Precision
from models.residency import Residency
from models.types import Latent, nbytes
from nodes.image import load_latent
from nodes.registry import builtin
from nodes.services import Services
from tests.graph.stubs import doc, link

SAMPLES = torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(0))


@node("Samples", category="stub")
def samples(ctx: Context[Services]) -> Latent:
    """Two latents; not contiguous, as slicing leaves them."""
    return Latent(SAMPLES.movedim(1, -1).contiguous().movedim(-1, 1))


REGISTRY = Registry([*builtin().values(), samples])


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """An empty user directory."""
    return Folders.standard(tmp_path / "workspace")


@pytest.fixture
def executor(folders: Folders) -> Iterator[Executor[Services]]:
    """An engine."""
    services = Services(Residency(torch.device("cpu"), Precision(), 2**20), folders)
    with Executor(services, REGISTRY, folders, Cache(2**20, nbytes), scope=torch.inference_mode) as executor:
        yield executor


def load(executor: Executor[Services], folders: Folders, name: str) -> Tensor:
    document = doc({"1": ("LoadLatent", {"latent": name})})
    [value] = executor.execute(Run("run", document), build(document, REGISTRY, folders, ["1"]))["1"].values
    assert isinstance(value, Latent)
    return value.samples


@pytest.mark.parametrize("annotated", [True, False])
def test_what_was_saved_comes_back(executor: Executor[Services], folders: Folders, annotated: bool) -> None:
    save = {"samples": link("1"), "filename_prefix": "latents/mine"}
    outputs = executor.execute(Run("run", doc({"1": ("Samples", {}), "2": ("SaveLatent", save)})))["2"]
    [path] = folders.shown_files(outputs.ui)
    name = "latents/mine_00001_.latent [output]"
    if not annotated:
        name = path.rename(folders.input_dir / "mine.latent").name
    assert torch.equal(load(executor, folders, name), SAMPLES)


def test_a_file_without_a_version_is_scaled(executor: Executor[Services], folders: Folders) -> None:
    save_file({"latent_tensor": SAMPLES}, folders.input_dir / "old.latent")
    assert torch.equal(load(executor, folders, "old.latent"), SAMPLES * (1 / 0.18215))


def test_half_precision_becomes_float32(executor: Executor[Services], folders: Folders) -> None:
    state = {"latent_tensor": SAMPLES.half(), "latent_format_version_0": torch.tensor([])}
    save_file(state, folders.input_dir / "half.latent")
    loaded = load(executor, folders, "half.latent")
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded, SAMPLES.half().float())


def test_the_value_does_not_change_with_the_file(executor: Executor[Services], folders: Folders) -> None:
    path = folders.input_dir / "x.latent"
    save_file({"latent_tensor": SAMPLES, "latent_format_version_0": torch.tensor([])}, path)
    loaded = load(executor, folders, "x.latent")
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(loaded, SAMPLES)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"other": SAMPLES}, "is not a file of latents: it lacks the tensor latent_tensor"),
        ({"latent_tensor": SAMPLES[0]}, r"holds float32 of shape \[4, 6, 5\], expected .* \[batch, 4, height, width\]"),
        ({"latent_tensor": torch.zeros(1, 16, 8, 8)}, r"holds float32 of shape \[1, 16, 8, 8\]"),
        ({"latent_tensor": torch.zeros(0, 4, 8, 8)}, r"shape \[0, 4, 8, 8\]"),
        ({"latent_tensor": torch.zeros(1, 4, 8, 8, dtype=torch.int32)}, "holds int32"),
        ({}, "neither a safetensors or GGUF file"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, folders: Folders, state: dict[str, Tensor], message: str) -> None:
    path = tmp_path / "x.latent"
    if state:
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    else:
        path.write_bytes(b"no latent at all")
    services = Services(Residency(torch.device("cpu"), Precision(), 2**20), folders)
    with pytest.raises(InputError, match=message) as error:
        load_latent(Context("1", Run("run", Document({})), services), latent=FileRef("input", "x.latent", path))
    assert error.value.input_name == "latent"


def test_only_latent_files_are_on_offer(folders: Folders) -> None:
    for name in ("a.latent", "b.png", "c.safetensors"):
        (folders.input_dir / name).touch()
    info = describe(load_latent, folders)
    assert info["input"] == {
        "required": {"latent": [["a.latent"], {"tooltip": "A .latent file of the input directory."}]}
    }
    assert info["output"] == ["LATENT"]
    assert build(doc({"1": ("LoadLatent", {"latent": "b.png"})}), REGISTRY, folders, ["1"]).blocked == ("1",)
