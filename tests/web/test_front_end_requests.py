"""What today's official front end (1.58.1, GPL: driven as a yardstick, never shipped) sends for files, and what we make
of them without a browser.
"""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from graph.document import write
from graph.flatten import flatten
from graph.litegraph import read_editor
from graph.node_shapes import NodeShape, read_shape
from tests.editor_files import cases
from tests.known_types import definitions, known_types, types_of
from tests.templates import FOUND, needed, templates
from tests.web.conftest import SOURCE

pytestmark = pytest.mark.acceptance

VERSION = "1.58.1"
READY = "() => window.app?.graph && window.LiteGraph?.registered_node_types?.KSampler"
LOAD = "async file => { await window.app.loadGraphData(file) }"
REQUEST = "async () => (await window.app.graphToPrompt()).output"

OTHERWISE: Mapping[str, str] = {
    "forced_inputs": "it takes out the wrong entry where a seed stands before a forced input",
    "links_mixed": "it reads links of one form only",
    "links_null": "it opens nothing at all",
    "list_value": "it makes texts of lists and objects",
    "named_only": "it takes defaults where the list is empty, though the file has the values by name",
    "named_short": "the same where the list is short",
    "named_shifted": "it takes numbers for names where the list does not fit, though the file has the values by name",
    "numbers_as_text": "it rounds numbers as JavaScript does",
    "old_class_name": "it knows no type of that name",
    "primitive_shared": "it does not follow a primitive through a reroute",
    "source_missing": "it raises",
    "subgraph_inner_kinds": "it does not follow a primitive through a reroute",
    "subgraph_linked_value": "it does not follow a primitive into a subgraph",
    "subgraph_straight_through": "it raises",
    "type_unknown_listed": "it knows no type of that name",
    "type_unknown_named": "it knows no type of that name",
    "values_as_object": "it takes the values by their places",
    "values_with_null": "it sends null, which no server takes",
    "windows_separators": "it keeps the separators of Windows, which name no file elsewhere",
}
"""Files of ours for which we know better, and how."""


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All node types that the files may have: those of the corpus, the known ones of ComfyUI, and ours."""
    return known_types(tmp_path_factory.mktemp("types"))


@pytest.fixture(scope="module")
def guessed(known: dict[str, Any]) -> dict[str, Any]:
    """Those that templates have and nobody knows here."""
    return types_of(templates().values(), known) if FOUND else {}


@pytest.fixture(scope="module")
def official(
    browser: Any, known: dict[str, Any], guessed: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """A page with that front end."""
    place = tmp_path_factory.mktemp("front_end")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(place)]
    done = subprocess.run([*install, f"comfyui-frontend-package=={VERSION}"], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"NOT CHECKED: front end {VERSION} cannot be had: {done.stderr.decode()[-300:]}")
    command = [sys.executable, "main.py", "serve", "--cpu", "--port", "0", "--base-directory", str(place / "base")]
    command += ["--front-end-root", str(place / "comfyui_frontend_package" / "static")]
    server = subprocess.Popen(command, cwd=SOURCE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert server.stdout is not None
    try:
        url = server.stdout.readline().decode().split()[-1]
        context = browser.new_context(viewport={"width": 1400, "height": 900}, locale="en-US")
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.route("**/object_info", lambda route: route.fulfill(json=known | guessed))
        page.goto(url)
        page.wait_for_function(READY)
        page.wait_for_function("() => document.querySelector('canvas')?.width > 0")
        yield page
        context.close()
    finally:
        server.terminate()
        server.wait(10)


def sent(page: Any, file: Mapping[str, Any]) -> Any:
    """What the front end would send for a file, without what it adds for itself.

    It remembers subgraphs by their ids, also those of files before: each file gets ids of its own.
    """
    text = json.dumps(file)
    for each in definitions(file):
        text = text.replace(json.dumps(each["id"]), json.dumps(str(uuid.uuid4())))
    page.evaluate(LOAD, json.loads(text))
    return _plain(page.evaluate(REQUEST))


def ours(file: object, known: Mapping[str, Any]) -> Any:
    """What we make of it."""

    def shape(name: str) -> NodeShape | None:
        return read_shape(name, known[name]) if name in known else None

    return _plain(json.loads(write(flatten(read_editor(file), shape).document)))


def _plain(prompt: Mapping[str, Any]) -> dict[str, Any]:
    """Nodes by class, title and inputs, numbered as they come: inner ids are given anew where two are one."""
    number = {key: str(at) for at, key in enumerate(sorted(prompt, key=lambda key: _order(key, prompt)))}
    return {
        number[key]: {
            "class_type": node["class_type"],
            "inputs": {
                name: [number.get(value[0], value[0]), value[1]] if _is_link(value) else value
                for name, value in node["inputs"].items()
            },
            "title": node["_meta"]["title"],
        }
        for key, node in prompt.items()
    }


def _order(key: str, prompt: Mapping[str, Any]) -> tuple[Any, ...]:
    steps = [int(step) if step.isdigit() else 0 for step in key.split(":")]
    return (len(steps), steps[0], str(prompt[key]["class_type"]), steps)


def _is_link(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


def test_our_files_give_what_it_sends(official: Any, known: dict[str, Any]) -> None:
    files = {name: case["file"] for name, case in cases().items() if name not in OTHERWISE and "group_" not in name}
    differ = {name for name, file in files.items() if sent(official, file) != ours(file, known)}
    assert len(files) >= 60
    assert differ == set()


@needed
def test_templates_give_what_it_sends(official: Any, known: dict[str, Any], guessed: dict[str, Any]) -> None:
    """All whose node types are known, to the last value; of others some, by their nodes, titles and links."""
    whole = {name: file for name, file in templates().items() if not types_of([file], known)}
    guessable = [name for name, file in templates().items() if "LoadVideo" not in types_of([file], known)]
    some = {name: templates()[name] for name in guessable[::24]}  # LoadVideo it knows only as it really is
    differ = set()
    for name, file in (some | whole).items():
        theirs, made = sent(official, file), ours(file, known | guessed)
        if without_values(theirs, guessed) != without_values(made, guessed):
            differ.add(name)
    assert len(whole) >= 8
    assert differ == set()


def without_values(prompt: Mapping[str, Any], types: Mapping[str, Any]) -> dict[str, Any]:
    """The nodes without what the fields of those types hold."""
    return {
        key: node | {"inputs": {name: value for name, value in node["inputs"].items() if _is_link(value)}}
        if node["class_type"] in types
        else node
        for key, node in prompt.items()
    }
