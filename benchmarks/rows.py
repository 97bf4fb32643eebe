"""Row digests and diff on many mixed rows, beside `json.dumps` + hashlib per row on the same rows in the same run.

    python benchmarks/rows.py [--rows 1000000] [--json FILE]

Prints CPU seconds and the ratio of rows per CPU second.  Both sides start from the same Arrow table in memory and end with one
SHA-256 per row (ours: two, one with and one without the label); ours also compares the table with a shuffled copy in which
some rows were relabelled, removed and added, and the result is checked against what was planted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sanitizer.samples import diff, from_any

WORDS = np.array(["Peru", "Germany", "", "Ünïcödé", "a somewhat longer piece of text", "x", "other", "unknown"])
FEWER = 20  # the naive side runs on one row of so many, for it is slow and linear


def table(rows: int, seed: int) -> pa.Table:
    """7 floats, 5 integers, 5 strings, a boolean, a time, a label; 2 % nulls."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {}
    for i in range(7):
        columns[f"float{i}"] = pa.array(rng.normal(size=rows), mask=rng.random(rows) < 0.02)
    for i in range(5):
        columns[f"int{i}"] = pa.array(rng.integers(-(10**9), 10**9, rows), mask=rng.random(rows) < 0.02)
    for i in range(5):
        columns[f"text{i}"] = pa.array(WORDS[rng.integers(0, len(WORDS), rows)], pa.large_string(), mask=rng.random(rows) < 0.02)
    columns["flag"] = pa.array(rng.random(rows) < 0.5)
    columns["time"] = pa.array(rng.integers(0, 2**50, rows)).cast(pa.timestamp("us", tz="UTC"))
    columns["label"] = pa.array(np.array(["cat", "dog", "cow"])[rng.integers(0, 3, rows)], pa.large_string())
    return pa.table(columns)


def attacked(whole: pa.Table, seed: int) -> tuple[pa.Table, dict[str, int]]:
    """A shuffled copy with known differences."""
    rng = np.random.default_rng(seed)
    n = len(whole)
    some = n // 4000
    flipped, gone = np.split(rng.permutation(n)[: 2 * some], 2)
    labels = whole["label"].to_numpy(zero_copy_only=False).copy()
    labels[flipped] = np.where(labels[flipped] == "cat", "dog", "cat")
    copy = whole.set_column(whole.schema.get_field_index("label"), "label", pa.array(labels, pa.large_string()))
    kept = np.setdiff1d(np.arange(n), gone)
    truth = {"added": some, "removed": some, "changed": 0, "relabelled": some, "same": n - 2 * some}
    return pa.concat_tables([copy.take(rng.permutation(kept)), table(some, seed + 1)]), truth


def naive(rows: pa.Table) -> list[str]:
    """What one writes first: each row as JSON, hashed."""
    return [hashlib.sha256(json.dumps(row, default=str, sort_keys=True).encode()).hexdigest() for row in rows.to_pylist()]


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """The result and its CPU seconds."""
    start = time.process_time()
    result = call()
    return result, time.process_time() - start


def main() -> None:
    """Measure, check and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    whole = table(asked.rows, 0)
    other, truth = attacked(whole, 1)
    timed(lambda: from_any(table(1000, 2), label="label").row_digests)  # libraries warm up

    before, after = from_any(whole, label="label"), from_any(other, label="label")
    _, content_s = timed(lambda: (before.content_ids, after.content_ids))
    found, diff_s = timed(lambda: diff(before, after))
    _, row_s = timed(lambda: (before.row_digests, after.row_digests))
    assert found.counts == truth, (found.counts, truth)
    _, naive_s = timed(lambda: naive(whole.slice(0, asked.rows // FEWER)))

    both = len(before) + len(after)
    theirs = asked.rows // FEWER / naive_s
    speeds = {
        "content ids and row digests": both / (content_s + row_s),
        "content ids and diff": both / (content_s + diff_s),
        "content ids, row digests and diff": both / (content_s + row_s + diff_s),
        "json.dumps and hashlib": theirs,
    }
    figures = {
        "rows": asked.rows,
        "columns": whole.num_columns,
        "found": found.counts,
        "krows_per_cpu_s": {name: round(speed / 1e3) for name, speed in speeds.items()},
        "ratio": {name: round(speed / theirs, 1) for name, speed in speeds.items()},
    }
    text = json.dumps(figures, indent=2)
    print(text)
    if asked.json:
        asked.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
