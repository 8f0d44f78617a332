"""`main.py packs` and `main.py new-node`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from subprocess import CalledProcessError

from graph.files import Folders
from graph.spec import Registry
from nodes.packs.collection import FILE, open_packs
from nodes.packs.first import write_first_pack
from nodes.packs.found import Pack, digest, find_packs
from nodes.packs.isolated.environment import install
from nodes.packs.needs import LOCK, differences, unmet, write_lock
from nodes.packs.trust import Answer, Ask, PackList, Standing

DONE, FAILED, REFUSED = 0, 1, 2  # exit statuses


def packs(what: str, name: str, folders: Folders, registry: Callable[[], Registry], ask: Ask) -> int:
    """`list`, `check`, `lock` or `verify`; or for the pack NAME `allow`, `disable`, `isolate`, `inside` or `install`.

    Returns the exit status.
    """
    found = list(find_packs(folders.roots("custom_nodes")))
    try:
        match what:
            case "list":
                return _list(found, folders)
            case "check":
                return _check(folders, registry(), ask)
            case "lock":
                print(f"{write_lock(folders.base / LOCK, found)} packs written to {folders.base / LOCK}")
                return DONE
            case "verify":
                wrong = list(differences(folders.base / LOCK, found))
                print("\n".join(wrong or ["all packs are as the lock says"]))
                return FAILED if wrong else DONE
            case _:
                return _decide(what, name, found, folders)
    except (OSError, ValueError, CalledProcessError) as error:
        print(error, file=sys.stderr)
        return REFUSED


def new_node(folders: Folders, name: str) -> int:
    """Write a first pack into the base directory."""
    try:
        file, test = write_first_pack(folders.base / "custom_nodes", name)
    except FileExistsError as error:
        print(f"there is a pack called {name} already: {error.filename}", file=sys.stderr)
        return REFUSED
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return REFUSED
    print(f"{file}\n{test}")
    return DONE


def _list(found: list[Pack], folders: Folders) -> int:
    known = PackList(folders.base / FILE)
    for pack in found:
        standing = known.standing(pack, digest(pack)).value
        print(f"{pack.name:32} {standing:26} {_mode(known, pack.name):24} {pack.path}")
    if not found:
        print(f"no packs below {', '.join(map(str, folders.roots('custom_nodes')))}")
    return DONE


def _check(folders: Folders, registry: Registry, ask: Ask) -> int:
    wrong = 0
    with open_packs(folders, registry, ask) as opened:
        for it in opened.loaded:
            print(f"{it.pack.name}: {', '.join(spec.type for spec in it.specs) or 'no nodes'}")
            for problem in [*([it.problem] if it.problem else []), *unmet(it.pack)]:
                wrong += 1
                print(f"  {problem}")
        for name, times in sorted(opened.host.missed.items()):
            print(f"asked for and not here: {name} ({times} times)")
    return FAILED if wrong else DONE


def _decide(what: str, name: str, found: list[Pack], folders: Folders) -> int:
    pack = next((pack for pack in found if pack.name == name), None)
    if pack is None:
        raise ValueError(f"there is no pack {name!r}, only {', '.join(pack.name for pack in found) or 'none'}")
    known = PackList(folders.base / FILE)
    match what:
        case "disable":
            known.disable(name)
        case "isolate" | "inside":
            known.isolate(name, isolated=what == "isolate")
            print(f"{name}: {_mode(known, name)}")
            return DONE
        case "install":
            print(f"{name}: {install(pack)}")
            return DONE
        case _:
            known.allow(pack, digest(pack))
    print(f"{name}: {known.standing(pack, digest(pack)).value}")
    return DONE


def _mode(known: PackList, name: str) -> str:
    return "within the program" if known.isolation(name) is None else "in a process of its own"


def asking(folders: Folders, trusts_all: bool, has_strangers: bool, has_terminal: bool | None = None) -> Ask:
    """Who decides about packs that are unknown or have changed.

    Roots besides the base directory's were named by the owner, which is their word. has_strangers: others than the
    owner can reach this program; without anybody to ask no pack is loaded then, and else with one loud line each.
    """

    def ask(pack: Pack, standing: Standing) -> Answer:
        if trusts_all or pack.path.parent != folders.base / "custom_nodes":
            return Answer.YES
        said = (
            f"pack {pack.name} ({pack.path}): {standing.value}; it is other people's code, and may do whatever you may"
        )
        if has_terminal or (has_terminal is None and _is_terminal()):
            print(said, file=sys.stderr)
            return Answer.YES if input("load it? [y/N] ").strip().lower() in ("y", "yes") else Answer.NO
        print(f"{said}: {'not loaded' if has_strangers else 'loaded'}", file=sys.stderr)
        return Answer.NO if has_strangers else Answer.ONCE

    return ask


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def asking_later(folders: Folders, trusts_all: bool, has_strangers: bool) -> Ask:
    """Who decides about packs that come or change while a server runs: nobody waits for an answer then."""
    first = asking(folders, trusts_all, has_strangers or _is_terminal(), has_terminal=False)

    def ask(pack: Pack, standing: Standing) -> Answer:
        answer = first(pack, standing)
        if answer is Answer.NO:
            print(f"`main.py packs allow {pack.name}` loads it, without a restart", file=sys.stderr)
        return answer

    return ask
