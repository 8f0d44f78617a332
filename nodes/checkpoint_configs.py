"""A node that opens a checkpoint by the configuration that was published with it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated

from graph.errors import InputError
from graph.files import FileRef
from graph.sockets import File
from graph.spec import node
from models.family import Diffusion
from models.prediction import Clean, Eps, Prediction, Velocity
from nodes.loaders import Checkpoint, checkpoint_loader_simple
from nodes.services import Context

_PREDICTS = re.compile(r"^[ \t]*parameterization[ \t]*:[ \t]*[\"']?(\w+)", re.MULTILINE)
MOST = 2**20  # bytes of a configuration


@node(
    "CheckpointLoader",
    category="advanced/loaders",
    title="Load Checkpoint With Config (DEPRECATED)",
    lane="io",
    deprecated=True,
)
def checkpoint_loader(
    ctx: Context,
    *,
    config_name: Annotated[
        FileRef,
        File("configs", suffixes=(".yaml", ".yml"), tooltip="A file of models/configs, such as v2-inference-v.yaml."),
    ],
    ckpt_name: Annotated[FileRef, File("checkpoints", tooltip="A file of models/checkpoints.")],
) -> Checkpoint:
    """Open a checkpoint with its configuration. Of that counts what no weight tells: whether it predicts noise or v."""
    loaded: Checkpoint = checkpoint_loader_simple(ctx, ckpt_name=ckpt_name)
    prediction = _prediction(config_name)
    known = loaded.model.diffusion
    if prediction == known.prediction:
        return loaded
    return loaded._replace(model=replace(loaded.model, sampled_as=Diffusion(known.levels, prediction)))


def _prediction(file: FileRef) -> Prediction:
    """What a configuration of CompVis' or Stability's says that a network predicts; noise, if nothing."""
    try:
        with file.path.open("rb") as content:
            text = content.read(MOST).decode("utf-8", errors="replace")
    except OSError as error:
        raise InputError("config_name", f"{file.name} cannot be read: {error.strerror or error}") from error
    found = _PREDICTS.search(text)
    kinds: dict[str, Prediction] = {"eps": Eps(), "v": Velocity(), "x0": Clean()}
    if found is None:
        return kinds["eps"]
    if found[1] not in kinds:
        raise InputError(
            "config_name", f"{file.name} says that the network predicts {found[1]}; eps, v and x0 are known"
        )
    return kinds[found[1]]
