"""A node that changes how a model looks by a hypernetwork."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from graph.errors import InputError
from graph.files import FileRef
from graph.sockets import File, Float
from graph.spec import Tip, node
from models.hypernetwork import read_hypernetwork
from models.types import Model
from models.weights import CheckpointError
from nodes.services import Context


@node("HypernetworkLoader", category="loaders")
def hypernetwork_loader(
    ctx: Context,
    *,
    model: Annotated[Model, Tip("The U-Net that removes the noise.")],
    hypernetwork_name: Annotated[
        FileRef, File("hypernetworks", tooltip="A file of models/hypernetworks, as A1111 trains them.")
    ],
    strength: Annotated[float, Float(-10.0, 10.0, step=0.01, tooltip="How much of its changes is made.")] = 1.0,
) -> Annotated[Model, Tip("The model, which looks so.")]:
    """Change what a model looks for, and sees, by a hypernetwork."""
    if strength == 0:
        return model
    try:
        hypernetwork = read_hypernetwork(hypernetwork_name.path, strength)
    except CheckpointError as error:
        raise InputError("hypernetwork_name", str(error)) from error
    width = model.weights.shapes("model")["middle_block.1.transformer_blocks.0.attn2.to_k.weight"][1]
    if width not in hypernetwork.nets:
        shown = ", ".join(map(str, sorted(hypernetwork.nets)))
        ctx.warn(
            f"{hypernetwork_name.name} changes inputs of {shown} channels; {model.weights.path.name} reads text of {width}, "
            "which stays as it is",
            "hypernetwork_name",
        )
    return replace(model, steering=(*model.steering, hypernetwork))
