"""The flags of `serve`: ComfyUI's names where they mean the same. Imports nothing that takes time."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType

EDITOR = Path(__file__).resolve().parent.parent / "web" / "dist"
"""Our own editor as it is built."""

_IGNORED_SWITCHES = """
    auto-launch disable-auto-launch cuda-malloc disable-cuda-malloc force-fp16 fp32-unet fp64-unet bf16-unet
    fp8_e4m3fn-unet fp8_e5m2-unet fp8_e8m0fnu-unet fp16-vae fp32-vae bf16-vae cpu-vae fp8_e4m3fn-text-enc
    fp8_e5m2-text-enc fp16-text-enc fp32-text-enc bf16-text-enc force-channels-last disable-ipex-optimize
    supports-fp8-compute cache-classic use-split-cross-attention use-quad-cross-attention
    use-pytorch-cross-attention use-sage-attention use-flash-attention disable-xformers force-upcast-attention
    dont-upcast-attention gpu-only highvram normalvram lowvram novram async-offload disable-async-offload
    force-non-blocking disable-smart-memory deterministic mmap-torch-files disable-mmap dont-print-server
    windows-standalone-build disable-api-nodes multi-user log-stdout enable-compress-response-body
    disable-assets-autoscan enable-manager disable-manager-ui enable-manager-legacy-ui disable-pinned-memory
    quick-test-for-ci disable-metadata
"""
_IGNORED_WITH_VALUE = """
    cuda-device default-device oneapi-device-selector reserve-vram default-hashing-function front-end-version
    user-directory comfy-api-base database-url preview-size
"""
_IGNORED_WITH_VALUES = "directml fast whitelist-custom-nodes cache-ram"

IGNORED: Mapping[str, str] = MappingProxyType(
    {f"--{name}": "" for name in _IGNORED_SWITCHES.split()}
    | {f"--{name}": "1" for name in _IGNORED_WITH_VALUE.split()}
    | {f"--{name}": "*" for name in _IGNORED_WITH_VALUES.split()}
)
"""Flags of ComfyUI that have no meaning here, and how many values follow: none, one, or any number."""


def add_machine_options(machine: argparse.ArgumentParser) -> None:
    """Declare what `serve` and `run` compute with."""
    device = machine.add_mutually_exclusive_group()
    device.add_argument(
        "--device", metavar="NAME", help="cpu, cuda, cuda:1, mps, xpu … (default: the accelerator that torch finds)"
    )
    device.add_argument("--cpu", dest="device", action="store_const", const="cpu", help="the same as --device cpu")
    machine.add_argument("--force-fp32", action="store_true", help="keep all weights in 32 bits")
    machine.add_argument(
        "--vram-budget",
        type=_size,
        default=0,
        metavar="SIZE",
        help="bytes of the accelerator's memory for networks at work, such as 6G or 512M (default: what is free)",
    )
    machine.add_argument(
        "--ram-budget",
        type=_size,
        default=0,
        metavar="SIZE",
        help="bytes of the machine's memory for results, and for networks that work on the CPU (default: what is free)",
    )
    machine.add_argument(
        "--require-safety",
        action="store_true",
        help="refuse workflows that show or save a picture which does not come straight from a SafetyCheck",
    )


def add_serve_options(serve: argparse.ArgumentParser) -> None:
    """Declare what `serve` takes besides folders and device."""
    _add_network(serve.add_argument_group("network"))
    _add_queue(serve.add_argument_group("queue and history"))
    more = serve.add_argument_group("more")
    more.add_argument("--input-directory", type=Path, metavar="DIR", help="where uploads go")
    more.add_argument("--temp-directory", type=Path, metavar="DIR", help="where previews go")
    more.add_argument(
        "--front-end-root",
        type=Path,
        default=EDITOR if (EDITOR / "index.html").is_file() else None,
        metavar="DIR",
        help="serve another editor's files",
    )
    more.add_argument(
        "--preview-method",
        choices=("auto", "latent2rgb", "taesd", "none"),
        default="auto",
        help="none: no pictures while a job runs",
    )
    more.add_argument("--fp16-unet", action="store_true", help="keep the U-Net's weights in 16 bits")
    cache = more.add_mutually_exclusive_group()
    cache.add_argument("--cache-lru", type=_count, default=0, metavar="N", help="keep at most N results (0: by memory)")
    cache.add_argument("--cache-none", action="store_true", help="keep no results")
    more.add_argument("--disable-all-custom-nodes", action="store_true", help="load no packs")
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
    group.add_argument("--max-upload-size", type=float, default=100, metavar="MB", help="of a picture (default: 100)")


def _add_queue(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--database", type=Path, metavar="FILE", help="default: darkroom.db in the base directory")
    group.add_argument("--queue-limit", type=_count, default=10_000, metavar="N", help="jobs that may wait")
    group.add_argument("--history-limit", type=_count, default=10_000, metavar="N", help="ended jobs kept; 0: all")
    group.add_argument("--history-days", type=float, default=0, metavar="D", help="days they are kept; 0: for ever")
    group.add_argument(
        "--webhook-host", action="append", default=[], metavar="HOST[:PORT]", help="where jobs may report that they end"
    )


def understand(root: argparse.ArgumentParser, arguments: Sequence[str], commands: Sequence[str]) -> argparse.Namespace:
    """The options, `serve` if no command is named. Flags without meaning get one line, unknown ones end the program."""
    first = arguments[0] if arguments else ""
    if first not in (*commands, "-h", "--help") and (not first or first.startswith("-")):
        arguments = ["serve", *arguments]
    options, unknown = root.parse_known_args(arguments)
    if options.command != "serve" and unknown:
        root.error(f"unrecognized arguments: {' '.join(unknown)}")
    ignored = []
    for flag in _flags(unknown):
        if flag not in IGNORED:
            near = get_close_matches(flag, [*IGNORED, *_known(root, "serve")], n=1)
            root.error(f"there is no flag {flag}" + (f"; did you mean {near[0]}?" if near else ""))
        ignored.append(flag)
    if ignored:
        print(f"ignored, they mean nothing here: {' '.join(ignored)}", file=sys.stderr)
    return options


def _flags(unknown: Sequence[str]) -> Iterator[str]:
    """The flags among what the parser did not take; the values of ignored ones are passed over."""
    rest = list(unknown)
    while rest:
        flag, equals, _ = rest.pop(0).partition("=")
        values = "" if equals else IGNORED.get(flag, "")
        while values and rest and not rest[0].startswith("--"):
            rest.pop(0)
            values = values if values == "*" else ""
        yield flag


def _known(root: argparse.ArgumentParser, command: str) -> list[str]:
    actions = (action for action in root._actions if isinstance(action, argparse._SubParsersAction))
    parsers = (action.choices[command] for action in actions if command in action.choices)
    return [flag for parser in parsers for action in parser._actions for flag in action.option_strings]


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number < 65536:
        raise argparse.ArgumentTypeError(f"{number} is no port")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("expected 0 or more")
    return number


def _size(text: str) -> int:
    """Bytes, from `6G`, `1.5G`, `512M`, `800K` or a plain number; `GiB` and `GB` mean the same as `G`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    size = int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " ")) if found else 0
    if size <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected one such as 6G or 512M")
    return size
