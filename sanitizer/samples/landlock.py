"""A process gives up every file but a few, for good: Linux's Landlock (https://docs.kernel.org/userspace-api/landlock.html).

A parser that hostile bytes took over runs as the same user as the line.  After `confine` it can read the files it was given and
the libraries it may still load, write its answer, and nothing else: no key, no inbox, no other workspace, no TCP connection.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable

# the numbers are the same on every architecture
_CREATE, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1  # flag of _CREATE: only tell the version
_PATH_BENEATH = 1
_NO_NEW_PRIVILEGES = 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REMOVE_FILE, _MAKE_REGULAR, _TRUNCATE = 1 << 5, 1 << 8, 1 << 14
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
# version -> all rights over files that it knows (13 at first, then refer, truncate, ioctl)
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_NEWEST = 16


def version() -> int:
    """The version of Landlock that this kernel speaks, 0 where it has none or it is switched off."""
    return max(0, int(_libc().syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))))


def confine(*, read: Iterable[str], write: Iterable[str]) -> bool:
    """From here on this process opens only files at or below `read`, and makes and changes only those at or below `write`.

    Paths that are not there grant nothing.  What is open stays open.  Returns False, and changes nothing, where the kernel has no
    Landlock; raises `OSError` where it refuses.
    """
    known = version()
    if not known:
        return False
    handled = (1 << _RIGHTS.get(known, _NEWEST)) - 1
    # no rule allows any TCP port, abstract socket or foreign process: all are given up
    rules = struct.pack("=QQQ", handled, 3 if known >= 4 else 0, 3 if known >= 6 else 0)[: 24 if known >= 6 else 16 if known >= 4 else 8]
    ruleset = _checked(_libc().syscall(_CREATE, rules, ctypes.c_size_t(len(rules)), ctypes.c_uint32(0)))
    try:
        for path in read:
            _allow(ruleset, path, _READ_FILE | _READ_DIR | _EXECUTE, handled)
        for path in write:
            _allow(ruleset, path, _READ_FILE | _WRITE_FILE | _MAKE_REGULAR | _REMOVE_FILE | _TRUNCATE, handled)
        _checked(_libc().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
        _checked(_libc().syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0)))
    finally:
        os.close(ruleset)
    return True


def _allow(ruleset: int, path: str, rights: int, handled: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not os.path.isdir(path):  # noqa: PTH112  # the process that parses keeps its imports few
            rights &= _ON_FILES
        rule = struct.pack("=Qi", rights & handled, handle)
        _checked(_libc().syscall(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0)))
    finally:
        os.close(handle)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno() or errno.EINVAL
        raise OSError(number, os.strerror(number))
    return int(result)
