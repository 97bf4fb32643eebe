"""Looking at what is held: by case, filtered, page by page, one sample with everything known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, RowMapping, and_, or_, select

from sanitizer.errors import UsageError
from sanitizer.quarantine import content
from sanitizer.quarantine.content import Content
from sanitizer.quarantine.decisions import Decision, history
from sanitizer.store.tables import cases as cases_table
from sanitizer.store.tables import held as table
from sanitizer.store.transaction import Reader

State = Literal["held", "dropped", "released", "relabelled"]


@dataclass(frozen=True)
class Held:
    """One held sample, without its rows.

    `state` is held, dropped, released or relabelled; `decision` the event that made it so, `proposal` one that waits for a second person.
    `neighbours` are sample ids of the nearest trusted samples, `columns` the names that weigh most, `scores` witness -> score or None.
    """

    id: int
    dataset: str
    delivery: str
    case_id: int
    sample_id: str
    position: int
    cause: str
    suspicion: float
    p_value: float | None
    reason: str
    source: str | None
    label: str | None
    scores: Mapping[str, float | None]
    columns: tuple[str, ...]
    neighbours: tuple[str, ...]
    state: str
    decision: int | None
    proposal: int | None
    new_label: str | None

    @classmethod
    def of(cls, row: RowMapping) -> Held:
        """From a row of the table."""
        return cls(**{**row, "columns": tuple(row["columns"]), "neighbours": tuple(row["neighbours"])})


@dataclass(frozen=True)
class Case:
    """Held samples with one cause, and how many of them are in which state (`held + dropped + released + relabelled == size`)."""

    id: int
    dataset: str
    delivery: str
    name: str
    cause: str
    reason: str
    significance: float | None
    risk: float
    size: int
    held: int
    dropped: int
    released: int
    relabelled: int
    proposed: int
    at: datetime

    @classmethod
    def of(cls, row: RowMapping) -> Case:
        """From a row of the table."""
        return cls(**row)


@dataclass(frozen=True)
class Page:
    """Some held samples, most suspicious first; `next` continues after them, None at the end."""

    samples: tuple[Held, ...]
    next: str | None


@dataclass(frozen=True)
class Shown:
    """One held sample with its rows, its case and every event about it."""

    held: Held
    case: Case
    content: Content
    history: tuple[Decision, ...]


def ls(
    view: Reader,
    *,
    dataset: str | None = None,
    case_id: int | None = None,
    cause: str | None = None,
    source: str | None = None,
    delivery: str | None = None,
    label: str | None = None,
    state: State | None = None,
    after: str | None = None,
    limit: int = 50,
) -> Page:
    """One page of held samples, most suspicious first.

    `after` is `Page.next` of the page before; a page costs the same however deep it lies.
    """
    wanted = {"case_id": case_id, "cause": cause, "source": source, "delivery": delivery, "label": label}
    query = select(table).order_by(table.c.suspicion.desc(), table.c.id.desc()).limit(limit + 1)
    for name, value in wanted.items():
        if value is not None:
            query = query.where(table.c[name] == value)
    if after is not None:
        query = query.where(beyond(after))
    # one walk along an index for each data set and state, merged: a single query over several of them would sort all their samples
    datasets = [dataset] if dataset is not None else list(view.execute(select(cases_table.c.dataset).distinct()).scalars())
    states = [state] if state is not None else list(get_args(State))
    walks = [view.rows(query.where(table.c.dataset == d, table.c.state == s)) for d in datasets for s in states]
    found = [Held.of(row) for row in islice(merge(*walks, key=lambda row: (-row["suspicion"], -row["id"])), limit + 1)]
    last = found[limit - 1] if len(found) > limit else None
    return Page(tuple(found[:limit]), None if last is None else place(last))


def place(row: Held) -> str:
    """Where a listing by suspicion stands after `row`, as the word that continues it."""
    return f"{row.suspicion.hex()}~{row.id}"


def beyond(after: str) -> ColumnElement[bool]:
    """What a listing by suspicion holds after a `place`; raises `UsageError` for a word that is none."""
    try:
        suspicion, _, held_id = after.partition("~")
        at, number = float.fromhex(suspicion), int(held_id)
    except ValueError as error:
        raise UsageError(f"{after!r} is not a page of this listing", subject=after) from error
    # the first, redundant term lets the index begin at the right place
    return and_(table.c.suspicion <= at, or_(table.c.suspicion < at, table.c.id < number))


def show(view: Reader, held_id: int) -> Shown:
    """Everything known about one held sample; raises `UsageError` when there is none of that number."""
    row = view.one(select(table).where(table.c.id == held_id))
    if row is None:
        raise UsageError(f"there is no held sample {held_id}: `sanitizer quarantine ls` lists them", subject=str(held_id))
    rows = content.read(view, [held_id])[held_id]
    return Shown(Held.of(row), case(view, row["case_id"]), rows, tuple(history(view, held_id)))


def case(view: Reader, case_id: int) -> Case:
    """One case; raises `UsageError` when there is none of that number."""
    row = view.one(select(cases_table).where(cases_table.c.id == case_id))
    if row is None:
        raise UsageError(f"there is no case {case_id}: `sanitizer quarantine ls` lists them", subject=str(case_id))
    return Case.of(row)


def cases(view: Reader, *, dataset: str | None = None, delivery: str | None = None, undecided: bool = False) -> list[Case]:
    """Cases, riskiest first; their counts are kept, not counted."""
    query = select(cases_table).order_by(cases_table.c.risk.desc(), cases_table.c.id)
    if dataset is not None:
        query = query.where(cases_table.c.dataset == dataset)
    if delivery is not None:
        query = query.where(cases_table.c.delivery == delivery)
    if undecided:
        query = query.where(cases_table.c.held > 0)
    return [Case.of(row) for row in view.rows(query)]


def counts(view: Reader, *, dataset: str | None = None) -> dict[str, Any]:
    """How many samples are in each state, over all cases."""
    found = cases(view, dataset=dataset)
    return {name: sum(getattr(c, name) for c in found) for name in ("size", "held", "dropped", "released", "relabelled", "proposed")}
