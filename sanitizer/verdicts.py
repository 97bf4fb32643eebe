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

from sanitizer.detectors import Evidence, Group
from sanitizer.detectors.calibration import conformal_p, discoveries, fused
from sanitizer.errors import DetectorFailed
from sanitizer.features import units
from sanitizer.policy import Detect, Policy
from sanitizer.samples import UnverifiedSamples

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


def decide(evidence: list[Evidence], samples: UnverifiedSamples, trusted: UnverifiedSamples | None, policy: Policy) -> Verdicts:
    """Verdicts on every sample: groups first, then rows.

    Rows are accused so that the share of honest rows among them exceeds `policy.detect.q` with probability at most
    1 - `policy.detect.confidence`.  Raises `DetectorFailed` when a witness that the policy requires did not speak.
    """
    _require(evidence, policy.detect)
    cold = trusted is None or not len(trusted)
    index = units(samples)
    court = _Court(len(index))
    for found in evidence:
        for group in found.groups:
            court.hear_group(group)
    for cause in dict.fromkeys(e.cause for e in evidence if e.scores is not None):
        court.hear_rows(cause, [e for e in evidence if e.cause == cause and e.scores is not None], policy.detect)
    court.weigh_the_rest(evidence)
    return Verdicts(
        table=court.table(evidence, samples, trusted, index),
        evidence=pd.DataFrame({e.witness: e.scores for e in evidence if e.scores is not None}, index=index),
        cases=court.case_table(),
        sources=_sources(evidence, samples, court.quarantined),
        unproven=cold,
        failed={e.witness: e.error or e.silent for e in evidence if e.error or e.silent},
        notes=tuple(note for e in evidence for note in e.notes),
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


class _Court:
    """What is decided about n rows so far."""

    def __init__(self, n: int) -> None:
        self.quarantined = np.zeros(n, bool)
        self.suspicion = np.zeros(n)
        self.p_value = np.full(n, np.nan)
        self.cause = np.full(n, "", object)
        self.witness: list[Evidence | None] = [None] * n
        self.case = np.full(n, -1)
        self.cases: list[Group] = []

    def hear_group(self, group: Group) -> None:
        """Groups that an honest delivery would hardly show are cases; their members are quarantined together."""
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
        self.suspicion[group.members] = np.maximum(self.suspicion[group.members], 2.0 + group.purity)

    def hear_rows(self, cause: str, family: list[Evidence], detect: Detect) -> None:
        """Fuses the witnesses of one cause, calibrates the fused score on the trusted rows, accuses what the bound allows."""
        calibrated = [e for e in family if e.reference is not None and np.isfinite(e.reference).any()]
        if not calibrated:
            return
        scores, reference = fused([e.scores for e in calibrated], [e.reference for e in calibrated])  # type: ignore[misc]  # filtered above
        p = np.where(self.quarantined, np.nan, conformal_p(scores, reference))
        found = discoveries(p, float(np.isfinite(reference).sum()), q=detect.q, confidence=detect.confidence)
        better = np.isnan(self.p_value) | (p < self.p_value)
        self.p_value = np.where(better & ~np.isnan(p), p, self.p_value)
        fresh = found & ~self.quarantined
        self.cause[fresh] = cause
        for i in np.flatnonzero(fresh).tolist():
            self.witness[i] = max((e for e in calibrated if not np.isnan(_at(e, i))), key=lambda e: -_p_at(e, i))
        self.quarantined |= found
        self.suspicion = np.maximum(self.suspicion, np.where(found, 1.0, 0.0))

    def weigh_the_rest(self, evidence: list[Evidence]) -> None:
        """Orders rows of equal standing by the mean rank that the label witnesses (else all witnesses) give them."""
        rankers = [e for e in evidence if e.scores is not None and e.cause == "label-flip"]
        rankers = rankers or [e for e in evidence if e.scores is not None]
        if not rankers or not len(self.suspicion):
            return
        ranks = [pd.Series(e.scores).rank(pct=True).fillna(0.5).to_numpy() for e in rankers]
        self.suspicion = self.suspicion + np.mean(ranks, axis=0)

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
