"""What a verdict of the line means to Airflow: refused fails for good, held is skipped, our own trouble is retried."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, Param
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from sanitizer.errors import Held, Refused, UsageError

# Asset events coalesce, so they are only the bell: what to publish and what to gate is read from our own store.
ACCEPTED = Asset(name="sanitizer/accepted", uri="sanitizer://accepted")
CLEAN = Asset(name="sanitizer/clean", uri="sanitizer://clean")
GATED = Asset(name="sanitizer/gated", uri="sanitizer://gated")

WORKSPACE = Param(
    os.environ.get("SANITIZER_WORKSPACE", "workspace"),
    type="string",
    title="Workspace",
    description="folder that holds sanitizer.toml",
)

DEFAULTS: dict[str, Any] = {
    "owner": "sanitizer",
    # only `Failed` (a full disk, a lock, an unreachable bucket) reaches Airflow as an error that is worth another try
    "retries": 3,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=10),
}


@contextmanager
def judged() -> Iterator[None]:
    """Translate the errors of the line; also works as a decorator below `@task`."""
    try:
        yield
    except Held as error:
        raise AirflowSkipException(f"{error.code}: {error}") from error
    except (Refused, UsageError) as error:
        raise AirflowFailException(f"{error.code}: {error}") from error
