"""The types between samples and detectors: cells of a column, and the encoded delivery beside its trusted rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sanitizer.features.graph import NeighbourGraph
from sanitizer.features.posterior import Posteriors, posteriors
from sanitizer.samples import UnverifiedSamples

Matrix = NDArray[np.float32]
Codes = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Cells:
    """One feature column of delivery (n,) and trusted rows (m,), as miners read it.

    Numbers are float64 with NaN for null; categories are codes into `words`, -1 for null.
    """

    name: str
    kind: Literal["number", "category"]
    delivered: NDArray[Any]
    trusted: NDArray[Any]
    words: tuple[str, ...] = ()

    def show(self, value: float) -> str:
        """A value of this column as a person writes it.

        >>> Cells("age", "number", np.array([38.0]), np.array([])).show(38.0)
        '38'
        """
        if np.isnan(value) or (self.kind == "category" and value < 0):
            return "missing"
        return self.words[int(value)] if self.kind == "category" else f"{value:.6g}"


@dataclass(frozen=True, eq=False)
class Features:
    """A delivery of n rows beside m trusted rows (m = 0: cold start), ready for witnesses.

    `rows` (n, d) and `trusted_rows` (m, d) are float32 in a space where Euclidean distance means something; `narrow_rows` and
    `trusted_narrow_rows` have one dimension per column, categories as their codes, as trees like them.  `names` (d,) says
    which column an encoded dimension comes from.  `y` and `trusted_y` are codes into `labels` (the union of both
    vocabularies), -1 where the label is null; without a label column all are -1 and `labels` is empty.  `source` codes
    point into `sources`.  `cells` are the raw columns of a table (empty for other modalities).  `index` names the rows in the
    verdict table (ratings: users).
    """

    modality: str
    rows: Matrix
    trusted_rows: Matrix
    narrow_rows: Matrix
    trusted_narrow_rows: Matrix
    names: tuple[str, ...]
    y: Codes
    trusted_y: Codes
    labels: tuple[str, ...]
    source: Codes
    trusted_source: Codes
    sources: tuple[str, ...]
    cells: tuple[Cells, ...]
    index: pd.Index
    samples: UnverifiedSamples
    trusted: UnverifiedSamples | None
    seed: int = 0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def cold(self) -> bool:
        """There is no trusted release to judge against."""
        return len(self.trusted_rows) == 0

    @property
    def labelled(self) -> bool:
        """There is a label column with at least two classes: something that could be flipped."""
        return len(self.labels) >= 2

    def rng(self, purpose: str) -> np.random.Generator:
        """Random numbers that depend on the seed and the purpose only: witnesses do not disturb each other."""
        return np.random.default_rng([self.seed, *purpose.encode()])

    @cached_property
    def graph(self) -> NeighbourGraph:
        """The one neighbour graph that every witness shares."""
        return NeighbourGraph(self.rows, self.trusted_rows, self.seed)

    @cached_property
    def posteriors(self) -> Posteriors:
        """Class probabilities that never saw the row they speak of, shared by all label witnesses."""
        wide, narrow = (self.rows, self.trusted_rows), (self.narrow_rows, self.trusted_narrow_rows)
        y = (self.y, self.trusted_y)
        return posteriors(wide, narrow, y, self.graph.copies, classes=len(self.labels), seed=self.seed)
