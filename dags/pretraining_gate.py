"""The gate before training: verifies the newest release from nothing but the trust root, then rings the bell `sanitizer/gated`.

A training DAG hangs on that asset (`schedule=[Asset(name="sanitizer/gated", uri="sanitizer://gated")]`), takes the release from the
event's `extra` and opens it with `sanitizer.open_release`, which verifies once more as it reads.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import Param, dag, task
from outcomes import CLEAN, DEFAULTS, GATED, WORKSPACE, judged

import sanitizer


@dag(
    schedule=[CLEAN],
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    params={
        "workspace": WORKSPACE,
        "release": Param("", type="string", description="path of a release; empty: the newest of the workspace"),
        "trust": Param("", type="string", description="a trust root that came another way; empty: the workspace's"),
    },
    tags=["sanitizer"],
    doc_md=__doc__,
)
def pretraining_gate() -> None:
    """From a release to the permission to train."""

    @task(outlets=[GATED])
    @judged()
    def gate(*, outlet_events: Any, params: dict[str, Any]) -> str:
        verified = sanitizer.pipeline.gate(params["workspace"], release=params["release"], trust=params["trust"])
        outlet_events[GATED].extra = {"release": verified}
        return verified

    gate()


pretraining_gate()
