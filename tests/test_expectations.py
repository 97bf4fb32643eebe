"""The gate says what a person wrote down: rows that fail are named, a table that fails is held, nothing passes unread."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sanitizer.errors import UsageError
from sanitizer.expectations import Failure, GateResult, check, draft
from sanitizer.samples import Schema, UnverifiedSamples, from_any

ROWS = pd.DataFrame(
    {
        "age": [31.0, 200.0, np.nan, 44.0],
        "visits": pd.array([1, None, 3, 4], dtype="Int64"),
        "country": ["PE", "DE", "??", "PE"],
        "member": [True, False, True, True],
        "y": ["no", "no", "yes", "no"],
    }
)


@pytest.fixture(scope="module")
def samples() -> UnverifiedSamples:
    return from_any(ROWS, label="y")


def suite(*expectations: tuple[str, dict[str, Any]], severity: str = "critical") -> dict[str, Any]:
    return {"name": "s", "expectations": [{"type": t, "kwargs": k, "severity": severity} for t, k in expectations]}


def test_each_row_that_fails_is_named_with_every_reason(samples: UnverifiedSamples) -> None:
    result = check(
        samples,
        suite(
            ("expect_column_values_to_be_between", {"column": "age", "min_value": 0, "max_value": 120}),
            ("expect_column_values_to_not_be_null", {"column": "age"}),
            ("expect_column_values_to_not_be_null", {"column": "visits"}),
            ("expect_column_values_to_be_in_set", {"column": "country", "value_set": ["DE", "PE"]}),
            ("expect_column_values_to_match_regex", {"column": "country", "regex": "^[A-Z]+$"}),
            (
                "expect_column_pair_values_a_to_be_greater_than_b",
                {"column_A": "age", "column_B": "visits", "ignore_row_if": "either_value_is_missing"},
            ),
            (
                "expect_column_pair_values_a_to_be_greater_than_b",
                {"column_A": "visits", "column_B": "age", "ignore_row_if": "either_value_is_missing"},
            ),
        ),
    )
    assert result.table_failures == ()
    pair = (
        "visits, age = PAIR fails column pair values a to be greater than b "
        "(column_A='visits', column_B='age', ignore_row_if='either_value_is_missing')"
    )
    assert result.row_failures == {
        0: (pair.replace("PAIR", "[1, 31]"),),
        1: ("age = 200 is not within 0 to 120", "visits is empty"),
        2: ("age is empty", "country = '??' is none of ['DE', 'PE']", "country = '??' does not match '^[A-Z]+$'"),
        3: (pair.replace("PAIR", "[4, 44]"),),
    }
    assert not result.success
    assert result.statistics == {"evaluated": 7, "met": 1, "failed_rows": 6, "failed": 0, "warned": 0}


TABLE: dict[str, tuple[str, dict[str, Any], str]] = {
    "too few rows": (
        "expect_table_row_count_to_be_between",
        {"min_value": 100},
        r"not met: table row count to be between \(min_value=100\), found 4",
    ),
    "a mean": ("expect_column_mean_to_be_between", {"column": "age", "max_value": 50}, "not met: column mean to be between .*found 91"),
    "a share": (
        "expect_column_values_to_be_between",
        {"column": "age", "max_value": 120, "mostly": 0.9},
        r"33.3 % of the values fail column values to be between \(column='age', max_value=120\), at most 10 % may",
    ),
    "a column that is not there": ("expect_column_values_to_be_unique", {"column": "id"}, 'cannot evaluate .*column "id"'),
    "a check that does not suit the type": ("expect_column_values_to_be_between", {"column": "country", "max_value": 1}, "cannot evaluate"),
}


@pytest.mark.parametrize(("kind", "kwargs", "words"), TABLE.values(), ids=TABLE)
def test_what_concerns_the_table_holds_it_and_accuses_no_row(
    kind: str, kwargs: dict[str, Any], words: str, samples: UnverifiedSamples
) -> None:
    result = check(samples, suite((kind, kwargs)))
    assert result.row_failures == {}
    (failure,) = result.table_failures
    assert re.search(words, str(failure))
    assert not result.success


def test_a_share_that_is_within_what_the_suite_allows_holds_nothing(samples: UnverifiedSamples) -> None:
    result = check(samples, suite(("expect_column_values_to_be_between", {"column": "age", "max_value": 120, "mostly": 0.5})))
    assert result.success
    assert result.row_failures == {}


def test_a_warning_is_told_and_holds_nothing(samples: UnverifiedSamples) -> None:
    result = check(samples, suite(("expect_column_values_to_not_be_null", {"column": "age"}), severity="warning"))
    assert result.success
    assert [w.column for w in result.warnings] == ["age"]
    assert result.statistics["warned"] == 1


def test_without_a_suite_there_is_nothing_to_fail(samples: UnverifiedSamples) -> None:
    assert check(samples, None).success
    assert check(samples, suite()).statistics["evaluated"] == 0


BROKEN: dict[str, Any] = {
    "unknown expectation": suite(("expect_the_unexpected", {})),
    "unknown argument": suite(("expect_column_values_to_be_unique", {"colunm": "age"})),
    "no expectations": {"name": "s"},
    "not a list": {"name": "s", "expectations": 3},
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_suite_that_means_nothing_is_one_clear_error(broken: dict[str, Any], samples: UnverifiedSamples) -> None:
    with pytest.raises(UsageError, match="does not understand the suite"):
        check(samples, broken)


def test_a_result_survives_its_blob() -> None:
    result = GateResult(False, (Failure("e", "c", "r"),), {2: ("a", "b"), 10: ("c",)}, (Failure("w", "", "x"),), {"evaluated": 3})
    assert GateResult.from_json(json.loads(json.dumps(result.to_json()))) == result


DRAFTED: dict[str, Any] = {
    "the rows above": ROWS,
    "normal numbers": pd.DataFrame({"x": np.random.default_rng(0).normal(size=500), "y": [0, 1] * 250}),
    "heavy tails": pd.DataFrame({"x": np.random.default_rng(1).standard_cauchy(500), "y": [0, 1] * 250}),
    "constant": pd.DataFrame({"x": [7] * 5, "z": [-1e-9] * 5, "y": [0] * 5}),
    "huge and infinite": pd.DataFrame({"x": [1e308, -1e308, np.inf, 0.0], "z": [-np.inf] * 4, "y": list("aabb")}),
    "nothing": pd.DataFrame({"x": [None, None], "s": pd.array([None, None], dtype="str"), "y": [1, 2]}),
    "no rows": pd.DataFrame({"x": pd.array([], dtype="float64"), "y": pd.array([], dtype="str")}),
    "text": pd.DataFrame({"text": ["a", "bb", ""], "y": ["x", "y", "x"]}),
    "times and labels of floats": pd.DataFrame({"t": pd.to_datetime(["2026-01-31"] * 2), "y": [0.5, 1.5]}),
    "vectors": {"embedding": np.eye(3, dtype=np.float32), "y": [0, 1, 2]},
    "ratings": pd.DataFrame({"user": [1, 1, 2], "item": ["a", "b", "a"], "rating": [1.0, 5.0, 3.0]}),
}


@pytest.mark.parametrize("data", DRAFTED.values(), ids=DRAFTED)
def test_a_draft_holds_on_what_it_was_drafted_from(data: Any) -> None:
    held = from_any(data, label="y" if "y" in data else None)
    drafted = json.loads(json.dumps(draft(held, "first")))
    result = check(held, drafted)
    assert (result.row_failures, [str(f) for f in result.table_failures if len(held)]) == ({}, [])
    assert result.statistics["evaluated"] == len(drafted["expectations"])


def test_a_draft_refuses_what_its_data_never_showed() -> None:
    rng = np.random.default_rng(0)
    trusted = pd.DataFrame({"x": rng.normal(size=200), "n": rng.integers(0, 9, 200), "c": ["a", "b"] * 100, "y": ["u", "v"] * 100})
    drafted = draft(from_any(trusted, label="y"), "d")
    strange = pd.DataFrame({"x": [0.0, 1e6, np.nan, 0.0, 0.0], "n": [1, 1, 1, -1, 1], "c": list("aaabz"), "y": list("uuvvv")})
    result = check(from_any(strange, label="y"), drafted)
    assert set(result.row_failures) == {1, 2, 3, 4}
    assert result.row_failures[2] == ("x is empty",)


def test_fresh_honest_rows_pass_a_draft() -> None:
    """Over seeds, of several shapes: the generous bounds send less than one row in a thousand to a person."""
    failed = rows = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        both = pd.DataFrame(
            {
                "a": rng.normal(size=1000),
                "b": rng.lognormal(size=1000),
                "c": rng.integers(0, 50, 1000),
                "d": rng.choice(list("wxyz"), 1000, p=[0.9, 0.06, 0.03, 0.01]),
            }
        ).assign(y=rng.integers(0, 2, 1000))
        drafted = draft(from_any(both[:500], label="y"), "d")
        result = check(from_any(both[500:], label="y"), drafted)
        assert result.table_failures == ()
        failed += len(result.row_failures)
        rows += 500
    assert failed <= rows / 1000


def test_keys_that_are_unique_stay_so() -> None:
    frame = pd.DataFrame({"id": [1, 2, 3], "part": [1, 1, 1], "y": [0, 1, 0]})
    drafted_from = from_any(frame, label="y")
    for key in (("id",), ("id", "part")):
        held = UnverifiedSamples(drafted_from.table, Schema(drafted_from.schema.columns, "tabular", "y", key=key))
        drafted = draft(held, "k")
        twice = UnverifiedSamples(held.table.take([0, 1, 0]), held.schema)
        assert set(check(twice, drafted).row_failures) == {0, 2}


def test_a_draft_of_a_wide_table_stays_readable() -> None:
    wide = from_any(pd.DataFrame(np.zeros((3, 1000))).assign(y=[0, 1, 0]), label="y")
    drafted = draft(wide, "wide")
    assert len(drafted["expectations"]) < 500
    assert len(drafted["meta"]["columns_without_expectation"]) == 800


@pytest.mark.parametrize("path", sorted(Path("expectations").glob("*.json")), ids=lambda path: path.stem)
def test_a_shipped_suite_holds_on_the_honest_demo_data(path: Path) -> None:
    shipped = json.loads(path.read_text(encoding="utf-8"))
    honest = from_any(
        pd.concat([pd.read_csv("data/baseline.csv"), *(pd.read_csv(f) for f in Path("data/inbox/lab-north").rglob("*.csv"))]), label="digit"
    )
    result = check(honest, shipped)
    assert result.success
    assert result.statistics["met"] == len(shipped["expectations"]) > 0
    strange = from_any(honest.table.slice(0, 2).to_pandas().assign(r0c0=[17, 0], digit=[1, 10]), label="digit")
    assert set(check(strange, shipped).row_failures) == {0, 1}


def test_great_expectations_is_imported_only_when_a_suite_is_checked() -> None:
    code = "import sys, sanitizer.expectations; sys.exit('great_expectations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_gate_is_quiet(samples: UnverifiedSamples, capfd: pytest.CaptureFixture[str]) -> None:
    check(samples, suite(("expect_column_values_to_not_be_null", {"column": "nowhere"})))
    told = capfd.readouterr()
    assert told.out + told.err == ""
