"""Why nodes ran, in the words that a person reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from graph.account import Account, Did, Explanation, by_node, summed
from graph.cache import Cache
from graph.context import Cancel, Run
from graph.document import Document
from graph.errors import Interrupted, NodeError
from graph.events import Event
from graph.execute import Executor
from graph.explain import Key, Kind, Ledger, MemoryLedger
from graph.files import Folders
from graph.recipe import Recipe, read_recipe
from graph.spec import Registry, node
from tests.graph.stubs import REGISTRY, Ctx, Desk, Lab, Nodes, Num, doc, edited, link, sizeof
from tests.graph.test_sweep import grid, sweep

SUM = doc(
    {
        "1": ("Number", {"value": 3}),
        "2": ("Number", {"value": 4}),
        "3": ("Add", {"a": link("1"), "b": link("2"), "plus": 1}),
        "4": ("Show", {"a": link("3")}),
    }
)


def explained(lab: Lab, document: Document, ledger: Ledger) -> dict[str, Explanation]:
    """Run, and say of each node what became of it."""
    return {node_id: summed(copies) for node_id, copies in by_node(account(lab, document, ledger)).items()}


def account(lab: Lab, document: Document, ledger: Ledger) -> list[Explanation]:
    heard = Account()
    run = lab.start(document)

    def both(event: Event) -> None:
        heard(event)
        lab.trace(event)

    lab.executor.execute(replace(run, emit=both))
    return heard.explain(ledger)


def words(found: dict[str, Explanation]) -> dict[str, str]:
    return {node_id: one.words for node_id, one in found.items()}


AT_HAND = "did not have to run: nothing that it depends on has changed"


def test_the_first_run_and_one_that_has_nothing_to_do(lab: Lab) -> None:
    ledger = MemoryLedger()
    first = explained(lab, SUM, ledger)
    assert set(words(first).values()) == {"ran: it ran for the first time"}
    assert list(first) == ["1", "2", "3", "4"]
    assert all(one.seconds is not None and one.seconds >= 0 for one in first.values())
    again = explained(lab, SUM, ledger)
    assert words(again) == dict.fromkeys("1234", AT_HAND)
    assert {one.seconds for one in again.values()} == {None}


def test_a_changed_value_is_named_and_followed_to_all_that_it_reaches(lab: Lab) -> None:
    ledger = MemoryLedger()
    explained(lab, SUM, ledger)
    assert words(explained(lab, edited(SUM, "2", value=9), ledger)) == {
        "1": AT_HAND,
        "2": "ran: value is 9 now, and was 4",
        "3": "ran: at node 2 (Number) value is 9 now, and was 4",
        "4": "ran: at node 2 (Number) value is 9 now, and was 4",
    }


def test_changes_that_meet_are_all_named(lab: Lab) -> None:
    ledger = MemoryLedger()
    explained(lab, SUM, ledger)
    found = explained(lab, edited(edited(SUM, "2", value=9), "3", plus=2), ledger)
    assert found["3"].words == "ran: plus is 2 now, and was 1; at node 2 (Number) value is 9 now, and was 4"
    assert found["4"].words == (
        "ran: at node 2 (Number) value is 9 now, and was 4; at node 3 (Add) plus is 2 now, and was 1"
    )
    assert [reason.kind for reason in found["3"].reasons] == [Kind.VALUE, Kind.UPSTREAM]


def test_a_change_at_a_node_that_is_at_hand_is_found_too(lab: Lab) -> None:
    """Node 2 goes back to a value of before: it does not run, what reads it does."""
    ledger = MemoryLedger()
    explained(lab, SUM, ledger)
    explained(lab, edited(SUM, "2", value=9), ledger)
    found = explained(lab, edited(SUM, "3", plus=50), ledger)
    assert found["2"].did is Did.AT_HAND
    assert found["3"].words == "ran: plus is 50 now, and was 1"


def test_a_link_to_another_node(lab: Lab) -> None:
    ledger = MemoryLedger()
    explained(lab, SUM, ledger)
    found = explained(lab, edited(SUM, "3", b=link("1")), ledger)
    assert found["3"].words == "ran: b is output 0 of node 1 now, and was output 0 of node 2"


def test_a_change_that_reaches_a_node_by_several_inputs_is_said_once(lab: Lab) -> None:
    ledger = MemoryLedger()
    both = edited(SUM, "3", b=link("1"))
    explained(lab, both, ledger)
    found = explained(lab, edited(both, "1", value=9), ledger)
    assert found["3"].words == "ran: at node 1 (Number) value is 9 now, and was 3"
    assert [reason.input for reason in found["3"].reasons] == ["a", "b"]


def test_another_workflow_in_between_does_not_confuse(lab: Lab) -> None:
    ledger = MemoryLedger()
    explained(lab, SUM, ledger)
    explained(lab, edited(edited(SUM, "1", value=70), "2", value=80), ledger)
    assert explained(lab, edited(SUM, "2", value=5), ledger)["2"].words == "ran: value is 5 now, and was 80"
    assert explained(lab, edited(SUM, "3", plus=8), ledger)["3"].words == "ran: plus is 8 now, and was 1"


def test_a_file_that_was_replaced(lab: Lab, folders: Folders) -> None:
    file = folders.roots("checkpoints")[0] / "model.safetensors"
    file.write_text("5")
    document = doc({"1": ("ReadFile", {"file": "model.safetensors"}), "2": ("Show", {"a": link("1")})})
    ledger = MemoryLedger()
    explained(lab, document, ledger)
    file.write_text("66")
    assert words(explained(lab, document, ledger)) == {
        "1": "ran: the file model.safetensors has changed",
        "2": "ran: at node 1 (ReadFile) the file model.safetensors has changed",
    }
    (folders.roots("checkpoints")[0] / "other.safetensors").write_text("7")
    found = explained(lab, edited(document, "1", file="other.safetensors"), ledger)
    assert found["1"].words == "ran: file is other.safetensors now, and was model.safetensors"


def test_results_that_were_not_kept(folders: Folders) -> None:
    ledger = MemoryLedger()
    with Lab(folders, cache=Cache(0, sizeof)) as lab:
        explained(lab, SUM, ledger)
        found = explained(lab, SUM, ledger)
        assert found["1"].words == "ran: nothing has changed, but its result was no longer in memory"
    with Lab(folders) as lab:
        found = explained(lab, SUM, ledger)
        why = "ran: nothing has changed, but results are kept in memory and Darkroom was started anew"
        assert set(words(found).values()) == {why}
    with Lab(folders, salt="cuda") as lab:
        found = explained(lab, SUM, ledger)
        assert found["1"].words == "ran: it is computed with cuda now, and was with "


def test_files_that_are_gone(lab: Lab, folders: Folders) -> None:
    document = doc({"1": ("Number", {"value": 3}), "2": ("Write", {"a": link("1"), "name": "three"})})
    ledger = MemoryLedger()
    explained(lab, document, ledger)
    (folders.output_dir / "three").unlink()
    found = explained(lab, document, ledger)
    assert found["1"].did is Did.AT_HAND
    assert found["2"].words == "ran: nothing has changed, but the files that it wrote are not there any more"


def test_code_that_was_changed(folders: Folders) -> None:
    ledger = MemoryLedger()

    def run(registry: Registry) -> dict[str, Explanation]:
        document = doc({"1": ("Twice", {"value": 3}), "2": ("Show", {"a": link("1")})})
        heard = Account()
        with Executor(Desk(folders), registry, folders, Cache(2**20, sizeof)) as executor:
            executor.execute(Run("run", document, heard))
        return {one.node: one for one in heard.explain(ledger)}

    def registry(function: Callable[..., Num]) -> Registry:
        return Registry([*REGISTRY.values(), node("Twice", category="stub")(function)])

    def twice(ctx: Ctx, *, value: int) -> Num:
        return Num(value + value)

    def better(ctx: Ctx, *, value: int) -> Num:
        return Num(2 * value)

    def moved(ctx: Ctx, *, value: int) -> Num:
        # the same code, elsewhere in its file and with a remark
        return Num(value + value)

    run(registry(twice))
    assert run(registry(moved))["1"].reasons[0].kind is Kind.RESTARTED
    found = run(registry(better))
    assert found["1"].words == "ran: the code of Twice has changed"
    assert found["2"].words == "ran: at node 1 (Twice) the code of Twice has changed"
    versions = [registry(function)["Twice"].version for function in (twice, moved, better)]
    assert versions[0] == versions[1] != versions[2]


def test_a_failure_and_what_was_not_reached(lab: Lab) -> None:
    lab.desk.broken = True
    document = doc({"1": ("Number", {"value": 3}), "2": ("Fail", {"a": link("1")}), "3": ("Show", {"a": link("2")})})
    heard = Account()
    with pytest.raises(NodeError):
        lab.executor.execute(Run("run", document, heard))
    found = {one.node: one.did for one in heard.explain(MemoryLedger())}
    assert found == {"1": Did.RAN, "2": Did.FAILED, "3": Did.NOT_REACHED}


def test_what_failed_is_not_remembered_as_run(lab: Lab) -> None:
    ledger = MemoryLedger()
    document = doc({"1": ("Number", {"value": 3}), "2": ("Fail", {"a": link("1")}), "3": ("Show", {"a": link("2")})})
    lab.desk.broken = True
    heard = Account()
    with pytest.raises(NodeError):
        lab.executor.execute(Run("run", document, heard))
    heard.explain(ledger)
    lab.desk.broken = False
    assert explained(lab, document, ledger)["2"].words == "ran: it ran for the first time"


def test_a_run_that_was_stopped_before_its_turn_has_nothing_to_explain(lab: Lab) -> None:
    heard, cancel = Account(), Cancel()
    cancel.set()
    future = lab.executor.submit(Run("run", SUM, heard, cancel))
    lab.executor.execute(Run("other", SUM))
    with pytest.raises(Interrupted):
        future.result()
    assert heard.explain(MemoryLedger()) == []


def test_a_sweep_is_explained_by_node_and_by_cell(lab: Lab) -> None:
    ledger = MemoryLedger()
    account(lab, grid(100, 10, 1), ledger)
    copies = by_node(account(lab, grid(100, sweep(10, 20), sweep(1, 2)), ledger))
    assert [(one.cell.words if one.cell else "", one.did) for one in copies["sample"]] == [
        ("plus of text 10, plus of sample 1", Did.AT_HAND),
        ("plus of text 10, plus of sample 2", Did.RAN),
        ("plus of text 20, plus of sample 1", Did.RAN),
        ("plus of text 20, plus of sample 2", Did.RAN),
    ]
    assert copies["sample"][1].words == "ran: plus is 2 now, and was 1"
    whole = summed(copies["sample"])
    assert (whole.did, whole.type) == (Did.RAN, "Add")
    assert whole.words.startswith("ran: plus is 2 now, and was 1; at node text (Add) plus is 20 now, and was 10")
    assert summed(copies["fixed"]).did is Did.AT_HAND


def test_a_chain_of_thousands_is_explained_without_recursion(lab: Lab) -> None:
    nodes: Nodes = {"0": ("Number", {"value": 1})}
    nodes = {**nodes, **{str(i): ("Add", {"a": link(str(i - 1))}) for i in range(1, 3000)}}
    document = doc({**nodes, "end": ("Show", {"a": link("2999")})})
    ledger = MemoryLedger()
    explained(lab, document, ledger)
    found = explained(lab, edited(document, "0", value=2), ledger)
    assert found["end"].words == "ran: at node 0 (Number) value is 2 now, and was 1"


def test_recipes_are_read_back_as_they_were_kept(lab: Lab, folders: Folders) -> None:
    (folders.roots("checkpoints")[0] / "model.safetensors").write_text("5")
    ledger = MemoryLedger()
    document = doc(
        {
            "1": ("ReadFile", {"file": "model.safetensors"}),
            "2": ("Write", {"a": link("1"), "name": "ä" * 300}),
            "3": ("Write", {"a": link("1"), "name": "fünf"}),
        }
    )
    explained(lab, edited(document, "2", name="x" * 100), ledger)
    for kept in ledger.kept.values():
        for recipe in kept:
            assert read_recipe(recipe.node, recipe.type, recipe.name, recipe.text()) == replace(recipe, id=recipe.node)


def test_of_many_recipes_of_a_node_no_more_are_read_than_are_needed(lab: Lab) -> None:
    read: list[str] = []

    class Counting(MemoryLedger):
        def newest(self, key: Key) -> Iterator[Recipe]:
            for recipe in super().newest(key):
                read.append(recipe.node)
                yield recipe

    ledger = Counting()
    for value in range(10, 30):
        read.clear()
        found = explained(lab, edited(SUM, "1", value=value), ledger)
        assert found["4"].words == (
            f"ran: at node 1 (Number) value is {value} now, and was {value - 1}"
            if value > 10
            else "ran: it ran for the first time"
        )
    assert sorted(read) == ["1", "3", "4"]  # the newest of each that ran differs in one part: none is nearer


def test_long_texts_are_shown_short_and_compared_whole(lab: Lab, tmp_path: Path) -> None:
    ledger = MemoryLedger()
    long = "word " * 30
    document = doc({"1": ("Number", {"value": 3}), "2": ("Write", {"a": link("1"), "name": long + "a"})})
    explained(lab, document, ledger)
    found = explained(lab, edited(document, "2", name=long + "b"), ledger)
    assert found["2"].did is Did.RAN
    assert len(found["2"].words) < 200
