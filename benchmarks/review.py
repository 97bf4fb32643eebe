"""How fast the review app is with many held samples: `python -m benchmarks.review [--samples 100000] [--stores sqlite,postgresql]`.

Builds a workspace, starts `sanitizer review` over it, sits a real Chromium in front, and prints a table: first paint and first sample
after a cold load, key press to the painted next sample (moving, deciding), and scripted single decisions until all are durable.
Needs Chromium; PostgreSQL runs in a throw-away cluster on a socket.  Prints figures, promises nothing.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
from playwright.sync_api import Browser, sync_playwright

from sanitizer import quarantine
from sanitizer.review import people, state
from sanitizer.samples import from_any
from sanitizer.store import Store, deliveries
from sanitizer.verdicts import Verdicts
from tests.browser.build import CHROMIUM, FLAGS, PASSWORD, PEOPLE, Desk, Seat
from tests.store.postgres import server

# from the key's own time stamp to the first message after the frame that was painted for it
WATCH = """
window.__keys = [];
addEventListener('keydown', (event) => requestAnimationFrame(() => {
  const channel = new MessageChannel();
  channel.port1.onmessage = () => __keys.push([performance.now() - event.timeStamp,
    document.querySelector('[role=option].here')?.dataset.id ?? null, document.querySelector('.why .technical') !== null]);
  channel.port2.postMessage(0);
}), true);
"""
TIMES = """() => {
  const paint = performance.getEntriesByType('paint').find((one) => one.name === 'first-contentful-paint');
  return paint.startTime;
}"""
CASES = 12
DIGEST = f"sha256:{'7' * 64}"


def fill(folder: Path, url: str, samples: int) -> None:
    """A workspace with so many held rows in a dozen cases, beside a thousand trusted ones."""
    (folder / "sanitizer.toml").write_text(f'dataset = "cells"\n[store]\nurl = "{url}"\n')
    rng = np.random.default_rng(0)

    def rows(n: int) -> pd.DataFrame:
        frame = pd.DataFrame(rng.normal(size=(n, 12)).round(4), columns=[f"measure {i}" for i in range(12)])
        return frame.assign(finding=rng.choice(["benign", "malignant"], n), clinic=rng.choice(["a", "b", "c"], n))

    held, known = (from_any(rows(n), label="finding", source="clinic") for n in (samples, 1000))
    trusted = known.sample_ids
    case = np.arange(samples) * CASES // samples
    table = pd.DataFrame(
        {
            "sample_id": held.sample_ids,
            "suspicion": 2 + rng.random(samples),
            "action": "quarantine",
            "cause": np.where(case % 2, "outlier", "label-flip"),
            "p_value": rng.random(samples) / 100,
            "reason": "labelled benign, but 5 of 5 nearest trusted samples are malignant",
            "case_id": [f"case-{c}" for c in case],
            "neighbours": [[trusted[(i + k) % 1000] for k in range(5)] for i in range(samples)],
            "columns": [["measure 3", "measure 7"]] * samples,
        }
    )
    groups = [
        [f"case-{c}", "outlier", int((case == c).sum()), 1e-9, f"cause number {c}", np.flatnonzero(case == c).tolist()]
        for c in range(CASES)
    ]
    cases = pd.DataFrame(groups, columns=["case_id", "cause", "size", "significance", "reason", "members"])
    sources = pd.DataFrame({"accused": [], "samples": [], "suspicious": [], "p_value": []}, index=pd.Index([], name="source"))
    scores = pd.DataFrame({"outlier.knn": rng.random(samples), "label.neighbours": rng.random(samples)})
    verdicts = Verdicts(table, scores, cases, sources, seed=0, detectors={"outlier.knn": "1", "label.neighbours": "1"})
    with state(folder) as store, store.transaction() as tx:
        deliveries.receive(tx, DIGEST, dataset="cells", source="clinics", path="inbox/clinics/cells", fingerprint=DIGEST, sequence=1)
        quarantine.hold(tx, held, verdicts, DIGEST)
        quarantine.keep(tx, held, verdicts, known, DIGEST)
        for name, role in PEOPLE.items():
            people.add(tx, name, role, password=PASSWORD if name == "rea" else None)


class There(Desk):
    """A desk whose store may be anywhere."""

    def store(self) -> AbstractContextManager[Store]:
        return state(self.folder)


def pressed(seat: Seat, key: str, times: int) -> list[float]:
    """Milliseconds from each key press to the painted next sample."""
    seat.page.evaluate("__keys.length = 0")
    last = seat.page.get_attribute("[role=option].here", "data-id")
    out = []
    for n in range(times):
        seat.press(key)
        seat.until(f"__keys.length === {n + 1}")
        spent, now, complete = seat.page.evaluate("__keys.at(-1)")
        assert now != last, "the key did not lead to another sample"
        assert complete, "the next sample was painted without its evidence"
        out.append(spent)
        last = now
        seat.page.wait_for_timeout(15)  # nobody presses faster than 60 times a second
    return out


def cleared(seat: Seat, times: int) -> float:
    """Seconds until so many single decisions are made and durable, the next key when the next sample is there."""
    begun = time.perf_counter()
    for _ in range(times):
        now = seat.page.get_attribute("[role=option].here", "data-id")
        seat.press("x")
        while seat.page.get_attribute("[role=option].here", "data-id") == now:
            seat.page.wait_for_timeout(5)
    seat.saved()
    return time.perf_counter() - begun


def measure(name: str, folder: Path, samples: int, browser: Browser) -> list[tuple[str, str]]:
    """One column of the table."""
    desk = There(folder).start()
    try:
        paints, firsts, loads = [], [], 5
        for _ in range(loads):
            seat = Seat(browser, desk, "rea")
            seat.context.add_init_script(WATCH)
            begun = time.perf_counter()
            seat.page.goto(f"{desk.url}/")
            seat.page.wait_for_selector("[role=option].here")
            firsts.append(1000 * (time.perf_counter() - begun))
            seat.settled()
            paints.append(seat.page.evaluate(TIMES))
            if len(paints) < loads:
                seat.close()
        seat.until("document.querySelector('.why .technical') !== null")
        seat.page.wait_for_timeout(1500)
        moved = pressed(seat, "j", 200)
        decided = pressed(seat, "x", 100)
        seat.saved()
        spent = cleared(seat, 500)
        left = seat.left()
        assert left == samples - 600, f"{left} are left"
        seat.close()
    finally:
        desk.stop()

    def ms(values: list[float], q: float) -> str:
        return f"{np.quantile(values, q):.0f} ms"

    return [
        ("store", name),
        ("first paint, median / worst of 5", f"{ms(paints, 0.5)} / {ms(paints, 1)}"),
        ("first sample on the screen, median / worst", f"{ms(firsts, 0.5)} / {ms(firsts, 1)}"),
        ("key to next sample, median / p95 (200 moves)", f"{ms(moved, 0.5)} / {ms(moved, 0.95)}"),
        ("key to next sample, median / p95 (100 drops)", f"{ms(decided, 0.5)} / {ms(decided, 0.95)}"),
        ("500 single decisions, all durable", f"{spent:.1f} s"),
    ]


def main() -> None:
    """Measures and prints."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--samples", type=int, default=100_000)
    options.add_argument("--stores", default="sqlite,postgresql")
    given = options.parse_args()
    with ExitStack() as open_:
        browser = open_.enter_context(sync_playwright()).chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for name in given.stores.split(","):
            folder = Path(tempfile.mkdtemp(prefix="review-bench"))
            open_.callback(shutil.rmtree, folder, ignore_errors=True)
            url = "sqlite:///state.db" if name == "sqlite" else open_.enter_context(server()).format("postgres")
            begun = time.perf_counter()
            fill(folder, url, given.samples)
            print(f"{given.samples:,} samples held in {time.perf_counter() - begun:.0f} s", flush=True)
            for what, figure in measure(name, folder, given.samples, browser):
                print(f"  {what:<46} {figure}", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
