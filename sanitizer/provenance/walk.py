"""A directory that somebody else filled, read without being led elsewhere.

Every part of a path is opened relative to the directory above it and never through a link (`openat`, `O_NOFOLLOW`), so
nothing outside the directory can be reached, whatever is renamed or linked while we look.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sanitizer.errors import BadEnvelope, LengthMismatch, MissingFile, NotRegularFile, StorageFailed, UnlistedFile
from sanitizer.provenance.blobs import CHUNK, BlobStore
from sanitizer.provenance.manifest import Claim, FileEntry, Manifest
from sanitizer.provenance.names import DEEPEST, check_names, parents

_SPARSE_FROM = 1 << 20  # bytes; below this a file with holes harms nobody


def take(root: Path, claims: Sequence[Claim], blobs: BlobStore, *, beside: Collection[str] = ()) -> Manifest:
    """Copies the claimed files of `root` into `blobs`, hashing them on the way; `beside` names files that may lie there unclaimed.

    Raises:
        BadName: a claimed name can be read in two ways, or two names can fall together.
        UnlistedFile: something lies there that nobody claimed, an empty directory included.
        MissingFile: a claimed file is absent.
        NotRegularFile: a link, pipe, device, a file with a second name, or one with holes.
        LengthMismatch: a size differs; no file is hashed then.
        DigestMismatch: bytes differ.
    """
    with _claimed(root, claims, beside) as (top, sizes), blobs.batch():
        return Manifest.of(_take(top, claim, sizes[claim.path], blobs) for claim in claims)


def _take(top: int, claim: Claim, size: int, blobs: BlobStore) -> FileEntry:
    with regular(top, claim.path) as file:
        return blobs.take(file, _sized(claim, size))


def check(root: Path, claims: Sequence[Claim], *, beside: Collection[str] = ()) -> Manifest:
    """What `take` finds out, and raises, without keeping a copy: whoever reads the files later reads what lies there then."""
    with _claimed(root, claims, beside) as (top, sizes):
        return Manifest.of(_measure(top, claim, sizes[claim.path]) for claim in claims)


@contextmanager
def _claimed(root: Path, claims: Sequence[Claim], beside: Collection[str]) -> Iterator[tuple[int, dict[str, int]]]:
    """The open directory and the sizes of what lies there, once names and sizes are as claimed."""
    check_names([*beside, *(claim.path for claim in claims)])
    with directory(root) as top:
        sizes = listing(top, root, expected={*(claim.path for claim in claims), *beside})
        for claim in claims:
            if claim.path not in sizes:
                raise MissingFile(f"{claim.path} is in the manifest but not in {root}", subject=claim.path)
            if claim.size is not None and sizes[claim.path] != claim.size:
                raise LengthMismatch(f"{claim.path} has {sizes[claim.path]} bytes, its manifest says {claim.size}", subject=claim.path)
        yield top, sizes


def read(root: Path, name: str, limit: int) -> bytes:
    """The plain file `name` of the directory `root`.

    Raises:
        MissingFile: it is not there.
        NotRegularFile: it is a link, a pipe, …
        BadEnvelope: it is larger than `limit` bytes.
    """
    with directory(root) as top, regular(top, name) as file:
        data = bytearray()
        while len(data) <= limit and (chunk := file.read(CHUNK)):
            data += chunk
    if len(data) > limit:
        raise BadEnvelope(f"{name} is larger than {limit >> 20} MiB", subject=name)
    return bytes(data)


def measure(root: Path, *, beside: Collection[str] = ()) -> Manifest:
    """Hashes all files of `root` except those named in `beside`; a file that could not be verified later is refused now.

    Raises:
        BadName: a name that `take` would refuse.
        NotRegularFile: a file that `take` would refuse.
    """
    with directory(root) as top:
        sizes = listing(top, root)
        names = check_names(sorted(set(sizes) - set(beside)))
        return Manifest.of(_measure(top, Claim(name), sizes[name]) for name in names)


def _measure(top: int, claim: Claim, size: int) -> FileEntry:
    sha256, found, buffer = hashlib.sha256(), 0, memoryview(bytearray(CHUNK))
    sha512 = hashlib.sha512() if claim.sha512 else None
    with regular(top, claim.path) as file:
        while n := file.readinto(buffer):
            sha256.update(buffer[:n])
            if sha512 is not None:
                sha512.update(buffer[:n])
            found += n
            if found > size:  # it grows while we read
                break
    return _sized(claim, size).check(found, sha256.hexdigest(), "" if sha512 is None else sha512.hexdigest())


def _sized(claim: Claim, size: int) -> Claim:
    """A list without sizes still may not make us read on and on from a file that grows."""
    return claim if claim.size is not None else Claim(claim.path, size, claim.sha256, claim.sha512)


@contextmanager
def directory(root: Path) -> Iterator[int]:
    """The file descriptor of `root`, which must be a directory and no link to one."""
    try:
        handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise MissingFile(f"there is no directory {root}", subject=str(root)) from None
    except OSError as error:
        raise _not_regular(error, str(root), "a directory") from error
    try:
        yield handle
    finally:
        os.close(handle)


def listing(top: int, root: Path, *, expected: Collection[str] | None = None) -> dict[str, int]:
    """Names and sizes of all files below the descriptor `top`; stops at the first one that is not `expected`.

    Raises:
        UnlistedFile: a file that is not expected, or a directory without files in it.
        NotRegularFile: anything that is neither a directory nor a plain file with one name.
    """
    sizes: dict[str, int] = {}
    known = None if expected is None else {parent for name in expected for parent in parents(name)}
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        empty = bool(prefix)
        with _subdirectory(top, prefix) as handle, os.scandir(handle) as entries:
            for entry in entries:
                empty = False
                name = prefix + entry.name
                found = entry.stat(follow_symlinks=False)
                # what nobody listed is named as such, whatever it is
                if known is not None and name not in known and (expected is None or name not in expected):
                    raise UnlistedFile(f"{name!r} lies in {root} but is not in the manifest: remove it, or list and sign it", subject=name)
                if stat.S_ISDIR(found.st_mode) and (expected is None or name not in expected) and name.count("/") < DEEPEST:
                    waiting.append(f"{name}/")
                else:
                    _check_regular(found, name)
                    sizes[name] = found.st_size
        if empty:
            raise UnlistedFile(f"{prefix!r} in {root} is a directory without files: remove it, nobody can sign it", subject=prefix)
    return sizes


@contextmanager
def regular(top: int, name: str) -> Iterator[io.FileIO]:
    """The plain file `name` below the descriptor `top`, open for reading.

    Raises:
        NotRegularFile: it is no plain file, has a second name, or has holes; or a part of its path is a link.
        MissingFile: it is not there.
    """
    parent, _, leaf = name.rpartition("/")
    with _subdirectory(top, parent) as handle:
        try:
            # O_NONBLOCK: opening a pipe must not wait for a writer
            file = os.open(leaf, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=handle)
        except FileNotFoundError:
            raise MissingFile(f"{name} is not there any more", subject=name) from None
        except OSError as error:
            raise _not_regular(error, name, "a plain file") from error
    try:
        found = os.fstat(file)
        _check_regular(found, name)
    except NotRegularFile:
        os.close(file)
        raise
    with io.FileIO(file, "rb") as opened:
        if found.st_size >= _SPARSE_FROM and found.st_blocks * 512 < found.st_size // 2 and _has_hole(file, found.st_size):
            raise NotRegularFile(f"{name} is mostly holes: {found.st_size} bytes, {found.st_blocks * 512} on the disk", subject=name)
        yield opened


@contextmanager
def _subdirectory(top: int, path: str) -> Iterator[int]:
    handle = os.dup(top)
    try:
        for part in path.split("/"):
            if part:
                try:
                    below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=handle)
                except FileNotFoundError:
                    raise MissingFile(f"{path} is not there any more", subject=path) from None
                except OSError as error:
                    raise _not_regular(error, path, "a directory") from error
                os.close(handle)
                handle = below
        yield handle
    finally:
        os.close(handle)


def _check_regular(found: os.stat_result, name: str) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise NotRegularFile(f"{name!r} is a link: put the file itself there", subject=name)
    if not stat.S_ISREG(found.st_mode):
        raise NotRegularFile(f"{name!r} is no plain file but {_kind(found.st_mode)}", subject=name)
    if found.st_nlink != 1:
        # whoever holds the other name can change the bytes
        raise NotRegularFile(f"{name!r} has {found.st_nlink} names (hard links): put a copy there", subject=name)


def _kind(mode: int) -> str:
    kinds = {stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket", stat.S_ISCHR: "a device", stat.S_ISBLK: "a device"}
    return next((word for test, word in kinds.items() if test(mode)), "a directory")


def _has_hole(file: int, size: int) -> bool:
    try:
        hole = os.lseek(file, 0, os.SEEK_HOLE)
        os.lseek(file, 0, os.SEEK_SET)
    except OSError:  # a file system that cannot tell holes has none for us
        return False
    return hole < size


def _not_regular(error: OSError, name: str, wanted: str) -> NotRegularFile | StorageFailed:
    if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EMLINK, errno.ENXIO, errno.ENODEV}:
        return NotRegularFile(f"{name!r} is not {wanted}, or is reached through a link", subject=name)
    return StorageFailed(f"cannot read {name!r}: {error.strerror}", subject=name)
