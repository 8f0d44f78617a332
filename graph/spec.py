"""Node declarations: a typed function becomes a NodeSpec, and nothing is registered anywhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, ItemsView, Iterable, Iterator, Mapping, ValuesView
from dataclasses import dataclass, field
from types import MappingProxyType, ModuleType
from typing import Any, TypeAlias
from typing import Literal as OneOf

from graph.document import NodeId
from graph.errors import suggestion
from graph.files import Folders
from graph.inputs import REQUIRED, Cases, Group, InputSpec, OutputSpec, declared
from graph.signature import Call, Each, Extra, Named, Raw, Tip, Together, signature
from graph.version import version_of

__all__ = (
    "ALIKE",
    "REQUIRED",
    "Batch",
    "Cases",
    "Each",
    "Extra",
    "Group",
    "InputSpec",
    "Items",
    "Lane",
    "Named",
    "NodeSpec",
    "OutputSpec",
    "Raw",
    "Registry",
    "Tip",
    "Together",
    "collect",
    "node",
)

Lane: TypeAlias = OneOf["device", "io", "async"]
"""Where a node runs: on the loop's own thread, on the small pool for reading and writing files, or, if its function is
async, beside others of its kind on a thread for all of them."""


@dataclass(frozen=True, slots=True)
class Items:
    """How a node treats batches: item k of each output comes of item k of each input in `of`, and of no other item, and is
    what it would be in any other batch. Without `of` it reads no batch, and what it gives is the same for all items.
    `unless`: values of inputs with which none of this holds.
    """

    of: tuple[str, ...] = ()
    unless: Mapping[str, Collection[object]] = field(default_factory=dict)


ALIKE = Items()


@dataclass(frozen=True, slots=True)
class Batch:
    """What a node says whose only output is a batch: `count` is the input that says how many items it has at least, `part`
    the node that takes some of them: its inputs are the batch, `number` (from 0) and `of` how many such parts.
    """

    count: str
    part: NodeSpec


Freshness: TypeAlias = Callable[[NodeId, Mapping[str, object], Folders], object]
Undeclared: TypeAlias = Callable[[str], InputSpec | None]


@dataclass(frozen=True, slots=True, eq=False)
class NodeSpec:
    """A node type. Calling it calls the function it was declared with.

    `run(ctx, inputs)` gives a Result, for lane `async` in time. `freshness(node id, inputs, folders)` adds to what names the node's results: any
    JSON value; links are still links there.
    `terminal` nodes write files: they are what a workflow is run for. `hidden` is only shown in `/object_info`;
    the data comes through the context. `aliases` are other words that people search it by. `idempotent`: an equal node has an equal result. `time_limit`: seconds that an
    async node may take. `undeclared(name)`: how an input is that nobody declared, if it is handed over all the same. `gathers` has the node that
    each cell of a sweep passes through, by input: see Each. `items` and `batch` say how it treats batches; without them
    nothing is known. `version` is that of the function's code: results of another
    one have other names.
    """

    type: str
    function: Callable[..., object]
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    run: Call
    category: str = ""
    title: str = ""
    description: str = ""
    terminal: bool = False
    lane: Lane = "device"
    freshness: Freshness | None = None
    hidden: Mapping[str, str] = field(default_factory=dict)
    deprecated: bool = False
    experimental: bool = False
    aliases: tuple[str, ...] = ()
    idempotent: bool = True
    time_limit: float | None = None
    undeclared: Undeclared | None = None
    gathers: Mapping[str, NodeSpec] = field(default_factory=dict)
    items: Items | None = None
    batch: Batch | None = None
    version: str = ""
    home: str = ""
    is_fixed: bool = field(init=False)
    """Whether every node of this type has the same inputs."""
    is_plain: bool = field(init=False)
    """Whether it takes and gives one value a link, all of them computed beforehand."""
    is_pure: bool = field(init=False)
    """Whether its results are a function of its inputs alone."""
    only_writes: bool = field(init=False)
    """Whether all that its results depend on besides is where files are written."""
    is_eager: bool = field(init=False)
    """Whether all that its links lead to is computed before it is called."""

    def __post_init__(self) -> None:
        fixed = self.undeclared is None and all(spec.members is None for spec in self.inputs)
        eager = fixed and not any(spec.lazy or spec.raw for spec in self.inputs)
        lists = any(spec.is_list for spec in self.inputs) or any(output.is_list for output in self.outputs)
        for name, value in (
            ("is_fixed", fixed),
            ("is_plain", eager and not lists),
            ("is_pure", self.idempotent and self.freshness is None and not self.terminal),
            ("only_writes", self.idempotent and self.freshness is None and self.terminal),
            ("is_eager", eager),
        ):
            object.__setattr__(self, name, value)

    def declared(self, given: Mapping[str, object]) -> tuple[InputSpec, ...]:
        """The inputs of a node of this type that was `given` these."""
        if self.is_fixed:
            return self.inputs
        found = [spec for whole in self.inputs for spec in declared(whole, given)]
        if self.undeclared is not None:
            known = {spec.name for spec in found}
            others = (self.undeclared(name) for name in given if name not in known)
            found.extend(spec for spec in others if spec is not None)
        return tuple(found)

    def __call__(self, *args: Any, **inputs: Any) -> Any:
        return self.function(*args, **inputs)

    @property
    def module(self) -> str:
        """What brings it: `home`, or where its function is from."""
        return self.home or self.function.__module__


def node(
    type: str,  # noqa: A002
    *,
    category: str,
    title: str = "",
    terminal: bool = False,
    lane: Lane = "device",
    freshness: Freshness | None = None,
    hidden: Mapping[str, str] = MappingProxyType({}),
    deprecated: bool = False,
    experimental: bool = False,
    aliases: tuple[str, ...] = (),
    idempotent: bool = True,
    time_limit: float | None = None,
    items: Items | None = None,
    batch: Batch | None = None,
) -> Callable[[Callable[..., object]], NodeSpec]:
    """Declare a node by its function: `def f(ctx: Context, *, name: Annotated[T, widget] = default, …) -> R`.

    Inputs are the keyword-only parameters, in order. `X | None` makes one optional, `Lazy[X]` lazy; `list[X]` takes all
    values of a link at once; a type variable for X is one type for all that have it, which the first link decides; a
    Group or Cases in `Annotated` stands for several inputs. R is one type for one output, a NamedTuple for several,
    `list[X]` for one that gives several values, None for none, Shown[…] of these to show something besides, or Outputs
    for a node that has only that. An `async def` goes to lane `async`.
    Raises TypeError naming the function if its signature says less than that.
    """

    def declare(function: Callable[..., object]) -> NodeSpec:
        read = signature(function)
        return NodeSpec(
            type=type,
            function=function,
            inputs=read.inputs,
            outputs=read.outputs,
            run=read.run,
            category=category,
            title=title or type,
            description=inspect.cleandoc(function.__doc__ or ""),
            terminal=terminal,
            lane="async" if inspect.iscoroutinefunction(function) else lane,
            freshness=freshness,
            hidden=hidden,
            deprecated=deprecated,
            experimental=experimental,
            aliases=aliases,
            idempotent=idempotent,
            time_limit=time_limit,
            items=items,
            batch=batch,
            version=version_of(function),
            gathers={name: each for name, each in read.gathers.items() if isinstance(each, NodeSpec)},
        )

    return declare


class Registry(Mapping[str, NodeSpec]):
    """The node types of one program. Raises ValueError if two share a name. May be read from any thread."""

    def __init__(self, specs: Iterable[NodeSpec]) -> None:
        self._specs = _by_type(specs)

    def replace(self, specs: Iterable[NodeSpec]) -> None:
        """Hold these from now on; graphs that were built keep theirs. Raises ValueError as above, and changes nothing."""
        self._specs = _by_type(specs)

    def __getitem__(self, type: str) -> NodeSpec:  # noqa: A002
        return self._specs[type]

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    def items(self) -> ItemsView[str, NodeSpec]:
        """All of one moment, also if others take their place meanwhile."""
        return self._specs.items()

    def values(self) -> ValuesView[NodeSpec]:
        """All of one moment."""
        return self._specs.values()

    def find(self, type: str) -> NodeSpec | None:  # noqa: A002
        """`get`, without the detour through Mapping: `build` asks for every link."""
        return self._specs.get(type)

    def suggestion(self, type: str) -> str:  # noqa: A002
        """What an unknown type may have meant."""
        return suggestion(type, self._specs)


def _by_type(specs: Iterable[NodeSpec]) -> dict[str, NodeSpec]:
    found: dict[str, NodeSpec] = {}
    for spec in specs:
        if (other := found.setdefault(spec.type, spec)) is not spec:
            raise ValueError(f"node type {spec.type!r} is declared in {other.module} and in {spec.module}")
    return found


def collect(*modules: ModuleType) -> list[NodeSpec]:
    """The NodeSpecs among the modules' names, in the order they were declared."""
    found = (value for module in modules for value in vars(module).values() if isinstance(value, NodeSpec))
    return list(dict.fromkeys(found))
