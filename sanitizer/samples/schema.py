"""The pinned schema of a data set."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import rfc8785


@dataclass(frozen=True)
class Column:
    """One column.

    `type` is one of int64, float64, string, bool, timestamp, embedding[d], image[h,w] or image[h,w,c]; `categories` lists
    the allowed values of a string column that has few of them (None: any value).
    """

    name: str
    type: str
    nullable: bool = True
    categories: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Schema:
    """Names, types and roles of the columns, in canonical order.  Drafted once, edited by people, never inferred again."""

    columns: tuple[Column, ...]
    modality: str
    label: str | None = None
    source: str | None = None
    key: tuple[str, ...] = ()

    @property
    def features(self) -> tuple[Column, ...]:
        """The columns that are neither label nor source, in order."""
        return tuple(c for c in self.columns if c.name not in (self.label, self.source))

    @property
    def id(self) -> str:
        """`sha256:…` of names and types in order, and of the roles; what a person may widen (categories) is left out."""
        body: dict[str, Any] = {
            "columns": [[c.name, c.type] for c in self.columns],
            "modality": self.modality,
            "label": self.label,
            "source": self.source,
            "key": list(self.key),
        }
        return f"sha256:{hashlib.sha256(rfc8785.dumps(body)).hexdigest()}"
