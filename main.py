"""Darkroom: a node-based workflow graph engine for Stable Diffusion. This file parses arguments and connects parts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graph.build import Rule
    from graph.execute import Executor
    from graph.files import Folders
    from graph.spec import Registry
    from nodes.services import Services

SOURCE = Path(__file__).resolve().parent
NEEDED = ("torch", "safetensors", "transformers", "tokenizers", "networkx", "PIL", "numpy", "yaml", "psutil", "tqdm")
HOW_TO_INSTALL = (
    "Type `make run`; or without make: `pip install torch==2.13.0`, then `pip install -r requirements.txt`."
)
CACHE_SHARE = 0.1  # of the memory that is free at the start: what results may take


def parser() -> argparse.ArgumentParser:
    """The command line."""
    places = argparse.ArgumentParser(add_help=False)
    places.add_argument(
        "--base-directory",
        type=Path,
        default=SOURCE / "workspace",
        metavar="DIR",
        help="where models, inputs and outputs lie; may be an existing ComfyUI tree (default: workspace)",
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
    machine = argparse.ArgumentParser(add_help=False)
    device = machine.add_mutually_exclusive_group()
    device.add_argument(
        "--device", metavar="NAME", help="cpu, cuda, cuda:1, mps, xpu … (default: the accelerator that torch finds)"
    )
    device.add_argument("--cpu", dest="device", action="store_const", const="cpu", help="the same as --device cpu")
    machine.add_argument("--force-fp32", action="store_true", help="keep all weights in 32 bits")
    machine.add_argument(
        "--require-safety",
        action="store_true",
        help="refuse workflows that show or save a picture which does not come straight from a SafetyCheck",
    )

    root = argparse.ArgumentParser(
        prog="main.py", description="Darkroom runs graphs of typed nodes that turn text into pictures."
    )
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True)
    run = commands.add_parser(
        "run",
        parents=[places, machine],
        help="run a workflow file without a server",
        description="Run a workflow in API format and print the files it wrote.",
    )
    run.add_argument("workflow", metavar="WORKFLOW.json", help="the workflow; - reads it from standard input")
    run.add_argument(
        "--set",
        dest="changes",
        action="append",
        default=[],
        metavar="NODE.INPUT=VALUE",
        help="give an input another value",
    )
    run.add_argument("--seed", metavar="N", help="give every seed and noise_seed this value")
    run.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    nodes = commands.add_parser(
        "nodes", parents=[places], help="list the node types", description="List the node types."
    )
    nodes.add_argument("--json", action="store_true", help="print what GET /object_info answers")
    return root


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not {"-h", "--help"} & set(arguments) and (missing := [name for name in NEEDED if find_spec(name) is None]):
        print(f"Darkroom needs packages that this Python does not have: {', '.join(missing)}.", file=sys.stderr)
        print(HOW_TO_INSTALL, file=sys.stderr)
        return 1
    options = parser().parse_args(arguments)
    from server import commands

    try:
        folders = open_folders(options)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return commands.REFUSED
    registry = open_registry()
    if options.command == "nodes":
        return commands.nodes(registry, folders, as_json=options.json)
    rules = open_rules(options)
    return commands.run(
        lambda: open_executor(options, registry, folders, rules),
        registry,
        folders,
        rules,
        lambda: commands.read_workflow(options.workflow, options.changes, options.seed, registry),
        as_json=options.json,
    )


def open_folders(options: argparse.Namespace) -> Folders:
    """The user's directories, the embedded model's folder, and what settings files add."""
    import yaml

    from graph.extra_paths import extra_paths
    from graph.files import Folders

    folders = Folders.standard(options.base_directory, source_tree=SOURCE, output_dir=options.output_directory)
    for file in options.extra_model_paths_config:
        try:
            sections = list(extra_paths(yaml.safe_load(file.read_text("utf-8")), file.absolute().parent))
        except (yaml.YAMLError, ValueError) as error:
            raise ValueError(f"{file}: {error}") from error
        for section in sections:
            folders = folders.extended(section.folders, first=section.first)
    return folders.extended({"checkpoints": [SOURCE / "models" / "embedded"]})


def open_registry() -> Registry:
    """The node types."""
    from nodes.registry import builtin

    return builtin()


def open_rules(options: argparse.Namespace) -> Sequence[Rule]:
    """What every graph has to obey, whichever door it comes through."""
    from nodes.safety import require_safety

    return [require_safety] if options.require_safety else []


def open_executor(
    options: argparse.Namespace, registry: Registry, folders: Folders, rules: Sequence[Rule] = ()
) -> Executor[Services]:
    """The engine with everything it works with."""
    import torch

    from graph.cache import Cache
    from graph.execute import Executor
    from models.residency import Residency, choose_device, choose_precision, memory_budget
    from models.types import nbytes
    from nodes.services import Services

    device = choose_device(options.device)
    precision = choose_precision(device, options.force_fp32)
    residency = Residency(device, precision, memory_budget(device))
    cache = Cache(int(memory_budget(torch.device("cpu")) * CACHE_SHARE), nbytes)
    return Executor(
        Services(residency, folders),
        registry,
        folders,
        cache,
        scope=torch.inference_mode,
        salt=f"{torch.__version__} {device} {precision}",
        rules=rules,
    )


if __name__ == "__main__":
    sys.exit(main())
