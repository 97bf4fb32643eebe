"""What changed between two sets of samples, whatever the order of their rows.

Samples are matched in steps, each on what the one before left over; exact duplicates are counted, so that two of them
against three is two the same and one added:

1. same row digest: the same sample;
2. same content and label, from another source: *changed*;
3. same content, other label: *relabelled*;
4. same key, where the schema names one: *changed*;
5. the rest was *removed* or *added*.

>>> import pyarrow as pa
>>> from sanitizer.samples import from_any
>>> before = from_any(pa.table({"x": [1, 2, 3], "y": ["a", "a", "b"]}), label="y")
>>> after = from_any(pa.table({"x": [4, 3, 1], "y": ["a", "a", "a"]}), label="y")
>>> diff(before, after).counts
{'added': 1, 'removed': 1, 'changed': 0, 'relabelled': 1, 'same': 1}
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sanitizer.errors import UsageError
from sanitizer.samples import strict
from sanitizer.samples.identity import column_codes, digests
from sanitizer.samples.schema import Column, Schema, listed
from sanitizer.samples.table import UnverifiedSamples

Positions = NDArray[np.int64]
Codes = NDArray[np.int64]
_BLOCK = 1 << 15  # digests compared at once


@dataclass(frozen=True, eq=False)
class Diff:
    """How `after` differs from `before`, by positions in the two.

    `added` are positions in `after`, `removed` in `before`, all shape (m,); `changed` and `relabelled` are pairs of both,
    shape (m, 2); `same` is shape (m, 2) too.  Law: every row of either side is in exactly one of them.
    """

    added: Positions
    removed: Positions
    changed: Positions
    relabelled: Positions
    same: Positions

    def __bool__(self) -> bool:
        """Whether there is any difference."""
        return any(len(rows) for rows in (self.added, self.removed, self.changed, self.relabelled))

    @property
    def counts(self) -> dict[str, int]:
        """How many samples of each kind."""
        return {name: len(getattr(self, name)) for name in ("added", "removed", "changed", "relabelled", "same")}


def diff(before: UnverifiedSamples, after: UnverifiedSamples, *, key: tuple[str, ...] | None = None) -> Diff:
    """The difference of two sets of samples; `key` overrides the key columns of the schema of `before`.

    `after` may have its columns in another order and, without loss, in other types.  Raises `UsageError` where label or source are
    other columns, `SchemaMismatch` where columns are missing or hold something else.
    """
    after = _comparable(before.schema, after)
    key = before.schema.key if key is None else key
    unknown = [name for name in key if name not in before.schema.names]
    if unknown:
        raise UsageError(f"no column {unknown[0]!r} for the key; columns: {listed(before.schema.names)}", subject=unknown[0])
    old, new = np.arange(len(before)), np.arange(len(after))
    sides = _Sides(before, after)
    plain, tangled = sides.pairs_and_rest(sides.contents)
    labels, sources = sides.codes(before.schema.label), sides.codes(before.schema.source)
    other_label = labels[plain[:, 0]] != labels[plain[:, 1]]
    other_source = sources[plain[:, 0]] != sources[plain[:, 1]]
    same = [plain[~other_label & ~other_source]]
    moved = [plain[~other_label & other_source]]
    relabelled = [plain[other_label]]
    # exact duplicates, or one content under two labels: match what is closest first
    for found, alike in ((same, (labels, sources)), (moved, (labels,)), (relabelled, ())):
        pairs, tangled = sides.matched(tangled, sides.contents, *alike)
        found.append(pairs)
    changed, rest = sides.matched(tangled, sides.keys(key)) if key else (plain[:0], tangled)
    old, new = rest[rest < sides.old], rest[rest >= sides.old] - sides.old
    return Diff(new, old, sides.positions(*moved, changed), sides.positions(*relabelled), sides.positions(*same))


def known(trusted: UnverifiedSamples, delivered: UnverifiedSamples) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which delivered samples have a content that `trusted` knows, and which of those carry a label it never had there.

    Two masks of shape (n,).  Unlike in a diff, a sample that comes back twice, once as it was and once relabelled, counts as
    relabelled: budgets on relabelled samples look here.
    """
    sides = _Sides(trusted, _comparable(trusted.schema, delivered))
    contents = sides.contents
    labelled = _mixed(contents, sides.codes(trusted.schema.label))
    is_known, as_it_was = (np.isin(codes[sides.old :], codes[: sides.old]) for codes in (contents, labelled))
    return is_known, is_known & ~as_it_was


def disagreement(samples: UnverifiedSamples) -> float:
    """How often a sample that is there more than once carries a label that none of its copies carries, as a share.

    Coarse data (few columns, few values) repeat themselves under different labels with no malice: what a budget on relabelled
    samples must allow for.
    """
    sides = _Sides(samples, samples.take([]))
    contents, labels = sides.contents, sides.codes(samples.schema.label)
    if not len(contents):
        return 0.0
    _, both = np.unique(_mixed(contents, labels), return_inverse=True)
    repeated = np.bincount(contents)[contents] > 1
    alone = np.bincount(both)[both] == 1
    return float((repeated & alone).sum() / max(1, repeated.sum()))


class _Sides:
    """The rows of both sides one after the other: a row of `after` stands `old` places behind its position there."""

    def __init__(self, before: UnverifiedSamples, after: UnverifiedSamples) -> None:
        self.before, self.after, self.old = before, after, len(before)

    @cached_property
    def contents(self) -> Codes:
        """Equal numbers for equal content ids."""
        return _digest_codes(self.before.content_ids, self.after.content_ids)

    def keys(self, key: tuple[str, ...]) -> Codes:
        """Equal numbers for equal values of the key columns."""
        columns = [self.before.schema[name] for name in key]
        sides = [digests([s.table[name] for name in key], columns, "key") for s in (self.before, self.after)]
        return _digest_codes(*sides)

    def codes(self, name: str | None) -> Codes:
        """Equal numbers for equal values of one column; without a column all are equal."""
        if name is None:
            return np.zeros(self.old + len(self.after), np.int64)
        ours, theirs = self.before.table[name], self.after.table[name]
        return column_codes(pa.chunked_array([*ours.chunks, *theirs.chunks], ours.type))

    def pairs_and_rest(self, codes: Codes) -> tuple[Codes, Codes]:
        """Rows of which each side has exactly one, as pairs of shape (m, 2); and all other rows."""
        most = 1 + int(codes.max(initial=-1))
        olds, news = codes[: self.old], codes[self.old :]
        once = (np.bincount(olds, minlength=most) == 1) & (np.bincount(news, minlength=most) == 1)
        places = np.zeros((2, most), np.int64)
        places[0, olds] = np.arange(self.old)
        places[1, news] = np.arange(self.old, len(codes))
        return places[:, once].T, np.flatnonzero(~once[codes])

    def matched(self, rows: Codes, *codes: Codes) -> tuple[Codes, Codes]:
        """Pairs among `rows` that are equal in all `codes`, the k-th of one side with the k-th of the other; and the rest."""
        mixed = codes[0][rows]
        for more in codes[1:]:
            mixed = _mixed(mixed, more[rows])
        left, right = mixed[rows < self.old], mixed[rows >= self.old]
        ranks, other_ranks = _occurrences(left), _occurrences(right)
        left, right = np.split(_mixed(np.concatenate([left, right]), np.concatenate([ranks, other_ranks])), [len(left)])
        _, at, other_at = np.intersect1d(left, right, assume_unique=True, return_indices=True)
        olds, news = rows[rows < self.old], rows[rows >= self.old]
        pairs = np.column_stack([olds[at], news[other_at]])
        return pairs, np.concatenate([np.delete(olds, at), np.delete(news, other_at)])

    def positions(self, *pairs: Codes) -> Positions:
        """Pairs of rows as pairs of positions in the two sides, in the order of the first."""
        joined: Positions = np.concatenate(pairs)
        joined[:, 1] -= self.old
        return joined[np.argsort(joined[:, 0], kind="stable")]


def _digest_codes(before: NDArray[np.void], after: NDArray[np.void]) -> Codes:
    """Digests as small numbers: by their first eight bytes, which is quick, and by all where those do not tell them apart."""
    sides = [d.view(np.uint64).reshape(-1, 4) for d in (before, after)]
    prefixes = pa.array(np.concatenate([side[:, 0] for side in sides]))
    codes: Codes = prefixes.dictionary_encode().indices.to_numpy().astype(np.int64)
    first = np.zeros(1 + int(codes.max(initial=-1)), np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    again = np.flatnonzero(first[codes] != np.arange(len(codes)))
    for rows in np.array_split(again, 1 + len(again) // _BLOCK):
        if (_picked(sides, rows) != _picked(sides, first[codes[rows]])).any():  # an attacker can make such a pair in an hour
            return np.unique(np.concatenate(sides), axis=0, return_inverse=True)[1].reshape(-1)
    return codes


def _picked(sides: list[NDArray[np.uint64]], rows: Codes) -> NDArray[np.uint64]:
    """Rows of both sides one after the other, without joining the sides."""
    out = np.empty((len(rows), 4), np.uint64)
    old = rows < len(sides[0])
    out[old], out[~old] = sides[0][rows[old]], sides[1][rows[~old] - len(sides[0])]
    return out


def _mixed(codes: Codes, more: Codes) -> Codes:
    """Equal numbers where both are equal."""
    width = 1 + int(more.max(initial=0))
    if (1 + int(codes.max(initial=0))) * width >= 2**63:
        codes = np.unique(codes, return_inverse=True)[1]
        more = np.unique(more, return_inverse=True)[1]
        width = 1 + int(more.max(initial=0))
    return codes * width + more


def _comparable(schema: Schema, samples: UnverifiedSamples) -> UnverifiedSamples:
    theirs = samples.schema
    if (theirs.label, theirs.source) != (schema.label, schema.source):
        raise UsageError(
            f"the two have other roles: label {schema.label!r} and source {schema.source!r} "
            f"against label {theirs.label!r} and source {theirs.source!r}"
        )
    if [(c.name, c.type) for c in theirs.columns] == [(c.name, c.type) for c in schema.columns]:
        return samples
    open_schema = Schema(tuple(Column(c.name, c.type) for c in schema.columns), schema.modality, schema.label, schema.source)
    return UnverifiedSamples(strict.cast(samples.table, open_schema, "the second"), open_schema)


def _occurrences(codes: Codes) -> Codes:
    """0 for the first of its code, 1 for the second, and so on."""
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    ranks = np.empty(len(codes), np.int64)
    ranks[order] = np.arange(len(codes)) - np.repeat(starts, np.diff(starts, append=len(codes)))
    return ranks
