"""What a run did and why, as JSON for clients and as lines for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from graph.account import Did, Explanation, by_node, summed
from graph.document import NodeId
from server.redact import Redactor


def told(explained: Sequence[Explanation], redact: Redactor) -> list[dict[str, object]]:
    """An object for each node, sources first; of swept ones with `cells`, one for each copy."""
    nodes = []
    for node_id, copies in by_node(explained).items():
        whole = summed(copies)
        entry = {"node_id": node_id, "node_type": whole.type, **_did(whole, redact)}
        if any(one.cell is not None for one in copies):
            ran = sum(one.did is Did.RAN for one in copies)
            entry["words"] = redact(_of_cells(whole, ran, len(copies)))
            cells = (one for one in copies if one.cell is not None)
            entry["cells"] = [{"cell": list(one.cell.at if one.cell else ()), **_did(one, redact)} for one in cells]
        nodes.append(entry)
    return nodes


def lines(explained: Sequence[Explanation], titles: Mapping[NodeId, str]) -> Iterator[str]:
    """A line for each node: `3 Sampling ran: cfg is 7 now, and was 4 (12.3 s, at most 3.2 GiB)`."""
    for node_id, copies in by_node(explained).items():
        whole = summed(copies)
        ran = sum(one.did is Did.RAN for one in copies)
        said = _of_cells(whole, ran, len(copies)) if len(copies) > 1 else whole.words
        needed = ", ".join(_needed(whole))
        yield f"{node_id} {titles.get(node_id, whole.type)} {said}" + (f" ({needed})" if needed else "")


def _of_cells(whole: Explanation, ran: int, count: int) -> str:
    """What a node did that stands more than once."""
    if whole.did is not Did.RAN or ran == 0:
        return whole.words
    times = f"all {count} times" if ran == count else f"{ran} of {count} times"
    return whole.words.replace("ran:", f"ran {times}:", 1)


def _needed(one: Explanation) -> Iterator[str]:
    if one.seconds is not None:
        yield f"{one.seconds:.2f} s"
    if one.peak_bytes is not None:
        yield f"memory up to {one.peak_bytes / 2**30:.2f} GiB"


def _did(one: Explanation, redact: Redactor) -> dict[str, object]:
    return {
        "did": one.did,
        "words": redact(one.words),
        "reasons": [
            {
                "kind": reason.kind,
                "words": redact(reason.words),
                "input": reason.input,
                "before": redact(reason.before),
                "after": redact(reason.after),
                "node": reason.node,
            }
            for reason in one.reasons
        ],
        "seconds": None if one.seconds is None else round(one.seconds, 4),
        "peak_bytes": one.peak_bytes,
    }
