"""Sample audits: members of a case drawn at random speak for the rest of it, with the bound stated.

One draw at a time for each person and case: who could draw again until the draw pleases could prove anything.  A draw is a ledger
entry before its first member is shown.
"""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, func, insert, select, update

from sanitizer.errors import NotAllowed, UsageError
from sanitizer.quarantine.hold import members_digest
from sanitizer.review.bounds import CONFIDENCE, most_among_the_rest
from sanitizer.store.tables import decisions, draw_members, draws, held
from sanitizer.store.transaction import Reader, Transaction


@dataclass(frozen=True)
class Draw:
    """Some of the `population` undecided ones of a case; `decision` is what it was used for, None while it is open."""

    id: int
    case_id: int
    account: str
    population: int
    decision: int | None
    at: datetime

    @classmethod
    def of(cls, row: RowMapping) -> Draw:
        """From a row of the table."""
        return cls(row["id"], row["case_id"], row["account"], row["population"], row["decision"], row["at"])


def draw(tx: Transaction, case_id: int, size: int, *, account: str) -> Draw:
    """Draws `size` undecided members; the open draw of the same person, if there is one.  Raises `UsageError` for an impossible size."""
    known = open_draw(tx, case_id, account)
    if known is not None:
        return known
    query = select(held.c.id, held.c.sample_id).where(held.c.case_id == case_id, held.c.state == "held", held.c.proposal.is_(None))
    left = tx.execute(query.order_by(held.c.id)).all()
    if not 1 <= size <= min(len(left), 500):
        raise UsageError(
            f"{len(left)} samples of case {case_id} are undecided: draw 1 to {min(len(left), 500)} of them", subject=str(case_id)
        )
    chosen = sorted(secrets.SystemRandom().sample(range(len(left)), size))
    members = [left[i] for i in chosen]
    number = int(tx.execute(select(func.coalesce(func.max(draws.c.id), 0))).scalar_one()) + 1
    facts = {"draw": number, "population": len(left), "drawn": size, "members": members_digest((m.id, m.sample_id) for m in members)}
    index = tx.record("review.draw", f"case/{case_id}", facts, actor=account)
    row = {"id": number, "case_id": case_id, "account": account, "population": len(left), "ledger_index": index, "decision": None}
    tx.execute(insert(draws), row | {"at": tx.now})
    tx.execute(insert(draw_members), [{"draw": number, "held_id": m.id} for m in members])
    return get(tx, number)


def get(view: Reader, number: int) -> Draw:
    """One draw; raises `UsageError` when there is none of that number."""
    row = view.one(select(draws).where(draws.c.id == number))
    if row is None:
        raise UsageError(f"there is no draw {number}", subject=str(number))
    return Draw.of(row)


def open_draw(view: Reader, case_id: int, account: str) -> Draw | None:
    """The draw that this person began in this case and did not use yet."""
    mine = (draws.c.case_id == case_id, draws.c.account == account, draws.c.decision.is_(None))
    row = view.one(select(draws).where(*mine).order_by(draws.c.id.desc()).limit(1))
    return None if row is None else Draw.of(row)


def standing(view: Reader, one: Draw) -> dict[str, Any]:
    """How the drawn were decided, and what that says about the rest.

    `decided` counts actions, proposed ones too; `at_most` maps an action to the bound on those among the `rest` that it would be wrong
    for (None until all drawn are decided).
    """
    drawn = (
        view.execute(select(draw_members.c.held_id).where(draw_members.c.draw == one.id).order_by(draw_members.c.held_id)).scalars().all()
    )
    stands = func.coalesce(held.c.proposal, held.c.decision)
    said = select(decisions.c.action).join(held, stands == decisions.c.id).join(draw_members, draw_members.c.held_id == held.c.id)
    decided = Counter(view.execute(said.where(draw_members.c.draw == one.id)).scalars())
    done = decided.total() == len(drawn)
    odd = {"drop": decided["release"] + decided["relabel"], "release": decided["drop"] + decided["relabel"]}
    bounds = {action: most_among_the_rest(one.population, len(drawn), n) if done else None for action, n in odd.items()}
    where = (held.c.case_id == one.case_id, held.c.state == "held", held.c.proposal.is_(None), held.c.id.not_in(drawn))
    return {
        "id": one.id,
        "case": one.case_id,
        "by": one.account,
        "population": one.population,
        "drawn": len(drawn),
        "members": list(drawn),
        "decided": dict(decided),
        "odd": odd,
        "done": done,
        "rest": one.population - len(drawn),
        "left": int(view.execute(select(func.count()).select_from(held).where(*where)).scalar_one()),
        "at_most": bounds,
        "confidence": float(CONFIDENCE),
        "decision": one.decision,
    }


def apply(tx: Transaction, number: int, case_id: int, action: str, *, account: str) -> dict[str, Any]:
    """What the event that uses a draw says about it; raises `UsageError` when it is not finished, `NotAllowed` when it is not theirs."""
    one = get(tx, number)
    if one.account != account or one.case_id != case_id:
        raise NotAllowed(f"draw {number} is {one.account}'s, of case {one.case_id}", subject=str(number))
    found = standing(tx, one)
    if one.decision is not None or not found["done"]:
        raise UsageError(
            f"draw {number} was used already" if one.decision is not None else "decide all that were drawn first", subject=str(number)
        )
    if action not in found["at_most"]:
        raise UsageError("a draw speaks for dropping or releasing the rest, not for giving it one label", subject=str(number))
    kept = {name: found[name] for name in ("population", "drawn", "decided", "rest", "confidence")}
    return {"draw": number, **kept, "odd": found["odd"][action], "at_most": found["at_most"][action]}


def used(tx: Transaction, number: int, decision: int) -> None:
    """Closes a draw with the decision that it was used for."""
    tx.execute(update(draws).where(draws.c.id == number).values(decision=decision))


def offers(population: int) -> list[dict[str, int]]:
    """Sizes to choose from, each with the bound on odd ones among the rest if none is drawn.

    >>> offers(40)[2]
    {'draw': 20, 'rest': 20, 'at_most': 4}
    """
    sizes = [n for n in (5, 10, 20, 30, 60, 120, 300) if n < population]
    return [{"draw": n, "rest": population - n, "at_most": most_among_the_rest(population, n, 0)} for n in sizes]
