"""Held samples as the page lists and shows them: filtered, page by page, with everything that speaks for or against each."""

from __future__ import annotations

import hashlib
import json
import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, func, select

from sanitizer.errors import UsageError
from sanitizer.quarantine import Decision, Held, beside, content, context
from sanitizer.quarantine.beside import NEAREST
from sanitizer.quarantine.content import Content
from sanitizer.quarantine.listing import beyond, place
from sanitizer.review import panels
from sanitizer.store.tables import cases, decision_members, decisions, deliveries, draw_members, held, held_content, marks
from sanitizer.store.transaction import Reader

STATES = ("held", "dropped", "released", "relabelled")
_LOOKED_THROUGH = 4_000  # rows that one search request reads; the answer says where to go on
_CHUNK = 400


@dataclass(frozen=True)
class Wanted:
    """What the filters in the address of the page ask for.

    `state` is left (nobody decided or proposed), waiting (a second person must agree), one of `STATES`, or all; `decision` names an event
    whose samples are wanted, `draw` a draw; `text` is looked for in label, source, reason, ids, and the words and cells of the sample.
    """

    dataset: str | None = None
    case: int | None = None
    cause: str | None = None
    source: str | None = None
    label: str | None = None
    delivery: str | None = None
    decision: int | None = None
    draw: int | None = None
    state: str = "left"
    marked: bool = False
    text: str = ""

    def __post_init__(self) -> None:
        if self.state not in ("left", "waiting", "all", *STATES):
            raise UsageError(f"{self.state!r} is no state: left, waiting, all, {', '.join(STATES)}", subject=self.state)

    @property
    def states(self) -> tuple[str, ...]:
        """The states to walk through; each has an index in the order of the listing."""
        return {"left": ("held",), "waiting": STATES, "all": STATES}.get(self.state, (self.state,))

    def where(self) -> list[ColumnElement[bool]]:
        """Everything but the state of the walk."""
        terms: list[ColumnElement[bool]] = []
        named = {"dataset": self.dataset, "case_id": self.case, "cause": self.cause, "source": self.source, "label": self.label}
        for name, value in (named | {"delivery": self.delivery}).items():
            if value is not None:
                terms.append(held.c[name] == value)
        if self.state == "left":
            terms.append(held.c.proposal.is_(None))
        if self.state == "waiting":
            terms.append(held.c.proposal.is_not(None))
        if self.decision is not None:
            terms.append(held.c.id.in_(select(decision_members.c.held_id).where(decision_members.c.decision == self.decision)))
        if self.draw is not None:
            terms.append(held.c.id.in_(select(draw_members.c.held_id).where(draw_members.c.draw == self.draw)))
        if self.marked:
            terms.append(held.c.id.in_(select(marks.c.held_id).where(marks.c.kind == "flag")))
        return terms


@dataclass(frozen=True)
class Found:
    """One page of what was wanted, most suspicious first; `next` goes on after it, `looked_through` counts rows that a search read."""

    samples: tuple[Held, ...]
    next: str | None
    looked_through: int


def page(view: Reader, wanted: Wanted, *, after: str | None = None, limit: int = 60) -> Found:
    """One page; it costs the same however deep it lies."""
    looked = 0
    out: list[Held] = []
    at = after
    needle = wanted.text.strip().casefold()
    while True:
        rows = _walk(view, wanted, at, _CHUNK if needle else limit + 1)
        looked += len(rows)
        for row in _matching(view, rows, needle) if needle else rows:
            if len(out) == limit:
                return Found(tuple(out), place(out[-1]), looked)
            out.append(row)
        if not needle or len(rows) < _CHUNK:
            return Found(tuple(out), None, looked)
        at = place(rows[-1])
        if looked >= _LOOKED_THROUGH:
            return Found(tuple(out), at, looked)


def total(view: Reader, wanted: Wanted) -> int | None:
    """How many there are, exactly; None for a search, which only reading all of them could tell."""
    if wanted.text.strip():
        return None
    query = select(func.count()).select_from(held).where(*wanted.where(), held.c.state.in_(wanted.states))
    return int(view.execute(query).scalar_one())


def facets(view: Reader, wanted: Wanted) -> dict[str, list[list[Any]]]:
    """The labels, sources and states of a case, with how many samples each has."""
    where = [held.c.case_id == wanted.case] if wanted.case is not None else []
    where += [held.c.dataset == wanted.dataset] if wanted.dataset is not None else []
    found: dict[str, Counter[str]] = {"label": Counter(), "source": Counter()}
    pairs = select(held.c.label, held.c.source, func.count()).where(*where).group_by(held.c.label, held.c.source)
    for label, source, n in view.execute(pairs):  # one walk through the case for both
        for name, value in (("label", label), ("source", source)):
            if value is not None:
                found[name][value] += int(n)
    return {
        name: [[value, n] for value, n in sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:40]] for name, counts in found.items()
    }


def _walk(view: Reader, wanted: Wanted, after: str | None, limit: int) -> list[Held]:
    query = select(held).where(*wanted.where()).order_by(held.c.suspicion.desc(), held.c.id.desc()).limit(limit)
    if after is not None:
        query = query.where(beyond(after))
    # one walk along an index for each state, merged: a single query over several of them would sort all their samples
    walks = [view.rows(query.where(held.c.state == state)) for state in wanted.states]
    rows = merge(*walks, key=lambda row: (-row["suspicion"], -row["id"]))
    return [Held.of(row) for row, _ in zip(rows, range(limit), strict=False)]


def _matching(view: Reader, rows: Sequence[Held], needle: str) -> Iterator[Held]:
    kept = content.read(view, [row.id for row in rows])
    for row in rows:
        plain = (str(row.id), row.sample_id, row.label, row.new_label, row.source, row.reason, row.cause)
        if any(needle in text.casefold() for text in plain if text) or needle in _words(kept[row.id]):
            yield row


def _words(kept: Content) -> str:
    names = [c.name for c in kept.schema.columns if not c.shape]
    return "\n".join(str(v) for row in kept.rows.select(names).to_pylist() for v in row.values() if v is not None).casefold()


# --- what one sample looks like ------------------------------------------------------------------------------------------


def brief(view: Reader, rows: Sequence[Held]) -> list[dict[str, Any]]:
    """What the listing shows of each: its state, and its content in small."""
    kept = content.read(view, [row.id for row in rows])
    contexts = _Contexts(view)
    flags = _flags(view, [row.id for row in rows])
    out = []
    for row in rows:
        small = panels.panel(kept[row.id], row.columns, contexts[row.delivery], side=panels.THUMBNAIL)
        small["cells"] = small["cells"][:14]
        if "text" in small:
            small |= {"text": small["text"][:400], "cut": max(0, len(small["text"]) - 400) + small["cut"]}
        out.append(_state(row) | {"panel": small, "flags": flags.get(row.id, [])})
    return out


def details(view: Reader, ids: Sequence[int]) -> dict[str, Any]:
    """Everything about some samples: `samples` by id, and `trusted`, the rows that they are compared with, by sample id."""
    rows = {row["id"]: Held.of(row) for row in view.rows(select(held).where(held.c.id.in_(ids)))}
    missing = sorted(set(ids) - set(rows))
    if missing:
        raise UsageError(f"there is no held sample {missing[0]}", subject=str(missing[0]))
    kept = content.read(view, list(rows))
    contexts = _Contexts(view)
    events, said, digests = _events(view, list(rows)), _marks(view, list(rows)), evidence(view, list(rows))
    near = {row.id: _neighbours(row, contexts[row.delivery]) for row in rows.values()}
    trusted: dict[str, Any] = {}
    for dataset in {row.dataset for row in rows.values()}:
        mine = [row for row in rows.values() if row.dataset == dataset]
        there = beside(view, dataset, {name for row in mine for name in near[row.id][1]})
        for row in mine:
            facts = contexts[row.delivery]
            shown = [name for name in near[row.id][1] if name in there]
            near[row.id] = (near[row.id][0], shown)
            for name in shown:
                # keyed by delivery too: the grey levels of a grid, and the plane of a map, belong to one delivery
                trusted.setdefault(f"{row.delivery}/{name}", {"sample_id": name} | panels.panel(there[name].content, (), facts))
        liked = {row.id: [panels.likeness(kept[row.id], there[name].content) for name in near[row.id][1]] for row in mine}
        for row in mine:
            kind, shown = near[row.id]
            rows_beside = [{"key": f"{row.delivery}/{n}", "likeness": likeness} for n, likeness in zip(shown, liked[row.id], strict=True)]
            near[row.id] = (kind, rows_beside)
    samples = {}
    for row in rows.values():
        facts = contexts[row.delivery]
        votes = [trusted[one["key"]]["label"] for one in near[row.id][1]] if near[row.id][0] == "nearest" else []
        samples[row.id] = _state(row) | {
            "sample_id": row.sample_id,
            "position": row.position,
            "columns": list(row.columns),
            "panel": panels.panel(kept[row.id], row.columns, facts),
            "witnesses": _witnesses(row, facts),
            "beside": {"kind": near[row.id][0], "rows": near[row.id][1]},
            "labels": _likely(row, votes, kept[row.id]),
            "history": [told(event) for event in events.get(row.id, [])],
            "marks": said.get(row.id, []),
            "evidence": digests[row.id],
        }
    return {"samples": samples, "trusted": trusted}


def evidence(view: Reader, ids: Sequence[int]) -> dict[int, str]:
    """A digest of all that is shown for and against each sample: its rows, and every word, number and neighbour of its verdict."""
    query = select(held, held_content.c.sha256).join(held_content, held_content.c.held_id == held.c.id).where(held.c.id.in_(ids))
    names = ("id", "sample_id", "cause", "reason", "p_value", "suspicion", "scores", "columns", "neighbours", "label", "source", "sha256")
    return {
        row["id"]: hashlib.sha256(json.dumps([row[name] for name in names], sort_keys=True).encode()).hexdigest()[:32]
        for row in view.rows(query)
    }


def told(event: Decision) -> dict[str, Any]:
    """An event as the page tells it."""
    return {
        "id": event.id,
        "action": event.action,
        "label": event.label,
        "reviewer": event.reviewer,
        "second": event.second,
        "reason": event.reason,
        "status": event.status,
        "size": event.size,
        "case": event.case_id,
        "dataset": event.dataset,
        "target": event.target,
        "root": event.root,
        "at": event.at.isoformat(),
        "shown": dict(event.shown),
        "ledger": event.ledger_index,
        "needs_second": event.needs_second,
    }


def case_heat(view: Reader, case_id: int) -> dict[str, Any] | None:
    """The trigger of a case of pictures, from up to 48 members and as many trusted rows that stand beside them."""
    query = select(held).where(held.c.case_id == case_id).order_by(held.c.suspicion.desc(), held.c.id.desc()).limit(48)
    rows = [Held.of(row) for row in view.rows(query)]
    if not rows:
        return None
    facts = context(view, rows[0].delivery)
    names = {name for row in rows for name in _neighbours(row, facts)[1]}
    names |= {name for row in rows for name in facts.get("typical", {}).get(row.label or "", ())}
    there = beside(view, rows[0].dataset, names)
    kept = content.read(view, [row.id for row in rows])
    return panels.heat([kept[row.id] for row in rows], [one.content for one in there.values()], facts)


def source_history(view: Reader, dataset: str, source: str) -> dict[str, int]:
    """How many samples of a source are in which state, over all deliveries."""
    where = (held.c.dataset == dataset, held.c.source == source)
    found = {state: int(n) for state, n in view.execute(select(held.c.state, func.count()).where(*where).group_by(held.c.state))}
    # one look into each delivery, instead of a walk through everything that the source ever brought
    one = select(held.c.id).where(held.c.delivery == deliveries.c.digest, held.c.source == source).exists()
    found["deliveries"] = int(
        view.execute(select(func.count()).select_from(deliveries).where(deliveries.c.dataset == dataset, one)).scalar_one()
    )
    return found


class _Contexts(dict[str, dict[str, Any]]):
    """Contexts of deliveries, each read once."""

    def __init__(self, view: Reader) -> None:
        super().__init__()
        self._view = view

    def __missing__(self, delivery: str) -> dict[str, Any]:
        found = context(self._view, delivery)
        self[delivery] = found
        return found


def _state(row: Held) -> dict[str, Any]:
    return {
        "id": row.id,
        "dataset": row.dataset,
        "delivery": row.delivery,
        "case": row.case_id,
        "cause": row.cause,
        "reason": row.reason,
        "p": row.p_value,
        "suspicion": row.suspicion,
        "label": row.label,
        "source": row.source,
        "state": row.state,
        "decision": row.decision,
        "proposal": row.proposal,
        "new_label": row.new_label,
    }


def _neighbours(row: Held, facts: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """The nearest trusted rows; where the verdict names none, some that carry the label of the suspect."""
    if row.neighbours:
        return "nearest", list(row.neighbours[:NEAREST])
    return "typical", list(facts.get("typical", {}).get(row.label or "", ()))[:NEAREST]


def _witnesses(row: Held, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each witness with the share of the delivery that it finds less strange, loudest first."""
    out = []
    for name, score in row.scores.items():
        quantiles = facts.get("witnesses", {}).get(name, [])
        above = bisect_left(quantiles, score) / len(quantiles) if quantiles and score is not None else None
        out.append({"name": name, "score": score, "above": above})
    return sorted(out, key=lambda w: (w["score"] is None, -(w["above"] or 0.0)))


def _likely(row: Held, votes: Sequence[str | None], kept: Content) -> list[dict[str, Any]]:
    """Labels for this sample, likeliest first: those of its neighbours, then the others of the data set."""
    if kept.schema.label is None:
        return []
    counted = Counter(vote for vote in votes if vote is not None)
    known = next(c for c in kept.schema.columns if c.name == kept.schema.label).categories or ()
    names = [name for name, _ in counted.most_common()] + [name for name in known if name not in counted]
    return [{"label": name, "votes": counted[name], "of": len(votes)} for name in names if name != row.label][:200]


def _flags(view: Reader, ids: Sequence[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    for row in view.execute(select(marks.c.held_id, marks.c.kind).where(marks.c.held_id.in_(ids)).order_by(marks.c.id)):
        if row.kind not in found[row.held_id]:
            found[row.held_id].append(row.kind)
    return found


def _marks(view: Reader, ids: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in view.rows(select(marks).where(marks.c.held_id.in_(ids)).order_by(marks.c.id)):
        found[row["held_id"]].append({"kind": row["kind"], "by": row["account"], "text": row["text"], "at": row["at"].isoformat()})
    return found


def _events(view: Reader, ids: Sequence[int]) -> dict[int, list[Decision]]:
    member = decision_members
    query = (
        select(member.c.held_id, decisions)
        .join(decisions, decisions.c.root == member.c.decision)
        .where(member.c.held_id.in_(ids))
        .order_by(decisions.c.id)
    )
    found: dict[int, list[Decision]] = defaultdict(list)
    for row in view.rows(query):
        found[row["held_id"]].append(_decision(row))
    return found


def _decision(row: RowMapping) -> Decision:
    return Decision(**{name: value for name, value in row.items() if name != "held_id"})


def _waiting(view: Reader) -> Counter[int]:
    """How many samples of each case wait for a second person.

    From the few events that wait to their samples: asked for all samples with a proposal, a planner walks through everything that is held.
    """
    events = view.execute(select(decisions.c.id).where(decisions.c.status == "proposed")).scalars().all()
    out: Counter[int] = Counter()
    for start in range(0, len(events), _CHUNK):
        mine = (held.c.proposal.in_(events[start : start + _CHUNK]), held.c.state == "held")
        for case_id, n in view.execute(select(held.c.case_id, func.count()).where(*mine).group_by(held.c.case_id + 0)):
            out[case_id] += int(n)
    return out


def case_rows(view: Reader, ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
    """Cases as the page lists them, by the risk that is left: decided samples no longer count.

    `left + waiting + dropped + released + relabelled == size`; `waiting` are samples that a second person must agree about first.
    """
    query = select(cases) if ids is None else select(cases).where(cases.c.id.in_(ids))
    waiting = _waiting(view)
    out = []
    for row in view.rows(query):
        left = row["held"] - waiting[row["id"]]
        names = ("id", "dataset", "delivery", "name", "cause", "reason", "significance", "size", "dropped", "released", "relabelled")
        risk = row["risk"] * math.log2(1 + left) / math.log2(1 + row["size"])
        out.append({name: row[name] for name in names} | {"left": left, "waiting": waiting[row["id"]], "risk": risk})
    return sorted(out, key=lambda c: (-c["risk"], c["left"] == 0, c["id"]))
