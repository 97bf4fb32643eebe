"""Held samples: kept with their evidence, looked at by case, decided by people; nothing is ever deleted."""

from sanitizer.quarantine.audit import audit
from sanitizer.quarantine.beside import Beside, beside, context, keep
from sanitizer.quarantine.decisions import Decision, approve, decide, undo
from sanitizer.quarantine.export import export_csv, export_jsonl
from sanitizer.quarantine.hold import hold
from sanitizer.quarantine.listing import Case, Held, Page, Shown, case, cases, counts, ls, show
from sanitizer.quarantine.outcome import Outcome, outcome

__all__ = [
    "Beside",
    "Case",
    "Decision",
    "Held",
    "Outcome",
    "Page",
    "Shown",
    "approve",
    "audit",
    "beside",
    "case",
    "cases",
    "context",
    "counts",
    "decide",
    "export_csv",
    "export_jsonl",
    "hold",
    "keep",
    "ls",
    "outcome",
    "show",
    "undo",
]
