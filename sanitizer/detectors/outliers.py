"""The PyOD family behind one adapter: the only file that imports PyOD.

Fitted on trusted rows, in folds; a fold's detector scores the delivery and the trusted rows it did not see, so both are judged
as strangers (`decision_function` on rows a detector was fitted on is another distribution).  Cold, the delivery is cut in
folds and each row is judged by detectors that did not see it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sanitizer.detectors.base import Evidence, Kind
from sanitizer.detectors.novelty import Novelty, explained, silence
from sanitizer.errors import MissingExtra
from sanitizer.features import Features

FOLDS = 5
_MOST_FITTED = 10_000  # rows one detector is fitted on; density estimates gain little beyond
_MOST_WORK = 4e7  # rows fitted on x rows judged: among many rows, fewer are fitted on
_LEAST_WORTH = 2_000
_LEAST_FITTED = 10


class _PyodOutliers:
    """One PyOD detector; `build` makes it."""

    name: ClassVar[str]
    kind: ClassVar[Kind] = "row"

    def build(self, fitted: int, seed: int) -> Any:
        raise NotImplementedError

    def testify(self, features: Features) -> Evidence:
        """Scores of all delivered rows, calibrated on the trusted ones."""
        known = features.rows if features.cold else features.trusted_rows
        if len(known) < _LEAST_FITTED:
            return Evidence.none(self.name, f"{len(known)} rows to learn from are too few (at least {_LEAST_FITTED})")
        fold = features.rng(self.name).permutation(len(known)) % FOLDS
        out_of_fold = np.empty(len(known))
        delivered = np.zeros(len(features))
        p = np.zeros(len(features))
        for f in range(FOLDS):
            train = known[fold != f]
            most = max(_LEAST_WORTH, min(_MOST_FITTED, int(_MOST_WORK / max(1, len(features)))))
            if len(train) > most:
                train = train[features.rng(f"{self.name}{f}").permutation(len(train))[:most]]
            detector = self.build(len(train), features.seed).fit(train)
            held_out = _finite(detector.decision_function(known[fold == f]))
            out_of_fold[fold == f] = held_out
            if not features.cold:
                scores = _finite(detector.decision_function(features.rows))
                delivered += scores / FOLDS
                # cross-conformal: each fold's strangers are compared with each other (Vovk 2015)
                p += len(held_out) - np.searchsorted(np.sort(held_out), scores, side="left")
        if features.cold:
            return Evidence(self.name, self.kind, "outlier", scores=out_of_fold, explain=explained(features))
        p = (1.0 + p) / (1.0 + len(known))
        within = "" if silence(features) else Novelty.name  # the fused witness decides wherever it speaks
        return Evidence(
            self.name, self.kind, "outlier", scores=delivered, reference=out_of_fold, p_values=p, calibration=len(known), within=within,
            explain=explained(features),
        )  # fmt: skip


def _finite(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.nan_to_num(np.asarray(scores, np.float64), nan=0.0, posinf=1e300, neginf=-1e300)


class Knn(_PyodOutliers):
    """Distance to the fifth nearest row (Ramaswamy et al. 2000)."""

    name = "outlier.knn"

    def build(self, fitted: int, seed: int) -> Any:
        """A PyOD KNN."""
        del seed
        return _pyod("knn", "KNN")(n_neighbors=min(5, fitted - 1))


class Lof(_PyodOutliers):
    """Local outlier factor (Breunig et al. 2000)."""

    name = "outlier.lof"

    def build(self, fitted: int, seed: int) -> Any:
        """A PyOD LOF that may judge rows it was not fitted on."""
        del seed
        return _pyod("lof", "LOF")(n_neighbors=min(20, fitted - 1), novelty=True)


class IsolationForest(_PyodOutliers):
    """Isolation forest (Liu et al. 2008)."""

    name = "outlier.iforest"

    def build(self, fitted: int, seed: int) -> Any:
        """A PyOD IForest."""
        del fitted
        return _pyod("iforest", "IForest")(random_state=seed)


def _pyod(module: str, name: str) -> Any:
    import importlib  # noqa: PLC0415

    try:
        return getattr(importlib.import_module(f"pyod.models.{module}"), name)
    except ImportError as error:
        raise MissingExtra("PyOD is not installed: pip install 'sanitizer[pyod]'") from error
