from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from sanitizer.samples import Column, Samples, Schema
from sanitizer.store import deliveries
from sanitizer.verdicts import Verdicts

SCHEMA = Schema(
    columns=(
        Column("x", "float64"),
        Column("pixels", "image[2,2]"),
        Column("note", "string"),
        Column("label", "string", categories=("cat", "dog")),
        Column("by", "string"),
    ),
    modality="tabular",
    label="label",
    source="by",
)


def make_samples(n, *, first=0):
    pixels = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(4 * n) % 256, pa.uint8()), 4)
    table = pa.table(
        {
            "x": np.arange(first, first + n) / 3,
            "pixels": pixels,
            "note": [None if i % 5 == 4 else f"=note {i}\x00" for i in range(n)],
            "label": ["cat" if i % 2 else "dog" for i in range(n)],
            "by": ["ann" if i % 3 else "bob" for i in range(n)],
        }
    )
    return Samples(table.cast(SCHEMA.arrow), SCHEMA, origin="sha256:" + "0" * 64)


def make_verdicts(samples, held, *, group=()):
    """`held`: position -> cause; positions in `group` belong to one case."""
    n = len(samples)
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "sample_id": samples.sample_ids,
            "suspicion": [float(i) if i in held else 0.0 for i in range(n)],
            "action": ["quarantine" if i in held else "accept" for i in range(n)],
            "cause": [held.get(i, "") for i in range(n)],
            "p_value": [np.nan if i in group else 0.001 for i in range(n)],
            "reason": [f"its neighbours say otherwise ({i})" if i in held else "" for i in range(n)],
            "case_id": ["case-1" if i in group else "" for i in range(n)],
            "neighbours": [samples.sample_ids[:2]] * n,
            "columns": [["x"]] * n,
        }
    )
    evidence = pd.DataFrame({"outlier.knn": rng.normal(size=n), "label.neighbours": np.full(n, np.nan)})
    cases = pd.DataFrame(
        {
            "case_id": ["case-1"],
            "cause": ["backdoor"],
            "size": [len(group)],
            "significance": [1e-9],
            "reason": ["a patch"],
            "members": [list(group)],
        }
    )
    sources = pd.DataFrame({"accused": [], "samples": [], "suspicious": [], "p_value": []})
    return Verdicts(table, evidence, cases if group else cases.iloc[:0], sources, detectors={"outlier.knn": "1"})


def receive(tx, digest, *, dataset="digits"):
    deliveries.receive(tx, digest, dataset=dataset, source="lab", path="inbox/lab/1", fingerprint=digest, sequence=1)


DIGEST = "sha256:" + "d" * 64
HELD = {2: "outlier", 3: "label-flip", 5: "backdoor", 6: "backdoor", 7: "backdoor", 11: "outlier"}
