"""Fixtures of the engine's tests, and hypothesis made repeatable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from graph.files import Folders
from tests.graph.stubs import Lab

settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("repeatable")


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """An empty user directory."""
    return Folders.standard(tmp_path / "workspace")


@pytest.fixture
def lab(folders: Folders) -> Iterator[Lab]:
    """An executor with the stub nodes."""
    with Lab(folders) as lab:
        yield lab
