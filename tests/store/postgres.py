"""A PostgreSQL server of our own: in a new directory, on a socket in it, not reachable from anywhere else."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest


def _binary(name):
    found = shutil.which(name) or next(map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)), None)
    if found is None:
        pytest.skip(f"NOT RUN: {name} is not installed (Debian: apt-get install postgresql)")
    return found


def _unprivileged():
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    pytest.skip("NOT RUN: PostgreSQL does not run as root, and there is no user postgres or nobody")


@contextmanager
def server():
    """Yields a URL without a database name."""
    initdb, pg_ctl = _binary("initdb"), _binary("pg_ctl")
    who = _unprivileged()
    place = Path(tempfile.mkdtemp(prefix="pg"))
    try:
        if who:
            os.chown(place, who["user"], who["group"])

        def run(*command):
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place, **who)
            assert done.returncode == 0, (
                done.stdout + done.stderr + (place / "log").read_text() if (place / "log").exists() else done.stderr
            )

        run(initdb, "--pgdata", "data", "--auth", "trust", "--username", "sanitizer", "--encoding", "UTF8", "--no-locale", "--no-sync")
        options = f"-k {place} -h '' -c max_connections=30"
        run(pg_ctl, "--pgdata", "data", "--log", "log", "--options", options, "--wait", "start")
        try:
            yield f"postgresql://sanitizer@/{{}}?host={place}"
        finally:
            run(pg_ctl, "--pgdata", "data", "--mode", "immediate", "--wait", "stop")
    finally:
        shutil.rmtree(place, ignore_errors=True)
