"""A new state without running the migrations each time."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from sanitizer.store import Store


@cache
def _empty():
    with tempfile.TemporaryDirectory() as place:
        Store.open("sqlite:///state.db", Path(place)).close()
        return (Path(place) / "state.db").read_bytes()


def open_store(place, **more):
    (place / "state.db").write_bytes(_empty())
    return Store.open("sqlite:///state.db", place, **more)
