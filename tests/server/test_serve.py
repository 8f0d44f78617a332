"""The command itself, as operators start it."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import ssl
import subprocess
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from server.options import understand
from tests.server.loop import in_loop
from tests.server.test_security import picture

SOURCE = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
@in_loop
async def test_the_flags_of_a_server_that_others_can_reach(tmp_path: Path) -> None:
    key, certificate, log = tmp_path / "key.pem", tmp_path / "cert.pem", tmp_path / "log"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    made += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key)]
    await asyncio.to_thread(subprocess.run, [*made, "-out", str(certificate)], check=True, capture_output=True)
    (tmp_path / "token").write_text("open-sesame\n")
    folders = {kind: tmp_path / f"my {kind}" for kind in ("base", "input", "output", "temp")}
    flags = [text for kind, folder in folders.items() for text in (f"--{kind}-directory", str(folder))]
    flags += ["--tls-keyfile", str(key), "--tls-certfile", str(certificate), "--token-file", str(tmp_path / "token")]
    flags += ["--log-file", str(log), "--log-json", "--verbose", "--max-upload-size", "0.01", "--port", "0", "--cpu"]
    command = [sys.executable, "main.py", *flags, "--listen", "0.0.0.0", "--enable-cors-header", "https://me.example"]
    process = await asyncio.create_subprocess_exec(*command, cwd=SOURCE, stdout=PIPE, stderr=PIPE)
    assert process.stdout is not None
    address = re.fullmatch(
        r"Darkroom listens on https://0\.0\.0\.0:(\d+)\n", (await process.stdout.readline()).decode()
    )
    assert address
    url, tls = f"https://localhost:{address[1]}", ssl.create_default_context(cafile=str(certificate))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:

        async def status(method: str, path: str, **named: Any) -> int:
            async with session.request(method, url + path, **named) as answer:
                assert answer.headers["Access-Control-Allow-Origin"] == "https://me.example" or answer.status == 401
                return answer.status

        assert await status("GET", "/queue") == 401
        bearer = {"Authorization": "Bearer open-sesame"}
        assert await status("GET", "/queue", headers=bearer) == 200
        assert await status("GET", "/queue", headers=bearer | {"Host": "evil.example"}) == 403
        for kind in ("input", "output", "temp"):
            (folders[kind] / "x.png").write_bytes(picture())
            assert await status("GET", f"/view?filename=x.png&type={kind}", headers=bearer) == 200
        for content, expected in ((picture(), 200), (picture("BMP", (100, 100)), 413)):
            form = aiohttp.FormData({"type": "input"})
            form.add_field("image", content, filename="up.png")
            assert await status("POST", "/upload/image", data=form, headers=bearer) == expected
        assert (folders["input"] / "up.png").read_bytes() == picture()
        assert (folders["base"] / "darkroom.db").is_file()
    process.terminate()
    _, told = await process.communicate()
    assert process.returncode == 0 and b"Traceback" not in told
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines and all(line["level"] and line["message"] for line in lines)


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--tls-keyfile", "key.pem"), "--tls-keyfile needs --tls-certfile"),
        (("--front-end-root", "/nowhere"), "/nowhere holds no index.html"),
        (("--max-upload-size", "nan"), "expected 0 or more"),
        (("--history-days", "-1"), "expected 0 or more"),
        (("--cache-lru", "-1"), "expected 0 or more"),
        (("--cache-lru", "3", "--cache-none"), "not allowed with"),
        (("--port", "99999"), "is no port"),
        (("--preview-method", "best"), "invalid choice"),
    ],
)
def test_flags_that_make_no_sense(flags: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        understand(flags)
    assert complaint in capsys.readouterr().err


@in_loop
async def test_a_server_that_cannot_start_says_why_in_a_line(tmp_path: Path) -> None:
    async def told(base: str, *flags: str) -> str:
        command = [sys.executable, "main.py", "serve", "--base-directory", str(tmp_path / base), *flags]
        process = await asyncio.create_subprocess_exec(*command, cwd=SOURCE, stdout=PIPE, stderr=PIPE)
        _, error = await process.communicate()
        assert process.returncode and len(error.splitlines()) == 1, error
        return error.decode()

    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as other:
        port = str(other.sockets[0].getsockname()[1])
        wrong_file = ("--port", "0", "--tls-certfile", "/nowhere.pem")
        busy, wrong = await asyncio.gather(told("a", "--port", port), told("b", *wrong_file))
    assert f"cannot listen on 127.0.0.1, port {port}" in busy
    assert "/nowhere.pem" in wrong
