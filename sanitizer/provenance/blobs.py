"""Bytes named by their digest.

What was verified is what is read later: a file is copied into the store while it is hashed, and from then on only the
copy is opened, by its digest, and hashed again as it is read.  So it does not matter who writes where the file came from.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sanitizer.errors import DigestMismatch, MissingFile, StorageFailed, UsageError
from sanitizer.provenance import jcs
from sanitizer.provenance.manifest import Claim, FileEntry

CHUNK = 1 << 18  # bytes at a time: stays in the cache between reading, hashing and writing; 1 MiB costs twice the time

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class BlobStore:
    """A directory of immutable blobs, `root/<first two hex digits>/<64 hex digits>`, mode 0444.

    Law: `read(put_bytes(data)) == data`, or an error; never other bytes.
    A blob stands under its name only when it is whole and on the disk; a crash leaves at most files in `root/tmp`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._tmp = root / "tmp"
        self._batch: list[tuple[Path, str]] | None = None

    def put_bytes(self, data: bytes) -> str:
        """Keeps `data`; returns its digest, `sha256:…`.  The same bytes again are the same blob."""
        return self.put_stream(io.BytesIO(data))

    def put_json(self, value: Any) -> str:
        """Keeps the RFC 8785 form of `value`; returns its digest."""
        return self.put_bytes(jcs.dumps(value))

    def put_stream(self, stream: io.IOBase, *, expect: FileEntry | None = None) -> str:
        """Copies `stream` while hashing it; returns its digest.

        With `expect` it raises what `take` raises, and keeps nothing, unless these are the expected bytes.
        """
        claim = Claim("stream") if expect is None else Claim(expect.path, expect.size, sha256=expect.sha256)
        return f"sha256:{self.take(stream, claim).sha256}"

    def take(self, stream: io.IOBase, claim: Claim) -> FileEntry:
        """Copies `stream` while hashing it, and keeps it only if it is what `claim` says.

        Raises:
            LengthMismatch: more or fewer bytes than claimed; reads at most one byte beyond the claim.
            DigestMismatch: other bytes than claimed.
            StorageFailed: the disk is full or broken.
        """
        with self._writing():
            handle, staged = self._stage()
            try:
                try:
                    entry = _copy(stream, handle, claim)
                    os.fchmod(handle, 0o444)
                    if self._batch is None:
                        os.fsync(handle)
                finally:
                    os.close(handle)
                if self._batch is None:
                    self._rename(staged, entry.sha256)
                    _sync(self.path(f"sha256:{entry.sha256}").parent)
                    _sync(self.root)
                else:
                    self._batch.append((staged, entry.sha256))
            except BaseException:
                staged.unlink()
                raise
        return entry

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Within the block blobs are only staged; at its end they reach the disk and get their names together.

        One flush for all: flushed one by one, 10,000 small files take five times as long.
        """
        if self._batch is not None:
            raise UsageError(f"the blob store {self.root} is in a batch already")
        staged = self._batch = []
        try:
            yield
            if staged:
                with self._writing():
                    _sync_file_system(self.root)
                    while staged:
                        self._rename(*staged[-1])
                        staged.pop()
                    _sync_file_system(self.root)
        finally:
            self._batch = None
            for path, _ in staged:
                path.unlink()

    def path(self, digest: str) -> Path:
        """Where the blob lies.  Who opens this file himself must hash it: prefer `open` and `read`."""
        if not _DIGEST.fullmatch(digest):
            raise UsageError(f"{digest!r} is no digest: a blob is named sha256: and 64 hex digits", subject=digest)
        return self.root / digest[7:9] / digest[7:]

    def has(self, digest: str) -> bool:
        """Whether the blob is here; its bytes are checked only when they are read."""
        return self.path(digest).is_file()

    def open(self, digest: str) -> Blob:
        """The blob as a stream, read forwards only, that raises instead of ending if the bytes are not those of the digest.

        Raises:
            MissingFile: there is no such blob.
        """
        try:
            handle = os.open(self.path(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise MissingFile(f"the blob {digest} is not in {self.root}: was it deleted?", subject=digest) from None
        except OSError as error:
            raise StorageFailed(f"cannot read the blob {digest}: {error.strerror}", subject=digest) from error
        return Blob(handle, digest)

    def read(self, digest: str) -> bytes:
        """All bytes of the blob, hashed again.

        Raises:
            MissingFile: there is no such blob.
            DigestMismatch: somebody changed the file.
        """
        with self.open(digest) as blob:
            return blob.readall()

    def read_json(self, digest: str) -> Any:
        """What `put_json` kept."""
        return jcs.loads(self.read(digest), what=f"blob {digest}")

    def sweep(self) -> int:
        """Deletes what a crash left half-written; returns how many files.  Only while nobody else writes."""
        left = list(self._tmp.glob("*")) if self._tmp.is_dir() else []
        for path in left:
            path.unlink()
        return len(left)

    def _stage(self) -> tuple[int, Path]:
        try:
            handle, name = tempfile.mkstemp(dir=self._tmp)
        except FileNotFoundError:
            self._tmp.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._tmp)
        return handle, Path(name)

    def _rename(self, staged: Path, sha256: str) -> None:
        # replaces what is there: a blob that rotted on the disk is made whole by the next copy of it
        place = self.path(f"sha256:{sha256}")
        try:
            staged.replace(place)
        except FileNotFoundError:
            place.parent.mkdir(exist_ok=True)
            staged.replace(place)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageFailed(
                f"cannot write into the blob store {self.root}: {error.strerror or error}", subject=str(self.root)
            ) from error


class Blob(io.RawIOBase):
    """A blob being read: raises `DigestMismatch` where the file would end if its bytes are not the promised ones."""

    def __init__(self, handle: int, digest: str) -> None:
        super().__init__()
        self._handle = handle
        self._hash = hashlib.sha256()
        self.digest = digest

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Reads into `buffer`; 0 at the end, once the digest agreed."""
        try:
            n = os.readv(self._handle, [buffer])
        except OSError as error:
            raise StorageFailed(f"cannot read the blob {self.digest}: {error.strerror}", subject=self.digest) from error
        if n:
            self._hash.update(memoryview(buffer).cast("B")[:n])
        elif memoryview(buffer).nbytes and f"sha256:{self._hash.hexdigest()}" != self.digest:
            raise DigestMismatch(f"the blob {self.digest} holds other bytes: somebody changed the store", subject=self.digest)
        return n

    def readall(self) -> bytes:
        """All that is left."""
        chunks = []
        while chunk := self.read(CHUNK):
            chunks.append(chunk)
        return b"".join(chunks)

    def close(self) -> None:
        """Gives the file back."""
        if not self.closed:
            os.close(self._handle)
        super().close()


def _copy(stream: io.IOBase, out: int, claim: Claim) -> FileEntry:
    """Copies up to one byte more than was claimed."""
    sha256, size = hashlib.sha256(), 0
    sha512 = hashlib.sha512() if claim.sha512 else None
    buffer = memoryview(bytearray(CHUNK))
    while n := stream.readinto(buffer if claim.size is None else buffer[: claim.size + 1 - size]):  # type: ignore[attr-defined]  # each binary stream has it
        chunk = buffer[:n]
        size += n
        sha256.update(chunk)
        if sha512 is not None:
            sha512.update(chunk)
        while chunk:
            chunk = chunk[os.write(out, chunk) :]
    return claim.check(size, sha256.hexdigest(), "" if sha512 is None else sha512.hexdigest())


def _sync(directory: Path) -> None:
    """Makes the names in `directory` durable: a rename alone may not survive a power cut."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_file_system(directory: Path) -> None:
    """Brings everything on the file system that holds `directory` to the disk."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "syncfs"):  # not Linux
        os.sync()
        return
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if libc.syncfs(handle) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(handle)
