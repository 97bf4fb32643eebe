from __future__ import annotations

import shutil

import pytest

from sanitizer.review import demo, people
from sanitizer.store import Store
from tests.browser.build import AXE, CHROMIUM, FLAGS, PASSWORD, PEOPLE, Desk, Seat


def pytest_collection_modifyitems(items):
    for item in items:
        if "browser" in item.path.parts:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def chromium():
    if CHROMIUM is None:
        pytest.skip("NOT RUN: there is no Chromium on this machine (Debian: apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe():
    if not AXE.exists():
        pytest.skip("NOT RUN: axe-core is not installed (npm ci --prefix tests/browser)")
    return AXE.read_text(encoding="utf-8")


def make_people(store):
    with store.transaction() as tx:
        for name, role in PEOPLE.items():
            people.add(tx, name, role, password=PASSWORD)


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    (folder / "sanitizer.toml").write_text('dataset = "signs"\n')
    with Store.open("sqlite:///state.db", folder) as store:
        assert demo.fill(store) == 500
        make_people(store)
    return folder


@pytest.fixture
def serving(tmp_path):
    """Serves a copy of a workspace; every server is stopped at the end."""
    desks = []

    def serve(template):
        shutil.copytree(template, tmp_path / "workspace")
        desks.append(Desk(tmp_path / "workspace").start())
        return desks[-1]

    yield serve
    for desk in desks:
        desk.stop()


@pytest.fixture
def desk(serving, demo_folder):
    return serving(demo_folder)


@pytest.fixture
def sit(chromium, desk):
    """Seats people at the demo."""
    seats = []

    def seat(name, **options):
        seats.append(Seat(chromium, desk, name, **options))
        return seats[-1]

    yield seat
    for one in seats:
        one.close()
