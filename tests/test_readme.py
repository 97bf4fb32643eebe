"""The README stays true: its examples are run, in order, in an empty directory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def blocks() -> list[tuple[str, str]]:
    """(language, code) of every fenced block, without the ones that install or show output."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [(language, code) for language, code in found if language in ("python", "sh") and not code.startswith("make ")]


def test_the_examples_run_in_order(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(ROOT / "data")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    for language, code in blocks():
        command = [sys.executable, "-c", code] if language == "python" else ["bash", "-euo", "pipefail", "-c", code]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        # 4 is an answer, not a fault: something waits for a person
        assert done.returncode in (0, 4), f"{code}\n{done.stdout}\n{done.stderr}"
    assert (tmp_path / "report.html").exists()
    assert (tmp_path / "lab/releases/digits/2").is_dir()


def test_every_verb_stands_in_the_readme_or_its_help() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for verb in ("init", "baseline", "deliver", "run", "gate", "report", "quarantine", "audit"):
        assert f"sanitizer {verb}" in readme
