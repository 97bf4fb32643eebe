"""Run by `test_review_plugin.py` in a process of its own: Airflow reads its settings as it is imported.  Prints what came out as JSON."""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORKSPACE, HOME = sys.argv[1:]
os.environ.update(
    AIRFLOW_HOME=HOME,
    AIRFLOW__CORE__PLUGINS_FOLDER=str(ROOT / "plugins"),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS="rea:op,eve:admin",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{HOME}/airflow.db",
    AIRFLOW__LOGGING__LOGGING_LEVEL="ERROR",
    AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="False",
    AIRFLOW__API__BASE_URL="http://127.0.0.1:8080",
    AIRFLOW__API_AUTH__JWT_SECRET="a secret of this test, and of no other one",
    SANITIZER_WORKSPACE=WORKSPACE,
)
warnings.simplefilter("ignore")

from airflow.api_fastapi.app import create_app  # noqa: E402
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser  # noqa: E402
from airflow.utils.db import initdb  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

HOST = "http://127.0.0.1:8080"
PATHS = ["/", "/login", "/api/start", "/static/review.js", "/history", "/nothing", "/api/export.csv"]


def main():
    initdb()
    app = create_app(apps="core")
    manager = app.state.auth_manager
    told = {}

    def client(name=None):
        made = TestClient(app, base_url=HOST, client=("127.0.0.1", 50000), raise_server_exceptions=False, follow_redirects=False)
        if name is not None:
            made.cookies.set("_token", manager.generate_jwt(SimpleAuthManagerUser(username=name, role="op")))
        return made

    stranger, rea, eve = client(), client("rea"), client("eve")
    told["stranger"] = {path: stranger.get(f"/sanitizer{path}").status_code for path in PATHS}
    told["forged"] = TestClient(app, base_url=HOST, cookies={"_token": "eyJhbGciOiJub25lIn0.e30."}).get("/sanitizer/api/start").status_code
    told["headers"] = stranger.get("/sanitizer/api/start", headers={"X-Forwarded-User": "rea", "Remote-User": "rea"}).status_code
    html = {"Accept": "text/html"}
    first = rea.get("/sanitizer/", headers=html)
    told["sent to"] = first.headers["location"]
    rea.get(first.headers["location"], headers=html)
    page = rea.get("/sanitizer/", headers=html)
    told["page"] = [page.status_code, page.headers["content-security-policy"], page.headers["x-frame-options"]]
    csrf = page.text.split('data-csrf="')[1].split('"')[0]
    told["base"] = page.text.split('data-base="')[1].split('"')[0]
    told["start"] = rea.get("/sanitizer/api/start").json()["me"]
    command = {"token": "a-token-of-sixteen-or-more", "action": "drop", "reason": "because", "members": [[1, 0]]}
    sent = {"Origin": HOST, "X-CSRF-Token": csrf}
    told["without airflow"] = stranger.post(
        "/sanitizer/api/decide", json={"commands": [command]}, headers=sent, cookies={"sanitizer-session": rea.cookies["sanitizer-session"]}
    ).status_code
    told["decided"] = rea.post("/sanitizer/api/decide", json={"commands": [command]}, headers=sent).json()["outcomes"]
    nobody = eve.get("/sanitizer/login", headers=html)
    told["no account"] = [nobody.status_code, "eve has no account here" in nobody.text]
    told["views"] = [view for view in rea.get("/api/v2/plugins").json()["plugins"] if view["name"] == "sanitizer_review"]
    sys.stdout.write(f"{json.dumps(told)}\n")


main()
