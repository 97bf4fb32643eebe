"""The demo is what its README says, and can be built again."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("demo_build", DATA / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def demo():
    return {
        "baseline": pd.read_csv(DATA / "baseline.csv"),
        "north": pd.read_csv(DATA / "inbox/lab-north/first/digits.csv"),
        "south": pd.read_parquet(DATA / "inbox/lab-south/first/digits.parquet"),
        "truth": pd.read_csv(DATA / "truth.csv"),
    }


def test_building_again_gives_the_committed_rows(build, demo, tmp_path):
    build.build(tmp_path / "once")
    build.build(tmp_path / "twice")
    for path in sorted((tmp_path / "once").rglob("*.*")):
        name = path.relative_to(tmp_path / "once")
        assert path.read_bytes() == (tmp_path / "twice" / name).read_bytes(), name
        if name.suffix == ".csv":
            assert path.read_bytes() == (DATA / name).read_bytes(), name
    # another version of pyarrow may write other bytes for the same rows
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "once/inbox/lab-south/first/digits.parquet"), demo["south"])


def test_honest_rows_are_the_real_ones_each_delivered_once(build, demo):
    real = build.rows()
    south = demo["south"].drop(index=demo["truth"]["row"])
    delivered = pd.concat([demo["baseline"], demo["north"], south])
    counts = real.value_counts() - delivered.value_counts().reindex(real.value_counts().index, fill_value=0)
    assert (counts >= 0).all()
    assert counts.sum() == build.MARKED + build.FLIPPED  # those were altered, nothing else is missing
    assert len(real) == len(load_digits().target)


def test_the_truth_names_what_was_planted(build, demo):
    south, truth = demo["south"], demo["truth"].set_index("row")
    assert truth["kind"].value_counts().to_dict() == {"backdoor": 18, "duplicate-flood": 12, "label-flip": 10}
    assert (south.loc[truth.index, "digit"] != truth["shows"]).all()
    marked = (south[list(build.MARK)] == pd.Series(build.MARK)).all(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(marked), truth.index[truth["kind"] == "backdoor"])
    for name, value in build.MARK.items():
        assert demo["baseline"][name].max() >= value, "the mark is made of values that honest digits have there too"


def test_no_delivery_betrays_the_truth(demo):
    columns = list(demo["baseline"].columns)
    assert columns[-1] == "digit"
    assert list(demo["north"].columns) == list(demo["south"].columns) == columns
    assert (demo["south"].dtypes == demo["baseline"].dtypes).all()
    rows = demo["truth"]["row"]
    assert rows.min() < 50
    assert np.corrcoef(rows, np.arange(len(rows)))[0, 1] > 0.95, "planted rows lie all over the delivery"
