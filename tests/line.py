"""A small workspace with two suppliers, for tests of the line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from sanitizer import bootstrap
from sanitizer.provenance import delivery, keys
from sanitizer.workspace import Workspace

SOURCES = ("acme", "bolt")


def table(rows: int, seed: int = 0) -> pd.DataFrame:
    """Two well separated classes in five columns."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, rows)
    values = rng.normal(size=(rows, 4)).round(4) + 3 * label[:, None]
    frame = pd.DataFrame(values, columns=[f"f{j}" for j in range(4)])
    return frame.assign(colour=rng.choice(["red", "green", "blue"], rows), label=np.where(label == 1, "yes", "no"))


def found(root: Path, *, annotated: bool = False, **policy: str) -> Workspace:
    """A workspace with a baseline of 300 rows and two suppliers.

    `annotated` adds a column `by` that says who labelled each row; `policy` adds lines to sections of the policy.
    """
    workspace = bootstrap.init(root, dataset="toy", label="label")
    file = root / "sanitizer.toml"
    for section, line in {"samples": 'source = "by"', **policy}.items() if annotated else policy.items():
        file.write_text(file.read_text().replace(f"[{section}]\n", f"[{section}]\n{line}\n"))
    bootstrap.sign_policy(root)
    for source in SOURCES:
        keys.new_key(root / "keys" / f"{source}.pem")
        bootstrap.add_source(root, source, [root / "keys" / f"{source}.pub.pem"])
    data = root / "baseline.csv"
    rows = table(300, seed=1)
    (rows.assign(by=np.resize(["w1", "w2", "w7"], 300)) if annotated else rows).to_csv(data, index=False)
    bootstrap.baseline(root, data, reason="the tests trust it")
    return workspace


def place(root: Path, name: str, frame: pd.DataFrame | None = None, *, source: str = "acme") -> Path:
    """An unsigned delivery in the inbox."""
    folder = root / "inbox" / source / name
    folder.mkdir(parents=True)
    (table(120, seed=2) if frame is None else frame).to_csv(folder / "rows.csv", index=False)
    return folder


def signed(root: Path, folder: Path, *, source: str = "acme", key: str = "", sequence: int = 1, ago: timedelta = timedelta()) -> Path:
    """Signs a delivery as its supplier would."""
    now = datetime.now(UTC) - ago
    signer = keys.signer(f"file:{root / 'keys' / (key or source)}.pem")
    delivery.deliver(folder, source=source, signers=[signer], sequence=sequence, issued=now, expires=now + timedelta(days=30))
    return folder
