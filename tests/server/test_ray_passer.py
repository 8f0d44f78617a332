"""What an actor of a Ray cluster does, without one: a process beside it, and messages passed on both ways."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from server.options import understand
from server.ray_cluster import Passer
from server.wire import Message, packed, unpacked
from tests.server.support import chain

SOURCE = Path(__file__).resolve().parents[2]


def test_messages_are_passed_on_and_the_end_is_told_in_words(tmp_path: Path) -> None:
    passer = Passer()
    surroundings = {"PYTHONPATH": str(SOURCE), **os.environ}
    assert passer.begin(["-m", "tests.server.stub_worker", str(tmp_path)], str(SOURCE), str(SOURCE), surroundings) > 0
    passer.hear(packed(Message("run", {"id": "a", "document": chain(), "problems": [], "targets": ["o"], "extra": {}})))
    kinds: list[str] = []
    while "ended" not in kinds:
        told = passer.tell()
        assert isinstance(told, list)
        kinds += [unpacked(frame).kind for frame in told]
    assert [kind for kind in dict.fromkeys(kinds) if kind != "alive"] == ["ready", "accepted", "event", "ended"]
    passer.close()
    while isinstance(told := passer.tell(), list):
        pass
    assert told == "status 0"


def test_a_process_that_cannot_run_says_how_it_ended(tmp_path: Path) -> None:
    passer = Passer()
    passer.begin(["-c", "raise SystemExit(3)"], str(tmp_path), str(tmp_path), {})
    while isinstance(told := passer.tell(), list):
        pass
    assert told == "status 3"


@pytest.mark.parametrize(
    "flags",
    [
        ["--ray", "auto", "--workers", "cpu:2"],
        ["--ray", "auto", "--device", "cpu"],
        ["--ray", "auto", "--ray-workers", "0"],
        ["--ray", "auto", "--ray-resource", "studio"],
    ],
)
def test_flags_that_do_not_go_together_are_refused(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        understand(["serve", *flags])
    assert "ray" in capsys.readouterr().err


def test_flags_of_a_cluster() -> None:
    flags = ["--ray", "10.0.0.1:6379", "--ray-workers", "4", "--ray-gpus", "0.5", "--ray-resource", "studio=1"]
    options = understand(["serve", *flags])
    assert (options.ray, options.ray_workers, options.ray_gpus) == ("10.0.0.1:6379", 4, 0.5)
    assert options.ray_resource == [("studio", 1.0)]
