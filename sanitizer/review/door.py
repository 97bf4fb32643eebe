"""The door of the app: what every request must be like, and what every answer carries, whatever the route is."""

from __future__ import annotations

import json
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 1 << 20  # of a request: a batch of decisions is a few kilobytes
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

# Samples are written by whoever attacks us.  Scripts and styles come from our own files only, pictures are painted from
# numbers on a canvas (no decoder sees foreign bytes), nothing is framed, no form leaves, no string becomes HTML.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors {ancestors}; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers send `Origin: null` with our own login form
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Permissions-Policy": "accelerometer=(), camera=(), geolocation=(), gyroscope=(), microphone=(), payment=(), usb=()",
}


class Door:
    """ASGI middleware.  Refuses a foreign `Host` (DNS rebinding), a write from a foreign page (CSRF), and bodies without end.

    Args:
        app: what lies behind.
        hosts: names under which people reach this app, without port; a write must come from a page of one of them.
        framed: whether a page of the same origin may show the app in a frame (Airflow does).
        secure: whether people reach it by https only, and browsers shall remember that.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], *, framed: bool = False, secure: bool = False) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._policy = POLICY.format(ancestors="'self'" if framed else "'none'")
        self._frame = "SAMEORIGIN" if framed else "DENY"
        self._secure = secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._refusal(scope, headers)
        if refused is not None:
            await _refuse(*refused, send=self._marked(send))
            return
        seen = 0

        async def bounded() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            return message if seen <= MOST_BYTES else {"type": "http.disconnect"}

        await self._app(scope, bounded, self._marked(send))

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str, str] | None:
        if _name(headers.get("host", "")) not in self._hosts:
            return 421, "not_allowed", "this app does not answer to that host name: reach it by the address that it was started with"
        if scope["method"] in _SAFE:
            return None
        length = headers.get("content-length", "")
        if not length.isdigit() or int(length) > MOST_BYTES:
            return 413, "usage", f"a request has a length of at most {MOST_BYTES} bytes, told in advance"
        origin = headers.get("origin")
        if origin is None or urlsplit(origin).netloc.lower() != headers["host"].lower():
            return 403, "not_allowed", "a change must be asked for by a page of this app: its Origin header says otherwise"
        if headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return 403, "not_allowed", "a change must be asked for by a page of this app: another site sent this one"
        return None

    def _marked(self, send: Send) -> Send:
        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers["Content-Security-Policy"] = self._policy
                headers["X-Frame-Options"] = self._frame
                if self._secure:
                    headers["Strict-Transport-Security"] = "max-age=31536000"
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        return marked


def _name(host: str) -> str:
    """The host without its port.

    >>> _name("[::1]:8765"), _name("LOCALHOST:8765")
    ('::1', 'localhost')
    """
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


async def _refuse(status: int, code: str, message: str, *, send: Send) -> None:
    body = json.dumps({"ok": False, "code": code, "message": message, "subject": ""}).encode()
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": body})
