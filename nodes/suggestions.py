"""What would suit the model that a graph draws with better than the sizes, steps, guidance and samplers that it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from graph.bound import BoundNode, Graph
from graph.document import Link
from graph.errors import ValueRefused
from graph.files import Folders
from graph.suggestion import Suggestion, Value
from models.suits import Suits, suits
from models.types import Guider, Latent, Model
from nodes.origins import Origins, socket_of

PUBLISHED = (320, 384)
"""How wide the U-Nets of the families are, and SDXL's refiner. Nobody knows what suits one of another width."""
FEW_STEPS, LITTLE_GUIDANCE = 12, 2.0
"""Who sets both so draws with a model that learned to, whatever its name says."""


class Suggestions:
    """Looks through graphs. What suits is known from the family of a model's file, and from what its name says."""

    def __init__(self, origins: Origins, folders: Folders) -> None:
        self._origins = origins
        self._folders = folders

    def __call__(self, graph: Graph) -> Iterator[Suggestion]:
        """What would suit better; nothing of values that do, that come by a link, or of which there are several."""
        made = self._origins(graph)
        for node_id in graph.order:
            node = graph.nodes[node_id]
            links = [value for value in node.inputs.values() if type(value) is Link]
            models = (link for link in links if socket_of(link, graph) in (Model.socket, Guider.socket))
            origin = next((origin for link in models for origin in made.get(link, ())), None)
            if origin is None or origin.width not in PUBLISHED:
                continue
            suited = suits(origin.family, origin.file, origin.adapters)
            latents = [graph.nodes[link.node] for link in links if socket_of(link, graph) == Latent.socket]
            better = [(node, {name: value}) for name, value in _of_sampling(node, suited).items()]
            for of, values in (*better, *((latent, _of_size(latent, suited)) for latent in latents)):
                if values and self._can_have(of, values):
                    yield Suggestion(of.id, values, suited.name, origin.file)

    def _can_have(self, node: BoundNode, values: Mapping[str, object]) -> bool:
        widgets = {spec.name: spec.widget for spec in node.input_specs}
        try:
            return all(
                (widget := widgets.get(name)) and widget.coerce(value, self._folders) == value
                for name, value in values.items()
            )
        except ValueRefused:
            return False


def _of_sampling(node: BoundNode, suited: Suits) -> Mapping[str, Value]:
    values = node.inputs
    if not suited.distilled and _draws_in_few(values):
        return {}
    better: dict[str, Value] = {}
    for name, range_ in (("steps", suited.steps), ("cfg", suited.cfg)):
        value = values.get(name)
        if range_ and isinstance(value, int | float) and value not in range_:
            better[name] = type(value)(range_.best)
    for name, good in (("sampler_name", suited.samplers), ("scheduler", suited.schedulers)):
        if good and isinstance(value := values.get(name), str) and value not in good:
            better[name] = good[0]
    return better


def _of_size(node: BoundNode, suited: Suits) -> Mapping[str, Value]:
    """Of an empty latent; one that is made of something has that one's size."""
    width, height = node.inputs.get("width"), node.inputs.get("height")
    if any(node.links()) or type(width) is not int or type(height) is not int or not (width and height):
        return {}
    size = suited.size(width, height)
    return {} if size == (width, height) else dict(zip(("width", "height"), size, strict=True))


def _draws_in_few(values: Mapping[str, object]) -> bool:
    """Also where a node has only one of the two, since another may have the other."""
    steps, cfg = values.get("steps", 0), values.get("cfg", 0)
    few = isinstance(steps, int) and steps <= FEW_STEPS
    return few and isinstance(cfg, int | float) and cfg <= LITTLE_GUIDANCE
