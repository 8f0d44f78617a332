"""What a declaration says, and that nothing else has to be said."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import ModuleType
from typing import Annotated, Any, NamedTuple

import pytest

from graph.context import Cancel, Context, Run
from graph.document import Document
from graph.files import FileRef, Folders
from graph.node_shapes import read_shape
from graph.object_info import describe, object_info
from graph.result import Outputs, Shown
from graph.sockets import Choice, File, Float, Int, Text, Toggle
from graph.spec import REQUIRED, Extra, InputSpec, Named, NodeSpec, OutputSpec, Registry, Tip, Together, collect, node
from tests.graph.flow import FLOW
from tests.graph.stubs import REGISTRY, Num, number


class Model:
    """A stand-in for a type of another package."""

    socket = "MODEL"


class Conditioning:
    """Another."""

    socket = "CONDITIONING"


class Mask:
    """And another."""

    socket = "MASK"


class Both(NamedTuple):
    """Two outputs, one of which has a name of its own."""

    model: Annotated[Model, Tip("Weights.")]
    positive: Conditioning
    latent: Annotated[Num, Named("latent")]


Ctx = Context[None]


def declared(function: Any, **more: Any) -> NodeSpec:
    """The spec of a function."""
    return node("Test", category="test", **more)(function)


def test_the_signature_is_the_declaration() -> None:
    def function(
        ctx: Ctx,
        *,
        model: Annotated[Model, Tip("The model.")],
        steps: Annotated[int, Int(1, 10_000, tooltip="How many.")] = 20,
        either: Mask | Model,
        mask: Mask | None = None,
        strength: Annotated[float | None, Float(0.0, 1.0, step=0.01)] = 1.0,
        anything: object,
        plain: bool = False,
    ) -> Both:
        """Does little.

        And says so.
        """
        raise NotImplementedError

    spec = declared(function, title="A Test", terminal=True, lane="io")
    assert spec.inputs == (
        InputSpec("model", "MODEL", tooltip="The model."),
        InputSpec("steps", "INT", Int(1, 10_000, tooltip="How many."), 20, tooltip="How many."),
        InputSpec("either", "MASK,MODEL"),
        InputSpec("mask", "MASK", None, None, optional=True),
        InputSpec("strength", "FLOAT", Float(0.0, 1.0, step=0.01), 1.0, optional=True),
        InputSpec("anything", "*"),
        InputSpec("plain", "BOOLEAN", Toggle(), False),
    )
    assert spec.inputs[0].default is REQUIRED
    assert spec.outputs == (
        OutputSpec("MODEL", "MODEL", "Weights."),
        OutputSpec("positive", "CONDITIONING"),
        OutputSpec("latent", "NUM"),
    )
    assert (spec.title, spec.category, spec.terminal, spec.lane) == ("A Test", "test", True, "io")
    assert spec.description == "Does little.\n\nAnd says so."


@pytest.mark.parametrize(
    ("returns", "outputs"),
    [
        (Model, (OutputSpec("MODEL", "MODEL"),)),
        (
            Annotated[Model, Named("patched_model"), Tip("Changed.")],
            (OutputSpec("patched_model", "MODEL", "Changed."),),
        ),
        (int, (OutputSpec("INT", "INT"),)),
        (None, ()),
        (Outputs, ()),
    ],
)
def test_the_return_type_says_what_comes_out(returns: Any, outputs: tuple[OutputSpec, ...]) -> None:
    def function(ctx: Ctx) -> None: ...

    function.__annotations__["return"] = returns
    assert declared(function).outputs == outputs


def test_a_node_is_called_like_its_function() -> None:
    def double(ctx: Ctx, *, value: int = 4) -> int:
        return 2 * value

    assert declared(double)(None, value=3) == 6


def _positional(ctx: Ctx, value: int) -> int: ...  # type: ignore[empty-body]
def _untyped(ctx, *, value) -> int: ...  # type: ignore[no-untyped-def, empty-body]
def _no_return(ctx: Ctx, *, value: int): ...  # type: ignore[no-untyped-def]
def _no_socket(ctx: Ctx, *, value: bytes) -> int: ...  # type: ignore[empty-body]
def _no_default(ctx: Ctx, *, value: Model | None) -> int: ...  # type: ignore[empty-body]
def _odd_output(ctx: Ctx) -> bytes: ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_positional, "input 'value' must be keyword-only"),
        (_untyped, "input 'value' has no type"),
        (_no_return, "the return type is missing"),
        (_no_socket, "<class 'bytes'> is no socket type; give it a class attribute `socket`"),
        (_no_default, "optional input 'value' has no default"),
        (_odd_output, "<class 'bytes'> is no socket type"),
    ],
)
def test_a_declaration_that_says_too_little_names_its_function(function: Any, message: str) -> None:
    place = f"node function {function.__module__}.{function.__qualname__}"
    with pytest.raises(TypeError, match=re.escape(f"{place}: {message}")):
        declared(function)


def run(function: Any) -> Any:
    """Run the node of a function without inputs."""
    context = Context("1", Run("run", Document({}), cancel=Cancel()), None)
    return declared(function).run(context, {})


def test_what_a_function_returns_becomes_outputs() -> None:
    def one(ctx: Ctx) -> Num:
        return Num(1)

    def several(ctx: Ctx) -> Both:
        return Both(Model(), Conditioning(), Num(2))

    def shown(ctx: Ctx) -> Outputs:
        return Outputs(ui={"text": ["hello"]})

    def nothing(ctx: Ctx) -> None:
        return None

    assert run(one) == Outputs((Num(1),))
    assert run(several).values[2] == Num(2)
    assert run(shown).ui == {"text": ["hello"]}
    assert run(nothing) == Outputs()


def test_outputs_and_something_to_show_come_together() -> None:
    def both(ctx: Ctx) -> Shown[Annotated[Num, Named("sum")]]:
        return Shown(Num(3), {"text": ["three"]})

    def bare(ctx: Ctx) -> Shown[Num]:
        return Num(3)  # type: ignore[return-value]

    assert declared(both).outputs == (OutputSpec("sum", "NUM"),)
    assert run(both) == Outputs((Num(3),), {"text": ["three"]})
    with pytest.raises(TypeError, match="returned Num, declared Shown"):
        run(bare)


def test_a_result_of_the_wrong_type_is_caught_where_it_is_made() -> None:
    def forgot(ctx: Ctx) -> Num:
        return None  # type: ignore[return-value]

    def few(ctx: Ctx) -> Both:
        return Model(), Conditioning()  # type: ignore[return-value]

    def surplus(ctx: Ctx) -> None:
        return 3  # type: ignore[return-value]

    def unshown(ctx: Ctx) -> Outputs:
        return {"ui": {}}  # type: ignore[return-value]

    for function, message in (
        (forgot, "returned NoneType, declared Num"),
        (few, "returned tuple, declared Both"),
        (surplus, "returned int, declared None"),
        (unshown, "returned dict, declared Outputs"),
    ):
        with pytest.raises(TypeError, match=message):
            run(function)


def test_specs_are_collected_from_modules_in_order_and_once() -> None:
    import tests.graph.stubs as stubs

    again = ModuleType("again")
    again.__dict__["number"] = number
    assert collect(stubs, again)[:2] == [REGISTRY["Number"], REGISTRY["Add"]]
    assert len(collect(stubs, again)) == len(REGISTRY)
    assert list(Registry(collect(stubs))) == list(REGISTRY)


def test_who_reads_a_registry_sees_the_node_types_of_one_moment() -> None:
    registry = Registry(REGISTRY.values())
    seen = []
    for name, spec in registry.items():  # as when packs change while somebody asks for all node types
        registry.replace([number])
        seen.append((name, spec.type))
    assert seen == [(name, name) for name in REGISTRY]
    registry.replace(REGISTRY.values())
    for spec in registry.values():
        registry.replace([number])
        assert spec is REGISTRY[spec.type]


def test_object_info_has_the_shape_that_clients_know(folders: Folders) -> None:
    for name in ("b.safetensors", "a.ckpt", "notes.txt"):
        (folders.base / "models/checkpoints" / name).write_bytes(b"")
    (folders.input_dir / "cat.png").write_bytes(b"")

    def function(
        ctx: Ctx,
        *,
        model: Model,
        seed: Annotated[int, Int(0, 2**64 - 1, control_after_generate=True)] = 0,
        cfg: Annotated[float, Float(0.0, 100.0, step=0.1, round=0.01)] = 8.0,
        text: Annotated[str, Text(multiline=True, dynamic_prompts=True, tooltip="What to see.")],
        add: Annotated[bool, Toggle()] = True,
        sampler: Annotated[str, Choice(("euler", "heun"))],
        method: Annotated[str, Choice({"area": len, "bicubic": len}, typed=True)] = "area",
        late: Annotated[str, Choice(lambda: ["now"])],
        ckpt: Annotated[FileRef, File("checkpoints")],
        image: Annotated[FileRef, File("input", image_upload=True)],
        color: Annotated[int, Int(0, 9), Extra({"display": "color"})] = 0,
        mask: Annotated[Mask | None, Tip("Where.")] = None,
        strength: Annotated[float | None, Float(0.0, 1.0)] = 1.0,
    ) -> Both:
        raise NotImplementedError

    spec = declared(function, title="A Test", terminal=True, hidden={"prompt": "PROMPT"}, experimental=True)
    info = describe(spec, folders)
    assert info == {
        "input": {
            "required": {
                "model": ["MODEL", {}],
                "seed": ["INT", {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}],
                "cfg": ["FLOAT", {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01}],
                "text": ["STRING", {"multiline": True, "dynamicPrompts": True, "tooltip": "What to see."}],
                "add": ["BOOLEAN", {"default": True}],
                "sampler": [["euler", "heun"], {}],
                "method": ["COMBO", {"default": "area", "options": ["area", "bicubic"]}],
                "late": [["now"], {}],
                "ckpt": [["a.ckpt", "b.safetensors"], {}],
                "image": [["cat.png"], {"image_upload": True}],
                "color": ["INT", {"default": 0, "min": 0, "max": 9, "display": "color"}],
            },
            "optional": {
                "mask": ["MASK", {"tooltip": "Where."}],
                "strength": ["FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0}],
            },
            "hidden": {"prompt": "PROMPT"},
        },
        "input_order": {
            "required": [
                "model", "seed", "cfg", "text", "add", "sampler", "method", "late", "ckpt", "image", "color",
            ],
            "optional": ["mask", "strength"],
            "hidden": ["prompt"],
        },
        "output": ["MODEL", "CONDITIONING", "NUM"],
        "output_is_list": [False, False, False],
        "output_name": ["MODEL", "positive", "latent"],
        "output_tooltips": ["Weights.", "", ""],
        "name": "Test",
        "display_name": "A Test",
        "description": "",
        "python_module": __name__,
        "category": "test",
        "output_node": True,
        "experimental": True,
    }  # fmt: skip
    assert object_info({"Test": spec}, folders) == {"Test": info}


def test_a_node_without_inputs_still_has_a_required_group(folders: Folders) -> None:
    def nothing(ctx: Ctx) -> int: ...  # type: ignore[empty-body]

    info = describe(declared(nothing), folders)
    assert (info["input"], info["input_order"]) == ({"required": {}}, {"required": []})


def test_inputs_and_outputs_of_one_type_say_what_it_is_called(folders: Folders) -> None:
    """As today's editors read them: the first link decides."""
    switch = describe(FLOW["Choose"], folders)
    lazy = {"template": {"template_id": "T", "allowed_types": "*"}, "lazy": True}
    assert switch["input"] == {
        "required": {"first": ["BOOLEAN", {}]},
        "optional": {"a": ["COMFY_MATCHTYPE_V3", lazy], "b": ["COMFY_MATCHTYPE_V3", lazy]},
    }
    assert (switch["output"], switch["output_matchtypes"]) == (["COMFY_MATCHTYPE_V3"], ["T"])
    of_many = describe(FLOW["ChooseOfMany"], folders)
    group = of_many["input"]["required"]["branches"]  # type: ignore[index]
    assert group[1]["template"]["input"] == {"optional": {"value": ["COMFY_MATCHTYPE_V3", lazy]}}
    assert "output_matchtypes" not in describe(FLOW["Add"], folders)
    shape = read_shape("Choose", switch)
    assert ([it.type for it in shape.inputs], shape.outputs) == (["BOOLEAN", "*", "*"], ("*",))
    few = ["COMFY_MATCHTYPE_V3", {"template": {"template_id": "kind", "allowed_types": "IMAGE,MASK"}}]
    resize = {"input": {"required": {"input": few}}, "output": ["COMFY_MATCHTYPE_V3", "INT"]}
    shape = read_shape("Resize", resize | {"output_matchtypes": ["kind", None]})
    assert (shape.inputs[0].type, shape.outputs) == ("IMAGE,MASK", ("IMAGE,MASK", "INT"))


def test_one_mapping_stands_for_inputs_whose_names_are_no_names_of_python() -> None:
    def function(
        ctx: Ctx, *, first: int, shares: Annotated[Mapping[str, float], Together(("a.", "b.1."), 0.5), Float(0.0, 1.0)]
    ) -> float:
        return first + shares["a."] * 10 + shares["b.1."] * 100

    spec = declared(function)
    assert [(each.name, each.socket, each.default) for each in spec.inputs][1:] == [
        ("a.", "FLOAT", 0.5),
        ("b.1.", "FLOAT", 0.5),
    ]
    assert spec.is_fixed and spec.is_eager
    assert spec.run(None, {"first": 1, "a.": 2.0, "b.1.": 3.0}) == Outputs((321.0,))
