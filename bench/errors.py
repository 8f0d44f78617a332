"""`python -m bench.errors [TESTS …]`: every node, sampler and schedule with its error, as the tests compare them, in a table.

The tests run as they are, and are looked at: what `assert_close`, `relative_error` and `approx` are given, and which node
was called before. The error is ‖ours − theirs‖/‖theirs‖, or the largest difference where theirs are zeros; of each name
the largest of all tests that compare it. What no test calls is listed as such, so that the table is the whole registry.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, MappingProxyType

import numpy as np
import pytest
import torch

from models.samplers import SAMPLERS
from models.schedules import SCHEDULES
from nodes.registry import builtin

ROOT = Path(__file__).parents[1]
PEERS = ("diffusers", "transformers", "k_diffusion", "torchsde", "scipy", "kornia", "skimage", "PIL", "cv2", "peft", "lycoris",
         "compel", "tomesd", "torch_fidelity", "numpy")  # fmt: skip
NUMPYS: Mapping[str, tuple[str, str]] = MappingProxyType({"array_equal": ("a1", "a2"), "allclose": ("a", "b")})
"""numpy's comparisons, and what they are given."""
DEFAULT = ("tests/nodes", "tests/models")


@dataclass
class Found:
    """What tests compared of one name. errors: by test; peers: what they compare with."""

    errors: dict[str, float] = field(default_factory=dict)
    peers: set[str] = field(default_factory=set)


@dataclass(eq=False)
class Watch:
    """A pytest plugin that looks at each test while it runs."""

    nodes: dict[str, Found] = field(default_factory=lambda: defaultdict(Found))
    names: dict[str, Found] = field(default_factory=lambda: defaultdict(Found))
    called: set[str] = field(default_factory=set)
    _test: str = ""
    _peers: Sequence[str] = ()
    _here: set[str] = field(default_factory=set)
    _chosen: set[str] = field(default_factory=set)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item: pytest.Function) -> Iterator[None]:
        """Profile the test alone, not its fixtures."""
        self._test, self._peers = item.nodeid, peers_of(item.path)
        values = getattr(getattr(item, "callspec", None), "params", {}).values()
        self._here, self._chosen = set(), {value for value in values if isinstance(value, str)}
        sys.setprofile(self._look)
        try:
            yield
        finally:
            sys.setprofile(None)

    def _look(self, frame: FrameType, event: str, argument: object) -> None:
        if event != "call" and event != "return":
            return
        name = frame.f_code.co_name
        if event == "call" and name == "__call__" and frame.f_code.co_filename.endswith("graph/spec.py"):
            self._here.add(frame.f_locals["self"].type)
        elif event == "call" and name in NUMPYS and frame.f_code.co_filename.endswith("numeric.py"):
            self._note(error(*(frame.f_locals.get(given) for given in NUMPYS[name])))
        elif event == "call" and name == "assert_close":
            self._note(error(frame.f_locals.get("actual"), frame.f_locals.get("expected")))
        elif event == "return" and name == "relative_error" and isinstance(argument, float):
            self._note(argument)

    def _note(self, measured: float | None) -> None:
        self.called |= self._here
        if measured is None:
            return
        found = [self.nodes[kind] for kind in self._here]
        found += [self.names[name] for name in self._chosen if name in SAMPLERS or name in SCHEDULES]
        for one in found:
            one.errors[self._test] = max(measured, one.errors.get(self._test, 0.0))
            one.peers.update(self._peers)

    def pytest_runtest_teardown(self, item: pytest.Function) -> None:
        """Keep what was called without a comparison."""
        self.called |= self._here


def error(ours: object, theirs: object) -> float | None:
    """How far two tensors are apart; None for what are none."""
    try:
        a, b = (torch.as_tensor(np.asarray(each)).double().flatten() for each in (ours, theirs))
    except (TypeError, ValueError, RuntimeError):
        return None
    if a.shape != b.shape or not len(a):
        return None
    size = float(b.norm())
    return float((a - b).norm()) / size if size else float((a - b).abs().max())


def peers_of(path: Path) -> Sequence[str]:
    """The libraries that a file of tests compares with: those it imports, at its head or in functions."""
    imported: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.split(".")[0])
            imported |= {"diffusers", "transformers"} if node.module.endswith(("oracles", "one_step")) else set()
            imported |= {"k_diffusion"} if node.module.endswith("k_diffusion_peer") else set()
    return [peer for peer in PEERS if peer in imported]


def table(watch: Watch) -> Iterator[str]:
    """Rows of Markdown: all nodes, then samplers and schedules."""
    yield "| node | largest error | tests | beside |\n|---|---|---|---|"
    for kind in sorted(builtin()):
        yield row(kind, watch.nodes, kind in watch.called)
    yield "\n| sampler or schedule | largest error | tests | beside |\n|---|---|---|---|"
    for name in [*SAMPLERS, *SCHEDULES]:
        yield row(name, watch.names, called=False)


def row(name: str, found: Mapping[str, Found], called: bool) -> str:
    """One line. Without numbers compared: whether it is called by tests at all."""
    if name not in found:
        return f"| {name} | | {'called, compared otherwise' if called else 'none of these'} | |"
    one = found[name]
    return f"| {name} | {max(one.errors.values()):.1e} | {len(one.errors)} | {', '.join(sorted(one.peers))} |"


def main(tests: Sequence[str]) -> int:
    """Run the tests, print the table, and give pytest's exit status."""
    watch = Watch()
    status = pytest.main(
        ["-q", "-p", "no:cacheprovider", "-m", "not acceptance and not gpu", *(tests or DEFAULT)], [watch]
    )
    print("\n" + "\n".join(table(watch)))
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
