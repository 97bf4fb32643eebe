"""What an import may cost, and what it may not touch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "airflow",
    "great_expectations",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "pyod",
    "scipy",
    "sklearn",
    "sqlalchemy",
    "tuf.ngclient",
)
PROBE = """
import resource, sys
before = resource.getrusage(resource.RUSAGE_SELF)
{statement}
after = resource.getrusage(resource.RUSAGE_SELF)
spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
loaded = [name for name in {heavy!r} if name in sys.modules]
print(spent, *loaded)
"""


def probe(statement: str, *path: Path) -> tuple[float, list[str]]:
    """CPU seconds of a statement in a fresh interpreter, and which heavy modules it loaded."""
    code = PROBE.format(statement=statement, heavy=HEAVY)
    paths = "".join(f"import sys; sys.path.insert(0, {str(p)!r})\n" for p in path)
    done = subprocess.run([sys.executable, "-c", paths + code], capture_output=True, text=True, check=True)
    spent, *loaded = done.stdout.split()
    return float(spent), loaded


@pytest.mark.parametrize("statement", ["import sanitizer", "from sanitizer import open_release", "import sanitizer.release.gate"])
def test_the_gate_needs_no_data_library_and_little_time(statement: str) -> None:
    costs = []
    for _ in range(3):  # the best of three: the bound is on the work, not on what else the machine does
        spent, loaded = probe(statement)
        assert loaded == []
        costs.append(spent)
    assert min(costs) < 0.3


def test_importing_everything_public_writes_nothing(tmp_path: Path) -> None:
    code = "import sanitizer; [getattr(sanitizer, name) for name in sanitizer.__all__]"
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(Path.cwd())}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment, capture_output=True)
    assert list(tmp_path.iterdir()) == []
