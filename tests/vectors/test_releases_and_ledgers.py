"""Releases and ledgers under attack, through the command line: `gate` and `audit verify` answer with their exit code and code word."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from sanitizer import cli, pipeline
from tests.line import found, place, signed, table


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("attacked") / "w"
    found(root)
    signed(root, place(root, "first", table(60, seed=2)))
    [outcome] = pipeline.run(root)
    assert outcome.state == "decided"
    for path in (root / "releases").rglob("*"):
        if path.is_file():
            path.chmod(0o644)
    return root


@pytest.fixture
def root(built, tmp_path):
    return Path(shutil.copytree(built, tmp_path / "w", symlinks=True))


@pytest.fixture
def say(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            cli.main([*map(str, arguments), "--format", "json"])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        told = json.loads(out)
        return int(end.value.code or 0), told.get("code", "")

    return run


def part(release):
    return next((release / "data").iterdir())


def flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def bundle(change):
    def build(release):
        path = release.parent / "2.sig"
        body = json.loads(path.read_bytes())
        change(body)
        path.write_text(json.dumps(body))

    return build


def instead(path_of, make):
    def build(release):
        path = path_of(release)
        path.rename(release.parents[2] / "aside")
        make(path)

    return build


def signature(release):
    return release.parent / "2.sig"


def older_under_a_newer_name(release):
    shutil.rmtree(release)
    shutil.copytree(release.parent / "1", release)
    shutil.copy(release.parent / "1.sig", release.parent / "2.sig")


RELEASES = {
    "one bit": (3, "digest_mismatch", lambda r: flipped(part(r))),
    "statement flipped": (3, "digest_mismatch", lambda r: flipped(r / "provenance.intoto.json")),
    "statement of another release": (3, "digest_mismatch", lambda r: shutil.copy(r.parent / "1/provenance.intoto.json", r)),
    "extra file": (3, "unlisted_file", lambda r: (r / "x.parquet").write_bytes(b"x")),
    "extra file in .git": (3, "unlisted_file", lambda r: ((r / ".git").mkdir(), (r / ".git/x").write_bytes(b"x"))),
    "extra empty folder": (3, "unlisted_file", lambda r: (r / "empty").mkdir()),
    "trust root inside": (3, "unlisted_file", lambda r: shutil.copytree(r.parents[2] / "trust", r / "trust")),
    "file missing": (3, "missing_file", lambda r: (r / "README.md").unlink()),
    "part missing": (3, "missing_file", lambda r: part(r).unlink()),
    "part is a link": (3, "not_regular_file", instead(part, lambda p: p.symlink_to(p.parents[4] / "aside"))),
    "folder is a link": (3, "not_regular_file", instead(lambda r: r / "data", lambda p: p.symlink_to(p.parents[3] / "aside"))),
    "file is a pipe": (3, "not_regular_file", instead(lambda r: r / "README.md", os.mkfifo)),
    "signature missing": (3, "unsigned", lambda r: signature(r).unlink()),
    "signature empty": (3, "bad_envelope", lambda r: signature(r).write_bytes(b"")),
    "signature of brackets": (3, "bad_envelope", lambda r: signature(r).write_bytes(b"[" * 100_000)),
    "signature null": (3, "bad_envelope", lambda r: signature(r).write_bytes(b"null")),
    "signature is a pipe": (3, "not_regular_file", instead(signature, os.mkfifo)),
    "signature is a folder": (3, "not_regular_file", instead(signature, Path.mkdir)),
    "signature of another release": (3, "digest_mismatch", lambda r: shutil.copy(r.parent / "1.sig", signature(r))),
    "signature twice": (3, "bad_envelope", bundle(lambda b: b["dsseEnvelope"]["signatures"].append({"sig": "AAAA"}))),
    "signature is a number": (3, "bad_envelope", bundle(lambda b: b["dsseEnvelope"].update(signatures=[{"sig": 5}]))),
    "signature of nothing": (3, "untrusted_signer", bundle(lambda b: b["dsseEnvelope"]["signatures"][0].update(sig=""))),
    "payload gone": (3, "bad_envelope", bundle(lambda b: b["dsseEnvelope"].pop("payload"))),
    "unknown field": (3, "bad_envelope", bundle(lambda b: b.update(ignore_paths=["data"]))),
    "older release under a newer name": (3, "replayed", older_under_a_newer_name),
    "nothing there": (2, "usage", shutil.rmtree),
}


@pytest.mark.parametrize("name", RELEASES)
def test_the_gate_stays_closed(name, root, say):
    exit_code, code, build = RELEASES[name]
    build(root / "releases/toy/2")
    assert say("gate", root / "releases/toy/2", "--trust", root / "trust") == (exit_code, code)


TRUST = {
    "absent": (2, "usage", shutil.rmtree),
    "not JSON": (3, "bad_envelope", lambda t: (t / "timestamp.json").write_bytes(b"\xff")),
    "a list": (3, "bad_envelope", lambda t: (t / "timestamp.json").write_bytes(b"[]")),
    "a pipe": (3, "bad_envelope", lambda t: ((t / "timestamp.json").unlink(), os.mkfifo(t / "timestamp.json"))),
    "a folder": (3, "bad_envelope", lambda t: ((t / "timestamp.json").unlink(), (t / "timestamp.json").mkdir())),
    "timestamp missing": (3, "missing_file", lambda t: (t / "timestamp.json").unlink()),
    "another key": (3, "digest_mismatch", lambda t: flipped(next(t.glob("*.release.pub.pem")))),
}


@pytest.mark.parametrize("name", TRUST)
def test_a_trust_root_that_was_tampered_with_opens_nothing(name, root, say):
    exit_code, code, build = TRUST[name]
    build(root / "trust")
    assert say("gate", root / "releases/toy/2", "--trust", root / "trust") == (exit_code, code)


@pytest.mark.parametrize("points", ["../../../etc", "9" * 5000, "²", "", "-1", "1\n2"])
def test_a_pointer_that_leads_astray_is_a_usage_error(points, root, say):
    (root / "releases/toy/latest").write_text(points)
    assert say("gate", root / "releases/toy", "--trust", root / "trust") == (2, "usage")


def test_an_older_release_is_replayed_once_a_newer_one_was_seen(root, say):
    memory = ("--trust", root / "trust", "--state", root / "seen.json")
    assert say("gate", root / "releases/toy/2", *memory)[0] == 0
    assert say("gate", root / "releases/toy/1", *memory) == (3, "replayed")


@pytest.mark.parametrize("memory", ["[]", '{"toy": 5}', '{"toy": {"version": "x"}}', "{", ""])
def test_a_memory_that_was_tampered_with_opens_nothing(memory, root, say):
    (root / "seen.json").write_text(memory)
    assert say("gate", root / "releases/toy/2", "--trust", root / "trust", "--state", root / "seen.json") == (5, "storage_failed")


# {n} is the index of the last entry
LEDGERS = {
    "entry edited": """update ledger set entry = replace(cast(entry as text), '"actor":"', '"actor":"x') where "index" = 3""",
    "entry edited as bytes": (
        """update ledger set entry = cast(replace(cast(entry as text), '"actor":"', '"actor":"x') as blob) where "index" = 3"""
    ),
    "entry is junk": "update ledger set entry = x'ff' where \"index\" = 3",
    "entry is null in JSON": "update ledger set entry = x'6e756c6c' where \"index\" = 3",
    "entry removed": 'delete from ledger where "index" = 3',
    "first entry removed": 'delete from ledger where "index" = 0',
    "last entry removed": 'delete from ledger where "index" = {n}',
    "entries swapped": (
        'update ledger set "index" = -1 where "index" = 3; update ledger set "index" = 3 where "index" = 4; '
        'update ledger set "index" = 4 where "index" = -1'
    ),
    "entry repeated": 'insert into ledger select "index" + 1, kind, subject, entry from ledger where "index" = {n}',
    "entry filed elsewhere": "update ledger set kind = 'x' where \"index\" = 3",
    "all removed": "delete from ledger",
    "all removed with its checkpoints": "delete from ledger; delete from checkpoints",
    "end removed with its checkpoints": 'delete from ledger where "index" > 5; delete from checkpoints where size > 6',
    "checkpoint is junk": "update checkpoints set note = 'x'",
    "head is junk": "update ledger_head set frontier = '[]'",
    "head removed": "delete from ledger_head",
    "head counts wrong": "update ledger_head set size = 0",
    "table removed": "drop table ledger",
}


@pytest.mark.parametrize("name", LEDGERS)
def test_a_ledger_that_was_tampered_with_is_told(name, root, say):
    assert say("audit", "verify", "-w", root)[0] == 0
    with sqlite3.connect(root / "state.db") as state:
        last = state.execute('select max("index") from ledger').fetchone()[0]
        state.executescript(LEDGERS[name].format(n=last))
    assert say("audit", "verify", "-w", root) == (3, "ledger_broken")


def test_a_state_that_is_gone_disagrees_with_the_releases(root, say):
    (root / "state.db").unlink()
    assert say("audit", "verify", "-w", root) == (3, "ledger_broken")


def test_a_checkpoint_kept_elsewhere_betrays_a_shorter_ledger(root, say):
    with sqlite3.connect(root / "state.db") as state:
        note = state.execute("select note from checkpoints order by size desc limit 1").fetchone()[0]
        last = state.execute('select max("index") from ledger').fetchone()[0]
        (root / "kept.txt").write_text(note)
        state.execute('delete from ledger where "index" = ?', (last,))
        state.execute("delete from checkpoints where size > ?", (last,))
    assert say("audit", "verify", "-w", root, "--checkpoint", root / "kept.txt") == (3, "ledger_broken")
