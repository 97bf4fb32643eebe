"""The files of a delivery or release, bound to their digests."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import rfc8785

from sanitizer.errors import BadEnvelope, DigestMismatch, LengthMismatch, WeakDigest

# hex digits of the digests that count; any other, even beside one of these, is refused: a reader that prefers it is fooled
ALGORITHMS: Mapping[str, int] = {"sha256": 64, "sha512": 128}


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
        return f"sha256:{hashlib.sha256(rfc8785.dumps(self.to_json())).hexdigest()}"

    def to_json(self) -> Any:
        """A list of objects with `path`, `sha256`, `size`."""
        return [{"path": f.path, "sha256": f.sha256, "size": f.size} for f in self.files]

    @classmethod
    def from_json(cls, listed: Any) -> Manifest:
        """What `to_json` made."""
        return cls.of(FileEntry(**f) for f in listed)


@dataclass(frozen=True)
class Claim:
    """What somebody says of a file, before anybody looked: a path, and sizes and digests as far as they are told."""

    path: str
    size: int | None = None
    sha256: str = ""
    sha512: str = ""

    @classmethod
    def of(cls, path: str, digests: Any, size: int | None = None) -> Claim:
        """From a map of algorithm to lower-case hex digest, as manifests hold it.

        Raises:
            WeakDigest: another algorithm than sha256 and sha512, or none.
            BadEnvelope: a digest that is not of its algorithm's form.
        """
        if not isinstance(digests, dict):
            raise BadEnvelope(f"{path}: the digests are not an object", subject=path)
        weak = sorted(map(str, set(digests) - set(ALGORITHMS)))
        if weak or not digests:
            raise WeakDigest(f"{path}: relies on {', '.join(weak) or 'no digest'}; list sha256 (or sha512) and nothing else", subject=path)
        for algorithm, digest in digests.items():
            if not isinstance(digest, str) or not re.fullmatch(f"[0-9a-f]{{{ALGORITHMS[algorithm]}}}", digest):
                raise BadEnvelope(f"{path}: {digest!r} is no {algorithm} in lower-case hex", subject=path)
        return cls(path, size, **digests)

    def check(self, size: int, sha256: str, sha512: str = "") -> FileEntry:
        """The entry of a file that is what was claimed, given its true size and digests (`sha512` only where one is claimed).

        Raises:
            LengthMismatch: it is longer or shorter.
            DigestMismatch: it has other bytes.
        """
        if self.size is not None and size != self.size:
            found = "more" if size > self.size else str(size)
            raise LengthMismatch(f"{self.path} has {found} bytes, its manifest says {self.size}", subject=self.path)
        if (self.sha256 and sha256 != self.sha256) or (self.sha512 and sha512 != self.sha512):
            raise DigestMismatch(f"{self.path} differs from its manifest: sha256 is {sha256}", subject=self.path)
        return FileEntry(self.path, sha256, size)
