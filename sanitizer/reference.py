"""The trusted side: which rows of the newest release the next delivery is judged against.

What was accepted wrongly is trusted in the next round, so being published is not enough.  A supplier who is new waits until the releases
that hold its rows have stood for a while, and no supplier makes up more of the trusted rows than the policy says: who feeds poison slowly
stays a minority beside the others.  Rows that a person vouched for (the baseline) are nobody's supply and are never cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sanitizer import policy
from sanitizer.errors import RevokedKey
from sanitizer.release.gate import open_release
from sanitizer.release.loaders import OpenRelease
from sanitizer.samples import Samples
from sanitizer.store import Store, deliveries, releases
from sanitizer.workspace import Workspace

ENOUGH = 1_000
"""Rows that every supplier may add, whatever its share: below about 1 / (q x rate) trusted rows, no witness can prove 1 % poison."""

_PERSON = ""  # the source of rows that a person vouched for


@dataclass(frozen=True, eq=False)
class Reference:
    """The trusted rows: `samples`, how many of them each source gave, and in `notes` what was left out and why.

    `released` are all rows of the release that they were chosen from.
    """

    samples: Samples
    released: Samples
    sources: Mapping[str, int]
    notes: tuple[str, ...] = ()


def reference(ws: Workspace, store: Store, version: int | None) -> Reference | None:
    """The trusted rows of one release, which is verified like anybody else's; None before the first.

    Raises:
        Refused: the release does not verify.
    """
    if version is None:
        return None
    with open_release(ws.releases / ws.policy.dataset / str(version), trust=ws.trust) as opened:
        rows = opened.samples()
        owners = _owners(opened)
    young = _young(ws, store, version)
    keep, notes = select(owners, young, ws.policy.reference, seed=ws.policy.detect.seed)
    return Reference(rows.take(keep), rows, dict(Counter(owners[keep].tolist())), notes)


def recalled(ws: Workspace) -> bool:
    """Whether something in the newest release was revoked since it was published."""
    with ws.store() as store, store.reading() as view:
        newest = releases.latest(view, ws.policy.dataset)
    if newest is None:
        return False
    try:
        with open_release(ws.releases / ws.policy.dataset / str(newest.version), trust=ws.trust):
            return False
    except RevokedKey:
        return True


def select(
    owners: NDArray[np.object_], young: Mapping[str, int], rule: policy.Reference, *, seed: int
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Which rows are trusted, as a mask of shape (n,), and a sentence on each supplier that was cut.

    Args:
        owners: shape (n,), the source of each row; "" for rows that a person vouched for.
        young: sources that are too new to be trusted, with the number of further releases that they wait.
        rule: the policy's section.
        seed: which rows stay where only some may.
    """
    names, of_row, counts = np.unique(owners.astype(str), return_inverse=True, return_counts=True)
    sizes = dict(zip(names.tolist(), counts.tolist(), strict=True))
    waits = {name for name in sizes if name in young}
    if waits == set(sizes):  # everybody is new: there is nobody else to measure against
        waits = set()
    ripe = {name: size for name, size in sizes.items() if name not in waits}
    limit = allowance(
        [size for name, size in ripe.items() if name != _PERSON], vouched=ripe.get(_PERSON, 0), share=rule.max_source_share, enough=ENOUGH
    )
    order = np.random.default_rng(seed).permutation(len(owners))
    keep = np.zeros(len(owners), bool)
    notes = []
    for code, (name, size) in enumerate(sizes.items()):
        if name in waits:
            notes.append(f"the {size:,} rows of {name} are not trusted yet: it is new, and joins in {young[name]} releases")
            continue
        most = size if name == _PERSON else min(size, limit)
        keep[order[of_row[order] == code][:most]] = True
        if most < size:
            notes.append(f"only {most:,} of the {size:,} rows of {name} are trusted: no source may be more than the policy's share of all")
    if keep.sum() > rule.max_rows:
        notes.append(f"{rule.max_rows:,} of {int(keep.sum()):,} trusted rows were drawn to judge by")
        keep[order[keep[order]][rule.max_rows :]] = False
    return keep, tuple(notes)


def allowance(sizes: Sequence[int], *, vouched: int, share: float, enough: int) -> int:
    """The most rows that one source may add so that none exceeds `share` of the whole, but at least `enough`.

    `vouched` rows belong to no source.  Without others beside it a source would be allowed nothing, and one small new supplier could then
    empty the trusted side of all others: hence `enough`.

    >>> allowance([5_000, 1_500], vouched=0, share=0.5, enough=1_000)
    1500
    >>> allowance([5_000], vouched=2_000, share=0.5, enough=1_000)
    2000
    >>> allowance([5_000, 10], vouched=0, share=0.5, enough=1_000)
    1000
    """
    largest = max(sizes, default=0)
    low, high = 0, largest  # the surplus share * total(c) - c is concave in c and not negative at 0: the largest c is found by halving
    while low < high:
        middle = (low + high + 1) // 2
        total = vouched + sum(min(size, middle) for size in sizes)
        low, high = (middle, high) if middle <= share * total else (low, middle - 1)
    return max(low, min(enough, largest))


def _owners(opened: OpenRelease) -> NDArray[np.object_]:
    """The source of each row of a release, in its order, shape (n,)."""
    signed = opened.release.statement
    materials = signed["buildDefinition"]["resolvedDependencies"]
    source = {f"sha256:{m['digest']['sha256']}": _PERSON if m["annotations"]["asserted"] else m["annotations"]["source"] for m in materials}
    parts = sorted(signed["release"]["parts"], key=lambda part: str(part["path"]))
    # rows that review let in have no material: a person vouched for each of them, and is cut like a supplier
    owners = [np.full(part["rows"], source.get(part["origin"], part["origin"]), object) for part in parts]
    return np.concatenate(owners) if owners else np.empty(0, object)


def _young(ws: Workspace, store: Store, version: int) -> dict[str, int]:
    """Sources whose first rows are in fewer releases before this one than the policy asks for, and how many are missing."""
    with store.reading() as view:
        published = [r for r in releases.listed(view, ws.policy.dataset) if r.state == "published" and r.version <= version]
        came = deliveries.listed(view, dataset=ws.policy.dataset, states=("published",))
    ages: dict[str, int] = {}
    for delivery in came:
        age = sum(r.at >= delivery.updated_at for r in published) - 1
        ages[delivery.source] = max(age, ages.get(delivery.source, age))
    least = ws.policy.reference.min_age_releases
    return {source: least - age for source, age in ages.items() if age < least}
