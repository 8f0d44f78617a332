"""What the inputs and outputs of a node type are, also where a document decides how many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import ClassVar, Protocol

from graph.sockets import Choice, Widget


class _Required:
    """The default of an input that has none; None is a default like any other."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED = _Required()


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input. Without a widget it takes only links. `default` fills an optional input that was not given.

    lazy: computed only when the node asks for it. raw: the node gets the link itself. is_list: the node gets all values
    of a link at once. match: inputs and outputs of one name have one type, which the first link decides. members: the
    input stands for several, whose names in a document begin with its own and a dot.
    """

    name: str
    socket: str
    widget: Widget | None = None
    default: object = REQUIRED
    optional: bool = False
    tooltip: str = ""
    extra: Mapping[str, object] = field(default_factory=dict)
    lazy: bool = False
    raw: bool = False
    is_list: bool = False
    match: str = ""
    members: Members | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the node gets just the value."""
        return not (self.lazy or self.raw or self.is_list or self.members)


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output; its index is the slot that links name. is_list: it gives several values on one link."""

    name: str
    socket: str
    tooltip: str = ""
    is_list: bool = False
    match: str = ""


class Members(Protocol):
    """An input that stands for several."""

    def declared(self, whole: InputSpec, given: Mapping[str, object]) -> Iterator[InputSpec]:
        """The inputs that a node has which was `given` these."""

    def gather(self, whole: InputSpec, values: Mapping[str, object]) -> object:
        """What the node function gets as `whole`, of the values by the names that `declared` gave."""


@dataclass(frozen=True, slots=True)
class Group:
    """Any number of inputs of one kind: `images.image0`, `images.image1`, …; the function gets them by their own names.

    Names are `prefix` and a number below `max`, or those in `names`; with neither, whatever the document has. The
    first `min` have to be there. `of` is what each of them takes. flat: the names stand alone, without the group's.
    """

    prefix: str = ""
    names: tuple[str, ...] = ()
    min: int = 0
    max: int = 100
    of: InputSpec = field(default_factory=lambda: InputSpec("", "*"))
    flat: bool = False

    def declared(self, whole: InputSpec, given: Mapping[str, object]) -> Iterator[InputSpec]:
        before = self.before(whole)
        members = [name[len(before) :] for name in given if name.startswith(before)]
        for name in self._known(members):
            optional = not (name in self.fixed and whole.default is REQUIRED)
            default = None if self.of.default is REQUIRED else self.of.default
            yield replace(self.of, name=f"{before}{name}", optional=optional, default=default)

    def gather(self, whole: InputSpec, values: Mapping[str, object]) -> Mapping[str, object]:
        before = self.before(whole)
        members = (name[len(before) :] for name in values if name.startswith(before))
        return {name: values[before + name] for name in members if not self.flat or self._is_numbered(name)}

    def before(self, whole: InputSpec) -> str:
        """What stands before the names of the members."""
        return "" if self.flat else f"{whole.name}."

    @property
    def fixed(self) -> tuple[str, ...]:
        """The names that have to be there."""
        return (self.names or tuple(f"{self.prefix}{i}" for i in range(self.min)))[: self.min]

    def _known(self, members: list[str]) -> list[str]:
        if self.names:
            return [name for name in self.names if name in members or name in self.fixed]
        if not self.prefix:
            return sorted(members, key=_by_number)[: self.max]
        numbers = {int(name[len(self.prefix) :]) for name in members if self._is_numbered(name)}
        return [f"{self.prefix}{i}" for i in sorted(numbers.union(range(self.min)))]

    def _is_numbered(self, name: str) -> bool:
        number = name[len(self.prefix) :]
        return (
            name.startswith(self.prefix)
            and number.isdecimal()
            and str(int(number)) == number
            and int(number) < self.max
        )


def _by_number(name: str) -> tuple[str, int]:
    """`branch2` before `branch10`."""
    letters = name.rstrip("0123456789")
    return letters, int(name[len(letters) :] or -1)


@dataclass(frozen=True)  # a ClassVar that overrides another's cannot stand beside slots
class Key(Choice):
    """A choice that decides which inputs there are, so that no link can make it."""

    linkable: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Cases:
    """A choice that brings inputs of its own: `mode`, and for its key "For" also `mode.step`.

    `make`: what builds the value of a key from its inputs; without, the function gets a mapping that also holds the
    key, by the name of the choice.
    """

    options: Mapping[str, tuple[InputSpec, ...]]
    make: Mapping[str, Callable[..., object]] = field(default_factory=lambda: MappingProxyType({}))

    def declared(self, whole: InputSpec, given: Mapping[str, object]) -> Iterator[InputSpec]:
        yield replace(whole, socket="COMBO", widget=Key(tuple(self.options), typed=True), members=None)
        key = given.get(whole.name, whole.default)
        for inner in self.options.get(key, ()) if isinstance(key, str) else ():
            yield from declared(replace(inner, name=f"{whole.name}.{inner.name}"), given)

    def gather(self, whole: InputSpec, values: Mapping[str, object]) -> object:
        key = str(values[whole.name])
        inner = {spec.name: replace(spec, name=f"{whole.name}.{spec.name}") for spec in self.options[key]}
        given = {name: gathered(spec, values) for name, spec in inner.items()}
        if (make := self.make.get(key)) is not None:
            return make(**given)
        return {whole.name.rpartition(".")[2]: key, **given}


def declared(spec: InputSpec, given: Mapping[str, object]) -> Iterator[InputSpec]:
    """The inputs that `spec` stands for: itself, or its members."""
    if spec.members is None:
        yield spec
    else:
        yield from spec.members.declared(spec, given)


def gathered(spec: InputSpec, values: Mapping[str, object]) -> object:
    """The value that the node function gets for `spec`."""
    return values[spec.name] if spec.members is None else spec.members.gather(spec, values)
