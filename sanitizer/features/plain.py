"""Plain encoders of embeddings, pictures, texts and ratings: no model, no download, fitted in seconds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from sanitizer.features.tables import Encoded
from sanitizer.samples import UnverifiedSamples

_TEXT_DIMENSIONS = 50
_MOST_PIXELS = 4096


def matrix(samples: UnverifiedSamples, name: str) -> NDArray[np.float32]:
    """A fixed-size list column as (n, values), nulls as zero, without a copy where the types allow."""
    column = samples.table[name].combine_chunks()
    width = column.type.list_size
    if column.null_count or column.flatten().null_count:
        column = pa.FixedSizeListArray.from_arrays(_filled(column, width), width)
    values = column.flatten().to_numpy(zero_copy_only=False)
    rows: NDArray[np.float32] = values.reshape(len(column), width).astype(np.float32)
    return np.nan_to_num(rows, nan=0.0, posinf=3e38, neginf=-3e38)


def _filled(column: pa.Array, width: int) -> pa.Array:
    rows = [row if row is not None else [None] * width for row in column.to_pylist()]
    flat = [0 if v is None else v for row in rows for v in row]
    return pa.array(flat, column.type.value_type)


def _pair(samples: UnverifiedSamples, trusted: UnverifiedSamples | None, name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    mine = matrix(samples, name)
    if trusted is None:
        return mine, np.zeros((0, mine.shape[1]), np.float32)
    return mine, matrix(trusted, name)


def encode_embedding(samples: UnverifiedSamples, trusted: UnverifiedSamples | None) -> Encoded:
    """The vectors themselves, centred and divided by one common scale: angles and relative distances stay."""
    name = next(c.name for c in samples.schema.features if c.type.startswith("embedding"))
    mine, theirs = _pair(samples, trusted, name)
    known = theirs if len(theirs) else mine
    middle = np.median(known, axis=0) if len(known) else np.zeros(mine.shape[1], np.float32)
    scale = np.sqrt(np.median((known - middle) ** 2, axis=0).mean()) if len(known) else 1.0
    scale = float(scale) if np.isfinite(scale) and scale > 0 else 1.0
    clip = np.float32(1e6)
    return (
        np.clip((mine - middle) / scale, -clip, clip).astype(np.float32),
        np.clip((theirs - middle) / scale, -clip, clip).astype(np.float32),
        (name,) * mine.shape[1],
    )


def encode_image(samples: UnverifiedSamples, trusted: UnverifiedSamples | None) -> Encoded:
    """Pixels from 0 to 1; large pictures are thinned to a grid."""
    name = next(c.name for c in samples.schema.features if c.type.startswith("image"))
    mine, theirs = _pair(samples, trusted, name)
    step = max(1, mine.shape[1] // _MOST_PIXELS)
    mine, theirs = mine[:, ::step] / 255.0, theirs[:, ::step] / 255.0
    return np.ascontiguousarray(mine), np.ascontiguousarray(theirs), (name,) * mine.shape[1]


def encode_text(samples: UnverifiedSamples, trusted: UnverifiedSamples | None) -> Encoded:
    """TF-IDF of words and word pairs, projected to a few dozen dimensions."""
    name = next(c.name for c in samples.schema.features if c.type == "string")
    mine = [str(t or "") for t in samples.table[name].to_pylist()]
    theirs = [] if trusted is None else [str(t or "") for t in trusted.table[name].to_pylist()]
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, max_features=20_000, sublinear_tf=True)
    try:
        counts = words.fit_transform(theirs or mine)
    except ValueError:  # no word occurs twice: nothing to compare texts by
        return np.zeros((len(mine), 1), np.float32), np.zeros((len(theirs), 1), np.float32), (name,)
    wide = min(_TEXT_DIMENSIONS, min(counts.shape) - 1)
    if wide < 1:
        return np.zeros((len(mine), 1), np.float32), np.zeros((len(theirs), 1), np.float32), (name,)
    projection = TruncatedSVD(wide, random_state=0).fit(counts)
    both = projection.transform(words.transform([*mine, *theirs])).astype(np.float32)
    return both[: len(mine)], both[len(mine) :], (name,) * both.shape[1]


def users_of(samples: UnverifiedSamples) -> pd.Index:
    """The users of a ratings table, sorted: the units that are judged."""
    users: pd.Index = pd.Index(sorted(set(samples.table["user"].to_pylist())), name="user")
    return users


def encode_ratings(samples: UnverifiedSamples, trusted: UnverifiedSamples | None) -> Encoded:
    """One profile per user: how many, how high, how spread, how extreme, how far from each item's mean, how popular."""
    known = samples if trusted is None else trusted
    items = known.table.select(["item", "rating"]).to_pandas().groupby("item")["rating"].agg(["mean", "size"])
    mine = _profiles(samples, items)
    theirs = np.zeros((0, mine.shape[1])) if trusted is None else _profiles(trusted, items)
    fitted_on = theirs if len(theirs) else mine
    scale = fitted_on.std(axis=0)
    middle, scale = fitted_on.mean(axis=0), np.where(scale > 0, scale, 1.0)
    names = ("count", "mean", "spread", "top", "bottom", "deviation", "popularity")
    return ((mine - middle) / scale).astype(np.float32), ((theirs - middle) / scale).astype(np.float32), names


def _profiles(samples: UnverifiedSamples, items: pd.DataFrame) -> NDArray[np.float64]:
    frame = samples.table.select(["user", "item", "rating"]).to_pandas()
    if not len(frame):
        return np.zeros((0, 7))
    met = items.reindex(frame["item"])
    middle = float(items["mean"].mean()) if len(items) else 0.0
    frame["off"] = (frame["rating"] - met["mean"].fillna(middle).to_numpy()).abs()
    frame["known"] = np.log1p(met["size"].fillna(0).to_numpy())
    top, bottom = frame["rating"].max(), frame["rating"].min()
    frame["top"], frame["bottom"] = frame["rating"] == top, frame["rating"] == bottom
    grouped = frame.groupby("user", sort=True)
    profile = grouped.agg(
        count=("rating", "size"),
        mean=("rating", "mean"),
        spread=("rating", "std"),
        top=("top", "mean"),
        bottom=("bottom", "mean"),
        off=("off", "mean"),
        known=("known", "mean"),
    )
    profile["count"] = np.log1p(profile["count"])
    profiles: NDArray[np.float64] = profile.fillna(0.0).to_numpy(np.float64)
    return profiles
