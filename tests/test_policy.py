"""The policy: one frozen value, read once; an unknown key is an error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from sanitizer.errors import PolicyError, printable, worst
from sanitizer.policy import Policy, json_schema
from sanitizer.workspace import template

SCHEMA = Path(__file__).parents[1] / "docs" / "sanitizer.schema.json"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[detect]\nqq = 1", "detect.qq"),
        ("[detect]\nq = 2.0", "detect.q"),
        ('[detect]\nseed = "0"', "detect.seed"),
        ('dataset = "../etc"', "dataset"),
        ("[detect", "not TOML"),
    ],
)
def test_what_is_wrong_with_a_policy_is_named(text: str, word: str) -> None:
    with pytest.raises(PolicyError, match=word):
        Policy.from_toml(text)


def test_a_policy_cannot_be_changed_and_its_digest_is_that_of_its_values() -> None:
    policy = Policy.from_toml('dataset = "a"\n[detect]\nq = 0.1')
    with pytest.raises(ValidationError):
        policy.dataset = "b"  # type: ignore[misc]
    assert policy.digest == Policy.from_toml('dataset = "a"').digest
    assert policy.digest != Policy.from_toml('dataset = "b"').digest


def test_the_commented_template_is_a_policy() -> None:
    assert Policy.from_toml(template("toy", label="y", suite="s.json")).expectations.suite == "s.json"
    assert Policy.from_toml(template("toy")).samples.label is None


def test_the_published_schema_is_that_of_the_code() -> None:
    assert json.loads(SCHEMA.read_text()) == json_schema()


def test_the_worst_outcome_counts() -> None:
    assert [worst(c) for c in ([], [0, 1], [1, 4], [4, 3], [3, 5, 0])] == [0, 1, 4, 3, 5]


def test_an_error_is_one_short_line_whatever_it_quotes() -> None:
    shown = printable("\x1b[2J\u202e" + "x" * 10_000)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert len(shown) < 600
