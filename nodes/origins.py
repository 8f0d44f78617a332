"""Which files the values on a graph's links come from, and of which family these are, by the files' headers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from threading import Lock

from graph.bound import BoundNode, Graph
from graph.document import Link
from graph.files import FileRef
from models.checkpoint import CheckpointError, Part, Weights, read_header
from models.families import text_width
from models.family import TINY_FAMILIES, UNKNOWN, Family, text_family
from models.pipeline_folder import INDEX, pipeline_files, read_pipeline
from models.types import Clip, Conditioning, ControlModel, Guider, IPAdapterModel, Latent, Model, Vae
from models.weights import TensorFile, read_table

STEERING = frozenset({ControlModel.socket, IPAdapterModel.socket})
"""Networks that steer a model: they are of no family, but read texts of one width."""
OPENED = STEERING | {Model.socket, Clip.socket, Vae.socket}
"""What nodes give that read it from files."""
FOLLOWED = OPENED | {Conditioning.socket, Latent.socket, Guider.socket}
ADAPTERS = "loras"
"""The folder of files that change a model, and leave it one of its family."""
REMEMBERED = 256  # files


@dataclass(frozen=True)
class Origin:
    """A file that a value on a link comes from, and the family that it is of, which has no name where it is of none. width:
    channels of its U-Net's first layer; reads: the width of the texts that it reads; 0 where nobody can tell. adapters: the
    names of files that have changed it, in order."""

    file: str
    family: Family
    width: int = 0
    reads: int = 0
    adapters: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Seen:
    """What a file's header says."""

    family: Family
    parts: frozenset[Part]
    width: int = 0
    reads: int = 0


_Stamps = tuple[tuple[Path, int, int], ...]


class Origins:
    """Follows files along the links of a graph, through node types that come with Darkroom; what other nodes make of a
    value, such as latents of one family of those of another, is nobody's business here. Any thread may call it."""

    def __init__(self, read: Callable[[Path], Weights] = read_header) -> None:
        """read: what reads a file's header, once until the file changes."""
        self._header = read
        self._read: OrderedDict[_Stamps, _Seen] = OrderedDict()
        self._reading = Lock()

    def __call__(self, graph: Graph) -> Mapping[Link, tuple[Origin, ...]]:
        """Where what comes out of nodes is from; nothing of an output where nobody can tell."""
        made: dict[Link, tuple[Origin, ...]] = {}
        for node_id in graph.order:
            node = graph.nodes[node_id]
            if not node.spec.function.__module__.startswith("nodes.") or ".packs." in node.spec.function.__module__:
                continue
            followed = [(slot, it.socket) for slot, it in enumerate(node.spec.outputs) if it.socket in FOLLOWED]
            if not followed:
                continue
            links = {name: value for name, value in node.inputs.items() if type(value) is Link}
            given = {name: made.get(link, ()) for name, link in links.items()}
            sockets = {name: socket_of(link, graph) for name, link in links.items()}
            files = [value for value in node.inputs.values() if type(value) is FileRef]
            opens = not given and any(socket in OPENED for _, socket in followed)
            seen = [(PurePosixPath(file.name).name, it) for file in files if opens and (it := self._known(file))]
            for slot, socket in followed:
                if found := _of_output(socket, given, sockets, files, seen):
                    made[Link(node_id, slot)] = found
        return made

    def adapters(self, node: BoundNode) -> Iterator[tuple[str, Origin]]:
        """The files by which a node changes a model, by its inputs."""
        for name, file in node.inputs.items():
            if isinstance(file, FileRef) and file.folder == ADAPTERS and (seen := self._known(file)):
                yield name, Origin(PurePosixPath(file.name).name, UNKNOWN, reads=seen.reads)

    def _known(self, file: FileRef) -> _Seen | None:
        if tiny := TINY_FAMILIES.get(file.name):  # the headers of TAESD's files do not tell
            return _Seen(tiny, frozenset({"tiny_decoder"}))
        return self._seen(file.path, self._adapter if file.folder == ADAPTERS else self._network)

    def _seen(self, path: Path, read: Callable[[Path], _Seen]) -> _Seen | None:
        """What a file's header says; None if it cannot be used, of which its loader will tell."""
        try:
            files = pipeline_files(path) if path.name == INDEX else (path,)
            key = tuple((file, (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files)
            with self._reading:
                if key not in self._read:
                    self._read[key] = read(path)
                self._read.move_to_end(key)
                if len(self._read) > REMEMBERED:
                    self._read.popitem(last=False)
                return self._read[key]
        except (OSError, CheckpointError):
            return None

    def _network(self, path: Path) -> _Seen:
        weights = read_pipeline(path).unet if path.name == INDEX else self._header(path)
        width = weights.shapes("model")["input_blocks.0.0.weight"][0] if "model" in weights.parts() else 0
        return _Seen(weights.family, weights.parts(), width, _reads(weights.file))

    def _adapter(self, path: Path) -> _Seen:
        return _Seen(UNKNOWN, frozenset(), reads=_reads(read_table(path)))


def _of_output(
    socket: str,
    given: Mapping[str, tuple[Origin, ...]],
    sockets: Mapping[str, str],
    files: Sequence[FileRef],
    seen: Sequence[tuple[str, _Seen]],
) -> tuple[Origin, ...]:
    """Where an output is from, by where the inputs are, or by the files that its node reads."""
    if not given and socket in OPENED:
        return _of_files(seen, socket)
    sources = {
        Conditioning.socket: ((Conditioning.socket, Clip.socket, ControlModel.socket),),
        Latent.socket: ((Model.socket, Guider.socket), (Vae.socket,), (Latent.socket,)),
        Guider.socket: ((Model.socket,),),
    }.get(socket, ((socket,),))
    for kinds in sources:
        if found := tuple(o for name in given if sockets[name] in kinds for o in given[name]):
            if socket in (Conditioning.socket, Latent.socket):
                return found if len(found) == 1 else tuple(dict.fromkeys(found))
            added = tuple(file.name for file in files if file.folder == ADAPTERS)
            return (replace(found[0], adapters=(*found[0].adapters, *added)),) if added else found[:1]
    return ()


def _of_files(seen: Sequence[tuple[str, _Seen]], socket: str) -> tuple[Origin, ...]:
    """Where an output is from whose node reads these files."""
    if not seen:
        return ()
    parts = frozenset[Part]().union(*(held.parts for _, held in seen))
    first = seen[0][1]
    family = text_family(parts) if socket == Clip.socket and "model" not in parts else first.family
    origin = Origin(" and ".join(name for name, _ in seen), family, first.width, first.reads)
    return (origin,) if family.name or socket in STEERING else ()


def socket_of(link: Link, graph: Graph) -> str:
    """The socket of an output; "" if there is none."""
    node = graph.nodes.get(link.node)
    return node.spec.outputs[link.slot].socket if node and link.slot < len(node.spec.outputs) else ""


def _reads(file: TensorFile) -> int:
    return text_width({name: tensor.shape for name, tensor in file.tensors.items()})
