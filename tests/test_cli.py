"""The command line: the contract of verbs, exit codes and one-line errors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sanitizer import cli
from tests.line import found, place, signed, table


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cli") / "w"
    found(root)
    return root


@pytest.fixture
def root(founded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(founded, tmp_path / "w"))


class Said:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> object:
    def run(*arguments: object) -> Said:
        with pytest.raises(SystemExit) as end:
            cli.main([str(a) for a in arguments])
        told = capsys.readouterr()
        return Said(int(end.value.code or 0), told.out, told.err)

    return run


def every_verb() -> list[list[str]]:
    """All commands and groups, as words."""
    words: list[list[str]] = [[]]
    for name, command in cli.cli.commands.items():
        words.append([name])
        words += [[name, sub] for sub in getattr(command, "commands", {})]
    return words


@pytest.mark.parametrize("words", every_verb(), ids=lambda words: " ".join(words) or "sanitizer")
def test_every_verb_explains_itself(words: list[str], say) -> None:
    told = say(*words, "--help")
    assert told.code == 0
    assert len(told.out.splitlines()) > 3


def test_a_workspace_from_nothing(tmp_path: Path, say) -> None:
    root, keys = tmp_path / "w", tmp_path / "supplier"
    assert say("init", root, "--dataset", "toy", "--label", "label").code == 0
    assert say("init", root).code == 2
    assert say("keys", "new", "acme", "--into", keys).code == 0
    assert say("trust", "add-source", "acme", keys / "acme.pub.pem", "-w", root).code == 0
    table(150, seed=1).to_csv(tmp_path / "known.csv", index=False)
    assert say("baseline", tmp_path / "known.csv", "--reason", "ours", "-w", root).code == 0
    folder = place(root, "first")
    assert say("deliver", folder, "--source", "acme", "--key", f"file:{keys / 'acme.pem'}", "--sequence", 1).code == 0
    assert "level L2" in say("verify", folder, "--trust", root / "trust").out
    assert say("run", "-w", root).code in (0, 4)
    assert say("gate", root / "releases/toy", "--trust", root / "trust").code == 0
    assert "all in order" in say("audit", "verify", "-w", root).out
    assert json.loads(say("trust", "show", "-w", root, "--format", "json").out)["sources"]["acme"]["threshold"] == 1
    assert say("trust", "lint", "-w", root).code == 0
    assert "acme/first" in say("report", "-w", root).out


def test_a_refused_delivery_is_exit_3_and_one_line(root: Path, say) -> None:
    folder = signed(root, place(root, "first"))
    (folder / "more.csv").write_text("x\n1\n")
    told = say("run", "-w", root)
    assert told.code == 3
    assert told.out.startswith("acme/first: refused: unlisted_file: ")
    assert len(told.out.splitlines()) == 1


def test_an_error_as_json_is_an_object(root: Path, say) -> None:
    told = say("gate", root / "releases/toy/1", "--trust", root / "keys", "--format", "json")
    body = json.loads(told.out)
    assert (body["ok"], told.code) == (False, {"usage": 2}.get(body["code"], 3))
    assert body["message"]


def test_one_changed_byte_closes_the_gate(root: Path, say) -> None:
    part = next((root / "releases/toy/1/data").iterdir())
    part.chmod(0o644)
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    told = say("gate", root / "releases/toy/1", "--trust", root / "trust")
    assert told.code == 3
    assert "digest_mismatch" in told.err


def test_wrong_words_are_exit_2_and_one_line(say) -> None:
    told = say("scan", "--no-such-option")
    assert told.code == 2
    assert len(told.err.splitlines()) == 1


def test_a_fault_of_ours_is_exit_5_and_one_line(monkeypatch: pytest.MonkeyPatch, say, tmp_path: Path) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boom\nbang")

    monkeypatch.setattr("sanitizer.scanning.scan", broken)
    told = say("scan", tmp_path)
    assert told.code == 5
    assert len(told.err.splitlines()) == 1


def test_scanning_a_file_needs_no_workspace(tmp_path: Path, say) -> None:
    table(200, seed=1).to_csv(tmp_path / "known.csv", index=False)
    table(100, seed=2).to_csv(tmp_path / "new.csv", index=False)
    told = say("scan", tmp_path / "new.csv", "--trusted", tmp_path / "known.csv", "--label", "label", "--html", tmp_path / "r.html")
    assert told.code in (0, 1)
    assert (tmp_path / "r.html").stat().st_size > 10_000


@pytest.mark.parametrize(("form", "word"), [("sarif", '"version": "2.1.0"'), ("junit", '<testsuite name="new.csv"')])
def test_a_scan_speaks_to_code_hosts(form: str, word: str, tmp_path: Path, say) -> None:
    table(60, seed=3).to_csv(tmp_path / "new.csv", index=False)
    told = say("scan", tmp_path / "new.csv", "--label", "label", "--format", form)
    assert told.code == 0
    assert word in told.out
