"""Everything that an attacker can write stays content: nothing runs, nothing is fetched, nothing hides, everything can be read."""

from __future__ import annotations

import csv
import io
import subprocess
import unicodedata

import numpy as np
import pandas as pd
import pytest

from sanitizer.quarantine.decisions import decide
from sanitizer.review import commands, demo, people
from sanitizer.review.people import get
from sanitizer.samples import from_any
from sanitizer.store import Store
from tests.browser.build import PASSWORD, SANITIZER, Seat
from tests.browser.conftest import make_people
from tests.browser.corpus import CORPUS

N = len(CORPUS)
TRUSTED = 40
TOKEN = "hostile-token-{:06d}"


def braced(text):
    """The demo fills reasons in with `format`."""
    return text.replace("{", "{{").replace("}", "}}")


def texts():
    """Every mark as a text, as a label, as a source, as a word that weighs, and as the reason of a case."""
    rng = np.random.default_rng(0)
    words, odd = np.array(CORPUS, object), np.array(["good", "bad"], object)
    samples = from_any({"text": words, "mood": words[::-1].copy(), "desk": np.roll(words, 7)}, label="mood", source="desk", modality="text")
    known = {
        "text": np.roll(words, 3)[:TRUSTED],
        "mood": np.concatenate([words[:20], odd[rng.integers(0, 2, 20)]]),
        "desk": words[:TRUSTED],
    }
    accused = [
        demo.Accused([i], "backdoor" if i % 2 else word, braced(word), f"case-{i}", (word[:40], word), "drop", 1e-9)
        for i, word in enumerate(CORPUS)
    ]
    features = (rng.normal(size=(N, 4)), rng.normal(size=(TRUSTED, 4)))
    return demo.Scene("texts", CORPUS[2], samples, from_any(known, label="mood", source="desk", modality="text"), accused, features)


def tables():
    """Every mark as the name of a column and as a cell."""
    names = [f"{word[:60]} {i}" for i, word in enumerate(CORPUS[:90])]
    rows = {name: np.array([CORPUS[(i + j) % N] for i in range(12)], object) for j, name in enumerate(names)}
    rows |= {"size": np.arange(12.0), "kind": np.array(["a", "b"] * 6, object)}
    samples = from_any(rows, label="kind", modality="tabular")
    accused = [demo.Accused(np.arange(12), "outlier", "one of a kind", "case-1", tuple(names[::-1]), "drop", 1e-3)]
    rng = np.random.default_rng(1)
    return demo.Scene("tables", "clinic", samples, samples, accused, (rng.normal(size=(12, 3)), rng.normal(size=(12, 3))))


def ratings():
    """Every mark as a user and as an item."""
    rows = [(CORPUS[i], CORPUS[(i + j) % N], float(1 + (i + j) % 5)) for i in range(N) for j in range(6)]
    samples = from_any(pd.DataFrame(rows, columns=["user", "item", "rating"]), label=None, modality="ratings")
    users = sorted(set(samples.table["user"].to_pylist()))
    accused = [demo.Accused(range(len(users)), "shilling", "they rate alike", "case-1", CORPUS[:30], "drop", 1e-12)]
    return demo.Scene("films", "site", samples, samples, accused)


@pytest.fixture(scope="session")
def hostile_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "sanitizer.toml").write_text('dataset = "texts"\n')
    with Store.open("sqlite:///state.db", folder) as store:
        for scene in (texts(), tables(), ratings()):
            demo.hold(store, scene)
        make_people(store)
        with store.transaction() as tx:
            people.change(tx, "vic", actor="ada", sources=CORPUS)
            for i, word in enumerate(CORPUS):
                decide(tx, ids=[i + 1], action="drop", reviewer="kim", reason=word)
                for kind in ("note", "flag"):
                    commands.mark(
                        tx,
                        commands.Mark(token=TOKEN.format(2 * i + (kind == "note")), sample=i + 1, kind=kind, text=word[:2000]),
                        get(tx, "rea"),
                    )
            for i in range(0, N - 1, 4):
                decide(tx, ids=[i + 1, i + 2], action="release", reviewer="rea", reason=CORPUS[i])  # odd ones are backdoors: proposed
    return folder


@pytest.fixture
def desk(serving, hostile_folder):
    return serving(hostile_folder)


# what only our own pages may hold
FOREIGN = """() => {
  const tags = 'script, link, style, iframe, frame, object, embed, img, video, audio, source, base, math, template, marquee, picture';
  const address = (node) => node.src || node.href || '';
  const ours = (node) => ['SCRIPT', 'LINK'].includes(node.tagName) && address(node).startsWith(location.origin + '/static/');
  const runs = (a) => a.name.startsWith('on') || a.name === 'srcdoc' || /^\\s*(javascript|data):/i.test(a.value);
  const leaves = (node) => (node.tagName === 'A' && new URL(node.href).origin !== location.origin)
    || (node.tagName === 'FORM' && node.hasAttribute('action') && node.getAttribute('action') !== '/login');
  const bad = [...document.querySelectorAll(tags + ', animate, meta[http-equiv]')].filter((node) => !ours(node));
  const handlers = [...document.querySelectorAll('*')].filter((node) => [...node.attributes].some(runs) || leaves(node));
  return [...bad, ...handlers].map((node) => node.outerHTML.slice(0, 200));
}"""
SAID = """() => {
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const out = [];
  while (walk.nextNode()) if (!/^[\\n ]*$/.test(walk.currentNode.data)) out.push(walk.currentNode.data);
  for (const name of ['aria-label', 'title', 'alt']) {
    for (const node of document.querySelectorAll(`[${name}]`)) out.push(node.getAttribute(name));
  }
  return out;
}"""
# the text of a node as `plain` would write it: our chips in brackets
READ = """(selector) => [...document.querySelectorAll(selector)].map((node) => {
  const copy = node.cloneNode(true);
  copy.querySelectorAll('.ctl').forEach((chip) => { chip.textContent = '⟨' + chip.textContent + '⟩'; });
  return copy.textContent;
})"""
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def inert(seat):
    """Nothing ran, nothing was fetched, nothing was built, and no character hides."""
    assert seat.page.evaluate("window.__hit") is None
    assert seat.page.evaluate("({}).polluted") is None
    assert seat.page.evaluate(FOREIGN) == []
    hidden = [text for text in seat.page.evaluate(SAID) if any(unicodedata.category(c) in UNSEEN for c in text.strip("\n"))]
    assert hidden == []
    assert [line for line in seat.said if "dialog" in line or "Content Security" in line or line.startswith("error")] == []
    assert [url for url in seat.fetched if not url.startswith(f"{seat.desk.url}/")] == []
    assert seat.page.url.startswith(f"{seat.desk.url}/")


def plain(seat, words):
    return seat.page.evaluate(
        "async (words) => { const { plain } = await import('/static/dom.js'); return words.map(plain); }", list(words)
    )


def squeezed(text):
    return " ".join(text.split())


def test_every_text_label_source_and_reason_is_readable_and_inert(sit):
    rea = sit("rea").open("/?dataset=texts&state=all")
    seen = {name: set() for name in ("text", "label", "source", "reason", "note", "said")}
    where = {"text": ".quote.suspect bdi", "reason": ".why .sentence", "note": ".why .notes p", "said": ".why .events p"}
    for _ in range(N):
        rea.until("document.querySelector('.why .technical') !== null && document.querySelector('.bench .quote.suspect') !== null")
        for name, selector in where.items():
            seen[name].update(map(squeezed, rea.page.evaluate(READ, selector)))
        facts = rea.page.evaluate(READ, ".why > dl.facts dd")
        seen["label"].add(squeezed(facts[-2]))
        seen["source"].add(squeezed(facts[-1]))
        before = rea.page.get_attribute("[role=option].here", "data-id")
        rea.press("j")
        rea.until(f"document.querySelector('[role=option].here')?.dataset.id !== '{before}' || !document.querySelector('.more')")
    inert(rea)
    shown = list(map(squeezed, plain(rea, CORPUS)))
    cut = [text[:150] for text in shown]
    for name, found in seen.items():
        starts = {text[:150] for text in found}
        missing = [text for text in cut if text not in starts and not any(text in one for one in found)]
        assert missing == [], f"{len(missing)} marks cannot be read as {name}"


@pytest.mark.parametrize("width", [1280, 390])
def test_names_of_columns_cells_users_and_items_are_inert(sit, width):
    rea = sit("rea", width=width)
    for dataset, selector in (("tables", ".bench table.cells"), ("films", ".bench .profile")):
        rea.open(f"/?dataset={dataset}&state=all")
        rea.page.wait_for_selector(selector)
        for _ in range(8):
            rea.press("j")
        rea.press("z")
        rea.page.wait_for_selector("dialog[open]")
        inert(rea)
        rea.press("Escape")
        rea.page.wait_for_selector("dialog", state="detached")
        rea.press("l" if dataset == "tables" else "d")
        inert(rea)


def test_every_other_page_is_inert(sit):
    for name, path, selector in (
        ("sam", "/proposals", "article.proposal"),
        ("sam", "/history", ".event"),
        ("sam", "/people", "main table"),
        ("vic", "/people", "main"),
        ("ada", "/people", "main table"),
    ):
        seat = sit(name).open(path)
        seat.page.wait_for_selector(selector)
        while path == "/history" and seat.page.locator("#more:visible").count():
            events = seat.page.locator(".event").count()
            seat.page.click("#more")
            seat.until(f"document.querySelectorAll('.event').length > {events}")
        inert(seat)
    (reasons,) = [sit("sam").open("/history").page.evaluate("document.querySelectorAll('.event').length")]
    assert reasons == 50


def test_labels_to_choose_from_and_filters_are_inert(sit):
    rea = sit("rea").open("/?dataset=texts&state=all")
    rea.press("l")
    rea.page.wait_for_selector("dialog .choices li")
    inert(rea)
    rea.press("Escape")
    for word in CORPUS[:12]:
        rea.page.fill("#search", word)
        rea.press("Enter")
        rea.settled()
        inert(rea)


def test_hostile_addresses_and_names_at_the_door_are_inert(sit, desk, chromium):
    stranger = Seat(chromium, desk, None)
    for word in CORPUS[:60:3]:
        stranger.page.goto(f"{desk.url}/login")
        stranger.page.fill("#name", word[:64].replace("\n", " "))
        stranger.page.fill("#password", PASSWORD)
        stranger.page.evaluate("document.querySelector('#name').type = 'text'")
        stranger.page.click("button[type=submit]")
        stranger.page.wait_for_selector("[role=alert]")
        assert stranger.page.evaluate("window.__hit") is None
        assert stranger.page.evaluate(FOREIGN) == []
    stranger.close()
    rea = sit("rea")
    for name in ("dataset", "cause", "source", "label", "text", "delivery", "state", "after", "id"):
        rea.page.goto(f"{desk.url}/?{name}=%3Cimg%20src%3Dx%20onerror%3Dwindow.__hit%3D1%3E")
        rea.page.wait_for_selector("html[data-ready]", state="attached")
        inert_but_told = [url for url in rea.fetched if not url.startswith(f"{desk.url}/")]
        assert inert_but_told == []
        assert rea.page.evaluate("window.__hit") is None


def test_the_export_starts_no_formula_and_the_terminal_no_escape(sit, desk):
    sam = sit("sam").open("/history")
    text = sam.page.evaluate("async () => (await fetch('/api/export.csv')).text()")
    rows = list(csv.reader(io.StringIO(text)))
    assert len(rows) > 2 * N
    for row in rows:
        for cell in row:
            number = cell.replace(".", "", 1).replace("e-", "", 1).lstrip("-").isdigit()
            assert number or not cell.lstrip().startswith(("=", "+", "-", "@", "|", "%", "＝")), cell  # noqa: RUF001
            assert cell.isprintable()
    for words in (["ls"], ["ls", "--case", "1"], ["show", "90"]):
        done = subprocess.run([*SANITIZER, "quarantine", *words, "-w", str(desk.folder)], capture_output=True, text=True, check=True)
        assert [c for c in done.stdout if unicodedata.category(c) in UNSEEN and c != "\n"] == []
