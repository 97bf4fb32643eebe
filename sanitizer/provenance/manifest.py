"""The files of a delivery or release, bound to their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import rfc8785


@dataclass(frozen=True, order=True)
class FileEntry:
    """One file: `path` is POSIX and relative, `sha256` is 64 lower-case hex digits, `size` is in bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """A closed list of files, sorted by path: a file that is not here does not exist for us.

    Law: the order in which a directory is walked changes neither the manifest nor its digest.

    >>> a, b = FileEntry("a", "0" * 64, 1), FileEntry("b", "1" * 64, 2)
    >>> Manifest.of([b, a]) == Manifest.of([a, b])
    True
    """

    files: tuple[FileEntry, ...]

    @classmethod
    def of(cls, files: Iterable[FileEntry]) -> Manifest:
        """The manifest of `files` in any order."""
        return cls(tuple(sorted(files)))

    @property
    def digest(self) -> str:
        """`sha256:…` over the RFC 8785 form of the list."""
        listed: Any = [{"path": f.path, "sha256": f.sha256, "size": f.size} for f in self.files]
        return f"sha256:{hashlib.sha256(rfc8785.dumps(listed)).hexdigest()}"
