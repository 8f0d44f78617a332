"""What a pickled weight file (`.ckpt`, `.pt`, `.pth`, `.bin`) holds, without running what its pickle asks for.

torch's restricted unpickler does the reading. What training programs leave beside the weights (callbacks,
numpy scalars, configurations) is replaced, by name, with stand-ins that do nothing; every other name is refused.
"""

from __future__ import annotations

import io
import os
import pickle
import re
import struct
import threading
import zipfile
import zlib
from collections import OrderedDict
from contextlib import AbstractContextManager, nullcontext
from itertools import product
from typing import BinaryIO, TypeGuard

import torch
from torch import Tensor

from models.module_marks import without_module_marks

LEGACY_MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
"""How a file of torch before 1.6 begins: the pickle of a magic number."""


WRAPPERS = ("state_dict", "params_ema", "params")
"""Under which names programs put the weights into a file: most, and those that train upscalers."""
NESTED = ("image_proj", "ip_adapter")
"""The two dictionaries that an IP-Adapter's file holds; their names go before those of the tensors."""


class UnpickleError(Exception):
    """Why a file cannot be read, as the end of a sentence that begins with the file's name."""


class _Inert:
    """Takes the place of an object that nobody needs: whatever a pickle builds it from or puts into it is dropped."""

    __slots__ = ()

    def __new__(cls, *_: object) -> _Inert:
        return object.__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class _InertDict:
    """The same for kinds of dict, which a pickle fills item by item: makes the plain one that torch lets it fill."""

    def __new__(cls, *_: object) -> OrderedDict[object, object]:  # type: ignore[misc]
        return OrderedDict()


class _Parameters(dict[str, object]):
    """Takes the place of an nn.ParameterDict: a dict of what it held."""

    def __setstate__(self, state: object) -> None:
        held = dict.get(state, "_parameters") if isinstance(state, dict) else None
        if isinstance(held, dict):
            self.update(held)


_CALLBACKS = (
    "base.Callback",
    "callback.Callback",
    "early_stopping.EarlyStopping",
    "finetuning.BackboneFinetuning",
    "gradient_accumulation_scheduler.GradientAccumulationScheduler",
    "lr_monitor.LearningRateMonitor",
    "model_checkpoint.ModelCheckpoint",
    "progress.ProgressBar",
    "progress.tqdm_progress.TQDMProgressBar",
    "stochastic_weight_avg.StochasticWeightAveraging",
    "timer.Timer",
)
_NUMPY_TYPES = ("bool_", "float16", "float32", "float64", "int32", "int64", "dtype", "ndarray")
_NUMPY_DTYPES = ("Bool", "Float16", "Float32", "Float64", "Int8", "Int16", "Int32", "Int64", "UInt8", "Str")
_INERT_NAMES = (
    *(
        f"{package}.callbacks.{name}"
        for package, name in product(("pytorch_lightning", "lightning.pytorch"), _CALLBACKS)
    ),
    *(f"numpy.{core}.multiarray.{name}" for core, name in product(("core", "_core"), ("scalar", "_reconstruct"))),
    *(f"numpy.{name}" for name in _NUMPY_TYPES),
    *(f"numpy.dtypes.{name}DType" for name in _NUMPY_DTYPES),
    *(f"omegaconf.nodes.{name}Node" for name in ("Any", "Boolean", "Float", "Integer", "String")),
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "torch.nn.modules.container.ParameterList",
    "torch.torch_version.TorchVersion",
    "argparse.Namespace",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "typing.Any",
    *(f"builtins.{name}" for name in ("bool", "float", "int", "list", "str", "tuple")),
)
_INERT_DICT_NAMES = (
    "builtins.dict",
    "collections.defaultdict",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)
_ALLOWED = (
    *((_Inert, name) for name in _INERT_NAMES),
    *((_InertDict, name) for name in _INERT_DICT_NAMES),
    (_Parameters, "torch.nn.modules.container.ParameterDict"),
)

_ALLOW_LIST_LOCK = threading.Lock()
"""torch's allow-list is one for the process, and torch does not guard it: we change it one load at a time."""

_DAMAGE = (
    RuntimeError, ValueError, TypeError, LookupError, AttributeError, EOFError, AssertionError, ArithmeticError,
    MemoryError, struct.error, zlib.error,
)  # fmt: skip
"""What zipfile and torch's unpickler raise on damaged bytes, besides errors of their own."""


def read_zip(file: BinaryIO) -> dict[str, object]:
    """The state dict of a zip-format file, on the meta device: no weights are read.

    The storage of each tensor tells its place in `file` by `_checkpoint_offset`, in bytes. Raises UnpickleError.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            records = {info.filename.partition("/")[2]: info for info in archive.infolist()}
            byteorder = archive.read(records["byteorder"]) if "byteorder" in records else b"little"
    except (zipfile.BadZipFile, *_DAMAGE):
        raise UnpickleError("is truncated or damaged: its zip archive has no readable directory") from None
    if "constants.pkl" in records:
        raise UnpickleError("is a TorchScript program, not weights")
    if "data.pkl" not in records:
        raise UnpickleError("is a zip archive, but not one that torch.save wrote")
    if any(info.compress_type != zipfile.ZIP_STORED for info in records.values()):
        raise UnpickleError("was compressed after torch.save wrote it: unpack it and zip it without compression")
    if byteorder != b"little":
        raise UnpickleError("was written on a big-endian machine, which is not supported")
    file.seek(0)
    return _state_dict(_load(file, "meta", nullcontext()))


def read_legacy_header(file: BinaryIO) -> dict[str, object]:
    """The state dict of a file in the format before torch 1.6. The tensors have memory, but nothing is read into it.

    Raises UnpickleError.
    """
    entries = _state_dict(_load(file, "cpu", torch.serialization.skip_data()))
    storages = [value.untyped_storage() for value in entries.values() if is_plain(value)]
    needed = file.tell() + sum({s._cdata: 8 + s.nbytes() for s in storages}.values())  # each behind its own length
    if needed > file.seek(0, os.SEEK_END):
        raise UnpickleError(f"is truncated: its tensors need at least {needed} bytes")
    return entries


def read_legacy(file: BinaryIO) -> dict[str, object]:
    """The state dict of a file in the format before torch 1.6, read whole into memory: its pickle tells no places.

    Raises UnpickleError.
    """
    return _state_dict(_load(file, "cpu", nullcontext()))


def read_pickle(file: BinaryIO) -> object:
    """Whatever a small file of tensors that torch.save wrote holds, read whole into memory. Raises UnpickleError."""
    content = file.read()
    if content.startswith(LEGACY_MAGIC):
        try:
            content = without_module_marks(content)
        except _DAMAGE:
            raise UnpickleError("is truncated or damaged: its pickle cannot be read") from None
    return _load(io.BytesIO(content), "cpu", nullcontext())


def is_plain(value: object) -> TypeGuard[Tensor]:
    """Whether a state dict's entry is a dense, unquantized tensor."""
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized


def _load(file: BinaryIO, device: str, mode: AbstractContextManager[None]) -> object:
    try:
        with _ALLOW_LIST_LOCK, torch.serialization.safe_globals(list(_ALLOWED)), mode:
            return torch.load(file, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        if found := re.search(r"GLOBAL ([\w.]*\w)\s", str(error)):
            name = found[1]
            raise UnpickleError(
                f"is refused: its pickle asks for {name}, which is code, not weights; none was run"
            ) from None
        raise UnpickleError(
            "is refused: its pickle is damaged, or does what weights never need; no code was run"
        ) from error
    except _DAMAGE as error:
        raise UnpickleError("is truncated or damaged: its pickle cannot be read") from error


def _state_dict(content: object) -> dict[str, object]:
    """The entries of the dict that the file holds, or of that in it which has the weights: see WRAPPERS.

    Reads by dict's own methods: a pickle may have put attributes of any name on an OrderedDict.
    """
    if not isinstance(content, dict):
        raise UnpickleError(f"holds no weights: its pickle is not a dictionary but {type(content).__name__}")
    inner = [found for name in WRAPPERS if isinstance(found := dict.get(content, name), dict)]
    entries = inner[0] if inner else content
    if all(isinstance(dict.get(content, name), dict) for name in NESTED):
        entries = {f"{name}.{key}": value for name in NESTED for key, value in dict.items(content[name])}
    return {key: value for key, value in dict.items(entries) if isinstance(key, str)}
