"""Who may sign for what: a trust root in TUF metadata (https://theupdateframework.github.io/specification/v1.0.33/).

    N.root.json        the owners' keys, thresholds; each version signed by the owners of the last and of this one
    timestamp.json     names the snapshot; expires soon, so that an old state cannot be shown for long
    N.snapshot.json    names the targets: parts of different states cannot be mixed
    N.targets.json     one delegated role per source (keys, threshold, path patterns, expiry), what is revoked,
                       and the digests of the policy and of the public keys for releases and ledger
    <sha256>.NAME      those public keys

Read with `tuf.api` alone; `tuf`'s own client accepts the directory too.  Editing is in `trust_edit`.
Time is the caller's `now`, never the metadata's.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from securesystemslib.exceptions import FormatError
from securesystemslib.signer import Key
from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import DelegatedRole, Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import SerializationError

from sanitizer.errors import (
    BadEnvelope,
    DigestMismatch,
    Expired,
    MissingFile,
    Replayed,
    RevokedKey,
    StorageFailed,
    ThresholdNotMet,
    UntrustedSigner,
    UsageError,
)
from sanitizer.provenance import jcs, keys
from sanitizer.provenance.statement import time_of

POLICY = "sanitizer.toml"  # name of the policy among the targets; the file itself lies in the workspace
FIELD = "sanitizer"  # our own part of the metadata, where TUF lets others add theirs

# bytes: metadata that is larger is an attack or a mistake; tuf's client says the same but for targets, of which a supplier may have many
LARGEST_ROOT = 512_000
LARGEST_KEY = 16_384
_LARGEST = {"timestamp": 16_384, "snapshot": 2_000_000, "targets": 64 << 20}
_MOST_ROTATIONS = 256
REVOCABLE = ("key", "source", "delivery", "release")


class TrustState(Protocol):
    """Remembers the highest version of each role that was ever seen, so that an older trust root is noticed."""

    def seen(self) -> Mapping[str, int]:
        """Role name -> highest version; empty at first."""

    def remember(self, versions: Mapping[str, int]) -> None:
        """Keeps the higher of the known and the given version of each role."""


class FileTrustState:
    """A `TrustState` in a small JSON file, for a gate that has no store."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def seen(self) -> Mapping[str, int]:
        """Role name -> highest version; raises `UsageError` if the file is not ours."""
        try:
            found = jcs.loads(self.path.read_bytes(), what=str(self.path))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StorageFailed(f"cannot read {self.path}: {error.strerror}", subject=str(self.path)) from error
        except BadEnvelope as error:
            raise UsageError(f"{self.path} is no trust state: {error.message}", subject=str(self.path)) from error
        if not isinstance(found, dict) or not all(isinstance(v, int) for v in found.values()):
            raise UsageError(f"{self.path} is no trust state", subject=str(self.path))
        return found

    def remember(self, versions: Mapping[str, int]) -> None:
        """Keeps the higher of the known and the given version of each role; replaces the file in one step."""
        with locked(self.path.parent):
            known = self.seen()
            merged = {**known, **{role: max(version, known.get(role, 0)) for role, version in versions.items()}}
            if merged != known:
                write(self.path, jcs.dumps(merged))


@dataclass(frozen=True)
class SourceRole:
    """Who may sign for one source: at least `threshold` different ones of `keys`, until `expires`.

    `tuf_root` is the root at which the chain of the source's own TUF repository begins, if it has one.
    """

    name: str
    keys: tuple[Key, ...]
    threshold: int
    expires: datetime
    paths: tuple[str, ...] = ()
    tuf_root: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Revocation:
    """Something that no longer counts: `kind` is key, source, delivery or release; `id` its key id, name or digest."""

    kind: str
    id: str
    at: datetime
    reason: str
    key: Key | None = None


@dataclass(frozen=True)
class TrustRoot:
    """A verified, current trust root."""

    sources: Mapping[str, SourceRole]
    revocations: tuple[Revocation, ...]
    versions: Mapping[str, int]
    expires: datetime
    policy_sha256: str | None
    _keys: Mapping[str, tuple[Key, ...]] = field(repr=False, default_factory=dict)

    @classmethod
    def load(cls, directory: Path, *, now: datetime, pinned: Path | bytes | None = None, state: TrustState | None = None) -> TrustRoot:
        """Reads and verifies the trust root in `directory`.

        Args:
            directory: with the metadata; it must have come by another way than what it judges, unless `pinned` did.
            now: our clock.
            pinned: a root file, of any version, that came by another way; the chain must begin there.
            state: highest versions seen so far; without one, an older but unexpired trust root goes unnoticed.

        Raises:
            UsageError: there is no trust root.
            BadEnvelope: malformed, or parts of different states.
            UntrustedSigner, ThresholdNotMet: not signed by its owners, or by too few of them.
            Expired: a part is past its expiry.
            Replayed: older than what was seen before.
        """
        found = authentic(directory, pinned=pinned)
        # (5) no part is expired, by our clock
        for name, expires in found.expiries().items():
            if now >= expires:
                raise Expired(
                    f"the trust root's {name} expired on {expires:%Y-%m-%d}: its owners renew it with `sanitizer trust rotate`",
                    subject=name,
                )
        # (6) no part is older than what we saw before: an old trust root is signed as well as the new one
        versions = found.versions()
        seen = state.seen() if state is not None else {}
        for name, version in versions.items():
            if version < seen.get(name, 0):
                raise Replayed(f"the trust root's {name} has version {version}, but version {seen[name]} was seen before", subject=name)
        if state is not None:
            state.remember(versions)
        return found.trust()

    def role(self, source: str) -> SourceRole:
        """Who may sign for `source`; raises `UntrustedSigner` if nobody may."""
        try:
            return self.sources[source]
        except KeyError:
            raise UntrustedSigner(
                f"nobody may sign for the source {source!r}: add it with `sanitizer trust add-source`", subject=source
            ) from None

    def release_keys(self) -> list[Key]:
        """Keys that sign releases, the newest first; revoked ones are not among them."""
        return list(self._keys.get("release", ()))

    def ledger_keys(self) -> list[Key]:
        """Keys that sign checkpoints of the ledger, the newest first."""
        return list(self._keys.get("ledger", ()))

    def revoked_keys(self) -> list[Key]:
        """Keys that no longer count for anything."""
        return [revocation.key for revocation in self.revocations if revocation.key is not None]

    def revoked(self, keyid: str) -> Revocation | None:
        """Why and when the key was revoked, if it was."""
        return self.revocation("key", keyid)

    def revocation(self, kind: str, name: str) -> Revocation | None:
        """The revocation of a key, source, delivery or release, if there is one."""
        return next((r for r in self.revocations if (r.kind, r.id) == (kind, name)), None)

    def check_policy(self, data: bytes) -> None:
        """Raises `DigestMismatch` unless `data` is the policy that the owners signed; a trust root without policy takes any."""
        if self.policy_sha256 not in {None, hashlib.sha256(data).hexdigest()}:
            raise DigestMismatch(
                f"{POLICY} is not the policy that its owners signed: `sanitizer trust sign-policy` signs it, or put the signed one back",
                subject=POLICY,
            )


@dataclass
class Chain:
    """The metadata of a trust root, signed by its owners and of one state; whether it is current has not been asked yet."""

    directory: Path
    what: str
    root: Metadata[Root]
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    targets: Metadata[Targets]

    def versions(self) -> dict[str, int]:
        """Role -> version."""
        return {md.signed.type: md.signed.version for md in (self.root, self.timestamp, self.snapshot, self.targets)}

    def expiries(self) -> dict[str, datetime]:
        """Role -> expiry."""
        return {md.signed.type: md.signed.expires for md in (self.root, self.timestamp, self.snapshot, self.targets)}

    def trust(self) -> TrustRoot:
        """What it says."""
        targets = self.targets.signed
        revocations = _revocations(targets)
        gone = {keys.material(r.key) for r in revocations if r.key is not None}
        delegations = targets.delegations
        roles = dict(delegations.roles or {}) if delegations is not None else {}
        roots = {
            name: self._content(targets.targets[root_name(name)], LARGEST_ROOT) for name in roles if root_name(name) in targets.targets
        }
        try:
            listed = {name: [targets.get_key(keyid) for keyid in role.keyids] for name, role in roles.items()}
        except ValueError as error:
            raise BadEnvelope(f"{self.what} names a key that it does not hold: {error}", subject="targets") from error
        sources = {name: _source(role, listed[name], gone, targets.expires, roots.get(name)) for name, role in roles.items()}
        named: dict[str, list[Key]] = {}
        # the current key of a role is called <role>.pub.pem and comes first
        for target in sorted(targets.targets.values(), key=lambda target: target.path != f"{key_role(target)}.pub.pem"):
            if (role := key_role(target)) is not None:
                named.setdefault(role, []).append(keys.public_key(self._content(target, LARGEST_KEY)))
        policy = targets.targets.get(POLICY)
        return TrustRoot(
            sources=sources,
            revocations=revocations,
            versions=self.versions(),
            expires=min(self.expiries().values()),
            policy_sha256=None if policy is None else policy.hashes.get("sha256", ""),
            _keys={role: tuple(key for key in found if keys.material(key) not in gone) for role, found in named.items()},
        )

    def _content(self, target: TargetFile, limit: int) -> bytes:
        data = read(self.directory / f"{target.hashes.get('sha256', '')}.{Path(target.path).name}", limit, self.what)
        try:
            target.verify_length_and_hashes(data)
        except LengthOrHashMismatchError as error:
            raise DigestMismatch(f"{self.what}'s {target.path} is not what was signed", subject=target.path) from error
        return data


def root_name(source: str) -> str:
    """Name among the targets of the root at which the TUF repository of `source` begins."""
    return f"{source}.tuf-root.json"


def authentic(directory: Path, *, pinned: Path | bytes | None = None, revoked: Sequence[Key] = (), what: str = "the trust root") -> Chain:
    """The TUF metadata in `directory` after all checks but those of time, which `TrustRoot.load` asks too.

    Args:
        directory: with the metadata.
        pinned: the root at which the chain must begin; none: `1.root.json`.
        revoked: keys that count no more, whatever the metadata says.
        what: whose metadata it is, for messages.
    """
    reader = _Reader(directory, what, frozenset(keys.material(key) for key in revoked))
    # (1) each root is signed by the owners of the one before and by its own
    root = reader.first_root(pinned)
    for version in range(root.signed.version + 1, root.signed.version + 1 + _MOST_ROTATIONS):
        path = directory / f"{version}.root.json"
        if not path.exists():
            break
        newer: Metadata[Root] = reader.parse(read(path, LARGEST_ROOT, what), path.name, Root)
        reader.check_signed(newer, "root", root.signed, path.name)
        reader.check_signed(newer, "root", newer.signed, path.name)
        reader.check_version(newer, version, path.name)
        root = newer
    # (2) the timestamp is signed by the keys that the root names
    data = read(directory / "timestamp.json", _LARGEST["timestamp"], what)
    timestamp: Metadata[Timestamp] = reader.parse(data, "timestamp.json", Timestamp)
    reader.check_signed(timestamp, "timestamp", root.signed, "timestamp.json")
    # (3) the snapshot is the very one that the timestamp names, and (4) the targets those that the snapshot names
    snapshot: Metadata[Snapshot] = reader.part(root.signed, "snapshot", timestamp.signed.snapshot_meta, Snapshot)
    meta = snapshot.signed.meta.get("targets.json")
    if meta is None:
        raise BadEnvelope(f"{what}'s snapshot names no targets", subject="snapshot")
    targets: Metadata[Targets] = reader.part(root.signed, "targets", meta, Targets)
    return Chain(directory, what, root, timestamp, snapshot, targets)


def unverified(data: bytes, kind: type[Any], what: str) -> Metadata[Any]:
    """TUF metadata that nobody has checked yet, well-formed at least; raises `BadEnvelope`."""
    return _Reader(Path(), what, frozenset()).parse(data, kind.type, kind)


def authentic_root(data: bytes) -> Metadata[Root]:
    """A root that is signed by its own keys; raises `Refused` for anything else."""
    return _Reader(Path(), "the repository", frozenset()).first_root(data)


@dataclass(frozen=True)
class _Reader:
    """Reads single parts of TUF metadata; `revoked` are materials of keys that do not count."""

    directory: Path
    what: str
    revoked: frozenset[str]

    def first_root(self, pinned: Path | bytes | None) -> Metadata[Root]:
        if isinstance(pinned, bytes):
            data, name = pinned, "pinned root"
        else:
            path = self.directory / "1.root.json" if pinned is None else pinned
            if not path.exists():
                raise UsageError(
                    f"there is no trust root at {path}: make one with `sanitizer trust init`, or get it from its owners", subject=str(path)
                )
            data, name = read(path, LARGEST_ROOT, self.what), path.name
        root: Metadata[Root] = self.parse(data, name, Root)
        self.check_signed(root, "root", root.signed, name)
        return root

    def part(self, root: Root, role: str, meta: MetaFile, kind: type[Any]) -> Metadata[Any]:
        name = f"{meta.version}.{role}.json" if root.consistent_snapshot else f"{role}.json"
        data = read(self.directory / name, _LARGEST[role], self.what)
        try:
            meta.verify_length_and_hashes(data)
        except LengthOrHashMismatchError as error:
            raise BadEnvelope(
                f"{self.what}'s {name} is not the one that was signed for: parts of different states are mixed", subject=name
            ) from error
        found: Metadata[Any] = self.parse(data, name, kind)
        self.check_signed(found, role, root, name)
        self.check_version(found, meta.version, name)
        return found

    def parse(self, data: bytes, name: str, kind: type[Any]) -> Metadata[Any]:
        found = jcs.loads(data, what=f"{self.what}'s {name}")
        try:
            metadata: Metadata[Any] = Metadata.from_dict(found)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BadEnvelope(f"{self.what}'s {name} is no TUF metadata: {error}", subject=name) from error
        if not isinstance(metadata.signed, kind) or type(metadata.signed.version) is not int:
            raise BadEnvelope(f"{self.what}'s {name} is of another kind than its name says", subject=name)
        return metadata

    def check_signed(self, metadata: Metadata[Any], role: str, delegator: Root, name: str) -> None:
        try:
            result = delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
        except (ValueError, TypeError, FormatError, SerializationError, RecursionError) as error:
            raise BadEnvelope(f"{self.what}'s {name} cannot be checked: {error}", subject=name) from error
        if not result.signed:
            raise UntrustedSigner(f"{self.what}'s {name} is signed by none of its owners", subject=name)
        # TUF counts key ids: one key under two ids would be two
        signed = {keys.material(key) for key in result.signed.values()}
        different = signed - self.revoked
        if len(different) < result.threshold and signed & self.revoked:
            raise RevokedKey(f"{self.what}'s {name} is signed with a key that is revoked", subject=name)
        if len(different) < result.threshold:
            raise ThresholdNotMet(
                f"{self.what}'s {name} is signed by {len(different)} of the {result.threshold} different keys it needs", subject=name
            )

    def check_version(self, metadata: Metadata[Any], version: int, name: str) -> None:
        if metadata.signed.version != version:
            raise BadEnvelope(f"{self.what}'s {name} has version {metadata.signed.version} inside", subject=name)


def _ours(fields: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    found = fields.get(FIELD, {})
    if not isinstance(found, dict):
        raise BadEnvelope(f"the trust root's {where} has a field {FIELD!r} that is no object", subject=where)
    return found


def _source(role: DelegatedRole, listed: Sequence[Key], gone: set[str], latest: datetime, tuf_root: bytes | None) -> SourceRole:
    own = _ours(role.unrecognized_fields, role.name).get("expires")
    try:
        expires = latest if own is None else min(latest, time_of(own))
    except (TypeError, ValueError) as error:
        raise BadEnvelope(f"the trust root's source {role.name} has no proper expiry: {own!r}", subject=role.name) from error
    good = tuple(key for key in listed if keys.acceptable(key) and keys.material(key) not in gone)
    return SourceRole(role.name, good, role.threshold, expires, tuple(role.paths or ()), tuf_root)


def key_role(target: TargetFile) -> str | None:
    """What the public key in this target signs: `release` or `ledger`; None for a target that is no key."""
    custom = target.custom
    role = custom.get("role") if isinstance(custom, dict) else None
    return role if isinstance(role, str) else None


def _revocations(targets: Targets) -> tuple[Revocation, ...]:
    try:
        return tuple(
            Revocation(
                _revocable(found["kind"]),
                str(found["id"]),
                time_of(found["at"]),
                str(found["reason"]),
                keys.checked(Key.from_dict(str(found["id"]), dict(found["key"]))) if "key" in found else None,
            )
            for found in _ours(targets.unrecognized_fields, "targets").get("revoked", [])
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadEnvelope(f"the trust root has a malformed revocation: {error}", subject="targets") from error


def _revocable(kind: Any) -> str:
    if kind not in REVOCABLE:
        raise ValueError(f"this version cannot revoke a {kind!r}, only {', '.join(REVOCABLE)}")
    return str(kind)


def read(path: Path, limit: int, what: str) -> bytes:
    """A small plain file.

    Raises:
        MissingFile: it is not there.
        BadEnvelope: it is larger than `limit`, or no plain file.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        plain = stat.S_ISREG(os.fstat(handle).st_mode)
        if plain:
            with os.fdopen(handle, "rb") as file:
                data = file.read(limit + 1)
        else:
            os.close(handle)
            data = b""
    except FileNotFoundError:
        raise MissingFile(f"{what} lacks {path.name}", subject=path.name) from None
    except OSError as error:
        raise StorageFailed(f"cannot read {path}: {error.strerror}", subject=str(path)) from error
    if not plain or len(data) > limit:
        raise BadEnvelope(f"{what}'s {path.name} is no plain file of at most {limit} bytes", subject=path.name)
    return data


def write(path: Path, data: bytes) -> None:
    """Puts `data` at `path` in one step that survives a power cut; raises `StorageFailed`."""
    staged = path.with_name(f".{path.name}.new")
    try:
        with staged.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
        handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise StorageFailed(f"cannot write {path}: {error.strerror}", subject=str(path)) from error


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Waits for, then keeps others from changing what is in `directory`."""
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UsageError(f"there is no directory {directory}", subject=str(directory)) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
