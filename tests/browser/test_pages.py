"""Every page, at both widths, light and dark: accessible, within its width, with headers that browsers obey, without an outside request."""

from __future__ import annotations

import http.client
import json

import pytest

from tests.browser.build import Seat

DIALOG = "dialog[open]"
# name of the page, who, address, keys to press, what to wait for
PAGES = {
    "pictures": ("rea", "/?case=1", "", None),
    "table": ("rea", "/?case=4&state=all", "", None),
    "done": ("rea", "/?case=4", "", None),
    "text": ("rea", "/?case=9", "d", None),
    "vectors": ("rea", "/?case=10", "", None),
    "ratings": ("rea", "/?case=12", "", None),
    "all": ("vic", "/?text=the&state=all", "", None),
    "keys": ("rea", "/?case=1", "?", DIALOG),
    "audit": ("rea", "/?case=2", "a", DIALOG),
    "confirm": ("rea", "/?case=2", "X", DIALOG),
    "relabel": ("rea", "/?case=6", "l", DIALOG),
    "note": ("rea", "/?case=6", "n", DIALOG),
    "zoom": ("rea", "/?case=1", "z", DIALOG),
    "proposals": ("sam", "/proposals", "", "article.proposal"),
    "history": ("sam", "/history", "", ".event"),
    "people": ("ada", "/people", "", "table"),
    "measures": ("sam", "/people", "", "table"),
    "login": (None, "/login", "", "form"),
    "refused": ("rea", "/enter?token=used", "", "[role=alert]"),
}
SIZES = [(1280, 800, "light"), (1280, 800, "dark"), (390, 844, "light"), (390, 844, "dark")]


@pytest.fixture
def lived_in(sit, desk):
    """Somebody worked here already."""
    rea = sit("rea").open("/?case=4")
    rea.press(*"xxr")
    rea.saved()
    rea.press("X")
    rea.page.wait_for_selector(DIALOG)
    rea.press("Enter")
    rea.saved()
    rea.open("/?case=1")
    rea.press("r", "x")
    rea.saved()
    return desk


@pytest.mark.parametrize(("width", "height", "scheme"), SIZES, ids=str)
def test_axe_finds_nothing_to_say_and_nothing_stands_out_of_the_page(chromium, lived_in, axe, width, height, scheme):
    found, wide, outside = {}, [], []
    for name, (who, path, keys, wanted) in PAGES.items():
        seat = Seat(chromium, lived_in, who, width=width, height=height, scheme=scheme)
        seat.page.goto(f"{lived_in.url}{path}")
        if name not in ("login", "refused"):
            seat.settled()
        seat.press(*keys)
        if wanted:
            seat.page.wait_for_selector(wanted)
        seat.page.evaluate(axe)
        said = seat.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        if said["violations"]:
            found[name] = [(one["id"], [node["html"][:160] for node in one["nodes"]][:3]) for one in said["violations"]]
        if seat.page.evaluate("document.documentElement.scrollWidth") > width:
            wide.append(name)
        outside += [url for url in seat.fetched if not url.startswith(f"{lived_in.url}/")]
        outside += [line for line in seat.said if "Content Security" in line]
        seat.close()
    assert found == {}
    assert wide == []
    assert outside == []


def fetch(desk, method, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", desk.port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


ANSWERS = [
    ("GET", "/", 401),
    ("GET", "/login", 200),
    ("GET", "/static/review.js", 200),
    ("GET", "/static/review.css", 200),
    ("GET", "/static/icon.svg", 200),
    ("GET", "/static/../people.py", 404),
    ("GET", "/static/%2e%2e/people.py", 404),
    ("GET", "/nothing", 404),
    ("GET", "/api/start", 401),
    ("GET", "/openapi.json", 404),
    ("GET", "/docs", 404),
    ("PUT", "/api/decide", 403),
    ("TRACE", "/", 413),
    ("OPTIONS", "/api/decide", 405),
]


def test_every_answer_of_the_running_server_carries_the_headers(desk):
    for method, path, status in ANSWERS:
        got, headers, body = fetch(desk, method, path)
        assert got == status, (method, path, body[:200])
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';"), path
        assert "unsafe" not in policy
        assert "require-trusted-types-for 'script'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["referrer-policy"] == "same-origin"
        assert "camera=()" in headers["permissions-policy"]
        assert headers["cache-control"] in ("no-store", "no-cache")
        assert "server" not in headers
        assert "access-control-allow-origin" not in headers


def test_another_host_name_reaches_nothing(desk):
    for host in ("evil.example", f"evil.example:{desk.port}", "127.0.0.1.evil.example", ""):
        status, headers, body = fetch(desk, "GET", "/api/start", Host=host)
        assert status == 421, host
        assert json.loads(body)["code"] == "not_allowed"
        assert "content-security-policy" in headers


def test_signing_in_with_a_password_in_a_browser(chromium, desk):
    stranger = Seat(chromium, desk, None)
    stranger.page.goto(f"{desk.url}/?case=4")
    stranger.page.fill("#name", "rea")
    stranger.page.fill("#password", "four words nobody joins")
    stranger.press("Enter")
    stranger.settled()
    assert stranger.page.url.endswith("case=4") or "case=4&" in stranger.page.url
    (cookie,) = stranger.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    stranger.page.click("#me summary")
    stranger.page.click("#sign-out")
    stranger.page.wait_for_url("**/login")
    assert stranger.context.cookies() == []
    stranger.close()
