"""What people read: text, JSON, SARIF, JUnit, and one self-contained HTML file, all made from one dict of facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sanitizer.report.facts import facts
from sanitizer.report.formats import json, junit, sarif, text
from sanitizer.report.report import Explanation, Report

__all__ = ["Explanation", "Report", "facts", "html", "json", "junit", "sarif", "text"]


def html(facts: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> str:
    """One self-contained page for a delivery, or for all deliveries of a run; needs the extra `line`."""
    from sanitizer.report.page import html as page  # noqa: PLC0415 (Jinja enters only when somebody wants a page)

    return page(facts)
