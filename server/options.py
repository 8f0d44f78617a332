"""The command line: the commands and their options. Imports nothing that takes time."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from server.serve_options import IGNORED, add_serve_options

SOURCE = Path(__file__).resolve().parent.parent
COMMANDS = (
    "serve",
    "run",
    "submit",
    "evaluate",
    "convert",
    "check",
    "nodes",
    "packs",
    "new-node",
    "mcp",
    "work",
    "workers",
)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    places, machine = _places(), _machine()
    root = argparse.ArgumentParser(
        prog="main.py",
        description="Darkroom runs graphs of typed nodes that turn text into pictures. Without a command it serves.",
    )
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_server_commands(commands, [places, machine])
    workers = commands.add_parser(
        "workers",
        help="list the workers of a server that runs: what each holds and runs",
        description="Print a line for each worker of a server: its state, the job that it runs, the models in its memory.",
    )
    workers.add_argument("--server", default="http://127.0.0.1:8188", metavar="URL", help="default: %(default)s")
    _add_run_options(
        commands.add_parser(
            "run",
            parents=[places, machine],
            help="run a workflow file without a server",
            description="Run a workflow and print the files it wrote: JSON of either format, or a picture that carries it.",
        )
    )
    _add_submit_options(
        commands.add_parser(
            "submit",
            help="send a workflow file to a server that runs",
            description="Queue a workflow, JSON of either format or a picture that carries it; prints its id, or with --wait where its files are.",
        )
    )
    _add_evaluate_options(
        commands.add_parser(
            "evaluate",
            parents=[places, machine],
            help="draw prompts with several checkpoints and guidance scales, and report how good the pictures are",
            description="Draw every prompt with every checkpoint at every guidance scale, judge the pictures, and write "
            "a report page with curves, a contact sheet and the figures as JSON. Called again, it goes on where it "
            "was stopped.",
        )
    )
    _add_file_commands(commands, places)
    mcp = commands.add_parser(
        "mcp",
        help="let programs that draw for you work here, by the Model Context Protocol",
        description="Speak the Model Context Protocol over standard input and output, for a server that runs. The server "
        "itself speaks it at /mcp. Needs the package mcp: pip install -r requirements-mcp.txt",
    )
    mcp.add_argument("--server", default="http://127.0.0.1:8188", metavar="URL", help="default: %(default)s")
    nodes = commands.add_parser(
        "nodes", parents=[places], help="list the node types", description="List the node types."
    )
    form = nodes.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print what GET /object_info answers")
    form.add_argument("--page", action="store_true", help="print a page of all nodes in Markdown")
    _add_pack_commands(commands, places)
    return root


def _add_server_commands(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], parents: list[argparse.ArgumentParser]
) -> None:
    add_serve_options(
        commands.add_parser(
            "serve",
            parents=parents,
            help="start the server (also without a command: main.py --port 8190)",
            description="Start the server that ComfyUI's clients, scripts and editor speak to.",
            allow_abbrev=False,
        )
    )
    add_serve_options(
        commands.add_parser(  # not in the list of commands: the server begins it
            "work",
            parents=parents,
            description="Be one of the processes that `serve --workers` has: jobs come through standard input.",
            allow_abbrev=False,
        )
    )


def _add_file_commands(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], places: argparse.ArgumentParser
) -> None:
    convert = commands.add_parser(
        "convert",
        parents=[places],
        help="print a workflow file in the API format, or as the editor saves it",
        description="Print a workflow, JSON of either format or a picture that carries it, in the other format.",
    )
    convert.add_argument("workflow", metavar="WORKFLOW", help="the file; - reads standard input")
    convert.add_argument("--to", choices=("api", "editor"), default="api", help="default: api")
    check = commands.add_parser(
        "check",
        parents=[places],
        help="say what a workflow file needs that is not here",
        description="Print node types that are unknown, with the pack that has them, and models that are missing, with "
        "their address, each once, and what else is wrong. Asks nobody but the file.",
    )
    check.add_argument("workflow", metavar="WORKFLOW", help="the file; - reads standard input")
    check.add_argument("--json", action="store_true", help="print one JSON object instead of lines")


def understand(arguments: Sequence[str]) -> argparse.Namespace:
    """The options, those of `serve` if no command is named. Flags without meaning get one line, unknown ones end the program."""
    root = parser()
    first = arguments[0] if arguments else ""
    if first not in (*COMMANDS, "-h", "--help") and (not first or first.startswith("-")):
        arguments = ["serve", *arguments]
    options, unknown = root.parse_known_args(arguments)
    if options.command not in ("serve", "work") and unknown:
        root.error(f"unrecognized arguments: {' '.join(unknown)}")
    if options.command == "serve" and options.tls_keyfile and not options.tls_certfile:
        root.error("--tls-keyfile needs --tls-certfile")
    if getattr(options, "safety_checker", None) and not options.require_safety:
        root.error("--safety-checker needs --require-safety")
    if options.command == "serve" and options.workers and options.device:
        root.error("--workers names the devices; --device is for a server without workers")
    if options.command == "serve" and options.ray and (options.workers or options.device):
        root.error("--ray decides which devices there are; --workers and --device are for a server without it")
    ignored = []
    for flag in _flags(unknown):
        if flag not in IGNORED:
            near = get_close_matches(flag, [*IGNORED, *_known(root, "serve")], n=1)
            root.error(f"there is no flag {flag}" + (f"; did you mean {near[0]}?" if near else ""))
        ignored.append(flag)
    if ignored and options.command != "work":
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


def _places() -> argparse.ArgumentParser:
    """Where files lie."""
    places = argparse.ArgumentParser(add_help=False)
    places.add_argument(
        "--base-directory",
        type=Path,
        default=SOURCE / "workspace",
        metavar="DIR",
        help="where models, inputs and outputs lie; may be an existing ComfyUI tree (default: workspace)",
    )
    places.add_argument(
        "--models-directory", type=Path, metavar="DIR", help="where models lie (default: models in the base directory)"
    )
    places.add_argument(
        "--output-directory", type=Path, metavar="DIR", help="where pictures go (default: output in the base directory)"
    )
    places.add_argument(
        "--extra-model-paths-config",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a YAML file that names more model folders",
    )
    packs = places.add_argument_group("packs of nodes")
    packs.add_argument("--trust-packs", action="store_true", help="load all packs without being asked about them")
    packs.add_argument("--disable-all-custom-nodes", action="store_true", help="load no packs")
    packs.add_argument(
        "--whitelist-custom-nodes",
        nargs="+",
        default=[],
        metavar="NAME",
        help="load these packs alone, also with --disable-all-custom-nodes",
    )
    return places


def _add_pack_commands(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], places: argparse.ArgumentParser
) -> None:
    packs = commands.add_parser(
        "packs",
        parents=[places],
        help="list, check, allow, disable, isolate, lock or verify packs of nodes",
        description="Packs are folders and files below custom_nodes: other people's code. list: what is there; check: "
        "load them and say what is wrong or missing; allow and disable NAME; isolate NAME: run it in a process of its "
        "own, without the network and most files; inside NAME: no longer; install NAME: give it an environment with what "
        "its requirements.txt asks for; lock: write down what they are now; verify: compare with that.",
    )
    packs.add_argument(
        "what",
        choices=("list", "check", "allow", "disable", "isolate", "inside", "install", "lock", "verify"),
        help="what to do",
    )
    packs.add_argument("name", nargs="?", default="", metavar="NAME", help="of the pack, for what is done with one")
    new = commands.add_parser(
        "new-node",
        parents=[places],
        help="write a first pack: one node and its test",
        description="Write a pack of one node, and a test of it, below custom_nodes in the base directory.",
    )
    new.add_argument("name", metavar="NAME", help="of the pack's folder, such as less-colour")


def _machine() -> argparse.ArgumentParser:
    """What commands that compute work with."""
    machine = argparse.ArgumentParser(add_help=False)
    device = machine.add_mutually_exclusive_group()
    device.add_argument(
        "--device", metavar="NAME", help="cpu, cuda, cuda:1, mps, xpu … (default: the accelerator that torch finds)"
    )
    device.add_argument("--cpu", dest="device", action="store_const", const="cpu", help="the same as --device cpu")
    _add_precision(machine.add_argument_group("precision"))
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
        "--no-provenance",
        action="store_true",
        help="do not write into generated pictures that a model made them (IPTC's digital source type, in XMP)",
    )
    machine.add_argument(
        "--disable-metadata", action="store_true", help="do not write into files which workflow made them"
    )
    machine.add_argument(
        "--node-timeout",
        type=_seconds,
        metavar="SECONDS",
        help="fail the run of a node that takes longer; one that does not even stop then stops the server, which keeps "
        "its queue (default: no limit)",
    )
    machine.add_argument(
        "--require-safety",
        action="store_true",
        help="refuse workflows that show or save a picture which does not come straight from a SafetyCheck, and hide "
        "what the checker flags where pictures come into being",
    )
    machine.add_argument(
        "--safety-checker",
        type=Path,
        metavar="FILE",
        help="the checker that --require-safety asks, and no other: a file, or a name in models/safety_checker "
        "(default: the only one there, else the small one in the box, which knows a stand-in)",
    )
    return machine


def _add_precision(group: argparse._ArgumentGroup) -> None:
    """ComfyUI's flags, and one that chooses by the processor."""
    whole = group.add_mutually_exclusive_group()
    whole.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16", "fp16", "int8"),
        help="of the weights and what is computed with them. auto: bf16 on processors that compute in it, which is two to "
        "four times as fast and changes pictures a little; fp16 on the CPU: weights are kept so, and computed in 32 bits; "
        "int8: the U-Net's weights are kept in 8 bits, for the least memory "
        "(default: fp32 on the CPU, fp16 on accelerators)",
    )
    for flag, name in (("--force-fp32", "fp32"), ("--force-fp16", "fp16"), ("--int8", "int8")):
        whole.add_argument(
            flag,
            dest="precision",
            action="store_const",
            const=name,
            help=f"the same as --precision {name}",
        )
    for flag, part in (("unet", "the U-Net"), ("vae", "the VAE"), ("text-enc", "the text encoders")):
        one = group.add_mutually_exclusive_group()
        for name in ("fp32", "bf16", "fp16"):
            one.add_argument(
                f"--{name}-{flag}",
                dest=f"{flag.replace('-', '_')}_precision",
                action="store_const",
                const=name,
                help=f"the same for {part} alone",
            )


def _add_run_options(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "workflow",
        metavar="WORKFLOW",
        help="JSON of either format, or a picture or latent that carries it; - reads standard input",
    )
    run.add_argument(
        "--set",
        dest="changes",
        action="append",
        default=[],
        metavar="NODE.INPUT=VALUE",
        help="give an input another value",
    )
    run.add_argument("--seed", metavar="N", help="give every seed and noise_seed this value")
    _add_queue_time_options(run, after="the run")
    _add_sweep_option(run)
    run.add_argument(
        "--explain", action="store_true", help="say of each node whether it ran, why, how long and with how much memory"
    )
    run.add_argument("--json", action="store_true", help="print one JSON object instead of lines")


def _add_queue_time_options(command: argparse.ArgumentParser, after: str) -> None:
    command.add_argument(
        "--seed-after",
        action="store_true",
        help=f"after {after} write the next seeds into the file, as its control words say; files of the editor only",
    )
    command.add_argument(
        "--resolve",
        action="store_true",
        help="as editors do when they queue: choose one of each {a|b} in prompts, and fill %%date:yyyy-MM-dd%% and "
        "%%Node.field%% into file names",
    )


def _add_sweep_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--sweep",
        dest="sweeps",
        action="append",
        default=[],
        metavar="NODE.INPUT=VALUES",
        help="give an input several values and run every combination in one graph: 3.cfg=2,4,6; ranges 3.cfg=2..8:0.5 "
        'and 3.seed=1..8; all that fits 4.ckpt_name=*; texts with commas as JSON 6.text=["a cat, red", "a dog"]. '
        "What is on one axis is taken in step: 5.width@size=256,512",
    )


def _add_submit_options(submit: argparse.ArgumentParser) -> None:
    submit.add_argument(
        "workflow",
        metavar="WORKFLOW",
        help="JSON of either format, or a picture or latent that carries it; - reads standard input",
    )
    _add_sweep_option(submit)
    submit.add_argument("--server", default="http://127.0.0.1:8188", metavar="URL", help="default: %(default)s")
    _add_queue_time_options(submit, after="it was accepted")
    submit.add_argument("--wait", action="store_true", help="wait until it has run")


def _add_evaluate_options(evaluate: argparse.ArgumentParser) -> None:
    evaluate.add_argument("prompts", type=Path, metavar="PROMPTS.txt", help="a prompt a line; # begins a remark")
    evaluate.add_argument(
        "--name", default="report", help="of the report: a folder evaluate/NAME of the output directory"
    )
    drawing = evaluate.add_argument_group("drawing")
    drawing.add_argument(
        "--workflow",
        metavar="WORKFLOW",
        help="draw with this workflow, a file of any kind, instead of the plain one: its prompt, seed, cfg and checkpoint "
        "are replaced, and size, steps, sampler, scheduler and negative prompt are its own",
    )
    drawing.add_argument("--checkpoints", nargs="+", required=True, metavar="FILE", help="of models/checkpoints")
    drawing.add_argument(
        "--cfg", nargs="+", type=float, default=[1.0, 2.0, 4.0, 8.0], metavar="N", help="default: 1 2 4 8"
    )
    drawing.add_argument("--size", type=_pixels, default=(512, 512), metavar="WxH", help="default: 512x512")
    drawing.add_argument("--steps", type=int, default=20, metavar="N", help="default: 20")
    drawing.add_argument("--sampler", default="dpmpp_2m", metavar="NAME", help="default: dpmpp_2m")
    drawing.add_argument("--scheduler", default="karras", metavar="NAME", help="default: karras")
    drawing.add_argument("--negative", default="", metavar="TEXT", help="the negative prompt")
    drawing.add_argument("--seed", type=int, default=0, metavar="N", help="of the first prompt; the next has N + 1, …")
    judging = evaluate.add_argument_group("judging")
    judging.add_argument("--clip-model", metavar="FILE", help="of models/clip_vision: gives CLIP scores and CLIP-FID")
    judging.add_argument(
        "--clip-activation", choices=("quick_gelu", "gelu"), default="quick_gelu", help="gelu for LAION's CLIPs"
    )
    judging.add_argument("--inception", metavar="FILE", help="of models/inception: gives FID")
    judging.add_argument(
        "--reference", metavar="FOLDER", help="of the input directory: pictures that FIDs compare with"
    )


def _pixels(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})[x×](\d{1,5})", text.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected one such as 512x512")
    return int(found[1]), int(found[2])


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; expected seconds such as 600")
    return seconds


def _size(text: str) -> int:
    """Bytes, from `6G`, `1.5G`, `512M`, `800K` or a plain number; `GiB` and `GB` mean the same as `G`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    size = int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " ")) if found else 0
    if size <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected one such as 6G or 512M")
    return size
