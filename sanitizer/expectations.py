"""The Great Expectations gate: what a person wrote down about the data, checked before any detector looks.

A suite is GX's own JSON (`{"name", "expectations": [{"type", "kwargs", "severity", "meta"}]}`).  What fails counts as follows:

- an expectation on values (`expect_column_values_…`, pairs and sets of columns): each row that fails is held, with the reason;
- one on values with `mostly` below 1, or on the whole table (counts, means, columns): the delivery is held, no row is accused;
- one that cannot be evaluated (a column that is not there): the delivery is held, for a check that cannot fail is none;
- one of severity `warning` or `info`: told, nothing is held.

Names and types of columns are the business of the pinned schema.  Vectors and images are not shown to GX.
This is the only file that imports GX; that takes three seconds, so it happens when a suite is checked and not before.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from sanitizer.errors import MissingExtra, UsageError, printable
from sanitizer.samples import Column, UnverifiedSamples

_MOST_COLUMNS = 200  # that a draft speaks of; GX needs 10 ms for each expectation, whatever the rows
_MOST_VALUES = 1000  # in a drafted set; beyond, it is an identifier and no category
_SUPPORT = 20  # rows per value of a drafted set of categories


@dataclass(frozen=True)
class Failure:
    """One expectation that was not met as a whole: its GX type, the column it speaks of ("" = the table), one sentence."""

    expectation: str
    column: str
    reason: str

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True)
class GateResult:
    """What the gate found.  `row_failures` maps positions in the samples to one sentence per expectation that the row fails.

    `statistics` counts expectations: `evaluated`, `met`, `failed_rows` (of rows), `failed` (of the table), `warned`.
    """

    success: bool = True
    table_failures: tuple[Failure, ...] = ()
    row_failures: dict[int, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[Failure, ...] = ()
    statistics: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a blob."""
        body = asdict(self)
        return body | {"row_failures": {str(row): list(reasons) for row, reasons in sorted(self.row_failures.items())}}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> GateResult:
        """The inverse of `to_json`."""
        return cls(
            success=body["success"],
            table_failures=tuple(Failure(**f) for f in body["table_failures"]),
            row_failures={int(row): tuple(reasons) for row, reasons in body["row_failures"].items()},
            warnings=tuple(Failure(**f) for f in body["warnings"]),
            statistics=dict(body["statistics"]),
        )


def check(samples: UnverifiedSamples, suite: Mapping[str, Any] | None) -> GateResult:
    """Check `samples` against a suite; without one there is nothing to fail.

    Raises `UsageError` for a suite that GX does not understand, `MissingExtra` where GX is not installed.
    """
    if suite is None:
        return GateResult(statistics={"evaluated": 0, "met": 0, "failed_rows": 0, "failed": 0, "warned": 0})
    results = _validate(_frame(samples), suite)
    rows: dict[int, list[str]] = {}
    table: list[Failure] = []
    told: list[Failure] = []
    of_rows = 0
    for result in results:
        if result["success"]:
            continue
        expectation = result["expectation_config"]
        kwargs, found = expectation["kwargs"], result["result"]
        if expectation.get("severity", "critical") != "critical":
            told.append(_failure(expectation, found, result["exception_info"]))
        elif found.get("unexpected_index_list") and kwargs.get("mostly", 1) == 1:
            of_rows += 1
            for row, value in zip(found["unexpected_index_list"], found["unexpected_list"], strict=True):
                rows.setdefault(int(row), []).append(_row_reason(expectation, value))
        else:
            table.append(_failure(expectation, found, result["exception_info"]))
    met = len(results) - of_rows - len(table) - len(told)
    counts = {"evaluated": len(results), "met": met, "failed_rows": of_rows, "failed": len(table), "warned": len(told)}
    return GateResult(not rows and not table, tuple(table), {r: tuple(rows[r]) for r in sorted(rows)}, tuple(told), counts)


def draft(samples: UnverifiedSamples, name: str) -> dict[str, Any]:
    """A first suite for `samples`, which should be trusted; it holds on them, and is meant to be edited by a person.

    What it says: some rows; no gaps where there are none now; the classes of the label; the values of a column whose values
    are all well known (each seen at least twice, and 20 rows per value: by Good and Turing hardly any is yet unseen); numbers
    at most three times as far from their median as any is now, and never below 0 where 0 is the least (drafted from one half of
    18 public tables, this sends at most 0.07 % of the other half's rows to a person); text at most twice as long; unique keys.
    """
    schema = samples.schema
    expectations = [_expectation("expect_table_row_count_to_be_between", "a delivery has rows", min_value=1)]
    scalar = [c for c in schema.columns if not c.shape]
    spoken = [c for c in scalar if c.name in (schema.label, schema.source, *schema.key)]
    spoken += [c for c in scalar if c not in spoken][:_MOST_COLUMNS]
    for column in scalar:
        if column in spoken:
            expectations += _draft_column(samples, column)
    if schema.key and len({*zip(*(samples.table[k].to_pylist() for k in schema.key), strict=True)}) == len(samples):
        unique = {"column": schema.key[0]} if len(schema.key) == 1 else {"column_list": list(schema.key)}
        kind = "expect_column_values_to_be_unique" if len(schema.key) == 1 else "expect_compound_columns_to_be_unique"
        expectations.append(_expectation(kind, "the key names one sample", **unique))
    unspoken = [c.name for c in schema.columns if c not in spoken]
    meta = {"drafted_from_rows": len(samples)} | ({"columns_without_expectation": unspoken} if unspoken else {})
    return {"name": name, "expectations": expectations, "meta": meta}


def _draft_column(samples: UnverifiedSamples, column: Column) -> list[dict[str, Any]]:
    values, name = samples.table[column.name].combine_chunks(), column.name
    drafted = []
    if len(values) and values.null_count == 0:
        drafted.append(_expectation("expect_column_values_to_not_be_null", "no gaps so far", column=name))
    if name == samples.schema.label and column.type != "float64" and 0 < len(classes := values.drop_null().unique()) <= _MOST_VALUES:
        drafted.append(_in_set(name, classes, "the classes so far"))
    elif column.type == "string":
        counts = values.drop_null().value_counts()
        closed = len(counts) and pc.min(counts.field("counts")).as_py() >= 2 and len(values) >= _SUPPORT * len(counts)
        if closed and len(counts) <= _MOST_VALUES:
            drafted.append(_in_set(name, counts.field("values"), "all values are well known"))
        elif longest := pc.max(pc.utf8_length(values)).as_py():
            drafted.append(
                _expectation("expect_column_value_lengths_to_be_between", "twice the longest", column=name, max_value=2 * longest)
            )
    elif column.type in ("int64", "float64") and (bounds := _bounds(values)):
        drafted.append(
            _expectation("expect_column_values_to_be_between", "three times as far from the median as any so far", column=name, **bounds)
        )
    return drafted


def _bounds(values: pa.Array) -> dict[str, float]:
    """Generous bounds that hold for `values`; none on a side where they are infinite."""
    numbers = values.drop_null().to_numpy(zero_copy_only=False)
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        return {}
    middle = float(np.median(finite))
    with np.errstate(over="ignore"):  # bounds beyond the range of a double are cut to it below
        far = 3 * float(np.abs(finite - middle).max()) or max(1.0, abs(middle))
    least, most = middle - far, middle + far
    least = 0.0 if finite.min() == 0 else least
    bounds = {} if -np.inf in numbers else {"min_value": _outward(least, np.floor)}
    return bounds if np.inf in numbers else bounds | {"max_value": _outward(most, np.ceil)}


def _outward(bound: float, rounded: Any) -> float:
    """`bound` to three digits, away from the values: a person is to read and edit it."""
    bound = float(np.clip(bound, -np.finfo(float).max, np.finfo(float).max))
    step = 10.0 ** (np.floor(np.log10(abs(bound))) - 2) if bound else 0.0
    if step == 0.0 or abs(bound) > 1e300:  # no digits to spare
        return bound
    return float(f"{rounded(bound / step) * step:.12g}")


def _in_set(column: str, values: pa.Array, why: str) -> dict[str, Any]:
    return _expectation("expect_column_values_to_be_in_set", why, column=column, value_set=sorted(values.to_pylist()))


def _expectation(kind: str, why: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "kwargs": kwargs, "severity": "critical", "meta": {"why": why}}


def _frame(samples: UnverifiedSamples) -> pd.DataFrame:
    """The scalar columns as pandas; integers with gaps become floats, for GX stumbles over pandas' own NA."""
    frame: pd.DataFrame = samples.table.select([c.name for c in samples.schema.columns if not c.shape]).to_pandas()
    return frame if len(frame.columns) else pd.DataFrame(index=range(len(samples)))


def _validate(frame: pd.DataFrame, suite: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Results of GX, one per expectation, as plain JSON values."""
    with _quiet():
        try:
            import great_expectations as gx  # noqa: PLC0415 - three seconds, paid only where a suite is checked
            from great_expectations.data_context.types.base import ProgressBarsConfig  # noqa: PLC0415
            from great_expectations.exceptions.exceptions import GreatExpectationsError  # noqa: PLC0415
            from great_expectations.expectations.registry import list_registered_expectation_implementations  # noqa: PLC0415
        except ImportError as error:
            raise MissingExtra("a suite is checked by Great Expectations: pip install 'sanitizer[gx]'") from error
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        try:
            expected = gx.ExpectationSuite(name=suite.get("name", "suite"), expectations=list(suite["expectations"]))
        except (GreatExpectationsError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise UsageError(f"Great Expectations does not understand the suite: {str(error) or type(error).__name__}") from error
        if len(expected.expectations) != len(suite["expectations"]):  # GX logs what it does not know, and goes on without it
            unknown = [e["type"] for e in suite["expectations"] if e["type"] not in list_registered_expectation_implementations()]
            raise UsageError(f"Great Expectations does not understand the suite: it knows no {', '.join(unknown) or 'expectation twice'}")
        asset = context.data_sources.add_pandas("samples").add_dataframe_asset("table")
        # one batch for the whole suite: each one fingerprints the whole frame
        batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
        form = {"result_format": "COMPLETE", "include_unexpected_rows": False}
        return [result.to_json_dict() for result in batch.validate(expected, result_format=form).results]


@contextmanager
def _quiet() -> Iterator[None]:
    """GX neither calls home nor warns about its own libraries, nor logs what its results say anyway."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when it is imported
    logger = logging.getLogger("great_expectations")
    silence = logging.NullHandler()
    logger.addHandler(silence)
    propagate, logger.propagate = logger.propagate, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.propagate = propagate
        logger.removeHandler(silence)


_PHRASES = {
    "expect_column_values_to_be_between": "is not within {bounds}",
    "expect_column_value_lengths_to_be_between": "is not {bounds} characters long",
    "expect_column_values_to_be_in_set": "is none of {value_set}",
    "expect_column_values_to_not_be_in_set": "is one of {value_set}",
    "expect_column_values_to_be_unique": "is not unique",
    "expect_column_values_to_match_regex": "does not match {regex}",
    "expect_column_values_to_not_match_regex": "matches {regex}",
    "expect_column_values_to_be_null": "should be empty",
}


def _row_reason(expectation: Mapping[str, Any], value: Any) -> str:
    """One sentence on one row."""
    kind, kwargs = expectation["type"], expectation["kwargs"]
    column = kwargs.get("column")
    if kind == "expect_column_values_to_not_be_null":
        return printable(f"{column} is empty")
    phrase = _PHRASES.get(kind)
    if phrase is None or column is None:
        return printable(f"{_subject(kwargs)} = {_short(value)} fails {_spelled(kind, kwargs)}")
    return printable(f"{column} = {_short(value)} {phrase.format(**_values(kwargs))}")


def _failure(expectation: Mapping[str, Any], found: Mapping[str, Any], trouble: Mapping[str, Any]) -> Failure:
    """One sentence on the whole table."""
    kind, kwargs = expectation["type"], expectation["kwargs"]
    spelled = _spelled(kind, kwargs)
    raised = [t for t in (trouble, *trouble.values()) if isinstance(t, Mapping) and t.get("raised_exception")]
    if raised:
        reason = f"cannot evaluate {spelled}: {raised[0].get('exception_message')}"
    elif "unexpected_percent" in found and found["unexpected_percent"] is not None:
        mostly = float(kwargs.get("mostly", 1))
        reason = f"{found['unexpected_percent']:.3g} % of the values fail {spelled}, at most {100 * (1 - mostly):.3g} % may"
    else:
        observed = f", found {_short(found['observed_value'])}" if "observed_value" in found else ""
        reason = f"not met: {spelled}{observed}"
    return Failure(kind, str(kwargs.get("column", "")), printable(reason))


def _spelled(kind: str, kwargs: Mapping[str, Any]) -> str:
    told = ", ".join(f"{k}={_short(v)}" for k, v in kwargs.items() if k not in ("batch_id", "mostly") and v is not None)
    return f"{kind.removeprefix('expect_').replace('_', ' ')} ({told})"


def _subject(kwargs: Mapping[str, Any]) -> str:
    names = kwargs.get("column_list") or [kwargs[k] for k in ("column", "column_A", "column_B") if k in kwargs]
    return ", ".join(map(str, names)) or "the row"


def _values(kwargs: Mapping[str, Any]) -> dict[str, str]:
    low, high = _plain(kwargs.get("min_value")), _plain(kwargs.get("max_value"))
    bounds = f"{low} to {high}" if low is not None and high is not None else f"at least {low}" if high is None else f"at most {high}"
    return {"bounds": bounds} | {k: _short(v) for k, v in kwargs.items()}


def _short(value: Any) -> str:
    shown = repr(_plain(value))
    return shown if len(shown) <= 80 else f"{shown[:77]}…"


def _plain(value: Any) -> Any:
    """Values as a person writes them: 120 rather than np.float64(120.0)."""
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    value = value.item() if isinstance(value, np.generic) else value
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value
