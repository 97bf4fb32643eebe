"""Who comes in, and what every request must be like."""

from __future__ import annotations

import json

import pytest
from fastapi.routing import APIRoute
from sqlalchemy import select

from sanitizer.review import people
from sanitizer.review.visitor import COOKIE, TrustedProxy
from sanitizer.store import Store
from sanitizer.store.tables import ledger, sessions
from tests.review.build import HOST, PASSWORD, PEOPLE, Site

OPEN = {"/login", "/enter"}


def routes(site):
    found = []
    for route in site.app.routes:
        for inner in getattr(getattr(route, "original_router", None), "routes", None) or getattr(route, "routes", None) or [route]:
            if isinstance(inner, APIRoute):
                found += [(method, inner.path) for method in inner.methods]
    return found


def told(store, kind):
    with store.reading() as view:
        return [json.loads(row) for row in view.execute(select(ledger.c.entry).where(ledger.c.kind == kind)).scalars()]


def fill_in(path):
    return path.replace("{number}", "1").replace("{name}", "rea")


# --- strangers -----------------------------------------------------------------------------------------------------


def test_no_route_answers_to_a_stranger(site):
    found = routes(site)
    assert len(found) > 25
    for method, path in found:
        if path in OPEN:
            continue
        answer = site.stranger().request(method, fill_in(path), json={}, headers={"Origin": HOST, "X-CSRF-Token": "x"})
        assert answer.status_code == 401, (method, path)
        assert answer.json()["code"] == "not_allowed"


def test_a_page_sends_a_stranger_to_the_login_and_back(site):
    answer = site.stranger().get("/history?reviewer=rea", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/history%3Freviewer%3Drea")


def test_no_change_is_made_without_the_token_of_the_session(site):
    rea = site.person("rea")
    for method, path in routes(site):
        if method == "POST" and path not in OPEN:
            for token in ("", "x" * 43, site.person("sam").csrf):
                answer = rea.http.post(fill_in(path), json={}, headers={"Origin": HOST, "X-CSRF-Token": token})
                assert answer.status_code == 403, path
                assert "token of the session" in answer.json()["message"]
    assert told(site.store, "review.refused")[0]["facts"]["asked"].startswith("POST /")


@pytest.mark.parametrize(
    ("headers", "status", "said"),
    {
        "no origin": ({"Origin": None}, 403, "Origin"),
        "another site": ({"Origin": "https://evil.example"}, 403, "Origin"),
        "another port": ({"Origin": "http://127.0.0.1:9999"}, 403, "Origin"),
        "an opaque origin": ({"Origin": "null"}, 403, "Origin"),
        "sent by another site": ({"Sec-Fetch-Site": "cross-site"}, 403, "another site"),
        "a name of the attacker's": ({"Host": "evil.example:8765", "Origin": "http://evil.example:8765"}, 421, "does not answer"),
        "a novel": ({"Content-Length": str(2 << 20)}, 413, "at most"),
    }.values(),
    ids=lambda value: None,
)
def test_a_change_that_another_page_asks_for_is_refused(site, headers, status, said):
    rea = site.person("rea")
    given = {"Origin": HOST, "X-CSRF-Token": rea.csrf} | headers
    answer = rea.http.post("/api/undo", json={}, headers={k: v for k, v in given.items() if v is not None})
    assert answer.status_code == status
    assert said in answer.json()["message"]


def test_every_answer_carries_the_policy(site):
    rea = site.person("rea")
    for answer in (
        rea.http.get("/"),
        rea.get("start"),
        rea.get("nowhere"),
        rea.post("decide", {}),
        site.stranger().get("/static/review.js"),
    ):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] in ("no-store", "no-cache")


def test_a_malformed_request_is_told_in_one_line(site):
    answer = site.person("rea").post("decide", {"commands": [{"token": "short"}]})
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("this request is malformed at commands.0.")


# --- coming in by password -----------------------------------------------------------------------------------------


def login(client, name, password=PASSWORD, **more):
    return client.post("/login", data={"name": name, "password": password} | more, headers={"Origin": HOST})


def test_the_session_is_a_cookie_that_scripts_and_other_sites_never_see(site):
    client = site.stranger()
    answer = login(client, "rea", next="/history")
    assert (answer.status_code, answer.headers["location"]) == (303, "/history")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert client.get("/api/start").json()["me"]["name"] == "rea"
    with site.store.reading() as view:
        kept = view.execute(select(sessions.c.digest)).scalars().all()
    assert client.cookies[COOKIE] not in kept


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/a\r\nX: y"])
def test_the_login_leads_nowhere_else(site, wanted):
    assert login(site.stranger(), "rea", next=wanted).headers["location"] == "/"


@pytest.mark.parametrize("name", ["rea", "nobody", "kim"])
def test_a_wrong_password_an_unknown_name_and_an_account_without_password_look_the_same(site, name):
    answer = login(site.stranger(), name, "wrong words for this one")
    assert answer.status_code == 401
    assert "do not belong together" in answer.text


def test_who_guesses_waits_and_the_ledger_tells(site):
    client = site.stranger()
    answers = [login(client, "rea", f"guess number {i} of many").status_code for i in range(7)]
    assert answers == [401] * 5 + [429] * 2
    assert login(client, "rea").status_code == 429
    assert [entry["subject"] for entry in told(site.store, "review.guessed")] == ["rea"]


def test_nobody_can_lock_another_person_out_from_elsewhere(site):
    for i in range(6):
        login(site.stranger(), "rea", f"guess number {i} of many")
    elsewhere = site.stranger()
    elsewhere._transport.client = ("127.0.0.2", 4)
    assert login(elsewhere, "rea").status_code == 303


def test_a_session_ends_with_the_day_with_the_account_and_by_signing_out(site):
    rea, again = site.person("rea"), site.person("rea")
    assert rea.post("sign-out", {}).status_code == 200
    assert rea.get("start").status_code == 401
    assert again.get("start").status_code == 200
    with site.store.transaction() as tx:
        people.change(tx, "rea", actor="ada", active=False)
    assert again.get("start").status_code == 401
    sam = site.person("sam")
    site.clock.ahead(hours=12, seconds=1)
    assert sam.get("start").status_code == 401


def test_a_new_password_ends_every_session(site):
    rea = site.person("rea")
    assert rea.post("password", {"old": "not that one at all", "new": "a new password of mine"}).status_code == 403
    assert rea.post("password", {"old": PASSWORD, "new": "a new password of mine"}).status_code == 200
    assert rea.get("start").status_code == 401
    assert login(site.stranger(), "rea").status_code == 401
    assert login(site.stranger(), "rea", "a new password of mine").status_code == 303


# --- coming in by a proxy, by the surrounding server, by the link ----------------------------------------------------


def proxied(store):
    return Site(store, proxy=TrustedProxy(frozenset({"10.0.0.1"}), "s3cret", "X-User"))


def behind(site, peer="10.0.0.1", **headers):
    client = site.stranger()
    client._transport.client = (peer, 1)
    client.headers.update({k.replace("_", "-"): v for k, v in headers.items()})
    return client


def test_the_trusted_proxy_names_who_comes(store):
    client = behind(proxied(store), X_User="Rea", X_Sanitizer_Proxy="s3cret")
    assert client.get("/", headers={"Accept": "text/html"}).headers["location"] == "/login?next=/"
    assert client.get("/login").status_code == 303
    assert client.get("/api/start").json()["me"] | {"can": 0} == {
        "name": "rea",
        "role": "reviewer",
        "can": 0,
        "via": "proxy",
        "sources": [],
        "has_password": True,
    }


@pytest.mark.parametrize(
    "forged",
    [
        {"peer": "10.0.0.9", "X_User": "sam", "X_Sanitizer_Proxy": "s3cret"},
        {"X_User": "sam"},
        {"X_User": "sam", "X_Sanitizer_Proxy": "guess"},
        {"peer": "127.0.0.1", "X_User": "sam"},
    ],
)
def test_a_forged_header_is_refused(store, forged):
    site = proxied(store)
    for path in ("/login", "/api/start", "/api/proposals"):
        answer = behind(site, **forged).get(path)
        assert answer.status_code == 403
        assert "trusted proxy" in answer.text
    assert login(behind(site, **forged), "rea").status_code == 403


def test_a_session_of_the_proxy_is_worth_nothing_beside_it_or_under_another_name(store):
    site = proxied(store)
    rea = site.person("rea", via="proxy")
    rea.http._transport.client = ("10.0.0.1", 1)
    assert rea.http.get("/api/start", headers={"X-User": "rea", "X-Sanitizer-Proxy": "s3cret"}).status_code == 200
    assert rea.http.get("/api/start", headers={"X-User": "sam", "X-Sanitizer-Proxy": "s3cret"}).status_code == 401
    assert rea.http.get("/api/start").status_code == 403


def test_without_a_proxy_such_headers_mean_nothing(site):
    assert behind(site, X_Forwarded_User="sam", X_Sanitizer_Proxy="").get("/api/start").status_code == 401


def test_the_surrounding_server_names_who_asks_at_every_request(store):
    who = {"name": "sam"}
    site = Site(store, identify=lambda request: who["name"])
    client = site.stranger()
    assert client.get("/login").status_code == 303
    assert client.get("/api/start").json()["me"]["name"] == "sam"
    who["name"] = None
    assert client.get("/api/start").status_code == 401
    who["name"] = "rea"
    assert client.get("/api/start").status_code == 401
    who["name"] = "stranger"
    assert client.get("/login").status_code == 403


def test_the_link_lets_its_owner_in_once(tmp_path):
    with Store.open("sqlite:///state.db", tmp_path) as store:
        site = Site(store)
        site.app.state.site.links["t0ken"] = "owner"
        assert site.stranger().get("/enter?token=other").status_code == 403
        client = site.stranger()
        assert client.get("/enter?token=t0ken").status_code == 303
        assert client.get("/api/start").json()["me"]["role"] == "approver"
        assert site.stranger().get("/enter?token=t0ken").status_code == 403


def test_the_link_is_worth_nothing_once_there_are_accounts(site):
    site.app.state.site.links["t0ken"] = "owner"
    assert site.stranger().get("/enter?token=t0ken").status_code == 403


# --- roles ---------------------------------------------------------------------------------------------------------

NEEDS = {
    "decide": [("POST", "decide"), ("POST", "undo"), ("POST", "mark"), ("POST", "draw")],
    "approve": [("POST", "approve")],
    "export": [("GET", "export.csv"), ("GET", "export.jsonl")],
    "people": [("POST", "people"), ("POST", "people/rea")],
    "look": [("GET", "start"), ("GET", "members"), ("GET", "proposals"), ("GET", "events"), ("GET", "people")],
}


@pytest.mark.parametrize("role", people.ROLES)
def test_a_role_does_what_it_may_and_nothing_else(site, role):
    person = site.person(next(name for name, (theirs, _) in PEOPLE.items() if theirs == role))
    for ability, paths in NEEDS.items():
        for method, path in paths:
            answer = person.http.request(method, f"/api/{path}", json={}, headers={"Origin": HOST, "X-CSRF-Token": person.csrf})
            if ability in people.ROLES[role]:
                assert answer.status_code in (200, 400), path
            else:
                assert answer.status_code == 403, path
                assert f"{person.name} is {role}" in answer.json()["message"]


def test_an_admin_makes_and_changes_accounts_but_not_their_own_role(site):
    ada = site.person("ada")
    made = ada.post("people", {"name": "zoe", "role": "reviewer", "password": "four words nobody knows", "sources": ["lab-9"]}).json()
    assert made["account"]["sources"] == ["lab-9"]
    assert ada.post("people", {"name": "zoe", "role": "viewer"}).json()["message"].startswith("there is an account zoe already")
    assert ada.post("people/zoe", {"role": "approver"}).json()["account"]["role"] == "approver"
    assert ada.post("people/ada", {"role": "approver"}).status_code == 403
    assert "last admin" in ada.post("people/ada", {"active": False}).json()["message"]
    assert [(e["subject"], e["facts"]["what"], e["actor"]) for e in told(site.store, "review.account")[-2:]] == [
        ("zoe", "made", "ada"),
        ("zoe", "changed", "ada"),
    ]


@pytest.mark.parametrize(
    ("name", "password", "said"),
    [
        ("Zoe", None, "no account name"),
        ("zoé", None, "no account name"),
        ("z" * 65, None, "malformed"),
        ("zoe", "short", "12 to 200"),
        ("zoe", "aaaaaaaaaaaaaa", "easy to guess"),
        ("zoezoezoe", "zoezoezoe1234", "easy to guess"),
    ],
)
def test_names_that_could_be_mistaken_and_weak_passwords_are_refused(site, name, password, said):
    answer = site.person("ada").post("people", {"name": name, "role": "viewer", "password": password})
    assert answer.status_code == 400
    assert said in answer.json()["message"]


def test_only_who_may_measure_sees_how_others_do(site):
    assert "measures" in site.person("sam").get("people").json()
    assert "measures" not in site.person("rea").get("people").json()
    assert "accounts" in site.person("ada").get("people").json()
    assert "accounts" not in site.person("aud").get("people").json()
