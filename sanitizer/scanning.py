"""Judging unverified samples, for anyone with a table: the detectors of the line, and nothing that a release would take."""

from __future__ import annotations

from typing import Any

from sanitizer import decoys, detectors, verdicts
from sanitizer.policy import Policy
from sanitizer.report import Report
from sanitizer.samples import from_any


def scan(
    data: Any,
    *,
    label: str | None = None,
    trusted: Any = None,
    source: str | None = None,
    modality: str | None = None,
    policy: Policy | None = None,
) -> Report:
    """Judge unverified samples: the same detectors and decision as the whole line, nothing that `publish` would accept.

    `data` and `trusted` are data frames, Arrow tables, paths, or dicts of equally long arrays; `trusted` is an earlier
    release of the same schema, or None for a cold start.
    """
    policy = policy or Policy()
    samples = from_any(data, label=label, source=source, modality=modality)
    known = None if trusted is None else from_any(trusted, label=label, source=source, modality=samples.schema.modality)
    evidence = detectors.run(samples, known, policy.detect)
    judged = verdicts.decide(evidence, samples, known, policy)
    return Report(decoys.told(judged, evidence, samples, known, policy), samples, known)
