"""The review app mounted in Airflow's own web server, by Airflow's own plugin loader, with Airflow's own users."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sanitizer.quarantine.decisions import listed
from sanitizer.review import people
from sanitizer.store import Store
from tests.review.build import make_template

SCRIPT = Path(__file__).parent / "review_in_airflow.py"


@pytest.mark.slow
def test_airflow_vouches_for_every_request(tmp_path):
    workspace, home = tmp_path / "w", tmp_path / "airflow"
    workspace.mkdir()
    home.mkdir()
    make_template(workspace)
    (workspace / "sanitizer.toml").write_text('dataset = "toy"\n')
    with Store.open("sqlite:///state.db", workspace) as store, store.transaction() as tx:
        people.change(tx, "rea", actor="ada", sources=["elsewhere"])
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(workspace), str(home)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(SCRIPT.parents[2])},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert set(told["stranger"].values()) == {401}
    assert told["forged"] in (401, 403)
    assert told["headers"] == 401
    assert told["without airflow"] == 401
    assert told["sent to"].startswith("/sanitizer/login?next=")
    status, policy, frame = told["page"]
    assert (status, frame, told["base"]) == (200, "SAMEORIGIN", "/sanitizer")
    assert "frame-ancestors 'self'" in policy
    assert (told["start"]["name"], told["start"]["role"], told["start"]["via"]) == ("rea", "reviewer", "host")
    assert told["decided"][0]["status"] == "effective"
    assert told["no account"] == [403, True]
    (plugin,) = told["views"]
    assert [(view["name"], view["href"]) for view in plugin["external_views"]] == [("Quarantine", "/sanitizer/")]
    with Store.open("sqlite:///state.db", workspace) as store, store.reading() as view:
        assert [(event.reviewer, event.action) for event in listed(view)] == [("rea", "drop")]
