"""What a reader sees: complete, safe whatever the data hold, bounded in size, and the same for the same run."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
import zlib
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from sanitizer import report
from sanitizer.errors import UsageError
from sanitizer.policy import Policy
from sanitizer.report.looks import picture
from sanitizer.report.page import marked, nice, p_value, percent, readable_size
from tests.report.build import GROUP, HELD, SAMPLES, Delivered, digits, gated, pictures, ratings, table, texts, verdicts

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
HOSTILE = "</style><script>alert(1)</script>\x1b[31m\u202egnp.exe\u2066 {{7*7}} ' \" &amp; \ud800 ]]>"


def made(samples=None, trusted=None, **context):
    samples = table() if samples is None else samples
    given = {
        key: context.pop(key)
        for key in ("held", "group", "held_reason", "unproven", "failed", "expected_recall", "power", "notes")
        if key in context
    }
    return report.facts(verdicts(samples, trusted, **given), samples, trusted=trusted, now=NOW, **context)


class Page(HTMLParser):
    """Collects tags and attributes; knows nothing else."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.text = [], [], []
        self.open = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes what was not open"

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module", params=SAMPLES)
def kind(request):
    samples, trusted = SAMPLES[request.param](), SAMPLES[request.param](seed=5)
    return made(samples, trusted, delivery=Delivered(), gate=gated(), policy=Policy())


def test_the_facts_are_plain_json(kind):
    assert json.loads(report.json(kind)) == kind


def test_every_quarantined_sample_is_listed_with_its_cause_and_reason(kind):
    assert [sample["row"] for sample in kind["quarantined"]] == sorted(HELD)
    assert kind["counts"]["by_cause"] == {"label-flip": 4, "backdoor": 3}
    assert {sample["reason"] for sample in kind["quarantined"]} == {"one pattern", "its neighbours disagree"}


def test_the_page_is_well_formed_and_shows_each_case_with_its_members(kind):
    page = Page(report.html(kind))
    assert page.open == []
    words = " ".join(page.text)
    assert "backdoor" in words
    assert "case-1" in words
    assert page.tags.count("circle") == kind["counts"]["judged"]
    assert sum(name == "class" and value in ("member", "suspect") and tag in ("div", "tr") for tag, name, value in page.attributes) == len(
        HELD
    )


def test_the_page_loads_nothing_and_runs_nothing(kind):
    text = report.html(kind)
    page = Page(text)
    assert not {"script", "iframe", "object", "embed", "link", "form", "base"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name != "style", "an inline style would be refused by the page's own policy"
        if name in ("href", "src", "xlink:href"):
            assert value.startswith(("#", "data:image/png;base64,")), value
    assert not re.search(r"https?:|url\(|@import", text)
    policy = next(value for tag, name, value in page.attributes if tag == "meta" and value and "default-src" in value)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_style_sheet_is_the_one_that_the_policy_names():
    text = report.html(made())
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in text


def test_the_same_run_gives_the_same_bytes(kind):
    assert report.html(kind) == report.html(json.loads(report.json(kind)))


def test_suspects_stand_beside_their_nearest_trusted_neighbours():
    samples, trusted = digits(), digits(seed=5)
    member = made(samples, trusted)["cases"][0]["members"][0]
    assert [near["sample_id"] for near in member["neighbours"]] == trusted.sample_ids[:3]
    assert member["looks"]["picture"].startswith("data:image/png")
    assert member["looks"]["marks"] == [[0, 0], [0, 1]]


def decoded(uri):
    """A picture from its data URI, by the chunks that the PNG standard names; every check sum must hold."""
    body = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    assert body[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(body):
        (length,) = struct.unpack_from(">I", body, at)
        name, data = body[at + 4 : at + 8], body[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", body, at + 8 + length) == (zlib.crc32(name + data),)
        chunks[name] = data
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, kind = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    assert depth == 8
    channels = {0: 1, 2: 3, 6: 4}[kind]
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + width * channels)
    assert not lines[:, 0].any(), "no line is filtered"
    return lines[:, 1:].reshape(height, width, channels)


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 3), (9, 7, 4)])
def test_a_thumbnail_is_the_picture(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    np.testing.assert_array_equal(decoded(picture(pixels)), pixels.reshape(9, 7, -1))


def test_a_thumbnail_of_a_large_picture_is_small():
    assert max(decoded(picture(np.zeros((3000, 1000, 3), np.uint8))).shape) < 100


def test_words_that_weigh_are_marked_in_a_text():
    samples = texts()
    judged = verdicts(samples)
    judged.table["columns"] = [["zorp"]] * len(judged.table)
    page = report.html(report.facts(judged, samples))
    assert "<mark>zorp</mark>" in page


# --- hostile data -------------------------------------------------------------------------------------------------------


def hostile_facts():
    safe = HOSTILE.replace("\ud800", "")  # no frame holds a lone surrogate; names and notes may
    n = 40
    samples = table(n, label=[f"{safe} {i % 2}" for i in range(n)], source=[safe] * n, **{f"col {safe}": [safe] * n})
    judged = verdicts(
        samples,
        samples,
        notes=(HOSTILE,),
        failed={HOSTILE: HOSTILE},
        held_reason=HOSTILE,
        expected_recall={HOSTILE: 0.5},
        power={HOSTILE: 0.1},
    )
    judged.table["reason"] = safe
    judged.table["columns"] = [[f"col {safe}"]] * n
    judged.table["cause"] = safe
    judged.cases["reason"] = safe
    judged.sources.index = [safe, "x"]
    delivery = Delivered(source=HOSTILE, signers=(HOSTILE,))
    gate = gated(table_failures=(HOSTILE,), row_failures={1: (HOSTILE,)}, statistics={HOSTILE: HOSTILE})
    return report.facts(judged, samples, trusted=samples, delivery=delivery, gate=gate, name=HOSTILE, release={HOSTILE: HOSTILE}, now=NOW)


def test_hostile_content_is_shown_and_never_obeyed():
    made = hostile_facts()
    for text in (report.html(made), report.text(made), report.json(made), report.sarif(made), report.junit(made)):
        text.encode("utf-8")
        assert not [c for c in text if c != "\n" and not c.isprintable()], "control and bidirectional characters are made visible"
    page = Page(report.html(made))
    assert page.open == []
    assert "script" not in page.tags
    assert "</style><script>alert(1)</script>\\x1b[31m\\u202egnp.exe" in " ".join(page.text), "the reader sees what was there"
    ET.fromstring(report.junit(made))
    json.loads(report.sarif(made))


def test_a_huge_cell_does_not_make_a_huge_report():
    n = 40
    samples = table(n, colour=["x" * 1_000_000] * n)
    assert len(report.html(made(samples, samples))) < 300_000


def test_a_report_stays_below_five_megabytes_whatever_came():
    samples = pictures(3000, side=96)
    held = tuple(range(2500))
    judged = verdicts(samples, samples, held=held, group=held[:2000])
    page = report.html(report.facts(judged, samples, trusted=samples))
    assert len(page) < 5_000_000
    assert "2,000 samples" in page
    assert "1,992 more" in page


# --- states -------------------------------------------------------------------------------------------------------------


def test_nothing_found_is_a_normal_answer():
    clean = made(held=(), group=())
    assert clean["state"] == "clean"
    assert clean["headline"] == "Nothing found among 40 samples."
    assert "No case" in report.html(clean)
    assert clean["suspicion"]["line"] is None


def test_a_held_delivery_says_so_first():
    drifted = report.facts(
        verdicts(table(), held=(), group=()), table(), gate=gated(success=False, table_failures=("0 rows, at least 10 expected",))
    )
    assert drifted["state"] == "held"
    assert "0 rows, at least 10 expected" in report.html(drifted)
    samples = table()
    judged = verdicts(samples, held=(), group=())
    object.__setattr__(judged, "held", True)
    object.__setattr__(judged, "held_reason", "the mix of classes moved")
    moved = report.facts(judged, samples)
    assert moved["state"] == "held"
    assert "the mix of classes moved" in report.text(moved)


def test_a_cold_start_and_silent_witnesses_are_said():
    cold = made(unproven=True, failed={"outlier.knn": "DetectorFailed: no numbers"}, notes=("one column never varies",))
    page = " ".join(Page(report.html(cold)).text)
    assert "unproven" in page
    assert "DetectorFailed: no numbers" in page
    assert "one column never varies" in page
    assert any("no trusted release" in sentence for sentence in cold["limits"])


def test_what_was_not_found_among_decoys_is_a_limit():
    facts = made(expected_recall={"anomaly": 0.4, "random_flip": 0.97}, power={"label-flip": 0.012})
    assert any("anomaly (40%)" in sentence and "random flip" not in sentence for sentence in facts["limits"])
    assert any("label-flip below 1.2%" in sentence for sentence in facts["limits"])


@pytest.mark.parametrize("n", [0, 1])
def test_empty_and_tiny_deliveries_have_reports_too(n):
    samples = table(40).take(np.arange(n))
    facts = report.facts(verdicts(samples, held=(), group=()), samples)
    assert Page(report.html(facts)).open == []
    assert report.text(facts)


def test_a_run_of_several_deliveries_is_one_page():
    page = report.html([made(name="first"), made(name="second", held=(), group=())])
    assert "2 deliveries" in page
    assert 'href="#d2"' in page
    assert 'id="d2"' in page
    assert Page(page).open == []


def test_the_mix_of_classes_adds_up():
    facts = made(trusted=table(seed=5))
    for share in ("came_share", "kept_share", "trusted_share"):
        assert sum(row[share] for row in facts["classes"]) == pytest.approx(1)
    assert sum(row["held"] for row in facts["classes"]) == len(HELD)


# --- other formats ------------------------------------------------------------------------------------------------------


def test_the_text_fits_a_terminal(kind):
    lines = report.text(kind).splitlines()
    assert 4 <= len(lines) <= 25
    assert max(map(len, lines[1:])) <= 100
    assert "7 of 40" in lines[0]


def test_sarif_has_a_result_per_sample_with_a_stable_fingerprint(kind):
    (run,) = json.loads(report.sarif(kind, version="1.0"))["runs"]
    assert len(run["results"]) == len(HELD)
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["backdoor", "label-flip"]
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["partialFingerprints"]["sampleId/v1"]
        assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "digits.parquet"
    assert any("AML.T0020" in rule["properties"]["tags"] for rule in run["tool"]["driver"]["rules"])


def test_junit_counts_what_failed():
    facts = made(gate=gated(), delivery=Delivered(), failed={"pattern": "crashed"})
    suite = ET.fromstring(report.junit(facts))
    assert suite.get("failures") == "2"  # the case, and the rows that stand alone
    assert suite.get("errors") == "1"
    assert int(suite.get("tests")) == len(list(suite))
    clean = ET.fromstring(report.junit(made(held=(), group=())))
    assert clean.get("failures") == clean.get("errors") == "0"


# --- what `scan` returns ------------------------------------------------------------------------------------------------


@pytest.fixture
def scanned():
    samples, trusted = table(), table(seed=5)
    return report.Report(verdicts(samples, trusted), samples, trusted)


def test_a_report_has_the_parts_that_the_contract_names(scanned):
    assert list(scanned.verdicts.index) == list(range(40))
    assert list(scanned.cases["members"]) == [list(GROUP)]
    assert scanned.sources.loc["desk-0", "accused"]
    assert not scanned.held
    assert not scanned.unproven
    for part in ("evidence", "failed", "expected_recall", "power", "notes"):
        assert getattr(scanned, part) is not None
    assert "7 of 40" in str(scanned)


def test_a_report_explains_a_sample_by_row_or_by_id(scanned):
    by_row = scanned.explain(11)
    by_id = scanned.explain(scanned.verdicts["sample_id"].iloc[11])
    assert str(by_row) == str(by_id)
    assert "its neighbours disagree" in str(by_row)
    assert len(by_row.neighbours) == 3
    assert by_row.evidence["share"].between(0, 1).all()
    with pytest.raises(UsageError, match="no sample 99"):
        scanned.explain(99)


def test_a_user_is_explained_by_what_they_rated():
    samples = ratings()
    explained = report.Report(verdicts(samples), samples).explain(103)
    assert set(explained.sample["user"]) == {103}


def test_a_report_writes_its_page_and_shows_in_a_notebook(scanned, tmp_path):
    path = scanned.to_html(tmp_path / "report.html", now=NOW)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "<table>" in scanned._repr_html_()
    samples = table(colour=["<b>"] * 40)
    held = report.Report(verdicts(samples), samples)
    held.verdicts["reason"] = "<img src=x>"
    assert "<img" not in held._repr_html_()


def test_reading_a_report_does_not_need_jinja():
    code = "import sys; sys.modules['jinja2'] = None; import sanitizer.report as r; r.text; r.sarif"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    code = (
        "import sys; sys.modules['jinja2'] = None\nimport sanitizer.report as r\nfrom sanitizer.errors import MissingExtra\n"
        "try:\n    r.html({})\nexcept MissingExtra as error:\n    assert 'sanitizer[line]' in str(error)\nelse:\n    raise SystemExit(1)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_p_values_and_shares_are_written_as_people_write_them():
    assert [p_value(p) for p in (None, 0.0, 1e-9, 3.2e-7, 0.0312, 1.0)] == ["—", "< 10⁻³⁰⁰", "10⁻⁹", "3·10⁻⁷", "0.031", "1"]
    assert [percent(s) for s in (None, 0, 0.0002, 0.0786, 0.5, 1)] == ["—", "0 %", "0.02 %", "7.9 %", "50 %", "100 %"]
    assert [readable_size(s) for s in (512, 1500, 37_956, 2_500_000)] == ["512 B", "1.5 kB", "38 kB", "2.5 MB"]
    assert [nice(v) for v in (0.17, 1, 3.2, 40, 99)] == [0.2, 1, 5, 50, 100]
    assert marked("A Zorp, zorpy", ["zorp"]) == [("A ", False), ("Zorp", True), (", ", False), ("zorp", True), ("y", False)]
    assert marked("none", []) == [("none", False)]
    assert marked("İxİ", ["x"]) == [("İ", False), ("x", True), ("İ", False)]


def test_p_values_of_nobody_draw_an_empty_plot():
    samples = table()
    judged = verdicts(samples, held=(), group=())
    judged.table["p_value"] = np.nan
    judged.table["suspicion"] = 0.0
    facts = report.facts(judged, samples)
    assert facts["p_values"]["judged"] == 0
    assert Page(report.html(facts)).open == []
    assert pd.isna(judged.table["p_value"]).all()
