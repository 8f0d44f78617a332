"""The flags of `serve`: ComfyUI's names where they mean the same. Imports nothing that takes time."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

EDITOR = Path(__file__).resolve().parent.parent / "web" / "dist"
"""Our own editor as it is built."""

MOST_WORKERS = 64

_IGNORED_SWITCHES = """
    auto-launch disable-auto-launch cuda-malloc disable-cuda-malloc fp64-unet
    fp8_e4m3fn-unet fp8_e5m2-unet fp8_e8m0fnu-unet cpu-vae fp8_e4m3fn-text-enc
    fp8_e5m2-text-enc force-channels-last disable-ipex-optimize
    supports-fp8-compute cache-classic use-split-cross-attention use-quad-cross-attention
    use-pytorch-cross-attention use-sage-attention use-flash-attention disable-xformers force-upcast-attention
    dont-upcast-attention gpu-only highvram normalvram lowvram novram async-offload disable-async-offload
    force-non-blocking disable-smart-memory deterministic mmap-torch-files disable-mmap dont-print-server
    windows-standalone-build disable-api-nodes multi-user log-stdout enable-compress-response-body
    disable-assets-autoscan enable-manager disable-manager-ui enable-manager-legacy-ui disable-pinned-memory
    quick-test-for-ci high-ram enable-asset-hashing
"""
_IGNORED_WITH_VALUE = """
    cuda-device default-device oneapi-device-selector reserve-vram default-hashing-function front-end-version
    user-directory comfy-api-base database-url preview-size feature-flag
"""
_IGNORED_WITH_VALUES = "directml fast"

IGNORED: Mapping[str, str] = MappingProxyType(
    {f"--{name}": "" for name in _IGNORED_SWITCHES.split()}
    | {f"--{name}": "1" for name in _IGNORED_WITH_VALUE.split()}
    | {f"--{name}": "*" for name in _IGNORED_WITH_VALUES.split()}
)
"""Flags of ComfyUI that have no meaning here, and how many values follow: none, one, or any number."""


def add_serve_options(serve: argparse.ArgumentParser) -> None:
    """Declare what `serve` takes besides folders and device."""
    _add_network(serve.add_argument_group("network"))
    _add_queue(serve.add_argument_group("queue and history"))
    serve.add_argument(
        "--workers",
        type=_workers,
        default=(),
        metavar="DEVICES",
        help="run jobs in processes of their own, one for each device: cuda:0,cuda:1 for two of them, cpu:2 for two on the "
        "CPU (default: one device, in the server's own process)",
    )
    _add_ray(serve.add_argument_group("workers on a Ray cluster (pip install -r requirements-ray.txt)"))
    more = serve.add_argument_group("more")
    more.add_argument("--input-directory", type=Path, metavar="DIR", help="where uploads go")
    more.add_argument("--temp-directory", type=Path, metavar="DIR", help="where previews go")
    more.add_argument(
        "--front-end-root",
        type=_editor,
        default=EDITOR if (EDITOR / "index.html").is_file() else None,
        metavar="DIR",
        help="serve another editor's files",
    )
    more.add_argument(
        "--preview-method",
        choices=("auto", "latent2rgb", "taesd", "none", "default"),
        default="default",
        help="none: no pictures while a job runs; default: for clients that ask for them; the others: for all; taesd: at full "
        "size, by models/vae_approx/taesd_decoder (SDXL: taesdxl_decoder)",
    )
    more.add_argument(
        "--idle-unload",
        type=_amount,
        metavar="MINUTES",
        help="give the memory of models back when no job has run for so long; results stay (default: keep them)",
    )
    cache = more.add_mutually_exclusive_group()
    cache.add_argument("--cache-lru", type=_count, default=0, metavar="N", help="keep at most N results (0: by memory)")
    cache.add_argument(
        "--cache-ram",
        type=_amount,
        nargs="?",
        const=4.0,
        metavar="GB",
        help="leave so much of the machine's memory free (alone: 4); the rest is for weights and results",
    )
    cache.add_argument("--cache-none", action="store_true", help="keep no results")
    more.add_argument(
        "--verbose",
        nargs="?",
        const="DEBUG",
        default="INFO",
        type=str.upper,
        choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
        help="how much the log tells",
    )
    more.add_argument("--log-json", action="store_true", help="write the log as one JSON object a line")
    more.add_argument("--log-file", type=Path, metavar="FILE", help="write the log to a file as well")


def _add_network(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--listen",
        nargs="?",
        const="0.0.0.0,::",
        default="127.0.0.1",
        metavar="IP",
        help="addresses to listen on, with commas; alone: all (default: 127.0.0.1)",
    )
    group.add_argument("--port", type=_port, default=8188, help="default: 8188; 0 takes a free one")
    group.add_argument("--tls-keyfile", type=Path, metavar="FILE", help="serve https with this key")
    group.add_argument("--tls-certfile", type=Path, metavar="FILE", help="and this certificate")
    group.add_argument(
        "--enable-cors-header",
        nargs="?",
        const="*",
        metavar="ORIGIN",
        help="let pages of another origin use the server; alone: of all",
    )
    group.add_argument("--allowed-host", action="append", default=[], metavar="NAME", help="a name of this server")
    group.add_argument(
        "--token-file", type=Path, metavar="FILE", help="the token that clients need; else DARKROOM_TOKEN, else made"
    )
    group.add_argument(
        "--max-upload-size", type=_amount, default=100.0, metavar="MB", help="of a picture (default: 100)"
    )


def _add_queue(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--database", type=Path, metavar="FILE", help="default: darkroom.db in the base directory")
    group.add_argument(
        "--set-database-aside",
        action="store_true",
        help="if the database is damaged, keep it under another name and begin a new one",
    )
    group.add_argument(
        "--job-tries",
        type=_count_from_one,
        default=2,
        metavar="N",
        help="a job has failed when the server stopped N times in the same node of it (default: 2)",
    )
    group.add_argument("--queue-limit", type=_count, default=10_000, metavar="N", help="jobs that may wait")
    group.add_argument("--history-limit", type=_count, default=10_000, metavar="N", help="ended jobs kept; 0: all")
    group.add_argument("--history-days", type=_amount, default=0.0, metavar="D", help="days they are kept; 0: for ever")
    group.add_argument(
        "--webhook-host", action="append", default=[], metavar="HOST[:PORT]", help="where jobs may report that they end"
    )


def _add_ray(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="run jobs on the Ray cluster at HOST:PORT, with a worker for each of its GPUs; auto: the cluster of this machine, "
        "which is begun, for this machine alone, if there is none",
    )
    group.add_argument(
        "--ray-workers",
        type=_count_from_one,
        metavar="N",
        help="how many there are (default: as many as the GPUs allow; without any, one for each machine, on its CPU)",
    )
    group.add_argument(
        "--ray-gpus",
        type=_amount,
        metavar="SHARE",
        help="GPUs of each worker: 0.5 puts two on one, 0 means the CPU (default: 1, if there are any)",
    )
    group.add_argument(
        "--ray-resource",
        type=_resource,
        action="append",
        default=[],
        metavar="NAME=AMOUNT",
        help="have workers run where Ray has this resource of your own; may be repeated",
    )


def _resource(text: str) -> tuple[str, float]:
    name, _, amount = text.partition("=")
    if not name or not amount:
        raise argparse.ArgumentTypeError(f"{text!r} is no resource; expected such as studio=1")
    return name, _amount(amount)


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number < 65536:
        raise argparse.ArgumentTypeError(f"{number} is no port")
    return number


def _workers(text: str) -> tuple[str, ...]:
    """Devices, one a worker; `cpu:2` are two workers on the CPU, since there is only one."""
    devices: list[str] = []
    for part in text.split(","):
        kind, _, number = part.strip().partition(":")
        if not kind.isalpha() or (number and not number.isdecimal()) or part.strip() == "cpu:0":
            raise argparse.ArgumentTypeError(f"{part!r} is no device; expected such as cuda:0,cuda:1 or cpu:2")
        devices += ["cpu"] * int(number or 1) if kind == "cpu" else [part.strip()]
    if len(devices) > MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"{len(devices)} workers are too many; expected at most {MOST_WORKERS}")
    return tuple(devices)


def _editor(text: str) -> Path:
    if not (path := Path(text)).joinpath("index.html").is_file():
        raise argparse.ArgumentTypeError(f"{text} holds no index.html")
    return path


def _amount(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError("expected 0 or more")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("expected 0 or more")
    return number


def _count_from_one(text: str) -> int:
    if (number := _count(text)) == 0:
        raise argparse.ArgumentTypeError("expected 1 or more")
    return number
