"""The shapes of nodes: lazy, lists, blocked, expanding, async, any type, any input, its own checks."""
import asyncio
from comfy_execution.graph import ExecutionBlocker
from comfy_execution.graph_utils import GraphBuilder

RAN = []


class AnyType(str):
    def __ne__(self, other):
        return False


ANY = AnyType("*")


def node(name, inputs, returns, category="shapes", **attributes):
    def declare(function):
        members = {
            "INPUT_TYPES": classmethod(lambda cls: inputs() if callable(inputs) else inputs),
            "RETURN_TYPES": returns,
            "FUNCTION": "go",
            "CATEGORY": category,
            "go": function,
            **attributes,
        }
        NODE_CLASS_MAPPINGS[name] = type(name, (), members)
        return function

    return declare


NODE_CLASS_MAPPINGS = {}


@node("ShapesNumber", {"required": {"value": ("INT", {"default": 0})}}, ("INT",))
def number(self, value):
    RAN.append(("number", value))
    return (value,)


def wanted(self, which, a=None, b=None):
    name = "a" if which else "b"
    return [name] if {"a": a, "b": b}[name] is None else []


@node(
    "ShapesLazy",
    {"required": {"which": ("BOOLEAN", {}), "a": (ANY, {"lazy": True}), "b": (ANY, {"lazy": True})}},
    (ANY,),
    check_lazy_status=wanted,
)
def lazy(self, which, a=None, b=None):
    return (a if which else b,)


@node("ShapesRange", {"required": {"count": ("INT", {"default": 3, "min": 0})}}, ("INT",), OUTPUT_IS_LIST=(True,))
def numbers(self, count):
    return (list(range(count)),)


@node("ShapesSum", {"required": {"values": ("INT", {"forceInput": True})}}, ("INT",), INPUT_IS_LIST=True)
def total(self, values):
    return (sum(values),)


@node("ShapesBlock", {"required": {"value": (ANY,), "block": ("BOOLEAN", {}), "why": ("STRING", {"default": ""})}}, (ANY,))
def block(self, value, block, why):
    return (ExecutionBlocker(why or None) if block else value,)


@node("ShapesTwice", {"required": {"value": ("INT", {"forceInput": True})}}, ("INT",))
def twice(self, value):
    graph = GraphBuilder()
    inner = graph.node("ShapesAdd", a=value, b=value)
    return {"result": (inner.out(0),), "expand": graph.finalize()}


@node("ShapesAdd", {"required": {"a": ("INT", {}), "b": ("INT", {})}}, ("INT",))
def add(self, a, b):
    RAN.append(("add", a, b))
    return (a + b,)


@node("ShapesSlow", {"required": {"value": ("INT", {"forceInput": True})}}, ("INT",))
async def slow(self, value):
    await asyncio.sleep(0)
    return (value + 1,)


class Anything(dict):
    def __contains__(self, key):
        return True

    def __getitem__(self, key):
        return (ANY,)


@node("ShapesAnyInputs", lambda: {"required": {}, "optional": Anything()}, ("INT",))
def any_inputs(self, **inputs):
    return (sum(inputs.values()),)


def checked(cls, even):
    return True if even % 2 == 0 else f"{even} is odd"


@node("ShapesChecked", {"required": {"even": ("INT", {"max": 4})}}, ("INT",), VALIDATE_INPUTS=classmethod(checked))
def even(self, even):
    return (even,)


@node(
    "ShapesFresh",
    {"required": {"value": ("INT", {"default": 0})}},
    ("INT",),
    IS_CHANGED=classmethod(lambda cls, value: float("nan")),
)
def fresh(self, value):
    RAN.append(("fresh", value))
    return (value,)


@node("ShapesShow", {"required": {"value": (ANY,)}}, (), OUTPUT_NODE=True)
def show(self, value):
    return {"ui": {"shown": [value]}}
