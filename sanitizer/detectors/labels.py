"""Label errors: a label that models and neighbours who never saw the row would not have given it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sanitizer.detectors.base import Evidence, Kind, Why
from sanitizer.detectors.calibration import conformal_p
from sanitizer.detectors.noise import judge
from sanitizer.features import Features, Neighbours

_VOTERS = 15
_LEAST_TRUSTED = 50  # labelled trusted rows from which on the honest noise of labels is read from them


class LabelOdds:
    """Odds that a label was changed, under all models that never saw the row and the honest noise of labels (see `noise`)."""

    name: ClassVar[str] = "label.margin"
    kind: ClassVar[Kind] = "batch"

    def testify(self, features: Features) -> Evidence:
        """Scores are the logarithm of the odds that the row was relabelled."""
        if not features.labelled:
            return Evidence.none(self.name, "there are no two labels to tell apart", kind=self.kind)
        found = features.posteriors
        here = (features.y >= 0) & np.isfinite(found.delivered).all(axis=1)
        there = (features.trusted_y >= 0) & np.isfinite(found.trusted).all(axis=1)
        if not here.any():
            return Evidence.none(self.name, "no class has rows enough to learn from", kind=self.kind)
        trusted = (found.trusted[there], features.trusted_y[there]) if there.sum() >= _LEAST_TRUSTED else None
        judged = judge((found.delivered[here], features.y[here]), trusted, seed=features.seed)
        scores, p_values, calibration = np.full((3, len(features)), np.nan)
        scores[here] = judged.odds
        p_values[here] = np.minimum(1.0, judged.expected / here.sum())
        calibration[here] = np.maximum(judged.behind / p_values[here] - 1.0, 1e-9)
        reference = None
        if trusted is not None:
            reference = np.full(len(features.trusted_y), np.nan)
            reference[there] = judged.trusted_odds
        return Evidence(
            self.name, self.kind, "label-flip", scores=scores, reference=reference, p_values=p_values, calibration=calibration,
            odds=scores, explain=label_reason(features), version="2",
        )  # fmt: skip


class CleanMargin:
    """Margin of the given label under models that learnt from trusted rows only: blind to what the delivery teaches."""

    name: ClassVar[str] = "label.trusted"
    kind: ClassVar[Kind] = "row"

    def testify(self, features: Features) -> Evidence:
        """Scores in [-1, 1]: how much more probable the likeliest other label is than the given one (Northcutt et al. 2021)."""
        if not features.labelled:
            return Evidence.none(self.name, "there are no two labels to tell apart")
        found = features.posteriors
        if found.clean_delivered is None or found.clean_trusted is None:
            return Evidence.none(self.name, "the trusted rows do not teach two classes")
        scores, reference = margin(found.clean_delivered, features.y), margin(found.clean_trusted, features.trusted_y)
        return Evidence(
            self.name, self.kind, "label-flip", scores=scores, reference=reference, p_values=conformal_p(scores, reference),
            calibration=float(np.isfinite(reference).sum()), within=LabelOdds.name, explain=label_reason(features),
        )  # fmt: skip


class NeighbourDisagreement:
    """A label that the nearest trusted rows do not share; cold, the nearest delivered ones (Deep k-NN, Peri et al. 2019)."""

    name: ClassVar[str] = "label.neighbours"
    kind: ClassVar[Kind] = "row"

    def testify(self, features: Features) -> Evidence:
        """Scores in [0, 1]: the distance-weighted share of neighbours under another label."""
        if not features.labelled:
            return Evidence.none(self.name, "there are no two labels to tell apart")
        if features.cold:
            scores = disagreement(features.graph.among_delivered, features.y, features.y)
            return Evidence(self.name, "batch", "label-flip", scores=scores, within=LabelOdds.name, explain=label_reason(features))
        scores = disagreement(features.graph.to_trusted, features.y, features.trusted_y)
        reference = disagreement(features.graph.among_trusted, features.trusted_y, features.trusted_y)
        return Evidence(
            self.name, self.kind, "label-flip", scores=scores, reference=reference, p_values=conformal_p(scores, reference),
            calibration=float(len(reference)), within=LabelOdds.name, explain=label_reason(features),
        )  # fmt: skip


def margin(proba: NDArray[np.float64], y: NDArray[np.int32]) -> NDArray[np.float64]:
    """Probability of the likeliest other label minus that of the given one, in [-1, 1]; NaN without a label or a model."""
    out = np.full(len(y), np.nan)
    known = (y >= 0) & np.isfinite(proba).all(axis=1)
    rivals, at = proba[known].copy(), np.arange(int(known.sum()))
    own = rivals[at, y[known]]
    rivals[at, y[known]] = -np.inf
    out[known] = rivals.max(axis=1) - own
    return out


def disagreement(near: Neighbours, y: NDArray[np.int32], voter_y: NDArray[np.int32]) -> NDArray[np.float64]:
    """Share of the neighbours' weight under another label than the row's; NaN without a label or neighbours."""
    index, distance = near.index[:, :_VOTERS], near.distance[:, :_VOTERS].astype(np.float64)
    vote = np.where(index >= 0, voter_y[index] if len(voter_y) else -1, -1)
    scale = np.median(np.where(np.isfinite(distance), distance, np.nan), axis=1, keepdims=True) if len(near.index) else distance
    weight = np.where(vote >= 0, 1.0 / (1.0 + distance / np.maximum(scale, 1e-12)), 0.0)
    total = weight.sum(axis=1)
    against = np.where(vote != y[:, None], weight, 0.0).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((y >= 0) & (total > 0), against / total, np.nan)


def label_reason(features: Features) -> Callable[[int], Why]:
    """Says how many of the nearest rows carry the label, and which label most of them carry."""

    def explain(i: int) -> Why:
        near = (features.graph.among_delivered if features.cold else features.graph.to_trusted).index[i][:_VOTERS]
        near = near[near >= 0]
        voters = (features.y if features.cold else features.trusted_y)[near]
        own = features.labels[features.y[i]]
        kind = "rows of this delivery" if features.cold else "trusted rows"
        if not len(near):
            return Why(f"labelled {own}; it has no neighbours to compare with")
        label, votes = _majority(voters)
        if label == features.y[i]:
            proba = features.posteriors.delivered[i]
            rival = features.labels[int(np.argmax(proba))]
            sentence = f"labelled {own}, which models that never saw it give {proba[features.y[i]]:.0%}; they expect {rival}"
        else:
            sentence = f"labelled {own}, but {votes} of its {len(near)} nearest {kind} are {features.labels[label]}"
        return Why(sentence, () if features.cold else tuple(near.tolist()))

    return explain


def _majority(votes: NDArray[np.int32]) -> tuple[int, int]:
    labels, counts = np.unique(votes[votes >= 0], return_counts=True)
    if not len(labels):
        return -1, 0
    best = int(np.argmax(counts))
    return int(labels[best]), int(counts[best])
