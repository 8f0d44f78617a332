"""A node that opens a pipeline in the folders of diffusers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from graph.errors import InputError
from graph.files import FileRef, Folders
from graph.sockets import Directory, Text
from graph.spec import node
from models.checkpoint import CheckpointError, Weights
from models.pipeline_folder import INDEX, Pipeline, pipeline_files, read_pipeline
from models.types import TEXT_TOWERS, Clip, Model, Vae
from nodes.loaders import Checkpoint, refuse_unread
from nodes.services import Context
from nodes.weights import read_soon, tell_unused


def _all_files(node_id: str, inputs: Mapping[str, object], folders: Folders) -> object:
    """What the files below the folder are."""
    chosen = inputs["model_path"]
    if not isinstance(chosen, FileRef):
        return None
    return [(path.name, folders.identity(path)) for path in pipeline_files(chosen.path)]


@node("DiffusersLoader", category="advanced/loaders/deprecated", lane="io", freshness=_all_files)
def diffusers_loader(
    ctx: Context,
    *,
    model_path: Annotated[
        FileRef,
        Directory("diffusers", holding=INDEX, tooltip="A folder of models/diffusers that has a model_index.json."),
    ],
    variant: Annotated[
        str | None,
        Text(
            tooltip="Which form of the weights, such as fp16 or non_ema, where the folder has several. Empty: the one "
            "without a name, or else fp16."
        ),
    ] = None,
) -> Checkpoint:
    """Open a pipeline as diffusers keeps it: a folder that has a folder for each network.

    What it predicts, and of which noise, is read from its configurations.
    """
    pipeline = _read(model_path, (variant or "").strip())
    refuse_unread(pipeline.unet, "model_path")
    for part, weights in pipeline.parts().items():
        tell_unused(ctx, weights, "model_path")
        read_soon(weights, part)

    def identity(weights: Weights) -> str:
        return " ".join(ctx.services.folders.identity(path) for path in weights.file.paths)

    unet, vae = pipeline.unet, pipeline.vae or pipeline.unet
    held = [(reading.tower, pipeline.towers.get(reading.tower, unet)) for reading in pipeline.family.text]
    towers = tuple(TEXT_TOWERS[tower](weights, identity(weights)) for tower, weights in held)
    return Checkpoint(Model(unet, identity(unet)), Clip(towers, pipeline.family.text), Vae(vae, identity(vae)))


def _read(folder: FileRef, variant: str) -> Pipeline:
    try:
        return read_pipeline(folder.path, variant)
    except CheckpointError as error:
        raise InputError("model_path", f"{folder.name} cannot be used: {error}") from error
