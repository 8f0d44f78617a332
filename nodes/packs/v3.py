"""ComfyUI's third protocol: a class with `define_schema` and `execute` -> a NodeSpec."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

from graph.inputs import REQUIRED, Cases, Group, InputSpec, OutputSpec, gathered
from graph.sockets import ANY, Anything, Float, Int, Text, Toggle, Widget
from graph.spec import NodeSpec
from nodes.packs.calling import PackNode, behind, run, run_async
from nodes.packs.checks import check_of, self_checked
from nodes.packs.choices import AnyChoice, OpenChoice, SeveralChoices
from nodes.packs.freshness import Freshness
from nodes.packs.host import Host
from nodes.packs.shim.api_inputs import Autogrow, Input, MatchType
from nodes.packs.shim.api_io import Hidden, Schema
from nodes.packs.shim.graph_utils import ExecutionBlocker
from nodes.services import Context


def v3_spec(cls: Any, host: Host) -> NodeSpec:
    """The node type of a class. Raises what the class raises, TypeError or AttributeError for one that does not keep to the protocol."""
    schema: Schema = cls.define_schema()
    unchecked = self_checked(check_of(cls))
    inputs = tuple(
        _input(given, schema.is_input_list, is_open=unchecked is None or given.id in unchecked)
        for given in schema.inputs
    )
    outputs = tuple(_outputs(schema))
    shown = [*schema.hidden, *([Hidden.prompt, Hidden.extra_pnginfo] if schema.is_output_node else [])]
    is_async = inspect.iscoroutinefunction(cls.execute)
    node = PackNode(
        host,
        "execute",
        outputs,
        {},
        schema.is_input_list,
        partial(_Called, cls, tuple(dict.fromkeys(shown)), schema),
        partial(_gathered, inputs),
    )
    return NodeSpec(
        type=schema.node_id,
        function=cls.execute,
        inputs=inputs,
        outputs=outputs,
        run=partial(run_async if is_async else run, node),
        category=schema.category,
        title=schema.display_name or schema.node_id,
        description=inspect.cleandoc(schema.description or ""),
        terminal=schema.is_output_node,
        lane="async" if is_async else "device",
        freshness=Freshness(getattr(cls, "fingerprint_inputs", None), host, Hidden.unique_id in shown),
        hidden={hidden.name: hidden.value for hidden in dict.fromkeys(shown)},
        deprecated=schema.is_deprecated,
        experimental=schema.is_experimental,
        aliases=tuple(schema.search_aliases),
        idempotent=not schema.not_idempotent,
        undeclared=_any_value if schema.accept_all_inputs else None,
    )


class _Called:
    """The class with what is hidden, for one call."""

    def __init__(self, cls: Any, hidden: tuple[Hidden, ...], schema: Schema, context: Context) -> None:
        values = {it.name: behind(context, it.value) for it in hidden}
        own = {"hidden": SimpleNamespace(**values), "__module__": cls.__module__, "is_locked": True}
        self._cls: Any = type(cls)(cls.__name__, (cls,), own)
        self._schema = schema

    def execute(self, **inputs: Any) -> Any:
        """Run it; what it returns as the first protocol has it."""
        returned = self._cls.execute(**inputs)
        return self._later(returned) if inspect.isawaitable(returned) else self._as_v1(returned)

    async def _later(self, promise: Any) -> Any:
        return self._as_v1(await promise)

    @property
    def check_lazy_status(self) -> Any:
        """Which lazy inputs it asks for, where it says."""
        return getattr(self._cls, "check_lazy_status", None)

    def _as_v1(self, returned: Any) -> Any:
        if returned is None or isinstance(returned, tuple | dict | ExecutionBlocker):
            return returned
        if isinstance(returned, list):
            raise TypeError("returned a list, expected NodeOutput or a tuple")
        if returned.block_execution is not None:
            return ExecutionBlocker(returned.block_execution)
        if returned.expand is not None and not self._schema.enable_expand:
            raise TypeError("returned an expansion, which its schema does not declare (enable_expand)")
        ui = returned.ui.as_dict() if hasattr(returned.ui, "as_dict") else returned.ui or {}
        whole = {"ui": ui, "result": returned.args}
        return whole if returned.expand is None else {**whole, "expand": returned.expand}


def _any_value(name: str) -> InputSpec:
    return InputSpec(name, ANY, Anything(), None, optional=True)


def _input(given: Input, is_list: bool, *, is_open: bool = False) -> InputSpec:
    """is_open: the class itself says which values it takes."""
    spec = InputSpec(
        name=given.id,
        socket=given.io_type,
        widget=_widget(given, is_open=is_open),
        default=None if given.optional else REQUIRED,
        optional=given.optional,
        tooltip=given.tooltip or "",
        extra={
            **{key: value for key, value in given.options.items() if key != "options"},
            **({"display_name": given.display_name} if given.display_name else {}),
            **({"lazy": True} if given.lazy else {}),
        },
        lazy=given.lazy,
        raw=given.raw,
        is_list=is_list,
    )
    match given.template:
        case MatchType.Template(template_id=name):
            return replace(spec, match=name)
        case Autogrow.TemplatePrefix(input=one, prefix=prefix, min=least, max=most):
            return replace(spec, members=Group(prefix, (), least, most, _input(one, is_list)))
        case Autogrow.TemplateNames(input=one, names=names, min=least):
            return replace(spec, members=Group("", tuple(names), least, len(names), _input(one, is_list)))
        case tuple() as options:
            cases = {option.key: tuple(_input(inner, is_list) for inner in option.inputs) for option in options}
            return replace(spec, members=Cases(cases))
        case _:
            return spec


def _widget(given: Input, *, is_open: bool) -> Widget | None:
    options = given.options
    low, high = (None, None) if is_open else (options.get("min"), options.get("max"))
    match options.get("widgetType", given.io_type):
        case "INT":
            return Int(low, high)
        case "FLOAT":
            return Float(low, high)
        case "STRING":
            return Text()
        case "BOOLEAN":
            return Toggle()
        case "COMBO":
            choice = SeveralChoices if options.get("multiselect") else OpenChoice if is_open else AnyChoice
            return choice(tuple(options.get("options", ())), typed=True)
        case _:
            return None


def _outputs(schema: Schema) -> Iterator[OutputSpec]:
    for output in schema.outputs:
        match = output.template.template_id if isinstance(output.template, MatchType.Template) else ""
        name = output.display_name or output.id or output.io_type
        yield OutputSpec(name, output.io_type, output.tooltip or "", output.is_output_list, match)


def _gathered(inputs: tuple[InputSpec, ...], given: Mapping[str, object]) -> Mapping[str, object]:
    """Groups and choices as one dictionary each; what was not given is left out."""
    grouped = {spec.name: spec for spec in inputs if spec.members is not None}
    plain = {name: value for name, value in given.items() if name.partition(".")[0] not in grouped}
    return plain | {name: _thawed(gathered(spec, given)) for name, spec in grouped.items()}


def _thawed(value: object) -> object:
    return {key: _thawed(item) for key, item in value.items()} if isinstance(value, Mapping) else value
