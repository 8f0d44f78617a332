"""Darkroom: a node-based workflow graph engine for Stable Diffusion. This file parses arguments and connects parts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from server.options import understand

if TYPE_CHECKING:
    from graph.build import Rule
    from graph.cache import Cache
    from graph.execute import Executor
    from graph.files import Folders
    from graph.spec import Registry
    from nodes.packs.loading import Loaded
    from nodes.services import Services
    from server.backend import Backend, Engine
    from server.exchange import Exchange
    from server.foreign import Foreign, PackState, Relay

SOURCE = Path(__file__).resolve().parent
EXAMPLES = SOURCE / "workflows"
LOCALES = SOURCE / "nodes" / "locales"
NEEDED = (
    "torch",
    "safetensors",
    "transformers",
    "tokenizers",
    "networkx",
    "PIL",
    "numpy",
    "yaml",
    "psutil",
    "tqdm",
    "aiohttp",
    "prometheus_client",
    "tomlkit",
    "blake3",
)
HOW_TO_INSTALL = (
    "Type `make run`; or without make: `pip install torch==2.13.0`, then `pip install -r requirements.txt`."
)
RESULTS = 0.1  # share of the memory budget that results may take


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not {"-h", "--help"} & set(arguments) and (missing := [name for name in NEEDED if find_spec(name) is None]):
        print(f"Darkroom needs packages that this Python does not have: {', '.join(missing)}.", file=sys.stderr)
        print(HOW_TO_INSTALL, file=sys.stderr)
        return 1
    options = understand(arguments)
    if options.command == "submit":
        from server.submit import submit

        return submit(
            options.server,
            options.workflow,
            options.wait,
            options.sweeps,
            resolve=options.resolve,
            seed_after=options.seed_after,
        )
    if options.command == "workers":
        from server.list_workers import list_workers

        return list_workers(options.server)
    if options.command == "mcp":
        return mcp(options.server)
    from server import commands

    try:
        folders = open_folders(options)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return commands.REFUSED
    if options.command == "serve":
        return serve(options, folders, arguments)
    if options.command == "work":
        return be_worker(options, folders)
    if options.command == "new-node":
        from nodes.packs.commands import new_node

        return new_node(folders, options.name)
    if options.command == "packs":
        from nodes.packs.commands import asking, packs

        ask = asking(folders, options.trust_packs, has_strangers=False)
        return packs(options.what, options.name, folders, partial(open_registry, options), ask)
    with ExitStack() as opened:
        try:
            types = opened.enter_context(open_node_types(options, folders, has_strangers=False))
        except ValueError as error:
            print(error, file=sys.stderr)
            return commands.REFUSED
        return work(options, folders, types.registry, types.rules)


def mcp(server: str) -> int:
    """Let programs work on a server that runs; returns the exit status."""
    if find_spec("mcp") is None:
        print("the package mcp is missing: pip install -r requirements-mcp.txt", file=sys.stderr)
        return 1
    from server.mcp_server import serve_stdio

    return serve_stdio(server)


def work(options: argparse.Namespace, folders: Folders, registry: Registry, pack_rules: Sequence[Rule]) -> int:
    """Run a command that needs node types; returns the exit status."""
    from server import commands

    if options.command == "nodes":
        return commands.nodes(registry, folders, "json" if options.json else "page" if options.page else "lines")
    if options.command in ("convert", "check"):
        from server import workflow_files

        if options.command == "convert":
            return workflow_files.convert(options.workflow, options.to, registry, folders)
        return workflow_files.check(options.workflow, registry, folders, (), as_json=options.json)
    rules = [*open_rules(options), *pack_rules]

    def executor() -> Executor[Services]:
        from nodes.one_family import OneFamily
        from nodes.origins import Origins

        services, cache = open_services(options, folders, registry), open_cache(options)
        return open_executor(options, registry, folders, rules, services, cache, checks=(OneFamily(Origins()),))

    if options.command == "evaluate":
        from server import evaluate

        return evaluate.run(executor, registry, folders, rules, lambda: evaluate.asked(options, registry, folders))
    status = commands.run(
        executor,
        registry,
        folders,
        rules,
        lambda: commands.read_workflow(
            options.workflow,
            options.changes,
            options.seed,
            options.sweeps,
            registry,
            folders,
            resolve=options.resolve,
        ),
        as_json=options.json,
        explain=options.explain,
    )
    if options.seed_after and status == commands.DONE:
        from graph.node_shapes import shapes_of
        from server.workflow_files import step_seeds

        return step_seeds(options.workflow, shapes_of(registry, folders))
    return status


def be_worker(options: argparse.Namespace, folders: Folders) -> int:
    """Run what a server sends to this process; returns the exit status."""
    from server.logs import LogTail, set_up_logs
    from server.worker_process import own_streams, work

    into, out = own_streams()
    set_up_logs(LogTail(), options.verbose, options.log_json, None, None)
    return work(lambda: open_engine(options, folders), folders, into, out)


@contextmanager
def open_workers(
    options: argparse.Namespace, arguments: Sequence[str], relay: Relay, exchange: Exchange
) -> Iterator[Sequence[Backend]]:
    """A process for each device of `--workers`, or of a Ray cluster's, which understands what this one was told.

    Raises OSError where no cluster answers, or ValueError.
    """
    told = ["work", *(arguments[1:] if arguments[:1] == ["serve"] else arguments)]
    if not options.ray:
        yield local_workers(options.workers, told, relay)
        return
    if find_spec("ray") is None:
        raise ValueError("--ray needs the package ray: pip install -r requirements-ray.txt")
    from server.ray_cluster import Cluster, Wanted

    cluster = Cluster(options.ray, SOURCE, options.ray_workers or 0)
    try:
        wanted = Wanted(options.ray_workers, options.ray_gpus, dict(options.ray_resource))
        yield cluster.workers(wanted, told, SOURCE, relay, exchange)
    finally:
        cluster.close()


def local_workers(devices: Sequence[str], told: Sequence[str], relay: Relay) -> Sequence[Backend]:
    """A process of this machine for each device."""
    from server.kept_results import KeptResults
    from server.links import piped
    from server.process_backend import ProcessBackend, environment

    names = [device if devices.count(device) == 1 else f"{device}-{at}" for at, device in enumerate(devices)]
    begin = [sys.executable, str(SOURCE / "main.py"), *told]
    surroundings, kept = environment(devices.count("cpu")), KeptResults()
    return [
        ProcessBackend(
            name,
            piped([*begin, "--device", device], surroundings if device == "cpu" else None),
            relay=relay,
            kept=kept,
        )
        for name, device in zip(names, devices, strict=True)
    ]


def serve(options: argparse.Namespace, folders: Folders, arguments: Sequence[str]) -> int:
    """Start the server; the engine, and torch with it, comes after the port is open."""
    from server import launch
    from server.backend import LocalBackend
    from server.console import Console
    from server.deps import Deps, Limits
    from server.exchange import Exchange
    from server.foreign import Relay
    from server.logs import LogTail, set_up_logs
    from server.security import Guard, allowed
    from server.serve_options import EDITOR

    logs = LogTail()
    try:
        tls = (options.tls_keyfile, options.tls_certfile) if options.tls_certfile else None
        listen = launch.Listen(tuple(options.listen.split(",")), options.port, tls)
        token = launch.choose_token(listen, options.token_file, folders.base / "token")
        set_up_logs(logs, options.verbose, options.log_json, options.log_file, token)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    relay = Relay()
    backend = LocalBackend(lambda: open_engine(_without_jobs(options), folders, relay), folders)
    with ExitStack() as opened:
        try:
            exchange = Exchange(folders, backend.wait)
            workers = opened.enter_context(open_workers(options, arguments, relay, exchange))
        except (ValueError, OSError) as error:
            print(error, file=sys.stderr)
            return 2
        deps = Deps(
            folders=folders,
            database=options.database or folders.base / "darkroom.db",
            backend=backend,
            workers=workers,
            guard=Guard(allowed(options.allowed_host), token, options.enable_cors_header),
            limits=Limits(
                waiting=options.queue_limit,
                upload=int(options.max_upload_size * 2**20),
                history=options.history_limit,
                history_days=options.history_days,
                tries=options.job_tries,
                idle=options.idle_unload and 60 * options.idle_unload,
            ),
            previews=_previews(options),
            front_end=options.front_end_root,
            foreign=options.front_end_root != EDITOR,
            examples=EXAMPLES,
            locales=LOCALES,
            arguments=sys.argv,
            logs=logs,
            sink=partial(Console, sys.stderr) if sys.stderr.isatty() else None,
            webhook_hosts=options.webhook_host,
            set_database_aside=options.set_database_aside,
        )
        return launch.serve(deps, listen)


def _without_jobs(options: argparse.Namespace) -> argparse.Namespace:
    """What the server's own engine is made with: with workers it only knows node types, and leaves their devices alone."""
    return (
        argparse.Namespace(**{**vars(options), "device": "cpu", "vram_budget": 0})
        if options.workers or options.ray
        else options
    )


def _previews(options: argparse.Namespace) -> bool | None:
    """Who gets previews; with `--require-safety` nobody, since nobody checks them."""
    if options.require_safety or options.preview_method == "none":
        return False
    return None if options.preview_method == "default" else True


def open_engine(options: argparse.Namespace, folders: Folders, relay: Relay | None = None) -> Engine:
    """What a backend runs jobs on; what its packs tell goes to `relay`. Raises ValueError if the owner's list of packs cannot be read."""
    import torch

    from models.machine import device_memory, device_name
    from nodes.batch_parts import joined
    from nodes.one_family import OneFamily
    from nodes.origins import Origins
    from nodes.parcels import pack, unpack
    from nodes.suggestions import Suggestions
    from server.backend import Device, Engine
    from server.security import is_loopback

    opened = ExitStack()
    beyond = any(not is_loopback(host) for host in options.listen.split(","))
    registry, pack_rules, foreign = opened.enter_context(
        open_node_types(options, folders, relay, has_strangers=beyond, watched=True)
    )
    rules = [*open_rules(options), *pack_rules]
    services, cache = open_services(options, folders, registry), open_cache(options)
    residency, origins = services.residency, Origins()

    def devices() -> list[Device]:
        total, free = device_memory(residency.device)
        return [Device(device_name(residency.device), residency.device.type, residency.device.index, total, free)]

    def free(unload_models: bool, free_memory: bool) -> None:
        if unload_models or free_memory:
            residency.clear()
        if free_memory:
            cache.clear()

    return Engine(
        executor=open_executor(options, registry, folders, rules, services, cache),
        registry=registry,
        rules=[*rules, OneFamily(origins)],
        versions={"torch": torch.__version__},
        devices=devices,
        free=free,
        gauges=lambda: {"weights": residency.resident_bytes, "results": cache.used_bytes},
        holds=lambda: residency.resident_files,
        pack=pack,
        unpack=unpack,
        join=joined,
        suggests=Suggestions(origins, folders),
        close=opened.close,
        foreign=foreign,
    )


def open_folders(options: argparse.Namespace) -> Folders:
    """The user's directories, the embedded model's folder, and what settings files add."""
    import yaml

    from graph.extra_paths import extra_paths
    from graph.files import Folders

    folders = Folders.standard(
        options.base_directory,
        source_tree=SOURCE,
        models_dir=options.models_directory,
        input_dir=getattr(options, "input_directory", None),
        output_dir=options.output_directory,
        temp_dir=getattr(options, "temp_directory", None),
    )
    for file in options.extra_model_paths_config:
        try:
            sections = list(extra_paths(yaml.safe_load(file.read_text("utf-8")), file.absolute().parent))
        except (yaml.YAMLError, ValueError) as error:
            raise ValueError(f"{file}: {error}") from error
        for section in sections:
            folders = folders.extended(section.folders, first=section.first)
    embedded = SOURCE / "models" / "embedded"  # one folder a kind, as in the user's directory
    return folders.extended({kind.name: [kind] for kind in sorted(embedded.glob("*")) if kind.is_dir()})


def open_registry(options: argparse.Namespace) -> Registry:
    """The node types."""
    from nodes.registry import builtin

    if not getattr(options, "require_safety", False):
        return builtin()
    from nodes.safety_guard import guarded

    return guarded(builtin())


class NodeTypes(NamedTuple):
    """What graphs are made of, what packs ask of them, and what packs bring to a server."""

    registry: Registry
    rules: Sequence[Rule]
    foreign: Foreign


@contextmanager
def open_node_types(
    options: argparse.Namespace,
    folders: Folders,
    relay: Relay | None = None,
    *,
    has_strangers: bool,
    watched: bool = False,
) -> Iterator[NodeTypes]:
    """Those of Darkroom and of the packs there are. watched: packs may come, go and change later.

    Raises ValueError if the owner's list of packs cannot be read.
    """
    from nodes.packs.found import find_packs
    from server.foreign import Foreign, Relay

    registry, relay = open_registry(options), relay or Relay()
    wanted = bool(options.whitelist_custom_nodes) or not options.disable_all_custom_nodes
    if not wanted or not (watched or any(find_packs(folders.roots("custom_nodes")))):
        yield NodeTypes(registry, (), Foreign(relay=relay))
        return
    from nodes.packs.collection import open_packs
    from nodes.packs.commands import asking, asking_later
    from nodes.safety_guard import guarded_packs

    own = list(registry.values())

    def refresh() -> bool:
        changed = packs.look(later)
        if changed:
            mix()
        return changed

    def mix() -> None:
        checked = getattr(options, "require_safety", False)
        registry.replace([*own, *(guarded_packs(packs.specs) if checked else packs.specs)])

    ask, later = (decide(folders, options.trust_packs, has_strangers) for decide in (asking, asking_later))
    with open_packs(folders, registry, ask, relay, options.whitelist_custom_nodes) as packs:
        mix()
        foreign = Foreign(
            refresh,
            lambda: packs.routes,
            lambda: packs.web,
            lambda: [_state(it) for it in packs.loaded],
            packs.decide,
            relay,
            packs.amended,
            lambda: packs.replacements,
        )
        yield NodeTypes(registry, (packs.rule,), foreign)


def _state(it: Loaded) -> PackState:
    """A pack as the server tells of it."""
    from nodes.packs.needs import unmet
    from server.foreign import PackState

    standing = "unknown" if it.given.standing is None else it.given.standing.name.lower()
    needs = tuple(unmet(it.pack)) if it.problem else ()
    return PackState(it.pack.name, standing, it.given.isolation is not None, it.problem, needs, len(it.specs))


def open_rules(options: argparse.Namespace) -> Sequence[Rule]:
    """What every graph has to obey, whichever door it comes through."""
    from nodes.safety import require_safety

    return [require_safety] if options.require_safety else []


def open_services(options: argparse.Namespace, folders: Folders, registry: Registry) -> Services:
    """What nodes work with."""
    from dataclasses import replace

    from graph.labels import Labels
    from graph.node_shapes import shapes_of
    from models.packed import can_pack
    from models.precision import choose_precision
    from models.residency import Residency, choose_device, memory_budget
    from nodes.services import Services

    device = choose_device(options.device)
    precision = choose_precision(device, options.precision).with_parts(
        model=options.unet_precision, clip=options.text_enc_precision, vae=options.vae_precision
    )
    if options.precision == "auto":
        print(f"--precision auto: {precision}", file=sys.stderr)
    on_cpu = device.type == "cpu"
    if on_cpu and options.vram_budget:
        raise ValueError("--vram-budget is for accelerators; on the CPU --ram-budget is what counts")
    shared = max(1, getattr(options, "workers", ()).count(options.device))  # by several workers on this device
    budget = (
        int(_ram_budget(options) * (1 - RESULTS)) if on_cpu else options.vram_budget or memory_budget(device) // shared
    )
    packing = on_cpu and can_pack()
    residency = Residency(device, precision, budget, packing, folders.identity.matches)
    labels = Labels(workflow=not options.disable_metadata, provenance=not options.no_provenance)
    decoded = getattr(options, "preview_method", "") == "taesd" and not options.require_safety
    services = Services(
        residency, folders, shapes=shapes_of(registry, folders), labels=labels, decoded_previews=decoded
    )
    if not options.require_safety:
        return services
    from nodes.safety_guard import operators_checker

    return replace(services, checker=operators_checker(folders, options.safety_checker, SOURCE / "models" / "embedded"))


def _ram_budget(options: argparse.Namespace) -> int:
    """Bytes for this process: what is free is shared by the workers."""
    import torch

    from models.residency import memory_budget

    if options.ram_budget:
        return int(options.ram_budget)
    share = max(1, len(getattr(options, "workers", ())))
    if getattr(options, "cache_ram", None) is None:
        return memory_budget(torch.device("cpu")) // share
    import psutil

    return max(0, psutil.virtual_memory().available - int(options.cache_ram * 2**30)) // share


def open_cache(options: argparse.Namespace) -> Cache:
    """Where results are kept between runs."""
    from graph.cache import ENTRY_BYTES, Cache
    from models.types import nbytes

    if getattr(options, "cache_none", False):
        return Cache(0, nbytes)
    if most := getattr(options, "cache_lru", 0):
        return Cache(most * ENTRY_BYTES, lambda value: 0)  # counts results, not their bytes
    return Cache(int(_ram_budget(options) * RESULTS), nbytes)


def open_executor(
    options: argparse.Namespace,
    registry: Registry,
    folders: Folders,
    rules: Sequence[Rule],
    services: Services,
    cache: Cache,
    checks: Sequence[Rule] = (),
) -> Executor[Services]:
    """The engine with everything it works with. checks: see `Executor`; what is submitted may have been through them before."""
    import torch

    from graph.calls import Relief
    from graph.execute import Executor
    from models.peak import PeakMemory
    from models.residency import is_out_of_memory

    return Executor(
        services,
        registry,
        folders,
        cache,
        scope=torch.inference_mode,
        salt=f"{torch.__version__} {services.residency.device} {services.residency.precision}",
        rules=rules,
        checks=checks,
        relief=Relief(is_out_of_memory, services.residency.clear),
        meter=PeakMemory(services.residency.device),
        node_timeout=getattr(options, "node_timeout", None),
    )


if __name__ == "__main__":
    sys.exit(main())
