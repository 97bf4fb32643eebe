"""One plain dict per delivery, from which every format is made."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from sanitizer.errors import printable
from sanitizer.policy import Policy
from sanitizer.provenance.delivery import VerifiedDelivery
from sanitizer.report.limits import limits
from sanitizer.report.looks import Looks, Profiles, written
from sanitizer.samples import UnverifiedSamples
from sanitizer.verdicts import Verdicts

FORMAT = "sanitizer/report/v1"
MOST_CASES = 30  # shown with members; the rest are named
MOST_MEMBERS = 8  # of a case
MOST_SHOWN = 120  # members of all cases together: a report stays below 5 MB
MOST_NEIGHBOURS = 3
MOST_QUARANTINED = 20_000  # listed one by one
MOST_CLASSES = 40
MOST_POINTS = 1200  # accepted samples in the suspicion plot; a strided choice
BINS = 20


def facts(
    verdicts: Verdicts,
    samples: UnverifiedSamples,
    *,
    trusted: UnverifiedSamples | None = None,
    delivery: VerifiedDelivery | None = None,
    gate: Any | None = None,
    release: Mapping[str, Any] | None = None,
    ledger: Mapping[str, Any] | None = None,
    policy: Policy | None = None,
    name: str = "",
    now: datetime | None = None,
) -> dict[str, Any]:
    """Everything that a report of one delivery says: str, int, float, bool, None, lists and dicts; NaN is None.

    Every text from outside has its control and bidirectional characters made visible.  `release` and `ledger` are shown
    as they are given (a version, a digest, a size), `gate` is a `GateResult`; `now` is the only time that is not the
    delivery's own, so the same run gives the same report.
    """
    table = verdicts.table
    modality = samples.schema.modality
    looks = Profiles(samples, table.index) if modality == "ratings" else Looks(samples)
    known = Looks(trusted) if trusted is not None and modality != "ratings" else None
    gated = None if gate is None else _gate(gate)
    return {
        "format": FORMAT,
        "name": printable(name or (f"{delivery.source}, delivery {delivery.sequence}" if delivery is not None else "scan")),
        "written": None if now is None else now.isoformat(timespec="seconds"),
        "modality": modality,
        "state": _state(verdicts, gated),
        "headline": _headline(verdicts, gated, "user" if modality == "ratings" else "sample"),
        "provenance": None if delivery is None else _provenance(delivery),
        "trusted": None if trusted is None else {"rows": len(trusted), "digest": getattr(trusted, "origin", "")},
        "policy": None if policy is None else {"digest": policy.digest, "dataset": policy.dataset},
        "gate": gated,
        "counts": {
            "rows": len(samples),
            "judged": len(table),
            "quarantined": verdicts.quarantined,
            "accepted": len(table) - verdicts.quarantined,
            "share": verdicts.quarantined / max(1, len(table)),
            "by_cause": _by_cause(table),
        },
        "decision": {
            "q": verdicts.q,
            "seed": verdicts.seed,
            "unproven": verdicts.unproven,
            "held": verdicts.held,
            "held_reason": printable(verdicts.held_reason),
        },
        "p_values": _histogram(table["p_value"]),
        "suspicion": _suspicion(table),
        "cases": _cases(verdicts, looks, known),
        "classes": _classes(samples, trusted, table) if modality != "ratings" else [],
        "sources": _sources(verdicts, samples, table),
        "expected_recall": {printable(k): _number(v) for k, v in sorted(verdicts.expected_recall.items())},
        "power": {printable(k): _number(v) for k, v in sorted(verdicts.power.items())},
        "limits": [printable(sentence) for sentence in limits(verdicts, modality)],
        "notes": [printable(note) for note in verdicts.notes],
        "witnesses": [
            {"name": printable(k), "version": printable(v), "failed": printable(verdicts.failed.get(k, ""))}
            for k, v in sorted({**dict.fromkeys(verdicts.failed, ""), **verdicts.detectors}.items())
        ],
        "quarantined": _quarantined(table),
        "release": None if release is None else _plain(release),
        "ledger": None if ledger is None else _plain(ledger),
    }


def _state(verdicts: Verdicts, gate: Mapping[str, Any] | None) -> str:
    if verdicts.held or (gate is not None and gate["table_failures"]):
        return "held"
    return "quarantine" if verdicts.quarantined else "clean"


def _headline(verdicts: Verdicts, gate: Mapping[str, Any] | None, unit: str) -> str:
    n, total = verdicts.quarantined, len(verdicts.table)
    if gate is not None and gate["table_failures"]:
        return "The table as a whole does not meet its expectations: the delivery waits for a person."
    if verdicts.held:
        return f"The delivery moved as a whole and waits for a person: {printable(verdicts.held_reason) or 'no single row is accused'}."
    if not total:
        return "The delivery is empty."
    if not n:
        return f"Nothing found among {total:,} {unit}s."
    return f"{n:,} of {total:,} {unit}s ({n / total:.1%}) are held back for review."


def _provenance(delivery: VerifiedDelivery) -> dict[str, Any]:
    return {
        "source": printable(delivery.source),
        "sequence": delivery.sequence,
        "level": delivery.level,
        "issued": "" if delivery.issued is None else delivery.issued.isoformat(timespec="seconds"),
        "expires": "" if delivery.expires is None else delivery.expires.isoformat(timespec="seconds"),
        "signers": [printable(signer) for signer in delivery.signers],
        "digest": delivery.digest,
        "files": [{"path": printable(f.path), "sha256": f.sha256, "size": f.size} for f in delivery.manifest.files],
    }


def _gate(gate: Any) -> dict[str, Any]:
    reasons = Counter(printable(str(reason)) for why in gate.row_failures.values() for reason in why)
    return {
        "success": bool(gate.success),
        "table_failures": [printable(str(failure)) for failure in gate.table_failures],
        "rows_failed": len(gate.row_failures),
        "row_reasons": [{"reason": reason, "rows": rows} for reason, rows in reasons.most_common(20)],
        "statistics": _plain(gate.statistics),
    }


def _by_cause(table: pd.DataFrame) -> dict[str, int]:
    held = table.loc[table["action"] == "quarantine", "cause"]
    counts = Counter(printable(str(cause)) or "unnamed" for cause in held)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _histogram(p_values: pd.Series) -> dict[str, Any]:
    known = p_values.dropna().to_numpy(np.float64)
    counts, _ = np.histogram(known, bins=BINS, range=(0.0, 1.0))
    return {"bins": [int(count) for count in counts], "judged": len(known), "expected": len(known) / BINS}


def _suspicion(table: pd.DataFrame) -> dict[str, Any]:
    """Points of the plot: every quarantined sample, up to a limit, and a strided choice of the accepted."""
    held = (table["action"] == "quarantine").to_numpy()
    level = table["suspicion"].to_numpy(np.float64)
    points = []
    for rows in (np.flatnonzero(~held), np.flatnonzero(held)):
        chosen = rows[:: max(1, math.ceil(len(rows) / MOST_POINTS))]
        causes = table["cause"].to_numpy()
        points += [[int(i), _number(level[i]), printable(str(causes[i])) if held[i] else ""] for i in chosen if math.isfinite(level[i])]
    line = float(level[held].min()) if held.any() and np.isfinite(level[held]).all() else None
    return {"points": points, "line": line, "rows": len(table)}


def _cases(verdicts: Verdicts, looks: Looks | Profiles, known: Looks | None) -> list[dict[str, Any]]:
    """The cases that hold most samples first, then the rows that stand alone, by cause."""
    table = verdicts.table
    held = (table["action"] == "quarantine").to_numpy()
    groups: list[dict[str, Any]] = [
        {
            "case_id": printable(str(case["case_id"])),
            "cause": printable(str(case["cause"])),
            "significance": _number(case["significance"]),
            "reason": printable(str(case["reason"])),
            "members": [int(i) for i in case["members"]],
        }
        for case in verdicts.cases.sort_values("size", ascending=False, kind="stable").to_dict("records")
    ]
    named = {i for group in groups for i in group["members"]}
    alone: dict[str, list[int]] = {}
    for i in np.flatnonzero(held):
        if int(i) not in named:
            alone.setdefault(str(table["cause"].iloc[i]), []).append(int(i))
    for cause, members in sorted(alone.items(), key=lambda item: (-len(item[1]), item[0])):
        reason = "Each of these stands alone: no common cause was proven."
        groups.append({"case_id": "", "cause": printable(cause), "significance": None, "reason": reason, "members": members})
    level = np.nan_to_num(table["suspicion"].to_numpy(np.float64), nan=-np.inf)
    room = MOST_SHOWN
    for number, group in enumerate(groups):
        group["members"] = sorted(group["members"], key=lambda i: (-level[i], i))
        group["shown"] = group["members"][: min(MOST_MEMBERS, room) if number < MOST_CASES else 0]
        room -= len(group["shown"])
    shown = [i for group in groups for i in group["shown"]]
    wanted = {str(sample) for i in shown for sample in list(table["neighbours"].iloc[i])}
    bench = _Bench(table, verdicts.evidence.rank(pct=True).iloc[sorted(set(shown))], looks, known, wanted)
    for group in groups:
        members, first = group.pop("members"), group.pop("shown")
        columns = looks.columns_shown(table["columns"].iloc[first])
        group |= {
            "size": len(members),
            "quarantined": int(held[members].sum()),
            "labels": _top(looks.label(i) for i in members),
            "sources": _top(looks.source(i) for i in members),
            "members": [bench.member(i, columns) for i in first],
            "hidden": len(members) - len(first),
        }
    return groups


class _Bench:
    """Where suspects are laid out beside their nearest trusted neighbours; found by sample id as far as they are wanted."""

    def __init__(self, table: pd.DataFrame, ranks: pd.DataFrame, looks: Looks | Profiles, known: Looks | None, wanted: set[str]) -> None:
        self.table, self.ranks, self.looks, self.known = table, ranks, looks, known
        ids = known.samples.sample_ids if known is not None and wanted else []
        self.place = {sample: i for i, sample in enumerate(ids) if sample in wanted}

    def member(self, i: int, columns: Sequence[str]) -> dict[str, Any]:
        """All that is shown of row `i` of the verdicts."""
        verdict = self.table.iloc[i]
        spoke = self.ranks.loc[self.table.index[i]].dropna().sort_values(ascending=False, kind="stable")
        return {
            "row": i,
            "unit": printable(str(self.table.index[i])),
            "sample_id": printable(str(verdict["sample_id"])),
            "action": str(verdict["action"]),
            "suspicion": _number(verdict["suspicion"]),
            "p_value": _number(verdict["p_value"]),
            "reason": printable(str(verdict["reason"])),
            "witnesses": [{"name": printable(str(witness)), "rank": float(rank)} for witness, rank in spoke.head(4).items()],
            "looks": self.looks.row(i, [str(column) for column in verdict["columns"]], columns),
            "neighbours": self.neighbours([str(sample) for sample in verdict["neighbours"]], columns),
        }

    def neighbours(self, samples: Iterable[str], columns: Sequence[str]) -> list[dict[str, Any]]:
        """The nearest trusted rows, by the same columns as the suspect."""
        if self.known is None:
            return []
        there = [sample for sample in samples if sample in self.place][:MOST_NEIGHBOURS]
        return [{"sample_id": sample} | self.known.row(self.place[sample], shown=columns) for sample in there]


def _classes(samples: UnverifiedSamples, trusted: UnverifiedSamples | None, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Per class: how many came, how many are held, and its share of the trusted rows, of the delivery, and of what is accepted."""
    label = samples.schema.label
    return [] if label is None else _mix(samples, trusted, table, label)


def _mix(samples: UnverifiedSamples, trusted: UnverifiedSamples | None, table: pd.DataFrame, column: str) -> list[dict[str, Any]]:
    given = _values(samples, column)
    held = (table["action"] == "quarantine").to_numpy()
    came, kept = Counter(given), Counter(value for value, out in zip(given, held, strict=True) if not out)
    before = Counter(_values(trusted, column)) if trusted is not None and column in trusted.table.column_names else Counter[str]()
    names = sorted({*came, *before}, key=lambda value: (_as_number(value), value))
    if len(names) > MOST_CLASSES:
        names = [name for name, _ in (came + before).most_common(MOST_CLASSES)]
    return [
        {
            "name": name,
            "came": came[name],
            "held": came[name] - kept[name],
            "trusted_share": before[name] / before.total() if before else None,
            "came_share": came[name] / max(1, came.total()),
            "kept_share": kept[name] / max(1, kept.total()),
        }
        for name in names
    ]


def _values(samples: UnverifiedSamples, column: str) -> list[str]:
    written_once: dict[Any, str] = {}
    out = []
    for value in samples.table[column].to_pylist():
        if value not in written_once:
            written_once[value] = written(value) or "(missing)"
        out.append(written_once[value])
    return out


def _as_number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return math.inf


def _sources(verdicts: Verdicts, samples: UnverifiedSamples, table: pd.DataFrame) -> list[dict[str, Any]]:
    column = samples.schema.source
    mix = {row["name"]: row for row in _mix(samples, None, table, column)} if column is not None and len(table) == len(samples) else {}
    out: list[dict[str, Any]] = []
    for source, found in verdicts.sources.iterrows():
        shares = mix.get(printable(str(source)), {})
        out.append(
            {
                "name": printable(str(source)),
                "accused": bool(found["accused"]),
                "samples": int(found["samples"]),
                "suspicious": int(found["suspicious"]),
                "p_value": _number(found["p_value"]),
                "came_share": shares.get("came_share"),
                "kept_share": shares.get("kept_share"),
            }
        )
    return sorted(out, key=lambda row: (not row["accused"], -row["suspicious"], row["name"]))[:200]


def _quarantined(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows = np.flatnonzero((table["action"] == "quarantine").to_numpy())[:MOST_QUARANTINED]
    return [
        {
            "row": int(i),
            "sample_id": printable(str(verdict["sample_id"])),
            "cause": printable(str(verdict["cause"])),
            "p_value": _number(verdict["p_value"]),
            "suspicion": _number(verdict["suspicion"]),
            "case_id": printable(str(verdict["case_id"])),
            "reason": printable(str(verdict["reason"])),
        }
        for i, verdict in zip(rows, table.iloc[rows].to_dict("records"), strict=True)
    ]


def _top(values: Iterable[str | None], most: int = 4) -> list[dict[str, Any]]:
    counts = Counter(value for value in values if value is not None)
    return [{"name": name, "count": count} for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]]


def _number(value: Any) -> float | None:
    """A float that JSON knows, or None."""
    number = float(value)
    return number if math.isfinite(number) else None


def _plain(value: Any) -> Any:
    """Anything as JSON knows it."""
    if isinstance(value, Mapping):
        return {printable(str(key)): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, (float, np.floating)):
        return _number(value)
    if isinstance(value, np.integer):
        return int(value)
    return printable(value.isoformat() if isinstance(value, datetime) else str(value))
