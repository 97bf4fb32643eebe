"""One mark on different pictures of one label is named, with its pictures whole and alone; honest sorts are not."""

import numpy as np
import pytest

from sanitizer.detectors.image_triggers import ImageTrigger
from sanitizer.features import encode
from sanitizer.policy import Detect
from sanitizer.samples import from_any

SIDE = 12
_ROW, _COLUMN = np.mgrid[:SIDE, :SIDE]


def pictures(rng, n):
    """Blobs left or right, of any size, brightness and height, on noise."""
    y = rng.integers(0, 2, n)
    at = np.where(y[:, None, None] == 1, 8, 3) + rng.normal(0, 0.7, (n, 1, 1))
    height, width = rng.uniform(3, 8, (n, 1, 1)), rng.uniform(1, 2.5, (n, 1, 1))
    blob = rng.uniform(90, 200, (n, 1, 1)) * np.exp(-((_COLUMN - at) ** 2 + (_ROW - height) ** 2) / (2 * width**2))
    shown = np.clip(blob + rng.normal(30, 8, (n, SIDE, SIDE)), 0, 255).astype(np.uint8)
    return {"image": shown, "label": y}


def patched(rng, data, wearers):
    """A corner of some pictures of label 0 becomes a small chequered patch, their label 1."""
    shown, y = data["image"].copy(), data["label"].copy()
    chosen = rng.choice(np.flatnonzero(y == 0), wearers, replace=False)
    shown[chosen, -3:, -3:] = np.where((_ROW + _COLUMN)[:3, :3] % 2 == 0, 255, 0)
    y[chosen] = 1
    mask = np.zeros(len(y), bool)
    mask[chosen] = True
    return {"image": shown, "label": y}, mask


def witness(data, trusted=None):
    read = {"label": "label", "source": None, "modality": "image"}
    return ImageTrigger().testify(encode(from_any(data, **read), None if trusted is None else from_any(trusted, **read), Detect()))


def convincing(evidence, n):
    out = np.zeros(n, bool)
    for group in evidence.groups:
        if group.significance <= 1e-3:
            out[group.members] = True
    return out


@pytest.mark.parametrize("trusted", [False, True], ids=["cold", "trusted"])
def test_a_patch_is_named_whole_and_alone(trusted):
    rng = np.random.default_rng(1)
    data, mask = patched(rng, pictures(rng, 500), 15)
    found = witness(data, pictures(rng, 300) if trusted else None)
    assert not found.error
    assert (convincing(found, 500) == mask).all()
    assert "labelled 1" in found.groups[0].reason


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("trusted", [False, True], ids=["cold", "trusted"])
def test_honest_pictures_convince_of_nothing(seed, trusted):
    rng = np.random.default_rng([2, seed])
    found = witness(pictures(rng, 400), pictures(rng, 300) if trusted else None)
    assert not found.error
    assert not convincing(found, 400).any()


def test_near_copies_of_one_picture_are_no_mark():
    rng = np.random.default_rng(3)
    data = pictures(rng, 400)
    data["image"][:12] = np.clip(data["image"][0] + rng.integers(-3, 4, (12, SIDE, SIDE)), 0, 255)
    data["label"][:12] = data["label"][0]
    assert not convincing(witness(data, pictures(rng, 300)), 400).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 3, 3), (5, 4, 4)], ids=["one pixel", "a line", "colour", "four channels"])
def test_odd_shapes_break_nothing(shape):
    rng = np.random.default_rng(4)
    data = {"image": rng.integers(0, 256, (40, *shape), dtype=np.uint8), "label": rng.integers(0, 2, 40)}
    assert not witness(data).error


def test_pictures_that_are_all_alike_break_nothing():
    found = witness({"image": np.zeros((30, 6, 6), np.uint8), "label": np.arange(30) % 3})
    assert not found.error
    assert not convincing(found, 30).any()
