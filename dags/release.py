"""Publishes the next clean release from what was accepted and what reviewers decided.

Runs after each ingest, every hour for decisions taken since, and by hand.  The only DAG whose worker needs the signing key;
it reads digests and verdicts and parses no hostile bytes.  Where nothing new was accepted, the newest release stays what it is.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, dag, task
from outcomes import ACCEPTED, CLEAN, DEFAULTS, WORKSPACE, judged

import sanitizer


@dag(
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable("0 * * * *", timezone="UTC"), assets=[ACCEPTED]),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    params={"workspace": WORKSPACE},
    tags=["sanitizer"],
    doc_md=__doc__,
)
def release() -> None:
    """From decided samples to a signed release."""

    @task(outlets=[CLEAN])
    @judged()
    def publish(*, outlet_events: Any, params: dict[str, Any]) -> str:
        published = sanitizer.pipeline.publish(params["workspace"])
        outlet_events[CLEAN].extra = {"workspace": params["workspace"], "release": published}
        return published

    publish()


release()
