"""Packs in processes of their own: what they do wrong stays there, and what they do right is as within the program."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from graph.context import Context, Run
from graph.document import parse
from graph.errors import GraphErrors, Interrupted, NodeError
from graph.events import Event, NodeStarted
from graph.files import Folders
from graph.result import LATER, Items, Need
from models.types import Image, Latent
from nodes.packs.found import digest, find_packs
from nodes.packs.isolated.codec import WireError
from nodes.packs.isolated.environment import install, interpreter
from nodes.packs.isolated.life import PackProcessError
from nodes.packs.isolated.memory import Copied, Mapped
from nodes.packs.isolated.wire import KEPT, Channel
from nodes.packs.needs import unmet
from nodes.packs.trust import Isolation, PackList
from tests.nodes.pack_bench import Bench, open_bench

CARELESS = Path(__file__).parents[1] / "data" / "isolated" / "careless"
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a process from the network and from files")
PACK = "[packs.careless]\nenabled = 'ask'\nmode = 'isolated'\n"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folders = Folders.standard(tmp_path_factory.mktemp("isolated") / "base")
    shutil.copytree(CARELESS, folders.base / "custom_nodes" / "careless")
    (folders.base / "darkroom.db").write_text("secret")
    (folders.base / "packs.toml").write_text(PACK + "patience = 8\nmemory = '1G'\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", "secret")
        with open_bench(folders) as opened:
            yield opened


def does(bench: Bench, what: str) -> str:
    """What the pack says when it does that."""
    return str(bench.run({"d": ("CarelessDoes", {"what": what, "size": 1})})["d"].ui["text"][0])


async def _awaited(promise: Any) -> Any:
    return await promise


def called(bench: Bench, type_name: str, **inputs: object) -> Any:
    """What a node gives, called by itself."""
    document = parse(json.dumps({"n": {"class_type": type_name, "inputs": {}}}))
    context = Context("n", Run("run", document), bench.services)
    return asyncio.run(_awaited(bench.registry[type_name].run(context, inputs)))


def test_its_nodes_are_there_but_those_whose_links_are_no_data(bench: Bench) -> None:
    [it] = bench.packs.loaded
    assert [spec.type.removeprefix("Careless") for spec in it.specs] == [
        "Darken",
        "Invert",
        "Keeps",
        "Kept",
        "Does",
        "Gives",
        "Files",
        "Latents",
    ]
    assert "node CarelessTakes has links of MODEL, which do not go to a process of its own" in it.problem
    assert "nobody answers at /careless/hello: addresses need a pack that runs within the program" in it.problem
    assert bench.registry["CarelessDoes"].module == "custom_nodes.careless"


def test_pictures_and_latents_go_there_and_come_back_to_the_bit(bench: Bench) -> None:
    pixels = torch.rand(2, 16, 24, 3)
    assert torch.equal(called(bench, "CarelessInvert", image=Image(pixels)).values[0].pixels, 1 - pixels)
    strided = pixels.permute(0, 2, 1, 3)[:, ::2]
    assert torch.equal(called(bench, "CarelessInvert", image=Image(strided)).values[0].pixels, 1 - strided)
    latent = Latent(
        torch.randn(1, 4, 8, 8), {"theirs": torch.ones(2, dtype=torch.bfloat16)}, torch.rand(1, 1, 64, 64), (3,)
    )
    made, numbers = called(bench, "CarelessLatents", latent=latent, which=True, later=LATER).values
    assert torch.equal(made.samples, latent.samples + 1)
    assert latent.noise_mask is not None and torch.equal(made.noise_mask, latent.noise_mask)
    assert made.batch_index == (3,) and numbers == Items((1, 2, 3))
    assert made.extra["mine"]["a"] == [1, 2.5, (3, None)] and made.extra["mine"]["t"].tolist() == [0, 1, 2]
    assert made.extra["theirs"].dtype == torch.bfloat16
    assert called(bench, "CarelessLatents", latent=latent, which=False, later=LATER) == Need(("later",))


def test_what_it_changes_in_place_is_its_own_copy(bench: Bench) -> None:
    pixels = torch.ones(1, 8, 8, 3)
    assert torch.equal(called(bench, "CarelessDarken", image=Image(pixels)).values[0].pixels, pixels / 2)
    assert torch.equal(pixels, torch.ones(1, 8, 8, 3))


def test_a_picture_that_it_keeps_is_not_written_over_by_the_next_one(bench: Bench) -> None:
    pictures = [torch.rand(1, 256, 256, 3) for _ in range(5)]
    for picture in pictures:
        called(bench, "CarelessKeeps", image=Image(picture))
    again = called(bench, "CarelessKept").values[0].pixels
    assert torch.equal(again, torch.cat(pictures))


def test_checks_choices_and_freshness_are_those_of_its_classes(bench: Bench) -> None:
    assert does(bench, "") == "" and does(bench, "") == ""
    assert bench.ran == ["d"], "it says that it is never fresh"
    with pytest.raises(GraphErrors, match=r"node d \(CarelessDoes\), input 'what': that is refused"):
        does(bench, "refused")
    (bench.folders.base / "models/checkpoints/new.safetensors").touch()
    assert bench.run({"f": ("CarelessFiles", {"name": "new.safetensors"})})["f"].ui == {"text": ["new.safetensors"]}
    with pytest.raises(GraphErrors, match=r"got 'gone', expected"):
        bench.run({"f": ("CarelessFiles", {"name": "gone"})})


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("crash", r"the process of pack careless is gone: it ended with status -11"),
        ("hang", r"the process of pack careless is gone: it has given no sign of life for 8 s"),
        ("fill", r"pack careless: RuntimeError: .*memory"),
    ],
)
def test_a_pack_takes_its_own_process_with_it_and_the_next_job_begins_another(
    bench: Bench, what: str, said: str
) -> None:
    does(bench, "")
    with pytest.raises(NodeError, match=said):
        does(bench, what)
    assert does(bench, "") == ""


def test_a_pack_that_leaks_begins_anew(bench: Bench) -> None:
    first = called_number(bench)
    assert called_number(bench) == first + 1
    for _ in range(12):
        does(bench, "leak")
    assert called_number(bench) < first + 12


def called_number(bench: Bench) -> int:
    """How often the pack was called since its process began."""
    return int(bench.run({"d": ("CarelessDoes", {"what": "", "size": 1})})["d"].values[1])  # type: ignore[call-overload]


@linux
@pytest.mark.parametrize("what", ["net", "host", "outside", "spy"])
def test_it_reaches_neither_the_network_nor_other_files(bench: Bench, what: str) -> None:
    with pytest.raises(NodeError, match=r"pack careless: [\w.]+Error: .*packs\.toml can allow"):
        does(bench, what)
    assert does(bench, "keys") == "[]"


def test_its_own_folder_and_that_of_pictures_are_its_to_write(bench: Bench) -> None:
    assert does(bench, "own") == "1"
    assert (bench.folders.output_dir / "theirs.txt").read_text() == "1"


def test_what_fails_lies_and_tells_is_told_with_its_name(bench: Bench) -> None:
    with pytest.raises(NodeError, match=r"pack careless: ValueError: no luck"):
        does(bench, "fail")
    with pytest.raises(
        PackProcessError,
        match=r"pack careless: .*output 'THING': a value of type object cannot go between .* run within",
    ):
        called(bench, "CarelessGives")
    bench.sent.clear()
    does(bench, "tell")
    assert bench.sent == [("careless.told", {"it": 1})]


def test_a_node_that_is_no_longer_wanted_stops(bench: Bench) -> None:
    for what in ("wait", "hang"):
        document = parse(json.dumps({"d": {"class_type": "CarelessDoes", "inputs": {"what": what, "size": 1}}}))
        begun = threading.Event()

        def tell(event: Event, begun: threading.Event = begun) -> None:
            if isinstance(event, NodeStarted):
                begun.set()

        run = Run("run", document, tell)

        def stop(run: Run = run, begun: threading.Event = begun) -> None:
            begun.wait(20)
            run.cancel.set()

        threading.Thread(target=stop).start()
        with pytest.raises(Interrupted):
            bench.executor.execute(run)
        assert does(bench, "") == ""


def channels() -> tuple[Channel, Channel]:
    """The program's end of a connection, and that of the process of a pack."""
    ours, theirs = socket.socketpair()
    return Channel(ours, Copied), Channel(theirs, Mapped)


def sent(here: Channel, there: Channel, body: object) -> Any:
    """What comes of it at the other end."""
    here.send("call", 1, body)
    message = there.receive()
    assert message is not None
    return message.body


def test_tensors_that_a_pack_keeps_stay_as_they_came_and_memory_is_written_again_once_it_has_let_go() -> None:
    program, pack = channels()
    before = len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0
    first, second = torch.rand(64, 64, 64), torch.rand(64, 64, 64)
    kept = sent(program, pack, {"picture": first, "small": torch.arange(3)})
    sent(pack, program, None)  # tells that it is kept
    assert torch.equal(sent(program, pack, second), second)
    assert torch.equal(kept["picture"], first) and torch.equal(kept["small"], torch.arange(3))
    place = kept["picture"].data_ptr()
    del kept
    sent(pack, program, None)
    places = set()
    for _ in range(20):
        came = sent(program, pack, second)
        came.zero_()
        places.add(came.data_ptr())
        del came
        sent(pack, program, None)
    assert len(places) == 1 and place not in places, "one file is written again and again"
    assert second.max() > 0, "what the pack writes is not the program's"
    program.close()
    pack.close()
    if sys.platform == "linux":
        assert len(list(Path("/proc/self/fd").iterdir())) == before - 2


def test_what_a_pack_sends_is_the_program_s_own_copy_whatever_the_pack_writes_later() -> None:
    program, pack = channels()
    pictures = [torch.rand(64, 64, 64) for _ in range(3)]
    came = [sent(pack, program, picture) for picture in pictures]
    assert all(torch.equal(one, other) for one, other in zip(pictures, came, strict=True))
    large = torch.zeros(KEPT + 4096, dtype=torch.uint8)
    assert torch.equal(sent(program, pack, large), large)
    assert torch.equal(sent(program, pack, pictures[0]), pictures[0])


def test_what_is_no_message_is_refused() -> None:
    for whole in (
        b"[1", b"{}", b'["a", 1, {"Popen": ["sh"]}]', b'["a", 1, {"tensor": ["torch.float32", [4]]}]',
        b'["a", 1, {"tensor": ["torch.float32", [-4]]}]', b'["a", 1, {"Image": []}]', b'["a", 1, {"Image": [1], "Mask": [1]}]', b"[" * 10**5,
    ):  # fmt: skip
        ours, theirs = socket.socketpair()
        channel = Channel(ours, Copied)
        theirs.sendall(struct.pack("<I?Q", len(whole), True, 0) + whole)
        with pytest.raises(WireError):
            channel.receive()
        theirs.close()
        channel.close()


def test_memory_that_is_none_or_cut_short_is_refused() -> None:
    whole = b'["a", 1, {"tensor": ["torch.uint8", [4096]]}]'
    head = struct.pack("<I?Q", len(whole), True, 0)
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as short:
        short.write(b"1")
        for file in (reading, short.fileno()):
            ours, theirs = socket.socketpair()
            channel = Channel(ours, Copied)
            socket.send_fds(theirs, [head + whole], [file])
            with pytest.raises(WireError):
                channel.receive()
            theirs.close()
            channel.close()
    os.close(reading)
    os.close(writing)


def test_the_owner_s_words_for_isolation_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "packs.toml"
    for line, said in (
        ("mode = 'apart'", "mode"), ("network = 'yes'", "network"), ("memory = 'much'", "memory"),
        ("folders = ['here']", "folders"), ("patience = 0", "patience"),
    ):  # fmt: skip
        file.write_text(f"[packs.x]\n{line}\n" + ("mode = 'isolated'\n" if "mode" not in line else ""))
        with pytest.raises(ValueError, match=rf"packs\.x\.{said} is"):
            PackList(file).isolation("x")
    file.write_text("[packs.x]\nmode = 'isolated'\nnetwork = true\nmemory = '4G'\nfolders = ['/data']\npatience = 5\n")
    assert PackList(file).isolation("x") == Isolation(True, (Path("/data"),), 4 * 2**30, 5.0)
    PackList(file).isolate("x", isolated=False)
    assert PackList(file).isolation("x") is None


def test_an_environment_of_its_own_has_what_it_asks_for_and_darkroom_s_packages(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    wheel = folder / "a_wheel-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("a_wheel.py", "ANSWER = 42")
        file.writestr("a_wheel-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: a-wheel\nVersion: 1.0\n")
        file.writestr("a_wheel-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("a_wheel-1.0.dist-info/RECORD", "")
    (folder / "__init__.py").touch()
    (folder / "requirements.txt").write_text(f"--no-index\n--find-links {folder}\na-wheel>=1\nnumpy\n")
    [pack] = find_packs([tmp_path])
    assert list(unmet(pack)) == ["a-wheel>=1 is not installed"] and interpreter(pack) == Path(sys.executable)
    before = digest(pack)
    install(pack)
    assert list(unmet(pack)) == []
    said = "import a_wheel, numpy, torch; print(a_wheel.ANSWER)"
    assert subprocess.run([interpreter(pack), "-c", said], capture_output=True, check=True).stdout == b"42\n"
    assert digest(pack) == before, "what was installed does not count as the pack's"
