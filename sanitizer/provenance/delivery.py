"""A delivery: what a supplier hands over, and what it must prove before anybody reads it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from securesystemslib.signer import Signer

from sanitizer.errors import (
    BadEnvelope,
    ChangedSincePinned,
    Expired,
    Replayed,
    RevokedKey,
    SanitizerError,
    StorageFailed,
    UntrustedSigner,
    UsageError,
)
from sanitizer.provenance import envelope as dsse
from sanitizer.provenance import proofs, statement, walk
from sanitizer.provenance.blobs import BlobStore
from sanitizer.provenance.manifest import Manifest
from sanitizer.provenance.proofs import LEVELS, MANIFEST, Proven, SignedStatement
from sanitizer.provenance.statement import time_of, time_text
from sanitizer.provenance.trust import TrustRoot

__all__ = [
    "CLOCK_SKEW",
    "LEVELS",
    "MANIFEST",
    "Delivery",
    "History",
    "NoHistory",
    "VerifiedDelivery",
    "VerifiedManifest",
    "add_signature",
    "check",
    "deliver",
    "verify",
]

_STAGED = f".{MANIFEST}.new"  # being written; a crash may leave it
CLOCK_SKEW = timedelta(minutes=5)  # how far a supplier's clock may be ahead of ours


class History(Protocol):
    """What was accepted before; the store has it."""

    def last_sequence(self, source: str) -> int | None:
        """The highest sequence number accepted from `source`."""

    def knows(self, digest: str) -> bool:
        """Whether the delivery of this digest was accepted."""


class NoHistory:
    """A `History` that knows nothing: for looking at one delivery without a workspace, where a replay cannot be noticed."""

    def last_sequence(self, source: str) -> int | None:  # noqa: ARG002  # the protocol has it
        """None."""
        return None

    def knows(self, digest: str) -> bool:  # noqa: ARG002  # the protocol has it
        """False."""
        return False


@dataclass(frozen=True)
class Delivery:
    """A directory that claims to be a delivery of `source`.  Untrusted: nothing of it may be parsed.

    `least_level` is what the policy asks of the source: it decides which of its files is the proof.
    """

    root: Path
    source: str
    least_level: str = "L2"

    @classmethod
    def at(cls, root: Path, *, least_level: str = "L2") -> Delivery:
        """The delivery in `root`, of the source that its own manifest claims; `verify` finds out whether that is true."""
        return cls(root, proofs.claimed_source(root), least_level)

    @property
    def complete(self) -> bool:
        """Whether its proof is there, which is written last; without it the delivery is still being uploaded."""
        try:
            proofs.governing(self.root, self.source, least_level=self.least_level)
        except SanitizerError:
            return False
        return True

    def digest(self) -> str | None:
        """`sha256:…`, its name from now on: that of the signed statement, or of the list that describes it.  None while there is none."""
        try:
            return proofs.governing(self.root, self.source, least_level=self.least_level).digest()
        except SanitizerError:  # an unreadable one is found out when it is verified; it stops no other
            return None

    def claimed_sequence(self) -> int | None:
        """The number that it claims, unverified: good enough to choose which goes first."""
        try:
            return proofs.governing(self.root, self.source, least_level=self.least_level).sequence()
        except SanitizerError:
            return None


@dataclass(frozen=True, kw_only=True)
class VerifiedManifest:
    """What was proven of a delivery.

    `digest` names the delivery, `level` and `kind` tell how it was proven, `signers` are key ids, `manifest` the files
    by digest.  `sequence`, `issued` and `expires` are None where the kind of proof knows none.
    """

    source: str
    sequence: int | None
    issued: datetime | None
    expires: datetime | None
    level: str
    kind: str
    signers: tuple[str, ...]
    manifest: Manifest
    digest: str
    schema_id: str | None
    rows_root: str | None

    def to_json(self) -> dict[str, Any]:
        """Plain values for `BlobStore.put_json`; the bytes stay in the blobs."""
        return {
            "source": self.source,
            "sequence": self.sequence,
            "issued": None if self.issued is None else time_text(self.issued),
            "expires": None if self.expires is None else time_text(self.expires),
            "level": self.level,
            "kind": self.kind,
            "signers": list(self.signers),
            "files": self.manifest.to_json(),
            "digest": self.digest,
            "schema_id": self.schema_id,
            "rows_root": self.rows_root,
        }


@dataclass(frozen=True, kw_only=True)
class VerifiedDelivery(VerifiedManifest):
    """Bytes that are what their signers signed, in `blobs`.

    Where nothing was signed, `pin` is the address and the content to be pinned there: what came first is what counts.
    """

    blobs: BlobStore = field(compare=False, repr=False)
    pin: tuple[str, str] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def from_json(cls, found: dict[str, Any], blobs: BlobStore) -> VerifiedDelivery:
        """What `to_json` made, read back from our own blobs."""
        try:
            return cls(
                source=found["source"],
                sequence=found["sequence"],
                issued=None if found["issued"] is None else time_of(found["issued"]),
                expires=None if found["expires"] is None else time_of(found["expires"]),
                level=found["level"],
                kind=found["kind"],
                signers=tuple(found["signers"]),
                manifest=Manifest.from_json(found["files"]),
                digest=found["digest"],
                schema_id=found["schema_id"],
                rows_root=found["rows_root"],
                blobs=blobs,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BadEnvelope(f"this is no verified delivery: {error!r}") from error


def deliver(
    directory: Path,
    *,
    source: str,
    signers: Sequence[Signer],
    sequence: int,
    issued: datetime,
    expires: datetime,
    schema_id: str | None = None,
    rows_root: str | None = None,
) -> Path:
    """Signs everything in `directory` as a delivery: what a supplier runs.  The manifest is written last, in one step.

    Args:
        directory: with the payload files.
        source: the name that the receiver's trust root knows the supplier by.
        signers: each of them signs; more can follow with `add_signature`.
        sequence: above that of the delivery before.
        issued: now, by the supplier's clock.
        expires: after it nobody shall accept this delivery.
        schema_id: `sha256:…` of the schema that the rows follow, if known.
        rows_root: `sha256:…` Merkle root of the row digests, if known.

    Returns:
        The path of the manifest.

    Raises:
        UsageError: no file, no signer, or a value that the receiver would refuse.
        BadName, NotRegularFile, UnlistedFile: something in the directory that the receiver would refuse.
    """
    if not signers:
        raise UsageError("a delivery needs a signer: --key file:KEY.pem")
    manifest = walk.measure(directory, beside={MANIFEST, _STAGED})
    if not manifest.files:
        raise UsageError(f"there is no file to deliver in {directory}", subject=str(directory))
    payload = statement.build_delivery(
        manifest, source=source, sequence=sequence, issued=issued, expires=expires, schema_id=schema_id, rows_root=rows_root
    )
    try:
        statement.parse_delivery(payload)
    except BadEnvelope as error:
        raise UsageError(f"this delivery would be refused: {error.message}", subject=error.subject) from error
    return _write(directory, dsse.sign(payload, signers))


def add_signature(directory: Path, signers: Sequence[Signer]) -> Path:
    """Adds signatures to a delivery that is signed already, after checking that its files are what the manifest says.

    Raises:
        Unsigned: there is no manifest yet.
        DigestMismatch, LengthMismatch, UnlistedFile, MissingFile: the files are not what was signed first.
    """
    signed = SignedStatement(directory, "").envelope
    walk.check(directory, statement.parse_delivery(signed.payload).files, beside={MANIFEST})
    return _write(directory, signed.signed_by(signers).to_bytes())


def verify(
    delivery: Delivery,
    trust: TrustRoot,
    blobs: BlobStore,
    history: History,
    *,
    now: datetime,
    least_level: str = "L2",
    max_age: timedelta | None = None,
    pinned: Callable[[str], str | None] = lambda _: None,
) -> VerifiedDelivery:
    """Finds out whether a delivery is what its source signed, and copies it into `blobs`; raises unless every step agrees.

    A delivery of level L0 proves nothing: who calls this holds it for a person, always.

    Args:
        delivery: a directory, and the source it is offered for.
        trust: who may sign.
        blobs: where the bytes go; afterwards only these are read.
        history: what was accepted before.
        now: our clock.
        least_level: what the policy asks of this source.
        max_age: a delivery issued longer ago is expired, whatever it says itself.
        pinned: what was first seen at an address, for deliveries that nobody signed; the store has it.

    Raises:
        Refused: the subclass that names the first step that failed.
        ChangedSincePinned: an unsigned file is not what was first seen there; both versions are in `blobs`.
    """
    proof, proven = _prove(delivery, trust, history, now=now, least_level=least_level, max_age=max_age)
    # (7) names mean one file, nothing lies there unlisted, and every byte is as claimed: copied while hashed
    manifest = walk.take(delivery.root, proven.files, blobs, beside=proven.beside)
    # (8) what nobody signed is at least what we saw first
    pin = _pin(delivery, manifest, blobs, pinned) if proof.level in {"L0", "L1"} else None
    return VerifiedDelivery(**_facts(proof, proven, manifest), blobs=blobs, pin=pin)


def _pin(delivery: Delivery, manifest: Manifest, blobs: BlobStore, pinned: Callable[[str], str | None]) -> tuple[str, str]:
    address, content = f"{delivery.source}/{delivery.root.name}", blobs.put_json(manifest.to_json())
    first = pinned(address)
    if first not in {None, content}:
        before = Manifest.from_json(blobs.read_json(first))
        changed = min({f.path for f in set(before.files) ^ set(manifest.files)})
        drift = ChangedSincePinned(
            f"{address} is not what was first seen there, {changed} differs: compare {first} and {content}", subject=address
        )
        drift.versions = (str(first), content)
        raise drift
    return address, content


def check(
    delivery: Delivery, trust: TrustRoot, history: History, *, now: datetime, least_level: str = "L2", max_age: timedelta | None = None
) -> VerifiedManifest:
    """What `verify` finds out, without keeping the bytes: for a look at a delivery, never for reading it afterwards."""
    proof, proven = _prove(delivery, trust, history, now=now, least_level=least_level, max_age=max_age)
    manifest = walk.check(delivery.root, proven.files, beside=proven.beside)
    return VerifiedManifest(**_facts(proof, proven, manifest))


def _prove(
    delivery: Delivery, trust: TrustRoot, history: History, *, now: datetime, least_level: str, max_age: timedelta | None
) -> tuple[proofs.Proof, Proven]:
    """The steps that concern the manifest; files are not opened yet."""
    source, name = delivery.source, f"the delivery {delivery.root.name}"
    # (1) the source was not revoked: whatever it brings, it has nothing to say any more
    _check_revoked(trust, "source", source)
    # (2) it brings a proof of at least the level that the policy asks of this source
    proof = proofs.governing(delivery.root, source, least_level=least_level)
    # (3) enough different keys of this source signed it, none of them revoked
    proven = proof.prove(trust)
    # from here on the manifest is what the source says; whether we may act on it is still to be asked
    # (4) it is for this source, a key that may sign for two must not let one speak for the other; and was not recalled itself
    if proven.source != source:
        raise UntrustedSigner(f"{name} is signed for the source {proven.source}, but was offered as {source}", subject=proven.source)
    _check_revoked(trust, "delivery", proven.digest)
    # (5) source and statement are in date by our clock: what a manifest says of its own time proves nothing
    role = trust.sources.get(source)
    if role is not None and now >= role.expires:
        raise Expired(f"nobody may sign for {source} since {role.expires:%Y-%m-%d}: renew it with `sanitizer trust rotate`", subject=source)
    if proven.expires is not None and now >= proven.expires:
        raise Expired(f"{name} expired on {time_text(proven.expires)}", subject=name)
    if proven.issued is not None and proven.issued > now + CLOCK_SKEW:
        raise Expired(f"{name} is issued in the future, {time_text(proven.issued)}: our clock says {time_text(now)}", subject=name)
    if proven.issued is not None and max_age is not None and now - proven.issued > max_age:
        raise Expired(f"{name} was issued on {time_text(proven.issued)}, longer ago than the policy's {max_age.days} days", subject=name)
    # (6) it is newer than what we accepted before: a replayed delivery carries valid signatures
    last = history.last_sequence(source)
    if proven.sequence is not None and last is not None and proven.sequence <= last and not history.knows(proven.digest):
        raise Replayed(f"{source}: sequence {proven.sequence} is not above {last}, the last one accepted", subject=name)
    return proof, proven


def _check_revoked(trust: TrustRoot, kind: str, name: str) -> None:
    if (revocation := trust.revocation(kind, name)) is not None:
        raise RevokedKey(f"the {kind} {name} was revoked on {revocation.at:%Y-%m-%d}: {revocation.reason}", subject=name)


def _facts(proof: proofs.Proof, proven: Proven, manifest: Manifest) -> dict[str, Any]:
    return {
        "source": proven.source,
        "sequence": proven.sequence,
        "issued": proven.issued,
        "expires": proven.expires,
        "level": proof.level,
        "kind": proof.kind,
        "signers": proven.signers,
        "manifest": manifest,
        "digest": proven.digest,
        "schema_id": proven.schema_id,
        "rows_root": proven.rows_root,
    }


def _write(directory: Path, data: bytes) -> Path:
    """The manifest comes last and whole: until it is there nobody looks at the delivery."""
    path, staged = directory / MANIFEST, directory / _STAGED
    try:
        with staged.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    except OSError as error:
        staged.unlink(missing_ok=True)
        raise StorageFailed(f"cannot write {path}: {error.strerror}", subject=str(path)) from error
    return path
