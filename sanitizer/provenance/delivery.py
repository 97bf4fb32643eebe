"""A delivery: what a supplier hands over, and what it must prove before anybody reads it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from securesystemslib.signer import Signer

from sanitizer.errors import (
    BadEnvelope,
    Expired,
    MissingFile,
    Replayed,
    RevokedKey,
    StorageFailed,
    Unsigned,
    UntrustedSigner,
    UsageError,
)
from sanitizer.provenance import envelope as dsse
from sanitizer.provenance import statement, walk
from sanitizer.provenance.blobs import BlobStore
from sanitizer.provenance.manifest import Manifest
from sanitizer.provenance.statement import DeliveryStatement, time_of, time_text
from sanitizer.provenance.trust import TrustRoot

MANIFEST = "delivery.dsse.json"
_STAGED = f".{MANIFEST}.new"  # being written; a crash may leave it

LEVELS = ("L0", "L1", "L2", "L3")  # nothing, a list of digests, a signed statement, a TUF repository
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
    """A directory that claims to be a delivery of `source`.  Untrusted: nothing of it may be parsed."""

    root: Path
    source: str

    @classmethod
    def at(cls, root: Path) -> Delivery:
        """The delivery in `root`, of the source that its own manifest claims; `verify` finds out whether that is true."""
        return cls(root, statement.parse_delivery(Delivery(root, "").envelope().payload).source)

    @property
    def complete(self) -> bool:
        """Whether the manifest is there; it is written last, so without it the delivery is still being uploaded."""
        return os.path.lexists(self.root / MANIFEST)

    def digest(self) -> str | None:
        """`sha256:…` of the signed statement: the delivery's name from now on.  None while there is no readable manifest."""
        try:
            return _digest(self.envelope().payload) if self.complete else None
        except (BadEnvelope, Unsigned):
            return None

    def envelope(self) -> dsse.Envelope:
        """The manifest, parsed and not verified.

        Raises:
            Unsigned: there is no manifest.
            BadEnvelope: it is none.
            NotRegularFile: it is a link, a pipe, …
        """
        return dsse.open_envelope(_read_manifest(self.root), what=f"the manifest of {self.root.name}")


@dataclass(frozen=True)
class VerifiedDelivery:
    """Bytes that are what their signers signed, in `blobs`.

    `digest` names the delivery, `level` tells what was proven, `signers` are key ids, `manifest` the files by digest.
    """

    source: str
    sequence: int
    issued: datetime
    expires: datetime
    level: str
    signers: tuple[str, ...]
    manifest: Manifest
    digest: str
    schema_id: str | None
    blobs: BlobStore = field(compare=False, repr=False)
    rows_root: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for `BlobStore.put_json`; the bytes stay in the blobs."""
        return {
            "source": self.source,
            "sequence": self.sequence,
            "issued": time_text(self.issued),
            "expires": time_text(self.expires),
            "level": self.level,
            "signers": list(self.signers),
            "files": self.manifest.to_json(),
            "digest": self.digest,
            "schema_id": self.schema_id,
            "rows_root": self.rows_root,
        }

    @classmethod
    def from_json(cls, found: dict[str, Any], blobs: BlobStore) -> VerifiedDelivery:
        """What `to_json` made, read back from our own blobs."""
        try:
            return cls(
                source=found["source"],
                sequence=found["sequence"],
                issued=time_of(found["issued"]),
                expires=time_of(found["expires"]),
                level=found["level"],
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
    signed = Delivery(directory, "").envelope()
    files = {entry.path: entry for entry in walk.measure(directory, beside={MANIFEST, _STAGED}).files}
    for claim in statement.parse_delivery(signed.payload).files:
        found = files.pop(claim.path, None)
        if found is None:
            raise MissingFile(f"{claim.path} is in the manifest but not in {directory}", subject=claim.path)
        claim.check(found.size, found.sha256, claim.sha512)
    if files:
        raise UsageError(f"{min(files)} is not in the manifest: sign the delivery anew", subject=min(files))
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
) -> VerifiedDelivery:
    """Finds out whether a delivery is what its source signed, and copies it into `blobs`; raises unless every step agrees.

    Args:
        delivery: a directory, and the source it is offered for.
        trust: who may sign.
        blobs: where the bytes go; afterwards only these are read.
        history: what was accepted before.
        now: our clock.
        least_level: what the policy asks of this source.
        max_age: a delivery issued longer ago is expired, whatever it says itself.

    Raises:
        Refused: the subclass that names the first step that failed.
    """
    # (1) there is a signed manifest, of the one form that we read
    name = f"the manifest of {delivery.root.name}"
    signed = delivery.envelope()
    # (2) the source is known, and was not revoked
    role = trust.role(delivery.source)
    revocation = trust.revocation("source", delivery.source)
    if revocation is not None:
        raise RevokedKey(
            f"the source {delivery.source} was revoked on {revocation.at:%Y-%m-%d}: {revocation.reason}", subject=delivery.source
        )
    # (3) enough different keys of this source signed it, none of them revoked
    signers = signed.verify(role.keys, role.threshold, what=name, revoked=trust.revoked_keys())
    # from here on the manifest is what the source says; whether we may act on it is still to be asked
    claimed = statement.parse_delivery(signed.payload, what=name)
    digest = _digest(signed.payload)
    # (4) it is for this source: a key that may sign for two must not let one speak for the other
    if claimed.source != delivery.source:
        raise UntrustedSigner(
            f"{name} is signed for the source {claimed.source}, but was offered as {delivery.source}", subject=claimed.source
        )
    # (5) it was not withdrawn
    revocation = trust.revocation("delivery", digest)
    if revocation is not None:
        raise RevokedKey(f"the delivery {digest} was revoked on {revocation.at:%Y-%m-%d}: {revocation.reason}", subject=digest)
    # (6) source, statement and age are in date by our clock: what the manifest says of its own time proves nothing
    _check_time(claimed, role.expires, now, max_age, name)
    # (7) it is newer than what we accepted before: a replayed delivery carries valid signatures
    last = history.last_sequence(claimed.source)
    if last is not None and claimed.sequence <= last and not history.knows(digest):
        raise Replayed(f"{claimed.source}: sequence {claimed.sequence} is not above {last}, the last one accepted", subject=name)
    # (8) it proves as much as the policy asks of this source
    level = "L2"
    if LEVELS.index(level) < LEVELS.index(least_level):
        raise Unsigned(f"{name} proves {level}, the policy asks {least_level} of {claimed.source}", subject=name)
    # (9) names mean one file, nothing lies there unlisted, and every byte is as signed: copied while hashed
    manifest = walk.take(delivery.root, claimed.files, blobs, beside={MANIFEST})
    return VerifiedDelivery(
        source=claimed.source,
        sequence=claimed.sequence,
        issued=claimed.issued,
        expires=claimed.expires,
        level=level,
        signers=signers,
        manifest=manifest,
        digest=digest,
        schema_id=claimed.schema_id,
        rows_root=claimed.rows_root,
        blobs=blobs,
    )


def _check_time(claimed: DeliveryStatement, role_expires: datetime, now: datetime, max_age: timedelta | None, name: str) -> None:
    if now >= role_expires:
        raise Expired(
            f"nobody may sign for {claimed.source} since {role_expires:%Y-%m-%d}: renew it with `sanitizer trust rotate`",
            subject=claimed.source,
        )
    if now >= claimed.expires:
        raise Expired(f"{name} expired on {time_text(claimed.expires)}", subject=name)
    if claimed.issued > now + CLOCK_SKEW:
        raise Expired(f"{name} is issued in the future, {time_text(claimed.issued)}: our clock says {time_text(now)}", subject=name)
    if max_age is not None and now - claimed.issued > max_age:
        raise Expired(f"{name} was issued on {time_text(claimed.issued)}, longer ago than the policy's {max_age.days} days", subject=name)


def _digest(payload: bytes) -> str:
    return f"sha256:{hashlib.sha256(payload).hexdigest()}"


def _read_manifest(root: Path) -> bytes:
    with walk.directory(root) as top:
        try:
            with walk.regular(top, MANIFEST) as file:
                data = bytearray()
                while len(data) <= dsse.LARGEST and (chunk := file.read(1 << 20)):
                    data += chunk
                return bytes(data)
        except MissingFile:
            raise Unsigned(f"{root} has no {MANIFEST}: it is incomplete, or was never signed", subject=str(root)) from None


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
