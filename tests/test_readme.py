"""The README stays true: its examples are run, in order, in an empty directory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, code) of every fenced block, without the ones that install or show output."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [(language, code) for language, code in found if language in ("python", "sh") and not code.startswith("make ")]


def run(language: str, code: str, place: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code] if language == "python" else ["bash", "-euo", "pipefail", "-c", code]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    # 4 is an answer, not a fault: something waits for a person
    assert done.returncode in (0, 4), f"{code}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
def test_the_how_to_works_on_a_workspace_with_held_samples(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(ROOT / "data")
    run("sh", "sanitizer init lab --dataset digits --label digit; sanitizer baseline data/baseline.csv --reason trusted -w lab", tmp_path)
    first, *rest = blocks("docs/how-to.md")
    run(*first, tmp_path)
    run("sh", "mkdir -p lab/inbox/lab-north; cp -r data/inbox/lab-south/first lab/inbox/lab-north/", tmp_path)
    run("sh", "sanitizer deliver lab/inbox/lab-north/first --source lab-north --key file:supplier/north.pem", tmp_path)
    run("sh", "sanitizer run -w lab", tmp_path)
    for language, code in rest:
        run(language, code, tmp_path)
    assert (tmp_path / "lab/releases/digits/2").is_dir()


def test_the_examples_run_in_order(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(ROOT / "data")
    for language, code in blocks("README.md"):
        run(language, code, tmp_path)
    assert (tmp_path / "report.html").exists()
    assert (tmp_path / "lab/releases/digits/2").is_dir()


def test_every_verb_stands_in_the_readme_or_its_help() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for verb in ("init", "baseline", "deliver", "run", "gate", "report", "quarantine", "audit"):
        assert f"sanitizer {verb}" in readme
