"""Where a sample came from and went to: which releases hold it, the proof that one does, and what a recall reaches."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from sqlalchemy import select

from sanitizer.errors import BadEnvelope, SanitizerError, UsageError
from sanitizer.provenance import jcs
from sanitizer.provenance.envelope import open_envelope
from sanitizer.provenance.statement import RELEASE, parse
from sanitizer.provenance.trust import TrustRoot
from sanitizer.release.gate import VerifiedRelease, open_release, signed_release
from sanitizer.release.loaders import Identities, OpenRelease
from sanitizer.samples.proof import Proof, prove
from sanitizer.store import deliveries
from sanitizer.store.tables import held
from sanitizer.workspace import Workspace

_SAMPLE = re.compile(r"[0-9a-f]{64}(-\d{1,9})?")
_DIGEST = re.compile(r"(sha256:)?[0-9a-f]{64}")


@dataclass(frozen=True)
class Holder:
    """A release that holds what was asked for: how many of its samples, from which deliveries, and whether it was revoked."""

    version: int
    digest: str
    samples: int
    deliveries: tuple[str, ...]
    revoked: str = ""


@dataclass(frozen=True)
class Trace:
    """Everything known about one sample, source, key or delivery.

    `kind` is what the name turned out to mean.  `deliveries` are those it came in, `quarantine` what is held of it.
    """

    name: str
    kind: str
    releases: tuple[Holder, ...] = ()
    deliveries: tuple[Mapping[str, Any], ...] = ()
    quarantine: tuple[Mapping[str, Any], ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def trace(root: Path | str, name: str) -> Trace:
    """Which releases hold a sample (its id or row digest), what a source or key supplied, or a delivery (its digest or `source/name`).

    Releases are read from their signed statements, so what was revoked since is found too.  Raises `UsageError` for a name that means
    nothing here.
    """
    ws = Workspace.open(root)
    trust = TrustRoot.load(ws.trust, now=datetime.now(UTC))
    with ws.store() as store, store.reading() as view:
        came = deliveries.listed(view, dataset=ws.policy.dataset)
        kind, meant = _meaning(name, came, trust)
        query = select(held.c.id, held.c.sample_id, held.c.delivery, held.c.case_id, held.c.state, held.c.cause)
        kept = [dict(row) for row in view.rows(query.where(held.c.sample_id.startswith(name)))] if kind == "sample" else []
    holders = [found for release in published(ws, trust) if (found := _holds(release, kind, name, meant, trust)) is not None]
    reached = meant if kind != "sample" else {d for h in holders for d in h.deliveries} | {k["delivery"] for k in kept}
    if kind == "sample" and not holders and not kept:
        raise UsageError(f"no release and no quarantine of {ws.policy.dataset} knows the sample {name}", subject=name)
    told = tuple(
        {"digest": d.digest, "path": d.path, "source": d.source, "state": d.state, "sequence": d.sequence}
        for d in came
        if d.digest in reached
    )
    return Trace(name, kind, tuple(holders), told, tuple(kept))


def _meaning(name: str, came: list[deliveries.DeliveryState], trust: TrustRoot) -> tuple[str, set[str]]:
    """What kind of thing `name` is, and the digests of the deliveries that it means."""
    by_digest = {d.digest for d in came if d.digest.removeprefix("sha256:") == name.removeprefix("sha256:")}
    if by_digest or (by_path := {d.digest for d in came if d.path == name}):
        return "delivery", by_digest or by_path
    of_source = {d.digest for d in came if d.source == name}
    if of_source or name in trust.sources:
        return "source", of_source
    known = {key.keyid for role in trust.sources.values() for key in role.keys} | {r.id for r in trust.revocations if r.kind == "key"}
    if name in known:
        return "key", set()
    if _SAMPLE.fullmatch(name):
        return "sample", set()
    if _DIGEST.fullmatch(name):
        return "delivery", {name}
    raise UsageError(f"{name!r} names no sample, source, key or delivery of this workspace: see `sanitizer report`", subject=name)


def published(ws: Workspace, trust: TrustRoot) -> Iterator[VerifiedRelease]:
    """Every release of the workspace whose signature holds, oldest first."""
    home = ws.releases / ws.policy.dataset
    for place in sorted((p for p in home.glob("*") if p.name.isdecimal() and p.is_dir()), key=lambda p: int(p.name)):
        yield signed_release(place, trust)


def _holds(release: VerifiedRelease, kind: str, name: str, meant: set[str], trust: TrustRoot) -> Holder | None:
    told = release.statement["release"]
    origins = [part["origin"] for part in sorted(told["parts"], key=lambda part: str(part["path"]))]
    if kind == "sample":
        rows = OpenRelease(release).identities()
        at = _positions(rows, name)
        if not len(at):
            return None
        found = sorted({origins[part] for part in rows.table["part"].take(at).to_pylist()})
        return Holder(release.version, release.digest, len(at), tuple(found), _revoked(release, trust))
    materials = {f"sha256:{m['digest']['sha256']}": m["annotations"] for m in release.statement["buildDefinition"]["resolvedDependencies"]}
    if kind == "key":
        wanted = {digest for digest, told_of in materials.items() if name in told_of["signers"]}
    else:
        wanted = {digest for digest, told_of in materials.items() if digest in meant or (kind == "source" and told_of["source"] == name)}
    if not wanted:
        return None
    count = sum(part["rows"] for part in told["parts"] if part["origin"] in wanted)
    return Holder(release.version, release.digest, count, tuple(sorted(wanted)), _revoked(release, trust))


def _positions(rows: Identities, sample: str) -> Any:
    digest, _, occurrence = sample.partition("-")
    same = pc.equal(rows.table["row"], bytes.fromhex(digest))
    if occurrence:
        same = pc.and_(same, pc.equal(rows.table["occurrence"], int(occurrence)))
    return np.flatnonzero(same.to_numpy(zero_copy_only=False))


def _revoked(release: VerifiedRelease, trust: TrustRoot) -> str:
    found = trust.revocation("release", release.digest) or trust.revoked(release.keyid)
    if found is None:
        for material in release.statement["buildDefinition"]["resolvedDependencies"]:
            found = trust.revocation("delivery", f"sha256:{material['digest']['sha256']}") or trust.revocation(
                "source", material["annotations"]["source"]
            )
            if found is not None:
                break
    return "" if found is None else f"{found.kind} {found.id}: {found.reason}"


def prove_sample(release: Path, sample: str, trust: Path) -> dict[str, Any]:
    """The proof that a release holds a sample, as one JSON document that needs neither the release nor its data to be checked.

    It carries the signed statement of the release, which names the root over all rows, and the path from the row to that root.

    Raises:
        UsageError: the release does not hold it, or is of a version that signed no root over its rows.
        Refused: the release does not verify.
    """
    if not _SAMPLE.fullmatch(sample):
        raise UsageError(f"{sample!r} is no sample id: 64 hexadecimal digits, and perhaps -0", subject=sample)
    with open_release(release, trust=trust) as opened:
        rows = opened.identities()
        at = _positions(rows, sample)
        told = opened.release.statement["release"]
        if not len(at):
            raise UsageError(f"release {opened.version} of {told['dataset']} does not hold {sample}", subject=sample)
        if "rows_root" not in told:
            raise UsageError(f"release {opened.version} was published without a root over its rows: publish anew", subject=str(release))
        proof = prove(rows.row_digests, int(at[0]))
        envelope = opened.release.read("provenance.intoto.json")
    return {
        "sample": f"{proof.digest.hex()}-{rows.table['occurrence'][int(at[0])].as_py()}",
        "dataset": told["dataset"],
        "version": opened.version,
        "release": opened.digest,
        "rows_root": told["rows_root"],
        "proof": proof.to_json(),
        "statement": base64.b64encode(envelope).decode(),
    }


def check_proof(document: bytes, trust: Path) -> dict[str, Any]:
    """What a proof proves, once the signature of the statement in it and the path to its root hold.

    Raises:
        BadEnvelope: it is no such document.
        Refused: the subclass that says what does not hold.
    """
    found = jcs.loads(document, what="the proof")
    try:
        envelope, sample = base64.b64decode(found["statement"], validate=True), str(found["sample"])
        digest, proof = bytes.fromhex(sample.partition("-")[0]), Proof.from_json(found["proof"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadEnvelope(f"this is no proof that `sanitizer prove` made: {error!r}") from error
    root = TrustRoot.load(trust, now=datetime.now(UTC))
    what = "the statement in the proof"
    signed = open_envelope(envelope, what=what)
    signers = signed.verify(root.release_keys(), 1, what=what, revoked=root.revoked_keys())
    _, body = parse(signed.payload, predicate_type=RELEASE, what=what)
    try:
        told = body["release"]
        proven = {"dataset": told["dataset"], "version": told["version"], "rows_root": str(told["rows_root"])}
    except (KeyError, TypeError) as error:
        raise BadEnvelope(f"{what} names no root over its rows") from error
    proof.verify(digest, proven["rows_root"])
    return {"sample": sample, **proven, "row": proof.row, "rows": proof.rows, "signers": list(signers)}


def bill(release: Path, trust: Path) -> bytes:
    """`bom.cdx.json` of a verified release: CycloneDX 1.6."""
    with open_release(release, trust=trust) as opened:
        return opened.release.read("bom.cdx.json")


def checkpoints(ws: Workspace, trust: TrustRoot) -> list[str]:
    """The ledger's checkpoints that the releases of the workspace carry: a history cut with its own checkpoints disagrees with these."""
    notes = []
    for release in published(ws, trust):
        note = release.statement["release"].get("ledger")
        if isinstance(note, str) and note:
            notes.append(note)
    return notes


def reached(root: Path | str, kind: str, name: str) -> list[int]:
    """The versions that a recall of this kind reaches."""
    ws = Workspace.open(root)
    trust = TrustRoot.load(ws.trust, now=datetime.now(UTC))
    if kind == "release":
        return [r.version for r in published(ws, trust) if r.digest == name]
    if kind == "key":
        return [r.version for r in published(ws, trust) if r.keyid == name]
    try:
        return [holder.version for holder in trace(root, name).releases]
    except SanitizerError:
        return []
