"""Evidence becomes verdicts: one scale of suspicion, a promise on the accused, and classes that are never condemned."""

import numpy as np
import pandas as pd

from sanitizer.detectors import Evidence, Group
from sanitizer.policy import Policy
from sanitizer.samples import from_any
from sanitizer.verdicts import Verdicts, decide


def rows(labels: list[str]):
    frame = pd.DataFrame({"x": np.arange(len(labels), dtype=float), "label": labels})
    return from_any(frame, label="label")


def scored(scores: np.ndarray, reference: np.ndarray) -> Evidence:
    return Evidence("test.row", "row", "outlier", scores=scores, reference=reference)


def lawful(odds: np.ndarray, expected: np.ndarray) -> Evidence:
    p = np.minimum(1.0, expected / len(odds))
    return Evidence("test.law", "batch", "label-flip", scores=odds, p_values=p, calibration=4.0 / p - 1.0, odds=odds)


def judged(evidence: list[Evidence], labels: list[str], trusted: list[str] | None = None) -> Verdicts:
    return decide(evidence, rows(labels), None if trusted is None else rows(trusted), Policy())


def accused(verdicts: Verdicts) -> np.ndarray:
    return (verdicts.table["action"] == "quarantine").to_numpy()


def test_rows_that_all_exceed_every_trusted_row_are_accused_and_few_others():
    shares = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        scores = np.append(rng.normal(size=900), rng.normal(9.0, 1.0, 100))
        found = accused(judged([scored(scores, rng.normal(size=1000))], ["a", "b"] * 500, ["a", "b"] * 500))
        assert found[900:].mean() > 0.95
        shares.append(found[:900].sum() / found.sum())
    assert np.sum(np.array(shares) > 0.1) <= 3  # each with probability at most 0.1


def test_a_rare_class_whose_trusted_rows_look_as_strange_is_left_to_people():
    rng = np.random.default_rng(0)
    labels = ["common"] * 960 + ["rare"] * 40
    scores = np.append(rng.normal(size=960), np.full(40, 9.0))
    scores[:60] = 9.5
    reference = np.append(rng.normal(size=1980), np.full(20, 9.0))
    verdicts = judged([scored(scores, reference)], labels, ["common"] * 1980 + ["rare"] * 20)
    found = accused(verdicts)
    assert found[:60].all()
    assert not found[960:].any()
    spread = judged([scored(scores, rng.normal(size=2000))], labels, ["common"] * 1980 + ["rare"] * 20)
    assert accused(spread)[960:].all(), "with ordinary trusted rows of its own the same class is accused"


def test_a_class_that_no_trusted_row_has_is_not_condemned():
    rng = np.random.default_rng(0)
    scores = np.append(rng.normal(size=900), np.full(100, 9.0))
    verdicts = judged([scored(scores, rng.normal(size=1000))], ["known"] * 900 + ["new"] * 100, ["known"] * 1000)
    assert not accused(verdicts)[900:].any()
    assert any("label new" in note for note in verdicts.notes)


def test_rows_likelier_honest_than_not_are_no_part_of_an_accusation():
    odds = np.append(np.full(50, 3.0), np.full(950, -1.0))
    odds[50:54] = -0.1
    expected = np.where(odds > 0, 0.3, 0.5)
    expected[54:] = 900.0
    found = accused(judged([lawful(odds, expected)], ["a", "b"] * 500))
    assert found[:50].all()
    assert not found[50:].any()


def test_an_empty_accusation_is_a_normal_answer():
    odds = np.linspace(-5.0, 1.0, 100)
    assert not accused(judged([lawful(odds, np.full(100, 40.0))], ["a", "b"] * 50)).any()


def test_witnesses_that_another_has_weighed_are_shown_and_not_heard():
    rng = np.random.default_rng(0)
    inner = Evidence("inner", "row", "label-flip", scores=np.full(200, 9.0), reference=rng.normal(size=1000), within="test.law")
    verdicts = judged([lawful(np.full(200, -3.0), np.full(200, 100.0)), inner], ["a", "b"] * 100, ["a", "b"] * 500)
    assert not accused(verdicts).any()
    assert "inner" in verdicts.evidence


def test_members_of_a_sure_group_outrank_rows_of_even_odds_and_those_outrank_a_doubtful_group():
    sure = Group("backdoor", np.arange(10), 1e-12, "carries the pattern")
    doubtful = Group("backdoor", np.arange(20, 30), 0.3, "carries a habit")
    group = Evidence("groups", "group", "backdoor", groups=(sure, doubtful))
    odds = np.full(100, -6.0)
    odds[10:20] = 0.0
    level = judged([group, lawful(odds, np.full(100, 50.0))], ["a", "b"] * 50).table["suspicion"].to_numpy()
    assert level[:10].min() > level[10:20].max()
    assert level[10:20].min() > level[20:30].max()
    assert level[20:30].min() > level[30:].max()


def test_within_a_group_the_surest_come_first():
    group = Group("backdoor", np.arange(3), 1e-9, "carries the pattern", rank=np.array([0.2, 0.9, 0.5]))
    level = judged([Evidence("groups", "group", "backdoor", groups=(group,))], ["a", "b"] * 5).table["suspicion"].to_numpy()
    assert np.argsort(-level)[:3].tolist() == [1, 2, 0]


def test_suspicion_is_finite_whatever_the_witnesses_say():
    odds = np.array([np.inf, -np.inf, np.nan, 1.0])
    level = judged([Evidence("w", "batch", "label-flip", scores=odds, odds=odds)], ["a", "b", "a", "b"]).table["suspicion"]
    assert np.isfinite(level).all()
