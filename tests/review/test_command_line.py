"""`sanitizer review` and `sanitizer users` as people call them."""

from __future__ import annotations

import io
import json
import sys

import pytest

import sanitizer.review
from sanitizer import cli
from sanitizer.review import owner, people, state
from sanitizer.store.ledger import entries
from tests.review.build import PASSWORD


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "sanitizer.toml").write_text('dataset = "toy"\n')
    return tmp_path


@pytest.fixture
def say(workspace, capsys, monkeypatch):
    def run(*words, typed=""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        with pytest.raises(SystemExit) as end:
            cli.main([*words, "--workspace", str(workspace)])
        told = capsys.readouterr()
        return int(end.value.code or 0), told.out, told.err

    return run


@pytest.fixture
def served(monkeypatch):
    calls = []

    def serve(workspace, *, announce, **options):
        calls.append(options)
        announce("http://127.0.0.1:8765/")

    monkeypatch.setattr(sanitizer.review, "serve", serve)
    return calls


def test_review_says_where_to_open_it(say, served):
    code, out, _ = say("review")
    assert (code, out.splitlines()[0]) == (0, "open http://127.0.0.1:8765/")
    assert served == [{"host": "127.0.0.1", "port": 8765, "names": (), "proxy": None, "secure": False}]


def test_a_proxy_signs_people_in_with_a_secret_from_a_file(say, served, tmp_path):
    (tmp_path / "secret").write_text("d41c7f6a9b0e4d5f8c3a21e07b96\n")
    secret = ("--proxy-secret", str(tmp_path / "secret"))
    assert say("review", "--proxy", "10.0.0.2", *secret, "--name", "review.lab", "--https")[0] == 0
    (options,) = served
    assert options["proxy"].addresses == {"10.0.0.2"}
    assert options["proxy"].secret == "d41c7f6a9b0e4d5f8c3a21e07b96"
    assert (options["names"], options["secure"]) == (("review.lab",), True)


@pytest.mark.parametrize(
    ("words", "said"),
    {
        "no secret": (("--proxy", "10.0.0.2"), "needs both its address"),
        "no address": (("--proxy-secret", "{secret}"), "needs both its address"),
        "a name": (("--proxy", "gate.lab", "--proxy-secret", "{secret}"), "no address of a proxy"),
        "no file": (("--proxy", "10.0.0.2", "--proxy-secret", "{secret}-gone"), "cannot read the secret"),
        "short": (("--proxy", "10.0.0.2", "--proxy-secret", "{secret}"), "fewer than 24 characters"),
    }.values(),
    ids=["no secret", "no address", "a name", "no file", "short"],
)
def test_half_a_proxy_is_refused_in_one_line(say, served, tmp_path, words, said):
    (tmp_path / "secret").write_text("hunter2")
    code, _, err = say("review", *(word.format(secret=tmp_path / "secret") for word in words))
    assert (code, served) == (2, [])
    assert said in err
    assert len(err.splitlines()) == 1


def test_other_machines_need_accounts_first(say):
    code, _, err = say("review", "--host", "0.0.0.0")
    assert code == 2
    assert "`sanitizer users add` first" in err


def test_accounts_are_made_listed_changed_and_closed(say, workspace):
    assert say("users", "ls")[1] == "nobody has an account yet\n"
    code, out, _ = say("users", "add", "rea", "--role", "reviewer", "--source", "lab-a", "--password-stdin", typed=f"{PASSWORD}\n")
    assert code == 0
    assert "reviewer" in out
    assert "for lab-a" in out
    assert say("users", "add", "sam", "--role", "approver", "--no-password")[0] == 0
    assert say("users", "change", "rea", "--role", "approver", "--close")[0] == 0
    accounts = json.loads(say("users", "ls", "--format", "json")[1])["accounts"]
    assert [(a["name"], a["role"], a["active"], a["has_password"]) for a in accounts] == [
        ("rea", "approver", False, True),
        ("sam", "approver", True, False),
    ]
    with state(workspace) as store, store.reading() as view:
        assert people.known(view, "rea", PASSWORD) is None
        assert [entry.actor for entry in entries(view, kind="review.account")] == [owner()] * 3


def test_a_password_is_asked_for_and_never_an_argument(say, monkeypatch):
    monkeypatch.setattr("click.prompt", lambda *_, **__: PASSWORD)
    assert say("users", "add", "rea", "--role", "reviewer")[0] == 0
    assert say("users", "add", "kim", "--role", "reviewer", "--password", PASSWORD)[0] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "Rea!", "--role", "reviewer", "--no-password"), "no account name"),
        (("add", "rea", "--role", "king", "--no-password"), "'king' is not one of"),
        (("add", "rea", "--role", "reviewer", "--no-password", "--password-stdin"), "exclude each other"),
        (("add", "rea", "--role", "reviewer", "--password-stdin"), "12 to 200 characters"),
        (("change", "nobody", "--role", "viewer"), "no account nobody"),
    ],
)
def test_what_cannot_be_is_one_line(say, words, said):
    code, _, err = say("users", *words, typed="short\n")
    assert code == 2
    assert said in err
