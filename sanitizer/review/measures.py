"""How reviewers do: pace, how often others agreed or took back, and agreement beyond chance where two judged the same sample."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from sqlalchemy import func, select

from sanitizer.store.tables import decision_members, decisions
from sanitizer.store.transaction import Reader

_RECENT = 5_000  # events whose seconds are looked at
_MOST_PAIRS = 50_000
_PLAIN = ("drop", "release", "relabel")


def reviewers(view: Reader) -> list[dict[str, Any]]:
    """One row per person who ever decided."""
    d = decisions.c
    counts = (
        select(d.reviewer, d.action, d.status, d.needs_second, func.count(), func.sum(d.size))
        .where(d.action.in_(_PLAIN))
        .group_by(d.reviewer, d.action, d.status, d.needs_second)
    )
    out: dict[str, dict[str, Any]] = {}
    for reviewer, action, status, needs_second, n, size in view.execute(counts):
        row = out.setdefault(reviewer, _empty(reviewer))
        row["events"] += n
        row["samples"] += int(size) if status != "undone" else 0
        row["taken_back"] += n if status == "undone" else 0
        row[action] += n
        if needs_second:
            row["waiting"] += n if status == "proposed" else 0
            row["agreed"] += n if status == "effective" else 0
    agreements = select(d.reviewer, func.count()).where(d.action == "approve", d.status == "effective").group_by(d.reviewer)
    for reviewer, n in view.execute(agreements):
        out.setdefault(reviewer, _empty(reviewer))["agreements"] = n
    seconds: dict[str, list[float]] = defaultdict(list)
    recent = select(d.reviewer, d.shown).where(d.action.in_(_PLAIN)).order_by(d.id.desc()).limit(_RECENT)
    for reviewer, shown in view.execute(recent):
        if shown.get("seconds"):
            seconds[reviewer].append(float(shown["seconds"]))
    for reviewer, row in out.items():
        row["seconds"] = statistics.median(seconds[reviewer]) if seconds[reviewer] else None
    return sorted(out.values(), key=lambda row: (-row["samples"], row["reviewer"]))


def _empty(reviewer: str) -> dict[str, Any]:
    names = ("events", "samples", "drop", "release", "relabel", "taken_back", "waiting", "agreed", "agreements")
    return {"reviewer": reviewer, "seconds": None} | dict.fromkeys(names, 0)


def agreement(view: Reader) -> list[dict[str, Any]]:
    """For each two people who judged the same samples: how many, and Cohen's kappa of what each said first."""
    member, d = decision_members.c, decisions.c
    plain = d.action.in_(_PLAIN)
    joined = select(member.held_id).join(decisions, d.id == member.decision).where(plain)
    twice = joined.group_by(member.held_id).having(func.count(d.reviewer.distinct()) > 1).limit(_MOST_PAIRS)
    said = (
        select(member.held_id, d.reviewer, d.action, d.label)
        .join(decisions, d.id == member.decision)
        .where(plain, member.held_id.in_(twice))
        .order_by(d.id)
    )
    verdicts: dict[int, dict[str, str]] = defaultdict(dict)
    for held_id, reviewer, action, label in view.execute(said):
        verdicts[held_id].setdefault(reviewer, action if label is None else f"{action} {label}")
    pairs: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for spoken in verdicts.values():
        for a, b in combinations(sorted(spoken), 2):
            pairs[a, b].append((spoken[a], spoken[b]))
    return [
        {"reviewers": [a, b], "samples": len(both), "same": sum(x == y for x, y in both), "kappa": kappa(both)}
        for (a, b), both in sorted(pairs.items())
    ]


def kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Cohen's kappa (1960): agreement beyond what two people would reach who only know how often each answer is given.

    None where both always gave the same single answer: then there is nothing beyond chance to measure.

    >>> kappa([("drop", "drop"), ("drop", "drop"), ("release", "release"), ("release", "drop")])
    0.5
    """
    n = len(pairs)
    same = sum(a == b for a, b in pairs) / n
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    chance = sum(first[word] * second[word] for word in first) / n**2
    return None if chance >= 1 else round((same - chance) / (1 - chance), 4)
