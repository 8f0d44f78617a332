"""Pickled checkpoints: what real training files hold is read, what would run code is refused, nothing runs."""

from __future__ import annotations

import argparse
import builtins
import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from models.checkpoint import CheckpointError, load_part, read_header
from tests.tiny_checkpoint import tiny_networks, tiny_state

CPU = torch.device("cpu")
LEGACY = [False, True]


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return tiny_state(tiny_networks())


@pytest.fixture(autouse=True)
def nothing_stays_changed() -> object:
    """No load, whether it succeeds or fails, may leave a trace in the process."""

    def process() -> list[object]:
        return [
            set(torch.serialization.get_safe_globals()),
            torch.get_default_dtype(),
            torch.get_default_device(),
            torch.get_rng_state().tolist(),
            torch.load,
            sorted(name for name in sys.modules if "lightning" in name or "omegaconf" in name),
        ]

    before = process()
    yield None
    assert process() == before


class Foreign:
    """Makes objects of packages that are not installed, for as long as it takes to pickle them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def type(self, path: str, *bases: type) -> type:
        package, _, name = path.rpartition(".")
        made = type(name, bases, {"__module__": package})
        self._provide(package, name, made)
        return made

    def calls(self, path: str, *args: object) -> object:
        """An object that a pickle makes by calling `path` with `args`."""
        package, _, name = path.rpartition(".")

        def function() -> None:
            pass

        function.__module__, function.__qualname__, function.__name__ = package, name, name
        self._provide(package, name, function)
        return type("Maker", (), {"__reduce__": lambda self: (function, args)})()

    def _provide(self, package: str, name: str, value: object) -> None:
        for end in range(1, package.count(".") + 1):
            parent = ".".join(package.split(".")[:end])
            self._monkeypatch.setitem(sys.modules, parent, sys.modules.get(parent, ModuleType(parent)))
        module = ModuleType(package)
        vars(module).update(vars(sys.modules.get(package, module)) | {name: value})
        self._monkeypatch.setitem(sys.modules, package, module)


def save(content: object, path: Path, legacy: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def lightning_extras(foreign: Foreign) -> dict[str, Callable[[], object]]:
    """What files of pytorch-lightning, omegaconf and numpy hold beside the weights."""
    scalar = (np.dtype("f8"), b"\x00" * 8)

    def filled(made: object, **attributes: object) -> object:
        vars(made).update(attributes)
        return made

    return {
        "callback, by type": lambda: {
            foreign.type("pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"): {
                "monitor": "val/loss",
                "best_model_score": np.float64(0.1),
            }
        },
        "callback of the new package": lambda: {
            foreign.type("lightning.pytorch.callbacks.early_stopping.EarlyStopping"): {"wait_count": 0}
        },
        "callback object": lambda: filled(
            foreign.type("pytorch_lightning.callbacks.lr_monitor.LearningRateMonitor")(), lrs={"a": [1.0]}
        ),
        "AttributeDict": lambda: foreign.type("pytorch_lightning.utilities.parsing.AttributeDict", dict)(a=1, b=[2]),
        "Namespace": lambda: argparse.Namespace(lr=1e-4, path=Path("logs")),
        "numpy": lambda: [np.float32(1), np.int64(2), np.bool_(True), np.array([1.0, 2.0]), np.dtype("float16")],
        "numpy's old module names": lambda: [
            foreign.calls("numpy.core.multiarray.scalar", *scalar),
            foreign.calls("numpy.core.multiarray._reconstruct", np.ndarray, (0,), b"b"),
        ],
        "bytes": lambda: b"\x00\xff",
        "defaultdict": lambda: defaultdict(dict, {"a": {"b": 1}}),
        "omegaconf": lambda: filled(
            foreign.type("omegaconf.dictconfig.DictConfig")(),
            _content={"lr": filled(foreign.type("omegaconf.nodes.AnyNode")(), _val=1)},
            _metadata=filled(foreign.type("omegaconf.base.ContainerMetadata")(), key_type=int, element_type=dict),
        ),
    }


@pytest.mark.parametrize("legacy", LEGACY)
@pytest.mark.parametrize("extra", lightning_extras(Foreign(pytest.MonkeyPatch())))
def test_training_files(tmp_path: Path, state: dict[str, Tensor], extra: str, legacy: bool) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        content = {
            "epoch": 3,
            "pytorch-lightning_version": "1.4.2",
            "callbacks": lightning_extras(Foreign(monkeypatch))[extra](),
            "optimizer_states": [
                {"state": {0: {"step": 1, "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4}]}
            ],
            "state_dict": state,
        }
        path = save(content, tmp_path / "model.ckpt", legacy)
    header = read_header(path)
    assert header.parts() == {"model", "clip", "vae"}
    vae = load_part(header, "vae", dtype=None, device=CPU)
    assert torch.equal(vae.state_dict()["quant_conv.weight"], state["first_stage_model.quant_conv.weight"])


class Runs:
    """An object whose pickle calls a function."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self._call = (function, args)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self._call


PYTHON_2_POPEN = "commands.Popen"  # protocol 2 writes the name that Python 2 had


def attacks(marker: Path) -> dict[str, tuple[object, str]]:
    """Objects whose unpickling would make `marker`, and the name that the refusal must give."""
    code = f"open({str(marker)!r}, 'w')"
    shell = f"touch {marker}"
    return {
        "os.system": (Runs(os.system, shell), "posix.system" if os.name == "posix" else "nt.system"),
        "eval": (Runs(eval, code), "eval"),
        "exec": (Runs(exec, code), "exec"),
        "Popen": (Runs(subprocess.Popen, shell, -1, None, None, None, None, None, True, True), PYTHON_2_POPEN),
        "getattr": (Runs(getattr, Runs(__import__, "os"), "system"), "getattr"),
        "open": (Runs(open, str(marker), "w"), "io.open"),
        "touch": (Runs(Path.touch, marker), "getattr"),
        "torch": (Runs(torch.load, str(marker)), "torch.serialization.load"),
        "numpy": (Runs(np.save, str(marker), 1), "numpy.save"),
        "builtins": (Runs(builtins.compile, code, "", "exec"), "compile"),
    }


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle 0", "pickle 2", "pickle 5"])
@pytest.mark.parametrize("attack", attacks(Path()))
def test_code_is_refused_by_name_and_never_run(
    tmp_path: Path, state: dict[str, Tensor], attack: str, kind: str
) -> None:
    marker = tmp_path / "ran"
    evil, name = attacks(marker)[attack]
    path = tmp_path / "evil.ckpt"
    content = {"callbacks": [evil], "state_dict": state}
    if kind.startswith("pickle"):
        path.write_bytes(pickle.dumps({"callbacks": [evil]}, protocol=int(kind[-1])))
    else:
        save(content, path, legacy=kind == "legacy")
    with pytest.raises(CheckpointError) as error:
        read_header(path)
    assert str(error.value).startswith("evil.ckpt ")
    if kind in ("zip", "legacy"):
        assert f"its pickle asks for {name}, which is code" in str(error.value)
    assert not marker.exists()


@pytest.mark.parametrize("attack", ["os.system", "eval", "exec", "open", "touch"])
def test_these_attacks_would_work_on_a_plain_unpickler(tmp_path: Path, attack: str) -> None:
    marker = tmp_path / "ran"
    pickle.loads(pickle.dumps(attacks(marker)[attack][0]))
    assert marker.exists()


MODEL_CHECKPOINT = b"cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\n"
ATTRIBUTE_DICT = b"cpytorch_lightning.utilities.parsing\nAttributeDict\n"


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


@pytest.mark.parametrize(
    ("opcodes", "refused"),
    [
        (MODEL_CHECKPOINT + text("touch x") + b"\x85R", False),  # the stand-in called: drops its argument
        (MODEL_CHECKPOINT + text("touch x") + b"\x85\x81", False),  # constructed
        (MODEL_CHECKPOINT + b")\x81}" + text("__class__") + text("x") + b"sb", False),  # given a state: drops it
        (ATTRIBUTE_DICT + b")\x81}" + text("items") + MODEL_CHECKPOINT + b"sb", False),  # items() shadowed
        (MODEL_CHECKPOINT + b")\x81" + text("touch x") + b"\x85R", True),  # its instance called
        (MODEL_CHECKPOINT + b"}" + text("__reduce__") + text("x") + b"sb", True),  # the class given a state
        (MODEL_CHECKPOINT + b")\x81" + text("a") + text("b") + b"s", True),  # used as a dict
        (ATTRIBUTE_DICT + b"}" + text("__new__") + text("x") + b"sb", True),
        (ATTRIBUTE_DICT + b")\x81)R", True),
        (b"ctorch._tensor\n_rebuild_from_type_v2\n(" + MODEL_CHECKPOINT + MODEL_CHECKPOINT + b")}" + text("x") + text("y") + b"stR", False),
        (b"ctorch._tensor\n_rebuild_from_type_v2\n(cposix\nsystem\n" + MODEL_CHECKPOINT + b")}tR", True),
    ],
)  # fmt: skip
def test_stand_ins_do_nothing_whatever_is_done_to_them(tmp_path: Path, opcodes: bytes, refused: bool) -> None:
    path = save({"x": torch.zeros(1)}, tmp_path / "evil.ckpt")
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in records.items():
            archive.writestr(name, b"\x80\x02}" + text("evil") + opcodes + b"s." if name.endswith("data.pkl") else data)
    with pytest.raises(CheckpointError) as error:
        read_header(path)
    assert ("is not a Stable Diffusion checkpoint (it holds evil)" in str(error.value)) is not refused


def test_many_files_at_once(tmp_path: Path, state: dict[str, Tensor]) -> None:
    """Loaders run on a pool; torch has one allow-list for all of them."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        callbacks = lightning_extras(Foreign(monkeypatch))["callback, by type"]()
        paths = [
            save({"state_dict": state, "callbacks": callbacks}, tmp_path / f"{i}.ckpt", i % 2 == 1) for i in range(4)
        ]
    with ThreadPoolExecutor(8) as pool:
        for header in pool.map(read_header, paths * 12):
            assert header.parts() == {"model", "clip", "vae"}


def test_a_pickle_of_something_else(tmp_path: Path) -> None:
    for content in ([1, 2], torch.zeros(3), "text", None):
        path = save(content, tmp_path / "x.pt")
        with pytest.raises(CheckpointError, match=r"^x\.pt holds no weights: its pickle is not a dictionary but"):
            read_header(path)


def test_an_embedding_of_the_first_kind_is_named(tmp_path: Path) -> None:
    content = {
        "string_to_token": {"*": torch.tensor(265)},
        "string_to_param": torch.nn.ParameterDict({"*": torch.ones(2, 768)}),
    }
    with pytest.raises(CheckpointError, match="is a textual-inversion embedding"):
        read_header(save(content, tmp_path / "style.pt"))


def test_torchscript_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("x/constants.pkl", "x/data.pkl"):
            archive.writestr(name, b"\x80\x02}.")
    with pytest.raises(CheckpointError, match="is a TorchScript program"):
        read_header(path)


def test_a_zip_of_something_else(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model.safetensors", b"x")
    (tmp_path / "model.zip").write_bytes(buffer.getvalue())
    with pytest.raises(CheckpointError, match="zip archive, but not one that torch"):
        read_header(tmp_path / "model.zip")
