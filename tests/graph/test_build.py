"""What a document may say, and what is said about one that is wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest

from graph.build import Graph, build, enforce
from graph.document import DocNode, Document, parse
from graph.errors import GraphError, Severity
from graph.files import FileRef
from tests.graph.stubs import REGISTRY, Lab, doc, edited, link


@pytest.fixture
def whole(lab: Lab) -> Document:
    """A document that uses every kind of input, and is right."""
    (lab.folders.base / "models/checkpoints/sd-v1-4.safetensors").write_text("1")
    return doc(
        {
            "1": ("Number", {"value": 3}),
            "2": (
                "Widgets",
                {
                    "whole": 64,
                    "real": 0.5,
                    "text": "a cat",
                    "on": True,
                    "mode": "euler",
                    "file": "sd-v1-4.safetensors",
                    "a": link("1"),
                },
            ),
        }
    )


def test_a_good_document_has_no_problems(lab: Lab, whole: Document) -> None:
    graph = lab.build(whole)
    assert graph.problems == ()
    assert graph.targets == ("2",)
    assert graph.order == ("1", "2")
    path = lab.folders.base / "models/checkpoints/sd-v1-4.safetensors"
    assert graph.nodes["2"].inputs == {
        "whole": 64,
        "real": 0.5,
        "text": "a cat",
        "on": True,
        "mode": "euler",
        "file": FileRef("checkpoints", "sd-v1-4.safetensors", path),
        "a": link("1"),
        "spare": 7,
    }


@pytest.mark.parametrize(
    ("name", "given", "taken"),
    [
        ("whole", "64", 64),
        ("whole", " 64 ", 64),
        ("whole", "+64", 64),
        ("whole", 64.0, 64),
        ("whole", "64.0", 64),
        ("real", 1, 1.0),
        ("real", "0.25", 0.25),
        ("real", "1e-3", 0.001),
        ("text", 5, "5"),
        ("text", 0.5, "0.5"),
        ("text", "", ""),
        ("text", "ünï 🐈", "ünï 🐈"),
        ("on", "false", False),
        ("on", "True", True),
        ("spare", "9", 9),
    ],
)
def test_values_are_converted_where_nothing_is_lost(
    lab: Lab, whole: Document, name: str, given: object, taken: object
) -> None:
    graph = lab.build(edited(whole, "2", **{name: given}))
    assert graph.problems == ()
    assert graph.nodes["2"].inputs[name] == taken
    assert type(graph.nodes["2"].inputs[name]) is type(taken)


@pytest.mark.parametrize(
    ("name", "given", "code", "message"),
    [
        ("whole", 64.9, "invalid_input_type", "got 64.9, expected an integer from 1 to 100"),
        ("whole", "64.9", "invalid_input_type", "got '64.9', expected an integer from 1 to 100"),
        ("whole", "abc", "invalid_input_type", "got 'abc', expected an integer from 1 to 100"),
        ("whole", "", "invalid_input_type", "got '', expected an integer from 1 to 100"),
        ("whole", "1_0", "invalid_input_type", "got '1_0', expected an integer from 1 to 100"),
        ("whole", "٣", "invalid_input_type", "got '٣', expected an integer from 1 to 100"),
        ("whole", True, "invalid_input_type", "got true, expected an integer from 1 to 100"),
        ("whole", None, "invalid_input_type", "got null, expected an integer from 1 to 100"),
        ("whole", {"a": 1}, "invalid_input_type", "got {'a': 1}, expected an integer from 1 to 100"),
        ("whole", (1, 2), "invalid_input_type", "got [1, 2], expected an integer from 1 to 100"),
        ("whole", math.nan, "invalid_input_type", "got nan, expected an integer from 1 to 100"),
        ("whole", math.inf, "invalid_input_type", "got inf, expected an integer from 1 to 100"),
        ("whole", 0, "value_smaller_than_min", "got 0, expected an integer from 1 to 100"),
        ("whole", 101, "value_bigger_than_max", "got 101, expected an integer from 1 to 100"),
        ("whole", 10**999, "value_bigger_than_max", "got an integer of 3319 bits, expected an integer from 1 to 100"),
        ("real", True, "invalid_input_type", "got true, expected a number from 0.0 to 1.0"),
        ("real", "nan", "invalid_input_type", "got 'nan', expected a number from 0.0 to 1.0"),
        ("real", "1e999", "invalid_input_type", "got '1e999', expected a number from 0.0 to 1.0"),
        ("real", math.nan, "invalid_input_type", "got nan, expected a number from 0.0 to 1.0"),
        ("real", 2**53 + 1, "invalid_input_type", "got 9007199254740993, expected a number from 0.0 to 1.0"),
        ("real", 10**999, "invalid_input_type", "got an integer of 3319 bits, expected a number from 0.0 to 1.0"),
        ("real", -0.1, "value_smaller_than_min", "got -0.1, expected a number from 0.0 to 1.0"),
        ("real", 1.5, "value_bigger_than_max", "got 1.5, expected a number from 0.0 to 1.0"),
        ("text", True, "invalid_input_type", "got true, expected a text"),
        ("text", None, "invalid_input_type", "got null, expected a text"),
        ("text", math.inf, "invalid_input_type", "got inf, expected a text"),
        ("text", "half \ud83d", "invalid_input_type", "got 'half \\ud83d', expected a text"),
        ("on", 1, "invalid_input_type", "got 1, expected true or false"),
        ("on", "yes", "invalid_input_type", "got 'yes', expected true or false"),
        ("mode", "eular", "value_not_in_list", "got 'eular', expected one of 'euler', 'heun' (did you mean 'euler'?)"),
        ("mode", 3, "value_not_in_list", "got 3, expected one of 'euler', 'heun'"),
        ("file", 3, "invalid_input_type", "got 3, expected the name of a file in checkpoints"),
        (
            "file",
            "sd-v1-5.safetensors",
            "value_not_in_list",
            "got 'sd-v1-5.safetensors', expected one of the files in checkpoints: "
            "'sd-v1-4.safetensors' (did you mean 'sd-v1-4.safetensors'?)",
        ),
        ("a", 3, "bad_linked_input", "got 3, expected a link, [node id, output number], to an output of type NUM"),
        ("a", ["1"], "bad_linked_input", "got ['1'], expected a link, [node id, output number], to an output of type NUM"),
        ("whole", ["a", "b"], "bad_linked_input", "got ['a', 'b'], expected a link, [node id, output number]"),
        ("a", link("77"), "linked_node_missing", "links to node '77', which does not exist"),
        ("a", link("1", 1), "linked_slot_missing", "links to output 1 of node 1 (Number), expected one of its 1 outputs, counted from 0"),
        ("a", link("1", -1), "linked_slot_missing", "links to output -1 of node 1 (Number), expected one of its 1 outputs, counted from 0"),
        ("a", link("2"), "linked_slot_missing", "links to output 0 of node 2 (Widgets), expected a node with outputs"),
        ("whole", link("1"), "return_type_mismatch", "links to NUM (output 0 of node 1 (Number)), expected INT"),
        ("file", link("1"), "return_type_mismatch", "links to node 1 (Number), but a file has to be chosen by its name"),
    ],
)  # fmt: skip
def test_a_wrong_input_is_named_with_what_came_and_what_was_expected(
    lab: Lab, whole: Document, name: str, given: object, code: str, message: str
) -> None:
    graph = lab.build(edited(whole, "2", **{name: given}))
    problem = next(problem for problem in graph.problems if problem.code == code)
    assert str(problem) == f"node 2 (Widgets), input '{name}': {message}"
    assert (problem.node_id, problem.node_type, problem.input_name) == ("2", "Widgets", name)
    assert problem.severity is Severity.ERROR
    assert problem.expected
    assert graph.targets == ()
    assert graph.blocked == ("2",)


def test_a_missing_required_input_is_an_error_even_if_it_has_a_default(lab: Lab) -> None:
    graph = lab.build(doc({"1": ("Number", {}), "2": ("Show", {"a": link("1")})}))
    assert [str(p) for p in graph.errors] == [
        "node 1 (Number), input 'value': is missing, expected INT",
    ]
    graph = lab.build(doc({"2": ("Show", {})}))
    assert [(p.code, str(p)) for p in graph.errors] == [
        (
            "required_input_missing",
            "node 2 (Show), input 'a': is missing, expected a link to an output of type NUM",
        ),
    ]


def test_an_optional_input_may_be_null_only_if_that_is_its_default(lab: Lab, whole: Document) -> None:
    adding = doc({"1": ("Number", {"value": 1}), "2": ("Add", {"a": link("1"), "b": None})})
    graph = lab.build(adding, targets=["2"])
    assert [p.code for p in graph.problems] == ["bad_linked_input"]
    assert [p.code for p in lab.build(edited(whole, "2", spare=None)).problems] == ["invalid_input_type"]


def test_an_unknown_input_is_a_warning_and_is_left_out(lab: Lab, whole: Document) -> None:
    graph = lab.build(edited(whole, "1", sede=3))
    assert [str(p) for p in graph.warnings] == [
        "node 1 (Number), input 'sede': is no input of this node and is ignored, expected one of 'value'"
    ]
    assert graph.errors == ()
    assert graph.targets == ("2",)
    assert graph.nodes["1"].inputs == {"value": 3}


def test_an_unknown_type_is_named_with_what_may_have_been_meant(lab: Lab) -> None:
    graph = lab.build(doc({"1": ("number", {}), "2": ("Show", {"a": link("1")}), "3": ("Xyzzy", {})}))
    assert [str(p) for p in graph.errors] == [
        "node 1 (number): there is no node type 'number' (did you mean 'Number'?)",
        "node 3 (Xyzzy): there is no node type 'Xyzzy'",
    ]
    assert graph.blocked == ("2", "3")


def test_a_cycle_is_told_in_order(lab: Lab) -> None:
    knot = doc(
        {
            "5": ("Add", {"a": link("3")}),
            "3": ("Add", {"a": link("8")}),
            "8": ("Add", {"a": link("5")}),
            "9": ("Show", {"a": link("8")}),
        }
    )
    graph = lab.build(knot)
    assert [(p.code, str(p)) for p in graph.errors] == [
        ("dependency_cycle", "node 5 (Add): its result depends on itself: 5 → 8 → 3 → 5")
    ]
    assert graph.errors[0].received == ("5", "8", "3")
    assert graph.blocked == ("9",)
    assert graph.order == ()


def test_each_of_several_cycles_is_told(lab: Lab) -> None:
    knots = doc(
        {
            "1": ("Add", {"a": link("1")}),
            "2": ("Add", {"a": link("3")}),
            "3": ("Add", {"a": link("2"), "b": link("1")}),
            "4": ("Show", {"a": link("3")}),
            "5": ("Number", {"value": 1}),
            "6": ("Show", {"a": link("5")}),
        }
    )
    graph = lab.build(knots)
    assert [p.received for p in graph.errors] == [("1",), ("2", "3")]
    assert graph.targets == ("6",)
    assert graph.blocked == ("4",)


def test_everything_wrong_is_reported_at_once(lab: Lab) -> None:
    text = """{
        "1": {"class_type": "Number", "inputs": {"value": 1, "value": 2}},
        "2": {"class_type": "Add", "inputs": {"a": ["1", 0], "plus": NaN}},
        "3": {"class_type": "Ad", "inputs": {"a": ["2", 0]}},
        "4": {"inputs": {}},
        "5": 17,
        "6": {"class_type": "Show", "inputs": {"a": ["99", 0], "zz": 1}},
        "7": {"class_type": "Show", "inputs": {"a": ["3", 0]}},
        "8": {"class_type": "Add", "inputs": {"a": ["8", 0], "b": ["1", 4]}},
        "9": {"class_type": "Show", "inputs": {"a": ["8", 0]}}
    }"""
    graph = lab.build(parse(text))
    found = {(p.node_id, p.code) for p in graph.problems}
    assert found >= {
        ("1", "duplicate_key"),
        ("2", "invalid_input_type"),
        ("3", "missing_node_type"),
        ("4", "invalid_prompt"),
        ("5", "invalid_prompt"),
        ("6", "linked_node_missing"),
        ("6", "unknown_input"),
        ("8", "dependency_cycle"),
        ("8", "linked_slot_missing"),
    }
    assert {p.node_id for p in graph.warnings} == {"6"}
    assert graph.targets == ()
    assert graph.blocked == ("4", "5", "6", "7", "9")


def test_what_is_wrong_beside_the_targets_is_a_warning(lab: Lab, whole: Document) -> None:
    aside = Document({**whole.nodes, "7": DocNode("Add", {}), "8": DocNode("Add", {"a": link("7")})})
    graph = lab.build(aside)
    assert [(p.node_id, p.code) for p in graph.warnings] == [("7", "required_input_missing")]
    assert graph.errors == ()
    assert graph.targets == ("2",)


def test_an_unknown_type_that_nobody_reads_may_be_an_output_and_is_an_error(lab: Lab, whole: Document) -> None:
    graph = lab.build(Document({**whole.nodes, "7": DocNode("SaveAnimation", {"a": link("1")})}))
    assert [p.node_id for p in graph.errors] == ["7"]
    assert graph.targets == ("2",)
    assert graph.blocked == ("7",)


def test_one_bad_target_does_not_stop_the_good_ones(lab: Lab, whole: Document) -> None:
    both = Document({**whole.nodes, "3": DocNode("Show", {"a": link("1")}), "4": DocNode("Show", {"a": link("0")})})
    graph = lab.build(both)
    assert graph.targets == ("2", "3")
    assert graph.blocked == ("4",)
    assert graph.order == ("1", "2", "3")


@pytest.mark.parametrize("nodes", [{}, {"1": ("Number", {"value": 1})}])
def test_without_an_output_there_is_nothing_to_do(lab: Lab, nodes: Mapping[str, tuple[str, dict[str, object]]]) -> None:
    graph = lab.build(doc(nodes))
    assert [(p.code, str(p)) for p in graph.errors] == [
        ("prompt_no_outputs", "nothing to do: no node of this workflow writes a file")
    ]


def test_targets_can_be_named(lab: Lab, whole: Document) -> None:
    graph = lab.build(whole, targets=["1", "1"])
    assert (graph.targets, graph.order) == (("1",), ("1",))
    graph = lab.build(whole, targets=["1", "44"])
    assert [(p.code, str(p)) for p in graph.errors] == [("unknown_target", "there is no node '44' to run")]
    assert graph.targets == ("1",)


def test_a_rule_blocks_the_targets_that_rest_on_what_it_objects_to(lab: Lab, whole: Document) -> None:
    both = Document({**whole.nodes, "3": DocNode("Number", {"value": 4}), "4": DocNode("Show", {"a": link("3")})})

    def no_four(graph: Graph) -> Iterator[GraphError]:
        for key, node in graph.nodes.items():
            if node.inputs.get("value") == 4:
                yield GraphError("policy", "four is not allowed", key, node.spec.type)

    graph = build(both, REGISTRY, lab.folders, rules=[no_four])
    assert (graph.targets, graph.blocked, graph.order) == (("2",), ("4",), ("1", "2"))
    assert [str(p) for p in graph.errors] == ["node 3 (Number): four is not allowed"]
    assert enforce(graph, [no_four]) is graph


def test_a_rule_that_names_no_node_blocks_everything(lab: Lab, whole: Document) -> None:
    graph = build(whole, REGISTRY, lab.folders, rules=[lambda graph: [GraphError("policy", "not today")]])
    assert (graph.targets, graph.blocked) == ((), ("2",))


def test_building_changes_nothing_in_the_document(lab: Lab, whole: Document) -> None:
    before = {key: replace(node, inputs=dict(node.inputs)) for key, node in whole.nodes.items()}
    lab.build(edited(whole, "2", whole="64"))
    lab.build(whole)
    assert whole.nodes == before


def test_a_link_along_types_with_a_common_member_is_accepted() -> None:
    from graph.sockets import accepts

    assert accepts("IMAGE", "IMAGE")
    assert accepts("*", "IMAGE")
    assert accepts("IMAGE", "*")
    assert accepts("IMAGE,MASK", "MASK")
    assert accepts("LATENT", "MASK, LATENT")
    assert not accepts("IMAGE", "MASK")
    assert not accepts("FLOAT", "INT")


def test_a_type_that_is_never_unequal_is_accepted_everywhere() -> None:
    from graph.sockets import accepts

    class Anything(str):
        __slots__ = ()

        def __ne__(self, other: object) -> bool:
            return False

    assert accepts("IMAGE", Anything("anything"))


def test_a_problem_says_where_in_one_line() -> None:
    problem = GraphError(
        "value_smaller_than_min", "got 0, expected an integer from 1 to 10000", "3", "KSampler", "steps"
    )
    assert str(problem) == "node 3 (KSampler), input 'steps': got 0, expected an integer from 1 to 10000"
    odd = GraphError("x", "m", "3\n4", "a\x1b[31m")
    assert str(odd) == "node '3\\n4' ('a\\x1b[31m'): m"


def test_the_registry_refuses_two_of_a_name() -> None:
    from graph.spec import Registry

    twice = [*REGISTRY.values(), replace(REGISTRY["Number"])]
    with pytest.raises(ValueError, match="'Number' is declared in"):
        Registry(twice)


def test_a_registry_lists_the_types_of_one_moment_while_others_take_their_place() -> None:
    from graph.spec import Registry

    registry = Registry(REGISTRY.values())
    seen = []
    for name, spec in registry.items():
        registry.replace([REGISTRY["Number"]])
        seen.append((name, spec.type))
    assert len(seen) == len(REGISTRY) and all(name == type_ for name, type_ in seen)
    assert list(registry) == ["Number"] == [spec.type for spec in registry.values()]
