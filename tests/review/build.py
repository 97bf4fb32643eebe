"""A small quarantine with people around it, and a client that behaves like our own pages."""

from __future__ import annotations

import secrets
import shutil
import warnings
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from sanitizer.policy import Policy
from sanitizer.quarantine import hold, keep
from sanitizer.review import people
from sanitizer.review.app import create_app
from sanitizer.review.visitor import COOKIE
from sanitizer.store import Store
from tests.quarantine.build import DIGEST, HELD, make_samples, make_verdicts, receive

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it would rather have a newer httpx
    from starlette.testclient import TestClient

HOST = "http://127.0.0.1:8765"
PASSWORD = "four words nobody joins"
# ann and bob are sources of held samples; wes works for bob; lena works for the lab that delivered them all
PEOPLE = {
    "rea": ("reviewer", ()),
    "kim": ("reviewer", ()),
    "sam": ("approver", ()),
    "tom": ("approver", ()),
    "ann": ("approver", ()),
    "wes": ("reviewer", ("Bob",)),
    "lena": ("approver", ("lab",)),
    "vic": ("viewer", ()),
    "aud": ("auditor", ()),
    "ada": ("admin", ()),
}


class Clock:
    def __init__(self):
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self):
        return self.now

    def ahead(self, **step):
        self.now += timedelta(**step)


class Person:
    """Somebody at a browser: every change carries the token of the session and the origin of the page."""

    def __init__(self, app, name, token, csrf):
        self.name, self.csrf = name, csrf
        self.http = TestClient(app, base_url=HOST, client=("127.0.0.1", 50000), raise_server_exceptions=False)
        self.http.cookies.set(COOKIE, token)

    def get(self, path, **query):
        return self.http.get(f"/api/{path}", params=query)

    def post(self, path, body, **headers):
        return self.http.post(f"/api/{path}", json=body, headers={"Origin": HOST, "X-CSRF-Token": self.csrf} | headers)

    def decide(self, action, *members, token=None, **more):
        """`members`: held ids nobody decided yet, or (id, event it stands under)."""
        pairs = [list(m) if isinstance(m, tuple) else [m, 0] for m in members]
        command = {"token": token or new_token(), "action": action, "reason": "because", "members": pairs} | more
        return self.post("decide", {"commands": [command]}).json()["outcomes"][0]

    def approve(self, event, **more):
        return self.outcome("approve", {"event": event, "reason": "I see the same"} | more)

    def undo(self, event=None, **more):
        return self.outcome("undo", {"event": event} | more)

    def outcome(self, path, body):
        return self.post(path, {"token": new_token()} | body).json()["outcomes"][0]


def new_token():
    return secrets.token_urlsafe(18)


class Site:
    """The app over a store, and the people who come to it."""

    def __init__(self, store, **options):
        self.store, self.clock = store, Clock()
        self.policy = options.pop("policy", Policy())
        self.app = create_app(store, self.policy, clock=self.clock, **options)

    def person(self, name, via="password"):
        with self.store.transaction(now=self.clock()) as tx:
            token = people.sign_in(tx, people.get(tx, name), via)
            return Person(self.app, name, token, people.session(tx, token).csrf)

    def stranger(self):
        return TestClient(self.app, base_url=HOST, client=("127.0.0.1", 50001), raise_server_exceptions=False, follow_redirects=False)


def make_template(folder):
    """A store with six held samples (see tests.quarantine.build) and everybody's account."""
    samples = make_samples(12)
    verdicts = make_verdicts(samples, HELD, group=(5, 6, 7))
    with Store.open("sqlite:///state.db", folder) as store, store.transaction() as tx:
        receive(tx, DIGEST)
        hold(tx, samples, verdicts, DIGEST)
        keep(tx, samples, verdicts, samples, DIGEST)
        hashed = None
        for name, (role, sources) in PEOPLE.items():
            people.add(tx, name, role, password=PASSWORD if hashed is None else None, sources=sources)
            hashed = hashed or True


@contextmanager
def copy_of(template, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for file in template.glob("state.db*"):
        if file.is_file():
            shutil.copy(file, folder)
    with Store.open("sqlite:///state.db", folder) as store:
        yield store
