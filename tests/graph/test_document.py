"""Reading and writing the API format."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.document import MAX_DEPTH, DocNode, Document, Link, _faults, _is_plain, json_object, parse, write
from graph.errors import GraphErrors

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_nodes_links_and_titles_are_read() -> None:
    document = parse(
        """{"3": {"class_type": "KSampler", "inputs": {"seed": 42, "model": ["4", 0], "vae": [4, 2]},
            "_meta": {"title": "Sampler"}},
            "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}}}"""
    )
    assert document.nodes["3"] == DocNode(
        "KSampler", {"seed": 42, "model": Link("4", 0), "vae": Link("4", 2)}, {"title": "Sampler"}
    )
    assert list(document.nodes) == ["3", "4"]
    assert document.problems == ()


def test_bytes_are_read_as_utf_8() -> None:
    assert parse('{"1": {"class_type": "Ü"}}'.encode()).nodes["1"].class_type == "Ü"


def test_a_wrapped_list_is_a_value_and_not_a_link() -> None:
    document = parse('{"1": {"class_type": "X", "inputs": {"a": {"__value__": ["4", 0]}, "b": ["4", 0], "c": [1]}}}')
    assert document.nodes["1"].inputs == {"a": ("4", 0), "b": Link("4", 0), "c": [1]}


@pytest.mark.parametrize(
    "written", ['["4"]', '["4", 0, 1]', '["4", "0"]', '["4", 0.0]', '["4", true]', "[true, 0]", "[]"]
)
def test_a_list_that_is_no_link_stays_a_list(written: str) -> None:
    document = parse(f'{{"1": {{"class_type": "X", "inputs": {{"a": {written}}}}}}}')
    assert document.nodes["1"].inputs["a"] == json.loads(written)


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("", "invalid_json", "not valid JSON: Expecting value"),
        ("{", "invalid_json", "not valid JSON"),
        (b'{"1": "\xff"}', "invalid_json", "not valid JSON: 'utf-8' codec"),
        ("null", "invalid_prompt", "got null, expected an object of nodes"),
        ("[1, 2]", "invalid_prompt", "got [1, 2], expected an object of nodes"),
        ('"x"', "invalid_prompt", "got 'x', expected an object of nodes"),
        ("1" * 5000, "invalid_json", "not valid JSON"),
        ('{"nodes": [], "links": []}', "invalid_prompt", "this is the editor's save format"),
        ("[" * 100_000, "invalid_json", "brackets are nested deeper than 64 levels"),
        ('{"a":' * 100_000, "invalid_json", "brackets are nested deeper than 64 levels"),
        ('{"1": ' + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "}", "invalid_json", "brackets are nested deeper"),
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_what_is_no_document_at_all_is_refused(text: str | bytes, code: str, message: str) -> None:
    with pytest.raises(GraphErrors) as caught:
        parse(text)
    (problem,) = caught.value.problems
    assert problem.code == code
    assert str(problem).startswith(message)


def test_the_editor_format_is_refused_with_the_way_out() -> None:
    with pytest.raises(GraphErrors, match=r"Export \(API\)"):
        parse('{"last_node_id": 9, "nodes": [{"id": 1}], "links": [], "version": 0.4}')


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        ("17", "node 1: got 17, expected an object with class_type and inputs"),
        ("null", "node 1: got null, expected an object with class_type and inputs"),
        ('{"inputs": {}}', "node 1: class_type is missing, expected a node type"),
        ('{"class_type": 3}', "node 1: got 3 as class_type, expected a node type"),
        ('{"class_type": ""}', "node 1: got '' as class_type, expected a node type"),
        ('{"class_type": "X", "inputs": []}', "node 1 (X): got [] as inputs, expected an object"),
        ('{"class_type": "X", "_meta": 1}', "node 1 (X): got 1 as _meta, expected an object"),
        ('{"class_type": "X", "inputs": {"a": NaN}}', "node 1 (X), input 'a': got nan, expected a finite number"),
        (
            '{"class_type": "X", "inputs": {"a": {"__value__": [1, -Infinity]}}}',
            "node 1 (X), input 'a': got -inf, expected a finite number",
        ),
        ('{"class_type": "X", "inputs": {"a": 1e999}}', "node 1 (X), input 'a': got inf, expected a finite number"),
        (
            '{"class_type": "X", "inputs": {"a": 1, "b": 2, "a": 1}}',
            "node 1 (X), input 'a': the key 'a' is given more than once",
        ),
        (
            '{"class_type": "X", "inputs": {"a": {"k": 1, "k": 1}}}',
            "node 1 (X), input 'a': the key 'k' is given more than once",
        ),
        (
            '{"class_type": "X", "class_type": "Y"}',
            "node 1 (Y): the key 'class_type' is given more than once",
        ),
    ],
)
def test_a_fault_of_one_node_is_kept_for_the_report(node: str, problem: str) -> None:
    document = parse(f'{{"1": {node}, "2": {{"class_type": "Y"}}}}')
    assert [str(found) for found in document.problems] == [problem]
    assert document.problems[0].node_id == "1"
    assert document.nodes.keys() == {"1", "2"}


def test_a_node_given_twice_is_a_fault_of_that_node() -> None:
    document = parse('{"1": {"class_type": "X"}, "1": {"class_type": "Y"}}')
    assert [str(p) for p in document.problems] == ["node 1: the key '1' is given more than once"]


@given(
    st.dictionaries(
        st.text(),
        st.builds(
            DocNode,
            st.text(min_size=1),
            st.dictionaries(
                st.text(),
                st.builds(Link, st.text(), st.integers())
                | st.integers()
                | st.text()
                | st.booleans()
                | st.lists(st.integers(), max_size=3).map(tuple),
                max_size=3,
            ),
            st.dictionaries(st.text(), st.text(), max_size=2),
        ),
        max_size=4,
    )
)
def test_writing_and_reading_give_the_same_document(nodes: dict[str, DocNode]) -> None:
    text = write(Document(nodes))
    assert text.isascii()
    assert parse(text) == Document(nodes)


@given(JSON)
def test_any_json_is_either_read_or_refused(raw: object) -> None:
    try:
        document = parse(json.dumps(raw))
    except GraphErrors:
        assert not isinstance(raw, dict) or isinstance(raw.get("nodes"), list)
    else:
        assert isinstance(raw, dict)
        assert document.nodes.keys() == raw.keys()


@given(st.binary(max_size=40) | st.text(max_size=40))
def test_any_text_is_either_read_or_refused(text: str | bytes) -> None:
    try:
        parse(text)
    except GraphErrors as refused:
        assert str(refused)


def _object(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A JSON object as it is read, in which a key may have come twice."""
    return st.lists(st.tuples(st.sampled_from("ab"), values), max_size=2).map(json_object)


_SCALAR = st.one_of(st.text(max_size=2), st.integers(-2, 2), st.booleans(), st.none(), st.floats())
_VALUE = st.recursive(_SCALAR, lambda inner: st.lists(inner, max_size=2) | _object(inner), max_leaves=4)


_NODE = st.lists(
    st.tuples(st.sampled_from(["class_type", "inputs", "_meta", "is_changed"]), _VALUE | _object(_VALUE)), max_size=4
).map(lambda pairs: json_object([("class_type", "Add"), *pairs]))


@settings(max_examples=300, deadline=None)
@given(_NODE | _VALUE)
def test_a_node_that_is_taken_for_plain_has_no_faults(entry: Any) -> None:
    assert not (_is_plain(entry) and list(_faults("1", entry)))
