"""What came, who signed it, what is held and why, what was published: a workspace in a few lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sanitizer import lineage, quarantine, samples
from sanitizer.errors import LedgerBroken, UsageError, printable
from sanitizer.expectations import GateResult
from sanitizer.provenance.delivery import VerifiedDelivery
from sanitizer.provenance.trust import TrustRoot
from sanitizer.reference import reference
from sanitizer.report import facts, html
from sanitizer.report import json as report_json
from sanitizer.samples import Samples
from sanitizer.store import deliveries, releases
from sanitizer.store.ledger import audit as audit_ledger
from sanitizer.store.ledger import last_checkpoint
from sanitizer.verdicts import Verdicts
from sanitizer.workspace import Workspace, write

_MOST = 12  # lines of one list in the summary


def summary_facts(root: Path | str) -> dict[str, Any]:
    """The summary as plain data."""
    ws = Workspace.open(root)
    dataset = ws.policy.dataset
    with ws.store() as store, store.reading() as view:
        came = deliveries.listed(view, dataset=dataset)
        cases = quarantine.cases(view, dataset=dataset)
        counts = quarantine.counts(view, dataset=dataset)
        published = [r for r in releases.listed(view, dataset) if r.state == "published"]
    known = {d.path for d in came}
    waiting = [f"{d.source}/{d.root.name}" for d in ws.arrivals() if not d.complete and f"{d.source}/{d.root.name}" not in known]
    return {
        "dataset": dataset,
        "deliveries": [_delivery(ws, d) for d in came],
        "incomplete": waiting,
        "cases": [
            {"id": c.id, "cause": c.cause, "size": c.size, "held": c.held, "reason": c.reason, "delivery": c.delivery} for c in cases
        ],
        "quarantine": counts,
        "releases": [{"version": r.version, "digest": r.digest, "samples": r.facts.get("samples")} for r in published],
    }


def _delivery(ws: Workspace, d: deliveries.DeliveryState) -> dict[str, Any]:
    found: dict[str, Any] = {"path": d.path, "source": d.source, "sequence": d.sequence, "level": d.level, "state": d.state, "code": d.code}
    found |= {"message": d.message, "digest": d.digest, "signers": [], "samples": None, "quarantined": None, "causes": {}}
    if "verified" in d.artefacts:
        found["signers"] = list(VerifiedDelivery.from_json(ws.blobs.read_json(d.artefacts["verified"]), ws.blobs).signers)
    if "verdicts" in d.artefacts:
        table = ws.verdicts(d.artefacts["verdicts"]).table
        held = table[table["action"] == "quarantine"]
        found |= {"samples": len(table), "quarantined": len(held), "causes": dict(Counter(held["cause"]))}
    return found


def summary(root: Path | str) -> str:
    """The summary for a terminal."""
    told = summary_facts(root)
    lines = [f"Data set {told['dataset']}", "", "What came"]
    for d in told["deliveries"]:
        signers = ", ".join(f"{keyid[:12]}…" for keyid in d["signers"])
        who = f"signed by {signers}" if signers else "asserted by a person" if d["level"] == "asserted" else "not verified"
        lines.append(f"  {printable(d['path'])}: {d['state']}, {who}" + (f", level {d['level']}" if signers else ""))
        if d["code"]:
            lines.append(f"      {d['code']}: {printable(d['message'])}")
        if d["samples"] is not None:
            causes = ", ".join(f"{n} {cause}" for cause, n in sorted(d["causes"].items(), key=lambda item: -item[1]))
            lines.append(f"      {d['samples']:,} samples, {d['quarantined']:,} held back" + (f": {causes}" if causes else ""))
    lines += [f"  {printable(path)}: incomplete, no manifest yet" for path in told["incomplete"]]
    if told["cases"]:
        lines += ["", "What is held, and why"]
        lines += [
            f"  case {c['id']}: {c['held']} of {c['size']} undecided, {c['cause']}: {printable(c['reason'])}" for c in told["cases"][:_MOST]
        ]
        if len(told["cases"]) > _MOST:
            lines.append(f"  … and {len(told['cases']) - _MOST} cases more: `sanitizer quarantine ls`")
    lines += ["", "What was published"]
    lines += [f"  release {r['version']}: {r['samples']:,} samples, {r['digest']}" for r in told["releases"][-3:]] or ["  nothing yet"]
    return "\n".join(lines)


def verdicts(root: Path | str, path: str) -> Verdicts:
    """The verdicts on one delivery, named as `source/name`."""
    ws = Workspace.open(root)
    with ws.store() as store, store.reading() as view:
        found = [d for d in deliveries.listed(view, dataset=ws.policy.dataset) if d.path == path and "verdicts" in d.artefacts]
    if not found:
        raise UsageError(f"no delivery {path} was judged: see `sanitizer report`", subject=path)
    return ws.verdicts(found[-1].artefacts["verdicts"])


def write_reports(root: Path | str) -> list[Path]:
    """A page and a JSON file for each judged delivery, and `latest.html`: those of the newest release and all that wait, worst first.

    What went into an earlier release does not change any more, and its page stays as it is.
    """
    ws = Workspace.open(root)
    pages, latest = [], []
    sides: dict[int | None, Samples | None] = {}  # version -> its trusted rows: deliveries of one release were judged by the same
    with ws.store() as store:
        with store.reading() as view:
            came = [d for d in deliveries.listed(view, dataset=ws.policy.dataset) if "verdicts" in d.artefacts]
            published = [r for r in releases.listed(view, ws.policy.dataset) if r.state == "published"]
            checkpoint = last_checkpoint(view)
        for d in came:
            holder = next((r for r in published if d.state == "published" and r.at >= d.updated_at), None)
            current = holder is None or holder == published[-1]
            pages.append(ws.reports / f"{d.path.replace('/', '-')}.html")
            if current or not pages[-1].exists():
                body = ws.blobs.read_json(d.artefacts["verdicts"])
                version = body["reference"]
                if version not in sides:
                    known = reference(ws, store, version)
                    sides[version] = None if known is None else known.samples
                told = _report(ws, d, samples.load(body["samples"], ws.blobs), sides[version], holder, checkpoint)
                write(pages[-1], html(told).encode())
                write(pages[-1].with_suffix(".json"), report_json(told).encode())
                if current:
                    latest.append(told)
    if latest:
        write(ws.reports / "latest.html", html(latest).encode())
    return [*pages, *([ws.reports / "latest.html"] if latest else [])]


def _report(
    ws: Workspace,
    d: deliveries.DeliveryState,
    rows: Samples,
    trusted: Samples | None,
    holder: releases.ReleaseState | None,
    checkpoint: str,
) -> dict[str, Any]:
    return facts(
        ws.verdicts(d.artefacts["verdicts"]),
        rows,
        trusted=trusted,
        delivery=VerifiedDelivery.from_json(ws.blobs.read_json(d.artefacts["verified"]), ws.blobs),
        gate=GateResult.from_json(ws.blobs.read_json(d.artefacts["gate"])["gate"]),
        release=None if holder is None else {"version": holder.version, "digest": holder.digest, "samples": holder.facts.get("samples")},
        ledger={"checkpoint": checkpoint} if checkpoint else None,
        policy=ws.policy,
        name=d.path,
        now=d.updated_at,
    )


def audit(root: Path | str, notes: Sequence[str] = ()) -> dict[str, Any]:
    """Reads the ledger and all decisions again, and holds them against the checkpoints in the state, in every release, and in `notes`.

    Raises `LedgerBroken` for the first thing that is not what it was.
    """
    ws = Workspace.open(root)
    trust = TrustRoot.load(ws.trust, now=datetime.now(UTC))
    try:
        with ws.store(keys=False) as store:
            found = audit_ledger(store, trust.ledger_keys(), notes=[*lineage.checkpoints(ws, trust), *notes])
            with store.reading() as view:
                checked = quarantine.audit(view)
    except (AttributeError, LookupError, TypeError, ValueError) as error:  # whoever edits a database by hand may leave anything there
        raise LedgerBroken(f"the state holds what this program never wrote: {error!r}") from error
    return asdict(found) | {"quarantine": checked}
