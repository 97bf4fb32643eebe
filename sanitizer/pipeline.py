"""The line on one page: pull → verify → read → check → judge → hold → publish → gate.

Every stage takes the digest of what the stage before made, opens it from the blob store (which hashes it again), and returns the digest of
what it made itself.  Each step is one transaction with its ledger entry; a step done again with the same input changes nothing.  The
command line, the DAGs and the tests call these functions and no others.

A delivery that is refused or held stays where it is, with its reason in the state and in the ledger; the error goes on to the caller.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sanitizer import decoys, detectors, drift, expectations, quarantine, samples, verdicts
from sanitizer.doubts import doubts
from sanitizer.errors import (
    ChangedSincePinned,
    DigestMismatch,
    Failed,
    Held,
    Refused,
    SanitizerError,
    SuiteFailed,
    UntrustedSigner,
    UsageError,
)
from sanitizer.provenance.delivery import Delivery, VerifiedDelivery
from sanitizer.provenance.delivery import verify as verify_delivery
from sanitizer.reference import recalled, reference
from sanitizer.release import parts
from sanitizer.release.gate import verify_release
from sanitizer.release.publish import publish as publish_release
from sanitizer.store import Store, deliveries, pins, releases
from sanitizer.workspace import Workspace, fetch

_log = logging.getLogger(__name__)
_HOME = str(Path(__file__).parents[1])  # where this very package lies: a fresh interpreter must not find another one


@dataclass(frozen=True)
class Outcome:
    """Where one delivery ended: `state` is decided, held, refused or failed; `error` says why it did not go on."""

    delivery: str
    state: str
    quarantined: int = 0
    error: SanitizerError | None = None

    @property
    def exit_code(self) -> int:
        """The delivery's share in the exit code of a run."""
        if self.error is not None:
            return self.error.exit_code
        return Held.exit_code if self.quarantined else 0

    def as_dict(self) -> dict[str, Any]:
        """What `--format json` prints."""
        error = {} if self.error is None else {"code": self.error.code, "message": self.error.message}
        return {"delivery": self.delivery, "state": self.state, "quarantined": self.quarantined, **error}


# --- the stages ----------------------------------------------------------------------------------------------------------------------


def pull(workspace: Path | str, inbox: Any = None) -> list[str]:
    """Fetch what came and name what waits for its turn, as `source/delivery`, each source in the order of its sequence.

    `inbox` is where suppliers upload, anything with the interface of `pathlib.Path` (Airflow's `ObjectStoragePath`); none: the
    workspace's own.  Not named: deliveries without a manifest yet, accepted ones, and refused ones that have not changed since.
    """
    ws = Workspace.open(workspace)
    if inbox is not None:
        fetch(inbox, ws.inbox)
    with ws.store() as store, store.reading() as view:
        waiting = [d for d in ws.arrivals() if d.complete and not _settled(ws, view, d)]
    return [_ref(d) for d in sorted(waiting, key=lambda d: (d.source, d.claimed_sequence() or 0, d.root.name))]


def verify(workspace: Path | str, ref: str) -> str:
    """Who sent which bytes?  The steps are numbered in `provenance.delivery.verify`; bytes are copied into the blob store while hashed."""
    ws = Workspace.open(workspace)
    delivery = ws.delivery(ref)
    now = datetime.now(UTC)
    with ws.store() as store, store.lock(ws.policy.dataset):
        seen = ws.fingerprint(delivery)
        digest = delivery.digest() or seen
        with store.transaction(now=now) as tx:
            before = deliveries.receive(tx, digest, dataset=ws.policy.dataset, source=delivery.source, path=ref, fingerprint=seen)
        if before.state in deliveries.ACCEPTED and before.source != delivery.source:
            raise UntrustedSigner(f"this delivery came from {before.source} before, it is not one of {delivery.source}", subject=ref)
        if before.state in deliveries.ACCEPTED and "verified" in before.artefacts:
            return before.artefacts["verified"]
        with _settling(store, digest, seen), _triaging(ws), store.reading() as view:
            verified = verify_delivery(
                delivery,
                ws.trusted(now),
                ws.blobs,
                store,
                now=now,
                least_level=delivery.least_level,
                max_age=timedelta(days=ws.policy.provenance.max_age_days),
                pinned=lambda address: pins.pinned(view, ws.policy.dataset, address),
            )
            if verified.digest != digest:
                raise DigestMismatch(f"the manifest of {ref} changed while it was judged: offer it again", subject=ref)
        made = ws.blobs.put_json(verified.to_json())
        with store.transaction(now=now) as tx:
            facts = {"signers": list(verified.signers), "files": len(verified.manifest.files)}
            artefacts = {"verified": made}
            if verified.pin is not None:
                pins.pin(tx, ws.policy.dataset, *verified.pin)
            deliveries.reopen(tx, digest)
            deliveries.advance(tx, digest, "verified", artefacts=artefacts, level=verified.level, sequence=verified.sequence, facts=facts)
    return made


def read(workspace: Path | str, verified: str) -> str:
    """Verified bytes become one canonical table, cast strictly to the pinned schema; the first delivery drafts it."""
    ws = Workspace.in_force(workspace, now=datetime.now(UTC))
    delivery = VerifiedDelivery.from_json(ws.blobs.read_json(verified), ws.blobs)
    with ws.store() as store, _settling(store, delivery.digest):
        rows = samples.read(delivery, ws.schema(), ws.policy.samples)
        ws.pin(rows.schema)
        return samples.save(rows, ws.blobs)


def check(workspace: Path | str, table: str) -> str:
    """The Great Expectations gate: rows that fail go to quarantine with the reason, a failure of the whole table holds the delivery."""
    ws = Workspace.in_force(workspace, now=datetime.now(UTC))
    rows = samples.load(table, ws.blobs)
    with ws.store() as store, _settling(store, rows.origin):
        result = expectations.check(rows, ws.suite())
        made = ws.blobs.put_json({"samples": table, "gate": result.to_json()})
        with store.transaction() as tx:
            facts = {"rows": len(rows), "schema": rows.schema.id, "rows_failed": len(result.row_failures)}
            deliveries.advance(tx, rows.origin, "screened", artefacts={"samples": table, "gate": made}, facts=facts)
        if result.table_failures:
            first, many = result.table_failures[0], len(result.table_failures)
            raise SuiteFailed(f"{many} expectations on the whole table failed, first: {first}; a person must look", subject=rows.origin)
    return made


def judge(workspace: Path | str, checked: str) -> str:
    """Witnesses, then verdicts, against the newest release (none yet: a sifted core, marked unproven)."""
    ws = Workspace.in_force(workspace, now=datetime.now(UTC))
    screened = ws.blobs.read_json(checked)
    rows = samples.load(screened["samples"], ws.blobs)
    gate_result = expectations.GateResult.from_json(screened["gate"])
    with ws.store() as store:
        version = _newest(ws, store)
        trusted_side = reference(ws, store, version)  # a release that does not verify is no fault of the delivery
    with ws.store() as store, _settling(store, rows.origin):
        trusted = None if trusted_side is None else trusted_side.samples
        evidence = detectors.run(rows, trusted, ws.policy.detect)
        decided = decoys.told(verdicts.decide(evidence, rows, trusted, ws.policy), evidence, rows, trusted, ws.policy)
        decided = decided.with_failed_rows(gate_result.row_failures)
        decided = replace(decided, notes=(*decided.notes, *(trusted_side.notes if trusted_side else ())))
        body = {"checked": checked, "samples": screened["samples"], "reference": version, "table": ws.keep(decided.to_arrow())}
        made = ws.blobs.put_json(body)
        if why := doubts(ws, store, rows, decided, None if trusted_side is None else trusted_side.released):
            with store.transaction() as tx:
                deliveries.advance(tx, rows.origin, "screened", artefacts={"verdicts": made})
            raise why
    return made


def hold(workspace: Path | str, judged: str, *, lifted: str = "") -> str:
    """Quarantine what the verdicts hold back, with its evidence; the rest is accepted for the next release.

    `lifted` says who let in a delivery that was held as a whole, and why.
    """
    ws = Workspace.in_force(workspace, now=datetime.now(UTC))
    body = ws.blobs.read_json(judged)
    rows = samples.load(body["samples"], ws.blobs)
    decided = verdicts.Verdicts.from_arrow(ws.kept(body["table"]))
    with ws.store() as store, _settling(store, rows.origin):
        with store.reading() as view:
            delivery = deliveries.get(view, rows.origin)
        signed = VerifiedDelivery.from_json(ws.blobs.read_json(delivery.artefacts["verified"]), ws.blobs)
        part = parts.accept(
            rows,
            decided,
            delivery=rows.origin,
            source=signed.source,
            sequence=signed.sequence,
            level=signed.level,
            signers=signed.signers,
            policy=ws.policy.digest,
            blobs=ws.blobs,
            samples_digest=body["samples"],
            verdicts_digest=judged,
            lifted=lifted,
        )
        artefacts = {"verdicts": judged, "part": ws.blobs.put_json(part.to_json())}
        with store.transaction() as tx:
            quarantine.hold(tx, rows, decided, rows.origin)
            facts = {"quarantined": decided.quarantined, "accepted": part.rows, "reference": body["reference"], "lifted": lifted}
            deliveries.advance(tx, rows.origin, "decided", artefacts=artefacts, facts=facts)
    return judged


def lift(workspace: Path | str, ref: str, *, reviewer: str, reason: str) -> str:
    """A person lets in a delivery that was held as a whole; its suspicious rows still go to quarantine."""
    ws = Workspace.open(workspace)
    waiting = _held(ws, ref, reviewer, reason)
    if waiting.code == ChangedSincePinned.code:
        return _move_pin(ws, ref, reviewer, reason)
    if "samples" not in waiting.artefacts:
        raise UsageError(f"{ref} could not be read ({waiting.code}): ask for a readable one, or refuse it", subject=ref)
    judged = waiting.artefacts.get("verdicts") or judge(workspace, waiting.artefacts["gate"])
    return hold(workspace, judged, lifted=f"{reviewer}: {reason}")


def refuse(workspace: Path | str, ref: str, *, reviewer: str, reason: str) -> None:
    """A person turns down a delivery that was held as a whole; it stays where it is and is not judged again."""
    ws = Workspace.open(workspace)
    waiting = _held(ws, ref, reviewer, reason)
    with ws.store() as store, store.transaction() as tx:
        deliveries.stop(tx, waiting.digest, Refused(f"refused by {reviewer}: {reason}", subject=waiting.digest))


def publish(workspace: Path | str) -> str:
    """The next release, from everything accepted and decided so far, as its path.  Nothing new: the newest release as it is.

    What was revoked since it was accepted, a delivery or its source, is left out from now on.
    """
    ws = Workspace.open(workspace)
    trust = ws.trusted(datetime.now(UTC))
    with ws.store(keys=True) as store:
        with store.reading() as view:
            accepted = deliveries.listed(view, dataset=ws.policy.dataset, states=("decided", "published"))
            recalled = {
                d.digest
                for d in accepted
                if trust.revocation("delivery", d.digest) is not None or trust.revocation("source", d.source) is not None
            }
            reviewed = quarantine.outcome(view, ws.policy.dataset, recalled=recalled)
        made = publish_release(
            store,
            ws.blobs,
            ws.releases,
            parts=[parts.Part.from_json(ws.blobs.read_json(d.artefacts["part"])) for d in accepted if d.digest not in recalled],
            policy=ws.policy,
            signer=ws.signer(ws.policy.release.signer),
            back=reviewed.back,
            back_ids=reviewed.back_ids,
            excluded=reviewed.excluded,
            review=reviewed.counts,
            withdrawn={key.keyid for key in trust.revoked_keys()},
        )
    return str(made.path)


def gate(workspace: Path | str, release: str = "", trust: str = "") -> str:
    """The gate before training: verifies a release (none named: the newest of the workspace) to the last byte and returns its path."""
    ws = Workspace.open(workspace)
    place = Path(release) if release else ws.releases / ws.policy.dataset
    return str(verify_release(place, Path(trust) if trust else ws.trust, state=ws.root / "gate.json").path)


# --- the line ------------------------------------------------------------------------------------------------------------------------


def run(workspace: Path | str, refs: Sequence[str] | None = None) -> list[Outcome]:
    """The whole line for the named deliveries, or for all that wait; then publishes.  A bad delivery stops only itself."""
    waiting = pull(workspace) if refs is None else refs
    if waiting and recalled(Workspace.open(workspace)):
        _publish_apart(workspace)  # what was revoked must not be what the next delivery is judged by
    outcomes = [sanitize(workspace, ref) for ref in waiting]
    if any(o.state == "decided" for o in outcomes):
        _publish_apart(workspace)
    return outcomes


def sanitize(workspace: Path | str, ref: str) -> Outcome:
    """One delivery through all stages up to its verdicts."""
    try:
        verified = verify(workspace, ref)
        if (before := _accepted(workspace, ref)) is not None:
            return Outcome(ref, before)
        judged = hold(workspace, judge(workspace, check(workspace, read(workspace, verified))))
    except SanitizerError as error:
        state = "refused" if isinstance(error, Refused) else "held" if isinstance(error, Held) else "failed"
        return Outcome(ref, state, error=error)
    return Outcome(ref, "decided", quarantined=Workspace.open(workspace).verdicts(judged).quarantined)


def _publish_apart(workspace: Path | str) -> None:
    """Publishes; where the policy names foreign code, which this process ran, in a process of its own that never saw it."""
    ws = Workspace.open(workspace)
    if not ws.runs_foreign_code:
        publish(workspace)
        return
    start = "import sys; sys.path.insert(0, sys.argv.pop(1)); from sanitizer.cli import main; main()"
    command = [sys.executable, "-I", "-c", start, _HOME, "publish", "--workspace", str(ws.root), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ws.root)  # noqa: S603  # our own interpreter and package
    if done.returncode != 0:
        try:
            told = json.loads(done.stdout)["message"]
        except (ValueError, KeyError, TypeError):
            told = done.stderr.strip()[-400:]
        raise Failed(f"publishing failed, what was decided is kept: {told}", subject=str(ws.root))


def _move_pin(ws: Workspace, ref: str, reviewer: str, reason: str) -> str:
    """A person agreed that what lies at an address may be another thing than at first sight; it is judged like any delivery."""
    try:
        verify(ws.root, ref)
    except ChangedSincePinned as drifted:
        with ws.store() as store, store.transaction() as tx:
            pins.move(tx, ws.policy.dataset, ref, drifted.versions[1], actor=reviewer, reason=reason)
    outcome = sanitize(ws.root, ref)
    if outcome.error is not None:
        raise outcome.error
    return ref


@contextmanager
def _triaging(ws: Workspace) -> Iterator[None]:
    """Says how content that is not what was pinned differs from it."""
    try:
        yield
    except ChangedSincePinned as drifted:
        told = ChangedSincePinned(f"{drift.triage(ws, *drifted.versions).message}: {drifted.message}", subject=drifted.subject)
        told.versions = drifted.versions
        raise told from drifted


def _newest(ws: Workspace, store: Store) -> int | None:
    with store.reading() as view:
        newest = releases.latest(view, ws.policy.dataset)
    return None if newest is None else newest.version


@contextmanager
def _settling(store: Store, digest: str, fingerprint: str | None = None) -> Iterator[None]:
    """A refusal or a hold is written down, state and ledger, before it goes on to the caller."""
    try:
        yield
    except (Refused, Held) as error:
        with store.transaction() as tx:
            deliveries.stop(tx, digest, error, fingerprint=fingerprint)
        _log.warning("%s: %s", error.code, error)
        raise


def _settled(ws: Workspace, view: Any, delivery: Delivery) -> bool:
    """Accepted before, waiting for a person, or refused and unchanged since."""
    digest = delivery.digest()
    known = None if digest is None else deliveries.find(view, digest)
    if known is not None and known.state in ("decided", "published", "held"):
        return True
    return deliveries.remembered(view, ws.fingerprint(delivery)) is not None


def _held(ws: Workspace, ref: str, reviewer: str, reason: str) -> deliveries.DeliveryState:
    """The delivery at `ref`, if it waits for a person, and this person may decide about it."""
    if not reviewer.strip() or not reason.strip():
        raise UsageError("a decision needs the name of who takes it and a reason in words")
    if reviewer == ref.partition("/")[0]:
        raise UsageError(f"{reviewer} is the source of {ref}: somebody else must decide", subject=ref)
    with ws.store() as store, store.reading() as view:
        found = [d for d in deliveries.listed(view, dataset=ws.policy.dataset, states=("held",)) if d.path == ref]
    if not found:
        raise UsageError(f"no delivery {ref} waits for a person: see `sanitizer report`", subject=ref)
    # other contents may have lain there before, and wait too: what lies there now is meant
    now = ws.delivery(ref).digest()
    return next((d for d in found if d.digest == now), found[-1])


def _accepted(workspace: Path | str, ref: str) -> str | None:
    """`decided` or `published` where the delivery went through before: doing it again is a no-op."""
    ws = Workspace.open(workspace)
    digest = ws.delivery(ref).digest()
    with ws.store() as store, store.reading() as view:
        known = None if digest is None else deliveries.find(view, digest)
    return known.state if known is not None and known.state in ("decided", "published") else None


def _ref(delivery: Delivery) -> str:
    return f"{delivery.source}/{delivery.root.name}"
