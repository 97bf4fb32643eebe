"""What the pages ask for and send, as JSON."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from starlette.responses import Response, StreamingResponse

from sanitizer import quarantine
from sanitizer.errors import NotAllowed, UsageError
from sanitizer.quarantine import Decision
from sanitizer.review import commands, draws, measures, members, panels, people, pulse
from sanitizer.review.answers import Answer
from sanitizer.review.commands import Approval, Command, Mark, Undo
from sanitizer.review.visitor import Site, Visitor, may, refused, site
from sanitizer.store import Reader, Transaction
from sanitizer.store.tables import decisions, held

router = APIRouter(prefix="/api", default_response_class=Answer)

Here = Annotated[Site, Depends(site)]
Looks = Annotated[Visitor, Depends(may("look"))]
Decides = Annotated[Visitor, Depends(may("decide"))]
Approves = Annotated[Visitor, Depends(may("approve"))]
Measures = Annotated[Visitor, Depends(may("measure"))]
Exports = Annotated[Visitor, Depends(may("export"))]
Admin = Annotated[Visitor, Depends(may("people"))]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def wanted(
    dataset: str | None = None,
    case: int | None = None,
    cause: str | None = None,
    source: str | None = None,
    label: str | None = None,
    delivery: str | None = None,
    decision: int | None = None,
    draw: int | None = None,
    state: str = "left",
    text: Annotated[str, Query(max_length=200)] = "",
    *,
    marked: bool = False,
) -> members.Wanted:
    """The filters in an address."""
    return members.Wanted(dataset, case, cause, source, label, delivery, decision, draw, state, marked, text)


Wanted = Annotated[members.Wanted, Depends(wanted)]


# --- looking ---------------------------------------------------------------------------------------------------------------


@router.get("/start")
def start(here: Here, who: Looks, dataset: str | None = None) -> Answer:
    """All that the page needs before it shows the first sample."""
    with here.reading() as view:
        rows = [row for row in members.case_rows(view) if dataset in (None, row["dataset"])]
        return Answer(
            {
                "me": _me(who),
                "policy": here.policy.review.model_dump(mode="json"),
                "datasets": sorted(view.execute(select(held.c.dataset).distinct()).scalars())
                if not rows
                else sorted({r["dataset"] for r in rows}),
                "cases": rows,
                "progress": pulse.progress(view, rows, who.account.name),
                "claims": pulse.claimed(view, who.account.name),
                "head": pulse.head(view),
            }
        )


@router.get("/members")
def listing(here: Here, who: Looks, what: Wanted, after: str | None = None, limit: Annotated[int, Query(ge=1, le=200)] = 60) -> Answer:
    """One page of samples."""
    del who
    with here.reading() as view:
        found = members.page(view, what, after=after, limit=limit)
        total = members.total(view, what) if after is None else None
        return Answer(
            {"members": members.brief(view, found.samples), "next": found.next, "total": total, "looked_through": found.looked_through}
        )


@router.get("/details")
def details(here: Here, who: Looks, ids: Annotated[str, Query(max_length=1000)]) -> Answer:
    """Everything about up to 40 samples."""
    del who
    try:
        numbers = [int(part) for part in ids.split(",")]
    except ValueError as error:
        raise UsageError(f"{ids!r} is no list of numbers", subject=ids) from error
    if len(numbers) > 40:
        raise UsageError("at most 40 samples at a time")
    with here.reading() as view:
        return Answer(members.details(view, numbers))


@router.get("/case/{number}")
def case(here: Here, who: Looks, number: int) -> Answer:
    """What is known of a case as a whole."""
    with here.reading() as view:
        one = quarantine.case(view, number)
        rows = members.case_rows(view, [number])
        facets = members.facets(view, members.Wanted(case=number, state="all"))
        mine = draws.open_draw(view, number, who.account.name)
        return Answer(
            {
                "case": rows[0],
                "facets": facets,
                "heat": members.case_heat(view, number),
                "sources": {name: members.source_history(view, one.dataset, name) for name, _ in facets["source"][:6]},
                "offers": draws.offers(rows[0]["left"]),
                "draw": None if mine is None else draws.standing(view, mine),
            }
        )


@router.get("/context")
def context(here: Here, who: Looks, delivery: str) -> Answer:
    """What the trusted side and the delivery looked like."""
    del who
    with here.reading() as view:
        return Answer(quarantine.context(view, delivery))


@router.get("/zoom/{number}")
def zoom(here: Here, who: Looks, number: int) -> Answer:
    """The content of one sample at its largest."""
    del who
    with here.reading() as view:
        shown = quarantine.show(view, number)
        facts = quarantine.context(view, shown.held.delivery)
        return Answer(panels.panel(shown.content, shown.held.columns, facts, side=panels.ZOOM))


@router.get("/pulse")
def since(here: Here, who: Looks, head: int, dataset: str | None = None) -> Answer:
    """What changed after event `head`."""
    with here.reading() as view:
        moved = pulse.since(view, head)
        rows = [row for row in members.case_rows(view) if dataset in (None, row["dataset"])]
        changed = set(moved.pop("cases"))
        return Answer(
            {
                **moved,
                "head": pulse.head(view),
                "claims": pulse.claimed(view, who.account.name),
                "cases": [row for row in rows if row["id"] in changed],
                "progress": pulse.progress(view, rows, who.account.name),
            }
        )


@router.get("/draw/{number}")
def drawn(here: Here, who: Looks, number: int) -> Answer:
    """How a draw stands."""
    del who
    with here.reading() as view:
        return Answer(draws.standing(view, draws.get(view, number)))


@router.get("/proposals")
def proposals(here: Here, who: Looks, dataset: str | None = None) -> Answer:
    """Decisions that wait for a second person, oldest first, and what the visitor may do about each."""
    query = select(decisions).where(decisions.c.status == "proposed").order_by(decisions.c.id).limit(200)
    with here.reading() as view:
        waiting = [Decision.of(row) for row in view.rows(query if dataset is None else query.where(decisions.c.dataset == dataset))]
        out = []
        for event in waiting:
            found = members.page(view, members.Wanted(decision=event.id, state="all"), limit=8)
            out.append(
                members.told(event)
                | {"samples": members.brief(view, found.samples), "own": event.reviewer == who.account.name}
                | {"cases": members.case_rows(view, sorted({sample.case_id for sample in found.samples}))}
            )
        return Answer({"me": _me(who), "proposals": out, "progress": _progress(view, who)})


@router.get("/events")
def events(
    here: Here, who: Looks, before: int | None = None, reviewer: str | None = None, action: str | None = None, dataset: str | None = None
) -> Answer:
    """Events, newest first, 50 at a time."""
    query = select(decisions).order_by(decisions.c.id.desc()).limit(51)
    for column, value in ((decisions.c.reviewer, reviewer), (decisions.c.action, action), (decisions.c.dataset, dataset)):
        if value:
            query = query.where(column == value)
    if before is not None:
        query = query.where(decisions.c.id < before)
    with here.reading() as view:
        rows = [Decision.of(row) for row in view.rows(query)]
        names = sorted(view.execute(select(decisions.c.reviewer).distinct().limit(200)).scalars())
        return Answer(
            {
                "me": _me(who),
                "events": [members.told(event) for event in rows[:50]],
                "next": rows[49].id if len(rows) > 50 else None,
                "reviewers": names,
                "progress": _progress(view, who),
            }
        )


# --- deciding --------------------------------------------------------------------------------------------------------------


class Batch(_Body):
    """Decisions in the order in which they were made."""

    commands: tuple[Command, ...] = Field(min_length=1, max_length=200)


class CaseBody(_Body):
    """A case."""

    case: int


class DrawBody(CaseBody):
    """How many to draw."""

    size: int = Field(ge=1, le=500)


@router.post("/decide")
def decide(here: Here, who: Decides, body: Batch) -> Answer:
    """Carries out decisions; the answer comes when they are durable."""
    with here.transaction() as tx:
        account = _still(tx, who, "decide")
        outcomes = commands.carry_out(tx, body.commands, account, here.policy.review)
        return _done(tx, who, outcomes)


@router.post("/undo")
def undo(here: Here, who: Decides, body: Undo) -> Answer:
    """Takes an event back."""
    with here.transaction() as tx:
        return _done(tx, who, [commands.undo(tx, body, _still(tx, who, "decide"))])


@router.post("/approve")
def approve(here: Here, who: Approves, body: Approval) -> Answer:
    """Agrees with a proposed decision."""
    with here.transaction() as tx:
        return _done(tx, who, [commands.approve(tx, body, _still(tx, who, "approve"))])


@router.post("/mark")
def mark(here: Here, who: Decides, body: Mark) -> Answer:
    """Notes something, or asks for a second person."""
    with here.transaction() as tx:
        return _done(tx, who, [commands.mark(tx, body, _still(tx, who, "decide"))])


@router.post("/draw")
def draw(here: Here, who: Decides, body: DrawBody) -> Answer:
    """Draws samples of a case at random."""
    with here.transaction() as tx:
        one = draws.draw(tx, body.case, body.size, account=_still(tx, who, "decide").name)
        return Answer(draws.standing(tx, one))


@router.post("/claim")
def claim(here: Here, who: Looks, body: CaseBody) -> Answer:
    """Tells others where this person is."""
    with here.transaction() as tx:
        quarantine.case(tx, body.case)
        pulse.claim(tx, body.case, who.account.name)
        return Answer({"ok": True, "claims": pulse.claimed(tx, who.account.name)})


def _still(tx: Transaction, who: Visitor, ability: str) -> people.Account:
    """The account as it is inside this transaction: a role that was taken away a moment ago no longer acts."""
    account = people.get(tx, who.account.name)
    account.must(ability)
    return account


def _done(tx: Transaction, who: Visitor, outcomes: list[dict[str, Any]]) -> Answer:
    rows = members.case_rows(tx)
    first = min((o["event"] for o in outcomes if "event" in o), default=None)
    moved: dict[str, Any] = pulse.since(tx, first - 1) if first is not None else {"samples": [], "cases": [], "reload": False}
    changed = set(moved["cases"])
    return Answer(
        {
            "ok": all(o["ok"] for o in outcomes),
            "outcomes": outcomes,
            "samples": moved["samples"],
            "reload": moved["reload"],
            "cases": [row for row in rows if row["id"] in changed],
            "progress": pulse.progress(tx, rows, who.account.name),
            "head": pulse.head(tx),
        }
    )


# --- people ----------------------------------------------------------------------------------------------------------------


class NewAccount(_Body):
    """An account to make."""

    name: str = Field(max_length=64)
    role: str = Field(max_length=16)
    password: str | None = Field(None, max_length=1000)
    sources: tuple[str, ...] = Field((), max_length=100)


class ChangedAccount(_Body):
    """What to change of an account."""

    role: str | None = Field(None, max_length=16)
    password: str | None = Field(None, max_length=1000)
    sources: tuple[str, ...] | None = Field(None, max_length=100)
    active: bool | None = None


class OwnPassword(_Body):
    """A new password, and the old one as proof that it is really them."""

    old: str = Field(max_length=1000)
    new: str = Field(max_length=1000)


@router.get("/people")
def accounts(here: Here, who: Looks) -> Answer:
    """Accounts for an admin, how reviewers do for approvers and auditors; everybody sees themselves."""
    with here.reading() as view:
        out: dict[str, Any] = {"me": _me(who), "roles": {r: sorted(a) for r, a in people.ROLES.items()}, "progress": _progress(view, who)}
        if "people" in who.account.abilities:
            out["accounts"] = [_account(one) for one in people.listed(view)]
        if "measure" in who.account.abilities:
            out["measures"] = measures.reviewers(view)
            out["agreement"] = measures.agreement(view)
        return Answer(out)


@router.post("/people")
def add(here: Here, who: Admin, body: NewAccount) -> Answer:
    """Makes an account."""
    with here.transaction() as tx:
        actor = _still(tx, who, "people").name
        made = people.add(tx, body.name, body.role, password=body.password, sources=body.sources, actor=actor)
        return Answer({"ok": True, "account": _account(made)})


@router.post("/people/{name}")
def change(here: Here, who: Admin, name: str, body: ChangedAccount) -> Answer:
    """Changes an account."""
    with here.transaction() as tx:
        actor = _still(tx, who, "people").name
        if name == actor and body.role is not None:
            raise NotAllowed("nobody changes their own role: another admin can", subject=name)
        changed = people.change(tx, name, actor=actor, **body.model_dump(exclude_none=True))
        return Answer({"ok": True, "account": _account(changed)})


@router.post("/password")
def password(request: Request, here: Here, who: Looks, body: OwnPassword) -> Answer:
    """Changes one's own password; every session of it ends, this one too."""
    address = request.client.host if request.client else ""
    if here.throttle.wait(who.account.name, address) > 0:
        raise NotAllowed("too many wrong passwords: wait a while, then try again")
    with here.reading() as view:
        known = people.known(view, who.account.name, body.old)
    if known is None:
        here.throttle.wrong(who.account.name, address)
        error = NotAllowed("the old password is not that")
        refused(here, who.account, request, error)
        raise error
    with here.transaction() as tx:
        people.change(tx, who.account.name, actor=who.account.name, password=body.new)
        return Answer({"ok": True})


# --- export ----------------------------------------------------------------------------------------------------------------


@router.get("/export.csv")
def export_csv(here: Here, who: Exports, dataset: str | None = None, state: str | None = None) -> Response:
    """Held samples as a table that no spreadsheet runs."""
    return _file(here, who, "csv", dataset, state)


@router.get("/export.jsonl")
def export_jsonl(here: Here, who: Exports, dataset: str | None = None, state: str | None = None) -> Response:
    """The same, one JSON object a line."""
    return _file(here, who, "jsonl", dataset, state)


def _file(here: Site, who: Visitor, form: str, dataset: str | None, state: str | None) -> Response:
    with here.transaction() as tx:
        _still(tx, who, "export")
        tx.record("review.export", dataset or "all", {"form": form, "state": state or "all"}, actor=who.account.name)
    file = tempfile.TemporaryFile("w+", encoding="utf-8", newline="")  # noqa: SIM115 (closed when the last byte was sent)
    write = quarantine.export_csv if form == "csv" else quarantine.export_jsonl
    with here.reading() as view:
        write(view, file, dataset=dataset, state=state)
    file.seek(0)

    def chunks() -> Iterator[str]:
        with file:
            while chunk := file.read(1 << 16):
                yield chunk

    headers = {"Content-Disposition": f'attachment; filename="quarantine.{form}"'}
    return StreamingResponse(chunks(), media_type="text/csv" if form == "csv" else "application/jsonl", headers=headers)


def _me(who: Visitor) -> dict[str, Any]:
    account = who.account
    return {
        "name": account.name,
        "role": account.role,
        "can": sorted(account.abilities),
        "via": who.via,
        "sources": list(account.sources),
        "has_password": account.has_password,
    }


def _account(one: people.Account) -> dict[str, Any]:
    return {"name": one.name, "role": one.role, "sources": list(one.sources), "active": one.active, "has_password": one.has_password}


def _progress(view: Reader, who: Visitor) -> dict[str, Any]:
    return pulse.progress(view, members.case_rows(view), who.account.name)
