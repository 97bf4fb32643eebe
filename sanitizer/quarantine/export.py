"""Held samples as a file that opens in a spreadsheet without running anything."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any, TextIO

from sanitizer.quarantine import content
from sanitizer.quarantine.listing import ls
from sanitizer.store.transaction import Reader

_COLUMNS = (
    "id",
    "dataset",
    "delivery",
    "case_id",
    "sample_id",
    "cause",
    "suspicion",
    "p_value",
    "source",
    "label",
    "state",
    "new_label",
    "reason",
)
_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "|", "%")  # noqa: RUF001 (full-width signs start formulas too)


def safe_cell(value: Any) -> str:
    """A value as text that no spreadsheet takes for a formula (OWASP, CSV injection), with control characters visible.

    >>> safe_cell("=HYPERLINK(1)"), safe_cell(-1.5)
    ("'=HYPERLINK(1)", '-1.5')
    """
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return str(value)
    text = str(value)
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return f"'{shown}" if text.lstrip().startswith(_STARTS) or text.startswith(_STARTS) else shown


def export_csv(view: Reader, out: TextIO, **filters: Any) -> int:
    """Writes the held samples of a filter (see `ls`) with their rows as JSON; returns how many."""
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow([*_COLUMNS, "rows"])
    written = 0
    for sample, rows in _all(view, filters):
        writer.writerow(
            [*(safe_cell(getattr(sample, name)) for name in _COLUMNS), safe_cell(json.dumps(rows, default=str, ensure_ascii=True))]
        )
        written += 1
    return written


def export_jsonl(view: Reader, out: TextIO, **filters: Any) -> int:
    """The same as one JSON object a line."""
    written = 0
    for sample, rows in _all(view, filters):
        line = {name: getattr(sample, name) for name in _COLUMNS} | {
            "scores": dict(sample.scores),
            "neighbours": sample.neighbours,
            "rows": rows,
        }
        out.write(json.dumps(line, default=str, ensure_ascii=True, sort_keys=True) + "\n")
        written += 1
    return written


def _all(view: Reader, filters: dict[str, Any]) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    after: str | None = None
    while True:
        page = ls(view, **filters, after=after, limit=1000)
        rows = content.read(view, [sample.id for sample in page.samples])
        for sample in page.samples:
            yield sample, rows[sample.id].rows.to_pylist()
        if (after := page.next) is None:
            return
