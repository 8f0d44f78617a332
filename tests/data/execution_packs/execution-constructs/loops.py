"""Loops: the node that closes one expands to its body once more and to itself; a counted loop is made of the other."""
from comfy_execution.graph_utils import GraphBuilder, is_link

from .tools import ANY, variadic

VALUES = 4


class WhileOpen:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"condition": ("BOOLEAN", {"default": True})},
                "optional": {f"initial_value{i}": (ANY,) for i in range(VALUES)}}

    RETURN_TYPES = ("FLOW_CONTROL", *[ANY] * VALUES)
    RETURN_NAMES = ("FLOW_CONTROL", *[f"value{i}" for i in range(VALUES)])
    FUNCTION = "open"

    def open(self, condition, **kwargs):
        return ("stub", *[kwargs.get(f"initial_value{i}") for i in range(VALUES)])


class WhileClose:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"flow_control": ("FLOW_CONTROL", {"rawLink": True}), "condition": ("BOOLEAN", {"forceInput": True})},
                "optional": {f"initial_value{i}": (ANY,) for i in range(VALUES)},
                "hidden": {"dynprompt": "DYNPROMPT", "unique_id": "UNIQUE_ID"}}

    RETURN_TYPES = tuple([ANY] * VALUES)
    FUNCTION = "close"

    def _upstream(self, node_id, dynprompt, readers):
        for value in dynprompt.get_node(node_id)["inputs"].values():
            if is_link(value):
                if value[0] not in readers:
                    readers[value[0]] = []
                    self._upstream(value[0], dynprompt, readers)
                readers[value[0]].append(node_id)

    def _contained(self, node_id, readers, found):
        for reader in readers.get(node_id, ()):
            if reader not in found:
                found[reader] = True
                self._contained(reader, readers, found)

    def close(self, flow_control, condition, dynprompt=None, unique_id=None, **kwargs):
        values = [kwargs.get(f"initial_value{i}") for i in range(VALUES)]
        if not condition:
            return tuple(values)
        readers, contained = {}, {}
        self._upstream(unique_id, dynprompt, readers)
        begin = flow_control[0]
        self._contained(begin, readers, contained)
        contained[unique_id] = contained[begin] = True
        graph = GraphBuilder()
        name = lambda node_id: "Recurse" if node_id == unique_id else node_id
        for node_id in contained:
            node = graph.node(dynprompt.get_node(node_id)["class_type"], name(node_id))
            node.set_override_display_id(node_id)
        for node_id in contained:
            node = graph.lookup_node(name(node_id))
            for key, value in dynprompt.get_node(node_id)["inputs"].items():
                if is_link(value) and value[0] in contained:
                    node.set_input(key, graph.lookup_node(name(value[0])).out(value[1]))
                else:
                    node.set_input(key, value)
        opened = graph.lookup_node(name(begin))
        for i, value in enumerate(values):
            opened.set_input(f"initial_value{i}", value)
        again = graph.lookup_node("Recurse")
        return {"result": tuple(again.out(i) for i in range(VALUES)), "expand": graph.finalize()}


@variadic
class ForOpen:
    VARIADIC = "*"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"remaining": ("INT", {"default": 1, "min": 0, "max": 100000})},
                "optional": {f"initial_value{i}": (ANY,) for i in range(1, VALUES)},
                "hidden": {"initial_value0": (ANY,)}}

    RETURN_TYPES = ("FLOW_CONTROL", "INT", *[ANY] * (VALUES - 1))
    RETURN_NAMES = ("flow_control", "remaining", *[f"value{i}" for i in range(1, VALUES)])
    FUNCTION = "open"

    def open(self, remaining, **kwargs):
        graph = GraphBuilder()
        if "initial_value0" in kwargs and kwargs["initial_value0"] is not None:
            remaining = kwargs["initial_value0"]
        graph.node("ExWhileOpen", condition=remaining, initial_value0=remaining,
                   **{f"initial_value{i}": kwargs.get(f"initial_value{i}") for i in range(1, VALUES)})
        outputs = [kwargs.get(f"initial_value{i}") for i in range(1, VALUES)]
        return {"result": ("stub", remaining, *outputs), "expand": graph.finalize()}


class ForClose:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"flow_control": ("FLOW_CONTROL", {"rawLink": True})},
                "optional": {f"initial_value{i}": (ANY, {"rawLink": True}) for i in range(1, VALUES)}}

    RETURN_TYPES = tuple([ANY] * (VALUES - 1))
    FUNCTION = "close"

    def close(self, flow_control, **kwargs):
        graph = GraphBuilder()
        begin = flow_control[0]
        less = graph.node("ExIntMath", operation="subtract", a=[begin, 1], b=1)
        more = graph.node("ExToBool", value=less.out(0))
        given = {f"initial_value{i}": kwargs[f"initial_value{i}"] for i in range(1, VALUES) if f"initial_value{i}" in kwargs}
        closed = graph.node("ExWhileClose", flow_control=flow_control, condition=more.out(0), initial_value0=less.out(0), **given)
        return {"result": tuple(closed.out(i) for i in range(1, VALUES)), "expand": graph.finalize()}


NODE_CLASS_MAPPINGS = {"ExWhileOpen": WhileOpen, "ExWhileClose": WhileClose, "ExForOpen": ForOpen, "ExForClose": ForClose}
