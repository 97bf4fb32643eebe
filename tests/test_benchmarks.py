"""The detection benchmark says what it measured."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).parents[1] / "benchmarks" / "detection.py"


@pytest.fixture(scope="module")
def detection():
    spec = importlib.util.spec_from_file_location("detection", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_figures_are_those_of_the_decision_and_of_the_ranking(detection):
    mask = np.array([True, True, False, False])
    held, suspicion = np.array([True, False, True, False]), np.array([0.9, 0.8, 0.3, 0.1])
    found = detection.figures((held, suspicion), mask, 1.5)
    assert found == {
        "held_honest": 0.5,
        "cpu_s": 1.5,
        "recall": 0.5,
        "false_discoveries": 0.5,
        "auroc": 1.0,
        "average_precision": 1.0,
    }
    assert "recall" not in detection.figures((held, suspicion), np.zeros(4, bool), 1.0)


def test_the_table_has_one_line_per_attack_and_contestant(detection):
    records = [
        {"attack": "none", "who": "sanitizer", "held_honest": 0.0, "cpu_s": 1.0},
        {"attack": "anomaly", "who": "sanitizer", "recall": 0.5, "cpu_s": 1.0},
        {"attack": "anomaly", "who": "sanitizer", "recall": 1.0, "cpu_s": 2.0},
    ]
    lines = detection.markdown(records).splitlines()
    assert len(lines) == 2 + 2
    assert "| anomaly | sanitizer | 0.750 |" in lines[3]


def test_bundled_tables_carry_their_label(detection):
    ((name, frame),) = detection.tables(None, quick=True)
    assert name == "breast_cancer"
    assert frame["label"].nunique() == 2
