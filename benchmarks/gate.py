"""The gate before training, beside a plain verified read (sha256 of each data file, then parse it) of the same release in the same run.

    python benchmarks/gate.py [--megabytes 1000] [--rounds 5] [--json FILE] [--directory DIR]

Prints CPU and wall seconds and the overhead of the gate, the median over alternating rounds, for two shapes of table: 20 mixed
columns, and 8 numbers and a label, of which the row digests are nearly as large as the data and so the worst case.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sanitizer import bootstrap
from sanitizer.release.gate import open_release

LIMITS = "max_rows = 200000000\nmax_decoded_bytes = 68719476736\nmax_memory_bytes = 68719476736\nmax_seconds = 3600\n"
WORDS = np.array([f"word {i} of a column of text" for i in range(50_000)])


def narrow(rows: int, rng: np.random.Generator) -> pa.Table:
    """8 floats and a label."""
    columns: dict[str, Any] = {f"float{i}": rng.normal(size=rows) for i in range(8)}
    return pa.table({**columns, "label": np.array(["cat", "dog"])[rng.integers(0, 2, rows)]})


def mixed(rows: int, rng: np.random.Generator) -> pa.Table:
    """9 floats, 5 integers, 4 columns of text, a boolean, a label."""
    columns: dict[str, Any] = {f"float{i}": rng.normal(size=rows) for i in range(9)}
    columns |= {f"int{i}": rng.integers(-(10**9), 10**9, rows) for i in range(5)}
    columns |= {f"text{i}": WORDS[rng.integers(0, len(WORDS), rows)] for i in range(4)}
    return pa.table({**columns, "flag": rng.random(rows) < 0.5, "label": np.array(["cat", "dog"])[rng.integers(0, 2, rows)]})


SHAPES: dict[str, tuple[Callable[[int, np.random.Generator], pa.Table], int]] = {"mixed": (mixed, 132), "narrow": (narrow, 65)}


def release(root: Path, table: pa.Table) -> Path:
    """A signed release of these rows."""
    bootstrap.init(root, dataset="bench", label="label")
    policy = root / "sanitizer.toml"
    policy.write_text(policy.read_text().replace("[samples]\n", f"[samples]\n{LIMITS}"))
    bootstrap.sign_policy(root)
    pq.write_table(table, root / "rows.parquet")
    return Path(bootstrap.baseline(root, root / "rows.parquet", reason="to measure"))


def plain(place: Path) -> pa.Table:
    """What a careful script does."""
    tables = []
    for path in sorted((place / "data").iterdir()):
        data = path.read_bytes()
        hashlib.sha256(data).hexdigest()
        tables.append(pq.read_table(pa.BufferReader(data)))
    return pa.concat_tables(tables)


def gate(place: Path, trust: Path) -> pa.Table:
    """What training does with us."""
    with open_release(place, trust=trust) as opened:
        return opened.arrow()


def spent(work: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds."""
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.perf_counter() - start


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--directory", type=Path)
    asked = parser.parse_args()
    found = []
    for name, (make, width) in SHAPES.items():
        with tempfile.TemporaryDirectory(dir=asked.directory) as home:
            root = Path(home) / "w"
            place = release(root, make(asked.megabytes * 1_000_000 // width, np.random.default_rng(0)))
            size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
            ways = {"plain": lambda: plain(place), "gate": lambda: gate(place, root / "trust")}  # noqa: B023  # called before the next turn
            times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
            for turn in range(asked.rounds + 1):
                for way, work in ways.items():
                    measured = spent(work)
                    if turn:  # the first warms the page cache
                        times[way].append(measured)
        cpu, wall = ({way: statistics.median(each[i] for each in times[way]) for way in ways} for i in (0, 1))
        over = {"cpu": cpu["gate"] / cpu["plain"] - 1, "wall": wall["gate"] / wall["plain"] - 1}
        found.append({"shape": name, "bytes": size, "cpu_seconds": cpu, "wall_seconds": wall, "overhead": over})
        print(
            f"{name}: {size / 1e9:.2f} GB: plain {cpu['plain']:.2f} s CPU, gate {cpu['gate']:.2f} s: overhead {over['cpu']:+.1%} CPU, "
            f"{over['wall']:+.1%} wall"
        )
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
