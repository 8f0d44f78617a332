"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from graph.whole_files import draft, make_folder, write_whole


def no_links(*_: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    for content, expected in ((b"first", True), (b"second", False)):
        with draft(tmp_path / "deep" / "er") as part:
            part.path.write_bytes(content)
            assert part.take(tmp_path / "deep" / "er" / "x") is expected
    assert [path.name for path in (tmp_path / "deep" / "er").iterdir()] == ["x"]
    assert (tmp_path / "deep" / "er" / "x").read_bytes() == b"first"


def test_a_name_is_taken_once_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graph.whole_files.os.link", no_links)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    test_a_name_is_taken_once(tmp_path)
    with draft(tmp_path) as part:
        part.path.write_bytes(b"third")
        assert not part.take(tmp_path / "dangling")
        (tmp_path / ".y.claim").touch()  # another is about to take it
        assert not part.take(tmp_path / "y")
    assert not (tmp_path / "nowhere").exists() and not (tmp_path / "y").exists()


def test_what_is_replaced_is_never_written_through(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_bytes(b"theirs")
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    write_whole(tmp_path / "link", b"ours")
    assert (tmp_path / "link").read_bytes() == b"ours" and (tmp_path / "theirs").read_bytes() == b"theirs"


@pytest.mark.parametrize("fails", ["write_bytes", "os.fsync", "os.replace"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "x").write_bytes(b"before")
    monkeypatch.setattr(*((Path, fails) if "." not in fails else (f"graph.whole_files.{fails}",)), full)  # type: ignore[call-overload]
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "x", b"after")
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["x"] and (tmp_path / "x").read_bytes() == b"before"


@pytest.mark.parametrize("way", ["take", "replace", "take where there are no links"])
def test_a_file_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """The content first, then the name, then the directory that holds the name."""
    told: list[str] = []
    target = tmp_path / "new" / "x"
    real = os.fsync

    def fsync(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        told.append(
            f"{'content' if path.suffix == '.part' else path.name} {'named' if target.exists() else 'nameless'}"
        )
        real(handle)

    if not Path("/proc/self/fd").exists():
        pytest.skip("the system does not say which file a handle is of")
    monkeypatch.setattr("graph.whole_files.os.fsync", fsync)
    if way.endswith("links"):
        monkeypatch.setattr("graph.whole_files.os.link", no_links)
    with draft(target.parent) as part:
        part.path.write_bytes(b"x")
        if way == "replace":
            part.replace(target)
        else:
            assert part.take(target)
    assert told == [f"{tmp_path.name} nameless", "content nameless", "new named"]


def test_directories_are_on_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("graph.whole_files._sync_folder", synced.append)
    make_folder(tmp_path / "a" / "b")
    assert sorted(synced) == [tmp_path, tmp_path / "a"]
    make_folder(tmp_path / "a" / "b")
    assert len(synced) == 2
