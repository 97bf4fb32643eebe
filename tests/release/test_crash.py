"""Killed at any step, or with a full disk at any step, the line loses nothing and shows nothing half-done.

SANITIZER_KILLS raises how many random instants are tried; every step is tried when it is at least 500.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
KILLS = int(os.environ.get("SANITIZER_KILLS", "60"))
STRIDE = 1 if KILLS >= 500 else 7


def trial(place, mode, *arguments):
    command = [sys.executable, str(Path(__file__).with_name("crash.py")), mode, str(place), *map(str, arguments)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def test_a_kill_at_any_step_loses_nothing(tmp_path):
    found = trial(tmp_path, "steps", STRIDE, os.getpid() % STRIDE)
    assert found["steps"] > 100
    assert found["kills"] >= found["steps"] // STRIDE


def test_a_full_disk_at_any_step_loses_nothing(tmp_path):
    found = trial(tmp_path, "full", STRIDE, os.getpid() % STRIDE)
    assert found["failures"] > 100 // STRIDE


def test_kills_at_random_instants_lose_nothing(tmp_path):
    found = trial(tmp_path, "random", KILLS, 7)
    assert found["kills"] >= KILLS
