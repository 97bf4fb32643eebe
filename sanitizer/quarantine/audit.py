"""Re-reading the quarantine: does every sample stand where its events put it, and does the ledger tell the same?"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict

from sqlalchemy import func, select

from sanitizer.errors import LedgerBroken
from sanitizer.quarantine.decisions import EVENT_FACTS, STATES, Decision, Standing, standings, statuses
from sanitizer.quarantine.hold import members_digest
from sanitizer.quarantine.listing import Case
from sanitizer.store.tables import cases, decision_members, decisions, held, held_content, ledger
from sanitizer.store.transaction import Reader


def audit(view: Reader) -> dict[str, int]:
    """Checks the whole quarantine against its events and the ledger; returns what was counted.

    The ledger itself is checked by `store.audit`, first.  Raises `LedgerBroken` that names the first thing that does not agree.
    """
    return {"deliveries": _held(view), "decisions": _decisions(view), "samples": _fold(view), "cases": _cases(view)}


def _held(view: Reader) -> int:
    entries = view.rows(select(ledger.c.index, ledger.c.subject, ledger.c.entry).where(ledger.c.kind == "quarantine.held"))
    known = set()
    for entry in entries:
        facts = json.loads(entry["entry"])["facts"]
        where = held.c.delivery == entry["subject"]
        rows = view.execute(select(held.c.id, held.c.sample_id).where(where).order_by(held.c.id)).all()
        if members_digest((row.id, row.sample_id) for row in rows) != facts["members"]:
            raise LedgerBroken(
                f"the held samples of {entry['subject']} are not those of ledger entry {entry['index']}", subject=entry["subject"]
            )
        digest = hashlib.sha256()
        query = select(held.c.id, held_content.c.content).join(held_content, held_content.c.held_id == held.c.id, isouter=True).where(where)
        for held_id, content in view.execute(query.order_by(held.c.id)):
            digest.update(f"{held_id} {hashlib.sha256(content or b'').hexdigest()}\n".encode())
        if f"sha256:{digest.hexdigest()}" != facts["content"]:
            raise LedgerBroken(
                f"the stored rows of {entry['subject']} are not those of ledger entry {entry['index']}", subject=entry["subject"]
            )
        known.add(entry["subject"])
    stray = set(view.execute(select(held.c.delivery).distinct()).scalars()) - known
    if stray:
        raise LedgerBroken(f"samples of {min(stray)} are held without a ledger entry", subject=min(stray))
    return len(entries)


def _decisions(view: Reader) -> int:
    chains: dict[int, list[Decision]] = defaultdict(list)
    seen = 0
    entry = (
        select(decisions, ledger.c.entry).join(ledger, ledger.c.index == decisions.c.ledger_index, isouter=True).order_by(decisions.c.id)
    )
    for row in view.rows(entry):
        event = Decision.of({k: v for k, v in row.items() if k != "entry"})  # type: ignore[arg-type]  # a plain dict does as well
        told = json.loads(row["entry"])["facts"] if row["entry"] else {}
        if told != json.loads(json.dumps({k: getattr(event, k) for k in EVENT_FACTS})):
            raise LedgerBroken(f"decision {event.id} is not what ledger entry {event.ledger_index} tells", subject=str(event.id))
        chains[event.root].append(event)
        seen += 1
    told_of = view.execute(
        select(func.count()).select_from(ledger).where(ledger.c.kind.in_([f"quarantine.{a}" for a in (*STATES, "approve", "undo")]))
    )
    if told_of.scalar_one() != seen:
        raise LedgerBroken("the ledger tells of decisions that are no longer there")
    for root, events in chains.items():
        for event_id, status in statuses(events).items():
            if next(e for e in events if e.id == event_id).status != status:
                raise LedgerBroken(f"decision {event_id} should be {status}", subject=str(event_id))
        members = view.execute(
            select(held.c.id, held.c.sample_id)
            .join(decision_members, decision_members.c.held_id == held.c.id)
            .where(decision_members.c.decision == root)
            .order_by(held.c.id)
        )
        if members_digest((row.id, row.sample_id) for row in members) != events[0].members:
            raise LedgerBroken(f"the samples of decision {root} are not those it was made for", subject=str(root))
    return seen


def _fold(view: Reader) -> int:
    known = standings(view)
    told = {
        row.id: (STATES.get(row.action), row.label) for row in view.execute(select(decisions.c.id, decisions.c.action, decisions.c.label))
    }
    seen = 0
    for row in view.execute(select(held.c.id, held.c.state, held.c.decision, held.c.proposal, held.c.new_label)):
        standing = known.get(row.id, Standing())
        state, label = told[standing.decision] if standing.decision is not None else ("held", None)
        if (row.state, row.new_label, row.decision, row.proposal) != (state, label, standing.decision, standing.proposal):
            raise LedgerBroken(f"held sample {row.id} is {row.state}, but its events say otherwise", subject=str(row.id))
        seen += 1
    return seen


def _cases(view: Reader) -> int:
    counted: dict[int, Counter[str]] = defaultdict(Counter)
    for case_id, state, proposed, n in view.execute(
        select(held.c.case_id, held.c.state, held.c.proposal.is_not(None), func.count()).group_by(
            held.c.case_id, held.c.state, held.c.proposal.is_not(None)
        )
    ):
        counted[case_id][state] += n
        counted[case_id]["size"] += n
        counted[case_id]["proposed"] += n if proposed else 0
    found = [Case.of(row) for row in view.rows(select(cases))]
    for case in found:
        if any(getattr(case, name) != counted[case.id][name] for name in ("size", "proposed", "held", *STATES.values())):
            raise LedgerBroken(f"the counts of case {case.id} are not those of its samples", subject=str(case.id))
    return len(found)
