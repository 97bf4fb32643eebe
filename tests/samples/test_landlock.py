"""A process that is confined opens the files it was given, and no others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sanitizer.samples import landlock, sandbox
from sanitizer.samples.sandbox import Limits, Payload, Request, parse

pytestmark = pytest.mark.skipif(not landlock.version(), reason="NOT RUN: this kernel has no Landlock")

CHILD = """
import json, os, socket, sys
sys.path.insert(0, sys.argv[1])
from sanitizer.samples import landlock
given, secret, scratch, port = sys.argv[2:]
open_before = open(secret)
assert landlock.confine(read=[given, "/not/there"], write=[scratch])

def tried(what):
    try:
        what()
    except PermissionError:
        return "refused"
    return "done"

def connect():
    with socket.socket() as s:
        s.connect(("127.0.0.1", int(port)))

print(json.dumps({
    "given": tried(lambda: open(given).read()),
    "open before": tried(lambda: open_before.read()),
    "secret": tried(lambda: open(secret)),
    "change given": tried(lambda: open(given, "a")),
    "scratch": tried(lambda: open(scratch + "/answer", "w").write("x")),
    "beside": tried(lambda: open(secret + ".new", "w")),
    "list": tried(lambda: os.listdir(os.path.dirname(secret))),
    "remove": tried(lambda: os.unlink(secret)),
    "connect": tried(connect),
}))
"""


def test_a_confined_process_opens_what_it_was_given_and_nothing_else(tmp_path: Path) -> None:
    import socket  # noqa: PLC0415

    (tmp_path / "given").mkdir()
    (tmp_path / "keys").mkdir()
    (tmp_path / "scratch").mkdir()
    given, secret = tmp_path / "given/rows.csv", tmp_path / "keys/release.pem"
    given.write_text("x\n")
    secret.write_text("secret\n")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        command = [sys.executable, "-I", "-c", CHILD, str(Path.cwd()), str(given), str(secret), str(tmp_path / "scratch"), str(port)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {name for name, outcome in told.items() if outcome == "done"} - {"connect"} == {"given", "open before", "scratch"}
    assert told["connect"] == ("refused" if landlock.version() >= 4 else "done")
    assert secret.read_text() == "secret\n"


def test_a_parser_that_was_taken_over_reads_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of CSV is replaced by one that opens a key; in the child, the kernel refuses."""
    key = tmp_path / "release.pem"
    key.write_text("secret")
    rows = tmp_path / "rows.csv"
    rows.write_text("x\n1\n")
    taken_over = f"""
import sys
sys.path.insert(0, sys.argv[1])
from sanitizer.samples import sandbox, readers
from sanitizer.errors import AmbiguousData
def stolen(file, where, budget):
    try:
        raise AmbiguousData("stolen " + open({str(key)!r}).read())
    except PermissionError:
        raise AmbiguousData("the kernel refused") from None
readers.READERS["csv"] = stolen
sandbox.child()
"""
    monkeypatch.setattr(sandbox, "_START", taken_over)
    limits = Limits(rows=10, decoded_bytes=1 << 20, memory=1 << 30, seconds=60)
    with pytest.raises(Exception, match="the kernel refused"):
        parse(Request((Payload("rows.csv", str(rows)),), ("csv",), limits))
