"""Routes that describe the server: nodes, models, machine, features."""

from __future__ import annotations

import os
import platform
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from aiohttp import web

from graph.errors import ValueRefused
from graph.object_info import describe, object_info
from server.answers import takes_gzip
from server.backend import Device
from server.body import read_object
from server.deps import CREW, DEPS, HUB, LOG_STREAM, METRICS, OBJECT_INFO, REDACT, THREADS
from server.kept import Answer
from server.pack_folders import with_packs
from server.refused import not_found
from server.threads import in_thread
from server.translations import translations

COMPATIBLE = "0.3.64"
"""The version of ComfyUI whose recordings this server answers like; clients look at it."""
FRONT_END = "1.27.10"


def routes() -> list[web.RouteDef]:
    """What this file answers."""
    return [
        web.get("/object_info", get_object_info),
        web.get("/object_info/{type}", get_node_info),
        web.get("/system_stats", get_system_stats),
        web.get("/features", get_features),
        web.get("/models", get_models),
        web.get("/models/{folder}", get_model_files),
        web.get("/experiment/models", get_model_folders),
        web.get("/experiment/models/{folder}", get_model_entries),
        web.get("/embeddings", get_embeddings),
        web.get("/i18n", get_i18n),
        web.get("/internal/logs", get_logs),
        web.get("/internal/logs/raw", get_logs_raw),
        web.patch("/internal/logs/subscribe", patch_logs_subscribe),
        web.get("/internal/folder_paths", get_folder_paths),
        web.get("/metrics", get_metrics),
    ]


def features(app: web.Application) -> Mapping[str, object]:
    """What this server says it can do, to HTTP and websocket clients alike."""
    return {
        "supports_preview_metadata": True,
        "max_upload_size": app[DEPS].limits.upload,
        "supports_progress_deltas": True,
        "node_replacements": True,
    }


async def get_object_info(request: web.Request) -> web.Response:
    """Every node type, with the file lists as they are now; 304 for who has them already (`If-None-Match`)."""
    deps, kept = request.app[DEPS], request.app[OBJECT_INFO]
    engine = await deps.backend.engine()
    packed = takes_gzip(request.headers.get("Accept-Encoding", ""))

    def kept_bytes() -> tuple[Answer, bytes]:
        answer = kept.answer(engine.registry, deps.folders)
        return answer, answer.packed if packed else answer.body

    answer, body = await in_thread(request.app[THREADS], kept_bytes)
    headers = {"ETag": answer.etag(packed), "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if answer.is_among(request.headers.get("If-None-Match", "")):
        return web.Response(status=304, headers=headers)
    if packed:
        headers["Content-Encoding"] = "gzip"
    return web.Response(body=body, content_type="application/json", charset="utf-8", headers=headers)


async def get_node_info(request: web.Request) -> web.Response:
    """One node type; an empty object if there is none."""
    deps = request.app[DEPS]
    engine = await deps.backend.engine()
    spec = engine.registry.find(request.match_info["type"])
    if spec is None:
        return web.json_response({})
    return web.json_response({spec.type: await in_thread(request.app[THREADS], describe, spec, deps.folders)})


async def get_system_stats(request: web.Request) -> web.Response:
    """The machine, versions and memory in bytes."""
    deps = request.app[DEPS]
    engine = await deps.backend.engine()
    memory = psutil.virtual_memory()
    held = await in_thread(request.app[THREADS], request.app[CREW].holdings)
    devices = [device for one in held for device in one.devices]
    system = {
        "os": os.name,
        "ram_total": memory.total,
        "ram_free": memory.available,
        "comfyui_version": COMPATIBLE,
        "darkroom_version": deps.version,
        "required_frontend_version": FRONT_END,
        "installed_templates_version": None,
        "required_templates_version": None,
        "python_version": sys.version,
        "pytorch_version": engine.versions.get("torch", ""),
        "embedded_python": False,
        "argv": request.app[REDACT].each(deps.arguments),
    }
    return web.json_response({"system": system, "devices": [_device(device) for device in devices]})


async def get_features(request: web.Request) -> web.Response:
    """What this server can do."""
    return web.json_response(features(request.app))


async def get_models(request: web.Request) -> web.Response:
    """The folders of model files."""
    return web.json_response(_model_folders(request.app))


async def get_model_files(request: web.Request) -> web.Response:
    """The files of one folder."""
    return web.json_response(await _names(request, request.match_info["folder"]))


async def get_model_folders(request: web.Request) -> web.Response:
    """The folders and where they are, relative to the base directory."""
    folders = request.app[DEPS].folders
    shown = [
        {"name": name, "folders": request.app[REDACT].each(str(root) for root in folders.roots(name))}
        for name in _model_folders(request.app)
        if name != "custom_nodes"
    ]
    return web.json_response(shown)


async def get_model_entries(request: web.Request) -> web.Response:
    """The files of one folder, each with the number of the directory it lies in."""
    names = await _names(request, request.match_info["folder"])
    return web.json_response([{"name": name, "pathIndex": 0} for name in names])


async def get_embeddings(request: web.Request) -> web.Response:
    """The names that prompts may use as `embedding:name`."""
    names = await _names(request, "embeddings")
    return web.json_response([name.rpartition(".")[0] for name in names])


async def get_i18n(request: web.Request) -> web.Response:
    """Names and explanations of node types, by language."""
    deps = request.app[DEPS]
    if deps.locales is None:
        return web.json_response({})
    engine = await deps.backend.engine()

    def texts(folder: Path) -> dict[str, dict[str, Any]]:
        return with_packs(translations(folder, object_info(engine.registry, deps.folders)), deps.folders)

    return web.json_response(await in_thread(request.app[THREADS], texts, deps.locales))


async def get_logs(request: web.Request) -> web.Response:
    """The newest log lines as one text."""
    lines = "\n".join(request.app[DEPS].logs.texts(request.app[REDACT]))
    return web.json_response(lines)


async def get_logs_raw(request: web.Request) -> web.Response:
    """The newest log lines as a terminal shows them."""
    entries = [{"t": when, "m": f"{text}\n"} for when, text in request.app[DEPS].logs.entries(request.app[REDACT])]
    return web.json_response({"entries": entries, "size": {"cols": 120, "rows": 40}})


async def patch_logs_subscribe(request: web.Request) -> web.Response:
    """Whether the sockets of `clientId` get new lines of the log as messages of type `logs`."""
    wanted = await read_object(request)
    request.app[LOG_STREAM].subscribe(str(wanted["clientId"]), wanted.get("enabled") is True)
    return web.Response()


async def get_folder_paths(request: web.Request) -> web.Response:
    """Where the folders are, relative to the base directory."""
    folders, redact = request.app[DEPS].folders, request.app[REDACT]
    names = _model_folders(request.app)
    return web.json_response({name: redact.each(str(root) for root in folders.roots(name)) for name in names})


async def get_metrics(request: web.Request) -> web.Response:
    """Figures for Prometheus."""
    metrics, hub = request.app[METRICS], request.app[HUB]
    sizes = Counter[str]()
    held = await in_thread(request.app[THREADS], request.app[CREW].holdings)
    metrics.queue_depth.set(hub.remaining)  # from here on all is of one moment
    metrics.sockets.set(hub.sockets)
    for worker, one in zip(request.app[CREW].workers, held, strict=True):
        sizes.update(one.gauges)
        states = {"ready": worker.backend.is_ready, "running": worker.running is not None, "draining": worker.draining}
        metrics.worker(worker.backend.name, states, one.gauges, worker.lost)
    for what, size in sizes.items():
        metrics.held(what, size)
    return web.Response(body=metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _model_folders(app: web.Application) -> list[str]:
    return [name for name in app[DEPS].folders.folders if name not in ("input", "output", "temp")]


async def _names(request: web.Request, folder: str) -> list[str]:
    folders = request.app[DEPS].folders
    if folder not in _model_folders(request.app) and folder != "embeddings":
        raise not_found("no folder has that name")
    try:
        return list(await in_thread(request.app[THREADS], folders.list, folder))
    except (ValueRefused, KeyError):
        raise not_found("no folder has that name") from None


def _device(device: Device) -> dict[str, object]:
    return {
        "name": device.name or platform.processor(),
        "type": device.type,
        "index": device.index,
        "vram_total": device.total,
        "vram_free": device.free,
        "torch_vram_total": device.total,
        "torch_vram_free": device.free,
    }
