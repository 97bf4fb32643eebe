"""Shilling: made-up users who push or nuke an item (Lam and Riedl 2004; Mobasher et al. 2007).

Two things give bought profiles away.  *They are made up*: what fills them was drawn, not watched, so that counts, deviations from
the items' means, fame of what is rated and what is rated together differ from people's.  One forest tells trusted users from
profiles which we make up in the same known ways, another tells them from delivered users; every user, trusted or delivered, is
scored by forests that did not see him.
*They agree*: the item that they were bought for has more top (or bottom) marks than trusted users lead one to expect.  For
every item and mark the excess and the scores of those who gave it are taken together (Fisher): an item in fashion has honest
fans, and odd users share no item.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom, binom
from sklearn.ensemble import ExtraTreesClassifier

from sanitizer.detectors.base import Evidence, Group, Kind, Why
from sanitizer.detectors.calibration import conformal_p, fused
from sanitizer.detectors.floods import product_p
from sanitizer.features import Features
from sanitizer.features.ratings import Floats, Habits, Ints, Log, logs

_FOLDS = 4
_LEAST_KNOWN = 40  # trusted users, fewer teach nothing
_MOST_KNOWN = 4000  # of those, to teach from
_LEAST = 4  # users who agree
_LEVEL = 1e-3  # family-wise
_LEAST_EXCESS = 0.01  # p-value of the marks of an item alone: odd users who agree no more than others are told one by one
_ODD = 0.1  # p-value of a profile
_TREES = 100
_STYLES = ("random", "average", "bandwagon", "love-hate", "popular")


@dataclass(frozen=True, eq=False)
class _Verdict:
    """Scores of delivered (n,) and trusted (m,) users, and where they come from."""

    delivered: Log
    known: Log
    items: tuple[str, ...]
    scores: Floats
    reference: Floats

    @property
    def p_values(self) -> Floats:
        return conformal_p(self.scores, self.reference)


class Shilling:
    """Users whose profiles look made up, and groups of them who gave one item the same mark; see the module."""

    name: ClassVar[str] = "shilling.profile"
    kind: ClassVar[Kind] = "row"

    def testify(self, features: Features) -> Evidence:
        """Scores are mean normal quantiles, among trusted users, of two shares of trees; one group per item."""
        if features.modality != "ratings":
            return Evidence.none(self.name, "there are no ratings")
        if features.trusted is None or len(features.trusted_rows) < _LEAST_KNOWN:
            return Evidence.none(self.name, f"fewer than {_LEAST_KNOWN} trusted users to learn from what people rate")
        found = _scored(features)
        return Evidence(
            self.name, self.kind, "shilling", scores=found.scores, reference=found.reference, p_values=found.p_values,
            calibration=len(found.reference), groups=tuple(_groups(found)), explain=lambda i: Why(_sentence(found, i)),
        )  # fmt: skip


def _scored(features: Features) -> _Verdict:
    delivered, known, items = logs(features.samples, features.trusted)
    rng = features.rng("shilling")
    fold, here = rng.permutation(known.users) % _FOLDS, rng.permutation(delivered.users) % _FOLDS
    reference, scores = np.zeros((2, known.users)), np.zeros((2, delivered.users))
    for f in range(_FOLDS):
        taught = np.sort(rng.permutation(np.flatnonzero(fold != f))[:_MOST_KNOWN])
        half = rng.permutation(len(taught)) % 2
        # habits are those of one half, the other half is described by them: a user must not be compared with himself
        habits = [Habits(known.of(taught[half == side])) for side in (0, 1)]
        honest = [habits[side].profiles(known.of(taught[half != side])) for side in (0, 1)]
        drawn = [h.profiles(made_up(known.of(taught), h, max(40, len(taught) // 2), rng)) for h in habits]
        mine = [h.profiles(delivered) for h in habits]
        held = [h.profiles(known.of(np.flatnonzero(fold == f))) for h in habits]
        made = _forest(honest, drawn, features.seed)
        new = _forest(honest, [rows[here != f] for rows in mine], features.seed)
        reference[0][fold == f] = made(held)
        scores[0] += made(mine) / _FOLDS
        reference[1][fold == f] = new(held)
        scores[1][here == f] = new([rows[here == f] for rows in mine])
    both = fused(list(scores), list(reference))
    return _Verdict(delivered, known, items, *both)


def _forest(honest: list[Floats], others: list[Floats], seed: int) -> Callable[[list[Floats]], Floats]:
    """Tells others from honest profiles; asked for users in two descriptions, it answers with the mean share of trees."""
    rows = np.concatenate([*honest, *others])
    forest = ExtraTreesClassifier(_TREES, min_samples_leaf=2, class_weight="balanced", random_state=seed)
    forest.fit(rows, np.arange(len(rows)) >= sum(map(len, honest)))

    def ask(profiles: list[Floats]) -> Floats:
        shares: Floats = np.mean([forest.predict_proba(rows)[:, 1] if len(rows) else np.zeros(0) for rows in profiles], axis=0)
        return shares

    return ask


def made_up(known: Log, habits: Habits, many: int, rng: np.random.Generator) -> Log:
    """Profiles of every known kind, as long as those of `known` users, each with one item that it pushes or nukes."""
    lengths = np.bincount(known.user, minlength=known.users)
    lengths = lengths[lengths > 0]
    rated = np.flatnonzero(habits.seen > 0)
    famous = rated[np.argsort(-habits.seen[rated], kind="stable")[: max(3, len(rated) // 100)]]
    scale = np.unique(known.rating)
    users, items, ratings = [], [], []
    for i in range(many):
        style, push = _STYLES[i % len(_STYLES)], (i // len(_STYLES)) % 2 == 0
        size = min(int(rng.choice(lengths)), len(rated))
        odds = habits.seen[rated] if style == "popular" else np.ones(len(rated))
        filler = rng.choice(rated, size, replace=False, p=odds / odds.sum())
        if style in ("average", "popular"):
            marks = rng.normal(habits.mean[filler], habits.spread / 2)
        elif style == "love-hate":
            marks = np.full(size, habits.low if push else habits.high)
        else:
            marks = rng.normal(habits.middle, habits.spread, size)
        given = dict(zip(filler.tolist(), marks.tolist(), strict=True))
        if style == "bandwagon":
            given |= dict.fromkeys(famous.tolist(), habits.high)
        given[int(rng.choice(rated))] = habits.high if push else habits.low
        users += [i] * len(given)
        items += list(given)
        ratings += list(given.values())
    nearest = np.abs(np.array(ratings)[:, None] - scale).argmin(axis=1)
    return Log(np.array(users, np.int64), np.array(items, np.int64), scale[nearest], many, known.items)


def _groups(found: _Verdict) -> list[Group]:
    """Items with too many top or bottom marks by odd users, clearest first; users of a group are not counted again."""
    groups: list[Group] = []
    free = np.ones(found.delivered.users, bool)
    while (best := min(_agreeing(found, free), key=lambda g: g.significance, default=None)) is not None:
        groups.append(best)
        free[best.members] = False
    return groups


def _agreeing(found: _Verdict, free: NDArray[np.bool_]) -> Iterator[Group]:
    n, m = int(free.sum()), found.known.users
    share = n / (n + m)
    marks = {"bottom": min(found.delivered.rating.min(), found.known.rating.min())}
    marks["top"] = max(found.delivered.rating.max(), found.known.rating.max())
    for verb, mark in marks.items():
        here = (found.delivered.rating == mark) & free[found.delivered.user]
        given = np.bincount(found.delivered.item[here], minlength=len(found.items))
        known = np.bincount(found.known.item[found.known.rating == mark], minlength=len(found.items))
        spread = _overdispersion(given, known, share)
        tests = 2 * max(1, int((given >= _LEAST).sum()))
        for item in np.flatnonzero((given >= _LEAST) & (given * m > known * n)).tolist():
            members = np.sort(found.delivered.user[here & (found.delivered.item == item)])
            p_users = found.p_values[members]
            excess = _excess(int(given[item]), int(known[item]), share, float(spread[item]))
            odd = float(binom.sf((p_users <= _ODD).sum() - 1, len(members), _ODD))
            significance = min(1.0, tests * product_p([excess, odd]))
            if significance > _LEVEL or excess > _LEAST_EXCESS:
                continue
            expected = known[item] * n / m
            likely = _posterior(p_users, 1 - min(1.0, expected / len(members)))
            kept = likely >= 0.5
            if kept.sum() >= _LEAST:
                reason = (
                    f"one of {given[item]} users who gave item {found.items[item]} the {verb} mark, where {known[item]} of {m} trusted "
                    f"users did ({expected:.0f} were to be expected here); their other ratings look made up"
                )
                yield Group(
                    "shilling", members[kept], significance, reason, columns=("item", "rating"), purity=float(likely[kept].mean()),
                    rank=-p_users[kept],
                )  # fmt: skip


def _overdispersion(given: Ints, known: Ints, share: float) -> Floats:
    """Per item: correlation beyond chance of delivered against trusted marks over all *other* items."""
    size = (given + known).astype(float)
    usual = (size >= 2) & (known > 0)
    excess = np.where(usual, (given - size * share) ** 2 - size * share * (1 - share), 0.0)
    worth = np.where(usual, size * (size - 1) * share * (1 - share), 0.0)
    spread: Floats = np.clip((excess.sum() - excess) / np.maximum(worth.sum() - worth, 1e-12), 0.0, 0.2)
    return spread


def _excess(given: int, known: int, share: float, spread: float) -> float:
    """How often so many of the marks of an honest item are delivered ones."""
    if spread <= 1e-6:
        return float(binom.sf(given - 1, given + known, share))
    weight = 1 / spread - 1
    return float(betabinom.sf(given - 1, given + known, share * weight, (1 - share) * weight))


def _posterior(p: Floats, guilty: float) -> Floats:
    """Probability of being made up, where `guilty` of the users are: honest p-values are uniform, those of others exponential (EM)."""
    rate, weight = 1 / _ODD, np.full(len(p), guilty)
    for _ in range(20):
        alternative = guilty * rate * np.exp(-rate * p)
        weight = alternative / (alternative + 1 - guilty + 1e-12)
        rate = float(weight.sum() / max((weight * p).sum(), 1e-12))
    return weight


def _sentence(found: _Verdict, i: int) -> str:
    mine = found.delivered.user == i
    above, known = int((found.reference >= found.scores[i]).sum()), len(found.reference)
    return f"{int(mine.sum())} ratings that look made up: {above} of {known} trusted users look so much like profiles that were drawn"
