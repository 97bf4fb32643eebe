"""Pictures as numbers: bounded in size, in two bases in which a planted mark stands out from natural variation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

from sanitizer.samples import UnverifiedSamples

Matrix = NDArray[np.float32]

MOST_SIDE = 32  # pixels; larger pictures are averaged down to it
LEVEL = np.float32(1 / 255)  # one grey level
_OPPONENT = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]], np.float32) / np.sqrt(np.array([[3], [2], [6]], np.float32))


def pictures(samples: UnverifiedSamples) -> NDArray[np.uint8]:
    """The pictures of a table, uint8 (n, h, w, c); grey ones have one channel, missing ones are black."""
    name = next(column.name for column in samples.schema.features if column.type.startswith("image["))
    shown = samples.matrix(name)
    return shown[..., None] if shown.ndim == 3 else shown


def reduced(shown: NDArray[np.uint8], side: int = MOST_SIDE) -> Matrix:
    """Pictures (n, h, w, c) as float32 between 0 and 1, averaged down to at most `side` pixels a side; small ones stay as they are.

    >>> reduced(np.full((1, 100, 64, 1), 255, np.uint8)).shape
    (1, 32, 32, 1)
    """
    levels: Matrix = shown.astype(np.float32)
    for axis in (1, 2):
        if levels.shape[axis] > side:
            levels = _averaged(levels, axis, side)
    return levels * LEVEL


def _averaged(shown: Matrix, axis: int, side: int) -> Matrix:
    edges = np.linspace(0, shown.shape[axis], side + 1).round().astype(int)
    sums = np.add.reduceat(shown, edges[:-1], axis=axis, dtype=np.float32)
    wide = [1] * shown.ndim
    wide[axis] = side
    return (sums / np.diff(edges).reshape(wide)).astype(np.float32)


def planes(shown: Matrix) -> list[Matrix]:
    """Brightness, and for colour two opponents at half the resolution (as eyes and JPEG have it): arrays (n, h, w)."""
    if shown.shape[3] != 3:
        return [shown[..., channel] for channel in range(shown.shape[3])]
    turned: Matrix = (shown @ _OPPONENT.T).astype(np.float32)
    return [
        turned[..., 0],
        *(_averaged(_averaged(turned[..., c], 1, (shown.shape[1] + 1) // 2), 2, (shown.shape[2] + 1) // 2) for c in (1, 2)),
    ]


def flat(parts: list[Matrix]) -> Matrix:
    """Planes side by side as one matrix (n, d)."""
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def frequencies(parts: list[Matrix]) -> list[Matrix]:
    """Planes in the cosine basis, orthonormal, so that noise stays noise.

    Natural pictures are nearly uncorrelated here, with little power in fine detail (Field 1987): where it is little, a faint
    pattern is plain to see.
    """
    return [dctn(part, axes=(1, 2), norm="ortho") for part in parts]
