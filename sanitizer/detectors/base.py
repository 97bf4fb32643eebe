"""What a witness is, and what it says: `Evidence`.

A witness reads `Features` and answers with one `Evidence`.  Four kinds:

* `row`: fitted on trusted rows, scores one sample; the score does not depend on which other rows came along;
* `batch`: learns from the delivery too; trusted rows are scored out of fold by the same procedure, to calibrate on;
* `group`: names sets of rows with one cause and one significance each;
* `delivery`: speaks of the whole (drift); no row is accused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sanitizer.errors import printable
from sanitizer.features import Features

Kind = Literal["row", "batch", "group", "delivery"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Why:
    """What a person can check about one accused row.

    `sentence` starts in lower case and has no full stop; `neighbours` are positions of the nearest trusted rows, nearest
    first; `columns` are the names of the columns that weigh most, heaviest first.
    """

    sentence: str
    neighbours: tuple[int, ...] = ()
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Group:
    """Rows of the delivery with one cause.

    `members` are sorted positions in the delivery.  `significance` is the probability that an honest delivery shows this
    witness any group at least so strong (the witness has paid for everything it looked at).  `purity` is the estimated
    share of the members that belong to the cause.  `rank` orders the members' suspicion within the group (higher = surer,
    same length as `members`; none: all alike).  A group that is worth telling but must not condemn its rows
    (a supplier, an honest habit) has `quarantine=False`.
    """

    cause: str
    members: NDArray[np.int64]
    significance: float
    reason: str
    columns: tuple[str, ...] = ()
    purity: float = 1.0
    rank: Floats | None = None
    quarantine: bool = True


@dataclass(frozen=True)
class SourceFinding:
    """What is known of one supplier; `p_value` is corrected for the number of suppliers."""

    source: str
    accused: bool
    suspicious: int
    p_value: float


@dataclass(frozen=True, eq=False)
class Evidence:
    """What one witness says of one delivery of n rows (ratings: n users).

    `scores` (n,): higher = stranger, NaN where the witness could not speak.  `reference` (m,): scores of the trusted rows, in
    their order, by the same procedure (none on a cold start).  `p_values` (n,): how often an honest row scores at least as
    high; NaN where unknown.  `calibration` is the number of honest rows behind the p-values, one for all or one for each
    (infinite where a model stands in for counting): the decision needs it to bound the error of the p-values themselves.
    `odds` (n,): logarithm of the odds that a row is poisoned rather than honest, where the witness has a law of its own; the
    decision then takes its p-values as they are, and estimates odds for everybody else.  `within` names the witness that has
    weighed this one's view already: the scores are shown, not heard again.  `explain(i)` says why row i is strange.
    `significance` and `reason` belong to delivery witnesses.  `error` is set when the witness broke, `silent` when it had
    nothing to judge (no labels, no trusted rows); either is named in the report.
    """

    witness: str
    kind: Kind
    cause: str
    scores: Floats | None = None
    reference: Floats | None = None
    p_values: Floats | None = None
    calibration: float | Floats = float("inf")
    odds: Floats | None = None
    within: str = ""
    groups: tuple[Group, ...] = ()
    sources: tuple[SourceFinding, ...] = ()
    explain: Callable[[int], Why] | None = None
    significance: float | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()
    error: str = ""
    silent: str = ""
    version: str = "1"

    @classmethod
    def failed(cls, witness: str, error: BaseException, *, kind: Kind = "row") -> Evidence:
        """The witness broke: a value, until someone who knows the policy judges it."""
        return cls(witness, kind, "", error=printable(f"{type(error).__name__}: {error}"))

    @classmethod
    def none(cls, witness: str, why: str, *, kind: Kind = "row") -> Evidence:
        """The witness had nothing to judge, and says why."""
        return cls(witness, kind, "", silent=why)


@runtime_checkable
class Witness(Protocol):
    """One detector.  Stateless: the same features give the same evidence, bit for bit."""

    name: ClassVar[str]
    kind: ClassVar[Kind]

    def testify(self, features: Features) -> Evidence:
        """Judge the delivery against the trusted rows, or by itself where there are none."""
        ...
