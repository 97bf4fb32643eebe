"""The page in a real browser: nothing is refused by its own policy, nothing is fetched, nothing runs over the edge."""

from __future__ import annotations

import shutil

import pytest

from sanitizer import report
from tests.report.build import SAMPLES, Delivered, gated, verdicts

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    run = []
    for name, make in SAMPLES.items():
        samples, trusted = make(), make(seed=5)
        judged = verdicts(samples, trusted, expected_recall={"anomaly": 0.4}, failed={"outlier.knn": "no " + "x" * 300})
        run.append(report.facts(judged, samples, trusted=trusted, name=name, delivery=Delivered(), gate=gated()))
    out = tmp_path_factory.mktemp("page") / "report.html"
    out.write_text(report.html(run), encoding="utf-8")
    return out


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_and_keeps_its_own_policy(browser, path, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said, fetched = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: fetched.append(request.url))
    page.goto(path.as_uri())
    assert said == [], "a browser speaks up when a policy refuses something"
    assert [url for url in fetched if not url.startswith(("data:", path.as_uri()))] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    body = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (body == "rgb(245, 245, 242)") == (scheme == "light")
    assert page.locator("svg image").count() > 0
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_prints_on_a4_in_ink_on_paper(browser, path, scheme):
    page = browser.new_page(viewport={"width": 703, "height": 1000}, color_scheme=scheme)  # A4 less its margins, at 96 dpi
    page.emulate_media(media="print", color_scheme=scheme)
    page.goto(path.as_uri())
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(23, 25, 31)"
    over = "[...document.querySelectorAll('.member, .card')].filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.className)"
    assert page.evaluate(over) == []
    page.close()
