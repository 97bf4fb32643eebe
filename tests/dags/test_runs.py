"""The DAGs, really run by Airflow: in this process without a scheduler, and (slow) under `airflow standalone`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sanitizer import overview, pipeline
from tests.line import found, place, signed

DAGS = Path(__file__).parents[2] / "dags"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One good delivery, one that was tampered with, one that is still being uploaded."""
    root = tmp_path / "w"
    found(root)
    signed(root, place(root, "good"))
    tampered = signed(root, place(root, "tampered", source="bolt"), source="bolt")
    (tampered / "rows.csv").write_bytes((tampered / "rows.csv").read_bytes().replace(b"red", b"rad", 1))
    place(root, "half")
    return root


def try_out(root: Path) -> tuple[int, dict[tuple[str, str, str], str]]:
    """Exit code and (dag, task, map index) -> state."""
    done = subprocess.run(
        [sys.executable, str(DAGS / "try_out.py"), str(root)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(DAGS.parent)},
    )
    assert done.stdout, (root / "airflow.log").read_text()[-2000:]
    lines = [line.split() for line in done.stdout.splitlines()]
    return done.returncode, {(w[1], w[2], w[3]): w[4] for w in lines if w[0] == "task"}


def test_a_refused_delivery_fails_its_own_tasks_and_the_others_are_published(root: Path) -> None:
    code, states = try_out(root)
    assert code == 0
    assert states["ingest", "sanitize.hold", "0"] == "success"
    assert states["ingest", "sanitize.verify", "1"] == "failed"
    assert states["ingest", "sanitize.hold", "1"] == "upstream_failed"
    assert states["release", "publish", "-"] == "success"
    assert states["pretraining_gate", "gate", "-"] == "success"
    told = overview.summary_facts(root)
    assert {d["path"]: d["state"] for d in told["deliveries"] if d["signers"] or d["code"]} == {
        "acme/good": "published",
        "bolt/tampered": "refused",
    }
    assert told["incomplete"] == ["acme/half"]
    before = {p: p.stat().st_mtime_ns for p in (root / "releases").rglob("*")}
    assert pipeline.pull(root) == []
    assert before == {p: p.stat().st_mtime_ns for p in (root / "releases").rglob("*")}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Standalone:
    """`airflow standalone` on a loopback port, in a process group of its own that ends with the test."""

    def __init__(self, home: Path, root: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.home = home
        environment = {
            **os.environ,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "2",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(DAGS.parent),
            "SANITIZER_WORKSPACE": str(root),
        }
        self.log = (home / "standalone.log").open("w")
        command = [str(Path(sys.executable).parent / "airflow"), "standalone"]
        self.process = subprocess.Popen(command, env=environment, stdout=self.log, stderr=self.log, start_new_session=True)
        self.token = ""

    def call(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(f"{self.url}{path}", method=method, data=None if body is None else json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def until(self, what: str, ask: Any, limit: float) -> Any:
        """Asks until the answer is true; the limit is generous, for slow machines."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            assert self.process.poll() is None, f"airflow ended: {(self.home / 'standalone.log').read_text()[-3000:]}"
            try:
                if found := ask():
                    return found
            except (urllib.error.URLError, ConnectionError, TimeoutError, json.JSONDecodeError, FileNotFoundError):
                pass  # not up yet: asked again until the limit
            time.sleep(1)
        raise AssertionError(f"{what}: not within {limit:.0f} s; {(self.home / 'standalone.log').read_text()[-3000:]}")

    def login(self) -> bool:
        known = json.loads((self.home / "simple_auth_manager_passwords.json.generated").read_text())
        body = {"username": "admin", "password": known["admin"]}
        self.token = self.call("POST", "/auth/token", body)["access_token"]
        return True

    def stop(self) -> None:
        # the group, not the process: its children outlive it otherwise
        for how in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, how)
            except ProcessLookupError:
                break
            time.sleep(5 if how == signal.SIGTERM else 0)
        self.process.wait()
        self.log.close()


@pytest.fixture
def standalone(tmp_path: Path, root: Path) -> Iterator[Standalone]:
    home = tmp_path / "airflow"
    home.mkdir()
    server = Standalone(home, root)
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_standalone_shows_no_import_error_and_a_run_triggered_by_rest_succeeds(standalone: Standalone, root: Path) -> None:
    standalone.until("log in", standalone.login, 300)
    names = {"ingest", "release", "pretraining_gate"}

    def parsed() -> bool:
        return names <= {d["dag_id"] for d in standalone.call("GET", "/api/v2/dags?exclude_stale=false")["dags"]}

    standalone.until("parse the DAGs", parsed, 240)
    assert standalone.call("GET", "/api/v2/importErrors")["total_entries"] == 0
    for name in names:
        standalone.call("PATCH", f"/api/v2/dags/{name}", {"is_paused": False})
    run = standalone.call("POST", "/api/v2/dags/ingest/dagRuns", {"logical_date": None, "conf": {"workspace": str(root)}})

    def ended() -> str:
        state = str(standalone.call("GET", f"/api/v2/dags/ingest/dagRuns/{run['dag_run_id']}")["state"])
        return state if state in ("success", "failed") else ""

    assert standalone.until("finish the run", ended, 400) == "success"
    states = {d["path"]: d["state"] for d in overview.summary_facts(root)["deliveries"]}
    assert states["acme/good"] in ("decided", "published")
    assert states["bolt/tampered"] == "refused"
