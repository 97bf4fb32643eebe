"""Which delivered rows come from elsewhere than the trusted ones?  No label is needed.

Two views that miss different things are taken together.  *Distances* to the nearest trusted rows, in the space as it is and
whitened, find what lies where nothing trusted does, be it a single row.  *Classifiers* that tell delivered from trusted rows
(learning from positive and unlabelled data: Elkan and Noto 2008; classifier two-sample test: Lopez-Paz and Oquab 2017) find what the
delivery holds too much of, wherever it lies.

Delivered and trusted rows are dealt into folds together, and each is judged by what the other folds taught.  An honest delivered
row and a trusted one of the same fold are exchangeable, which makes their comparison a conformal test (Vovk et al. 2005), whatever
the classifiers learnt (Marandon et al. 2024).  An honest change of mix accuses nobody as long as it makes no kind of row 1/q times
as frequent as it was: the share of honest rows among the accused counts exactly that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from scipy.stats import norm
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier

from sanitizer.detectors.base import Evidence, Kind, Why
from sanitizer.detectors.calibration import log_odds
from sanitizer.features import Features, binned, nearest

FOLDS = 5
_LEAST_KNOWN = 20  # trusted rows, and delivered ones, without which folds teach nothing
_MOST_TAUGHT = 4000  # rows of each side that one fold learns from
_WIDEST = 100  # dimensions; wider rows are projected on the leading directions of the trusted ones
_RIDGE = 1e-3  # of the mean variance, added to every direction before whitening
_TREES = 60
_LEAST_TAIL = 10  # honest scores that the law of the tail is fitted to
_MOST_TAIL = 100
_REACH = 20.0
_SUREST = 0.995  # a leaf of a few rows cannot be surer
_MODALITIES = ("tabular", "embedding")  # pictures, texts and ratings have witnesses that know what is ordinary in them

Rows = NDArray[np.float32]
Floats = NDArray[np.float64]


class Novelty:
    """Distances to trusted rows and delivered-against-trusted classifiers, fused and calibrated out of fold."""

    name: ClassVar[str] = "outlier.novelty"
    kind: ClassVar[Kind] = "batch"

    def testify(self, features: Features) -> Evidence:
        """Scores are mean normal quantiles among trusted rows."""
        n, m = len(features), len(features.trusted_rows)
        if why := silence(features):
            return Evidence.none(self.name, why, kind=self.kind)
        views = out_of_fold(_narrowed(np.concatenate([features.rows, features.trusted_rows]), n), n, features.rng(self.name))
        seen = {name: quantile(view, view[n:], itself=np.arange(n + m) >= n) for name, view in views.items()}
        both = np.mean([np.mean([seen[name] for name in group], axis=0) for group in _VIEWS], axis=0)
        scores, reference = both[:n], both[n:]
        p_values, behind, odds = rarity(scores, reference)
        return Evidence(
            self.name, self.kind, "outlier", scores=scores, reference=reference, p_values=p_values, calibration=behind / p_values - 1.0,
            odds=odds, explain=explained(features), version="2",
        )  # fmt: skip


def silence(features: Features) -> str:
    """Why this witness cannot speak of a delivery; empty where it can."""
    if features.modality not in _MODALITIES:
        return f"it reads tables and embeddings, not {features.modality} data"
    n, m = len(features), len(features.trusted_rows)
    return f"{n} delivered and {m} trusted rows are too few (at least {_LEAST_KNOWN} each)" if min(n, m) < _LEAST_KNOWN else ""


# what is averaged within each group, before the groups are
_VIEWS = (("near", "near.whitened"), ("trees", "boosted"), ("trees.distances", "boosted.distances"))


def out_of_fold(rows: Rows, n: int, rng: np.random.Generator) -> dict[str, Floats]:
    """Views of all rows, each (n + m,), of which the first `n` are the delivery; higher = stranger."""
    delivered = np.arange(len(rows)) < n
    fold = np.empty(len(rows), np.int64)
    for side in (delivered, ~delivered):
        fold[np.flatnonzero(side)[rng.permutation(int(side.sum()))]] = np.arange(int(side.sum())) % FOLDS
    views: dict[str, Floats] = {name: np.zeros(len(rows)) for group in _VIEWS for name in group}
    for f in range(FOLDS):
        mine = np.flatnonzero(fold == f)
        teach = [_some(np.flatnonzero(side & (fold != f)), rng) for side in (delivered, ~delivered)]
        for name, view in _fold(rows, teach[0], teach[1], mine, int(rng.integers(2**31))):
            views[name][mine] = view
    return views


def _fold(
    rows: Rows, others: NDArray[np.int64], trusted: NDArray[np.int64], mine: NDArray[np.int64], seed: int
) -> Iterator[tuple[str, Floats]]:
    """The views of the rows `mine`, taught by delivered rows (`others`) and trusted ones."""
    known, taught, judged = _merged(rows, trusted, np.concatenate([others, trusted]), mine)
    white = whitening(known)
    gaps, taught_gaps = [], []
    for turn in (lambda x: x, white):
        points = turn(known)
        gaps.append(_gaps(turn(judged), points))
        taught_gaps.append(np.concatenate([_gaps(turn(taught[: len(others)]), points), _gaps(points, points, same=True)]))
    yield "near", gaps[0][:, 0]
    yield "near.whitened", gaps[1][:, 0]
    y = np.arange(len(taught)) < len(others)
    weight = np.where(y, 0.5 / max(1, len(others)), 0.5 / max(1, len(trusted))) * len(taught)
    beside, taught_beside = np.column_stack([judged, *gaps]), np.column_stack([taught, *taught_gaps])
    for name, mine_seen, taught_seen in (("", judged, taught), (".distances", beside, taught_beside)):
        trees = ExtraTreesClassifier(_TREES, min_samples_leaf=3, random_state=seed)
        boosted = HistGradientBoostingClassifier(max_iter=50, max_leaf_nodes=12, early_stopping=False, random_state=seed)
        yield f"trees{name}", _surely(trees.fit(taught_seen, y, weight), mine_seen)
        yield f"boosted{name}", _surely(boosted.fit(binned(taught_seen, taught_seen), y, weight), binned(mine_seen, taught_seen))


def _some(rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    return rows if len(rows) <= _MOST_TAUGHT else np.sort(rng.choice(rows, _MOST_TAUGHT, replace=False))


def _merged(rows: Rows, trusted: NDArray[np.int64], *parts: NDArray[np.int64]) -> tuple[Rows, ...]:
    """Rows of `trusted` and of each part, with the dimensions that are zero on all of `trusted` added up to one.

    A category that only a held-out trusted row has is then as unknown to its fold as one that only the delivery has.
    """
    empty = ~rows[trusted].any(axis=0)
    if not empty.any():
        return tuple(rows[part] for part in (trusted, *parts))
    return tuple(np.column_stack([rows[part][:, ~empty], rows[part][:, empty].sum(axis=1)]) for part in (trusted, *parts))


def whitening(known: Rows) -> Any:
    """The map that gives `known` (m, d) unit variance in every direction that varies."""
    middle = known.mean(axis=0, dtype=np.float64)
    covariance = np.atleast_2d(np.cov(known.T.astype(np.float64)))
    value, direction = np.linalg.eigh(covariance)
    mean = float(np.maximum(value, 0.0).mean())
    turned = direction / np.sqrt(np.maximum(value, 0.0) + _RIDGE * (mean if mean > 0 else 1.0))
    return lambda x: np.ascontiguousarray((x - middle) @ turned, np.float32)


def _gaps(queries: Rows, points: Rows, *, same: bool = False) -> Floats:
    """Logarithms of the distances to the first and the fifth neighbour, (q, 2)."""
    near = nearest(queries, points, 5, same=same).distance
    far = np.where(np.isfinite(near), near, -1.0).max(axis=1)
    return np.log(np.column_stack([near[:, 0], far]).astype(np.float64) + 1e-6)


def _surely(model: Any, rows: Rows) -> Floats:
    proba = model.predict_proba(rows)
    out: Floats = logit(np.clip(proba[:, list(model.classes_).index(True)], 1 - _SUREST, _SUREST))
    return out


def quantile(scores: Floats, known: Floats, *, itself: NDArray[np.bool_]) -> Floats:
    """Normal quantile of each score's rank among `known`; beyond the highest, the logarithm of how far beyond is added.

    `itself` says which scores are among `known`: such a row is ranked among the others.
    """
    known = np.sort(known)
    below = 0.5 * (np.searchsorted(known, scores, side="left") + np.searchsorted(known, scores, side="right")) - 0.5 * itself
    spread = max(float(np.quantile(known, 0.9) - np.median(known)), 1e-9)
    out: Floats = norm.ppf((below + 0.5) / (len(known) - itself + 1.0)) + np.log1p(np.maximum(scores - known[-1], 0.0) / spread)
    return out


def rarity(scores: Floats, known: Floats) -> tuple[Floats, Floats, Floats]:
    """How rare scores are among honest rows: p-values, the honest rows each is worth having counted, log odds; all (n,).

    Within the range of the `known` honest scores they are counted.  Beyond it the tail is taken to be exponential, as the mean
    excess of the highest tenth says (Balkema and de Haan 1974; Pickands 1975), at most `_REACH` times further than counting
    reaches; with k excesses the logarithm of such a p-value errs by its distance from the threshold over the root of k, which is
    what is left of their worth.  P-values are multiplied by the share of honest rows (Storey 2002): the strange ones do not add
    to the honest ones beyond any edge.
    """
    known = np.sort(known)
    n, m = len(scores), len(known)
    tail = min(m - 1, int(np.clip(0.1 * m, _LEAST_TAIL, _MOST_TAIL)))
    edge = known[m - tail - 1]
    mean = max(float((known[m - tail :] - edge).mean()), 1e-12)
    above = m - np.searchsorted(known, scores, side="left")
    behind: Floats = np.asarray(1.0 + above, np.float64)
    counted = behind / (m + 1.0)
    fitted = tail / m * np.exp(-np.maximum(scores - edge, 0.0) / mean)
    far = (above == 0) & (fitted < counted)
    p_values = np.where(far, np.maximum(fitted, 1.0 / (_REACH * m)), counted)
    worth = tail / np.log(np.where(far, tail / (m * p_values), np.e)) ** 2
    behind = np.where(far, np.minimum(worth, 1.0), behind)
    # between two known scores rows are ordered too
    right = np.clip(np.searchsorted(known, scores, side="right"), 1, m - 1)
    part = np.clip((scores - known[right - 1]) / np.maximum(known[right] - known[right - 1], 1e-12), 0.0, 1.0)
    smooth = np.where(above > 0, counted - part / (m + 1.0), np.minimum(counted, fitted))
    honest = min(1.0, (1.0 + float((smooth > 0.5).sum())) / (0.5 * n))
    return p_values * honest, behind, log_odds(np.maximum(smooth, 1e-300))


def _narrowed(rows: Rows, n: int) -> Rows:
    """Rows projected on the leading directions of the trusted ones, with the length of what is left; narrow rows as they are."""
    if rows.shape[1] <= _WIDEST:
        return rows
    known = rows[n:][:_MOST_TAUGHT]
    middle = known.mean(axis=0)
    _, _, direction = np.linalg.svd(known - middle, full_matrices=False)
    turned = (rows - middle) @ direction[:_WIDEST].T
    rest = np.sqrt(np.maximum(((rows - middle) ** 2).sum(axis=1) - (turned**2).sum(axis=1), 0.0))
    return np.column_stack([turned, rest]).astype(np.float32)


def explained(features: Features) -> Callable[[int], Why]:
    """Says where a row departs from its nearest trusted rows."""

    def explain(i: int) -> Why:
        graph = features.graph.among_delivered if features.cold else features.graph.to_trusted
        known = features.rows if features.cold else features.trusted_rows
        near = graph.index[i][graph.index[i] >= 0]
        if not len(near):
            return Why("it resembles no other row")
        gap = np.abs(features.rows[i] - known[near[:5]].mean(axis=0))
        weight: dict[str, float] = {}
        for name, g in zip(features.names, gap.tolist(), strict=True):
            weight[name] = max(weight.get(name, 0.0), g)
        columns = tuple(sorted(weight, key=lambda c: -weight[c])[:3])
        whom = "row of this delivery" if features.cold else "trusted row"
        sentence = f"its nearest {whom} lies at distance {graph.distance[i][0]:.3g}; it departs most in {', '.join(columns)}"
        return Why(sentence, () if features.cold else tuple(near[:5].tolist()), columns)

    return explain
