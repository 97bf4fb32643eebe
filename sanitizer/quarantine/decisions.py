"""Decisions are events.  What a held sample is now is the fold of the events that speak of it; nothing is ever deleted.

    decide ──▶ effective ─────────────── undo ──▶ undone ── undo of the undo ──▶ effective
          └──▶ proposed ── approve by another person ──▶ effective

The state of a sample is that of its last effective decision (drop, release or relabel), or `held`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, RowMapping, Select, func, insert, literal, select, update

from sanitizer.errors import NotAllowed, UsageError
from sanitizer.policy import Review
from sanitizer.quarantine import content
from sanitizer.quarantine.hold import members_digest
from sanitizer.store.tables import cases, decision_members, decisions, held
from sanitizer.store.transaction import Reader, Transaction

Action = Literal["drop", "release", "relabel"]
STATES: Mapping[str, str] = {"drop": "dropped", "release": "released", "relabel": "relabelled"}
_MANY = 5_000


@dataclass(frozen=True)
class Decision:
    """One event.

    `action` is drop, release, relabel, approve or undo; `target` is what an approve or undo speaks of and `root` the decision at the
    start of that chain.  `members` is the digest of the samples it covers, `size` how many.  `status` is effective, proposed (a second
    person must approve) or undone.  `shown` is what the reviewer had on the screen.
    """

    id: int
    dataset: str
    action: str
    label: str | None
    case_id: int | None
    target: int | None
    root: int
    reviewer: str
    second: str | None
    needs_second: bool
    reason: str
    shown: Mapping[str, Any]
    size: int
    members: str
    ledger_index: int
    at: datetime
    status: str

    @classmethod
    def of(cls, row: RowMapping) -> Decision:
        """From a row of the table."""
        return cls(**row)


def decide(
    tx: Transaction,
    *,
    action: Action,
    reviewer: str,
    reason: str,
    ids: Sequence[int] | None = None,
    case_id: int | None = None,
    label: str | None = None,
    second: str | None = None,
    shown: Mapping[str, Any] | None = None,
    policy: Review | None = None,
) -> Decision:
    """Drops, releases or relabels samples; what the policy wants two people for stays proposed until another one approves.

    Args:
        tx: the transaction.
        action: `drop` keeps them out of every release, `release` lets them in, `relabel` lets them in with `label`.
        reviewer: who decides.
        reason: why, in words; not empty.
        ids: held ids; decided ones may be decided anew.
        case_id: instead of `ids`: everything of the case that nobody decided or proposed to decide yet.
        label: the new label, as text.
        second: a different person who decided together with `reviewer`.
        shown: what the reviewer had on the screen.
        policy: when a second person is needed; the strict defaults when absent.

    Raises:
        UsageError: no reason, unknown ids, nothing left to decide, or a label that does not fit.
        NotAllowed: a person who may not decide this.
    """
    _speak(reviewer, reason)
    query = select(held.c.id, held.c.dataset, held.c.sample_id, held.c.source, held.c.cause).order_by(held.c.id)
    rows = [row for where in _which(ids, case_id) for row in tx.rows(query.where(where))]
    if ids is not None and len(rows) != len(set(ids)):
        missing = sorted(set(ids) - {row["id"] for row in rows})
        raise UsageError(f"{len(missing)} of {len(set(ids))} samples are not in quarantine, first: {missing[0]}", subject=str(missing[0]))
    if not rows:
        raise UsageError("nothing is left to decide there: `sanitizer quarantine ls` shows what is held", subject=str(case_id))
    if len(datasets := {row["dataset"] for row in rows}) > 1:
        raise UsageError(f"one decision covers one data set, these samples are of {', '.join(sorted(datasets))}")
    _may_decide({reviewer, second} - {None}, (row["source"] for row in rows))
    if second is not None and second == reviewer:
        raise NotAllowed(f"{reviewer} cannot be the second person too: someone else must agree", subject=reviewer)
    if (action == "relabel") != (label is not None):
        raise UsageError("relabel needs the new label, and only relabel takes one")
    if label is not None:
        content.check_label(tx, [row["id"] for row in rows], label)
    needs = needs_second(policy or Review(), action, len(rows), {row["cause"] for row in rows})
    event = _append(
        tx,
        dataset=datasets.pop(),
        action=action,
        label=label,
        case_id=case_id,
        target=None,
        reviewer=reviewer,
        second=second,
        needs_second=needs,
        reason=reason,
        shown=dict(shown or {}),
        size=len(rows),
        members=members_digest((row["id"], row["sample_id"]) for row in rows),
        status="proposed" if needs and second is None else "effective",
    )
    for start in range(0, len(rows), _MANY):
        tx.execute(insert(decision_members), [{"decision": event.id, "held_id": row["id"]} for row in rows[start : start + _MANY]])
    _refold(tx, event.root)
    return event


def approve(tx: Transaction, event: int, *, reviewer: str, reason: str, shown: Mapping[str, Any] | None = None) -> Decision:
    """The second person agrees with a proposed decision; raises `NotAllowed` for the one who proposed it."""
    _speak(reviewer, reason)
    target = get(tx, event)
    if target.status != "proposed":
        raise UsageError(f"decision {event} is {target.status}: there is nothing to approve", subject=str(event))
    if target.reviewer == reviewer:
        raise NotAllowed(f"{reviewer} proposed decision {event}: someone else must approve it", subject=str(event))
    sources = tx.execute(select(held.c.source).where(_members_of(target.root)).distinct()).scalars()
    _may_decide({reviewer}, sources)
    return _follow(tx, target, "approve", reviewer, reason, shown=shown)


def undo(tx: Transaction, event: int, *, reviewer: str, reason: str) -> Decision:
    """Takes an event back by another event: the samples return to what they were without it.  An undo can be undone, by its author."""
    _speak(reviewer, reason)
    target = get(tx, event)
    if target.action == "undo" and target.reviewer != reviewer:
        # otherwise a proposer could bring back the agreement that the second person withdrew
        raise NotAllowed(f"{target.reviewer} took that back: only {target.reviewer} can bring it back", subject=str(event))
    if target.status == "undone":
        raise UsageError(f"decision {event} is undone already: undo the undo to bring it back", subject=str(event))
    return _follow(tx, target, "undo", reviewer, reason)


def get(view: Reader, event: int) -> Decision:
    """One event; raises `UsageError` when there is none of that number."""
    row = view.one(select(decisions).where(decisions.c.id == event))
    if row is None:
        raise UsageError(f"there is no decision {event}", subject=str(event))
    return Decision.of(row)


def listed(view: Reader, *, dataset: str | None = None, after: int = 0, limit: int = 100) -> list[Decision]:
    """Events in order, from the one after `after`."""
    query = select(decisions).where(decisions.c.id > after).order_by(decisions.c.id).limit(limit)
    return [Decision.of(row) for row in view.rows(query if dataset is None else query.where(decisions.c.dataset == dataset))]


def history(view: Reader, held_id: int) -> list[Decision]:
    """Every event that ever spoke of one held sample, in order."""
    roots = select(decision_members.c.decision).where(decision_members.c.held_id == held_id)
    return [Decision.of(row) for row in view.rows(select(decisions).where(decisions.c.root.in_(roots)).order_by(decisions.c.id))]


def needs_second(policy: Review, action: str, size: int, causes: Iterable[str]) -> bool:
    """Whether the policy wants two people: bulk decisions, new labels, and letting in what looks like an attack that one could plant.

    >>> needs_second(Review(), "release", 1, ["backdoor"]), needs_second(Review(), "drop", 1, ["backdoor"])
    (True, False)
    """
    if size > policy.second_reviewer_above or (action == "relabel" and policy.second_reviewer_relabels):
        return True
    return action != "drop" and not set(policy.second_reviewer_causes).isdisjoint(causes)


def statuses(chain: Sequence[Decision]) -> dict[int, str]:
    """The status of every event of one chain: a decision and the approvals and undos that follow from it.

    An event counts unless an undo that counts speaks of it; that one is always later, so one pass from the end settles all.
    """
    counts: dict[int, bool] = {}
    for event in sorted(chain, key=lambda e: -e.id):
        counts[event.id] = not any(counts[later.id] for later in chain if later.action == "undo" and later.target == event.id)
    out = {event.id: "effective" if counts[event.id] else "undone" for event in chain}
    root = chain[0]
    approved = any(counts[e.id] for e in chain if e.action == "approve")
    if counts[root.id] and root.needs_second and root.second is None and not approved:
        out[root.id] = "proposed"
    return out


def chain(view: Reader, root: int) -> list[Decision]:
    """A decision and everything that followed from it, in order."""
    return [Decision.of(row) for row in view.rows(select(decisions).where(decisions.c.root == root).order_by(decisions.c.id))]


def _speak(reviewer: str, reason: str) -> None:
    if not reviewer.strip() or not reason.strip():
        raise UsageError("a decision needs the name of who decides and a reason in words")


def _may_decide(people: Iterable[str | None], sources: Iterable[str | None]) -> None:
    own = set(people) & set(sources)
    if own:
        name = own.pop()
        raise NotAllowed(f"{name} is the source of some of these samples and cannot decide on them", subject=str(name))


def _which(ids: Sequence[int] | None, case_id: int | None) -> list[ColumnElement[bool]]:
    if (ids is None) == (case_id is None):
        raise UsageError("name either samples or one case")
    if case_id is not None:
        return [(held.c.case_id == case_id) & (held.c.state == "held") & held.c.proposal.is_(None)]
    wanted = sorted(set(ids or ()))
    return [held.c.id.in_(wanted[start : start + _MANY]) for start in range(0, len(wanted), _MANY)]


def _held_ids(root: int) -> Select[int]:
    return select(decision_members.c.held_id).where(decision_members.c.decision == root)


def _members_of(root: int) -> ColumnElement[bool]:
    return held.c.id.in_(_held_ids(root))


def _follow(
    tx: Transaction, target: Decision, action: str, reviewer: str, reason: str, *, shown: Mapping[str, Any] | None = None
) -> Decision:
    event = _append(
        tx,
        dataset=target.dataset,
        action=action,
        label=None,
        case_id=target.case_id,
        target=target.id,
        root=target.root,
        reviewer=reviewer,
        second=None,
        needs_second=False,
        reason=reason,
        shown=dict(shown or {}),
        size=target.size,
        members=target.members,
        status="effective",
    )
    for event_id, status in statuses(chain(tx, target.root)).items():
        tx.execute(update(decisions).where(decisions.c.id == event_id).values(status=status))
    _refold(tx, target.root)
    return event


def _append(tx: Transaction, **values: Any) -> Decision:
    number = int(tx.execute(select(func.coalesce(func.max(decisions.c.id), 0))).scalar_one()) + 1
    values.setdefault("root", number)
    facts = {k: values[k] for k in EVENT_FACTS}
    index = tx.record(f"quarantine.{values['action']}", f"{values['dataset']}/decision/{number}", facts, actor=values["reviewer"])
    tx.execute(insert(decisions), {"id": number, "ledger_index": index, "at": tx.now, **values})
    return get(tx, number)


# what the ledger says of an event; everything else about it is derived
EVENT_FACTS = ("action", "label", "case_id", "target", "root", "reviewer", "second", "needs_second", "reason", "shown", "size", "members")


@dataclass(frozen=True)
class Standing:
    """Where a sample stands: its last effective decision, and the proposal after it that waits for a second person."""

    decision: int | None = None
    proposal: int | None = None


def standings(view: Reader, root: int | None = None) -> dict[int, Standing]:
    """The fold: held id -> standing, of every sample that a decision still speaks for, or of those of one decision."""
    query = (
        select(decision_members.c.held_id, decisions.c.status, func.max(decisions.c.id))
        .join(decisions, decisions.c.id == decision_members.c.decision)
        .where(decisions.c.status != "undone")
        .group_by(decision_members.c.held_id, decisions.c.status)
    )
    if root is not None:
        query = query.where(decision_members.c.held_id.in_(_held_ids(root)))
    last: dict[int, dict[str, int]] = {}
    for held_id, status, event in view.execute(query):
        last.setdefault(held_id, {})[status] = event
    return {
        held_id: Standing(found.get("effective"), found.get("proposed") if found.get("proposed", 0) > found.get("effective", 0) else None)
        for held_id, found in last.items()
    }


def _refold(tx: Transaction, root: int) -> None:
    """Brings the projection of a decision's samples, and the counts of their cases, up to date."""
    members = _members_of(root)
    before = _tally(tx, members)
    known = standings(tx, root)
    alike: dict[Standing, list[int]] = {}
    for held_id in tx.execute(_held_ids(root)).scalars():
        alike.setdefault(known.get(held_id, Standing()), []).append(held_id)
    for standing, ids in alike.items():
        event = None if standing.decision is None else get(tx, standing.decision)
        stands = {
            "decision": standing.decision,
            "proposal": standing.proposal,
            "state": STATES[event.action] if event else "held",
            "new_label": event.label if event else None,
        }
        for start in range(0, len(ids), _MANY):
            tx.execute(update(held).where(held.c.id.in_(ids[start : start + _MANY])).values(**stands))
    after = _tally(tx, members)
    after.subtract(before)  # by difference: recounting a case of 100,000 at each key press would be felt
    for case_id in {case_id for case_id, _ in after}:
        changed = {name: cases.c[name] + n for (of, name), n in after.items() if of == case_id and n}
        if changed:
            tx.execute(update(cases).where(cases.c.id == case_id).values(**changed))


def _tally(tx: Transaction, members: ColumnElement[bool]) -> Counter[tuple[int, str]]:
    """How many of `members` are in each state, and proposed, by case."""
    states = select(held.c.case_id, held.c.state, func.count()).where(members).group_by(held.c.case_id, held.c.state)
    proposed = (
        select(held.c.case_id, literal("proposed"), func.count()).where(members, held.c.proposal.is_not(None)).group_by(held.c.case_id)
    )
    return Counter({(case_id, name): n for query in (states, proposed) for case_id, name, n in tx.execute(query)})
