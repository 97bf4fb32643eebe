"""The gate before training: nothing is read from a release unless everything about it verifies.

    (1) a trust root that came another way    (2) its keys signed the list of files    (3) nothing else lies there, nothing is missing
    (4) the statement is of the same key      (5) not expired, not older than one seen before
    (6) nothing of it was recalled                                     (7) every byte is hashed as it is read

It needs `cryptography`, `securesystemslib` and `tuf.api`; pandas, pyarrow and the like are imported when data is asked for in their form.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from securesystemslib.signer import Key

from sanitizer.errors import (
    BadEnvelope,
    DigestMismatch,
    Expired,
    MissingFile,
    NotRegularFile,
    Replayed,
    RevokedKey,
    StorageFailed,
    UnlistedFile,
    Unsigned,
    UntrustedSigner,
    UsageError,
)
from sanitizer.provenance import oms
from sanitizer.provenance.envelope import open_envelope
from sanitizer.provenance.statement import RELEASE, parse
from sanitizer.provenance.trust import FileTrustState, Revocation, TrustRoot, write

if TYPE_CHECKING:
    from sanitizer.release.loaders import OpenRelease

_CHUNK = 1 << 20
_AT_ONCE = 4 << 20  # bytes: hashing more is worth a thread
_LONGEST_NUMBER = 9  # digits of a version
_LONGEST = 64 << 20  # bytes of a signature or statement; 64 MiB lists some 300,000 files


class Trust(Protocol):
    """What the gate asks of a trust root; `provenance.trust.TrustRoot` is one."""

    def release_keys(self) -> Sequence[Key]:
        """The keys that may sign releases; revoked ones are not among them."""

    def revoked_keys(self) -> Sequence[Key]:
        """The keys that were revoked."""

    def revocation(self, kind: str, name: str) -> Revocation | None:
        """The revocation of a source, delivery or release, if there is one."""


class Seen(Protocol):
    """The gate's memory: the highest version of each data set that it let through."""

    def get(self, dataset: str) -> tuple[int, str] | None:
        """Version and digest of the newest release seen."""

    def put(self, dataset: str, version: int, digest: str) -> None:
        """Remembers a release."""


@dataclass(frozen=True)
class VerifiedRelease:
    """A release of which signature, names, age and rank were verified.

    `files` is path -> hex sha256 and complete; `statement` is the signed predicate.  `hashed` tells whether every byte was hashed too.
    """

    path: Path
    dataset: str
    version: int
    digest: str
    content: str
    samples: int
    issued: datetime
    expires: datetime
    keyid: str
    files: Mapping[str, str]
    statement: Mapping[str, Any]
    hashed: bool

    def read(self, name: str) -> bytes:
        """The bytes of one listed file, verified; raises `UnlistedFile` for any other, `DigestMismatch` when they changed."""
        if name not in self.files:
            raise UnlistedFile(f"{name!r} is not a file of release {self.dataset}/{self.version}", subject=name)
        with _open(self.path, name) as file:
            data = file.read()
        if hashlib.sha256(data).hexdigest() != self.files[name]:
            raise self._differs(name)
        return data

    def check(self, name: str) -> None:
        """Hashes one listed file without keeping it; raises `DigestMismatch` when it changed."""
        with _open(self.path, name) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != self.files[name]:
                raise self._differs(name)

    def _differs(self, name: str) -> DigestMismatch:
        return DigestMismatch(f"{name} differs from the signed release {self.dataset}/{self.version}: fetch it again", subject=name)


class SeenFile:
    """The gate's memory in one small JSON file, which several processes may share."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)

    def get(self, dataset: str) -> tuple[int, str] | None:
        """Version and digest of the newest release of `dataset` seen, None before the first."""
        found = self._load().get(dataset)
        return None if found is None else (int(found["version"]), str(found["digest"]))

    def put(self, dataset: str, version: int, digest: str) -> None:
        """Remembers a release, unless a newer one was seen meanwhile."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.with_name(f"{self._path.name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                known = self._load()
                if dataset in known and int(known[dataset]["version"]) >= version:
                    return
                known[dataset] = {"version": version, "digest": digest}
                temporary = self._path.with_name(f"{self._path.name}.new")
                with temporary.open("w") as out:
                    json.dump(known, out, indent=1, sort_keys=True)
                    out.flush()
                    os.fsync(out.fileno())
                temporary.replace(self._path)
        except OSError as error:
            raise StorageFailed(f"cannot remember the release in {self._path}: {error.strerror}", subject=str(self._path)) from error

    def _load(self) -> dict[str, dict[str, Any]]:
        try:
            known = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise StorageFailed(f"the gate's memory {self._path} cannot be read: {error}; restore it", subject=str(self._path)) from error
        if not isinstance(known, dict) or not all(_remembered(each) for each in known.values()):
            raise StorageFailed(f"the gate's memory {self._path} is not one; restore it", subject=str(self._path))
        return known


def _remembered(each: Any) -> bool:
    return isinstance(each, dict) and type(each.get("version")) is int and isinstance(each.get("digest"), str)


def verify_release(
    path: Path | str,
    trust: Trust | Path | str | None,
    *,
    state: Seen | Path | str | None = None,
    now: datetime | None = None,
) -> VerifiedRelease:
    """Verifies a release to the last byte.

    Args:
        path: the directory of one release, or of a data set's releases (then the one that `latest` points to).
        trust: a trust root that came by another way than the release: a directory of TUF metadata, a `root.json` at which its chain
            begins (the rest may then lie in a directory `trust` beside the releases), or a loaded one.
        state: the gate's memory against older releases, a `Seen` or the path of a JSON file.
        now: the time to judge expiry by; the clock's when absent.

    Raises:
        Refused: its subclass says why (`UntrustedSigner`, `DigestMismatch`, `UnlistedFile`, `Expired`, `Replayed`, …).
        UsageError: there is no release at `path`.
    """
    place, root, seen, moment = _settle(path, trust, state, now)
    found = _admit(place, root, seen, moment)
    _hash_all(found)
    if seen is not None:
        seen.put(found.dataset, found.version, found.digest)
    return replace(found, hashed=True)


@contextlib.contextmanager
def open_release(
    path: Path | str,
    *,
    trust: Trust | Path | str | None = None,
    state: Seen | Path | str | None = None,
    now: datetime | None = None,
    receipt: Path | str | None = None,
) -> Iterator[OpenRelease]:
    """Opens a release for training: `.pandas()`, `.arrow()`, `.arrays()`, `.torch()`, `.hf()`.

    Signature, list of files, age and rank are verified before the block begins; the bytes of the data as they are read, once, so that
    nothing unverified is ever handed out and nothing is read twice.  Large files beside the data are hashed meanwhile, and are verified
    before the first row is handed out.  The arguments and errors are those of `verify_release`, and `receipt` is a file to which the
    receipt of what was read goes when the block ends.

    >>> with open_release("releases/digits/3", trust="trust") as release:  # doctest: +SKIP
    ...     frame = release.pandas()
    """
    place, root, seen, moment = _settle(path, trust, state, now)
    found = _admit(place, root, seen, moment)
    large = []
    for name in found.files:
        if name.startswith("data/"):
            continue
        if (found.path / name).stat().st_size > _AT_ONCE:
            large.append(name)
        else:
            found.check(name)
    with ThreadPoolExecutor(1) as beside:
        checks = [beside.submit(found.check, name) for name in large]

        def settle() -> None:
            for check in checks:
                check.result()
            if seen is not None:
                seen.put(found.dataset, found.version, found.digest)

        if not checks:
            settle()
        from sanitizer.release.loaders import OpenRelease  # noqa: PLC0415 (the gate itself stays light)

        opened = OpenRelease(found, settle)
        yield opened
        settle()
    if receipt is not None:
        write(Path(receipt), json.dumps(opened.receipt(), indent=1, sort_keys=True).encode() + b"\n")


def verify_with_keys(path: Path, keys: Sequence[Key]) -> VerifiedRelease:
    """Verifies a release to the last byte against keys at hand, whatever its age: what its own publisher does after a crash."""
    found = _read(path, keys)
    _closed_world(found)
    _hash_all(found)
    return replace(found, hashed=True)


def signed_release(path: Path, trust: Trust) -> VerifiedRelease:
    """What a release of any age says of itself, revoked keys included: to ask what it held, never to train on it.

    Its data are not looked at; `VerifiedRelease.read` still hashes what it hands out.
    """
    return _read(path, [*trust.release_keys(), *trust.revoked_keys()])


def _settle(
    path: Path | str, trust: Trust | Path | str | None, state: Seen | Path | str | None, now: datetime | None
) -> tuple[Path, Trust, Seen | None, datetime]:
    moment = now or datetime.now(UTC)
    if "://" in str(path):
        raise UsageError(
            f"{path} is not a local directory: fetch the release first, the gate reads what lies on this machine", subject=str(path)
        )
    place = _place(Path(os.path.abspath(path)))  # noqa: PTH100 (resolve() would follow links, and the signature lies beside the link)
    # (1) a release must not bring its own root
    if trust is None:
        raise UntrustedSigner("no trust root was given: name one that came by another way than the release", subject=str(path))
    if isinstance(trust, (str, Path)):
        if Path(trust).resolve().is_relative_to(place.resolve()):
            raise UntrustedSigner(f"the trust root {trust} lies inside the release that it should judge", subject=str(trust))
        trust = _load(Path(trust), place, moment, state)
    return place, trust, SeenFile(state) if isinstance(state, (str, Path)) else state, moment


def _load(given: Path, place: Path, now: datetime, state: Seen | Path | str | None) -> TrustRoot:
    """The trust root in a directory, or the one whose chain begins at a root file; then its other metadata may come with the releases."""
    memory = None
    if isinstance(state, (str, Path)):
        Path(state).parent.mkdir(parents=True, exist_ok=True)
        memory = FileTrustState(Path(f"{state}.trust"))
    if given.is_dir():
        return TrustRoot.load(given, now=now, state=memory)
    beside = [given.parent, *(parent / "trust" for parent in list(place.resolve().parents)[:3])]
    metadata = next((directory for directory in beside if (directory / "timestamp.json").exists()), given.parent)
    return TrustRoot.load(metadata, now=now, pinned=given, state=memory)


def _place(path: Path) -> Path:
    latest = path / "latest"
    if (path / "SHA256SUMS").exists() or not latest.is_file():
        if not path.is_dir():
            raise UsageError(f"there is no release at {path}", subject=str(path))
        return path
    version = latest.read_text(encoding="ascii", errors="replace").strip()
    if not version.isdecimal() or len(version) > _LONGEST_NUMBER or not (path / version).is_dir():
        raise UsageError(f"{latest} points to no release", subject=str(latest))
    return path / version


def _admit(place: Path, trust: Trust, seen: Seen | None, now: datetime) -> VerifiedRelease:
    try:
        found = _read(place, trust.release_keys())
    except UntrustedSigner:
        with contextlib.suppress(UntrustedSigner):
            gone = _read(place, trust.revoked_keys())
            raise RevokedKey("the release is signed with a key that was revoked: get a newer release", subject=gone.keyid) from None
        raise
    _closed_world(found)
    # (5) judged by our clock and our memory, never by what the release says of itself
    if now >= found.expires:
        raise Expired(f"release {found.dataset}/{found.version} expired on {found.expires:%Y-%m-%d}: get a newer one", subject=str(place))
    if place.name.isdecimal() and place.name != str(found.version):
        raise Replayed(f"release {found.version} of {found.dataset} lies where release {place.name} belongs", subject=str(place))
    known = None if seen is None else seen.get(found.dataset)
    if known is not None and found.version < known[0]:
        raise Replayed(f"release {found.version} of {found.dataset} is older than {known[0]}, which was seen before", subject=str(place))
    if known is not None and found.version == known[0] and found.digest != known[1]:
        raise Replayed(f"release {found.version} of {found.dataset} is not the {known[0]} that was seen before", subject=str(place))
    # (6) the release itself, a delivery in it, or whoever supplied one
    for kind, name in [("release", found.digest), *_ingredients(found)]:
        if (recalled := trust.revocation(kind, name)) is not None:
            raise RevokedKey(
                f"release {found.dataset}/{found.version}: the {kind} {name} was revoked on {recalled.at:%Y-%m-%d}: {recalled.reason}",
                subject=name,
            )
    return found


def _read(place: Path, keys: Sequence[Key]) -> VerifiedRelease:
    """Signature and statement, everything that can be known without reading data."""
    # (2) the list of files is only as good as its signature
    try:
        signed = oms.verify(_bounded(place.parent, f"{place.name}.sig"), keys)
    except MissingFile as error:
        raise Unsigned(f"there is no signature {place.name}.sig beside the release", subject=str(place)) from error
    # (4) the statement must be listed, and signed by the same key: a mix of two releases is neither
    if "provenance.intoto.json" not in signed.files:
        raise BadEnvelope("the release has no provenance.intoto.json", subject=str(place))
    raw = _bounded(place, "provenance.intoto.json")
    if hashlib.sha256(raw).hexdigest() != signed.files["provenance.intoto.json"]:
        raise DigestMismatch("provenance.intoto.json differs from the signed release: fetch it again", subject="provenance.intoto.json")
    what = "the statement of the release"
    envelope = open_envelope(raw, what=what)
    envelope.verify([key for key in keys if key.keyid == signed.keyid], 1, what=what)
    subjects, body = parse(envelope.payload, predicate_type=RELEASE, what=what)
    if any(digest != {"sha256": signed.files.get(name)} for name, digest in subjects):
        raise BadEnvelope("the statement of the release speaks of other files than its signature", subject=str(place))
    try:
        told = body["release"]
        found = VerifiedRelease(
            path=place,
            dataset=_is(told["dataset"], str),
            version=_is(told["version"], int),
            digest=signed.digest,
            content=_is(told["content"], str),
            samples=_is(told["samples"], int),
            issued=datetime.fromisoformat(told["issued"]),
            expires=datetime.fromisoformat(told["expires"]),
            keyid=signed.keyid,
            files=signed.files,
            statement=body,
            hashed=False,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadEnvelope(f"the statement of the release is incomplete: {error}", subject=str(place)) from error
    if found.issued.tzinfo is None or found.expires.tzinfo is None:
        raise BadEnvelope("the statement of the release has times without a zone", subject=str(place))
    return found


def _ingredients(found: VerifiedRelease) -> Iterator[tuple[str, str]]:
    try:
        for material in found.statement["buildDefinition"]["resolvedDependencies"]:
            yield "delivery", f"sha256:{material['digest']['sha256']}"
            yield "source", str(material["annotations"]["source"])
    except (KeyError, TypeError) as error:
        raise BadEnvelope(f"the statement of the release does not name its deliveries: {error!r}", subject=str(found.path)) from error


def _is(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is not a {kind.__name__}")
    return value


def _closed_world(found: VerifiedRelease) -> None:
    # (3) a file that nobody signed may be read by a careless loader: it does not belong here
    present: set[str] = set()
    folders = {parent.as_posix() for name in found.files for parent in Path(name).parents}
    pending = [found.path]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                name = Path(entry.path).relative_to(found.path).as_posix()
                if entry.is_dir(follow_symlinks=False):
                    pending.append(Path(entry.path))
                    if name not in folders:
                        raise UnlistedFile(f"the folder {name!r} lies in the release, but nobody signed anything in it", subject=name)
                elif not entry.is_file(follow_symlinks=False):
                    raise NotRegularFile(f"{name!r} is not a plain file", subject=name)
                elif name not in found.files:
                    raise UnlistedFile(f"{name!r} lies in the release, but nobody signed it", subject=name)
                present.add(name)
    missing = sorted(set(found.files) - present)
    if missing:
        raise MissingFile(f"{len(missing)} of {len(found.files)} signed files are missing, first: {missing[0]!r}", subject=missing[0])


def _hash_all(found: VerifiedRelease) -> None:
    # (7) all of it, for whoever wants to know before anything is read
    wrong = []
    for name, sha256 in found.files.items():
        with _open(found.path, name) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                wrong.append(name)
    if wrong:
        raise DigestMismatch(
            f"{len(wrong)} of {len(found.files)} files differ from the signed release, first: {wrong[0]}", subject=wrong[0]
        )


def _bounded(directory: Path, name: str) -> bytes:
    with _open(directory, name) as file:
        data = file.read(_LONGEST + 1)
    if len(data) > _LONGEST:
        raise BadEnvelope(f"{name} is longer than {_LONGEST >> 20} MiB", subject=name)
    return data


def _open(directory: Path, name: str) -> BufferedReader:
    """A plain file; no link is followed in the last place, no pipe is waited for.  What it holds is checked by its hash."""
    try:
        descriptor = os.open(directory / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise MissingFile(f"{name} is missing", subject=name) from error
    except OSError as error:
        raise NotRegularFile(f"{name} cannot be opened as a plain file: {error.strerror}", subject=name) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegularFile(f"{name} is not a plain file", subject=name)
    return os.fdopen(descriptor, "rb")
