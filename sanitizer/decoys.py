"""What the line would have caught: known attacks planted in a bounded copy of the delivery, judged by the same line in one pass."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pandas as pd

from sanitizer import detectors, verdicts
from sanitizer.detectors import Evidence
from sanitizer.detectors.calibration import least_provable
from sanitizer.drills import plant_all, sensible
from sanitizer.errors import SanitizerError
from sanitizer.features import units
from sanitizer.policy import Detect, Policy
from sanitizer.samples import UnverifiedSamples
from sanitizer.verdicts import Verdicts

_log = logging.getLogger(__name__)

_MOST_COPIED = 2500  # units of the copy, and as many trusted ones: decoys must cost little beside a large delivery
_LEAST_COPIED = 1000
_CELLS = 500_000  # of the copy: wide samples, which cost more each, are copied in smaller number
_LEAST_PER_FAMILY = 40  # units; fewer have no place for decoys worth counting


def told(
    judged: Verdicts, evidence: list[Evidence], samples: UnverifiedSamples, trusted: UnverifiedSamples | None, policy: Policy
) -> Verdicts:
    """The verdicts with what this run can see: `power` by law, `expected_recall` by decoys where the policy wants them."""
    recall = expected_recall(samples, trusted, policy) if policy.detect.decoys else {}
    return replace(judged, power=power(evidence, policy.detect), expected_recall=recall)


def expected_recall(samples: UnverifiedSamples, trusted: UnverifiedSamples | None, policy: Policy) -> dict[str, float]:
    """Attack family -> share of its decoys that the line quarantines; families that do not apply to the data are left out.

    About a tenth of the copy is poisoned, half the usual rate of each family.  Small deliveries get no decoys.
    """
    families = sensible(samples)
    rng = np.random.default_rng([policy.detect.seed, *b"decoys"])
    copy, known = _some(samples, rng), None if trusted is None else _some(trusted, rng)
    if not families or len(units(copy)) < _LEAST_PER_FAMILY * len(families):
        return {}
    try:
        planted = plant_all(copy, families, poisoned=None, seed=policy.detect.seed)
        decided = verdicts.decide(detectors.run(planted.samples, known, policy.detect), planted.samples, known, policy)
    except SanitizerError as error:  # the delivery itself was judged: what is unknown is how well
        _log.warning("decoys could not be judged: %s", error)
        return {}
    caught = (decided.table["action"] == "quarantine").to_numpy() & (not decided.held)
    return {family: float(caught[mask].mean()) for family, mask in planted.masks.items()}


def power(evidence: list[Evidence], detect: Detect) -> dict[str, float]:
    """Cause -> least share of the delivery that the row witnesses of this cause could prove with the trusted rows there are."""
    out: dict[str, float] = {}
    for found in evidence:
        if found.p_values is None or found.scores is None or not np.isfinite(found.calibration).all():
            continue
        n = int((~np.isnan(found.p_values)).sum())
        if n:
            least = least_provable(n, float(np.nanmax(found.calibration)), q=detect.q, confidence=detect.confidence) / n
            out[found.cause] = min(least, out.get(found.cause, 1.0))
    return out


def _some(samples: UnverifiedSamples, rng: np.random.Generator) -> UnverifiedSamples:
    """A random part of the samples, in their order; of ratings, all rows of some users."""
    everyone = units(samples)
    width = sum(c.arrow.list_size if c.type.startswith(("image[", "embedding[")) else 1 for c in samples.schema.features)
    wanted = int(np.clip(_CELLS // max(1, width), _LEAST_COPIED, _MOST_COPIED))
    if len(everyone) <= wanted:
        return samples
    chosen = np.sort(rng.choice(len(everyone), wanted, replace=False))
    if len(everyone) == len(samples):
        return samples.take(chosen)
    return samples.take(pd.Index(samples.table["user"].to_pylist()).isin(everyone[chosen]))
