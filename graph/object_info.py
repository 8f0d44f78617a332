"""NodeSpec -> the description that ComfyUI clients read under `/object_info`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from graph.files import Folders
from graph.inputs import Cases, Group
from graph.sockets import Choice, File, Float, Int, Text, Widget
from graph.spec import REQUIRED, InputSpec, NodeSpec

MATCH = "COMFY_MATCHTYPE_V3"
"""The type of sockets that have one type, whichever it is: the first link decides."""


def object_info(specs: Mapping[str, NodeSpec], folders: Folders) -> dict[str, dict[str, object]]:
    """`describe` for every node type, by name."""
    return {name: describe(spec, folders) for name, spec in specs.items()}


def describe(spec: NodeSpec, folders: Folders) -> dict[str, object]:
    """One entry of `/object_info`; file lists are as they are now."""
    groups: dict[str, dict[str, object]] = {
        "required": {i.name: _input(i, folders) for i in spec.inputs if not i.optional},
        "optional": {i.name: _input(i, folders) for i in spec.inputs if i.optional},
        "hidden": dict(spec.hidden),
    }
    shown = {group: inputs for group, inputs in groups.items() if inputs or group == "required"}
    info: dict[str, object] = {
        "input": shown,
        "input_order": {group: list(inputs) for group, inputs in shown.items()},
        "output": [MATCH if output.match else output.socket for output in spec.outputs],
        "output_is_list": [output.is_list for output in spec.outputs],
        "output_name": [output.name for output in spec.outputs],
        "name": spec.type,
        "display_name": spec.title,
        "description": spec.description,
        "python_module": spec.module,
        "category": spec.category,
        "output_node": spec.terminal,
    }
    if any(output.tooltip for output in spec.outputs):
        info["output_tooltips"] = [output.tooltip for output in spec.outputs]
    if any(output.match for output in spec.outputs):
        info["output_matchtypes"] = [output.match or None for output in spec.outputs]
    if spec.aliases:
        info["search_aliases"] = list(spec.aliases)
    flags = {"deprecated": spec.deprecated, "experimental": spec.experimental}
    return info | {name: True for name, on in flags.items() if on}


def _input(declared: InputSpec, folders: Folders) -> list[object]:
    options: dict[str, object] = {}
    if declared.members is None and declared.default is not REQUIRED and declared.default is not None:
        options["default"] = declared.default
    options |= _widget_options(declared.widget)
    if declared.tooltip:
        options["tooltip"] = declared.tooltip
    if declared.lazy and not declared.raw:
        options["lazy"] = True
    if declared.raw:
        options["rawLink"] = True
    options |= declared.extra
    match declared.members:
        case Group() as group:
            return ["COMFY_AUTOGROW_V3", options | {"template": _template(group, declared, folders)}]
        case Cases(options=cases):
            shown = [{"key": key, "inputs": _grouped(inputs, folders)} for key, inputs in cases.items()]
            return ["COMFY_DYNAMICCOMBO_V3", options | {"options": shown}]
    match declared.widget:
        case Choice(typed=typed) as choice:
            return _combo(list(choice.options()), typed, options)
        case File(typed=typed) as file:
            return _combo(list(file.options(folders)), typed, options)
        case None if declared.match:
            return [MATCH, options | {"template": {"template_id": declared.match, "allowed_types": declared.socket}}]
        case _:
            return [declared.socket, options]


def _template(group: Group, declared: InputSpec, folders: Folders) -> dict[str, object]:
    """How an editor makes one more member of a group."""
    one = _input(replace(group.of, name=declared.name, members=None), folders)
    kind = "required" if group.min else "optional"
    named = {"names": list(group.names)} if group.names else {"prefix": group.prefix or "value", "max": group.max}
    return {"input": {kind: {group.prefix or "value": one}}, "min": group.min, **named}


def _grouped(inputs: Iterable[InputSpec], folders: Folders) -> dict[str, dict[str, object]]:
    """Inputs by whether they have to be given; a group that nobody has is left out."""
    groups: dict[str, dict[str, object]] = {"required": {}, "optional": {}}
    for declared in inputs:
        groups["optional" if declared.optional else "required"][declared.name] = _input(declared, folders)
    return {group: members for group, members in groups.items() if members}


def _combo(names: list[str], typed: bool, options: dict[str, object]) -> list[object]:
    return ["COMBO", options | {"options": names}] if typed else [names, options]


def _widget_options(widget: Widget | None) -> dict[str, object]:
    """What the editor needs to draw the widget; settings left at nothing are left out."""
    options: dict[str, object] = {}
    match widget:
        case Int(low, high, step, control):
            options = {"min": low, "max": high, "step": step, "control_after_generate": control or None}
        case Float(low, high, step, rounding):
            options = {"min": low, "max": high, "step": step, "round": rounding}
        case Text(multiline, dynamic_prompts):
            options = {"multiline": multiline or None, "dynamicPrompts": dynamic_prompts or None}
        case File(image_upload=True):
            options = {"image_upload": True}
    return {name: value for name, value in options.items() if value is not None}
