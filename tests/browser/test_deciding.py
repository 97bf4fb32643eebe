"""Reviewing with a keyboard, in a real browser, against a server in another process."""

from __future__ import annotations

import signal
from collections import Counter

from sqlalchemy import func, select

from sanitizer.quarantine import audit, counts, decide
from sanitizer.quarantine.decisions import listed
from sanitizer.store.tables import decision_members, held


def standing(desk):
    with desk.store() as store, store.reading() as view:
        names = ("id", "state", "decision", "proposal", "new_label")
        return [tuple(row) for row in view.execute(select(*(held.c[n] for n in names)).order_by(held.c.id))]


def sums(desk):
    with desk.store() as store, store.reading() as view:
        audit(view)
        return counts(view)


def events(desk):
    with desk.store() as store, store.reading() as view:
        return listed(view, limit=2000)


def open_case(seat, cause, dataset):
    seat.page.locator("button.case", has_text=cause).filter(has_text=dataset).click()
    seat.settled()
    seat.page.wait_for_selector("[role=option].here")
    seat.page.wait_for_selector(".why .technical", state="attached")  # all of the evidence is on the screen


def test_500_held_samples_are_cleared_in_60_key_presses(sit, desk):
    rea = sit("rea").open()
    assert rea.left() == 500
    audited = None
    while rea.left():
        case = rea.case()
        if audited is None and "outlier" in rea.page.inner_text("#head .key") and "voices" in rea.page.inner_text("#head"):
            audited = case
            rea.press("a")
            rea.page.wait_for_selector("dialog[open]")
            rea.press("Enter")
            rea.until("document.querySelectorAll('[role=option].left').length === 10")
            for done in range(10):
                rea.press("r")
                rea.until(f"document.querySelectorAll('[role=option].released').length === {done + 1}")
            rea.page.wait_for_selector("dialog[open]")
            assert "at most 3 of the other 10 are poisoned" in rea.page.inner_text("dialog")
        else:
            rea.press("X")
            rea.page.wait_for_selector("dialog[open]")
        rea.press("Enter")
        moved = f"document.querySelector('button.case[aria-current=true]')?.dataset.case !== '{case}'"
        rea.until(f"{moved} || !Number(document.querySelector('#left').textContent)")
        rea.settled()
    rea.saved()
    assert "wait for a second person" in rea.page.inner_text("#bench")
    sam = sit("sam").open("/proposals")
    while waiting := sam.page.locator("article.proposal").count():
        sam.press("y")
        sam.page.wait_for_selector("dialog[open]")
        sam.press("Enter")
        sam.until(f"document.querySelectorAll('article.proposal').length === {waiting - 1}")
    assert rea.pressed + sam.pressed <= 60
    assert sums(desk) == {"size": 500, "held": 0, "dropped": 480, "released": 20, "relabelled": 0, "proposed": 0}


def test_single_decisions_are_all_durable_and_undo_restores_the_exact_earlier_state(sit, desk):
    before = standing(desk)
    rea = sit("rea").open()
    open_case(rea, "label-flip", "cells")
    rea.press(*"xrxxrx")
    rea.press("l")
    rea.page.wait_for_selector("dialog[open]")
    rea.press("1")
    rea.saved()
    assert Counter(e.action for e in events(desk)) == {"drop": 4, "release": 2, "relabel": 1}
    assert all(e.shown["looked_at"] == 1 for e in events(desk))
    for n in range(7):
        rea.press("u")
        rea.until(f"document.querySelector('#left').textContent === '{494 + n}'")
    assert standing(desk) == before
    assert sums(desk)["held"] == 500


def test_two_people_racing_on_one_case_never_overwrite_each_other(sit, desk):
    rea, kim = sit("rea").open(), sit("kim").open()
    for seat in (rea, kim):
        open_case(seat, "label-flip", "signs")
    for _ in range(30):
        rea.press("x")
        kim.press("r")
    rea.saved()
    kim.saved()
    rea.page.wait_for_timeout(2500)
    made = events(desk)
    with desk.store() as store, store.reading() as view:
        of_sample = dict(view.execute(select(decision_members.c.held_id, func.count()).group_by(decision_members.c.held_id)).all())
        audit(view)
    assert {e.reviewer for e in made} == {"rea", "kim"}
    assert set(of_sample.values()) == {1}, "a sample was decided twice: one of them overwrote the other"
    assert rea.left() == kim.left() == 500 - len(of_sample)


def test_after_kill_9_nothing_acknowledged_is_lost_and_nothing_is_done_twice(sit, desk):
    rea = sit("rea").open()
    open_case(rea, "outlier", "cells")
    rea.press(*"xxxxx")
    rea.saved()
    acknowledged = [e.id for e in events(desk)]
    rea.press(*"rrrr")
    desk.stop(signal.SIGKILL)
    rea.press(*"xxxx")
    rea.page.wait_for_selector("#progress .away", timeout=20_000)
    assert "not saved yet" in rea.page.inner_text("#progress")
    desk.start()
    rea.saved()
    made = events(desk)
    assert [e.id for e in made][: len(acknowledged)] == acknowledged
    assert Counter(e.action for e in made) == {"drop": 9, "release": 4}
    with desk.store() as store, store.reading() as view:
        assert set(view.execute(select(func.count()).select_from(decision_members).group_by(decision_members.c.held_id)).scalars()) == {1}
        audit(view)


def test_others_see_where_one_works_and_what_one_decides(sit, desk):
    rea, sam = sit("rea").open(), sit("sam").open()
    open_case(rea, "shilling", "films")
    case = rea.case()
    sam.page.wait_for_selector(f'button.case[data-case="{case}"] .others', timeout=10_000)
    assert "rea" in sam.page.inner_text(f'button.case[data-case="{case}"] .others')
    rea.press("x")
    rea.saved()
    sam.until("document.querySelector('#left').textContent === '499'", 10)


def test_what_somebody_decided_meanwhile_is_not_overwritten_but_told(sit, desk):
    rea = sit("rea").open()
    open_case(rea, "expectation", "cells")
    rea.page.evaluate("document.dispatchEvent(new Event('x'))")
    sample = int(rea.page.get_attribute("[role=option].here", "data-id"))
    with desk.store() as store, store.transaction() as tx:
        decide(tx, ids=[sample], action="release", reviewer="kim", reason="it is fine")
    rea.press("x")
    rea.page.wait_for_selector("#toast .bad", timeout=10_000)
    assert "kim released it; nothing was overwritten" in rea.page.inner_text("#toast")
    rea.page.wait_for_selector(f"#s{sample}.released", timeout=10_000)
    assert [e.reviewer for e in events(desk)] == ["kim"]


def test_several_are_selected_and_decided_as_one(sit, desk):
    rea = sit("rea").open()
    open_case(rea, "outlier", "voices")
    rea.press(" ", " ", " ")
    assert "3 selected" in rea.page.inner_text("#bar")
    rea.press("x")
    rea.saved()
    (event,) = events(desk)
    assert (event.size, event.shown["screen"]) == (3, "selection")


def test_skipped_samples_come_back_at_the_end(sit, desk):
    rea = sit("rea").open()
    open_case(rea, "expectation", "cells")
    first = rea.page.get_attribute("[role=option].here", "data-id")
    rea.press("s")
    assert rea.page.get_attribute("[role=option].here", "data-id") != first
    rea.press(*["x"] * 13)
    rea.until(f"document.querySelector('[role=option].here')?.dataset.id === '{first}'")
    rea.saved()
    assert sums(desk)["dropped"] == 13


def test_a_flag_makes_the_decision_wait_and_a_note_stays_with_the_sample(sit, desk):
    rea = sit("rea").open()
    open_case(rea, "outlier", "voices")
    for key, words in (("n", "looks like a cough"), ("f", "not sure about this one")):
        rea.press(key)
        rea.page.wait_for_selector("dialog textarea")
        rea.page.fill("dialog textarea", words)
        rea.press("Enter")
        rea.page.wait_for_selector("dialog", state="detached")
    rea.page.wait_for_selector(".why .notes li:nth-child(2)")
    assert "looks like a cough" in rea.page.inner_text(".why .notes")
    rea.press("x")
    rea.saved()
    assert [e.status for e in events(desk)] == ["proposed"]


def test_filters_live_in_the_address(sit, desk):
    rea = sit("rea").open("/?case=4&label=benign&state=left")
    shown = rea.page.locator("[role=option]").count()
    assert 0 < shown < 44
    assert rea.page.inner_text("#sum") == f"{shown} samples"
    rea.press("j", "j")
    rea.until("location.search.includes('id=')")
    address = rea.page.evaluate("location.pathname + location.search")
    here = rea.page.get_attribute("[role=option].here", "data-id")
    other = sit("kim").open(address)
    assert other.page.get_attribute("[role=option].here", "data-id") == here
    open_case(rea, "shilling", "films")
    rea.page.go_back()
    rea.until("document.querySelector('#head').textContent.includes('case 4')")


def test_search_finds_words_inside_samples(sit, desk):
    rea = sit("rea").open("/?case=9")
    rea.press("/")
    rea.page.keyboard.type("paper lanterns")
    rea.until("/^[0-9]+ found$/.test(document.querySelector('#sum').textContent)")
    rea.press("Enter")
    rea.settled()
    texts = rea.page.locator("[role=option] .snippet").all_inner_texts()
    assert texts
    assert all("paper lanterns" in text.lower() for text in texts)


def test_keys_can_be_changed_and_switched_off(sit, desk):
    rea = sit("rea").open()
    open_case(rea, "outlier", "voices")
    rea.press("?")
    rea.page.get_by_label("change the key for: drop", exact=False).first.click()
    rea.press("q")
    rea.press("Escape")
    rea.page.wait_for_selector("dialog", state="detached")
    rea.press("x")
    assert rea.left() == 500
    rea.press("q")
    rea.saved()
    assert rea.left() == 499
    rea.press("?")
    rea.page.locator("dialog input[type=checkbox]").uncheck()
    rea.press("Escape")
    rea.page.wait_for_selector("dialog", state="detached")
    rea.press("q", "r", "X")
    assert rea.left() == 499
    rea.page.reload()
    rea.settled()
    rea.press("q")
    assert rea.left() == 499


def test_everything_works_by_touch_on_a_small_screen(sit, desk):
    rea = sit("rea", width=390, height=844).open()
    rea.page.click(".cases .current")
    open_case(rea, "expectation", "cells")
    rea.page.click("#bar button.drop")
    rea.page.click("#bar button.release")
    rea.page.click("#bar button.undo")
    rea.until("document.querySelector('#left').textContent === '499'")
    rea.saved()
    assert sums(desk)["dropped"] == 1


def test_a_viewer_looks_and_nothing_else(sit, desk):
    vic = sit("vic").open()
    assert vic.page.locator("#bar button.drop").count() == 0
    vic.press("x", "X", "u", "a")
    assert vic.page.locator("dialog").count() == 0
    assert events(desk) == []
