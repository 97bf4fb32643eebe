"""Training-data poisoning detection and sanitization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sanitizer.scanning import scan

__all__ = ["scan"]

_ORIGIN = {"scan": "sanitizer.scanning"}


def __getattr__(name: str) -> Any:
    """Public names are imported when first asked for: a training job that only gates a release needs no data libraries."""
    import importlib  # noqa: PLC0415

    if name not in _ORIGIN:
        raise AttributeError(f"module 'sanitizer' has no attribute {name!r}")
    return getattr(importlib.import_module(_ORIGIN[name]), name)
