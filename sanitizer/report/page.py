"""The HTML page: one file that needs nothing else, loads nothing, and runs nothing."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sanitizer.errors import MissingExtra
from sanitizer.report.formats import short

_HERE = Path(__file__).parent / "templates"
_CAUSES = ("backdoor", "label-flip", "duplicate-flood", "outlier", "feature-collision", "source", "shilling", "expectation")
_WORST_FIRST = ("held", "quarantine", "clean")


def html(facts: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> str:
    """One self-contained page for a delivery, or for all deliveries of a run.

    It holds no script and no address; its policy (CSP) allows nothing but its own style sheet, by hash, and embedded
    pictures.  The same facts give the same page.  Raises `MissingExtra` without Jinja.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise MissingExtra("the HTML report needs Jinja: install sanitizer[line]", subject="jinja2") from error
    deliveries = [facts] if isinstance(facts, Mapping) else sorted(facts, key=lambda one: _WORST_FIRST.index(one["state"]))
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "short": short,
        "p": p_value,
        "percent": percent,
        "count": lambda n: f"{n:,}",
        "bytes": readable_size,
        "moment": moment,
        "colour": colour,
        "marked": marked,
        "histogram": histogram,
        "suspicion": suspicion,
    }
    style = (_HERE / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    page: str = environment.get_template("report.html.jinja").render(deliveries=deliveries, style=style, style_digest=digest)
    return page


# --- words --------------------------------------------------------------------------------------------------------------

_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def p_value(p: float | None) -> str:
    """A p-value as one writes it.

    >>> p_value(0.0312), p_value(3.2e-07), p_value(None)
    ('0.031', '3·10⁻⁷', '—')
    """
    if p is None:
        return "—"
    if p <= 0:
        return "< 10⁻³⁰⁰"
    if p >= 1e-3:
        return f"{p:.2g}"
    mantissa, exponent = f"{p:.0e}".split("e")
    power = f"10{str(int(exponent)).translate(_SUPERSCRIPT)}"
    return power if mantissa == "1" else f"{mantissa}·{power}"


def percent(share: float | None) -> str:
    """A share in per cent, with the digits that matter.

    >>> percent(0.0786), percent(0.5), percent(0.0002), percent(0), percent(None)
    ('7.9 %', '50 %', '0.02 %', '0 %', '—')
    """
    if share is None:
        return "—"
    value = 100 * share
    if value == 0:
        return "0 %"
    return f"{value:.0f} %" if value >= 9.95 else f"{value:.1f} %" if value >= 0.95 else f"{value:.1g} %"


def readable_size(size: int) -> str:
    """Bytes in the unit that gives one to three digits.

    >>> readable_size(37956), readable_size(512)
    ('38 kB', '512 B')
    """
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def moment(time: str) -> str:
    """An ISO 8601 time for people; what is none stays as it is.

    >>> moment("2026-03-01T08:05:00+00:00")
    '1 March 2026, 08:05 UTC'
    """
    try:
        at = datetime.fromisoformat(time)
    except ValueError:
        return time
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year}, {at:%H:%M} {at.tzname() or ''}".rstrip()


def colour(cause: str) -> str:
    """The style class of a cause: known causes keep their colour in every report."""
    return f"c{_CAUSES.index(cause)}" if cause in _CAUSES else "c8"


def marked(text: str, words: Sequence[str]) -> list[tuple[str, bool]]:
    """`text` in pieces, with those pieces marked that are one of `words` (in any case).

    >>> marked("It was zorp fine", ["zorp"])
    [('It was ', False), ('zorp', True), (' fine', False)]
    """
    lower, pieces, at = text.lower(), [], 0
    wanted = sorted({word.lower() for word in words if word}, key=len, reverse=True)
    if len(lower) != len(text):  # some letters have no lower case of the same length: then only exact words are found
        lower, wanted = text, sorted({word for word in words if word}, key=len, reverse=True)
    while at < len(text):
        hits = [(lower.find(word, at), word) for word in wanted]
        start, word = min(((i, word) for i, word in hits if i >= 0), default=(-1, ""), key=lambda hit: hit[0])
        if start < 0:
            break
        if start > at:
            pieces.append((text[at:start], False))
        pieces.append((text[start : start + len(word)], True))
        at = start + len(word)
    return [*pieces, (text[at:], False)] if at < len(text) else pieces


# --- plots: where things stand in a box of WIDTH x HEIGHT; the template draws them ----------------------------------------

WIDTH, HEIGHT = 520, 240
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 14, 30


def histogram(p_values: Mapping[str, Any]) -> dict[str, Any]:
    """Bars of the p-values, and the level that honest samples alone would show."""
    bins = p_values["bins"]
    top = _ceiling(max([*bins, p_values["expected"] * 1.4, 1]))
    wide = (WIDTH - LEFT - RIGHT) / len(bins)
    bars = [
        {
            "x": round(LEFT + i * wide + 1, 2),
            "y": round(_up(count, top), 2),
            "height": round(_up(0, top) - _up(count, top), 2),
            "count": count,
        }
        for i, count in enumerate(bins)
    ]
    across = [{"at": round(LEFT + share * (WIDTH - LEFT - RIGHT), 2), "name": f"{share:g}"} for share in (0, 0.25, 0.5, 0.75, 1)]
    return {
        "bars": bars,
        "wide": round(wide - 2, 2),
        "line": round(_up(p_values["expected"], top), 2),
        "across": across,
        "up": _ticks(0, top),
    }


def suspicion(plot: Mapping[str, Any]) -> dict[str, Any]:
    """A point per sample: its place in the delivery, and how suspicious it is."""
    levels = [level for _, level, _ in plot["points"]]
    low, high = min([0.0, *levels]), max([*levels, 1e-9])
    high = low + _ceiling(high - low)
    rows = max(1, plot["rows"] - 1)

    def across(row: float) -> float:
        at: float = round(LEFT + row / rows * (WIDTH - LEFT - RIGHT), 1)
        return at

    points = [{"x": across(row), "y": round(_up(level, high, low), 1), "cause": cause} for row, level, cause in plot["points"]]
    line = None if plot["line"] is None else round(_up(plot["line"], high, low), 1)
    step = _step(rows)
    ticks = [{"at": across(row), "name": f"{row:,.0f}"} for row in _range(0, rows, step)]
    return {"points": points, "line": line, "across": ticks, "up": _ticks(low, high)}


def _up(value: float, high: float, low: float = 0.0) -> float:
    return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def _ticks(low: float, high: float) -> list[dict[str, Any]]:
    step = _step(high - low)
    return [{"at": round(_up(value, high, low), 1), "name": f"{value:,.6g}"} for value in _range(math.ceil(low / step) * step, high, step)]


def _step(span: float) -> float:
    """Between two ticks: whole where the axis is long enough to count in whole numbers."""
    step = nice(span / 4)
    return math.ceil(step) if span >= 4 else step


def _ceiling(span: float) -> float:
    """The end of an axis: a whole number of its ticks."""
    step = _step(span)
    return math.ceil(span / step - 1e-9) * step


def _range(start: float, stop: float, step: float) -> list[float]:
    return [start + i * step for i in range(int((stop - start) / step + 1.001))]


def nice(value: float) -> float:
    """The next number above of the form 1, 2, 2.5 or 5 times a power of ten.

    >>> nice(3.2), nice(0.17), nice(40)
    (5.0, 0.2, 50.0)
    """
    power = math.pow(10.0, math.floor(math.log10(value))) if value > 0 else 1.0
    return next((factor * power for factor in (1.0, 2.0, 2.5, 5.0) if factor * power >= value * (1 - 1e-9)), 10 * power)
