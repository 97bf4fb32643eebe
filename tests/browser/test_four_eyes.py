"""One person is never two: windows, replays, forged headers, foreign pages and lost roles are refused, in words; the ledger tells."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sanitizer.quarantine import audit
from sanitizer.quarantine.decisions import listed
from sanitizer.review import people
from sanitizer.store.ledger import entries

ASK = """async ({ path, body, headers }) => {
  const own = { 'Content-Type': 'application/json', 'X-CSRF-Token': document.documentElement.dataset.csrf };
  const answer = await fetch(`/api/${path}`, { method: 'POST', headers: { ...own, ...headers }, body: JSON.stringify(body) });
  return { status: answer.status, body: await answer.json() };
}"""


def ask(seat, path, body, **headers):
    """A request that no button of the page makes."""
    return seat.page.evaluate(ASK, {"path": path, "body": body, "headers": headers})


def outcome(answer):
    return answer["body"]["outcomes"][0] if "outcomes" in answer["body"] else answer["body"]


def command(sample, action="drop", token="a-token-of-sixteen-or-more", **more):
    return {"commands": [{"token": token, "action": action, "reason": "because", "members": [[sample, 0]]} | more]}


def approval(event, token="an-approval-of-sixteen"):
    return {"token": token, "event": event, "reason": "I see the same"}


def statuses(desk):
    with desk.store() as store, store.reading() as view:
        audit(view)
        return [(e.reviewer, e.action, e.status) for e in listed(view)]


def refusals(desk):
    with desk.store() as store, store.reading() as view:
        return [entry.actor for entry in entries(view, kind="review.refused")]


def release_a_backdoor(seat):
    """Case 1 of the demo is one: the policy wants two people."""
    seat.open("/?case=1")
    seat.press("r")
    seat.saved()


def test_the_same_person_in_two_windows_is_one_person(sit, desk):
    one, two = sit("sam"), sit("sam")
    release_a_backdoor(one)
    two.open("/proposals")
    assert two.page.locator("button.agree").count() == 0
    assert "somebody else must agree" in two.page.inner_text("article.proposal")
    two.press("y")
    answer = outcome(ask(two, "approve", approval(1)))
    assert (answer["ok"], answer["code"]) == (False, "not_allowed")
    assert answer["message"] == "sam proposed decision 1: someone else must approve it"
    assert statuses(desk) == [("sam", "release", "proposed")]
    assert refusals(desk) == ["sam"]


def test_a_replayed_request_does_nothing_twice(sit, desk):
    rea, kim, sam = sit("rea").open(), sit("kim").open(), sit("sam").open()
    bodies = []
    rea.page.on("request", lambda request: bodies.append(json.loads(request.post_data)) if request.url.endswith("/api/decide") else None)
    rea.open("/?case=1")
    rea.press("r")
    rea.saved()
    (body,) = bodies
    again = outcome(ask(rea, "decide", body))
    assert (again["event"], again["repeated"]) == (1, True)
    body["commands"][0]["action"] = "drop"
    for seat in (rea, kim):
        answer = outcome(ask(seat, "decide", body))
        assert "repeats the token of another one, of rea: nothing was done" in answer["message"]
    assert outcome(ask(sam, "approve", approval(1)))["status"] == "effective"
    assert outcome(ask(sam, "approve", approval(1)))["repeated"]
    assert "nothing to approve" in outcome(ask(sam, "approve", approval(1, "another-token-of-16")))["message"]
    assert statuses(desk) == [("rea", "release", "effective"), ("sam", "approve", "effective")]


def test_a_forged_header_makes_nobody_somebody_else(sit, desk):
    rea = sit("rea")
    release_a_backdoor(rea)
    for header in ("X-Forwarded-User", "X-Remote-User", "Remote-User", "X-Sanitizer-Proxy", "Authorization", "X-Forwarded-For"):
        answer = ask(rea, "approve", approval(1), **{header: "sam"})
        assert answer["status"] == 403
        assert answer["body"]["message"] == "rea is reviewer: to agree with what others proposed needs the role approver"
    for forged in ("", "guess", "0" * 43):
        answer = ask(rea, "decide", command(2), **{"X-CSRF-Token": forged})
        assert answer["status"] == 403
        assert "does not carry the token of the session" in answer["body"]["message"]
    assert statuses(desk) == [("rea", "release", "proposed")]
    assert refusals(desk) == ["rea"] * 9


def test_a_role_taken_away_in_mid_flight_no_longer_acts(sit, desk):
    kim, sam = sit("kim"), sit("sam")
    release_a_backdoor(kim)
    sam.open("/proposals")
    sam.page.click("button.agree")
    sam.page.wait_for_selector("dialog[open]")  # the question is on the screen when the role goes
    with desk.store() as store, store.transaction() as tx:
        people.change(tx, "sam", actor="ada", role="viewer")
    sam.press("Enter")
    sam.page.wait_for_url("**/login?ended=1*")
    assert "your role was changed: sign in again" in sam.page.inner_text("[role=alert]")
    assert statuses(desk) == [("kim", "release", "proposed")]
    back = sit("sam").open("/proposals")  # signed in again
    assert back.page.locator("button.agree").count() == 0
    answer = ask(back, "approve", approval(1))
    assert answer["body"]["message"] == "sam is viewer: to agree with what others proposed needs the role approver"


def test_a_reviewer_whose_role_goes_while_deciding_is_told_and_nothing_is_done(sit, desk):
    rea = sit("rea").open("/?case=4")
    rea.press("x")
    rea.saved()
    with desk.store() as store, store.transaction() as tx:
        people.change(tx, "rea", actor="ada", active=False)
    rea.press("x", "x")
    rea.page.wait_for_url("**/login?ended=1*")
    assert "was not decided" in rea.page.inner_text("[role=alert]")
    assert statuses(desk) == [("rea", "drop", "effective")]
    assert rea.said == [line for line in rea.said if "dialog" not in line]


@contextmanager
def foreign(html):
    """A page of another origin on this very machine, which our cookie follows (same site, other port)."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_foreign_page_can_neither_ask_nor_frame_nor_read(sit, desk):
    rea = sit("rea").open()
    body = json.dumps(command(1))
    form = f"<form method=post action='{desk.url}/api/decide' enctype=text/plain><input name='{body}' value=''></form>"
    with foreign(form + f"<iframe src='{desk.url}/'></iframe>") as url:
        rea.page.goto(url)
        rea.page.wait_for_timeout(500)
        frame = next(frame for frame in rea.page.frames if frame.parent_frame is not None)
        assert not frame.url.startswith(desk.url)  # refused: the browser shows its own error page
        read = """async ([url, body]) => {
          const options = { credentials: 'include', method: body ? 'POST' : 'GET', body };
          try { return (await fetch(url, options)).status; } catch { return 'blocked'; }
        }"""
        assert rea.page.evaluate(read, [f"{desk.url}/api/start", None]) == "blocked"
        assert rea.page.evaluate(read, [f"{desk.url}/api/decide", body]) == "blocked"
        rea.page.evaluate("document.forms[0].submit()")
        rea.page.wait_for_url(f"{desk.url}/api/decide")
        assert "must be asked for by a page of this app" in rea.page.inner_text("body")
    assert statuses(desk) == []
