"""How one sample looks to a person: a few cells, a text, or a picture.  Everything foreign leaves here with control characters visible."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray

from sanitizer.errors import printable
from sanitizer.samples import Schema, UnverifiedSamples

MOST_CELLS = 12  # of a row; a person reads no more, and the weighty ones come first
_GRID = re.compile(r"r(\d{1,3})c(\d{1,3})")


class Looks:
    """Rows of one table, as a report shows them.

    A table whose features are a full grid `r0c0` … `rNcM` of numbers is a table of pictures, and shown as such.
    """

    def __init__(self, samples: UnverifiedSamples) -> None:
        self.samples = samples
        self.schema = samples.schema
        self.columns = {column.name: column.type for column in self.schema.columns}

    def columns_shown(self, weighty: Iterable[Sequence[str]]) -> list[str]:
        """The columns that a group of samples is shown by: those that weigh in most of its members first, then as they come."""
        votes = Counter(name for names in weighty for name in names)
        readable = [c.name for c in self.schema.features if not c.type.startswith(("image[", "embedding[")) and c.name != "text"]
        ranked = sorted(readable, key=lambda name: -votes[name])
        return ranked[:MOST_CELLS]

    def row(self, i: int, weighty: Sequence[str] = (), shown: Sequence[str] = ()) -> dict[str, Any]:
        """Row `i`: `label`, `source`, and a `picture` (data URI) or a `text` and `cells` of the columns `shown`; `weighty` is marked."""
        looks: dict[str, Any] = {"label": self.label(i), "source": self.source(i)}
        grey = self._pixels(i)
        if grey is not None:
            looks["picture"] = picture(grey)
            looks["marks"] = [list(self._grid[name]) for name in weighty if name in self._grid]
            looks["shape"] = [int(side) for side in grey.shape[:2]]
            return looks
        if "text" in self.columns:
            looks["text"] = self._cell("text", i)
            looks["words"] = [printable(word) for word in weighty if word not in self.columns]
        looks["cells"] = [{"name": printable(name), "value": self._cell(name, i), "weighty": name in weighty} for name in shown]
        return looks

    def label(self, i: int) -> str | None:
        """The label of row `i`."""
        return self._cell(self.schema.label, i)

    def source(self, i: int) -> str | None:
        """The source of row `i`."""
        return self._cell(self.schema.source, i)

    def _pixels(self, i: int) -> NDArray[np.uint8] | None:
        """Row `i` as a picture (h, w[, c]), or None where the table holds none."""
        image = next((column for column in self.schema.columns if column.type.startswith("image[")), None)
        if image is not None:
            shape = [int(side) for side in re.findall(r"\d+", image.type)]
            cells = self.samples.table[image.name][i].as_py()
            return np.zeros(shape, np.uint8) if cells is None else np.array(cells, np.uint8).reshape(shape)
        if not self._grid:
            return None
        values = np.array([self.samples.table[name][i].as_py() or 0 for name in self._grid], np.float64)
        low, high = self._range
        grey = (values - low) * (255 / (high - low) if high > low else 0)
        rows, columns = next(reversed(self._grid.values()))
        return grey.round().clip(0, 255).astype(np.uint8).reshape(rows + 1, columns + 1)

    @cached_property
    def _range(self) -> tuple[float, float]:
        """The least and greatest value of a grid."""
        ends = [pc.min_max(self.samples.table[name]).as_py() for name in self._grid]
        return min((e["min"] or 0 for e in ends), default=0), max((e["max"] or 0 for e in ends), default=0)

    @cached_property
    def _grid(self) -> dict[str, tuple[int, int]]:
        return grid(self.schema)

    def _cell(self, name: str | None, i: int) -> str | None:
        if name is None:
            return None
        return written(self.samples.table[name][i].as_py())


def grid(schema: Schema) -> dict[str, tuple[int, int]]:
    """Feature name -> place (row, column), sorted by place; empty unless the features fill a rectangle of at least 4 x 4."""
    places = {}
    for column in schema.features:
        match = _GRID.fullmatch(column.name)
        if match is None or column.type not in ("int64", "float64"):
            return {}
        places[column.name] = (int(match[1]), int(match[2]))
    ordered = dict(sorted(places.items(), key=lambda item: item[1]))
    sides = [max((place[axis] for place in places.values()), default=-1) + 1 for axis in (0, 1)]
    full = min(sides) >= 4 and len(set(places.values())) == len(places) == sides[0] * sides[1]
    return ordered if full else {}


class Profiles:
    """Users of a table of ratings: the unit that is judged is the user, so a report shows what each one rated."""

    def __init__(self, samples: UnverifiedSamples, users: pd.Index) -> None:
        self.samples = samples
        self.users = [str(user) for user in users]

    @cached_property
    def _ratings(self) -> dict[str, pd.DataFrame]:
        frame = self.samples.table.select(["user", "item", "rating"]).to_pandas()
        return dict(list(frame.groupby(frame["user"].astype(str), sort=False)))

    def columns_shown(self, weighty: Iterable[Sequence[str]]) -> list[str]:
        """Users have no columns of their own."""
        del weighty
        return []

    def row(self, i: int, weighty: Sequence[str] = (), shown: Sequence[str] = ()) -> dict[str, Any]:
        """User `i`: how many ratings, their mean, and the items with the highest and the lowest marks."""
        mine = self._ratings[self.users[i]].sort_values(["rating", "item"], kind="stable")
        top, bottom = mine["rating"].max(), mine["rating"].min()
        del shown
        facts = {
            "user": self.users[i],
            "ratings": len(mine),
            "mean": float(mine["rating"].mean()),
            f"items with {written(float(top))}": self._items(mine[mine["rating"] == top]),
            f"items with {written(float(bottom))}": self._items(mine[mine["rating"] == bottom]),
        }
        cells = [{"name": name, "value": written(value), "weighty": name in weighty} for name, value in facts.items()]
        return {"label": None, "source": None, "cells": cells}

    def label(self, _i: int) -> None:
        """Users have no label."""

    def source(self, _i: int) -> None:
        """Users have no source."""

    @staticmethod
    def _items(rows: pd.DataFrame) -> str:
        names = [str(item) for item in rows["item"].head(8)]
        return ", ".join(names) + (f", and {len(rows) - 8} more" if len(rows) > 8 else "")


def written(value: Any) -> str | None:
    """A cell as a person writes it; None for a missing one."""
    if value is None:
        return None
    if isinstance(value, float):
        return "NaN" if np.isnan(value) else f"{value:.6g}"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return printable(str(value))


def picture(pixels: NDArray[np.uint8]) -> str:
    """A data URI of a PNG (ISO/IEC 15948) of these pixels, shape (h, w), (h, w, 1) or (h, w, 3); the same pixels give the same bytes."""
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim == 3 and pixels.shape[2] not in (3, 4):
        pixels = pixels.mean(axis=2).astype(np.uint8)
    step = max(1, max(pixels.shape[:2]) // 48)  # a thumbnail: a report stays small whatever the pictures are
    pixels = np.ascontiguousarray(pixels[::step, ::step])
    height, width = pixels.shape[:2]
    kind = 0 if pixels.ndim == 2 else {3: 2, 4: 6}[pixels.shape[2]]  # grey, colour, colour with alpha
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)  # filter 0 before each line
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    chunks = [_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)), _chunk(b"IEND", b"")]
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)).decode()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
