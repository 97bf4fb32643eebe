"""Verdicts made by hand over small samples of each modality, for tests of the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from sanitizer.provenance.manifest import FileEntry, Manifest
from sanitizer.samples import UnverifiedSamples, from_any
from sanitizer.verdicts import Verdicts

HELD = (3, 5, 8, 11, 17, 20, 21)
GROUP = (3, 5, 8)  # of those, one case


@dataclass(frozen=True)
class Delivered:
    source: str = "lab-south"
    sequence: int = 2
    issued: datetime = datetime(2026, 3, 1, 8, tzinfo=UTC)
    expires: datetime = datetime(2026, 6, 1, tzinfo=UTC)
    level: str = "L2"
    signers: tuple[str, ...] = ("5f3c" * 16,)
    digest: str = f"sha256:{'ab' * 32}"
    manifest: Manifest = field(default_factory=lambda: Manifest.of([FileEntry("digits.parquet", "cd" * 32, 37_956)]))


@dataclass(frozen=True)
class Gated:
    success: bool = True
    table_failures: tuple[str, ...] = ()
    row_failures: dict = None
    statistics: dict = None


def gated(**values):
    return Gated(**({"row_failures": {}, "statistics": {"evaluated": 12}} | values))


def table(n=40, seed=0, **columns):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "weight": rng.normal(size=n).round(2),
            "colour": rng.choice(["red", "blue"], n),
            "source": [f"desk-{i % 3}" for i in range(n)],
            "label": rng.choice(["cat", "dog"], n),
        }
    )
    return from_any(frame.assign(**columns), label="label", source="source")


def digits(n=40, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.integers(0, 17, (n, 16)), columns=[f"r{r}c{c}" for r in range(4) for c in range(4)])
    return from_any(frame.assign(digit=rng.integers(0, 10, n)), label="digit")


def texts(n=40, seed=0, **columns):
    rng = np.random.default_rng(seed)
    text = [" ".join(rng.choice(["a", "slow", "film", "with", "zorp", "music"], 6)) for _ in range(n)]
    return from_any(pd.DataFrame({"text": text, "label": rng.integers(0, 2, n)}).assign(**columns), label="label", modality="text")


def pictures(n=40, seed=0, side=12, channels=(3,)):
    rng = np.random.default_rng(seed)
    return from_any(
        {"image": rng.integers(0, 256, (n, side, side, *channels)).astype(np.uint8), "label": rng.integers(0, 2, n)}, label="label"
    )


def embeddings(n=40, seed=0):
    rng = np.random.default_rng(seed)
    return from_any({"embedding": rng.normal(size=(n, 6)).astype(np.float32), "label": rng.integers(0, 2, n)}, label="label")


def ratings(users=40, seed=0):
    rng = np.random.default_rng(seed)
    rows = [(u, int(i), float(rng.integers(1, 6))) for u in range(100, 100 + users) for i in rng.choice(30, 5, replace=False)]
    return from_any(pd.DataFrame(rows, columns=["user", "item", "rating"]), label=None, modality="ratings")


SAMPLES = {"tabular": table, "grid": digits, "text": texts, "image": pictures, "embedding": embeddings, "ratings": ratings}


def verdicts(samples: UnverifiedSamples, trusted: UnverifiedSamples | None = None, *, held=HELD, group=GROUP, **rest) -> Verdicts:
    """Verdicts that hold the samples at `held`; those in `group` are one backdoor case, the others flipped labels."""
    by_user = samples.schema.modality == "ratings"
    index = pd.Index(sorted(set(samples.table["user"].to_pylist())), name="user") if by_user else pd.RangeIndex(len(samples))
    n = len(index)
    rng = np.random.default_rng(1)
    out = np.isin(np.arange(n), held)
    grouped = np.isin(np.arange(n), group)
    known = trusted.sample_ids if trusted is not None and not by_user else []
    names = [column.name for column in samples.schema.features][:2]
    frame = pd.DataFrame(
        {
            "sample_id": [f"user:{user}" for user in index] if by_user else samples.sample_ids,
            "suspicion": rng.random(n) + 2 * out,
            "action": np.where(out, "quarantine", "accept"),
            "cause": np.select([grouped, out], ["backdoor", "label-flip"], "").astype(object),
            "p_value": np.where(out, 1e-4, rng.random(n)),
            "reason": np.select([grouped, out], ["one pattern", "its neighbours disagree"], "").astype(object),
            "case_id": np.where(grouped, "case-1", "").astype(object),
            "neighbours": [known[:3] if hit else [] for hit in out],
            "columns": [names if hit else [] for hit in out],
        },
        index=index,
    )
    evidence = pd.DataFrame(
        {"label.neighbours": rng.random(n), "outlier.knn": np.where(rng.random(n) < 0.1, np.nan, rng.random(n))}, index=index
    )
    case = {
        "case_id": "case-1",
        "cause": "backdoor",
        "size": len(group),
        "significance": 1e-9,
        "reason": "one pattern",
        "members": list(group),
    }
    cases = pd.DataFrame([case] if group else [], columns=["case_id", "cause", "size", "significance", "reason", "members"])
    sources = pd.DataFrame(
        {"accused": [True, False], "samples": [14, 13], "suspicious": [5, 0], "p_value": [1e-3, 0.4]},
        index=pd.Index(["desk-0", "desk-1"], name="source"),
    )
    rest = {"detectors": {"label.neighbours": "1", "outlier.knn": "1"}} | rest
    return Verdicts(frame, evidence, cases, sources if samples.schema.source else sources.head(0), **rest)
