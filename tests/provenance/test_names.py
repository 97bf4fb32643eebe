"""Names that mean one file, on every system and to every eye."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanitizer.errors import BadName
from sanitizer.provenance.names import DEEPEST, LONGEST_NAME, LONGEST_PART, check_name, check_names, fold
from tests.vectors.attacks import NAMES

GOOD = [
    "data.csv",
    "a/b/c.parquet",
    "2026-03-01 12.00.00 north.csv",
    "Ünïcode/日本語/данные.csv",
    "UPPER/lower",
    ".hidden/..two.dots",
    "with space/and (brackets) [too] {yes} #1 @2 +3 =4 ~5 !6 'q' `b` ^ & % $ ; ,",
    "emoji-😀.csv",
    "x" * LONGEST_PART,
    "/".join(["d"] * DEEPEST),
    "console.csv",
    "nulls.csv",
    "com.csv",
]


@pytest.mark.parametrize("name", GOOD)
def test_an_honest_name_passes_unchanged(name):
    assert check_name(name) == name


COLLISIONS = {"case_collision", "case_collision_of_directory", "compatibility_collision", "file_as_directory", "directory_as_file"}
ALONE = {k: v for k, v in NAMES.items() if k not in COLLISIONS and not k.startswith("the_manifest")}


@pytest.mark.parametrize("name", ALONE.values(), ids=ALONE)
def test_a_name_that_means_something_else_elsewhere_is_refused_in_a_printable_line(name):
    with pytest.raises(BadName) as refused:
        check_name(name)
    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 600


@pytest.mark.parametrize(
    "names",
    [
        ["a", "a"],
        ["a", "A"],
        ["straße", "STRASSE"],
        ["ﬁle", "file"],
        ["Å.csv", "å.csv"],
        ["a", "a/b"],
        ["a/b", "a"],
        ["A", "a/b"],
        ["a/x", "A/y"],
        ["a/b/x", "a/B/y"],
    ],
)
def test_names_that_fall_together_on_some_system_are_refused(names):
    with pytest.raises(BadName):
        check_names(names)


def test_names_of_one_directory_spelled_alike_are_fine():
    assert check_names(["a/x", "a/y", "a/b/x", "b"]) == ["a/x", "a/y", "a/b/x", "b"]


@given(st.text(max_size=80))
def test_what_passes_can_do_no_harm(name):
    try:
        check_name(name)
    except BadName:
        return
    assert name
    assert not name.startswith("/")
    assert "\\" not in name
    assert ":" not in name
    assert not {"", ".", ".."} & set(name.split("/"))
    assert all(c == " " or c.isprintable() for c in name)
    assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for c in name)
    assert unicodedata.normalize("NFC", name) == name
    assert len(name.encode()) <= LONGEST_NAME
    assert fold(fold(name)) == fold(name)


@given(st.lists(st.sampled_from(["a", "A", "b", "a/b", "A/b", "b/a", "b/A", "ß", "ss", "c/d/e", "C/d/f"]), max_size=6))
def test_names_that_pass_together_stay_apart_when_case_and_form_are_ignored(names):
    try:
        check_names(names)
    except BadName:
        return
    folded = {tuple(fold(part) for part in name.split("/")) for name in names}
    assert len(folded) == len(names)
    assert not any(a != b and a == b[: len(a)] for a in folded for b in folded)


def test_the_quick_way_and_the_slow_way_agree():
    for name in ["con", "aux.txt", "com1", "a.", ".a", "-a", "a b", "a" * 129, "a/" * 40 + "a", "A-1_2.x", "lpt9.tar.gz", "nul/x"]:
        quick = slow = True
        try:
            check_name(name)
        except BadName:
            quick = False
        try:
            check_name(f"{name}/é")  # a letter that the quick way does not take
        except BadName:
            slow = False
        assert quick == slow, name
