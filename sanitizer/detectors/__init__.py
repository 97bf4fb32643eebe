"""Witnesses: one file each, one contract, one registry."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable

from threadpoolctl import threadpool_limits

from sanitizer.detectors.base import Evidence, Group, SourceFinding, Why, Witness
from sanitizer.detectors.flips import ClassFlip
from sanitizer.detectors.floods import DuplicateFlood
from sanitizer.detectors.image_triggers import ImageTrigger
from sanitizer.detectors.labels import CleanMargin, LabelOdds, NeighbourDisagreement
from sanitizer.detectors.novelty import Novelty
from sanitizer.detectors.outliers import IsolationForest, Knn, Lof
from sanitizer.detectors.shilling import Shilling
from sanitizer.detectors.sources import BadSource
from sanitizer.detectors.text_triggers import TextTrigger
from sanitizer.detectors.triggers import Triggers
from sanitizer.errors import PolicyError
from sanitizer.features import Features, encode
from sanitizer.policy import Detect
from sanitizer.samples import UnverifiedSamples

__all__ = ["DETECTORS", "Evidence", "Group", "SourceFinding", "Why", "Witness", "run", "testify"]

_log = logging.getLogger(__name__)

# the key is the word that users write in the policy and read in the report
DETECTORS: dict[str, Callable[[], Witness]] = {
    w.name: w
    for w in (
        LabelOdds,
        CleanMargin,
        NeighbourDisagreement,
        ClassFlip,
        DuplicateFlood,
        Triggers,
        TextTrigger,
        ImageTrigger,
        Shilling,
        Novelty,
        Knn,
        Lof,
        IsolationForest,
        BadSource,
    )
}


def run(samples: UnverifiedSamples, trusted: UnverifiedSamples | None, detect: Detect) -> list[Evidence]:
    """Every registered witness and those the policy adds, on one delivery; never raises for a witness that broke."""
    with threadpool_limits(detect.jobs):
        return testify(encode(samples, trusted, detect), detect)


def testify(features: Features, detect: Detect) -> list[Evidence]:
    """The evidence of all witnesses, in the order of the registry; then what the two tables do not share, if anything."""
    witnesses = DETECTORS | {name: _named(name) for name in detect.extra}
    with threadpool_limits(detect.jobs):  # sums in one order: the same verdicts bit for bit on any machine's number of cores
        heard = [_heard(name, witness, features) for name, witness in witnesses.items()]
    return [*heard, Evidence("features", "delivery", "", notes=features.notes)] if features.notes else heard


def _heard(name: str, witness: Callable[[], Witness], features: Features) -> Evidence:
    if not len(features):
        return Evidence.none(name, "the delivery has no rows")
    try:
        return witness().testify(features)
    except Exception as error:  # noqa: BLE001  any witness may be broken by hostile data; who knows the policy judges it
        _log.warning("witness %s failed", name, exc_info=True)
        return Evidence.failed(name, error)


def _named(name: str) -> Callable[[], Witness]:
    module, _, attribute = name.partition(":")
    try:
        found: Callable[[], Witness] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise PolicyError(f"detect.extra names {name!r}, which cannot be imported ({error}); write `module:Class`") from error
    return found
