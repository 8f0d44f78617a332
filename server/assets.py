"""Assets of the Comfy API v2: ids that stand for files, and what is known of the files' contents. On disk."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from graph.patient_json import loads
from server.database import Database
from server.job import State

TEXTS = "text"
"""The kind of an asset that is no file: its content stands in the database."""
_COLUMNS = "id, kind, name, content_type, size, hash, created, expires, job, node, content, uploaded, tags"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file `name` of `kind`: input, output, temp, or a folder of model files. `hash` is `blake3:<hex>`, or None while it
    is not known; times are seconds since 1970. `job` and `node` made it; `uploaded` files go with their last asset.
    """

    id: str
    kind: str
    name: str
    content_type: str
    size: int
    created: float
    hash: str | None = None
    expires: float | None = None
    job: str | None = None
    node: str | None = None
    content: str | None = None
    uploaded: bool = False
    tags: tuple[str, ...] = ()

    @property
    def as_input(self) -> str:
        """What a workflow writes for it where a file is chosen."""
        return f"{self.name} [{self.kind}]" if self.kind in ("output", "temp") else self.name


class Taken(Exception):
    """There is, or was, an asset of that id."""


class Assets:
    """One connection, used by one thread. Raises what Database raises."""

    def __init__(self, path: Path) -> None:
        self._db = Database(path)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def together(self, durable: bool) -> AbstractContextManager[None]:
        """Do several things, of which all reach the disk or none."""
        return self._db.transaction(durable)

    def add(self, asset: Asset) -> None:
        """Keep a new asset. Raises Taken."""
        if self._db.execute("SELECT 1 FROM assets WHERE id = ?", (asset.id,)).fetchone():
            raise Taken(asset.id)
        self._insert([asset])

    def made_by(self, job: str, assets: Sequence[Asset]) -> list[Asset]:
        """Keep what a job has made, where it is new; returns those that nobody has deleted, with what is known of them."""
        with self._db.transaction():
            known = {row[0] for row in self._db.execute("SELECT id FROM assets WHERE job = ?", (job,))}
            self._insert(asset for asset in assets if asset.id not in known)
        wanted = {asset.id for asset in assets}
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM assets WHERE job = ? AND gone = 0", (job,)).fetchall()
        found = {asset.id: asset for asset in map(_asset, rows)}
        return [found[asset.id] for asset in assets if asset.id in found and asset.id in wanted]

    def get(self, id_: str) -> Asset | None:
        """The asset of an id."""
        row = self._db.execute(f"SELECT {_COLUMNS} FROM assets WHERE id = ? AND gone = 0", (id_,)).fetchone()
        return None if row is None else _asset(row)

    def several(self, ids: Sequence[str]) -> dict[str, Asset]:
        """Those of `ids` that there are."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM assets WHERE gone = 0 AND id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(ids)),),
        )
        return {asset.id: asset for asset in map(_asset, rows)}

    def set_hash(self, id_: str, hash_: str) -> None:
        """What its content is."""
        self._db.execute("UPDATE assets SET hash = ? WHERE id = ?", (hash_, id_))

    def extend(self, id_: str, expires: float | None) -> None:
        """Keep it at least so long; None is for ever."""
        self._db.execute(
            "UPDATE assets SET expires = iif(? IS NULL OR expires IS NULL, NULL, max(expires, ?)) WHERE id = ?",
            (expires, expires, id_),
        )

    def forget(self, id_: str) -> bool:
        """Delete an asset; whether its file is nobody's any more, and was uploaded."""
        with self._db.transaction():
            file = self._db.execute(
                "UPDATE assets SET gone = 1 WHERE id = ? AND gone = 0 RETURNING kind, name", (id_,)
            ).fetchone()
            those = "FROM assets WHERE kind = ? AND name = ?"
            if file is None or self._db.execute(f"SELECT 1 {those} AND gone = 0", file).fetchone():
                return False
            uploaded = self._db.execute(f"SELECT 1 {those} AND uploaded = 1", file).fetchone() is not None
            # whoever has a file of that name later has not uploaded it
            self._db.execute("UPDATE assets SET uploaded = 0 WHERE kind = ? AND name = ?", file)
        return uploaded

    def is_in_use(self, id_: str) -> bool:
        """Whether a job that waits or runs was submitted with it."""
        queued = f"state IN ('{State.PENDING}', '{State.RUNNING}') AND instr(extra, ?)"
        found = self._db.execute(f"SELECT extra FROM jobs WHERE {queued}", (id_,))
        return any(id_ in _used(loads(extra)) for (extra,) in found)

    def expired(self, now: float) -> list[str]:
        """Those whose time is over."""
        return [row[0] for row in self._db.execute("SELECT id FROM assets WHERE gone = 0 AND expires < ?", (now,))]

    # contents

    def digest(self, stamp: str) -> str | None:
        """The hash of the file of this stamp."""
        row = self._db.execute("SELECT hash FROM blobs WHERE stamp = ?", (stamp,)).fetchone()
        return None if row is None else row[0]

    def remember(self, stamp: str, hash_: str, kind: str, name: str) -> None:
        """That the file of this stamp has this content, and where it lies."""
        self._db.execute("INSERT OR REPLACE INTO blobs VALUES(?, ?, ?, ?)", (stamp, hash_, kind, name))

    def places(self, hash_: str) -> list[tuple[str, str, str]]:
        """Stamp, kind and name of the files that had this content when they were looked at."""
        return self._db.execute("SELECT stamp, kind, name FROM blobs WHERE hash = ?", (hash_,)).fetchall()

    def _insert(self, assets: Iterable[Asset]) -> None:
        self._db.executemany(
            f"INSERT INTO assets({_COLUMNS}) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    *(asset.id, asset.kind, asset.name, asset.content_type, asset.size, asset.hash, asset.created),
                    *(asset.expires, asset.job, asset.node, asset.content, asset.uploaded, json.dumps(asset.tags)),
                )
                for asset in assets
            ),
        )


def _used(extra: object) -> Collection[object]:
    """The assets that a submission names."""
    return extra.get("assets") or () if isinstance(extra, dict) else ()


def _asset(row: Sequence[object]) -> Asset:
    named = dict(zip(_COLUMNS.split(", "), row, strict=True))
    asset = Asset(**named)  # type: ignore[arg-type]
    return replace(asset, uploaded=bool(asset.uploaded), tags=tuple(json.loads(str(named["tags"]))))
