"""SafetyCheckerLoader and SafetyCheck."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from graph.build import build
from graph.cache import Cache
from graph.context import Context, Run
from graph.document import Document
from graph.errors import InputError, NodeError
from graph.execute import Executor
from graph.files import FileRef, Folders
from graph.result import Shown
from models.precision import Precision
from models.residency import Residency
from models.types import Image, SafetyModel, nbytes
from nodes.pictures import read_picture, to_pil
from nodes.registry import builtin
from nodes.safety import Checked, require_safety, safety_check, safety_checker_loader
from nodes.services import Services
from tests.graph.stubs import doc, edited, link
from tests.tiny_checker import write_tiny_checker

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
FILE = "model.safetensors"


def picture(seed: int, height: int = 64, width: int = 96) -> Tensor:
    """[H, W, 3] of 8 bits, so that a PNG keeps it."""
    values = torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(seed))
    return values.to(torch.uint8).float() / 255


BAD, GOOD = picture(1), picture(2)


@pytest.fixture(scope="module")
def checker_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checker that flags BAD and not GOOD."""
    return write_tiny_checker(tmp_path_factory.mktemp("checker") / FILE, BAD, GOOD)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """A user directory with both pictures, but no checker."""
    folders = Folders.standard(tmp_path / "workspace")
    for name, pixels in (("bad.png", BAD), ("good.png", GOOD)):
        to_pil(pixels).save(folders.input_dir / name)
    return folders


@pytest.fixture
def installed(folders: Folders, checker_file: Path) -> Path:
    """The checker, put where it belongs."""
    place = folders.base / "models" / "safety_checker" / FILE
    place.write_bytes(checker_file.read_bytes())
    return place


@pytest.fixture
def ctx(folders: Folders) -> Context[Services]:
    """What a node sees that is called by itself."""
    services = Services(Residency(CPU, Precision(), 2**24), folders)
    return Context("1", Run("run", Document({})), services)


@pytest.fixture
def checker(ctx: Context[Services], installed: Path) -> SafetyModel:
    """The handle that the loader gives."""
    return safety_checker_loader(ctx, safety_checker=FileRef("safety_checker", FILE, installed))


@pytest.fixture
def executor(folders: Folders) -> Iterator[Executor[Services]]:
    """An engine that asks for safety."""
    services = Services(Residency(CPU, Precision(), 2**24), folders)
    with Executor(
        services, builtin(), folders, Cache(2**24, nbytes), scope=torch.inference_mode, rules=[require_safety]
    ) as executor:
        yield executor


class TestNode:
    """SafetyCheck itself."""

    def test_a_flagged_picture_is_hidden_and_the_others_stay_bit_for_bit(
        self, ctx: Context[Services], checker: SafetyModel
    ) -> None:
        batch = torch.stack([GOOD, BAD, GOOD])
        before = batch.clone()
        shown: Shown[Checked] = safety_check(ctx, image=Image(batch), safety_model=checker, mode="black")
        image, flagged, scores = shown.value
        assert torch.equal(image.pixels, torch.stack([GOOD, torch.zeros_like(BAD), GOOD]))
        assert flagged is True
        assert torch.equal(batch, before)
        assert shown.ui["flags"] == [False, True, False]
        assert json.loads(scores) == json.loads(json.dumps(shown.ui["scores"]))
        good, bad, again = json.loads(scores)
        assert good == again
        assert (good["flagged"], bad["flagged"]) == (False, True)
        assert bad["concepts"][0] > 0 > good["concepts"][0]
        assert all(len(entry["concepts"]) == 2 and len(entry["special_care"]) == 1 for entry in (good, bad))

    def test_pictures_that_all_pass_are_the_same_object(self, ctx: Context[Services], checker: SafetyModel) -> None:
        image = Image(GOOD[None])
        shown: Shown[Checked] = safety_check(ctx, image=image, safety_model=checker)
        assert shown.value.image is image
        assert shown.value.flagged is False

    def test_no_picture_at_all(self, ctx: Context[Services], checker: SafetyModel) -> None:
        shown: Shown[Checked] = safety_check(ctx, image=Image(torch.zeros(0, 8, 8, 3)), safety_model=checker)
        assert (shown.value.flagged, shown.value.scores, shown.ui) == (False, "[]", {"flags": [], "scores": []})

    def test_blur_leaves_a_few_colours(self, ctx: Context[Services], checker: SafetyModel) -> None:
        shown: Shown[Checked] = safety_check(ctx, image=Image(BAD[None]), safety_model=checker, mode="blur")
        blurred = shown.value.image.pixels
        assert blurred.shape == (1, *BAD.shape)
        assert blurred.min() >= 0 and blurred.max() <= 1
        cells = F.interpolate(BAD.movedim(-1, 0)[None], size=(5, 8), mode="area")
        assert torch.equal(blurred, F.interpolate(cells, size=(64, 96), mode="bilinear").movedim(1, -1))
        assert blurred.std() < 0.2 * BAD.std()  # noise of single pixels is gone

    def test_small_pictures_are_blurred_just_as_much(self, ctx: Context[Services], tmp_path: Path) -> None:
        small = picture(5, 12, 10)
        path = write_tiny_checker(tmp_path / FILE, small, GOOD)
        model = safety_checker_loader(ctx, safety_checker=FileRef("safety_checker", FILE, path))
        shown: Shown[Checked] = safety_check(ctx, image=Image(small[None]), safety_model=model, mode="blur")
        assert torch.allclose(shown.value.image.pixels, small.mean(dim=(0, 1)).expand(1, 12, 10, 3))

    def test_a_mode_that_came_over_a_link_hides_in_any_case(self, ctx: Context[Services], checker: SafetyModel) -> None:
        shown: Shown[Checked] = safety_check(ctx, image=Image(BAD[None]), safety_model=checker, mode="none")
        assert not shown.value.image.pixels.any()

    def test_transparency_is_refused(self, ctx: Context[Services], checker: SafetyModel) -> None:
        with pytest.raises(InputError, match="4 channels"):
            safety_check(ctx, image=Image(torch.zeros(1, 8, 8, 4)), safety_model=checker)

    def test_its_sockets(self) -> None:
        assert [(o.name, o.socket) for o in safety_check.outputs] == [
            ("IMAGE", "IMAGE"),
            ("flagged", "BOOLEAN"),
            ("scores", "STRING"),
        ]
        assert [i.socket for i in safety_check.inputs] == ["IMAGE", "SAFETY_MODEL", "COMBO"]


def workflow(name: str = "good.png") -> Document:
    """A picture, checked and saved."""
    return doc(
        {
            "1": ("LoadImage", {"image": name}),
            "2": ("SafetyCheckerLoader", {"safety_checker": FILE}),
            "3": ("SafetyCheck", {"image": link("1", 0), "safety_model": link("2", 0), "mode": "black"}),
            "9": ("SaveImage", {"images": link("3", 0), "filename_prefix": "x"}),
        }
    )


class TestWorkflow:
    """From file to file, and what happens without weights."""

    def test_only_checked_pictures_are_written(
        self, executor: Executor[Services], folders: Folders, installed: Path
    ) -> None:
        for name, lit in (("bad.png", False), ("good.png", True)):
            outputs = executor.execute(Run(name, workflow(name)))["9"]
            [path] = folders.shown_files(outputs.ui)
            assert bool(read_picture(path)[0].any()) is lit

    @pytest.mark.parametrize("given", [FILE, "", None])
    def test_no_weights_no_run(self, folders: Folders, given: object) -> None:
        document = edited(workflow(), "2", safety_checker=given)
        graph = build(document, builtin(), folders)
        assert not graph.targets
        [error] = graph.errors
        assert (error.node_id, error.input_name) == ("2", "safety_checker")
        assert "put model.safetensors of CompVis/stable-diffusion-safety-checker there" in error.message
        assert (given != FILE) or str(folders.base / "models" / "safety_checker") in error.message

    def test_a_name_that_is_not_there_lists_those_that_are(self, folders: Folders, installed: Path) -> None:
        document = edited(workflow(), "2", safety_checker="other.bin")
        [error] = build(document, builtin(), folders).errors
        assert FILE in error.message and "CompVis" not in error.message

    @pytest.mark.parametrize(
        ("damage", "node_id", "message"),
        [
            (lambda path: path.write_bytes(path.read_bytes()[:-100]), "2", "is truncated"),
            (lambda path: path.write_bytes(b"<html>not found"), "2", "is a web page"),
            (lambda path: save_file({"x": torch.zeros(1)}, path), "2", "safety checker"),
            (lambda path: save_file({"first_stage_model.decoder.up.0.block.0.norm1.weight": torch.zeros(1)}, path), "2",
             "is not a safety checker"),
            (lambda path: _change(path, "concept_embeds_weights", None), "3", "lacks 1 tensor"),
            (lambda path: _change(path, "visual_projection.weight", float("nan")), "3", "no numbers"),
        ],
    )  # fmt: skip
    def test_damaged_weights_no_picture(
        self,
        executor: Executor[Services],
        folders: Folders,
        installed: Path,
        damage: Callable[[Path], object],
        node_id: str,
        message: str,
    ) -> None:
        damage(installed)
        with pytest.raises(NodeError, match=message) as error:
            executor.execute(Run("run", workflow()))
        assert error.value.node_id == node_id
        assert error.value.input_name in ("safety_checker", "safety_model")
        assert not list(folders.output_dir.iterdir())

    def test_a_checker_is_no_checkpoint(self, ctx: Context[Services], installed: Path) -> None:
        loader = builtin()["CheckpointLoaderSimple"]
        with pytest.raises(InputError, match="is a safety checker; its place is models/safety_checker"):
            loader(ctx, ckpt_name=FileRef("checkpoints", FILE, installed))


def _change(path: Path, name: str, value: float | None) -> None:
    state = load_file(path)
    tensor = state.pop(name)
    save_file(state if value is None else state | {name: torch.full_like(tensor, value)}, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)
