"""What keeps a process from the network and from files, by the Linux kernel: Landlock and seccomp.

Both are asked for by the process itself, need no rights, and cannot be undone by it or by what it starts.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER = 2
SIGKILL = 9
EACCES = 13

_LANDLOCK = 444, 445, 446  # create_ruleset, add_rule, restrict_self: the same on all machines
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG, _MAKE_SYM = 1 << 4, 1 << 5, 1 << 7, 1 << 8, 1 << 12
_REFER, _TRUNCATE, _IOCTL = 1 << 13, 1 << 14, 1 << 15
_RIGHTS_BY_VERSION = (0, (1 << 13) - 1, (1 << 14) - 1, (1 << 15) - 1, (1 << 15) - 1, (1 << 16) - 1)
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_WRITE = (
    _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM | _REFER | _TRUNCATE | _IOCTL
)
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
_NET_TCP = 3  # bind and connect, from version 4
_SCOPES = 3  # abstract sockets and signals, from version 6

_CALLS: Mapping[str, tuple[int, int, tuple[int, ...]]] = MappingProxyType(
    {  # seccomp's word for the machine, where its other numbering begins, and: socket, io_uring_setup
        "x86_64": (0xC000003E, 1 << 30, (41, 425)),
        "aarch64": (0xC00000B7, 1 << 30, (198, 425)),
    }
)
"""The calls by which a process reaches the network. io_uring is one that opens sockets past any filter."""

SYSTEM = (
    *("/usr", "/lib", "/lib64", "/lib32", "/bin", "/nix", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat"),
    *("/proc/self", "/proc/sys/vm", "/proc/version", "/sys/devices/system", "/sys/fs/cgroup", "/dev/urandom"),
    *(
        "/dev/random",
        "/dev/zero",
        "/dev/null",
        "/etc/ld.so.cache",
        "/etc/localtime",
        "/etc/ssl",
        "/etc/ca-certificates",
    ),
    *("/etc/mime.types", "/etc/fonts", "/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/pki"),
)
"""What programs need to read of a system to run at all."""


@dataclass(frozen=True, slots=True)
class Restraint:
    """What a process is kept from, and in a sentence why it is not kept from more."""

    network: bool
    files: bool
    missing: str = ""


def restrain(readable: Iterable[Path], writable: Iterable[Path], *, network: bool) -> Restraint:
    """Keep this process, for good, from all files but these and what a program needs to run, and, unless `network`,
    from making sockets. What the system cannot do is said, not raised.

    To be called before there are other threads: they would stay as they are.
    """
    if sys.platform != "linux":
        return Restraint(False, False, "only Linux can keep a process from files and from the network")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return Restraint(False, False, "the kernel refuses PR_SET_NO_NEW_PRIVS")
    missing: list[str] = []
    try:
        _landlock(libc, readable, writable, network=network)
    except OSError as error:
        missing.append(f"files (Landlock: {error.strerror})")
    try:
        if not network:
            _seccomp(libc)
    except (OSError, KeyError) as error:
        missing.append(f"the network (seccomp: {error})")
    files = not any("files" in it for it in missing)
    said = f"this kernel cannot keep it from {' and '.join(missing)}" if missing else ""
    return Restraint(not network and not any("network" in it for it in missing), files, said)


def _landlock(libc: ctypes.CDLL, readable: Iterable[Path], writable: Iterable[Path], *, network: bool) -> None:
    create, add, restrict = _LANDLOCK
    version = _checked(libc.syscall(create, None, ctypes.c_size_t(0), 1))
    handled = _RIGHTS_BY_VERSION[min(version, len(_RIGHTS_BY_VERSION) - 1)]
    net = _NET_TCP if version >= 4 and not network else 0
    rules = struct.pack("<QQQ", handled, net, _SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _checked(libc.syscall(create, ctypes.c_char_p(rules), ctypes.c_size_t(size), 0))
    try:
        for paths, rights in (
            ([*map(Path, SYSTEM), *readable], _READ),
            (writable, _WRITE),
            ([Path("/dev/null"), Path("/dev/zero")], _READ | _WRITE_FILE),
        ):
            for path in paths:
                _allow(libc, add, ruleset, path, rights & handled)
        _checked(libc.syscall(restrict, ruleset, 0))
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, add: int, ruleset: int, path: Path, rights: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # what is not there needs no rule
        return
    try:
        rule = struct.pack("<Qi", rights if path.is_dir() else rights & _OF_FILES, opened)
        _checked(libc.syscall(add, ruleset, 1, ctypes.c_char_p(rule), 0))
    finally:
        os.close(opened)


def _seccomp(libc: ctypes.CDLL) -> None:
    """A filter of classic BPF: another machine's calls, and those of `_CALLS`, answer EACCES."""
    machine, foreign, calls = _CALLS[platform.machine()]
    load, equal, at_least, answer = 0x20, 0x15, 0x35, 0x06
    last = 5 + len(calls)  # the step that refuses; jumps count from the step behind them
    steps = [
        (load, 0, 0, 4),
        (equal, 0, last - 2, machine),
        (load, 0, 0, 0),
        (at_least, last - 4, 0, foreign),
        *((equal, last - 5 - i, 0, number) for i, number in enumerate(calls)),
        (answer, 0, 0, 0x7FFF0000),
        (answer, 0, 0, 0x00050000 | EACCES),
    ]
    code = b"".join(struct.pack("<HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(steps), ctypes.addressof(buffer))
    _checked(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(program), 0, 0))


def _checked(answer: int) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer
