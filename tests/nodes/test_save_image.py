"""SaveImage, PreviewImage and SaveLatent: whole files, numbered, in their place, with the workflow inside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor

from graph.context import Cancel
from graph.document import parse
from graph.errors import InputError, Interrupted
from models.types import Image, Latent
from nodes.image import load_image, preview_image, save_image, save_latent
from nodes.output_files import expand, write_numbered
from tests.nodes.conftest import Workplace

WORKFLOW = json.dumps(
    {
        "3": {"class_type": "KSampler", "inputs": {"seed": 2**64 - 1, "cfg": 7.5, "model": ["4", 0]}},
        "6": {
            "class_type": "CLIPTextEncode",
            "inputs": {"text": "naïve café \u2028 🐈 \\(x\\)"},
            "_meta": {"title": "é"},
        },
    }
)


def pictures(count: int = 1, height: int = 6, width: int = 8) -> Image:
    return Image(torch.rand(count, height, width, 3, generator=torch.Generator().manual_seed(count)))


def save(place: Workplace, prefix: str = "ComfyUI", images: Image | None = None, **run: Any) -> list[str]:
    """Save, and say which files it claims to have written, as paths below the output directory."""
    shown = save_image(place.ctx(**run), images=images or pictures(), filename_prefix=prefix).ui["images"]
    assert all(entry["type"] == "output" for entry in shown)
    return [os.path.join(entry["subfolder"], entry["filename"]) for entry in shown]  # noqa: PTH118


def filling(content: bytes) -> Callable[[Path], None]:
    def fill(path: Path) -> None:
        path.write_bytes(content)

    return fill


def below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# --- what is in the file --------------------------------------------------------------------------------------------


def test_levels_are_cut_not_rounded(place: Workplace) -> None:
    values = [0.0, 0.999 / 255, 1 / 255, 0.5, 254.999 / 255, 1.0, -0.5, 1.5]
    row = torch.tensor(values)[None, None, :, None].expand(1, 1, 8, 3)
    [name] = save(place, images=Image(row))
    stored = np.asarray(PIL.Image.open(place.output / name))
    assert stored.shape == (1, 8, 3)
    assert stored[0, :, 0].tolist() == [0, 0, 1, 127, 254, 255, 0, 255]


def test_what_was_saved_is_loaded_again(place: Workplace) -> None:
    levels = torch.arange(0, 256 * 3, 3).reshape(1, 16, 16, 1) % 256
    images = Image((levels.expand(-1, -1, -1, 3) / 255).contiguous())
    [name] = save(place, images=images)
    again = load_image(place.ctx(), image=place.file("output", name)).image.pixels
    torch.testing.assert_close(again, images.pixels, atol=1.01 / 255, rtol=0)


def test_pictures_with_transparency_keep_it(place: Workplace) -> None:
    [name] = save(place, images=Image(torch.rand(1, 4, 4, 4)))
    assert PIL.Image.open(place.output / name).mode == "RGBA"


def test_the_workflow_in_the_picture_reads_back_as_the_same_document(place: Workplace) -> None:
    document = parse(WORKFLOW)
    [name] = save(place, document=document)
    text = PIL.Image.open(place.output / name).info["prompt"]
    assert parse(text) == document
    assert json.loads(text) == json.loads(WORKFLOW)


def test_what_the_client_sent_along_is_kept_too(place: Workplace) -> None:
    editor = {"nodes": [{"id": 3, "title": "é 🐈"}], "version": 0.4}
    [name] = save(place, extra={"extra_pnginfo": {"workflow": editor, "more": [1, 2]}, "client_id": "secret"})
    info = PIL.Image.open(place.output / name).info
    assert json.loads(info["workflow"]) == editor and json.loads(info["more"]) == [1, 2]
    assert set(info) == {"prompt", "workflow", "more"}


def test_no_two_pictures_of_a_batch_share_a_file(place: Workplace) -> None:
    images = pictures(3)
    names = save(place, images=images)
    assert names == ["ComfyUI_00001_.png", "ComfyUI_00002_.png", "ComfyUI_00003_.png"]
    for name, pixels in zip(names, images.pixels, strict=True):
        stored = np.asarray(PIL.Image.open(place.output / name))
        assert np.array_equal(stored, (pixels * 255).byte().numpy())


# --- how it is called -----------------------------------------------------------------------------------------------

NUMBERED = [
    ("p", [], 1),
    ("p", ["p_00001_.png"], 2),
    ("p", ["p_00001_.png", "p_00005_.png"], 6),  # gaps stay
    ("p", ["p_00041_a note.png"], 42),  # renamed by its owner
    ("p", ["p_7_.jpg"], 8),
    ("p", ["p_00004_.latent"], 5),  # of another kind
    ("p", ["p_99999_.png"], 100_000),
    ("p", ["pq_00009_.png", "p_x_00009_.png", "xp_00009_.png", "p.png", "p_.png", "p_a_.png"], 1),
    ("p", ["P_00009_.png"], 10 if os.path.normcase("P") == "p" else 1),
    ("p", ["p_00012.png"], 1),  # no further _
    ("v1.5", ["v1.5_00003_.png", "v1.5_00007_.png"], 8),
    ("a+b(c)", ["a+b(c)_00002_.png", "aab(c)_00009_.png"], 3),
    ("p_00007", ["p_00007_.png"], 1),
    ("p_00007", ["p_00007_00002_.png"], 3),
    ("p", ["p_00007_00002_.png"], 8),
    ("sub/p", ["p_00009_.png", "sub/p_00002_.png", "sub/deep/p_00005_.png"], 3),
    ("", ["_00003_.png"], 4),
]


@pytest.mark.parametrize(("prefix", "there", "number"), NUMBERED)
def test_a_picture_gets_the_number_after_the_highest(
    place: Workplace, prefix: str, there: Sequence[str], number: int
) -> None:
    for name in there:
        path = place.output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"mine")
    assert save(place, prefix) == [f"{prefix}_{number:05}_.png"]
    assert all((place.output / name).read_bytes() == b"mine" for name in there)


def test_a_folder_may_have_the_name_of_a_picture(place: Workplace) -> None:
    (place.output / "p_00004_.png").mkdir()
    assert save(place, "p") == ["p_00005_.png"]


@pytest.fixture
def at_nine(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = time.struct_time((2024, 3, 7, 9, 5, 2, 3, 67, 0))
    monkeypatch.setattr("nodes.output_files.time.localtime", lambda: moment)


@pytest.mark.usefixtures("at_nine")
@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        ("%year%-%month%-%day%/%hour%%minute%%second%", "2024-03-07/090502_00001_.png"),
        ("a_%width%x%height%", "a_8x6_00001_.png"),
        ("%nothing%_%year", "%nothing%_%year_00001_.png"),
        ("%YEAR%", "%YEAR%_00001_.png"),
        ("%%year%%", "%2024%_00001_.png"),
        ("100%", "100%_00001_.png"),
        ("portraits\\cat", "portraits/cat_00001_.png"),
        ("a b/c d", "a b/c d_00001_.png"),
        ("Größe/猫", "Größe/猫_00001_.png"),
        ("~/x", "~/x_00001_.png"),
        (".hidden", ".hidden_00001_.png"),
        ("..", ".._00001_.png"),
    ],
)
def test_prefixes(place: Workplace, prefix: str, name: str) -> None:
    assert [path.replace("\\", "/") for path in save(place, prefix)] == [name]
    assert below(place.output) == [name]


def test_each_picture_of_a_batch_may_have_its_number_in_the_name_and_replaces_nothing(place: Workplace) -> None:
    for run in (1, 2):
        names = save(place, "image%batch_num%", pictures(2))
        assert names == [f"image0_0000{run}_.png", f"image1_0000{run}_.png"]


NASTY = [
    "../x",
    "../../../../etc/x",
    "a/../../x",
    "a/../x",
    "..\\x",
    "a\\..\\..\\x",
    "/x",
    "//x",
    "/etc/passwd",
    "\\\\server\\share\\x",
    "C:\\x",
    "c:x",
    "a//x",
    "./x",
    "a/./x",
    "a/ /x",
    "a./x",
    "CON/x",
    "a/nul/x",
    "com1.txt/x",
    "x\0y",
    "x\ny",
    "x\x7f",
    "link/x",
    "%year%/../../x",
    "\ud800",
]


@pytest.mark.parametrize("prefix", NASTY, ids=map(ascii, NASTY))
def test_no_prefix_leads_out_of_the_output_directory(place: Workplace, prefix: str) -> None:
    (place.output / "link").symlink_to(place.base, target_is_directory=True)
    before = below(place.base)
    with pytest.raises(InputError) as caught:
        save(place, prefix)
    assert caught.value.input_name == "filename_prefix"
    assert below(place.base) == before


LETTERS = st.one_of(st.sampled_from("../\\:%~ a\0\n"), st.characters())


@given(st.text(LETTERS, max_size=12))
@example("%width%")
@settings(derandomize=True, deadline=None, max_examples=300)
def test_any_prefix_names_a_file_in_the_output_directory_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, prefix: str
) -> None:
    base = tmp_path_factory.mktemp("any")
    root = base / "output"
    root.mkdir()
    try:
        made = expand(prefix, root, {"width": 8})
        name = write_numbered(made, ".png", filling(b"whole"))
    except InputError as error:
        assert error.input_name == "filename_prefix"
        assert below(base) == []
    else:
        assert (made.folder / name).resolve().is_relative_to(root.resolve())
        assert [(base / path).read_bytes() for path in below(base)] == [b"whole"]
        assert name.endswith("_00001_.png")


@pytest.mark.parametrize("prefix", ["x" * 300, "x" * 240 + "/" + "y" * 250, "ü" * 130])
def test_a_name_too_long_for_the_system_blames_the_prefix(place: Workplace, prefix: str) -> None:
    with pytest.raises(InputError, match="cannot write") as caught:
        save(place, prefix)
    assert caught.value.input_name == "filename_prefix"
    assert below(place.output) == []


# --- whole or not at all --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [RuntimeError("broken"), KeyboardInterrupt(), Interrupted()])
def test_a_failure_while_writing_leaves_nothing(place: Workplace, failure: BaseException) -> None:
    def write(path: Path) -> None:
        path.write_bytes(b"half of it")
        raise failure

    with pytest.raises(type(failure)):
        write_numbered(expand("a/p", place.output, {}), ".png", write)
    assert below(place.output) == []


def test_a_crash_while_writing_leaves_no_picture(place: Workplace) -> None:
    """The process dies with half of the file written: under a name of its own, hidden, that counts as no picture."""
    program = """
import os, sys
from pathlib import Path
from nodes.output_files import expand, write_numbered
def write(path):
    path.write_bytes(b"half of it")
    os._exit(7)
write_numbered(expand("p", Path(sys.argv[1]), {}), ".png", write)
"""
    tree = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", program, str(place.output)], cwd=tree, check=False)
    assert ended.returncode == 7
    [left] = below(place.output)
    assert left.startswith(".") and left.endswith(".part")
    assert list(place.folders.list("output")) == []
    assert save(place, "p") == ["p_00001_.png"]


def test_the_file_appears_under_its_name_only_when_whole(place: Workplace) -> None:
    seen: list[list[str]] = []

    def write(path: Path) -> None:
        path.write_bytes(b"half")
        seen.append([name for name in below(place.output) if not name.startswith(".")])
        path.write_bytes(b"half and half")

    name = write_numbered(expand("p", place.output, {}), ".png", write)
    assert seen == [[]] and below(place.output) == [name]


def _no_links(source: object, target: object) -> None:
    raise PermissionError(1, "Operation not permitted")  # what exFAT answers


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_writers_at_the_same_time_never_take_the_same_name(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", _no_links)
    writers, each = 4, 15
    start = threading.Barrier(writers)
    names: list[tuple[str, bytes]] = []

    def work(writer: int) -> None:
        start.wait()
        for i in range(each):
            content = f"{writer}-{i}".encode()
            name = write_numbered(expand("p", place.output, {}), ".png", filling(content))
            names.append((name, content))

    threads = [threading.Thread(target=work, args=(writer,)) for writer in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({name for name, _ in names}) == writers * each
    assert below(place.output) == sorted(name for name, _ in names)
    assert all((place.output / name).read_bytes() == content for name, content in names)


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_a_name_taken_meanwhile_is_left_to_its_owner(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", _no_links)
    monkeypatch.setattr("nodes.output_files.highest", lambda prefix: 0)  # as another process sees it: nothing yet
    (place.output / "p_00001_.png").write_bytes(b"theirs")
    assert save(place, "p") == ["p_00002_.png"]
    assert (place.output / "p_00001_.png").read_bytes() == b"theirs"
    assert below(place.output) == ["p_00001_.png", "p_00002_.png"]


def test_a_system_without_hard_links_keeps_names_whole_too(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", _no_links)
    assert save(place, "p") == ["p_00001_.png"]
    assert below(place.output) == ["p_00001_.png"]


def test_a_folder_that_refuses_to_be_written_blames_the_prefix(place: Workplace) -> None:
    def write(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(InputError, match="Permission denied") as caught:
        write_numbered(expand("p", place.output, {}), ".png", write)
    assert caught.value.input_name == "filename_prefix" and str(place.output) in caught.value.message


def test_a_file_where_a_folder_should_be_blames_the_prefix(place: Workplace) -> None:
    (place.output / "taken").write_bytes(b"mine")
    with pytest.raises(InputError, match="taken") as caught:
        save(place, "taken/p")
    assert caught.value.input_name == "filename_prefix"
    assert below(place.output) == ["taken"]


def test_a_full_disk_blames_the_prefix_and_leaves_nothing(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: PIL.Image.Image, path: Path, **options: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PIL.Image.Image, "save", full)
    with pytest.raises(InputError, match="No space left"):
        save(place, "p")
    assert below(place.output) == []


def test_an_interrupt_keeps_the_pictures_written_so_far_and_writes_no_more(place: Workplace) -> None:
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Interrupted):
        save(place, images=pictures(3), cancel=cancel)
    assert below(place.output) == []


# --- previews and latents -------------------------------------------------------------------------------------------


def test_previews_go_to_the_temporary_directory_under_names_nobody_has(place: Workplace) -> None:
    shown = [preview_image(place.ctx(WORKFLOW), images=pictures(2)).ui["images"] for _ in range(3)]
    names = [entry["filename"] for entries in shown for entry in entries]
    assert all(entry["type"] == "temp" and entry["subfolder"] == "" for entries in shown for entry in entries)
    assert below(place.folders.temp_dir) == sorted(names) and len(set(names)) == 6
    assert below(place.output) == []
    for entries in shown:
        first, second = (entry["filename"] for entry in entries)
        assert first.startswith("ComfyUI_temp_") and first.endswith("_00001_.png")
        assert second == first.replace("_00001_", "_00002_")
    assert "prompt" in PIL.Image.open(place.folders.temp_dir / names[0]).info


def test_a_preview_that_cannot_be_written_blames_an_input_that_it_has(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: PIL.Image.Image, path: Path, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PIL.Image.Image, "save", full)
    with pytest.raises(InputError, match="No space left") as caught:
        preview_image(place.ctx(), images=pictures())
    assert caught.value.input_name in [declared.name for declared in preview_image.inputs]


def _strided() -> Tensor:
    return torch.randn(2, 6, 5, 4).transpose(1, 3)  # [2, 4, 5, 6], not contiguous


@pytest.mark.parametrize("make", [_strided, lambda: torch.randn(4, 8, 8, 8).chunk(2, dim=1)[0]])
def test_latents_are_saved_as_comfyui_reads_them(place: Workplace, make: Callable[[], Tensor]) -> None:
    latent = Latent(make())
    run = place.ctx(WORKFLOW, extra={"extra_pnginfo": {"workflow": {"a": "é"}}})
    shown = save_latent(run, samples=latent, filename_prefix="latents/ComfyUI").ui
    assert shown == {"latents": [{"filename": "ComfyUI_00001_.latent", "subfolder": "latents", "type": "output"}]}
    with safe_open(place.output / "latents" / "ComfyUI_00001_.latent", "pt") as file:
        assert set(file.keys()) == {"latent_tensor", "latent_format_version_0"}
        assert torch.equal(file.get_tensor("latent_tensor"), latent.samples)
        assert file.get_tensor("latent_format_version_0").numel() == 0
        assert parse(file.metadata()["prompt"]) == parse(WORKFLOW)
        assert json.loads(file.metadata()["workflow"]) == {"a": "é"}


@pytest.mark.parametrize("prefix", NASTY, ids=map(ascii, NASTY))
def test_no_prefix_leads_latents_out_of_the_output_directory(place: Workplace, prefix: str) -> None:
    (place.output / "link").symlink_to(place.base, target_is_directory=True)
    before = below(place.base)
    with pytest.raises(InputError):
        save_latent(place.ctx(), samples=Latent(torch.zeros(1, 4, 2, 2)), filename_prefix=prefix)
    assert below(place.base) == before
