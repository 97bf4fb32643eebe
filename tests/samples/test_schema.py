"""A schema is drafted once, edited by people, and read strictly."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from sanitizer.errors import UsageError
from sanitizer.samples import Column, Schema, from_any
from sanitizer.samples.schema import arrow_type, type_name

S = pa.large_string()


def drafted() -> Schema:
    table = pa.table({"id": ["a", "b"], "x": [1.0, None], "y": ["cat", "dog"], "who": [1, 2]})
    return from_any(table, label="y", source="who").schema


def test_a_draft_pins_names_types_roles_and_the_classes_of_the_label() -> None:
    schema = drafted()
    assert [(c.name, c.type) for c in schema.columns] == [("id", "string"), ("x", "float64"), ("y", "string"), ("who", "int64")]
    assert schema["y"] == Column("y", "string", nullable=False, categories=("cat", "dog"))
    assert schema["x"].nullable
    assert [c.name for c in schema.features] == ["id", "x"]


def test_a_schema_survives_its_file() -> None:
    schema = drafted()
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


WRONG: dict[str, tuple[Any, str]] = {
    "not an object": ([], "schema must be an object"),
    "unknown key": ({"modality": "tabular", "columns": [], "labl": "y"}, "unknown key 'labl'"),
    "no columns": ({"modality": "tabular"}, "lacks 'columns'"),
    "unknown modality": ({"modality": "sound", "columns": []}, "modality 'sound'"),
    "label without a column": ({"modality": "tabular", "label": "y", "columns": [{"name": "x", "type": "int64"}]}, "no column 'y'"),
    "column twice": ({"modality": "tabular", "columns": [{"name": "x", "type": "int64"}] * 2}, "'x' is there twice"),
    "embedding without length": ({"modality": "tabular", "columns": [{"name": "x", "type": "embedding"}]}, "unknown type 'embedding'"),
    "embedding of length zero": ({"modality": "tabular", "columns": [{"name": "x", "type": "embedding[0]"}]}, "unknown type"),
    "image of one number": ({"modality": "tabular", "columns": [{"name": "x", "type": "image[4]"}]}, "unknown type"),
    "categories of numbers": ({"modality": "tabular", "columns": [{"name": "x", "type": "string", "categories": [1]}]}, "must be strings"),
    "a number for a name": ({"modality": "tabular", "columns": [{"name": 1, "type": "string"}]}, "'name' must be a str"),
}


@pytest.mark.parametrize(("body", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_schema_file_is_refused_with_the_place(body: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Schema.from_json(body)


def test_the_id_changes_with_names_types_and_roles_but_not_with_what_a_person_may_widen() -> None:
    schema = drafted()
    wider = Schema((*schema.columns[:2], Column("y", "string", categories=("cat", "dog", "cow")), schema.columns[3]), "tabular", "y", "who")
    keyed = Schema(schema.columns, "tabular", "y", "who", key=("id",))
    assert wider.id == schema.id
    assert keyed.id != schema.id


@pytest.mark.parametrize("name", ["int64", "float64", "string", "bool", "timestamp", "embedding[7]"])
def test_types_and_their_arrow_types_name_each_other(name: str) -> None:
    assert type_name(arrow_type(name)) == name


def test_an_image_keeps_its_shape_through_arrow() -> None:
    schema = Schema((Column("image", "image[2,3,1]"),), "image")
    assert from_any(pa.Table.from_pylist([], schema=schema.arrow), label=None).schema == Schema(
        (Column("image", "image[2,3,1]", nullable=False),), "image"
    )


@pytest.mark.parametrize(
    ("columns", "label", "modality"),
    [
        ({"x": [1], "y": [1]}, "y", "tabular"),
        ({"text": ["a"], "y": [1]}, "y", "text"),
        ({"text": ["a"], "x": [1], "y": [1]}, "y", "tabular"),
        ({"user": [1], "item": [1], "rating": [1.0]}, None, "ratings"),
        ({"user": [1], "item": [1], "rating": [1.0], "timestamp": [1]}, None, "ratings"),
        ({"user": [1], "item": [1], "rating": [1.0]}, "rating", "tabular"),
        ({"embedding": [[1.0, 2.0]]}, None, "embedding"),
    ],
)
def test_the_modality_is_read_off_the_columns(columns: dict[str, list[Any]], label: str | None, modality: str) -> None:
    assert from_any(pa.table(columns), label=label).schema.modality == modality


def test_one_column_cannot_be_label_and_source() -> None:
    with pytest.raises(UsageError, match="both label and source"):
        from_any(pa.table({"x": [1], "y": [1]}), label="y", source="y")


def test_something_must_be_left_to_learn_from() -> None:
    with pytest.raises(UsageError, match="no column is left"):
        from_any(pa.table({"y": [1]}), label="y")
