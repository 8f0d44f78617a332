"""Damaged files, other files, big files: always an error for people, never a traceback, never a second copy."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.weights import CheckpointError, read_table, read_tensors
from tests.random_checkpoint import manifest
from tests.tiny_checkpoint import Format, save

CPU = torch.device("cpu")
STATE = {"a.weight": torch.arange(12.0).reshape(3, 4), "a.bias": torch.arange(3).half(), "n": torch.arange(5)}


def written(folder: Path, file_format: Format) -> bytes:
    return save(STATE, folder / "whole", file_format).read_bytes()


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def one(**entry: object) -> bytes:
    return safetensors({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | entry}, b"\0" * 8)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"hello", "is neither a safetensors or GGUF file nor one that torch.save wrote"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "is a web page"),
        (b"GGUF\3\0\0\0", "is truncated: it ends inside its GGUF header"),
        (b"\x80\x04\x95\x01\x00\x00\x00\x00\x00\x00\x00N.", "is a pickle that torch.save did not write"),
        (b"PK\x03\x04 and then nothing", "is truncated or damaged: its zip archive"),
        ((1 << 40).to_bytes(8, "little") + b"{", "is not a safetensors file: its header would be 1099511627776 bytes"),
        ((99).to_bytes(8, "little") + b"{}", "is truncated: it ends inside its header of 99 bytes"),
        (safetensors(b"{nothing"), "has a damaged safetensors header"),
        (safetensors(b'{"\xff": 1}'), "has a damaged safetensors header"),
        (safetensors(b'{"a":' * 50_000), "has a damaged safetensors header"),
        (safetensors({"x": 1}), "has a damaged safetensors header"),
        (safetensors({"x": {"dtype": "F32"}}), "has a damaged safetensors header"),
        (one(dtype="F4"), "the number format F4 is not supported"),
        (one(dtype=["F32"]), "has a damaged safetensors header"),
        (one(shape=[-2]), "a size or an offset that is no natural number"),
        (one(shape=[2.0]), "a size or an offset that is no natural number"),
        (one(shape=[True, 2]), "a size or an offset that is no natural number"),
        (one(shape=None), "has a damaged safetensors header"),
        (one(shape=[3]), "8 bytes given to shape [3] of F32"),
        (one(data_offsets=[8, 0]), "-8 bytes given to shape"),
        (one(data_offsets=[-8, 0]), "a size or an offset that is no natural number"),
        (one(data_offsets=[0, 8, 9]), "has a damaged safetensors header"),
        (one(data_offsets=[4, 12]), "is truncated: its tensors need"),
        (one(shape=[1 << 62, 0], data_offsets=[1 << 60, 1 << 60]), "is truncated: its tensors need"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    with pytest.raises(CheckpointError) as error:
        read_table(path)
    assert str(error.value).startswith("model.bin ")
    assert message in str(error.value)
    assert str(tmp_path) not in str(error.value)


@pytest.mark.parametrize("file_format", ["safetensors", "zip", "legacy"])
def test_a_file_cut_anywhere_is_an_error(tmp_path: Path, file_format: Format) -> None:
    data = written(tmp_path, file_format)
    path = tmp_path / "cut"
    for length in range(0, len(data), max(1, len(data) // 60)):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=r"^cut "):
            read_table(path)
    path.write_bytes(data[:-1])
    with pytest.raises(CheckpointError, match="truncated"):
        read_table(path)


@pytest.mark.parametrize("file_format", ["safetensors", "zip", "legacy"])
@settings(
    derandomize=True, max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(edits=st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255)), min_size=1, max_size=4))
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_damaged_file_loads_or_is_an_error(tmp_path: Path, file_format: Format, edits: list[tuple[int, int]]) -> None:
    data = bytearray(written(tmp_path, file_format))
    for place, byte in edits:
        data[place % len(data)] = byte
    path = tmp_path / "damaged"
    path.write_bytes(data)
    try:
        table = read_table(path)
        for _ in read_tensors(table, table.tensors, dtype=torch.float64, device=CPU):
            pass
    except CheckpointError as error:
        assert str(error).startswith("damaged ")


def test_archives_that_torch_did_not_leave_so(tmp_path: Path) -> None:
    whole = save(STATE, tmp_path / "whole.ckpt", "zip")
    with zipfile.ZipFile(whole) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}

    def rezip(change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> Path:
        with zipfile.ZipFile(tmp_path / "x.ckpt", "w", compression) as archive:
            for name, data in records.items():
                archive.writestr(name, change(name, data))
        return tmp_path / "x.ckpt"

    assert read_table(rezip(lambda _, data: data)).tensors.keys() == STATE.keys()
    with pytest.raises(CheckpointError, match="was compressed"):
        read_table(rezip(lambda _, data: data, zipfile.ZIP_DEFLATED))
    with pytest.raises(CheckpointError, match="big-endian"):
        read_table(rezip(lambda name, data: b"big" if name.endswith("byteorder") else data))
    with pytest.raises(CheckpointError, match=r"pickle is damaged|pickle cannot be read"):
        read_table(rezip(lambda name, data: data[:50] if name.endswith("data.pkl") else data))


def test_tar_format(tmp_path: Path) -> None:
    (tmp_path / "pickle").write_bytes(pickle.dumps(1))
    with tarfile.open(tmp_path / "old.pt", "w") as archive:
        archive.add(tmp_path / "pickle", "pickle")
    with pytest.raises(CheckpointError, match="is a tar archive"):
        read_table(tmp_path / "old.pt")


def test_files_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match=r"^none\.ckpt does not exist"):
        read_table(tmp_path / "none.ckpt")
    with pytest.raises(CheckpointError, match=r"is a folder|cannot be read"):
        read_table(tmp_path)

    def denied(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(CheckpointError, match=r"^locked\.ckpt cannot be read: Permission denied"):
        read_table(tmp_path / "locked.ckpt")


@pytest.mark.parametrize("file_format", ["safetensors", "zip", "legacy"])
def test_every_tensor_of_any_file(tmp_path: Path, file_format: Format) -> None:
    """Also empty ones, scalars and whole numbers; `read_tensors` is for all weight files."""
    state = STATE | {"none": torch.zeros(0, 3), "scalar": torch.tensor(1.5), "yes": torch.tensor([True])}
    table = read_table(save(state, tmp_path / "x", file_format))
    assert {name: info.shape for name, info in table.tensors.items()} == {n: tuple(t.shape) for n, t in state.items()}
    for dtype in (None, torch.float64):
        read = dict(read_tensors(table, state, dtype=dtype, device=CPU))
        assert read.keys() == state.keys()
        for name, tensor in read.items():
            assert torch.equal(tensor, state[name].to(dtype or state[name].dtype))


def test_tensors_at_odd_places(tmp_path: Path) -> None:
    """Early safetensors files did not align their data."""
    header = {"x": {"dtype": "F32", "shape": [2], "data_offsets": [1, 9]}}
    path = tmp_path / "x"
    path.write_bytes(safetensors(header, b"\0" + torch.tensor([1.5, -2.0]).numpy().tobytes()))
    ((_, x),) = read_tensors(read_table(path), ["x"], dtype=None, device=CPU)
    assert x.tolist() == [1.5, -2.0]
    assert x.data_ptr() % 4 == 0


def test_of_a_full_size_only_the_header_is_read(tmp_path: Path) -> None:
    header, end = {}, 0
    for name, shape in manifest().items():
        start, end = end, end + 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    path = tmp_path / "full.safetensors"
    path.write_bytes(safetensors(header))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + end)  # 2 GB that take no room

    process = psutil.Process()
    before = process.io_counters().read_chars
    assert len(read_table(path).tensors) == 1143
    assert process.io_counters().read_chars - before < 2**20


MEASURE = """
import sys, torch
from pathlib import Path
from models.checkpoint import load_part, read_header

def memory(line):
    return next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith(line))

header, small = (read_header(Path(path)) for path in sys.argv[1:3])
load_part(small, "vae", dtype=torch.float64, device=torch.device("cpu"))  # torch warms up
for dtype in (None, getattr(torch, sys.argv[3])):
    before = memory("VmRSS")
    network = load_part(header, "vae", dtype=dtype, device=torch.device("cpu"))
    print((memory("VmHWM") - before) / sum(p.nbytes for p in network.parameters()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak of resident memory")
@pytest.mark.parametrize(
    ("file_format", "stored", "wanted", "most"),
    [
        ("safetensors", torch.float16, "float32", 1.25),  # two copies would be 1.5
        ("zip", torch.float32, "float16", 1.5),  # two copies would be 3
    ],
)
def test_there_is_never_a_second_copy(
    tmp_path: Path, file_format: Format, stored: torch.dtype, wanted: str, most: float
) -> None:
    """The autoencoder at full width (84M numbers): the peak of resident memory, in a process of its own.

    As a multiple of the network's size, first as it is stored (mapped: next to nothing), then converted.
    """
    prefix = "first_stage_model."
    shapes = {name: shape for name, shape in manifest().items() if name.startswith(prefix)}
    big = save(
        {name: torch.zeros(shape, dtype=stored) for name, shape in shapes.items()}, tmp_path / "big", file_format
    )
    few = {name: [max(8, n // 16) if n > 8 else n for n in shape] for name, shape in shapes.items()}
    small = save({name: torch.zeros(shape) for name, shape in few.items()}, tmp_path / "small", "safetensors")
    command = [sys.executable, "-c", MEASURE, str(big), str(small), wanted]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    big.unlink()
    mapped, converted = map(float, result.stdout.split())
    assert mapped < 0.2
    assert converted < most


def test_an_index_is_known_by_how_its_name_ends_so_that_none_can_name_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.index.json.safetensors"
    path.write_text('{"weight_map": {"x": "a.index.json.safetensors"}}')
    with pytest.raises(CheckpointError):
        read_table(path)
