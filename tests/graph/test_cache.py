"""A budget in bytes, least recently used out first."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from graph.cache import ENTRY_BYTES, Cache
from graph.fingerprint import Fingerprint
from graph.result import Outputs


def named(text: str) -> Fingerprint:
    return Fingerprint(text)


def weight(value: Any) -> int:
    """Stub values weigh what they say."""
    return int(value)


def test_what_was_put_is_got() -> None:
    cache = Cache(10_000, weight)
    cache.put(named("a"), Outputs((100,), {"text": ["x"]}))
    assert cache.get(named("a")) == Outputs((100,), {"text": ["x"]})
    assert cache.get(named("b")) is None
    assert cache.used_bytes == ENTRY_BYTES + 100


def test_the_least_recently_used_goes_first() -> None:
    cache = Cache(3 * (ENTRY_BYTES + 100), weight)
    for key in "abc":
        cache.put(named(key), Outputs((100,)))
    cache.get(named("a"))
    cache.put(named("d"), Outputs((100,)))
    assert [key for key in "abcd" if cache.get(named(key))] == ["a", "c", "d"]


def test_what_is_larger_than_the_budget_drives_nothing_out() -> None:
    cache = Cache(2_000, weight)
    cache.put(named("small"), Outputs((10,)))
    cache.put(named("huge"), Outputs((5_000,)))
    assert cache.get(named("small"))
    assert cache.get(named("huge")) is None


def test_putting_again_replaces() -> None:
    cache = Cache(10_000, weight)
    cache.put(named("a"), Outputs((100,)))
    cache.put(named("a"), Outputs((300,)))
    assert cache.used_bytes == ENTRY_BYTES + 300


def test_clearing_forgets_all() -> None:
    cache = Cache(10_000, weight)
    cache.put(named("a"), Outputs((100,)))
    cache.clear()
    assert cache.get(named("a")) is None
    assert cache.used_bytes == 0


@given(st.integers(0, 4_000), st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 1_500)), max_size=30))
def test_the_budget_is_never_exceeded_and_the_newest_that_fits_is_kept(
    budget: int, puts: list[tuple[str, int]]
) -> None:
    cache = Cache(budget, weight)
    for key, size in puts:
        cache.put(named(key), Outputs((size,)))
        assert cache.used_bytes <= budget
        assert (cache.get(named(key)) is not None) == (size + ENTRY_BYTES <= budget)
