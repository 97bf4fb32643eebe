"""What people ask for: decisions in batches, agreement, undo, notes.  Each is carried out once, on what its author saw, or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement, RowMapping, func, insert, select

from sanitizer import __version__
from sanitizer.errors import NotAllowed, Overtaken, SanitizerError, UsageError
from sanitizer.policy import Review
from sanitizer.quarantine import Decision, decide
from sanitizer.quarantine import approve as agree
from sanitizer.quarantine import undo as take_back
from sanitizer.quarantine.decisions import get
from sanitizer.review import draws, members
from sanitizer.review.people import Account, spelled
from sanitizer.store.tables import commands, decision_members, decisions, deliveries, held, marks
from sanitizer.store.transaction import Reader, Transaction

_MANY = 5_000
_STRICT = Review(second_reviewer_above=0)  # for samples that somebody wants a second person to look at

Words = Annotated[str, Field(min_length=1, max_length=2_000)]
Token = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{16,64}$")]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    token: Token


class Command(_Asked):
    """One decision.

    `members` names samples with the event (0: none) that each of them stood under when the author saw it; `case` instead means everything
    that is left of a case, of which there were `expected`.  `looked` names those whose evidence was on the screen, with its digest.
    """

    action: Literal["drop", "release", "relabel"]
    label: str | None = Field(None, max_length=2_000)
    reason: Words
    members: tuple[tuple[int, int], ...] = Field((), max_length=_MANY)
    case: int | None = None
    expected: int | None = None
    draw: int | None = None
    looked: tuple[tuple[int, str], ...] = Field((), max_length=_MANY)
    screen: str = Field("", max_length=40)
    seconds: float = Field(0.0, ge=0, le=86_400)


class Undo(_Asked):
    """Takes back an event; without `event` the last one of the author that still counts."""

    event: int | None = None
    reason: Words = "taken back"


class Approval(_Asked):
    """Agrees with a proposed decision, as it was when the author saw it."""

    event: int
    reason: Words
    looked: tuple[tuple[int, str], ...] = Field((), max_length=_MANY)


class Mark(_Asked):
    """A note on a sample, or the wish that a second person looks at it."""

    sample: int
    kind: Literal["note", "flag"]
    text: Words


def carry_out(tx: Transaction, asked: Sequence[Command], account: Account, policy: Review) -> list[dict[str, Any]]:
    """One outcome per command, in order; a refused command changes nothing and leaves the others alone."""
    return [_once(tx, one, account, lambda one=one: _decided(tx, one, account, policy)) for one in asked]


def undo(tx: Transaction, asked: Undo, account: Account) -> dict[str, Any]:
    """Takes an event back: one's own, or as an approver anybody's."""

    def act() -> dict[str, Any]:
        target = get(tx, asked.event) if asked.event is not None else last_own(tx, account.name)
        if target is None:
            raise UsageError("there is nothing of yours left to take back")
        if target.reviewer != account.name and "approve" not in account.abilities:
            raise NotAllowed(
                f"event {target.id} is {target.reviewer}'s: its author or an approver can take it back", subject=str(target.id)
            )
        _not_own(tx, account, _members_of(target.root))
        event = take_back(tx, target.id, reviewer=account.name, reason=asked.reason)
        return _made(event) | {"undone": target.id, "undone_action": target.action, "root": target.root}

    return _once(tx, asked, account, act)


def approve(tx: Transaction, asked: Approval, account: Account) -> dict[str, Any]:
    """Agrees with a proposed decision of somebody else."""

    def act() -> dict[str, Any]:
        target = get(tx, asked.event)
        _not_own(tx, account, _members_of(target.root))
        shown = _shown(tx, asked.looked, {"screen": "proposal", "members": target.members})
        return _made(agree(tx, target.id, reviewer=account.name, reason=asked.reason, shown=shown)) | {"root": target.root}

    return _once(tx, asked, account, act)


def mark(tx: Transaction, asked: Mark, account: Account) -> dict[str, Any]:
    """Keeps a note or a flag, and tells the ledger."""

    def act() -> dict[str, Any]:
        row = tx.one(select(held.c.sample_id).where(held.c.id == asked.sample))
        if row is None:
            raise UsageError(f"there is no held sample {asked.sample}", subject=str(asked.sample))
        facts = {"held": asked.sample, "sample": row["sample_id"], "text": asked.text}
        index = tx.record(f"review.{asked.kind}", f"held/{asked.sample}", facts, actor=account.name)
        number = int(tx.execute(select(func.coalesce(func.max(marks.c.id), 0))).scalar_one()) + 1
        values = {"id": number, "held_id": asked.sample, "kind": asked.kind, "account": account.name, "text": asked.text}
        tx.execute(insert(marks), values | {"ledger_index": index, "at": tx.now})
        return {"mark": number}

    return _once(tx, asked, account, act)


def last_own(view: Reader, name: str) -> Decision | None:
    """The last event of a person that can be taken back and still counts."""
    mine = (decisions.c.reviewer == name, decisions.c.action != "undo", decisions.c.status != "undone")
    row = view.one(select(decisions).where(*mine).order_by(decisions.c.id.desc()).limit(1))
    return None if row is None else Decision.of(row)


def _once(tx: Transaction, asked: _Asked, account: Account, act: Any) -> dict[str, Any]:
    """Carries out what was not carried out before under this token; the outcome of an exact repetition is that of the first time."""
    body = f"sha256:{hashlib.sha256(asked.model_dump_json().encode()).hexdigest()}"
    known = tx.one(select(commands).where(commands.c.token == asked.token))
    if known is not None and (known["account"], known["body"]) == (account.name, body):
        return {**known["outcome"], "repeated": True}
    try:
        _fresh(known)
        outcome = {"ok": True, **act()}
    except NotAllowed as error:
        tx.record(
            "review.refused",
            account.name,
            {"asked": type(asked).__name__.lower(), "code": error.code, "why": error.message},
            actor=account.name,
        )
        return _refused(asked, error)
    except UsageError as error:
        return _refused(asked, error)
    outcome["token"] = asked.token
    tx.execute(insert(commands), {"token": asked.token, "account": account.name, "body": body, "outcome": outcome, "at": tx.now})
    return outcome


def _fresh(known: RowMapping | None) -> None:
    if known is not None:
        raise NotAllowed(f"this request repeats the token of another one, of {known['account']}: nothing was done", subject=known["token"])


def _refused(asked: _Asked, error: SanitizerError) -> dict[str, Any]:
    return {**error.as_dict(), "token": asked.token}


def _decided(tx: Transaction, asked: Command, account: Account, policy: Review) -> dict[str, Any]:
    whole = asked.case is not None
    if whole == bool(asked.members):
        raise UsageError("name either samples or one case")
    where = _undecided(asked) if whole else held.c.id.in_([number for number, _ in asked.members])
    _not_own(tx, account, where)
    _as_seen(tx, asked, where)
    facts = draws.apply(tx, asked.draw, asked.case or 0, asked.action, account=account.name) if asked.draw is not None else None
    shown = _shown(tx, asked.looked, {"screen": asked.screen, "seconds": round(asked.seconds, 2)} | ({"audit": facts} if facts else {}))
    flagged = tx.one(select(marks.c.id).join(held, held.c.id == marks.c.held_id).where(where, marks.c.kind == "flag").limit(1))
    event = decide(
        tx,
        action=asked.action,
        label=asked.label,
        reviewer=account.name,
        reason=asked.reason,
        ids=None if whole else [number for number, _ in asked.members],
        case_id=asked.case,
        shown=shown,
        policy=policy if flagged is None else _STRICT.model_copy(update={"second_reviewer_causes": policy.second_reviewer_causes}),
    )
    if asked.draw is not None:
        draws.used(tx, asked.draw, event.id)
    return _made(event)


def _as_seen(tx: Transaction, asked: Command, where: ColumnElement[bool]) -> None:
    """Raises `Overtaken` unless everything still stands as the author saw it."""
    if asked.case is not None:
        left = int(tx.execute(select(func.count()).select_from(held).where(where)).scalar_one())
        if left != asked.expected:
            raise Overtaken(f"{left} samples of this case are undecided by now, not {asked.expected}: look again", subject=str(asked.case))
        return
    seen = dict(asked.members)
    rows = tx.execute(select(held.c.id, held.c.decision, held.c.proposal).where(where)).all()
    moved = [row for row in rows if (row.proposal or row.decision or 0) != seen[row.id]]
    if moved:
        event = moved[0].proposal or moved[0].decision
        what = "took a decision back" if event is None else _by(tx, event)
        raise Overtaken(f"sample {moved[0].id}: meanwhile {what}; nothing was overwritten", subject=str(moved[0].id))


def _by(tx: Transaction, event: int) -> str:
    found = get(tx, event)
    words = {"drop": "dropped it", "release": "released it", "relabel": f"relabelled it {found.label}"}
    return f"{found.reviewer} {words.get(found.action, found.action)}"


def _undecided(asked: Command) -> ColumnElement[bool]:
    return (held.c.case_id == asked.case) & (held.c.state == "held") & held.c.proposal.is_(None)


def _members_of(root: int) -> ColumnElement[bool]:
    return held.c.id.in_(select(decision_members.c.held_id).where(decision_members.c.decision == root))


def _not_own(tx: Transaction, account: Account, where: ColumnElement[bool]) -> None:
    """Raises `NotAllowed` when this person is the source of one of the samples, or works for who delivered it."""
    query = (
        select(held.c.source, deliveries.c.source.label("deliverer")).join(deliveries, deliveries.c.digest == held.c.delivery).distinct()
    )
    for row in tx.execute(query.where(where)):
        for source in (row.source, row.deliverer):
            if source is not None and spelled(source) in account.identities:
                raise NotAllowed(
                    f"{account.name} is, or works for, {source}, the source of some of these samples, and cannot decide on them"
                )


def _shown(tx: Transaction, looked: Iterable[tuple[int, str]], more: Mapping[str, Any]) -> dict[str, Any]:
    """What was on the screen; raises `Overtaken` when that is not the evidence that there is."""
    claimed = dict(looked)
    true = members.evidence(tx, list(claimed)) if claimed else {}
    wrong = next((number for number, digest in claimed.items() if true.get(number) != digest), None)
    if wrong is not None:
        raise Overtaken(f"the evidence about sample {wrong} is not what was on the screen: load it again", subject=str(wrong))
    total = hashlib.sha256("".join(f"{number} {claimed[number]}\n" for number in sorted(claimed)).encode()).hexdigest()
    return {"app": __version__, "looked_at": len(claimed), "evidence": f"sha256:{total}", **more}


def _made(event: Decision) -> dict[str, Any]:
    return {
        "event": event.id,
        "status": event.status,
        "size": event.size,
        "case": event.case_id,
        "action": event.action,
        "ledger": event.ledger_index,
    }
