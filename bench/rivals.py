"""One program's U-Net and decoder in a process of its own: `python -m bench.rivals NAME FORMAT CHECKPOINT SIZE`.

It says `ready` when it holds them and has called each once, then answers each line `step FILE` or `decode FILE` with the seconds of one call, whose
result it leaves in FILE (.npy), and an empty line with its peak memory in bytes. `bench.peers` asks.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bench import networks, peer
from bench.memory import peak_bytes
from models.checkpoint import Part, load_part, read_header
from models.machine import freed_memory_kept
from models.packed import can_pack
from models.precision import computed
from models.reading import Reading
from tests.random_checkpoint import CACHE

Array = NDArray[Any]
FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "int8": torch.int8}
"""Ours in fp16 and int8: the U-Net's weights are kept so."""
CPU = torch.device("cpu")
PARTS: tuple[Part, ...] = ("model", "vae")


class Networks(NamedTuple):
    """What a program computes a step with (latents [2, 4, h, w], times [2], text [2, 77, 768]), and a picture of a latent.
    `loop` is held for the length of a row of steps.
    """

    step: Callable[[Array, Array, Array], Array]
    decode: Callable[[Array], Array]
    loop: Callable[[], AbstractContextManager[None]] = nullcontext


class Task(NamedTuple):
    """Which weights, computed with in which format, for pictures of size x size."""

    checkpoint: Path
    dtype: torch.dtype
    size: int


def inputs(size: int) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """What every program computes from: a step's inputs, and a latent to decode."""
    torch.manual_seed(0)
    return networks.step_inputs(size), torch.randn(1, 4, size // 8, size // 8)


def ours(task: Task) -> Networks:
    """As the engine loads them."""
    dtype = computed(task.dtype, CPU)
    kept = task.dtype if task.dtype != dtype else None
    unet, vae = (
        load_part(
            read_header(task.checkpoint),
            part,
            dtype=dtype,
            device=CPU,
            packed=can_pack(dtype),
            kept=kept if part == "model" else None,
        )
        for part in PARTS
    )

    def step(x: Array, t: Array, context: Array) -> Array:
        return _array(unet(_tensor(x, dtype), _tensor(t), Reading(_tensor(context, dtype))))

    decode: Callable[[torch.Tensor], torch.Tensor] = vae.decode  # type: ignore[assignment]
    return Networks(step, lambda z: _array(decode(_tensor(z, dtype))), partial(freed_memory_kept, CPU))


def diffusers(task: Task) -> Networks:
    """As its pipelines load them."""
    unet, vae = _theirs(task)
    return _called(unet, vae.decode, task.dtype)


def compiled(task: Task) -> Networks:
    """diffusers', through torch.compile."""
    unet, vae = _theirs(task)
    return _called(torch.compile(unet), torch.compile(vae.decode), task.dtype)


def openvino(task: Task) -> Networks:
    """Intel's, from diffusers' networks in its own files, which are made once. In int8 the U-Net's weights are kept so."""
    import openvino

    core = openvino.Core()
    hints = {"INFERENCE_PRECISION_HINT": "bf16" if computed(task.dtype, CPU) == torch.bfloat16 else "f32"}

    def load(name: str, dtype: torch.dtype = torch.float32) -> Any:
        path = _made(_to_openvino, task, name, "network.xml")
        if dtype == torch.int8:
            path = _made(_to_openvino_int8, task, name, "int8.xml")
        return core.compile_model(path, "CPU", hints)

    unet, decoder = load("unet", task.dtype), load("decoder")
    return Networks(lambda x, t, context: unet((x, t, context))[0], lambda z: decoder((z,))[0])


def _to_openvino(task: Task, name: str, path: Path) -> None:
    import openvino

    network, example = _traceable(task, name)
    openvino.save_model(openvino.convert_model(network, example_input=example), path, compress_to_fp16=True)


def _to_openvino_int8(task: Task, name: str, path: Path) -> None:
    import nncf
    import openvino

    openvino.save_model(nncf.compress_weights(openvino.Core().read_model(path.with_name("network.xml"))), path)


def onnxruntime(task: Task) -> Networks:
    """Microsoft's, from diffusers' networks in ONNX files, which are made once."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()

    def load(name: str) -> Callable[..., Array]:
        path = _made(_to_onnx, task, name, "network.onnx")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        names = [given.name for given in session.get_inputs()]
        return lambda *arrays: session.run(None, dict(zip(names, arrays, strict=True)))[0]

    return Networks(load("unet"), load("decoder"))


def _to_onnx(task: Task, name: str, path: Path) -> None:
    network, example = _traceable(task, name)
    torch.onnx.export(network, example, path, dynamo=True, external_data=True)


def _made(make: Callable[[Task, str, Path], None], task: Task, name: str, file: str) -> Path:
    """The file, made in a process of its own where it is not there: what that needs is not the program's peak."""
    path = _folder(task, name) / file
    if not path.exists():
        with get_context("spawn").Pool(1) as pool:
            pool.apply(make, (task, name, path))
    return path


class _Traced(torch.nn.Module):
    """A network of diffusers' that gives a tensor."""

    def __init__(self, call: Callable[..., Any], network: torch.nn.Module) -> None:
        super().__init__()
        self.network, self._call = network, call

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self._call(*tensors, return_dict=False)[0]
        return result


def _theirs(task: Task) -> tuple[Any, Any]:
    folder = peer.diffusers_folder(task.checkpoint)
    return peer.load_unet(folder).to(task.dtype), peer.load_vae(folder).to(task.dtype)


def _called(unet: Any, decode: Any, dtype: torch.dtype) -> Networks:
    def step(x: Array, t: Array, context: Array) -> Array:
        return _array(unet(_tensor(x, dtype), _tensor(t), _tensor(context, dtype), return_dict=False)[0])

    return Networks(step, lambda z: _array(decode(_tensor(z, dtype), return_dict=False)[0]))


def _folder(task: Task, name: str) -> Path:
    folder = CACHE / f"{task.checkpoint.stem}-{name}-{task.size}"
    folder.mkdir(exist_ok=True)
    return folder


def _traceable(task: Task, name: str) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    unet, vae = _theirs(task._replace(dtype=torch.float32))
    given, latent = inputs(task.size)
    return (_Traced(unet, unet), given) if name == "unet" else (_Traced(vae.decode, vae), (latent,))


def _tensor(array: Array, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.from_numpy(array).to(dtype)


def _array(tensor: torch.Tensor) -> Array:
    return tensor.float().numpy()


def _serve(networks: Networks, size: int) -> None:
    tensors, tensor = inputs(size)
    given, latent = [each.numpy() for each in tensors], tensor.numpy()
    networks.step(*given)  # the first calls are not counted: some compile then, and some pack
    networks.decode(latent)
    print("ready", flush=True)
    for line in sys.stdin:
        what, _, file = line.strip().partition(" ")
        if not what:
            print(peak_bytes(), flush=True)
            continue
        seconds, result = _in_a_row(networks, given) if what == "step" else _timed(lambda: networks.decode(latent))
        print(seconds, flush=True)
        np.save(file, result)


def _in_a_row(networks: Networks, given: Sequence[Array]) -> tuple[float, Array]:
    """A step after another, as a sampler takes them."""
    with networks.loop():
        networks.step(*given)
        return _timed(lambda: networks.step(*given))


def _timed(call: Callable[[], Array]) -> tuple[float, Array]:
    """Seconds, and what the call gives."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    name, form, file, size = sys.argv[1:]
    programs = {
        "darkroom": ours, "diffusers": diffusers, "compiled": compiled, "openvino": openvino, "onnxruntime": onnxruntime,
    }  # fmt: skip
    with torch.no_grad():
        _serve(programs[name](Task(Path(file), FORMATS[form], int(size))), int(size))
