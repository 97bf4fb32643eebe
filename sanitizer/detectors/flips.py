"""Class-to-class flips: more rows of one label than honest confusion explains look like rows of one other class.

For every ordered pair of classes (looks like a, labelled b) the disagreements that models fitted on trusted rows have with
the delivered labels are counted against those they have with trusted labels, out of fold.  The honest rate of a pair is
gamma distributed: pairs that trusted rows say little of borrow strength from all the others (empirical Bayes), so that the
count of honest delivered rows is negative binomial.  A pair with more than that is a group; its members are the surest
disagreements, as far down as honest ones stay few among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import nbinom

from sanitizer.detectors.base import Evidence, Group, Kind
from sanitizer.features import Features

_LEVEL = 1e-3  # family-wise: an honest delivery shows a flipped pair once in a thousand
_HONEST = 0.05  # expected share of honest rows among the members, at most
_SHAPE = 0.5  # of the gamma distribution of honest rates (Jeffreys)
_LEAST = 3  # rows from which on one speaks of a group

Floats = NDArray[np.float64]
Codes = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Disagreements:
    """Rows whose label is not the likeliest class: positions, labels, likeliest classes, and margins in (0, 1]."""

    at: NDArray[np.int64]
    label: Codes
    looks: Codes
    margin: Floats

    @classmethod
    def of(cls, proba: Floats, y: Codes) -> Disagreements:
        """All disagreements of labels `y` with class probabilities `proba`; rows without either have none."""
        known = (y >= 0) & np.isfinite(proba).all(axis=1)
        looks = np.where(known, np.nan_to_num(proba).argmax(axis=1), y).astype(np.int32)
        at = np.flatnonzero(looks != y)
        return cls(at, y[at], looks[at], proba[at, looks[at]] - proba[at, y[at]])


class ClassFlip:
    """Names pairs of classes between which labels were moved."""

    name: ClassVar[str] = "label.flip"
    kind: ClassVar[Kind] = "group"

    def testify(self, features: Features) -> Evidence:
        """One group per pair of classes."""
        if not features.labelled:
            return Evidence.none(self.name, "there are no two labels to tell apart", kind=self.kind)
        found = features.posteriors
        if found.clean_delivered is None or found.clean_trusted is None:
            return Evidence.none(self.name, "the trusted rows do not teach two classes", kind=self.kind)
        here = Disagreements.of(found.clean_delivered, features.y)
        known = Disagreements.of(found.clean_trusted, features.trusted_y)
        exposure = _Exposure(features, found.clean_delivered, found.clean_trusted)
        pairs = sorted(set(zip(here.looks.tolist(), here.label.tolist(), strict=True)))
        groups = [group for a, b in pairs if (group := self._pair(features, (a, b), here, known, exposure)) is not None]
        groups.sort(key=lambda group: (group.significance, int(group.members[0])))
        return Evidence(self.name, self.kind, "label-flip", groups=tuple(groups))

    def _pair(
        self, features: Features, pair: tuple[int, int], here: Disagreements, known: Disagreements, exposure: _Exposure
    ) -> Group | None:
        a, b = pair
        mine = (here.looks == a) & (here.label == b)
        if mine.sum() < _LEAST:
            return None
        order = np.argsort(-here.margin[mine], kind="stable")
        at, margin = here.at[mine][order], here.margin[mine][order]
        theirs = known.margin[(known.looks == a) & (known.label == b)]
        cuts = _cuts(known.margin)
        best, members, purity = 1.0, 0, 0.0
        for cut in cuts.tolist():
            k = int((margin > cut).sum())
            honest = exposure.honest(pair, int((theirs > cut).sum()), int((known.margin > cut).sum()))
            best = min(best, len(cuts) * exposure.pairs * float(honest.sf(k - 1)))
            if k > max(members, _LEAST - 1) and honest.mean() <= _HONEST * k:
                members, purity = k, 1.0 - float(honest.mean()) / k
        if best > _LEVEL or not members:
            return None
        names = features.labels
        reason = (
            f"labelled {names[b]}, but models that learnt from trusted rows take it for {names[a]}, "
            f"as they do {len(at)} rows of this delivery and {len(theirs)} trusted ones"
        )
        chosen = np.argsort(at[:members], kind="stable")
        return Group(
            "label-flip", at[:members][chosen], best, reason, purity=purity, rank=margin[:members][chosen],
        )  # fmt: skip


def _cuts(margin: Floats) -> Floats:
    """Margins beyond which 0, 1, 2, 4, 8, ... trusted disagreements lie, and 0, beyond which all do; largest first."""
    ordered = np.sort(margin)[::-1]
    ranks = [0, *(2**i for i in range(len(ordered).bit_length() - 1))] if len(ordered) else []
    return np.unique(np.append(ordered[ranks], 0.0))[::-1]


class _Exposure:
    """How many honest disagreements of a pair a delivery may show."""

    def __init__(self, features: Features, delivered: Floats, trusted: Floats) -> None:
        classes = len(features.labels)
        self.pairs = classes * (classes - 1)
        self._labelled = [np.bincount(y[y >= 0], minlength=classes) for y in (features.y, features.trusted_y)]
        self._looking = [
            np.bincount(np.nan_to_num(proba).argmax(axis=1)[np.isfinite(proba).all(axis=1)], minlength=classes)
            for proba in (delivered, trusted)
        ]

    def honest(self, pair: tuple[int, int], seen: int, everywhere: int) -> nbinom:
        """Distribution of the honest disagreements, where trusted rows show `seen` of this pair and `everywhere` of all pairs.

        They grow with the rows of the label (where the mix of classes drifts) or with those that look like the other class
        (where the rows drift), whichever grew more.
        """
        a, b = pair
        growth = max(self._labelled[0][b] / max(1, self._labelled[1][b]), self._looking[0][a] / max(1, self._looking[1][a]))
        share = self._labelled[1][b] / max(1, self._labelled[1].sum()) / max(1, len(self._labelled[1]) - 1)
        rate = _SHAPE / ((everywhere + _SHAPE) * max(share, 1e-12))
        return nbinom(_SHAPE + seen, (rate + 1.0) / (rate + 1.0 + growth))
