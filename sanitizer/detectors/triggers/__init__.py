"""Triggers in tables: rows that share a rare combination of values and one label, as the trusted rows never do.

A backdoor writes the same few cells into rows that have nothing else in common and gives them one label.  So combinations of
items (a column with a value, or with a window of values) are mined inside each label, and each found combination must explain
itself in three ways, of which the *best* excuse counts:

* *coincidence*: the items are independent, their product happened to come up so often (Poisson deviance);
* *novelty*: one of the values is new in this delivery and the others came with it by chance;
* *structure*: such rows are an honest habit that the trusted rows missed.  Missing it costs an exact binomial tail.  The habit
  costs what such habits cost in these very columns: how far do other combinations of their values stray from independence,
  and do those who carry the combination resemble each other elsewhere?

Carriers that look like rows of other classes to models which never saw the delivery add to the evidence.  What the search has
looked at is paid for by the number of choices of columns and labels, the rest of the chance by a level that honest deliveries
set; where the delivery strays from the trusted rows as a whole, all evidence shrinks (genomic control,
Devlin & Roeder 1999).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sanitizer.detectors.base import Evidence, Group, Kind
from sanitizer.detectors.triggers.excuses import examined
from sanitizer.detectors.triggers.ground import LEAST, Codes, Floats, Ground, Item, Rows, floats
from sanitizer.detectors.triggers.search import finalists
from sanitizer.detectors.triggers.weighing import Weighed
from sanitizer.detectors.triggers.windows import sharpened
from sanitizer.features import Cells, Features

_WORTH = 12.0  # nats of evidence, the search paid for, that an honest delivery reaches once in a thousand
_ROWS = 8000  # mined rows of either side; the found combinations are then applied to all rows


class Triggers:
    """Rare combinations of values under one label, unknown to the trusted rows."""

    name: ClassVar[str] = "backdoor.table"
    kind: ClassVar[Kind] = "group"

    def testify(self, features: Features) -> Evidence:
        """One group per combination."""
        if not features.cells:
            return Evidence.none(self.name, "only tables have columns to hide a combination in", kind=self.kind)
        if not features.labels:
            return Evidence.none(self.name, "there is no label that a combination could stand for", kind=self.kind)
        if features.cold:
            return Evidence.none(self.name, "without trusted rows a rare combination cannot be told from an honest one", kind=self.kind)
        found = features.posteriors
        patterns = mine(
            features.cells, features.y, features.trusted_y, len(features.labels), found.clean_delivered, found.clean_trusted,
            features.rng(self.name),
        )  # fmt: skip
        return Evidence(self.name, self.kind, "backdoor", groups=tuple(_group(pattern, features) for pattern in patterns))


@dataclass(frozen=True, eq=False)
class Pattern:
    """A combination of items and the delivered rows that carry it under one label.

    `trusted` rows carry it under that label, `elsewhere` delivered ones under another; `expected` carriers would be honest;
    `evidence` in nats, `significance` as in `Group`.
    """

    label: int
    items: tuple[Item, ...]
    members: Rows
    trusted: int
    elsewhere: int
    expected: float
    evidence: float
    significance: float


def mine(
    cells: tuple[Cells, ...], y: Codes, trusted_y: Codes, classes: int, proba: Floats | None, trusted_proba: Floats | None,
    rng: np.random.Generator,
) -> list[Pattern]:  # fmt: skip
    """Combinations that are worth telling, surest first.

    `proba` (n, K) and `trusted_proba` (m, K) come from models that learnt from trusted rows only, none of them from the row it
    speaks of; without them the labels of carriers say nothing.
    """
    rows, trusted_rows = _sample(y, rng), _sample(trusted_y, rng)
    if len(rows) < LEAST or not len(trusted_rows):
        return []
    ground = Ground.of(
        cells, rows, trusted_rows, y, trusted_y, classes,
        None if proba is None else proba[rows], None if trusted_proba is None else trusted_proba[trusted_rows],
    )  # fmt: skip
    found = []
    for finalist in finalists(ground):
        judged = examined(ground, finalist)
        if judged.evidence >= _WORTH - np.log(100):
            found.append(sharpened(ground, judged))
    return [_applied(ground, f, cells, y, trusted_y) for f in _peeled(ground, found)]


def _sample(y: Codes, rng: np.random.Generator) -> Rows:
    known = np.flatnonzero(y >= 0)
    return known if len(known) <= _ROWS else np.sort(rng.choice(known, _ROWS, replace=False))


def _peeled(ground: Ground, found: list[Weighed]) -> list[Weighed]:
    """Surest first, each only for carriers that no surer one has explained."""
    taken = np.zeros(ground.size[0], bool)
    kept = []
    for candidate in sorted(found, key=lambda w: -w.evidence):
        fresh = candidate.carriers[~taken[candidate.carriers]]
        if len(fresh) < max(LEAST, 0.5 * len(candidate.carriers)):
            continue
        taken[candidate.carriers] = True
        kept.append(candidate)
    return kept


def _applied(ground: Ground, found: Weighed, cells: tuple[Cells, ...], y: Codes, trusted_y: Codes) -> Pattern:
    """The combination on all rows, mined or not."""
    all_of, all_trusted = np.ones(len(y), bool), np.ones(len(trusted_y), bool)
    for item in found.items:
        cell = cells[item.column]
        all_of &= item.holds(floats(cell.delivered, cell))
        all_trusted &= item.holds(floats(cell.trusted, cell))
    return Pattern(
        label=found.label,
        items=found.items,
        members=np.flatnonzero(all_of & (y == found.label)),
        trusted=int((all_trusted & (trusted_y == found.label)).sum()),
        elsewhere=int((all_of & (y != found.label)).sum()),
        expected=found.expected * len(y) / max(1, ground.size[0]),
        evidence=found.evidence,
        significance=float(min(1.0, 1e-3 * np.exp(_WORTH - found.evidence))),
    )


def _group(pattern: Pattern, features: Features) -> Group:
    cells = [features.cells[item.column] for item in pattern.items]
    said = [_said(cell, item) for cell, item in zip(cells, pattern.items, strict=True)]
    k = len(pattern.members)
    return Group(
        cause="backdoor",
        members=pattern.members,
        significance=pattern.significance,
        reason=(
            f"one of {k} rows with {', '.join(said[:-1])} and {said[-1]}, all labelled {features.labels[pattern.label]}; "
            f"{pattern.trusted} such rows in the trusted release, {pattern.elsewhere} delivered under other labels"
        ),
        columns=tuple(cell.name for cell in cells),
        purity=float(np.clip(1.0 - pattern.expected / max(1, k), 0.0, 1.0)),
    )


def _said(cell: Cells, item: Item) -> str:
    if np.isnan(item.low):
        return f"{cell.name} missing"
    if item.low == item.high:
        return f"{cell.name}={cell.show(item.low)}"
    return f"{cell.name} from {cell.show(item.low)} to {cell.show(item.high)}"
