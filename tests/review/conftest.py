from __future__ import annotations

import pytest
from argon2 import PasswordHasher

from sanitizer.review import demo, people
from sanitizer.store import Store
from tests.review.build import Site, copy_of, make_template


@pytest.fixture(scope="session", autouse=True)
def cheap_passwords():
    """argon2id with its least cost: what it costs in earnest is not what is tested here."""
    dear, people._HASHER = people._HASHER, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    yield
    people._HASHER = dear


@pytest.fixture(scope="session")
def template(cheap_passwords, tmp_path_factory):
    folder = tmp_path_factory.mktemp("review")
    make_template(folder)
    return folder


@pytest.fixture
def store(template, tmp_path):
    with copy_of(template, tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def site(store):
    return Site(store)


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    """The demo: 500 held samples of every modality."""
    folder = tmp_path_factory.mktemp("demo")
    with Store.open("sqlite:///state.db", folder) as store:
        assert demo.fill(store) == 500
    return folder
