"""Nobody gets in who should not, and no path leaves its folder."""

from __future__ import annotations

import io
import logging
import os
import struct
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from yarl import URL

from server.deps import GUESSES, Limits
from server.guesses import ADDRESSES, FREE
from server.launch import Listen, choose_token
from server.logs import LogTail, set_up_logs
from server.places import below
from server.redact import Redactor
from server.refused import Refused
from server.security import Guard, allowed, is_loopback
from tests.server.loop import in_loop
from tests.server.support import Client, chain, deps_of, serving

EVIL_NAMES = [
    *("../x.png", "..", ".", "a/../../x.png", "/etc/passwd", "//x", "a//b", "./x.png", "a/./b"),
    *("..\\x.png", "a\\b.png", "C:/x.png", "c:x.png", "\\\\host\\share", "nul", "con.png", "aux.txt", "a/COM1"),
    *("x\0.png", "x\n.png", "\x7f", "x.png ", "x.", "a./b", "\ud800.png", "x" * 300, "", "a/" + "é" * 200),
]

FORM = "multipart/form-data; boundary=x"


def picture(kind: str = "PNG", size: tuple[int, int] = (4, 4)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (1, 2, 3)).save(buffer, format=kind)
    return buffer.getvalue()


def bomb(side: int) -> bytes:
    """The beginning of a picture that is small as a file and large once it is decoded."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = b"IDAT" + zlib.compress(b"\0" * 100_000)
    chunks = (struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each)) for each in (chunk, pixels))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


async def upload(client: Client, content: bytes, filename: str, route: str = "image", **fields: str) -> tuple[int, Any]:
    form = aiohttp.FormData()
    form.add_field("image", content, filename=filename)
    for name, value in fields.items():
        form.add_field(name, value)
    async with client.session.post(f"{client.url}/upload/{route}", data=form) as answer:
        return answer.status, await answer.json()


HOSTS = [
    *(("127.0.0.1:{port}", 200), ("localhost:{port}", 200), ("[::1]:{port}", 200), ("sub.localhost", 200)),
    *(("192.168.1.7:{port}", 200), ("gpu.lan", 200), ("GPU.LAN.", 200)),
    *(("evil.example:{port}", 403), ("localhost.evil.example", 403), ("127.0.0.1.evil.example", 403)),
    *(("", 403), ("a b", 403), ("user@localhost", 403), ("localhost/x", 403), ("localhost:99999", 403)),
    *(("localhost?x", 403), ("localhost#x", 403), ("localhost:", 403), ("localhost:+80", 403), ("a..localhost", 403)),
    *(("-x.localhost", 403), ("%6cocalhost", 403), ("[::1", 403), ("gpu.lan,evil.example", 403), ("gpu.lan\\.x", 403)),
]

ORIGINS = [
    *(("http://127.0.0.1:{port}", True), ("http://localhost:{port}", True), ("http://[::1]:{port}", True)),
    *(("null", False), ("http://evil.example", False), ("http://127.0.0.1:1", False), ("http://127.0.0.1", False)),
    *(("https://localhost:{port}.evil.example", False), ("file://", False), ("http://192.168.1.7:{port}", False)),
    *(("chrome-extension://abc", False), ("", False), ("http://localhost:{port}/", True)),
]


@in_loop
async def test_hosts(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path, guard=Guard(allowed(["gpu.lan"])))) as client:
        port = client.url.rpartition(":")[2]
        for host, status in HOSTS:
            async with client.session.get(f"{client.url}/queue", headers={"Host": host.format(port=port)}) as answer:
                assert answer.status in (status, 400 if status == 403 else status), host


@in_loop
async def test_origins(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        port = client.url.rpartition(":")[2]
        for origin, welcome in ORIGINS:
            headers = {"Origin": origin.format(port=port)}
            for method, path in (("POST", "/queue"), ("POST", "/api/interrupt"), ("DELETE", "/userdata/x")):
                async with client.session.request(method, client.url + path, headers=headers) as answer:
                    assert (answer.status != 403) == welcome, (origin, path)
            try:
                async with client.session.ws_connect(f"{client.url}/ws", headers=headers):
                    assert welcome, origin
            except aiohttp.WSServerHandshakeError as error:
                assert error.status == 403 and not welcome, origin
        lan = f"192.168.1.7:{port}"
        for origin, status in ((f"http://{lan}", 200), (f"http://127.0.0.1:{port}", 403), ("http://evil.example", 403)):
            headers = {"Host": lan, "Origin": origin}
            assert (await client.post("/queue", {}, headers=headers))[0] == status, origin
        cross = {"Sec-Fetch-Site": "cross-site"}
        assert (await client.post("/queue", {"clear": True}, headers=cross))[0] == 403
        async with client.session.get(f"{client.url}/queue") as answer:
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert "Access-Control-Allow-Origin" not in answer.headers
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


@in_loop
async def test_cors_is_open_only_where_configured(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path, guard=Guard(cors="https://editor.example"))) as client:
        for origin, status in (("https://editor.example", 200), ("https://other.example", 403), ("null", 403)):
            async with client.session.get(f"{client.url}/queue", headers={"Origin": origin}) as answer:
                assert answer.status == status
        async with client.session.options(f"{client.url}/prompt") as answer:
            assert answer.status == 200
            assert answer.headers["Access-Control-Allow-Origin"] == "https://editor.example"


@in_loop
async def test_tokens(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path, guard=Guard(token="open-sesame"))) as client:
        bearer, url = {"Authorization": "Bearer open-sesame"}, client.url
        for path in ("/queue", "/api/history", "/view?filename=x.png", "/ws", "/", "/metrics", "/nope"):
            async with client.session.get(url + path) as answer:
                assert answer.status == 401, path
        for headers in (
            {"Authorization": "Bearer wrong"},
            {"Authorization": "open-sesame"},
            {"Cookie": "darkroom_token=x"},
        ):
            async with client.session.get(f"{url}/queue", headers=headers) as answer:
                assert answer.status == 401
        async with client.session.get(f"{url}/queue", headers=bearer) as answer:
            assert answer.status == 200
        async with client.session.ws_connect(f"{url}/ws?token=open-sesame") as ws:
            assert (await ws.receive_json())["type"] == "status"
        async with client.session.get(f"{url}/?token=open-sesame", allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/")
            cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
        async with client.session.get(f"{url}/queue", headers={"Cookie": cookie.partition(";")[0]}) as answer:
            assert answer.status == 200


@in_loop
async def test_who_guesses_tokens_has_to_wait(tmp_path: Path) -> None:
    now = [0.0]
    async with serving(deps_of(tmp_path, guard=Guard(token="open-sesame"))) as client:
        guesses = client.app[GUESSES]
        guesses._clock = lambda: now[0]
        wrong, right = {"Authorization": "Bearer guess"}, {"Authorization": "Bearer open-sesame"}

        async def ask(headers: dict[str, str]) -> tuple[int, str | None]:
            async with client.session.get(f"{client.url}/queue", headers=headers) as answer:
                return answer.status, answer.headers.get("Retry-After")

        for _ in range(20):
            assert (await ask({}))[0] == 401  # no guess
        for _ in range(FREE + 1):
            assert await ask(wrong) == (401, None)
        assert await ask(wrong) == (429, "1") == await ask(right)
        now[0] += 1.5
        assert (await ask(wrong))[0] == 401 and await ask(wrong) == (429, "2")
        now[0] += 100
        assert (await ask(right))[0] == 200
        for _ in range(3 * FREE):
            assert (await ask(wrong))[0] == 401 and (await ask(right))[0] == 200
        for number in range(ADDRESSES + 10):
            guesses.wrong(f"10.1.{number // 256}.{number % 256}")
        assert len(guesses._tries) == ADDRESSES
        for _ in range(FREE + 1):
            guesses.wrong("2001:db8::1%eth0")
        with pytest.raises(Refused):
            guesses.look("2001:db8::ffff")


@in_loop
async def test_pages_may_not_load_from_elsewhere_and_answers_are_not_kept(tmp_path: Path) -> None:
    front = tmp_path / "front"
    front.mkdir()
    (front / "index.html").write_text("<!doctype html>")
    (front / "a.js").write_text("1")
    header = "Content-Security-Policy"
    async with serving(deps_of(tmp_path / "a", front_end=front)) as client:
        for path in ("/", "/index.html", "/docs"):
            async with client.session.get(client.url + path) as answer:
                assert "default-src 'self'" in answer.headers[header] and answer.status == 200
        async with client.session.get(f"{client.url}/queue") as answer:
            assert header not in answer.headers and "Cache-Control" not in answer.headers
    async with serving(deps_of(tmp_path / "b", front_end=front, foreign=True, guard=Guard(token="secret12"))) as client:
        for path, kept in (
            ("/", False),
            ("/queue", False),
            ("/api/object_info", False),
            ("/a.js", True),
            ("/api/jobs", False),
        ):
            async with client.session.get(client.url + path, headers={"Authorization": "Bearer secret12"}) as answer:
                assert (answer.headers.get("Cache-Control") != "no-store") == kept, path
        async with client.session.get(f"{client.url}/", headers={"Authorization": "Bearer secret12"}) as answer:
            assert "default-src" not in answer.headers[header] and "frame-ancestors" in answer.headers[header]


def test_a_token_never_stands_in_a_log(tmp_path: Path) -> None:
    tail, file, root = LogTail(), tmp_path / "log", logging.getLogger()
    before, level = list(root.handlers), root.level
    secret = 'open"sesame'
    for as_json in (False, True):
        set_up_logs(tail, as_json=as_json, file=file, secret=secret)
        try:
            raise ValueError(f"GET /?token={secret}")
        except ValueError:
            logging.getLogger("x").exception("bad request: %s", "/?token=open%22sesame", extra={"path": secret})
        for handler in [handler for handler in root.handlers if handler not in before]:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level)
    assert "sesame" not in file.read_text() and file.read_text().count("token=…") == 4
    assert [text for _, text in tail.lines] == ["bad request: /?token=…"] * 2


def test_a_made_token_is_told_only_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DARKROOM_TOKEN", raising=False)
    everywhere, kept = Listen(("0.0.0.0",)), tmp_path / "token"
    token = choose_token(everywhere, None, kept)
    assert token is not None and token not in capsys.readouterr().out
    assert kept.read_text().strip() == token and kept.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    token = choose_token(everywhere, None, kept)
    assert token is not None and token in capsys.readouterr().out


def test_a_token_is_needed_where_others_can_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DARKROOM_TOKEN", raising=False)
    assert [is_loopback(name) for name in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "192.168.1.2")] == [
        *(True, True, True, False, False, False)
    ]
    assert choose_token(Listen(), None, tmp_path / "made") is None
    made = choose_token(Listen(("0.0.0.0",)), None, tmp_path / "made")
    assert made is not None and len(made) >= 32
    (tmp_path / "token").write_text("from-file\n")
    assert choose_token(Listen(), tmp_path / "token", tmp_path / "made") == "from-file"
    monkeypatch.setenv("DARKROOM_TOKEN", "from-env")
    assert choose_token(Listen(), None, tmp_path / "made") == "from-env"


@pytest.mark.parametrize("name", EVIL_NAMES)
def test_names_that_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused):
        below(tmp_path, name)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("./\\ab:\0~%é\u202e\u2215 "), max_size=12) | st.text(max_size=20))
def test_no_name_leaves_its_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    root = Path("/srv/darkroom/output")
    try:
        path = below(root, name)
    except Refused:
        return
    assert os.path.normpath(path).startswith(f"{root}/") and path.resolve().is_relative_to(root)


@in_loop
async def test_view_and_upload_stay_inside(tmp_path: Path) -> None:
    outside = tmp_path / "secret.png"
    outside.write_bytes(picture())
    async with serving(deps_of(tmp_path / "base")) as client:
        for name in (*EVIL_NAMES, "../secret.png", f"{outside}"):
            if "\ud800" in name:
                continue
            for query in ({"filename": name}, {"filename": "secret.png", "subfolder": name}):
                for kind in ("output", "input", "temp"):
                    async with client.session.get(f"{client.url}/view", params={**query, "type": kind}) as answer:
                        assert 400 <= answer.status < 500, (query, answer.status)
            if name:
                status, _ = await upload(client, picture(), "ok.png", subfolder=name)
                assert 400 <= status < 500, name
            if name and name not in (".", ".."):  # which the client itself would resolve
                url = URL(f"{client.url}/userdata/{quote(name, safe='')}", encoded=True)
                for method in ("GET", "POST", "DELETE"):
                    async with client.session.request(method, url) as answer:
                        assert 400 <= answer.status < 500, (method, name)
        for path in (
            "/userdata/..%2F..%2Fsecret.png",
            "/userdata/%2Fetc%2Fpasswd",
            "/userdata?dir=../..",
            "/models/..%2F..",
        ):
            async with client.session.get(URL(client.url + path, encoded=True)) as answer:
                assert 400 <= answer.status < 500, path
        async with client.session.get(f"{client.url}/view_metadata/checkpoints?filename=../x.safetensors") as answer:
            assert answer.status == 404
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "secret.png"]


@in_loop
async def test_links(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "x.png").write_bytes(picture())
    base = tmp_path / "base"
    async with serving(deps_of(base)) as client:
        (base / "output" / "shared").symlink_to(elsewhere)
        async with client.session.get(f"{client.url}/view?filename=x.png&subfolder=shared") as answer:
            assert answer.status == 200  # the operator's link
        (base / "input" / "x.png").symlink_to(elsewhere / "x.png")
        before = (elsewhere / "x.png").read_bytes()
        status, _ = await upload(client, picture(size=(9, 9)), "x.png", overwrite="true")
        assert status in (200, 400)
        assert (elsewhere / "x.png").read_bytes() == before  # never written through


@in_loop
async def test_uploads_take_pictures_only(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path, limits=Limits(upload=200_000))) as client:
        for name, content, expected in (
            ("x.html", b"<script>", 415),
            ("x.svg", b"<svg/>", 415),
            ("x.js", b"1", 415),
            ("x.png", b"<script>alert(1)</script>", 400),
            ("x.png", b"", 400),
            (".png", picture(), 415),
            ("bomb.png", bomb(20_000), 413),
            ("big.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 300_000, 413),
            ("x.gif", picture("GIF"), 200),
            ("x.png", picture("BMP"), 200),
        ):
            assert (await upload(client, content, name))[0] == expected, name
        assert (await upload(client, picture(), "x.png", type="bogus"))[0] == 400
        async with client.session.post(f"{client.url}/upload/image", data=b"x") as answer:
            assert answer.status == 415
        broken = {"Content-Type": "multipart/form-data; boundary=x"}
        for body in (
            b"",
            b"--x",
            b"--x\r\n\r\n",
            b"--x\r\nContent-Disposition: form-data; name=image\r\n\r\nx\r\n--x--",
        ):
            async with client.session.post(f"{client.url}/upload/image", data=body, headers=broken) as answer:
                assert answer.status == 400, body
        async with client.session.post(
            f"{client.url}/upload/image", data=b"x", headers={"Content-Type": "multipart/form-data"}
        ) as answer:
            assert answer.status == 400


@in_loop
async def test_packed_bodies_are_refused_once_they_are_too_long(tmp_path: Path) -> None:
    packed = zlib.compress(b" " * 5_000_000)
    async with serving(deps_of(tmp_path, limits=Limits(prompt=100_000, upload=100_000))) as client:
        for path, kind in (("/prompt", "application/json"), ("/queue", "application/json"), ("/upload/image", FORM)):
            headers = {"Content-Encoding": "deflate", "Content-Type": kind}
            status, _ = await client.post(path, packed, headers=headers)
            assert status in (400, 413), path


@in_loop
async def test_nothing_is_served_that_a_browser_runs(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        for name in ("x.svg", "x.html", "x.js", "x.xml", "x.xhtml", "x.css", "x.pdf", "x.json", "noext"):
            (tmp_path / "output" / name).write_bytes(b"<script>")
            async with client.session.get(f"{client.url}/view?filename={name}") as answer:
                assert answer.headers["Content-Type"] == "application/octet-stream"
                assert answer.headers["Content-Disposition"].startswith("attachment")
        await client.post("/userdata/x.html", "<script>")
        async with client.session.get(f"{client.url}/userdata/x.html") as answer:
            assert answer.headers["Content-Disposition"] == "attachment"


def test_paths_are_taken_out_of_texts() -> None:
    redact = Redactor({Path("/srv/base/output"): "output", Path("/srv/base"): "", Path("/opt/program"): ""})
    assert redact("cannot write /srv/base/output/a.png") == "cannot write output/a.png"
    assert redact("no file in /srv/base/models/vae or '/srv/basement/x y/z'") == "no file in models/vae or '…/z'"
    assert redact("read (/opt/program/graph/a.py) and C:\\Users\\me\\x") == "read (graph/a.py) and …/x"
    assert redact("a/b, 1/2, http://host/path and and/or stay") == "a/b, 1/2, http://host/path and and/or stay"


@in_loop
async def test_a_prefix_cannot_leave(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        prompt = chain()
        prompt["o"]["inputs"]["prefix"] = "../../evil"
        entry = await client.run(prompt)  # the stub refuses as the real node does: by failing
        assert entry["status"]["status_str"] == "error"
        assert str(tmp_path) not in str(entry)
