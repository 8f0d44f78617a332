"""Folders: what they offer, and what they refuse to touch."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.errors import ValueRefused
from graph.extra_paths import ExtraPaths, extra_paths
from graph.files import FileRef, Folders
from graph.identity import FileIdentity, MemoryDigests
from graph.sockets import File


def put(path: Path, content: str = "x") -> Path:
    """A file, with the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_the_standard_layout_is_what_users_have(folders: Folders) -> None:
    made = {path.relative_to(folders.base).as_posix() for path in folders.base.rglob("*")}
    assert made == {
        "models", "input", "output", "temp", "custom_nodes",
        *(f"models/{name}" for name in (
            "checkpoints", "vae", "loras", "controlnet", "embeddings", "upscale_models", "clip", "clip_vision",
            "safety_checker",
        )),
    }  # fmt: skip
    assert Folders.standard(folders.base).base == folders.base


def test_the_source_tree_is_refused_as_base(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="source tree"):
        Folders.standard(tmp_path / "x" / "..", source_tree=tmp_path)
    assert list(tmp_path.iterdir()) == []
    Folders.standard(tmp_path / "workspace", source_tree=tmp_path)


def test_input_output_and_temp_may_lie_elsewhere(tmp_path: Path) -> None:
    folders = Folders.standard(tmp_path / "base", output_dir=tmp_path / "pictures")
    assert folders.output_dir == tmp_path / "pictures"
    assert folders.output_dir.is_dir()
    assert not (tmp_path / "base/output").exists()


def test_listing_is_recursive_sorted_and_by_suffix(folders: Folders) -> None:
    for name in ("b.safetensors", "SD1.5/a.CKPT", "SD1.5/deep/c.pt", "notes.txt", "d.safetensors.part"):
        put(folders.base / "models/checkpoints" / name)
    assert folders.list("checkpoints") == ["SD1.5/a.CKPT", "SD1.5/deep/c.pt", "b.safetensors"]


def test_the_input_folder_offers_its_own_pictures_only(folders: Folders) -> None:
    for name in ("cat.png", "dog.JPG", "clipspace/mask.png", "notes.txt", "x.latent"):
        put(folders.input_dir / name)
    assert folders.list("input") == ["cat.png", "dog.JPG"]
    assert folders.list("input", (".latent",)) == ["x.latent"]
    assert folders.resolve("input", "clipspace/mask.png") == folders.input_dir / "clipspace/mask.png"


def test_older_folder_names_mean_the_same(folders: Folders) -> None:
    put(folders.base / "models/clip/a.safetensors")
    put(folders.base / "models/text_encoders/b.safetensors")
    put(folders.base / "models/unet/c.safetensors")
    assert folders.list("clip") == folders.list("text_encoders") == ["a.safetensors", "b.safetensors"]
    assert folders.list("diffusion_models") == ["c.safetensors"]


def test_an_unknown_folder_is_a_mistake_of_the_program(folders: Folders) -> None:
    with pytest.raises(KeyError, match="did you mean 'checkpoints'"):
        folders.list("checkpoint")


def test_further_directories_come_last_or_first(folders: Folders, tmp_path: Path) -> None:
    put(folders.base / "models/checkpoints/a.safetensors", "ours")
    put(tmp_path / "extra/a.safetensors", "theirs")
    put(tmp_path / "extra/b.safetensors", "theirs")
    after = folders.extended({"checkpoints": [tmp_path / "extra"]})
    assert after.list("checkpoints") == ["a.safetensors", "b.safetensors"]
    assert after.resolve("checkpoints", "a.safetensors").read_text() == "ours"
    before = folders.extended({"checkpoints": [tmp_path / "extra"]}, first=True)
    assert before.resolve("checkpoints", "a.safetensors").read_text() == "theirs"
    assert folders.list("checkpoints") == ["a.safetensors"]
    assert folders.extended({"ipadapter": [tmp_path / "extra"]}).list("ipadapter") == ["a.safetensors", "b.safetensors"]


UNSAFE = [
    ("../secret.safetensors", "holds '..'"),
    ("a/../../secret.safetensors", "holds '..'"),
    ("/etc/passwd", "is an absolute path"),
    ("//server/share.pt", "is an absolute path"),
    ("C:/x.safetensors", "is an absolute path"),
    ("c:x.safetensors", "is an absolute path"),
    ("a\\b.safetensors", "holds a backslash"),
    ("..\\secret.safetensors", "holds a backslash"),
    ("a\0.safetensors", "holds a character"),
    ("a\n.safetensors", "holds a character"),
    ("half\ud83d.safetensors", "holds a character"),
    ("", "holds ''"),
    (".", "holds '.'"),
    ("a//b.safetensors", "holds ''"),
    ("a/./b.safetensors", "holds '.'"),
    ("a/", "holds ''"),
    ("nul.safetensors", "a device name on Windows"),
    ("sub/COM1", "a device name on Windows"),
    ("a./b.safetensors", "ends in a dot or a space"),
    ("a.safetensors ", "ends in a dot or a space"),
]


@pytest.mark.parametrize(("name", "reason"), UNSAFE)
def test_a_name_that_is_no_plain_relative_path_is_refused(folders: Folders, name: str, reason: str) -> None:
    put(folders.base / "models/secret.safetensors")
    with pytest.raises(ValueRefused, match="invalid_path") as caught:
        folders.resolve("checkpoints", name)
    assert reason in caught.value.message


def test_a_backslash_is_refused_with_what_was_meant(folders: Folders) -> None:
    put(folders.base / "models/checkpoints/SD1.5/a.safetensors")
    with pytest.raises(ValueRefused) as caught:
        folders.resolve("checkpoints", "SD1.5\\a.safetensors")
    assert caught.value.message.endswith("(did you mean 'SD1.5/a.safetensors'?)")


@given(st.text(st.sampled_from("ab./\\: \0\u202e~ñCON"), max_size=12))
def test_what_is_resolved_lies_inside_its_folder(folders: Folders, name: str) -> None:
    root = folders.base / "models/checkpoints"
    put(root.parent / "a.pt")
    put(root / "a.pt")
    try:
        path = folders.resolve("checkpoints", name + ".pt")
    except ValueRefused:
        return
    assert path.resolve().is_relative_to(root.resolve())


@given(st.sets(st.text(st.sampled_from("aB. \\:ñ'\u202f"), min_size=1, max_size=6), max_size=5))
def test_every_name_offered_can_be_chosen(folders: Folders, stems: set[str]) -> None:
    for stem in stems:
        put(folders.base / "models/loras" / f"{stem}.pt")
    for name in folders.list("loras"):
        assert folders.resolve("loras", name).is_file()


def test_a_file_of_another_kind_or_a_directory_is_not_offered_nor_taken(folders: Folders) -> None:
    put(folders.base / "models/checkpoints/notes.txt")
    (folders.base / "models/checkpoints/odd.pt").mkdir()
    put(folders.base / "models/checkpoints/a.pt")
    assert folders.list("checkpoints") == ["a.pt"]
    for name in ("notes.txt", "odd.pt"):
        with pytest.raises(ValueRefused, match="value_not_in_list"):
            folders.resolve("checkpoints", name)


def test_an_empty_folder_says_where_files_go(folders: Folders) -> None:
    with pytest.raises(ValueRefused) as caught:
        folders.resolve("checkpoints", "a.safetensors")
    assert caught.value.message == (
        f"got 'a.safetensors', but there is no file yet in {folders.base / 'models' / 'checkpoints'}"
    )


def test_a_file_widget_may_say_what_to_put_into_an_empty_folder(folders: Folders) -> None:
    weights = File("vae", when_empty="the checkpoint holds one already")
    with pytest.raises(ValueRefused) as caught:
        weights.coerce("a.pt", folders)
    assert caught.value.message.endswith("; the checkpoint holds one already")
    put(folders.base / "models/vae/b.pt")
    with pytest.raises(ValueRefused) as caught:
        weights.coerce("a.pt", folders)
    assert "already" not in caught.value.message


@pytest.mark.skipif(os.name == "nt", reason="making links needs a privilege there")
def test_links_that_the_operator_placed_are_followed_but_never_in_circles(folders: Folders, tmp_path: Path) -> None:
    put(tmp_path / "disk/deep/a.safetensors")
    root = folders.base / "models/checkpoints"
    (root / "linked").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/deep/back").symlink_to(tmp_path / "disk")
    (root / "b.safetensors").symlink_to(tmp_path / "disk/deep/a.safetensors")
    (root / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    assert folders.list("checkpoints") == ["b.safetensors", "linked/deep/a.safetensors"]
    assert folders.resolve("checkpoints", "linked/deep/a.safetensors").read_text() == "x"


def test_a_file_widget_gives_a_reference(folders: Folders) -> None:
    path = put(folders.base / "models/checkpoints/SD1.5/a.ckpt")
    assert File("checkpoints").coerce("SD1.5/a.ckpt", folders) == FileRef("checkpoints", "SD1.5/a.ckpt", path)


def test_an_annotated_name_chooses_the_directory(folders: Folders) -> None:
    for place in (folders.input_dir, folders.output_dir, folders.temp_dir):
        put(place / "cat.png", place.name)
    image = File("input", annotated=True)
    assert image.coerce("cat.png", folders).path.read_text() == "input"
    assert image.coerce("cat.png [output]", folders) == FileRef("output", "cat.png", folders.output_dir / "cat.png")
    assert image.coerce("cat.png [temp]", folders).path.read_text() == "temp"
    assert image.coerce("cat.png [input]", folders).path.read_text() == "input"
    for refused in ("cat.png [models]", "../cat.png [output]"):
        with pytest.raises(ValueRefused):
            image.coerce(refused, folders)
    with pytest.raises(ValueRefused):
        File("input").coerce("cat.png [output]", folders)


def test_whether_the_files_of_a_result_are_still_there(folders: Folders) -> None:
    put(folders.output_dir / "sub/a.png")
    there = {"filename": "a.png", "subfolder": "sub", "type": "output"}
    gone = {"filename": "b.png", "subfolder": "", "type": "temp"}
    assert folders.has_files({"images": [there], "text": ["hello"], "odd": [{"type": "audio"}]})
    assert not folders.has_files({"images": [there, gone]})
    assert folders.has_files({})


def test_identity_is_that_of_the_content(tmp_path: Path) -> None:
    identity = FileIdentity()
    first, copy, other = (put(tmp_path / name, text) for name, text in (("a", "1"), ("b", "1"), ("c", "2")))
    assert identity(first) == identity(copy)
    assert identity(first) != identity(other)
    assert identity(first).startswith("sha256:")


def test_a_rewritten_file_has_another_identity_at_once(tmp_path: Path) -> None:
    identity = FileIdentity()
    seen = [identity(put(tmp_path / "a", str(i))) for i in range(10)]
    assert len(set(seen)) == 10


def test_a_file_that_has_rested_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = FileIdentity()
    file = put(tmp_path / "a")
    now = file.stat().st_ctime_ns + 10 * 10**9
    monkeypatch.setattr("graph.identity.time.time_ns", lambda: now)
    hashed: list[str] = []
    digest = hashlib.file_digest

    def counting(source: Any, name: str) -> Any:
        hashed.append(name)
        return digest(source, name)

    monkeypatch.setattr("graph.identity.hashlib.file_digest", counting)
    assert identity(file) == identity(file)
    assert len(hashed) == 1
    os.utime(file, ns=(1, 1))
    identity(file)
    assert len(hashed) == 2


def test_a_large_file_is_named_without_reading_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graph.identity.HASHED_WHOLE", 100)
    identity = FileIdentity()
    file = put(tmp_path / "a", "x" * 200)
    first = identity(file)
    assert first.startswith("stamp:")
    assert identity(file) == first
    put(tmp_path / "new", "x" * 200).replace(file)
    assert identity(file) != first


def test_a_large_file_is_named_by_its_beginning_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems keep stamps so coarsely that a file written anew has the old one's."""
    monkeypatch.setattr("graph.identity.HASHED_WHOLE", 100)
    monkeypatch.setattr("graph.identity._stamp", lambda file: (1, 2, 200, 3, 4))
    identity = FileIdentity()
    assert identity(put(tmp_path / "a", "x" * 200)) != identity(put(tmp_path / "b", "y" * 200))
    assert identity(tmp_path / "a") == identity(put(tmp_path / "c", "x" * 200))


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of more than a hundred bytes are large, and all have rested."""
    monkeypatch.setattr("graph.identity.HASHED_WHOLE", 100)
    later = time.time_ns() + 3600 * 10**9
    monkeypatch.setattr("graph.identity.time.time_ns", lambda: later)


def settled(identity: FileIdentity) -> None:
    identity.settle(lambda: False)
    assert identity.is_settled


@pytest.mark.usefixtures("large")
def test_a_copy_takes_the_name_of_what_is_known_once_both_were_read(tmp_path: Path) -> None:
    identity = FileIdentity()
    first, other = put(tmp_path / "a", "x" * 200), put(tmp_path / "c", "y" * 200)
    name = identity(first)
    settled(identity)
    copy = put(tmp_path / "b", "x" * 200)
    assert identity(copy) != name, "nobody waits for its content"
    assert not identity.is_settled
    assert identity(other) != name
    settled(identity)
    assert identity(copy) == name
    assert identity(first) == name, "which stays"
    assert identity(other) not in (name, identity(copy))


@pytest.mark.usefixtures("large")
def test_a_file_still_is_what_it_was_called_before_it_was_read(tmp_path: Path) -> None:
    identity = FileIdentity()
    files = [put(tmp_path / name, "x" * 200) for name in "ab"]
    names = []
    for file in files:
        names.append(identity(file))
        settled(identity)
    assert names[0] == identity(files[1]) != names[1]
    assert [identity.matches(files[1], name) for name in names] == [True, True]
    put(tmp_path / "new", "y" * 200).replace(files[1])
    assert [identity.matches(files[1], name) for name in names] == [False, False]


@pytest.mark.usefixtures("large")
def test_a_large_file_that_was_replaced_has_another_name_whatever_was_read(tmp_path: Path) -> None:
    identity, file = FileIdentity(), tmp_path / "a"
    put(file, "x" * 200)
    before = identity(file)
    settled(identity)
    put(tmp_path / "new", "y" * 200).replace(file)
    after = identity(file)
    settled(identity)
    assert len({before, after, identity(file)}) == 2 and identity(file) == after
    put(tmp_path / "old", "x" * 200).replace(file)
    identity(file)
    settled(identity)
    assert identity(file) == before, "the first content again"


@pytest.mark.usefixtures("large")
def test_a_file_replaced_before_it_was_read_is_not_taken_for_what_it_was(tmp_path: Path) -> None:
    identity, file = FileIdentity(), put(tmp_path / "a", "x" * 200)
    before = identity(file)
    put(tmp_path / "new", "y" * 200).replace(file)
    settled(identity)
    other = put(tmp_path / "b", "y" * 200)
    identity(other)
    settled(identity)
    assert identity(other) != before and identity(file) != before


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("moment", ["at once", "while it reads"])
def test_reading_can_be_stopped_and_is_made_up_for(tmp_path: Path, moment: str) -> None:
    identity = FileIdentity()
    first, copy = put(tmp_path / "a", "x" * 200), put(tmp_path / "b", "x" * 200)
    name = identity(first)
    settled(identity)
    identity(copy)
    answers = iter([True] if moment == "at once" else [False, True])
    identity.settle(lambda: next(answers, True))
    assert identity(copy) != name
    settled(identity)
    assert identity(copy) == name


@pytest.mark.usefixtures("large")
def test_a_file_that_is_gone_when_it_is_to_be_read_is_passed_over(tmp_path: Path) -> None:
    identity, file = FileIdentity(), put(tmp_path / "a", "x" * 200)
    identity(file)
    file.unlink()
    settled(identity)


def test_a_large_file_that_has_not_rested_keeps_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graph.identity.HASHED_WHOLE", 100)
    identity = FileIdentity()
    names = [identity(put(tmp_path / name, "x" * 200)) for name in "ab"]
    settled(identity)
    assert [identity(tmp_path / name) for name in "ab"] == names


@pytest.mark.usefixtures("large")
def test_what_was_found_out_is_there_for_another_process(tmp_path: Path) -> None:
    digests = MemoryDigests()
    identity = FileIdentity(digests)
    first, copy = put(tmp_path / "a", "x" * 200), put(tmp_path / "b", "x" * 200)
    name = identity(first)
    settled(identity)
    again = FileIdentity(digests)
    assert again(first) == name and again.is_settled
    again(copy)
    settled(again)
    assert again(copy) == name


def test_extra_paths_are_read_from_any_section(tmp_path: Path) -> None:
    config = {
        "comfyui": {
            "base_path": "/data/comfy",
            "is_default": True,
            "checkpoints": "models/checkpoints/",
            "loras": "models/loras\nmodels/lycoris\n",
        },
        "relative": {"checkpoints": "here", "clip": None},
        "nothing": None,
    }
    assert list(extra_paths(config, tmp_path)) == [
        ExtraPaths(
            {
                "checkpoints": (Path("/data/comfy/models/checkpoints"),),
                "loras": (Path("/data/comfy/models/loras"), Path("/data/comfy/models/lycoris")),
            },
            first=True,
        ),
        ExtraPaths({"checkpoints": (tmp_path / "here",), "clip": ()}),
    ]
    assert list(extra_paths(None, tmp_path)) == []


def test_extra_paths_use_the_folder_names_of_today(folders: Folders, tmp_path: Path) -> None:
    put(tmp_path / "clips/a.safetensors")
    (section,) = extra_paths({"x": {"clip": "clips"}}, tmp_path)
    assert folders.extended(section.folders, first=section.first).list("text_encoders") == ["a.safetensors"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (["a"], "expected sections"),
        ({"a": "models"}, "section 'a': expected folder names with paths"),
        ({"a": {"loras": ["x"]}}, "section 'a', key 'loras': expected one path a line"),
        ({"a": {"base_path": 3}}, "section 'a', key 'base_path': expected a path"),
    ],
)
def test_a_faulty_settings_file_is_told_where(tmp_path: Path, config: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(extra_paths(config, tmp_path))
