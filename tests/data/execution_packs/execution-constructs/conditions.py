"""Numbers, conditions, switches, and what keeps others from running."""
from comfy_execution.graph import ExecutionBlocker

from .tools import ANY, variadic


class IntMath:
    @classmethod
    def INPUT_TYPES(cls):
        number = ("INT", {"default": 0, "min": -0xFFFFFFFFFFFFFFFF, "max": 0xFFFFFFFFFFFFFFFF})
        return {"required": {"a": number, "b": number, "operation": (["add", "subtract", "multiply", "divide"],)}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "go"

    def go(self, a, b, operation):
        return ({"add": a + b, "subtract": a - b, "multiply": a * b, "divide": a // b if b else 0}[operation],)


class IntCondition:
    @classmethod
    def INPUT_TYPES(cls):
        number = ("INT", {"default": 0, "min": -0xFFFFFFFFFFFFFFFF, "max": 0xFFFFFFFFFFFFFFFF})
        return {"required": {"a": number, "b": number, "operation": (["==", "!=", "<", ">", "<=", ">="],)}}

    RETURN_TYPES = ("BOOLEAN",)
    FUNCTION = "go"

    def go(self, a, b, operation):
        return ({"==": a == b, "!=": a != b, "<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b}[operation],)


class ToBool:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (ANY,)}, "optional": {"invert": ("BOOLEAN", {"default": False})}}

    RETURN_TYPES = ("BOOLEAN",)
    FUNCTION = "go"

    def go(self, value, invert=False):
        found = bool(value.max().item() != 0) if hasattr(value, "max") else bool(value)
        return (not found if invert else found,)


class LazySwitch:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"switch": ("BOOLEAN",), "false_value": (ANY, {"lazy": True}), "true_value": (ANY, {"lazy": True})}}

    RETURN_TYPES = (ANY,)
    FUNCTION = "go"

    def check_lazy_status(self, switch, false_value=None, true_value=None):
        if switch and true_value is None:
            return ["true_value"]
        if not switch and false_value is None:
            return ["false_value"]

    def go(self, switch, false_value=None, true_value=None):
        return (true_value if switch else false_value,)


@variadic
class NamedSwitch:
    """Which of any number of lazy inputs is taken."""

    VARIADIC = "*"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"which": ("STRING", {"default": "value1"})},
                "optional": {f"value{i}": (ANY, {"lazy": True}) for i in range(1, 4)}}

    RETURN_TYPES = (ANY,)
    FUNCTION = "go"

    def check_lazy_status(self, which, **kwargs):
        return [which] if kwargs.get(which) is None else []

    def go(self, which, **kwargs):
        return (kwargs[which],)


class Blocker:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"input": (ANY,), "block": ("BOOLEAN",), "verbose": ("BOOLEAN", {"default": False})}}

    RETURN_TYPES = (ANY, "BOOLEAN")
    FUNCTION = "go"

    def go(self, input, block, verbose):
        if block:
            return (ExecutionBlocker("Blocked Execution" if verbose else None), True)
        return (input, False)


class BlockAll:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"input": (ANY,)}}

    RETURN_TYPES = (ANY, ANY)
    FUNCTION = "go"

    def go(self, input):
        return ExecutionBlocker(None)


NODE_CLASS_MAPPINGS = {
    "ExIntMath": IntMath, "ExIntCondition": IntCondition, "ExToBool": ToBool, "ExLazySwitch": LazySwitch,
    "ExNamedSwitch": NamedSwitch, "ExBlocker": Blocker, "ExBlockAll": BlockAll,
}
