"""Evidence and a policy become verdicts: a statistical promise for every sample."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import rankdata

from sanitizer.detectors import Evidence, Group
from sanitizer.detectors.calibration import conformal_p, discoveries, fused, log_odds, searched, smooth_p
from sanitizer.errors import DetectorFailed
from sanitizer.features import codes, units
from sanitizer.policy import Detect, Policy
from sanitizer.samples import UnverifiedSamples

Floats = NDArray[np.float64]

_FRAMES = ("table", "evidence", "cases", "sources")


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What was decided about one delivery.

    `table` has one row per sample in the order of the samples (ratings: one per user), with columns `sample_id` (str),
    `suspicion` (float, higher = more suspicious), `action` (`accept` | `quarantine`), `cause` (str, `""` when accepted),
    `p_value` (float or NaN), `reason` (one sentence or `""`), `case_id` (str, `""` = none), `neighbours` (list of the sample
    ids of the nearest trusted rows) and `columns` (list of the column names that weigh most).
    `evidence` has the same index and one column of scores per row or batch witness, NaN where it could not speak.
    `cases` has `case_id, cause, size, significance, reason, members` (positions in `table`).
    `sources` is indexed by source, with `accused` (bool), `samples`, `suspicious`, `p_value`.
    Law: held deliveries accuse no row; every sample of the delivery has exactly one verdict.
    """

    table: pd.DataFrame
    evidence: pd.DataFrame
    cases: pd.DataFrame
    sources: pd.DataFrame
    held: bool = False
    held_reason: str = ""
    unproven: bool = False
    failed: dict[str, str] = field(default_factory=dict)
    expected_recall: dict[str, float] = field(default_factory=dict)
    power: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    q: float = 0.1
    seed: int = 0
    detectors: dict[str, str] = field(default_factory=dict)

    @property
    def quarantined(self) -> int:
        """How many samples are held back."""
        return int((self.table["action"] == "quarantine").sum())

    def with_failed_rows(self, failures: Mapping[int, Sequence[str]]) -> Verdicts:
        """The same verdicts, with the rows at these positions quarantined because they fail their expectations."""
        if not failures:
            return self
        table = self.table.copy()
        rows = sorted(failures)
        fresh = [i for i in rows if table["action"].iloc[i] == "accept"]
        table.loc[table.index[rows], "action"] = "quarantine"
        table.loc[table.index[fresh], "cause"] = "expectation"
        table.loc[table.index[fresh], "reason"] = ["; ".join(failures[i]) for i in fresh]
        table.loc[table.index[rows], "suspicion"] += 1.0
        return replace(self, table=table)

    def to_arrow(self) -> pa.Table:
        """One table of one binary column: the four frames as Arrow streams; everything else as JSON in the metadata."""
        streams = [_stream(getattr(self, name)) for name in _FRAMES]
        rest: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _FRAMES}
        meta = {b"verdicts": json.dumps(rest, sort_keys=True).encode()}
        return pa.table({"frame": list(_FRAMES), "stream": pa.array(streams, pa.binary())}).replace_schema_metadata(meta)

    @classmethod
    def from_arrow(cls, table: pa.Table) -> Verdicts:
        """The inverse of `to_arrow`."""
        rest: dict[str, Any] = json.loads(table.schema.metadata[b"verdicts"])
        rest["notes"] = tuple(rest["notes"])
        frames = dict(zip(table["frame"].to_pylist(), table["stream"].to_pylist(), strict=True))
        rest |= {name: _frame(frames[name]) for name in _FRAMES}
        return cls(**rest)


def _stream(frame: pd.DataFrame) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pandas(frame)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _frame(stream: bytes) -> pd.DataFrame:
    with pa.ipc.open_stream(stream) as reader:
        frame: pd.DataFrame = reader.read_pandas()
    return frame


_GROUP_LEVEL = 1e-3  # family-wise: an honest delivery loses a group of rows once in a thousand
_GROUP_PRIOR = 0.1  # odds that a delivery holds a group of one kind, before any is looked at
_UNCALIBRATED = -20.0  # log odds where nothing honest is known: such scores only order what is equal otherwise
_FARTHEST = 50.0  # log odds beyond which sureness has no meaning
_LEAST_KNOWN = 10  # trusted rows of a class or source from which on its own honest rate is known
_KIN = 0.02  # honest rows that a class's or source's likeness to all the others is worth


def decide(evidence: list[Evidence], samples: UnverifiedSamples, trusted: UnverifiedSamples | None, policy: Policy) -> Verdicts:
    """Verdicts on every sample: groups first, then rows.

    Rows are accused so that the share of honest rows among them exceeds `policy.detect.q` with probability at most
    1 - `policy.detect.confidence`; classes and sources whose own trusted rows look as strange are left to people.  `suspicion`
    is the logarithm of the odds that a row is poisoned, for whatever cause.  Raises `DetectorFailed` when a witness that the
    policy requires did not speak.
    """
    _require(evidence, policy.detect)
    cold = trusted is None or not len(trusted)
    index = units(samples)
    court = _Court(len(index), _strata(samples, trusted))
    for found in evidence:
        for group in found.groups:
            court.hear_group(group)
    heard = [e for e in evidence if e.scores is not None and not e.within]
    for found in heard:
        if found.odds is not None:
            court.hear_law(found, policy.detect)
    others = [e for e in heard if e.odds is None]
    for cause in dict.fromkeys(e.cause for e in others):
        court.hear_rows(cause, [e for e in others if e.cause == cause], policy.detect)
    return Verdicts(
        table=court.table(evidence, samples, trusted, index),
        evidence=pd.DataFrame({e.witness: e.scores for e in evidence if e.scores is not None}, index=index),
        cases=court.case_table(),
        sources=_sources(evidence, samples, court.quarantined),
        unproven=cold,
        failed={e.witness: e.error or e.silent for e in evidence if e.error or e.silent},
        notes=(*(note for e in evidence for note in e.notes), *court.notes),
        q=policy.detect.q,
        seed=policy.detect.seed,
        detectors={e.witness: e.version for e in evidence},
    )


def _require(evidence: list[Evidence], detect: Detect) -> None:
    spoke = {e.witness for e in evidence if not e.error and not e.silent}
    for name in detect.required:
        if name not in spoke:
            why = next((e.error or e.silent for e in evidence if e.witness == name), "no such witness")
            raise DetectorFailed(f"the policy requires the witness {name}, which did not speak: {why}", subject=name)


@dataclass(frozen=True, eq=False)
class _Stratum:
    """Rows that share a label or a source: what they are, and the code of every delivered and trusted row (-1: none)."""

    what: str
    names: tuple[str, ...]
    delivered: NDArray[np.int32]
    trusted: NDArray[np.int32]


def _strata(samples: UnverifiedSamples, trusted: UnverifiedSamples | None) -> list[_Stratum]:
    if samples.schema.modality == "ratings":
        return []
    found = []
    for what, name in (("label", samples.schema.label), ("source", samples.schema.source)):
        if name is not None:
            mine, theirs, names = codes(samples, trusted, name)
            found.append(_Stratum(what, names, mine, theirs))
    return found


class _Court:
    """What is decided about n rows so far."""

    def __init__(self, n: int, strata: list[_Stratum]) -> None:
        self.quarantined = np.zeros(n, bool)
        self.suspicion = np.full(n, -_FARTHEST)
        self.p_value = np.full(n, np.nan)
        self.cause = np.full(n, "", object)
        self.witness: list[Evidence | None] = [None] * n
        self.case = np.full(n, -1)
        self.cases: list[Group] = []
        self.notes: list[str] = []
        self._strata = strata

    def hear_group(self, group: Group) -> None:
        """Groups that an honest delivery would hardly show are cases; their members are quarantined together."""
        if group.quarantine and len(group.members):
            self._suspect(_group_odds(group), group.members)
        if group.significance > _GROUP_LEVEL:
            return
        self.cases.append(group)
        if not group.quarantine:
            return
        mine = group.members[~self.quarantined[group.members]]
        self.quarantined[mine] = True
        self.cause[mine] = group.cause
        self.case[mine] = len(self.cases) - 1
        self.p_value[group.members] = np.fmin(self.p_value[group.members], group.significance)

    def hear_law(self, found: Evidence, detect: Detect) -> None:
        """A witness with a law of its own: its p-values and odds are taken as they are."""
        assert found.odds is not None
        p = np.full(len(self.quarantined), np.nan) if found.p_values is None else found.p_values
        free = np.where(self._taken_for_else(found.cause), np.nan, p)
        accused = discoveries(free, found.calibration, q=detect.q, confidence=searched(detect.confidence))
        with np.errstate(invalid="ignore"):
            accused &= found.odds > 0  # the bound is on the share of all; each must be likelier than not by itself
        self._accuse(found.cause, accused, p, found.scores, found.reference, [found])
        self._suspect(found.odds)

    def hear_rows(self, cause: str, family: list[Evidence], detect: Detect) -> None:
        """Fuses the witnesses of one cause, calibrates the fused score on the trusted rows, accuses what the bound allows."""
        calibrated = [e for e in family if e.reference is not None and np.isfinite(e.reference).any()]
        if not calibrated:
            said = [e.scores for e in family if e.scores is not None and not np.isnan(e.scores).all()]
            if said:
                own = fused(said, said)[1]
                self._suspect(_UNCALIBRATED - np.log(conformal_p(own, own)))
            return
        scores, reference = fused([e.scores for e in calibrated], [e.reference for e in calibrated])  # type: ignore[misc]  # filtered above
        p = np.where(self._taken_for_else(cause), np.nan, conformal_p(scores, reference))
        accused = discoveries(p, float(np.isfinite(reference).sum()), q=detect.q, confidence=detect.confidence)
        self._accuse(cause, accused, p, scores, reference, calibrated)
        self._suspect(log_odds(smooth_p(scores, reference)))

    def _taken_for_else(self, cause: str) -> NDArray[np.bool_]:
        """Rows that a group of another cause holds already: they are no discovery of this one."""
        out: NDArray[np.bool_] = self.quarantined & (self.cause != cause)
        return out

    def _accuse(
        self, cause: str, accused: NDArray[np.bool_], p: Floats, scores: Floats | None, reference: Floats | None, who: list[Evidence]
    ) -> None:
        if accused.any() and scores is not None:
            for stratum in self._strata:
                accused = self._spared(accused, stratum, p, scores, reference)
        better = (np.isnan(self.p_value) | (p < self.p_value)) & ~np.isnan(p)
        self.p_value = np.where(better, p, self.p_value)
        fresh = accused & ~self.quarantined
        self.cause[fresh] = cause
        for i in np.flatnonzero(fresh).tolist():
            self.witness[i] = max((e for e in who if not np.isnan(_at(e, i))), key=lambda e: -_p_at(e, i))
        self.quarantined |= accused

    def _spared(
        self, accused: NDArray[np.bool_], stratum: _Stratum, p: Floats, scores: Floats, reference: Floats | None
    ) -> NDArray[np.bool_]:
        """Without the rows of classes and sources among whose accused rows at least every second may be honest.

        The honest rate of one is that of its own trusted rows, drawn towards the rate of all.  Where nothing is trusted, or
        trusted rows tell no sources, most rows of each must stand.
        """
        out = accused.copy()
        rate, edge = float(np.nanmax(p[accused])), float(np.nanmin(scores[accused]))
        for code in np.unique(stratum.delivered[accused & (stratum.delivered >= 0)]).tolist():
            mine = stratum.delivered == code
            taken, size = int((accused & mine).sum()), int(mine.sum())
            known = stratum.trusted == code if reference is not None and len(stratum.trusted) == len(reference) else np.zeros(0, bool)
            heard = int((known & np.isfinite(reference)).sum()) if reference is not None and len(known) else 0
            with np.errstate(invalid="ignore"):
                seen = int((known & (reference >= edge)).sum()) if reference is not None and heard else 0
            if heard >= _LEAST_KNOWN:
                honest = size * (_KIN + seen) / (_KIN / max(rate, 1e-12) + heard)
            elif stratum.what == "label" and reference is not None:
                honest = size * (seen + 0.5) / (heard + 1.0)  # Jeffreys: a class that trusted rows do not know may be anything
            else:
                honest = size * (1.0 if taken > 0.5 * size else rate)
            if honest >= 0.5 * taken:
                out &= ~mine
                name = stratum.names[code]
                self.notes.append(
                    f"{taken} of the {size} rows of {stratum.what} {name} look wrong, but trusted rows of that {stratum.what} "
                    "are too few or look alike: left to people"
                )
        return out

    def _suspect(self, odds: Floats, rows: NDArray[np.int64] | slice = slice(None)) -> None:
        """Adds odds of one more cause: causes exclude each other, so their odds against honesty add up."""
        odds = np.nan_to_num(odds, nan=-_FARTHEST)
        self.suspicion[rows] = np.clip(np.logaddexp(self.suspicion[rows], odds), -_FARTHEST, _FARTHEST)

    def table(
        self, evidence: list[Evidence], samples: UnverifiedSamples, trusted: UnverifiedSamples | None, index: pd.Index
    ) -> pd.DataFrame:
        """The verdict table."""
        n = len(index)
        by_user = samples.schema.modality == "ratings"
        ids = [f"user:{user}" for user in index] if by_user else samples.sample_ids
        known = [] if trusted is None or by_user or not self.quarantined.any() else trusted.sample_ids
        reason, neighbours, columns = [""] * n, [[] for _ in range(n)], [[] for _ in range(n)]  # type: list[str], list[list[str]], list[list[str]]
        for i in np.flatnonzero(self.quarantined).tolist():
            if self.case[i] >= 0:
                group = self.cases[self.case[i]]
                reason[i], columns[i] = group.reason, list(group.columns)
            spoken = self.witness[i] or next((e for e in evidence if e.cause == self.cause[i] and e.explain is not None), None)
            if spoken is not None and spoken.explain is not None:
                why = spoken.explain(i)
                reason[i] = reason[i] or why.sentence
                columns[i] = columns[i] or list(why.columns)
                neighbours[i] = [known[j] for j in why.neighbours] if known else []
        return pd.DataFrame(
            {
                "sample_id": pd.Series(ids, index=index, dtype="str"),
                "suspicion": self.suspicion,
                "action": np.where(self.quarantined, "quarantine", "accept"),
                "cause": pd.Series(self.cause.tolist(), index=index, dtype="str"),
                "p_value": self.p_value,
                "reason": pd.Series(reason, index=index, dtype="str"),
                "case_id": pd.Series([_case_id(c) for c in self.case], index=index, dtype="str"),
                "neighbours": pd.Series(neighbours, index=index, dtype=object),
                "columns": pd.Series(columns, index=index, dtype=object),
            },
            index=index,
        )

    def case_table(self) -> pd.DataFrame:
        """One row per case."""
        return pd.DataFrame(
            {
                "case_id": [_case_id(i) for i in range(len(self.cases))],
                "cause": [g.cause for g in self.cases],
                "size": [len(g.members) for g in self.cases],
                "significance": [g.significance for g in self.cases],
                "reason": [g.reason for g in self.cases],
                "members": [g.members.tolist() for g in self.cases],
            }
        )


def _group_odds(group: Group) -> Floats:
    """Log odds of each member: that the group is real (its Bayes factor is at most 1 / (-e p ln p), Sellke et al. 2001), and pure.

    The members' own rank moves them by up to one, so that the surest come first.
    """
    p = float(np.clip(group.significance, 1e-300, 1.0))
    factor = 1.0 / (-np.e * p * np.log(p)) if p < 1.0 / np.e else 1.0
    real = _GROUP_PRIOR * factor / (1.0 + _GROUP_PRIOR * factor)
    n = len(group.members)
    chance = float(np.clip(real * min(group.purity, 1.0 - 1.0 / (n + 2.0)), 1e-9, 1.0 - 1e-9))
    place = np.zeros(n) if group.rank is None or n < 2 else 2.0 * (rankdata(group.rank) - 1.0) / (n - 1.0) - 1.0
    odds: Floats = np.log(chance / (1.0 - chance)) + place
    return odds


def _at(found: Evidence, i: int) -> float:
    return float("nan") if found.scores is None else float(found.scores[i])


def _p_at(found: Evidence, i: int) -> float:
    return 1.0 if found.p_values is None or np.isnan(found.p_values[i]) else float(found.p_values[i])


def _case_id(number: int) -> str:
    return f"case-{number + 1}" if number >= 0 else ""


def _sources(evidence: list[Evidence], samples: UnverifiedSamples, quarantined: NDArray[np.bool_]) -> pd.DataFrame:
    name = samples.schema.source
    columns = {"accused": bool, "samples": int, "suspicious": int, "p_value": float}
    if name is None:
        return pd.DataFrame({c: pd.Series(dtype=t) for c, t in columns.items()}, index=pd.Index([], name="source", dtype=object))
    given = pd.Series(samples.table[name].to_pylist(), dtype=object).astype(str)
    table = pd.DataFrame({"accused": False, "samples": given.value_counts().sort_index()})
    table["suspicious"] = pd.Series(quarantined[: len(given)]).groupby(given.to_numpy()).sum().reindex(table.index).fillna(0).astype(int)
    table["p_value"] = np.nan
    for finding in (f for e in evidence for f in e.sources if f.source in table.index):
        table.loc[finding.source, ["accused", "suspicious", "p_value"]] = [finding.accused, finding.suspicious, finding.p_value]
    table = table.astype(columns)
    table.index.name = "source"
    return table
