"""`--require-safety` where pictures come into being: what is flagged there stays hidden, whatever is made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor

import main
from graph.cache import Cache
from graph.context import Context, Run
from graph.document import Document
from graph.execute import Executor
from graph.files import Folders
from graph.result import Outputs, Shown
from models.checkpoint import read_header
from models.precision import Precision
from models.residency import Residency
from models.types import Image, Latent, SafetyModel, Vae, nbytes
from nodes.pictures import read_picture, to_pil
from nodes.registry import builtin
from nodes.safety import Checked, blurred, safety_check
from nodes.safety_guard import guarded, makes_pictures, operators_checker
from nodes.services import Services
from tests.graph.stubs import doc, link
from tests.tiny_checker import write_tiny_checker
from tests.tiny_checkpoint import write_tiny_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = 64


def pattern(wave: float) -> Tensor:
    """[SIZE, SIZE, 3] of 8 bits: rings, which a checker still knows after a little cropping."""
    y, x = torch.meshgrid(torch.arange(SIZE) - SIZE / 2, torch.arange(SIZE) - SIZE / 2, indexing="ij")
    grey = 0.5 + 0.5 * torch.sin((x**2 + y**2).sqrt() * wave)
    return torch.stack([grey, 1 - grey, grey], -1).mul(255).round() / 255


BAD, GOOD = pattern(0.9), pattern(0.3)


@pytest.fixture(scope="module")
def checker_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checker(tmp_path_factory.mktemp("checker") / "operators.safetensors", BAD, GOOD)


@pytest.fixture(scope="module")
def blind_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checker that flags another thing."""
    return write_tiny_checker(tmp_path_factory.mktemp("blind") / "blind.safetensors", GOOD, BAD)


@pytest.fixture
def services(tmp_path: Path, checker_file: Path, blind_file: Path) -> Services:
    folders = Folders.standard(tmp_path / "workspace")
    (folders.roots("safety_checker")[0] / "blind.safetensors").write_bytes(blind_file.read_bytes())
    for name, picture in (("bad.png", BAD), ("good.png", GOOD)):
        to_pil(picture).save(folders.input_dir / name)
    residency = Residency(torch.device("cpu"), Precision(), 2**26)
    return Services(residency, folders, checker=SafetyModel(read_header(checker_file), "operators"))


@pytest.fixture
def executor(services: Services) -> Iterator[Executor[Services]]:
    """Without the rule that asks for a SafetyCheck at the end, so that only what happens at the start is seen."""
    registry, cache = guarded(builtin()), Cache(2**24, nbytes)
    with Executor(services, registry, services.folders, cache, scope=torch.inference_mode) as executor:
        yield executor


def saved(executor: Executor[Services], folders: Folders, document: Document) -> Tensor:
    [path] = folders.shown_files(executor.execute(Run("run", document))["9"].ui)
    return read_picture(path)[0]


def stretched(source: str, slot: int, width: int, **more: tuple[str, Mapping[str, object]]) -> Document:
    """What comes from node `source`, made wider and saved."""
    scale = {"upscale_method": "nearest-exact", "width": width, "height": SIZE, "crop": "disabled"}
    return doc(
        {
            **more,
            "8": ("ImageScale", {"image": link(source, slot), **scale}),
            "9": ("SaveImage", {"images": link("8", 0), "filename_prefix": "x"}),
        }
    )


def loaded(name: str) -> tuple[str, Mapping[str, object]]:
    return "LoadImage", {"image": name}


def test_stretching_before_the_check_and_squeezing_after_it_gains_nothing(
    executor: Executor[Services], services: Services
) -> None:
    for name, original, kept in (("good.png", GOOD, True), ("bad.png", BAD, False)):
        squeezed = saved(executor, services.folders, stretched("a", 0, 16 * SIZE, a=loaded(name)))[0, :, 8::16]
        assert torch.allclose(squeezed, original, atol=1 / 255) is kept
    assert squeezed.std() < 0.3 * BAD.std()


def test_it_is_told(executor: Executor[Services], services: Services) -> None:
    events: list[object] = []
    executor.execute(Run("run", stretched("a", 0, 2 * SIZE, a=loaded("bad.png")), events.append))
    told = [event.warning.message for event in events if hasattr(event, "warning")]
    assert any("flagged 1 of 1 pictures where they came into being" in message for message in told)


def test_a_picture_in_the_transparency_is_looked_at(executor: Executor[Services], services: Services) -> None:
    grey = BAD[..., :1].expand(-1, -1, 3)
    checker = write_tiny_checker(services.folders.base / "grey.safetensors", 1 - grey, GOOD)
    object.__setattr__(services, "checker", SafetyModel(read_header(checker), "grey"))
    rgba = np.concatenate([np.full((SIZE, SIZE, 3), 99), (grey[..., :1] * 255).numpy()], -1).astype(np.uint8)
    PIL.Image.fromarray(rgba).save(services.folders.input_dir / "hidden.png")
    mask = ("MaskToImage", {"mask": link("a", 1)})
    document = stretched("b", 0, 999, a=loaded("hidden.png"), b=mask)
    assert saved(executor, services.folders, document).std() < 0.3 * grey.std()


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_all_of_a_long_picture_is_looked_at(services: Services, place: int, turn: bool) -> None:
    long = torch.cat([BAD if i == place else torch.full_like(BAD, 0.5) for i in range(3)], 1)
    long = long.transpose(0, 1) if turn else long
    blind = SafetyModel(read_header(services.folders.resolve("safety_checker", "blind.safetensors")), "blind")
    ctx = Context("1", Run("run", Document({})), services)
    shown: Shown[Checked] = safety_check(ctx, image=Image(long[None]), safety_model=blind, mode="black")
    assert shown.value.flagged


def test_only_the_operators_checker_is_asked(services: Services) -> None:
    blind = SafetyModel(read_header(services.folders.resolve("safety_checker", "blind.safetensors")), "blind")
    ctx = Context("1", Run("run", Document({})), services)
    shown: Shown[Checked] = safety_check(ctx, image=Image(torch.stack([BAD, GOOD])), safety_model=blind, mode="black")
    assert shown.ui["flags"] == [True, False]
    assert [w.input_name for w in ctx.warnings] == ["safety_model"]


def test_which_node_types_look_at_their_pictures() -> None:
    looked_at = {spec.type for spec in builtin().values() if makes_pictures(spec)}
    assert {"LoadImage", "VAEDecode"} <= looked_at
    assert not looked_at & {"ImageScale", "ImageBatch", "ImageInvert", "SafetyCheck", "KSampler", "VAEEncode"}
    registry = guarded(builtin())
    for name, spec in builtin().items():
        assert (registry[name] is spec) == (name not in looked_at)
        assert name not in looked_at or registry[name].lane == "device"


def test_the_operator_says_which_checker(services: Services, checker_file: Path) -> None:
    folders, embedded = services.folders, services.folders.base / "box"

    def chosen(file: Path | None = None) -> str:
        return operators_checker(folders, file, embedded).weights.path.name

    assert chosen() == "blind.safetensors"  # the only one
    assert chosen(checker_file) == chosen(Path(str(checker_file))) == "operators.safetensors"
    assert chosen(Path("blind.safetensors")) == "blind.safetensors"
    (folders.roots("safety_checker")[0] / "second.safetensors").write_bytes(checker_file.read_bytes())
    with pytest.raises(
        ValueError, match=r"2 safety checkers lie in models/safety_checker; say which by --safety-checker"
    ):
        chosen()
    for refused in (folders.input_dir / "bad.png", Path("absent.safetensors")):
        with pytest.raises(ValueError, match=refused.name):
            chosen(refused)


def test_the_flag_needs_the_rule(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main(["run", "x.json", "--safety-checker", "a.safetensors"])
    assert "--safety-checker needs --require-safety" in capsys.readouterr().err


def test_a_decoded_picture_is_looked_at(services: Services, tmp_path: Path) -> None:
    weights = read_header(write_tiny_checkpoint(tmp_path / "tiny.safetensors"))
    inputs = {"samples": Latent(torch.randn(2, 4, 8, 8)), "vae": Vae(weights, "w")}
    ctx = Context("1", Run("run", Document({})), services)
    spec = guarded(builtin())["VAEDecode"]
    with torch.inference_mode():
        plain = builtin()["VAEDecode"](ctx, **inputs).pixels
        checker = write_tiny_checker(tmp_path / "c.safetensors", plain[1], plain[0])
        object.__setattr__(services, "checker", SafetyModel(read_header(checker), "c"))
        result = spec.run(ctx, inputs)
    assert isinstance(result, Outputs) and isinstance(result.values[0], Image)
    assert torch.equal(result.values[0].pixels[0], plain[0])
    assert torch.equal(result.values[0].pixels[1], blurred(plain[1]))
