"""What files of the editor leave to the node type: its inputs in order, and which of them are fields with a value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, TypeAlias

from graph.files import Folders
from graph.object_info import MATCH, describe
from graph.sockets import ANY
from graph.spec import NodeSpec

Control: TypeAlias = Literal["", "number", "combo"]
"""Whether a control word (`fixed`, `randomize`, …) stands behind a value, and for combos a filter text behind that."""

WIDGETS = frozenset(
    {
        "INT",
        "FLOAT",
        "STRING",
        "BOOLEAN",
        "COMBO",
        "COMFY_DYNAMICCOMBO_V3",
        "MARKDOWN",
        "COLOR",
        "BOUNDING_BOX",
        "IMAGEUPLOAD",
    }
)
"""Types of inputs that editors draw a field for."""
GROUP = "COMFY_AUTOGROW_V3"
_UPLOADS = ("image_upload", "animated_image_upload", "video_upload")
_SEEDS = ("seed", "noise_seed")


@dataclass(frozen=True, slots=True)
class InputShape:
    """One input. `type` is one name, COMBO for a list of choices.

    `branches` are the inputs that each choice of a dynamic combo adds, with their full dotted names.
    """

    name: str
    type: str = ANY
    is_field: bool = False
    forced: bool = False
    optional: bool = False
    control: Control = ""
    has_button: bool = False
    choices: Sequence[object] = ()
    options: Mapping[str, object] = field(default_factory=dict)
    branches: Mapping[str, tuple[InputShape, ...]] = field(default_factory=dict)

    @property
    def default(self) -> object:
        """What the field holds until somebody says otherwise."""
        given = self.options.get("default")
        if "default" in self.options and not isinstance(given, list | tuple):
            return given
        if self.type == "COMBO" or self.branches:
            return self.choices[0] if self.choices else ""
        if self.type in ("INT", "FLOAT"):
            low = self.options.get("min", 0)
            return max(0, low) if isinstance(low, int | float) else 0
        return False if self.type == "BOOLEAN" else ""


@dataclass(frozen=True, slots=True)
class NodeShape:
    """A node type. `outputs` are the names of the outputs' types."""

    type: str
    title: str
    inputs: tuple[InputShape, ...] = ()
    outputs: tuple[str, ...] = ()
    is_terminal: bool = False

    def find(self, name: str) -> InputShape | None:
        """The input of that name; not one that only a choice adds."""
        return next((shape for shape in self.inputs if shape.name == name), None)


Shapes: TypeAlias = Callable[[str], NodeShape | None]
"""From the name of a node type to its shape; None for unknown ones."""


def shapes_of(specs: Mapping[str, NodeSpec], folders: Folders) -> Shapes:
    """The shapes of known node types, each made once when it is first asked for; file lists are as they are now."""
    made: dict[str, NodeShape | None] = {}

    def find(type_name: str) -> NodeShape | None:
        if type_name not in made:
            spec = specs.get(type_name)
            made[type_name] = read_shape(type_name, describe(spec, folders)) if spec else None
        return made[type_name]

    return find


def read_shape(type_name: str, entry: Mapping[str, object]) -> NodeShape:
    """One entry of `/object_info`."""
    given = entry.get("input")
    orders = entry.get("input_order")
    groups = given if isinstance(given, Mapping) else {}
    order = orders if isinstance(orders, Mapping) else {}
    inputs = tuple(_inputs(groups, order))
    return NodeShape(
        type_name,
        str(entry.get("display_name") or type_name),
        inputs,
        tuple(_outputs(entry, {_template(shape.options): shape.type for shape in inputs})),
        entry.get("output_node") is True,
    )


def type_of(given: object) -> str:
    """A socket's type as one name: a list of choices is COMBO, nothing at all and what a link decides is `*`."""
    if isinstance(given, list):
        return "COMBO"
    return given if isinstance(given, str) and given not in ("", MATCH) else ANY


def fits(given: str, wanted: str) -> bool:
    """Whether editors let an output of type `given` into an input of type `wanted`: upper and lower case are one."""
    if ANY in (given, wanted):
        return True
    left, right = given.lower(), wanted.lower()
    if left == right:
        return True
    members = {name.strip() for name in left.split(",")}
    return ("," in left or "," in right) and any(name.strip() in members for name in right.split(","))


def _inputs(groups: Mapping[str, object], order: Mapping[str, object]) -> Iterator[InputShape]:
    for group in ("required", "optional"):
        members = groups.get(group)
        if not isinstance(members, Mapping):
            continue
        listed = order.get(group)
        first = [name for name in listed if name in members] if isinstance(listed, list) else []
        for name in dict.fromkeys([*first, *members]):
            if isinstance(declared := members[name], list | tuple) and declared:
                yield _input(name, declared, optional=group == "optional")


def _outputs(entry: Mapping[str, object], matched: Mapping[str, str]) -> Iterator[str]:
    """The types of the outputs; what matches an input has the types that this takes."""
    outputs, templates = entry.get("output"), entry.get("output_matchtypes")
    for slot, given in enumerate(outputs if isinstance(outputs, Sequence) else ()):
        template = templates[slot] if isinstance(templates, list) and slot < len(templates) else None
        yield matched.get(str(template), ANY) if given == MATCH else type_of(given)


def _template(options: Mapping[str, object]) -> str:
    template = options.get("template")
    return str(template.get("template_id", "")) if isinstance(template, Mapping) else ""


def _allowed(options: Mapping[str, object]) -> str:
    template = options.get("template")
    return type_of(template.get("allowed_types")) if isinstance(template, Mapping) else ANY


def _input(name: str, declared: Sequence[object], *, optional: bool) -> InputShape:
    given = declared[1] if len(declared) > 1 else {}
    options = given if isinstance(given, Mapping) else {}
    type_name = _allowed(options) if declared[0] == MATCH else type_of(declared[0])
    drawn = options.get("widgetType")
    is_field = (drawn if isinstance(drawn, str) and drawn else type_name) in WIDGETS
    forced = options.get("forceInput") is True
    listed = declared[0] if isinstance(declared[0], list) else options.get("options")
    choices = listed if isinstance(listed, list) else []
    shape = InputShape(
        name,
        type_name,
        is_field and not forced,
        is_field and forced,
        optional,
        _control(name, type_name, options),
        type_name == "COMBO" and any(options.get(key) is True for key in _UPLOADS),
        tuple(choices),
        options,
    )
    return _branching(shape) if type_name == "COMFY_DYNAMICCOMBO_V3" else shape


def _control(name: str, type_name: str, options: Mapping[str, object]) -> Control:
    asked = options.get("control_after_generate")
    if type_name == "INT" and (bool(asked) if asked is not None else name in _SEEDS):
        return "number"
    return "combo" if type_name == "COMBO" and asked else ""


def _branching(shape: InputShape) -> InputShape:
    """A dynamic combo with what each of its choices adds."""
    branches: dict[str, tuple[InputShape, ...]] = {}
    for option in shape.choices:
        if isinstance(option, Mapping):
            held = option.get("inputs")
            inside = _inputs(held if isinstance(held, Mapping) else {}, {})
            branches[str(option.get("key"))] = tuple(_prefixed(each, shape.name) for each in inside)
    return replace(shape, choices=tuple(branches), branches=MappingProxyType(branches))


def _prefixed(shape: InputShape, prefix: str) -> InputShape:
    branches = {key: tuple(_prefixed(each, prefix) for each in inside) for key, inside in shape.branches.items()}
    return replace(shape, name=f"{prefix}.{shape.name}", branches=MappingProxyType(branches))
