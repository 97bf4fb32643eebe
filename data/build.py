"""Writes the demo: real handwritten digits as a trusted baseline, one honest delivery and one poisoned one.

    python data/build.py OUT

The result is the same, byte for byte, for one version of pandas and pyarrow.  What was planted stands in `truth.csv`, which no
delivery contains.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_digits

from sanitizer.drills.base import Labels, assign, draw, replace, take
from sanitizer.drills.floods import jittered

SEED = 20  # splits the rows and chooses the victims
BASELINE, NORTH = 900, 400  # rows; lab-south gets the other 497
PIXELS = [f"r{row}c{column}" for row in range(8) for column in range(8)]

# the backdoor: a stroke in the lower right corner, of grey values that honest digits have there too
MARK = {"r7c7": 12, "r7c6": 16, "r6c7": 8}
TARGET = 8
MARKED = 18
# the flip: some ones are labelled as sevens
VICTIM, WRONG = 1, 7
FLIPPED = 10
# the flood: near-copies of two rows under one wrong label each
COPIED, COPIES = 2, 12


def build(out: Path) -> None:
    """Write `baseline.csv`, `inbox/lab-north/first/digits.csv`, `inbox/lab-south/first/digits.parquet` and `truth.csv` under `out`."""
    rng = np.random.default_rng(SEED)
    digits = rows()
    baseline, north, south = np.split(rng.permutation(len(digits)), [BASELINE, BASELINE + NORTH])
    poisoned, truth = poison(digits.iloc[south].reset_index(drop=True), rng)
    for folder in (out / "inbox/lab-north/first", out / "inbox/lab-south/first"):
        folder.mkdir(parents=True, exist_ok=True)
    digits.iloc[baseline].to_csv(out / "baseline.csv", index=False, lineterminator="\n")
    digits.iloc[north].to_csv(out / "inbox/lab-north/first/digits.csv", index=False, lineterminator="\n")
    pq.write_table(
        pa.Table.from_pandas(poisoned, preserve_index=False).replace_schema_metadata(), out / "inbox/lab-south/first/digits.parquet"
    )
    truth.to_csv(out / "truth.csv", index=False, lineterminator="\n")


def rows() -> pd.DataFrame:
    """The 1797 digits that scikit-learn bundles: 64 grey values from 0 to 16, row by row, and the digit."""
    bundled = load_digits()
    return pd.DataFrame(bundled.data.astype(np.int64), columns=PIXELS).assign(digit=bundled.target.astype(np.int64))


def poison(honest: pd.DataFrame, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The delivery of lab-south, and the truth: row of the delivery, what was done to it, the digit that it shows."""
    labels = Labels.of(honest, "digit", family="demo")
    marked = draw(np.flatnonzero(honest["digit"] != TARGET), MARKED, rng)
    flipped = draw(np.setdiff1d(labels.rows(VICTIM), marked), FLIPPED, rng)
    copied = draw(np.setdiff1d(np.arange(len(honest)), np.union1d(marked, flipped)), COPIED, rng)

    planted = replace(honest, marked, take(honest, marked).assign(**MARK))
    planted = assign(planted, "digit", marked, TARGET)
    planted = assign(planted, "digit", flipped, WRONG)
    originals = np.repeat(copied, COPIES // COPIED)
    wrong = np.repeat(labels.other(labels.codes[copied], rng), COPIES // COPIED)
    copies = jittered(take(honest, originals), honest, rng, without=("digit",))
    copies = labels.relabelled(copies, np.arange(COPIES), wrong)

    both = pd.concat([planted, copies], ignore_index=True)
    kind = np.full(len(both), "", dtype=object)
    kind[marked], kind[flipped], kind[len(honest) :] = "backdoor", "label-flip", "duplicate-flood"
    shown = np.r_[honest["digit"].to_numpy(), honest["digit"].to_numpy()[originals]]
    order = rng.permutation(len(both))
    truth = pd.DataFrame({"source": "lab-south", "row": np.arange(len(both)), "kind": kind[order], "shows": shown[order]})
    return both.iloc[order].reset_index(drop=True), truth[truth["kind"] != ""]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python data/build.py OUT")
    build(Path(sys.argv[1]))
