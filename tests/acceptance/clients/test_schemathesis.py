"""PyPI's schemathesis against `/openapi.json`, both APIs of it, on a real server: what it invents is answered as described."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_checkpoint import write_tiny_checkpoint

SOURCE = Path(__file__).resolve().parents[3]
SCHEMATHESIS = "schemathesis==4.32.5"
OTHERS = {"first": "^/ws$|^/v2/(jobs|assets)", "v2": "^/(?!v2/(jobs|assets))"}
"""What is left out of each run: a socket, of which OpenAPI says nothing, and the other API."""
BEYOND = "positive_data_acceptance"
"""What no schema says is not wanted of it: that any object is a workflow, or any text a cursor."""

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def st(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, in a Python of its own."""
    place = tmp_path_factory.mktemp("schemathesis")
    venv.create(place, with_pip=True)
    if subprocess.run([str(place / "bin" / "pip"), "install", "-q", SCHEMATHESIS], check=False).returncode:
        pytest.skip("the package cannot be fetched")
    return place / "bin" / "st"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of all node types with a checkpoint of tiny networks."""
    base = tmp_path_factory.mktemp("base")
    write_tiny_checkpoint(base / "models/checkpoints/tiny.safetensors")
    command = [sys.executable, "main.py", "serve", "--cpu", "--port", "0", "--base-directory", str(base)]
    with subprocess.Popen(command, cwd=SOURCE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()


def asked(url: str, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url + path, data=data)) as answer:
        return json.load(answer)


def ids(url: str) -> tuple[str, str]:
    """A job that has ended, and the asset that it made: most routes say little of those that nobody knows."""
    graph = json.loads((SOURCE / "workflows" / "text_to_image.json").read_text())
    graph["4"]["inputs"]["ckpt_name"] = "tiny.safetensors"
    graph["5"]["inputs"] |= {"width": 32, "height": 32}
    graph["3"]["inputs"] |= {"steps": 2}
    job = asked(url, "/api/v2/jobs", {"workflow": graph})
    while job["status"] in ("queued", "running"):
        job = asked(url, job["urls"]["self"])
    return job["id"], job["outputs"][0]["id"]


@pytest.mark.parametrize("api", OTHERS)
def test_nothing_is_found(st: Path, url: str, tmp_path: Path, api: str) -> None:
    job, asset = ids(url)
    known = {
        "^/(v2/)?jobs/": {"path.id": job},
        "^/history/": {"path.prompt_id": job},
        "^/v2/assets/": {"path.id": asset},
    }
    known |= {"^/(experiment/)?models/": {"path.folder": "checkpoints"}, "^/object_info/": {"path.type": "KSampler"}}
    settings = [
        f"[[operations]]\ninclude-path-regex = {json.dumps(path)}\nparameters = {{ {json.dumps(name)} = {json.dumps(it)} }}"
        for path, values in known.items()
        for name, it in values.items()
    ]
    (tmp_path / "schemathesis.toml").write_text("\n".join(settings))
    command = [
        str(st),
        "run",
        f"{url}/openapi.json",
        "--phases",
        "coverage,fuzzing",
        "--max-examples",
        "6",
        "--seed",
        "1",
    ]
    command += ["--exclude-checks", BEYOND, "--continue-on-failure", "--no-color", "--request-timeout", "60"]
    command += ["--exclude-path-regex", OTHERS[api]]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1500, check=False)
    print(ended.stdout[-6000:])
    assert ended.returncode == 0, ended.stderr
