"""What is caught, what is wrongly held, and at what cost, beside the usual tools at their own defaults on the same rows.

    python benchmarks/detection.py [--quick] [--data FOLDER] [--out benchmarks/results]

Attacks of `sanitizer.drills` on tables bundled with scikit-learn, and on every Parquet or CSV file with a column `label` in FOLDER (or in
the folder that SANITIZER_BENCH_DATA names).  Two thirds of the rows are delivered, one third is trusted.  cleanlab and PyOD are
measured in the same run where they are installed.  Writes `detection.json` and `detection.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sanitizer
from sanitizer.drills import ATTACKS

FAMILIES = ("random_flip", "targeted_flip", "adversarial_flip", "backdoor_tabular", "feature_collision", "duplicate_flood", "anomaly")
Said = tuple[NDArray[np.bool_], NDArray[np.float64]]
"""Which rows are held, and how suspicious each is."""


def tables(folder: str | None, *, quick: bool) -> Iterator[tuple[str, pd.DataFrame]]:
    """Name and rows, label in the column `label`."""
    bundled = {"breast_cancer": datasets.load_breast_cancer, "digits": datasets.load_digits, "wine": datasets.load_wine}
    for name in ("breast_cancer",) if quick else tuple(bundled):
        x, y = bundled[name](return_X_y=True)
        yield name, pd.DataFrame(x, columns=[f"f{i}" for i in range(x.shape[1])]).assign(label=y)
    for path in sorted(Path(folder).glob("*")) if folder else ():
        if path.suffix in (".csv", ".parquet"):
            frame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
            if "label" in frame:
                yield path.stem, frame.sample(min(len(frame), 3000), random_state=0)


def ours(data: pd.DataFrame, trusted: pd.DataFrame) -> tuple[Said, dict[str, float]]:
    """The line with its own defaults, and what it says of itself."""
    report = sanitizer.scan(data, label="label", trusted=trusted)
    verdicts = report.verdicts
    return ((verdicts["action"] == "quarantine").to_numpy(), verdicts["suspicion"].to_numpy()), report.expected_recall


def cleanlab(data: pd.DataFrame) -> Said:
    """Cross-validated logistic regression and confident learning."""
    from cleanlab.filter import find_label_issues  # noqa: PLC0415  optional
    from cleanlab.rank import get_label_quality_scores  # noqa: PLC0415

    x, y = data.drop(columns="label").to_numpy(), pd.factorize(data["label"], sort=True)[0]
    proba = cross_val_predict(make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)), x, y, cv=5, method="predict_proba")
    return find_label_issues(y, proba, n_jobs=1), -get_label_quality_scores(y, proba)


def pyod(data: pd.DataFrame) -> Said:
    """Isolation forest with its default contamination."""
    from pyod.models.iforest import IForest  # noqa: PLC0415  optional

    model = IForest(random_state=0).fit(StandardScaler().fit_transform(data.drop(columns="label")))
    return model.labels_ == 1, model.decision_scores_


def figures(said: Said, mask: NDArray[np.bool_], seconds: float) -> dict[str, float]:
    """Recall, share of honest rows among the held, share of honest rows held, ranking, CPU seconds."""
    held, suspicion = said
    out = {"held_honest": float(held[~mask].mean()), "cpu_s": seconds}
    if mask.any():
        out |= {"recall": float(held[mask].mean()), "false_discoveries": float((held & ~mask).sum() / max(1, held.sum()))}
        out |= {"auroc": float(roc_auc_score(mask, suspicion)), "average_precision": float(average_precision_score(mask, suspicion))}
    return {name: round(value, 4) for name, value in out.items()}


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """The result and its CPU seconds."""
    start = time.process_time()
    result = call()
    return result, time.process_time() - start


def cells(name: str, frame: pd.DataFrame, seed: int) -> Iterator[dict[str, Any]]:
    """One record per attack and contestant on one table."""
    order = np.random.default_rng(seed).permutation(len(frame))
    cut = len(order) * 2 // 3
    honest, trusted = (frame.iloc[np.sort(part)].reset_index(drop=True) for part in (order[:cut], order[cut:]))
    numbers = all(pd.api.types.is_numeric_dtype(t) for t in frame.drop(columns="label").dtypes)
    for family in ("none", *FAMILIES):
        made = None if family == "none" else ATTACKS[family](honest, seed=seed, source=None)
        data = honest if made is None else made.data
        mask = np.zeros(len(honest), bool) if made is None else made.mask
        (said, forecast), seconds = timed(lambda data=data: ours(data, trusted))
        record = {"table": name, "rows": len(data), "attack": family, "seed": seed}
        told = {} if family not in forecast else {"expected_recall": round(forecast[family], 4)}
        yield record | {"who": "sanitizer"} | figures(said, mask, seconds) | told
        for who, peer in (("cleanlab", cleanlab), ("pyod", pyod)):
            if numbers and find_spec(who):
                found, seconds = timed(lambda data=data, peer=peer: peer(data))
                yield record | {"who": who} | figures(found, mask, seconds)


def markdown(records: list[dict[str, Any]]) -> str:
    """Means over tables and seeds."""
    shown = ["recall", "false_discoveries", "held_honest", "auroc", "average_precision", "expected_recall", "cpu_s"]
    mean = pd.DataFrame(records).reindex(columns=["attack", "who", *shown]).groupby(["attack", "who"], sort=False).mean()
    lines = ["| attack | who | " + " | ".join(s.replace("_", " ") for s in shown) + " |", "|---" * (len(shown) + 2) + "|"]
    for (attack, who), row in mean.iterrows():  # type: ignore[misc]  # a pair, by construction of the index
        cells_of_row = ["" if pd.isna(v) else f"{v:.3f}" for v in row]
        lines.append(f"| {attack.replace('_', ' ')} | {who} | " + " | ".join(cells_of_row) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one table, one seed: a few minutes")
    parser.add_argument("--data", default=os.environ.get("SANITIZER_BENCH_DATA"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    records = []
    for name, frame in tables(asked.data, quick=asked.quick):
        for seed in range(1 if asked.quick else 3):
            for record in cells(name, frame, seed):
                print(json.dumps(record), flush=True)
                records.append(record)
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "detection.json").write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    (asked.out / "detection.md").write_text(markdown(records), encoding="utf-8")


if __name__ == "__main__":
    main()
