"""What a sample consists of, as numbers and strings for the page to paint: nothing here is markup, an address or a picture file.

Pictures leave as pixel values of a bounded size, so that no decoder ever sees foreign bytes; texts leave as they are (the page
makes control and bidirectional characters visible) and cut to a bounded length.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sanitizer.quarantine.content import Content
from sanitizer.report.looks import grid
from sanitizer.samples import Column, Schema
from sanitizer.samples.canonical import flat

MOST_TEXT = 20_000  # characters of one text; a person reads no more, the export has the rest
MOST_CELL = 2_000  # characters of one cell
MOST_CELLS = 200
MOST_ITEMS = 40  # ratings of one user
THUMBNAIL, PICTURE, ZOOM = 48, 96, 1024  # longest side, in pixels


def panel(kept: Content, weighty: Sequence[str], context: Mapping[str, Any], *, side: int = PICTURE) -> dict[str, Any]:
    """The content of one sample: `kind` is image, text, vector, profile or row; `cells` are its plain columns, those that weigh first.

    `weighty` names columns, places of a grid, or words of the text; `context` is that of its delivery (see `quarantine.context`).
    """
    schema = kept.schema
    if schema.modality == "ratings":
        return profile(kept, context.get("ratings", {}))
    shown: dict[str, Any] = {"kind": "row", "label": _cell(kept, schema.label), "source": _cell(kept, schema.source)}
    names = [c.name for c in schema.columns]
    places = _grid(schema)
    image = next((c for c in schema.features if c.type.startswith("image[")), None)
    vector = next((c for c in schema.features if c.type.startswith("embedding[")), None)
    if image is not None:
        shown |= {"kind": "image", "image": painted(_pixels(kept, image), side)}
    elif places:
        shown |= {"kind": "image", "image": painted(_grey(kept, places, context), side)}
        shown["image"]["marks"] = [list(places[name]) for name in weighty if name in places]
    elif "text" in names:
        text = str(kept.rows.column("text")[0].as_py() or "")
        shown |= {"kind": "text", "text": text[:MOST_TEXT], "cut": max(0, len(text) - MOST_TEXT)}
        shown["words"] = [word[:MOST_CELL] for word in weighty if word not in names]
    elif vector is not None:
        shown |= {"kind": "vector"} | located(numbers(kept, vector.name), context.get("map", {}))
    plain = [c.name for c in schema.features if c not in (image, vector) and c.name != "text" and c.name not in places]
    plain.sort(key=lambda name: (name not in weighty, weighty.index(name) if name in weighty else 0))
    shown["cells"] = [{"name": name, "value": _cell(kept, name), "weighty": name in weighty} for name in plain[:MOST_CELLS]]
    return shown


def numbers(kept: Content, name: str) -> NDArray[np.float64]:
    """A vector; zeros where it is null."""
    column = kept.rows.column(name)
    values: NDArray[np.float64] = np.zeros(column.type.list_size) if column.null_count else flat(column)[: column.type.list_size]
    return np.nan_to_num(values.astype(np.float64))


def located(vector: NDArray[np.float64], plane: Mapping[str, Any]) -> dict[str, Any]:
    """Where a vector lies in the plane of its delivery's map."""
    axes = np.array(plane.get("axes") or [], np.float64)
    at: list[float] | None = None
    if len(axes) and axes.shape[1] == len(vector):
        at = [round(float(v), 4) for v in axes @ (vector - np.array(plane["middle"]))]
        at += [0.0] * (2 - len(at))
    return {"size": len(vector), "norm": float(np.linalg.norm(vector)), "at": at, "first": [round(float(v), 4) for v in vector[:12]]}


def likeness(one: Content, other: Content) -> dict[str, float]:
    """How near two vectors are; empty for samples that are none."""
    name = next((c.name for c in one.schema.features if c.type.startswith("embedding[")), None)
    if name is None or other.rows.schema.get_field_index(name) < 0:
        return {}
    a, b = numbers(one, name), numbers(other, name)
    if len(a) != len(b):
        return {}
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return {"distance": float(np.linalg.norm(a - b)), "cosine": float(a @ b) / length if length else 0.0}


def painted(pixels: NDArray[np.uint8], side: int) -> dict[str, Any]:
    """Pixel values, base64, row by row, `channels` each; averaged down until no side is longer than `side`."""
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape[2] not in (1, 3, 4):
        pixels = pixels.mean(axis=2, keepdims=True).astype(np.uint8)
    height, width, channels = pixels.shape
    step = math.ceil(max(height, width) / side)
    if step > 1:
        spare = ((0, -height % step), (0, -width % step), (0, 0))
        tall = np.pad(pixels, spare, mode="edge").astype(np.float32)
        pixels = tall.reshape(tall.shape[0] // step, step, tall.shape[1] // step, step, channels).mean(axis=(1, 3)).round().astype(np.uint8)
    data = base64.b64encode(np.ascontiguousarray(pixels).tobytes()).decode()
    return {"height": pixels.shape[0], "width": pixels.shape[1], "channels": channels, "of": [height, width], "data": data, "marks": []}


def profile(kept: Content, usual: Mapping[str, Any]) -> dict[str, Any]:
    """A user: how many ratings, how high, and the items where they are farthest from what trusted users say."""
    rows = kept.rows.select(["item", "rating"]).to_pylist()
    marks = [float(row["rating"]) for row in rows if row["rating"] is not None]
    items = usual.get("items", {})
    found = []
    for row in rows:
        mean, count = items.get(str(row["item"]), (None, 0))
        found.append({"item": str(row["item"])[:MOST_CELL], "rating": row["rating"], "usual": mean, "known": count})
    found.sort(key=lambda one: -abs((one["rating"] or 0.0) - (one["usual"] if one["usual"] is not None else one["rating"] or 0.0)))
    counts: dict[float, int] = {}
    for mark in marks:
        counts[mark] = counts.get(mark, 0) + 1
    return {
        "kind": "profile",
        "label": None,
        "source": None,
        "user": str(kept.rows.column("user")[0].as_py())[:MOST_CELL],
        "count": len(rows),
        "mean": sum(marks) / len(marks) if marks else None,
        "marks": sorted([mark, n] for mark, n in counts.items()),
        "items": found[:MOST_ITEMS],
        "more": max(0, len(found) - MOST_ITEMS),
        "cells": [],
    }


def heat(suspects: Sequence[Content], trusted: Sequence[Content], context: Mapping[str, Any]) -> dict[str, Any] | None:
    """Where the pictures of a case agree with each other and differ from trusted ones: the trigger, if there is one.

    Per pixel: distance of the two means over the spread among the suspects (Welch's t, without its degrees of freedom), scaled to 0..255.
    None unless both sides hold at least three pictures of one shape.
    """
    mine, theirs = (_stack(side, context) for side in (suspects, trusted))
    if mine is None or theirs is None or mine.shape[1:] != theirs.shape[1:]:
        return None
    spread = np.sqrt(mine.var(axis=0) / len(mine) + theirs.var(axis=0) / len(theirs)) + 2.0  # two grey levels: noise of the camera
    score = np.abs(mine.mean(axis=0) - theirs.mean(axis=0)) / spread
    top = float(score.max())
    if top < 4.0:  # nothing that chance would not do over so many pixels
        return None
    return painted((score * (255 / top)).astype(np.uint8), PICTURE)


def _stack(kept: Sequence[Content], context: Mapping[str, Any]) -> NDArray[np.float64] | None:
    pictures = []
    for one in kept:
        image = next((c for c in one.schema.features if c.type.startswith("image[")), None)
        places = _grid(one.schema)
        if image is not None:
            pixels = _pixels(one, image).astype(np.float64)
            pictures.append(pixels.mean(axis=2) if pixels.ndim == 3 else pixels)
        elif places:
            pictures.append(_grey(one, places, context).astype(np.float64))
    shapes = {p.shape for p in pictures}
    return np.stack(pictures) if len(pictures) >= 3 and len(shapes) == 1 else None


def _pixels(kept: Content, column: Column) -> NDArray[np.uint8]:
    """The picture in a column, black where it is null."""
    values = kept.rows.column(column.name)
    pixels: NDArray[np.uint8] = np.zeros(column.shape, np.uint8) if values.null_count else flat(values).reshape(column.shape)
    return pixels


def _grey(kept: Content, places: dict[str, tuple[int, int]], context: Mapping[str, Any]) -> NDArray[np.uint8]:
    low, high = context.get("range") or (0.0, 1.0)
    values = np.array([kept.rows.column(name)[0].as_py() or 0 for name in places], np.float64)
    grey = (np.nan_to_num(values) - low) * (255 / (high - low) if high > low else 0)
    rows, columns = next(reversed(places.values()))
    return grey.round().clip(0, 255).astype(np.uint8).reshape(rows + 1, columns + 1)


@lru_cache(maxsize=64)
def _grid(schema: Schema) -> dict[str, tuple[int, int]]:
    return grid(schema)


def _cell(kept: Content, name: str | None) -> str | None:
    if name is None:
        return None
    value = kept.rows.column(name)[0].as_py()
    if value is None:
        return None
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return str(value)[:MOST_CELL]
