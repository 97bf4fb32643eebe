"""Runs DAGs once, one after the other, without a scheduler: `python dags/try_out.py WORKSPACE [DAG…]`.

Airflow's own `dag.test()` on a temporary Airflow home that is gone afterwards.  Airflow's log goes to WORKSPACE/airflow.log; standard
output gets one line per finished task: `task <dag> <task> <map index or -> <state> <seconds>`.  Exit code 1 when a run did not succeed.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).resolve().parent
LINE = ("ingest", "release", "pretraining_gate")


@contextmanager
def airflow_home(folder: str) -> Iterator[None]:
    """Settings of a throw-away installation; they must stand before the first import of Airflow."""
    os.environ.update(
        AIRFLOW_HOME=folder,
        AIRFLOW__CORE__DAGS_FOLDER=str(HERE),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="True",
        AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{folder}/airflow.db",
        AIRFLOW__LOGGING__LOGGING_LEVEL="WARNING",
        AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="False",
        GX_ANALYTICS_ENABLED="False",
    )
    sys.path.insert(0, str(HERE))
    from airflow.utils.db import initdb  # noqa: PLC0415 - reads the settings above

    initdb()
    yield


def run(name: str, workspace: Path, tell: IO[str]) -> bool:
    """One `dag.test()`; a line per task instance; True when the run succeeded."""
    module = importlib.import_module(name)
    started = time.monotonic()
    dag: Any = getattr(module, name)()
    for task in dag.tasks:
        task.retries = 0  # `dag.test()` would sit out every delay
    done = dag.test(run_conf={"workspace": str(workspace)})
    for task in sorted(done.get_task_instances(), key=lambda t: (t.start_date is None, t.start_date)):
        index = "-" if task.map_index < 0 else str(task.map_index)
        print("task", name, task.task_id, index, task.state, f"{task.duration or 0:.1f}", file=tell, flush=True)
    print("dag", name, done.state, f"{time.monotonic() - started:.1f}", file=tell, flush=True)
    return str(done.state) == "success"


def main(arguments: list[str]) -> int:
    """Exit code of the worst run."""
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    workspace = Path(arguments[0]).resolve()
    tell = os.fdopen(os.dup(1), "w")
    with tempfile.TemporaryDirectory(prefix="airflow-") as home, (workspace / "airflow.log").open("a") as log:
        # file descriptors, not sys.stdout alone: Airflow's logger keeps its own reference
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        with redirect_stdout(log), redirect_stderr(log), airflow_home(home):
            results = [run(name, workspace, tell) for name in arguments[1:] or LINE]
    return 0 if all(results) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
