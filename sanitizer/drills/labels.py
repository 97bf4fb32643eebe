"""Wrong labels: the features stay as they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from sanitizer.drills.base import Data, Labels, Poisoned, Roles, attacker_view, count, draw, generator, marked, size
from sanitizer.errors import UsageError


def _flipped(data: Data, labels: Labels, rows: NDArray[np.int64], codes: NDArray[np.int64], *, family: str, variant: str) -> Poisoned:
    """The data with these classes in these rows, and the truth about it."""
    pairs = zip(labels.values(labels.codes[rows]), labels.values(codes), strict=True)
    facts = {"pairs": sorted({(str(old), str(new)) for old, new in pairs})}
    poisoned = labels.relabelled(data, rows, codes)
    return Poisoned(poisoned, marked(size(data), rows), np.arange(size(data)), family, variant, facts)


def random_flip(data: Data, roles: Roles, /, *, rate: float, seed: int, variant: str) -> Poisoned:
    """Give random rows a wrong label: any other one (`uniform`), or always the next class (`shifted`: a slipped row, a bad join)."""
    rng = generator("random_flip", seed)
    labels = Labels.of(data, roles.label, family="random_flip")
    rows = draw(np.flatnonzero(labels.codes >= 0), count(rate, size(data)), rng)
    old = labels.codes[rows]
    new = labels.other(old, rng) if variant == "uniform" else (old + 1) % len(labels.classes)
    return _flipped(data, labels, rows, new, family="random_flip", variant=variant)


def targeted_flip(data: Data, roles: Roles, /, *, rate: float, seed: int, variant: str) -> Poisoned:
    """Relabel members of one class as one other class: a random pair, or the most `similar` pair of class means.

    At most half of the class is taken, however large the rate: beyond that the wrong label is the class's new meaning.
    """
    rng = generator("targeted_flip", seed)
    labels = Labels.of(data, roles.label, family="targeted_flip")
    if variant == "pair":
        victim, wanted = rng.choice(np.flatnonzero(labels.counts >= 2), 2, replace=False)
    else:
        view = attacker_view(data, without=roles.names)
        means = np.stack([view[labels.rows(code)].mean(axis=0) for code in range(len(labels.classes))])
        apart = np.linalg.norm(means[:, None] - means[None, :], axis=2)
        np.fill_diagonal(apart, np.inf)
        victim, wanted = rng.permutation(np.unravel_index(apart.argmin(), apart.shape))
    members = labels.rows(int(victim))
    rows = draw(members, min(count(rate, size(data)), max(1, len(members) // 2)), rng)
    return _flipped(data, labels, rows, np.full(len(rows), wanted), family="targeted_flip", variant=variant)


def adversarial_flip(data: Data, roles: Roles, /, *, rate: float, seed: int, variant: str) -> Poisoned:
    """Flip the labels that an attacker with a linear model would choose (Biggio et al. 2011; Paudice et al. 2018).

    `largest-loss`: the rows that the model is surest of become their least likely class.  `boundary`: the rows between two
    classes become the other one; such rows cannot be told from honest ones, by construction.
    """
    rng = generator("adversarial_flip", seed)
    labels = Labels.of(data, roles.label, family="adversarial_flip")
    known = np.flatnonzero(labels.codes >= 0)
    model = LogisticRegression(C=0.1, max_iter=500).fit(attacker_view(data, without=roles.names)[known], labels.codes[known])
    likely = model.predict_proba(attacker_view(data, without=roles.names)[known])
    own_column = np.searchsorted(model.classes_, labels.codes[known])
    everyone = np.arange(len(known))
    own = likely[everyone, own_column]
    rivals = likely.copy()
    rivals[everyone, own_column] = np.inf if variant == "largest-loss" else -np.inf
    rival = rivals.argmin(axis=1) if variant == "largest-loss" else rivals.argmax(axis=1)
    margin = own - likely[everyone, rival]
    if variant == "boundary":
        margin = np.where(margin > 0, -margin, -np.inf)  # rows that the model reads right, nearest to the line first
    jitter = rng.random(len(known))  # ties are broken by the seed, not by the place in the file
    chosen = np.lexsort((jitter, -margin))[: count(rate, size(data))]
    rows, order = np.sort(known[chosen]), np.argsort(known[chosen])
    return _flipped(data, labels, rows, model.classes_[rival[chosen]][order], family="adversarial_flip", variant=variant)


def source_compromise(data: Data, roles: Roles, /, *, rate: float, seed: int, variant: str) -> Poisoned:
    """One supplier or annotator turns bad: `rate` of *its own* rows get a random wrong label, or (`skew`) all the same one."""
    rng = generator("source", seed)
    labels = Labels.of(data, roles.label, family="source")
    suppliers = Labels.of(data, roles.source, family="source")
    large = np.flatnonzero(suppliers.counts >= 5)
    if not len(large):
        raise UsageError("source: no supplier has five rows", subject="source")
    bad = int(rng.choice(large))
    members = np.flatnonzero((suppliers.codes == bad) & (labels.codes >= 0))
    if variant == "flip":
        rows = draw(members, count(rate, len(members)), rng)
        new = labels.other(labels.codes[rows], rng)
    else:
        wanted = int(rng.choice(len(labels.classes)))
        rows = draw(members[labels.codes[members] != wanted], count(rate, len(members)), rng)
        new = np.full(len(rows), wanted)
    made = _flipped(data, labels, rows, new, family="source", variant=variant)
    return Poisoned(
        made.data, made.mask, made.origin, "source", variant, made.facts | {"source": str(suppliers.values(np.array([bad]))[0])}
    )
