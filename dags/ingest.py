"""Pulls incoming deliveries and takes each through provenance, the expectations gate, the detectors and the decision.

One mapped task group per delivery, in the order of their sequence.  A refused delivery fails its own tasks and nothing else;
a held one is skipped and waits for a person.  Tasks hand each other digests; the store holds the truth.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import ObjectStoragePath, Param, dag, task, task_group
from outcomes import ACCEPTED, DEFAULTS, WORKSPACE, judged

import sanitizer


@dag(
    schedule=timedelta(minutes=15),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    params={
        "workspace": WORKSPACE,
        "inbox": Param("", type="string", description="where suppliers upload (file://, s3://, gs://); empty: the workspace's own"),
    },
    tags=["sanitizer"],
    doc_md=__doc__,
)
def ingest() -> None:
    """The line from inbox to verdicts."""

    @task
    @judged()
    def pull(params: dict[str, Any]) -> list[str]:
        return sanitizer.pipeline.pull(params["workspace"], ObjectStoragePath(params["inbox"]) if params["inbox"] else None)

    @task(max_active_tis_per_dagrun=1)
    @judged()
    def verify(delivery: str, params: dict[str, Any]) -> str:
        return sanitizer.pipeline.verify(params["workspace"], delivery)

    @task
    @judged()
    def read(verified: str, params: dict[str, Any]) -> str:
        return sanitizer.pipeline.read(params["workspace"], verified)

    @task
    @judged()
    def check(samples: str, params: dict[str, Any]) -> str:
        return sanitizer.pipeline.check(params["workspace"], samples)

    @task(max_active_tis_per_dagrun=1)
    @judged()
    def judge(checked: str, params: dict[str, Any]) -> str:
        return sanitizer.pipeline.judge(params["workspace"], checked)

    @task(max_active_tis_per_dagrun=1)
    @judged()
    def hold(verdicts: str, params: dict[str, Any]) -> str:
        return sanitizer.pipeline.hold(params["workspace"], verdicts)

    @task_group
    def sanitize(delivery: str) -> None:
        hold(judge(check(read(verify(delivery)))))

    @task(outlets=[ACCEPTED], trigger_rule="all_done")
    @judged()
    def announce(*, outlet_events: Any, params: dict[str, Any]) -> None:
        outlet_events[ACCEPTED].extra = {"workspace": params["workspace"]}

    sanitize.expand(delivery=pull()) >> announce()


ingest()
