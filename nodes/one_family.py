"""Models, texts, latents and autoencoders that do not fit each other are found before anything runs, by their files' headers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from graph.build import BoundNode, Graph
from graph.document import Link
from graph.errors import GraphError
from graph.files import FileRef
from models.checkpoint import CheckpointError, Part, Weights, read_header
from models.family import TINY_FAMILIES, Family, text_family
from models.pipeline_folder import INDEX, pipeline_files, read_pipeline
from models.types import Clip, Conditioning, Guider, Latent, Model, Vae

FOLLOWED = frozenset({Model.socket, Clip.socket, Vae.socket, Conditioning.socket, Latent.socket, Guider.socket})
REMEMBERED = 256  # files


@dataclass(frozen=True)
class Origin:
    """A file that a value on a link comes from, and the family that it is of."""

    file: str
    family: Family


Origins = tuple[Origin, ...]
_Stamps = tuple[tuple[Path, int, int], ...]
_Seen = tuple[Family, frozenset[Part]]


class OneFamily:
    """A rule for graphs: what goes into one node is of one family.

    Files are followed along the links through node types that come with Darkroom; what other nodes make of a value, such as
    latents of one family of those of another, is nobody's business here.
    """

    def __init__(self, read: Callable[[Path], Weights] = read_header) -> None:
        """read: what reads a file's header, once until the file changes."""
        self._header = read
        self._read: OrderedDict[_Stamps, _Seen | None] = OrderedDict()

    def __call__(self, graph: Graph) -> Iterator[GraphError]:
        """What does not fit, each named with both files."""
        made: dict[Link, Origins] = {}
        for node_id in graph.order:
            node = graph.nodes[node_id]
            given = {name: made.get(value, ()) for name, value in node.inputs.items() if type(value) is Link}
            sockets = {name: _socket(value, graph) for name, value in node.inputs.items() if type(value) is Link}
            yield from _faults(node, given, sockets)
            if not node.spec.function.__module__.startswith("nodes.") or ".packs." in node.spec.function.__module__:
                continue
            for slot, output in enumerate(node.spec.outputs):
                if output.socket in FOLLOWED and (origins := self._of_output(node, output.socket, given, sockets)):
                    made[Link(node_id, slot)] = origins

    def _of_output(self, node: BoundNode, socket: str, given: dict[str, Origins], sockets: dict[str, str]) -> Origins:
        """Where what comes out of a node is from."""
        if not given and socket in (Model.socket, Clip.socket, Vae.socket):
            return self._of_files([value for value in node.inputs.values() if isinstance(value, FileRef)], socket)
        sources = {
            Conditioning.socket: ((Conditioning.socket, Clip.socket),),
            Latent.socket: ((Model.socket, Guider.socket), (Vae.socket,), (Latent.socket,)),
            Guider.socket: ((Model.socket,),),
        }.get(socket, ((socket,),))
        for kinds in sources:
            if found := tuple(dict.fromkeys(o for name in given if sockets[name] in kinds for o in given[name])):
                return found if socket in (Conditioning.socket, Latent.socket) else found[:1]
        return ()

    def _of_files(self, files: Iterable[FileRef], socket: str) -> Origins:
        seen = [(PurePosixPath(file.name).name, found) for file in files if (found := self._known(file))]
        if not seen:
            return ()
        parts = frozenset[Part]().union(*(held for _, (_, held) in seen))
        family = seen[0][1][0]
        if socket == Clip.socket and "model" not in parts:
            family = text_family(parts)
        return (Origin(" and ".join(name for name, _ in seen), family),) if family.name else ()

    def _known(self, file: FileRef) -> _Seen | None:
        tiny = TINY_FAMILIES.get(file.name)  # the headers of TAESD's files do not tell
        return (tiny, frozenset({"tiny_decoder"})) if tiny else self._seen(file.path)

    def _seen(self, path: Path) -> _Seen | None:
        """The family of a file, and what it holds; None if it cannot be used, of which its loader will tell."""
        try:
            files = pipeline_files(path) if path.name == INDEX else (path,)
            key = tuple((file, (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files)
            if key not in self._read:
                weights = read_pipeline(path).unet if path.name == INDEX else self._header(path)
                self._read[key] = weights.family, weights.parts()
        except (OSError, CheckpointError):
            return None
        self._read.move_to_end(key)
        if len(self._read) > REMEMBERED:
            self._read.popitem(last=False)
        return self._read[key]


def _faults(node: BoundNode, given: dict[str, Origins], sockets: dict[str, str]) -> Iterator[GraphError]:
    """What of a node's inputs is of another family than its model, or its autoencoder."""

    def of(*kinds: str) -> list[tuple[str, Origin]]:
        return [(name, origin) for name, origins in given.items() if sockets[name] in kinds for origin in origins]

    for _, model in of(Model.socket, Guider.socket)[:1]:
        for name, other in of(Conditioning.socket):
            if other.family.text != model.family.text:
                yield _fault(node, name, f"was encoded by {_named(other)}", model)
        for name, other in of(Latent.socket):
            if other.family.latent != model.family.latent:
                yield _fault(node, name, f"was made by {_named(other)}", model)
    for name, vae in of(Vae.socket):
        for _, other in of(Latent.socket):
            if other.family.latent != vae.family.latent:
                yield _fault(node, name, f"is that of {_named(vae)}", other)


def _fault(node: BoundNode, name: str, what: str, other: Origin) -> GraphError:
    message = f"{what}, but goes with {_named(other)}: they do not fit each other"
    return GraphError("families_differ", message, node.id, node.spec.type, name, expected=f"one of {other.family.name}")


def _named(origin: Origin) -> str:
    return f"{origin.file} ({origin.family.name})"


def _socket(link: Link, graph: Graph) -> str:
    node = graph.nodes.get(link.node)
    return node.spec.outputs[link.slot].socket if node and link.slot < len(node.spec.outputs) else ""
