"""The workflow templates that ComfyUI's front end comes with (PyPI comfyui-workflow-templates-json, MIT; not shipped)."""

from __future__ import annotations

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

FOUND = find_spec("comfyui_workflow_templates_json")
COUNT = 644
needed = pytest.mark.skipif(FOUND is None, reason="NOT CHECKED: the templates are not installed")


@cache
def template_texts() -> dict[str, str]:
    """Every template by name, as its file has it."""
    assert FOUND is not None and FOUND.origin is not None
    texts = {path.stem: path.read_text("utf-8") for path in sorted(Path(FOUND.origin).parent.rglob("*.json"))}
    return {name: text for name, text in texts.items() if "nodes" in json.loads(text)}


@cache
def templates() -> dict[str, Any]:
    """Every template by name."""
    return {name: json.loads(text) for name, text in template_texts().items()}
