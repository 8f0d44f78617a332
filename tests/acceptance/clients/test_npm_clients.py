"""Clients from npm that were written for ComfyUI run a job, unmodified."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from tests.server.loop import in_loop
from tests.server.support import chain, deps_of, serving

SCRIPTS = Path(__file__).resolve().parents[2] / "server" / "npm"

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm"),
]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("npm")
    shutil.copy(SCRIPTS / "package.json", place)
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund"]
    if subprocess.run(command, cwd=place, check=False).returncode:
        pytest.skip("the packages cannot be fetched")
    return place


@pytest.mark.parametrize("script", ["stable_canvas.mjs", "saintno.mjs"])
def test_clients(packages: Path, tmp_path: Path, script: str) -> None:
    @in_loop
    async def test() -> None:
        workflow = tmp_path / "workflow.json"
        workflow.write_text(json.dumps(chain(steps=10, seconds=0.05)))
        async with serving(deps_of(tmp_path / "base")) as client:
            command = ["node", str(SCRIPTS / script), client.url.removeprefix("http://"), str(workflow)]
            process = await asyncio.create_subprocess_exec(*command, cwd=packages, stdout=PIPE)
            told, _ = await asyncio.wait_for(process.communicate(), 90)
            assert process.returncode == 0
            name = next(iter((tmp_path / "base" / "output").iterdir())).name
            assert name in told.decode()

    test()
