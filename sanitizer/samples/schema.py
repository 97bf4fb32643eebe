"""The pinned schema of a data set."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import rfc8785

from sanitizer.errors import UsageError

MODALITIES = ("tabular", "text", "image", "embedding", "ratings")
RATINGS = ("user", "item", "rating")  # the columns that make a table one of ratings; `timestamp` may join them
_MOST_CATEGORIES = 1000  # labels beyond this are an identifier or a number in disguise, not classes

# Strings are large: 64-bit offsets hold any text column in one chunk.  Times are microseconds of UTC: they span all years
# that a table may hold, which nanoseconds do not.
_SCALARS = {
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.large_string(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}
_NAMES = {kind: name for name, kind in _SCALARS.items()}
_SHAPED = re.compile(r"(embedding|image)\[([1-9][0-9]{0,8}(?:,[1-9][0-9]{0,8}){0,2})\]")


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

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one value: `(d,)` of an embedding, `(h, w)` or `(h, w, c)` of an image, `()` of everything else."""
        return _shape(self.type)

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type that holds this column in canonical form; embeddings are float32, images uint8."""
        return arrow_type(self.type)


@dataclass(frozen=True)
class Schema:
    """Names, types and roles of the columns, in canonical order.  Drafted once, edited by people, never inferred again."""

    columns: tuple[Column, ...]
    modality: str
    label: str | None = None
    source: str | None = None
    key: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [c.name for c in self.columns]
        if len(set(names)) != len(names):
            twice = next(n for n in names if names.count(n) > 1)
            raise UsageError(f"schema: the column {twice!r} is there twice; names must differ", subject=twice)
        if self.modality not in MODALITIES:
            raise UsageError(f"schema: modality {self.modality!r} is none of {', '.join(MODALITIES)}")
        absent = [n for n in (self.label, self.source, *self.key) if n is not None and n not in names]
        if absent:
            raise UsageError(f"schema: no column {absent[0]!r} for the label, source or key; columns: {listed(names)}", subject=absent[0])
        for column in self.columns:
            arrow_type(column.type)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns, in order."""
        return tuple(c.name for c in self.columns)

    @property
    def features(self) -> tuple[Column, ...]:
        """The columns that are neither label nor source, in order."""
        return tuple(c for c in self.columns if c.name not in (self.label, self.source))

    @property
    def arrow(self) -> pa.Schema:
        """The Arrow schema of a canonical table; the fields of images carry their shape, which their type cannot say."""
        return pa.schema([pa.field(c.name, c.arrow, metadata=_shape_note(c)) for c in self.columns])

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise UsageError(f"no column {name!r}; columns: {listed(self.names)}", subject=name)

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

    def to_json(self) -> dict[str, Any]:
        """What `schema.json` holds."""
        columns = []
        for c in self.columns:
            shown: dict[str, Any] = {"name": c.name, "type": c.type, "nullable": c.nullable}
            columns.append(shown if c.categories is None else shown | {"categories": list(c.categories)})
        return {"modality": self.modality, "label": self.label, "source": self.source, "key": list(self.key), "columns": columns}

    @classmethod
    def from_json(cls, body: object) -> Schema:
        """The inverse of `to_json`, strict: an unknown key or a wrong type is a `UsageError` that says where.

        >>> Schema.from_json({"modality": "tabular", "columns": [{"name": "age", "type": "int"}]})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        sanitizer.errors.UsageError: schema: column 'age' has the unknown type 'int'; known: int64, ...
        """
        top = _checked(body, "schema", {"modality": str, "columns": list}, {"label": str, "source": str, "key": list})
        columns = []
        for i, item in enumerate(top["columns"]):
            one = _checked(item, f"schema: column {i}", {"name": str, "type": str}, {"nullable": bool, "categories": list})
            categories = one.get("categories")
            if categories is not None and not all(isinstance(v, str) for v in categories):
                raise UsageError(f"schema: the categories of {one['name']!r} must be strings")
            try:
                arrow_type(one["type"])
            except UsageError as error:
                raise UsageError(f"schema: column {one['name']!r} has the {error.message}", subject=one["name"]) from error
            columns.append(Column(one["name"], one["type"], one.get("nullable", True), None if categories is None else tuple(categories)))
        key = top.get("key") or []
        if not all(isinstance(name, str) for name in key):
            raise UsageError("schema: `key` must be a list of column names")
        return cls(tuple(columns), top["modality"], top.get("label"), top.get("source"), tuple(key))

    @classmethod
    def draft(
        cls,
        table: pa.Table,
        *,
        label: str | None,
        source: str | None = None,
        key: tuple[str, ...] = (),
        modality: str | None = None,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
    ) -> Schema:
        """A first schema for `table`, which holds canonical Arrow types; for a person to edit.

        `shapes` tells the shape of image columns (Arrow knows only how many bytes they have).  Features may be null later
        even if none is now; label and key may not.  The classes of a text label are pinned: a class that nobody announced
        is a change of schema.  Raises `UsageError` when a role names no column or nothing is left to learn from.
        """
        for role, name in (("label", label), ("source", source), *(("key", k) for k in key)):
            if name is not None and name not in table.column_names:
                raise UsageError(f"no column {name!r} for the {role}; columns: {listed(table.column_names)}", subject=name)
        if label is not None and label == source:
            raise UsageError(f"{label!r} cannot be both label and source", subject=label)
        columns = []
        for field, values in zip(table.schema, table.columns, strict=True):
            named = field.name in (label, *key) or pa.types.is_fixed_size_list(field.type)
            categories = _classes(values) if field.name == label else None
            kind = type_name(field.type, (shapes or {}).get(field.name))
            columns.append(Column(field.name, kind, not named or values.null_count > 0, categories))
        if not any(c.name not in (label, source) for c in columns):
            raise UsageError("no column is left to learn from beside label and source")
        return cls(tuple(columns), modality or _modality(columns, label, source), label, source, key)


def arrow_type(name: str) -> pa.DataType:
    """The Arrow type behind a type of ours.

    >>> arrow_type("embedding[3]")
    FixedSizeListType(fixed_size_list<item: float>[3])
    """
    if name in _SCALARS:
        return _SCALARS[name]
    return pa.list_(pa.float32() if name.startswith("embedding") else pa.uint8(), math.prod(_shape(name)))


def type_name(kind: pa.DataType, shape: tuple[int, ...] | None = None) -> str:
    """The type of ours that the canonical Arrow type `kind` holds."""
    if kind in _NAMES:
        return _NAMES[kind]
    if pa.types.is_fixed_size_list(kind) and kind.value_type == pa.float32():
        return f"embedding[{kind.list_size}]"
    if pa.types.is_fixed_size_list(kind) and kind.value_type == pa.uint8():
        return f"image[{','.join(map(str, shape or (1, kind.list_size)))}]"
    raise UsageError(f"{kind} is no canonical column type")


def listed(names: tuple[str, ...] | list[str], most: int = 12) -> str:
    """A few names for a message."""
    return ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")


def _shape(name: str) -> tuple[int, ...]:
    if name in _SCALARS:
        return ()
    match = _SHAPED.fullmatch(name)
    shape = tuple(int(part) for part in match[2].split(",")) if match else ()
    if match is None or (len(shape) == 1) != (match[1] == "embedding") or math.prod(shape) >= 2**31:
        raise UsageError(f"unknown type {name!r}; known: {', '.join(_SCALARS)}, embedding[d], image[h,w], image[h,w,c]")
    return shape


def _shape_note(column: Column) -> dict[str, str] | None:
    return {"shape": ",".join(map(str, column.shape))} if column.type.startswith("image") else None


def _classes(values: pa.ChunkedArray) -> tuple[str, ...] | None:
    if not pa.types.is_large_string(values.type):
        return None
    classes = pc.unique(values.drop_null())
    return tuple(sorted(classes.to_pylist())) if 0 < len(classes) <= _MOST_CATEGORIES else None


def _modality(columns: list[Column], label: str | None, source: str | None) -> str:
    features = [c for c in columns if c.name not in (label, source)]
    for kind in ("image", "embedding"):
        if any(c.type.startswith(kind) for c in features):
            return kind
    names = {c.name for c in features}
    if label is None and set(RATINGS) <= names <= {*RATINGS, "timestamp"}:
        return "ratings"
    return "text" if [(c.name, c.type) for c in features] == [("text", "string")] else "tabular"


def _checked(body: object, where: str, must: dict[str, type], may: dict[str, type]) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise UsageError(f"{where} must be an object")
    for name, value in body.items():
        expected = must.get(name) or may.get(name)
        if expected is None:
            raise UsageError(f"{where} has the unknown key {name!r}; known: {', '.join([*must, *may])}")
        if not isinstance(value, expected) and not (value is None and name in may):
            raise UsageError(f"{where}: {name!r} must be a {expected.__name__}")
    absent = [name for name in must if name not in body]
    if absent:
        raise UsageError(f"{where} lacks {absent[0]!r}")
    return body
