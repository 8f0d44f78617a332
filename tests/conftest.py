"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

LONG_SECONDS = 3600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests have a time limit too, a longer one."""
    for item in items:
        if item.get_closest_marker("acceptance") or item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.timeout(LONG_SECONDS))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One torch thread: for tiny networks more cost more than they bring, and much more on a busy machine."""
    import torch  # the engine's tests never need it

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
