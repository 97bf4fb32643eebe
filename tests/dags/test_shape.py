"""The DAG files parse fast, load nothing heavy and have the shape that the documentation promises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DAGS = Path(__file__).parents[2] / "dags"
FILES = ("ingest", "release", "pretraining_gate")
PROBE = """
import sys, time
sys.path.insert(0, {folder!r})
import airflow.sdk  # what every DAG file of an installation shares
begin = time.process_time()
import {name}
spent = time.process_time() - begin
heavy = [m for m in ("pandas", "pyod", "sklearn", "great_expectations", "pyarrow", "sqlalchemy.orm.query_") if m in sys.modules]
dag = {name}.{name}()
print(spent, ",".join(sorted(t.task_id for t in dag.tasks)), *heavy)
"""


@pytest.mark.parametrize("name", FILES)
def test_a_dag_file_parses_in_a_second_and_loads_no_data_library(name: str, tmp_path: Path) -> None:
    environment = {
        "AIRFLOW_HOME": str(tmp_path),
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(DAGS.parent),
    }
    code = PROBE.format(folder=str(DAGS), name=name)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    spent, tasks, *heavy = done.stdout.split("\n")[-2].split()
    assert heavy == []
    assert float(spent) < 1.0
    assert tasks


@pytest.mark.parametrize("name", FILES)
def test_a_dag_file_is_a_table_of_contents(name: str) -> None:
    lines = (DAGS / f"{name}.py").read_text().splitlines()
    assert len(lines) <= 90
