"""Training-data poisoning detection and sanitization.

Judge a table against an earlier, trusted one:

    >>> import sanitizer
    >>> report = sanitizer.scan("delivery.parquet", label="label", trusted="release.parquet")  # doctest: +SKIP
    >>> report.verdicts.query("action == 'quarantine'")[["cause", "p_value", "reason"]]        # doctest: +SKIP

Train on nothing but what was released:

    >>> with sanitizer.open_release("releases/digits/3", trust="root.json") as release:        # doctest: +SKIP
    ...     frame = release.pandas()

Everything heavy is imported when it is first used: a training job that only opens a release loads no detector.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sanitizer import errors, pipeline
    from sanitizer.policy import Policy
    from sanitizer.release.gate import open_release
    from sanitizer.report import Report
    from sanitizer.scanning import scan
    from sanitizer.workspace import Workspace

__version__ = "0.1.0"
__all__ = ["Policy", "Report", "Workspace", "__version__", "errors", "open_release", "pipeline", "scan"]

_HOME = {
    "Policy": "sanitizer.policy",
    "Report": "sanitizer.report",
    "Workspace": "sanitizer.workspace",
    "open_release": "sanitizer.release.gate",
    "scan": "sanitizer.scanning",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in ("errors", "pipeline"):
        return importlib.import_module(f"sanitizer.{name}")
    raise AttributeError(f"module 'sanitizer' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
