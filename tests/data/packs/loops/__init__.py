"""Loops as packs build them: a node that closes one expands to copies of its body, and of itself."""
from comfy_execution.graph import ExecutionBlocker
from comfy_execution.graph_utils import GraphBuilder, is_link

RAN = []
VALUES = 2


class WhileOpen:
    @classmethod
    def INPUT_TYPES(cls):
        values = {f"value{i}": ("*",) for i in range(VALUES)}
        return {"required": {"condition": ("BOOLEAN", {"default": True})}, "optional": values}

    RETURN_TYPES = ("FLOW_CONTROL", *["*"] * VALUES)
    FUNCTION = "open"

    def open(self, condition, **values):
        outputs = [values.get(f"value{i}") if condition else ExecutionBlocker(None) for i in range(VALUES)]
        return ("stub", *outputs)


class WhileClose:
    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"flow": ("FLOW_CONTROL", {"rawLink": True}), "condition": ("BOOLEAN", {"forceInput": True})},
            "optional": {f"value{i}": ("*",) for i in range(VALUES)},
            "hidden": {"dynprompt": "DYNPROMPT", "unique_id": "UNIQUE_ID"},
        }

    RETURN_TYPES = tuple(["*"] * VALUES)
    FUNCTION = "close"

    def upstream(self, node_id, dynprompt, readers):
        for value in dynprompt.get_node(node_id)["inputs"].values():
            if is_link(value):
                is_new = value[0] not in readers
                readers.setdefault(value[0], []).append(node_id)
                if is_new:
                    self.upstream(value[0], dynprompt, readers)

    def body(self, node_id, readers, found):
        for reader in readers.get(node_id, []):
            if reader not in found:
                found[reader] = True
                self.body(reader, readers, found)

    def close(self, flow, condition, dynprompt=None, unique_id=None, **values):
        outputs = tuple(values.get(f"value{i}") for i in range(VALUES))
        if not condition:
            return outputs
        readers, found = {}, {}
        self.upstream(unique_id, dynprompt, readers)
        self.body(flow[0], readers, found)
        found |= {unique_id: True, flow[0]: True}
        graph = GraphBuilder()

        def named(node_id):
            return "Recurse" if node_id == unique_id else node_id

        for node_id in found:
            node = graph.node(dynprompt.get_node(node_id)["class_type"], named(node_id))
            node.set_override_display_id(node_id)
        for node_id in found:
            for key, value in dynprompt.get_node(node_id)["inputs"].items():
                if is_link(value) and value[0] in found:
                    value = graph.lookup_node(named(value[0])).out(value[1])
                graph.lookup_node(named(node_id)).set_input(key, value)
        for i, value in enumerate(outputs):
            graph.lookup_node(flow[0]).set_input(f"value{i}", value)
        return {"result": tuple(graph.lookup_node("Recurse").out(i) for i in range(VALUES)), "expand": graph.finalize()}


class Step:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"count": ("INT", {"forceInput": True}), "by": ("INT", {"default": 1})}, "optional": {"image": ("IMAGE",)}}

    RETURN_TYPES = ("INT", "BOOLEAN", "IMAGE")
    FUNCTION = "step"

    def step(self, count, by, image=None):
        RAN.append(count)
        return (count + by, count + by < 6, None if image is None else image * 0.5)


class Number:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {"default": 0})}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "go"

    def go(self, value):
        return (value,)


NODE_CLASS_MAPPINGS = {f"Loops{cls.__name__}": cls for cls in (WhileOpen, WhileClose, Step, Number)}
