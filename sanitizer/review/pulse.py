"""What others do meanwhile, and how far it all is: claims, events since the last look, progress, pace."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, insert, select

from sanitizer.quarantine import Decision
from sanitizer.review import members
from sanitizer.store.tables import claims, decision_members, decisions, held
from sanitizer.store.transaction import Reader, Transaction

HERE = timedelta(seconds=75)  # a page renews its claim every 25 seconds
PACE = timedelta(minutes=15)
_MOST_EVENTS, _MOST_SAMPLES = 200, 2_000


def claim(tx: Transaction, case_id: int, account: str) -> None:
    """Tells others that this person works on a case now, and on no other."""
    tx.execute(delete(claims).where((claims.c.account == account) | (claims.c.at < tx.now - HERE)))
    tx.execute(insert(claims), {"case_id": case_id, "account": account, "at": tx.now})


def claimed(view: Reader, but: str) -> list[dict[str, Any]]:
    """Who else works on which case."""
    rows = view.rows(select(claims).where(claims.c.account != but, claims.c.at >= view.now - HERE).order_by(claims.c.at))
    return [{"case": row["case_id"], "by": row["account"]} for row in rows]


def head(view: Reader) -> int:
    """The number of the last event."""
    return int(view.execute(select(func.coalesce(func.max(decisions.c.id), 0))).scalar_one())


def progress(view: Reader, rows: Sequence[dict[str, Any]], account: str) -> dict[str, Any]:
    """What is left of `rows` (cases), how fast it goes, and how long it will take at that pace.

    Pace counts samples of decisions that still count, of the last quarter of an hour, from the first of them to now.
    """
    sums = {name: sum(row[name] for row in rows) for name in ("size", "left", "waiting", "dropped", "released", "relabelled")}
    plain = decisions.c.action.in_(("drop", "release", "relabel"))
    recent = (plain, decisions.c.at >= view.now - PACE, decisions.c.status != "undone")
    paces = {}
    for name, terms in (("mine", (*recent, decisions.c.reviewer == account)), ("all", recent)):
        size, first = view.execute(select(func.coalesce(func.sum(decisions.c.size), 0), func.min(decisions.c.at)).where(*terms)).one()
        minutes = max((view.now - first).total_seconds(), 20.0) / 60 if first else 0.0
        paces[name] = float(size) / minutes if minutes else None
    return {
        **sums,
        "per_minute": paces["mine"],
        "minutes": sums["left"] / paces["all"] if paces["all"] else None,
        "cases": sum(row["left"] > 0 for row in rows),
    }


def since(view: Reader, event: int) -> dict[str, Any]:
    """Samples whose standing changed after `event`; `reload` when that is too much to tell one by one."""
    rows = view.rows(select(decisions).where(decisions.c.id > event).order_by(decisions.c.id).limit(_MOST_EVENTS + 1))
    events = [Decision.of(row) for row in rows]
    out: dict[str, Any] = {"events": [], "samples": [], "cases": [], "reload": False}
    if not events:
        return out
    roots = {e.root for e in events}
    touched = select(decision_members.c.held_id).where(decision_members.c.decision.in_(roots))
    out["cases"] = sorted(view.execute(select(held.c.case_id).where(held.c.id.in_(touched)).distinct()).scalars())
    if len(events) > _MOST_EVENTS or sum(e.size for e in events) > _MOST_SAMPLES:
        return out | {"reload": True}
    out["events"] = [members.told(e) for e in events]
    names = ("id", "state", "decision", "proposal", "new_label")
    out["samples"] = [dict(row) for row in view.rows(select(*(held.c[name] for name in names)).where(held.c.id.in_(touched)))]
    return out
