"""The review app inside Airflow's web interface: an entry in the navigation, signed in as the person that Airflow knows.

Airflow mounts the apps of plugins without asking who comes; here every request, to static files too, first passes Airflow's own check
(`get_user`: bearer token or session cookie).  Whoever it names needs an account in the workspace, which holds the role:
`sanitizer users add NAME --role reviewer --no-password`.

Settings: SANITIZER_WORKSPACE (the folder with sanitizer.toml), SANITIZER_REVIEW_HOSTS (further host names, comma separated).
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin
from fastapi import FastAPI, HTTPException, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from sanitizer.errors import SanitizerError

PREFIX = "/sanitizer"


class AirflowAsks:
    """ASGI middleware: no request gets past it that Airflow would not let in; tells the app behind who it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return  # the app has no web sockets, and a mounted app gets no lifespan
        request = Request(scope)
        try:
            user = await get_user(request, None, await bearer_scheme(request))
        except HTTPException as error:
            body = {"ok": False, "code": "not_allowed", "message": f"Airflow does not know who asks: {error.detail}", "subject": ""}
            await JSONResponse(body, error.status_code, {"Cache-Control": "no-store"})(scope, receive, send)
            return
        request.state.sanitizer_user = user.get_name()
        await self._app(scope, receive, send)


class OpenedOnFirstUse:
    """The review app over the state of the workspace.  Schedulers and workers load plugins too, and must not open it."""

    def __init__(self) -> None:
        self._app: ASGIApp | None = None
        self._opening = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        try:
            async with self._opening:
                if self._app is None:
                    self._app = await asyncio.to_thread(_review)
        except SanitizerError as error:
            await JSONResponse(error.as_dict(), 503, {"Cache-Control": "no-store"})(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _review() -> FastAPI:
    from sanitizer.review.app import create_app  # noqa: PLC0415 (see the class above)
    from sanitizer.store import Store  # noqa: PLC0415 (see the class above)
    from sanitizer.workspace import Workspace  # noqa: PLC0415 (see the class above)

    workspace = Workspace.open(Path(os.environ.get("SANITIZER_WORKSPACE", "workspace")).absolute())
    # without any key: decisions are in the ledger at once, the line signs the next checkpoint
    store = Store.open(workspace.policy.store.url, workspace.root, origin=f"sanitizer/{workspace.policy.dataset}")
    base = urlsplit(conf.get("api", "base_url", fallback=None) or "")
    more = os.environ.get("SANITIZER_REVIEW_HOSTS", "").split(",")
    hosts = {"127.0.0.1", "localhost", "::1", base.hostname or "", *(name.strip() for name in more)} - {""}
    secure = base.scheme == "https"
    return create_app(store, workspace.policy, hosts=hosts, identify=_named, secure=secure, framed=True)


def _named(request: Request) -> str | None:
    name: str | None = getattr(request.state, "sanitizer_user", None)
    return name


def make_app() -> FastAPI:
    """What Airflow mounts: Airflow's check in front of everything."""
    app = FastAPI(title="sanitizer review", openapi_url=None, docs_url=None, redoc_url=None)
    app.mount("/", OpenedOnFirstUse())
    app.add_middleware(AirflowAsks)
    return app


class SanitizerReview(AirflowPlugin):
    """Adds the app and its entry in the navigation."""

    name = "sanitizer_review"
    fastapi_apps: list[dict[str, Any]] = [{"name": "sanitizer review", "app": make_app(), "url_prefix": PREFIX}]  # noqa: RUF012 (Airflow's attribute)
    external_views: list[dict[str, Any]] = [  # noqa: RUF012 (Airflow's attribute)
        {"name": "Quarantine", "href": f"{PREFIX}/", "destination": "nav", "category": "browse", "url_route": "quarantine"}
    ]
