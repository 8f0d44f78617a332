"""`main.py run --explain`: what each node did and why, compared with earlier runs in the same base directory."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

import main
from tests.tiny_checkpoint import write_tiny_checkpoint

WORKFLOW = Path(__file__).parents[2] / "workflows" / "text_to_image.json"

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the default workflow, small, in one base directory; gives exit status, standard output and error."""
    write_tiny_checkpoint(tmp_path / "models/checkpoints/tiny.safetensors")
    tiny = ["4.ckpt_name=tiny.safetensors", "3.steps=1", "5.width=32", "5.height=32"]

    def run(*arguments: str) -> tuple[int, str, str]:
        sets = [word for change in tiny for word in ("--set", change)]
        status = main.main(["run", str(WORKFLOW), "--base-directory", str(tmp_path), "--cpu", *sets, *arguments])
        return (status, *capsys.readouterr())

    return run


def said(err: str, node: str) -> str:
    """The line about a node, without its seconds and memory."""
    (line,) = [line for line in err.splitlines() if line.startswith(f"{node} ")]
    return line.rpartition(" (")[0] if line.endswith(")") else line


def test_it_reads_as_a_person_would_say_it(call: Call, tmp_path: Path) -> None:
    status, _, err = call("--explain")
    assert status == 0
    assert said(err, "3") == "3 Sampling ran: it ran for the first time"
    _, _, err = call("--explain")
    started_anew = "nothing has changed, but results are kept in memory and Darkroom was started anew"
    assert said(err, "8") == f"8 Decode ran: {started_anew}"
    _, _, err = call("--seed", "7")  # remembered without being told
    _, _, err = call("--explain", "--seed", "9")
    assert said(err, "3") == "3 Sampling ran: seed is 9 now, and was 7"
    assert said(err, "9") == "9 Save ran: at node 3 (KSampler) seed is 9 now, and was 7"
    _, _, err = call("--explain", "--seed", "9", "--set", "6.text=a dog")
    assert said(err, "6") == "6 Prompt ran: text is 'a dog' now, and was 'three black cats in a meadow at dusk'"
    assert "at node 6 (CLIPTextEncode) text is 'a dog' now" in said(err, "3")
    assert said(err, "7") == f"7 Negative prompt ran: {started_anew}"
    write_tiny_checkpoint(tmp_path / "models/checkpoints/tiny.safetensors", seed=5)
    _, _, err = call("--explain", "--seed", "9", "--set", "6.text=a dog")
    assert said(err, "4") == "4 Embedded model ran: the file tiny.safetensors has changed"
    assert said(err, "7") == (
        "7 Negative prompt ran: at node 4 (CheckpointLoaderSimple) the file tiny.safetensors has changed"
    )
    assert said(err, "5") == f"5 Blank latent ran: {started_anew}"


def test_the_json_has_it_with_seconds_and_memory(call: Call) -> None:
    _, out, _ = call("--explain", "--json")
    nodes = {node["node_id"]: node for node in json.loads(out)["explain"]}
    assert nodes["3"]["did"] == "ran"
    assert nodes["3"]["seconds"] > 0
    assert nodes["3"]["peak_bytes"] is None or nodes["3"]["peak_bytes"] > 2**20
    assert nodes["9"]["peak_bytes"] is None, "files are written beside other nodes"


def test_a_run_does_not_need_the_database(call: Call, tmp_path: Path) -> None:
    (tmp_path / "darkroom.db").mkdir()
    status, out, err = call("--explain")
    assert status == 0 and out
    assert "what ran before could not be read" in err
    assert said(err, "3") == "3 Sampling ran: it ran for the first time"


def test_a_database_of_a_later_version_is_left_alone(call: Call, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "darkroom.db") as db:
        db.execute("PRAGMA user_version=99")
    status, _, err = call("--explain")
    assert status == 0
    assert "the database is of version 99" in err
