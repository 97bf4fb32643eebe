from __future__ import annotations

import csv
import io
import json

import pandas as pd
import pyarrow as pa
import pytest
from sqlalchemy import delete, event, select, text, update

from sanitizer.errors import DigestMismatch, LedgerBroken, UsageError
from sanitizer.features import units
from sanitizer.policy import Review
from sanitizer.quarantine import approve, audit, cases, counts, decide, export_csv, export_jsonl, hold, ls, outcome, show, undo
from sanitizer.quarantine.decisions import history, listed
from sanitizer.release.parts import accepted_rows
from sanitizer.samples import Column, Samples, Schema
from sanitizer.store.tables import cases as cases_table
from sanitizer.store.tables import decision_members, decisions, held, held_content, ledger
from sanitizer.verdicts import Verdicts
from tests.quarantine.build import DIGEST, HELD, make_samples, make_verdicts, receive


def states(store):
    with store.reading() as view:
        return {sample.id: sample.state for sample in ls(view).samples}


def drop(store, *ids, **more):
    with store.transaction() as tx:
        return decide(tx, ids=ids, action="drop", reviewer="rea", reason="poison", **more)


# --- holding -------------------------------------------------------------------------------------------------------


def test_a_held_sample_keeps_everything_a_person_needs(filled, samples):
    with filled.reading() as view:
        shown = show(view, 3)
    assert (shown.held.cause, shown.held.p_value, shown.held.source, shown.held.label) == ("backdoor", None, "ann", "cat")
    assert shown.held.sample_id == samples.sample_ids[5]
    assert shown.held.neighbours == tuple(samples.sample_ids[:2])
    assert shown.held.scores["label.neighbours"] is None
    assert isinstance(shown.held.scores["outlier.knn"], float)
    assert shown.case.reason == "a patch"
    assert shown.content.rows.to_pylist() == samples.table.slice(5, 1).to_pylist()
    assert shown.content.schema == samples.schema


def test_every_held_sample_is_in_one_case_and_groups_come_first(filled):
    with filled.reading() as view:
        found = cases(view)
    assert [(c.name, c.cause, c.size) for c in found] == [("case-1", "backdoor", 3), ("", "outlier", 2), ("", "label-flip", 1)]
    assert sum(c.size for c in found) == len(HELD)


def test_holding_the_same_delivery_again_changes_nothing(filled, samples, verdicts):
    with filled.transaction() as tx:
        assert hold(tx, samples, verdicts, DIGEST) == 6
        assert len(ls(tx).samples) == 6
        other = make_verdicts(samples, {1: "outlier"})
        with pytest.raises(UsageError, match="holds 6 samples already, these verdicts hold 1"):
            hold(tx, samples, other, DIGEST)


def test_verdicts_must_cover_every_sample(store, samples, verdicts):
    with store.transaction() as tx:
        receive(tx, DIGEST)
        with pytest.raises(UsageError, match="12 verdicts for 5 samples"):
            hold(tx, make_samples(5), verdicts, DIGEST)


def test_nothing_suspicious_holds_nothing(store, samples):
    with store.transaction() as tx:
        receive(tx, DIGEST)
        assert hold(tx, samples, make_verdicts(samples, {}), DIGEST) == 0
        assert cases(tx) == []


def test_stored_rows_that_were_changed_are_not_shown(filled):
    with filled.transaction() as tx:
        tx.execute(update(held_content).where(held_content.c.held_id == 2).values(content=b"other"))
    with filled.reading() as view, pytest.raises(DigestMismatch, match="held sample 2 were changed"):
        show(view, 2)


# --- looking -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 7])
def test_pages_show_every_sample_once_most_suspicious_first(filled, limit):
    seen, after = [], None
    with filled.reading() as view:
        while True:
            page = ls(view, after=after, limit=limit)
            seen += [sample.position for sample in page.samples]
            if (after := page.next) is None:
                break
    assert seen == sorted(HELD, reverse=True)


@pytest.mark.parametrize(
    ("filters", "positions"),
    [
        ({"cause": "outlier"}, [11, 2]),
        ({"source": "bob"}, [6, 3]),
        ({"label": "dog"}, [6, 2]),
        ({"delivery": DIGEST, "label": "cat", "cause": "backdoor"}, [7, 5]),
        ({"case_id": 1}, [11, 2]),
        ({"state": "dropped"}, []),
        ({"dataset": "letters"}, []),
    ],
)
def test_filters_narrow_the_listing(filled, filters, positions):
    with filled.reading() as view:
        assert [sample.position for sample in ls(view, **filters).samples] == positions


@pytest.mark.parametrize("state", [None, "held"])
@pytest.mark.parametrize("name", ["dataset", "case_id", "cause", "source", "label", "delivery"])
def test_a_page_is_read_along_an_index_not_sorted(filled, name, state):
    statements = []

    def watch(connection, cursor, statement, parameters, context, executemany):
        if "FROM held" in statement:
            statements.append((statement, parameters))

    event.listen(filled._engine, "before_cursor_execute", watch)
    with filled.reading() as view:
        value = getattr(ls(view).samples[0], name)
        statements.clear()
        ls(view, **{name: value}, state=state)
    event.remove(filled._engine, "before_cursor_execute", watch)
    assert len(statements) == (1 if state else 4)
    with filled._engine.connect() as connection:
        for statement, parameters in statements:
            plan = " ".join(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters))
            assert "TEMP B-TREE" not in plan
            assert "USING INDEX" in plan


def test_a_forged_page_is_a_usage_error(filled):
    with filled.reading() as view, pytest.raises(UsageError, match="not a page"):
        ls(view, after="1; DROP TABLE held")


def test_unknown_numbers_are_named(filled):
    with filled.reading() as view, pytest.raises(UsageError, match="no held sample 99"):
        show(view, 99)


# --- deciding ------------------------------------------------------------------------------------------------------


def test_decisions_change_the_state_and_are_told_by_the_ledger(filled):
    event = drop(filled, 1, 2)
    assert states(filled) == {1: "dropped", 2: "dropped", 3: "held", 4: "held", 5: "held", 6: "held"}
    with filled.reading() as view:
        entry = json.loads(view.one(select(ledger.c.entry).where(ledger.c.index == event.ledger_index))["entry"])
        assert counts(view) == {"size": 6, "held": 4, "dropped": 2, "released": 0, "relabelled": 0, "proposed": 0}
    assert (entry["kind"], entry["actor"], entry["facts"]["size"]) == ("quarantine.drop", "rea", 2)


def test_a_case_is_decided_at_once_except_what_was_decided_before(filled):
    with filled.transaction() as tx:
        decide(tx, ids=[4], action="relabel", label="dog", reviewer="rea", second="sam", reason="honest, wrong label")
        group = cases(tx)[0]
        assert decide(tx, case_id=group.id, action="drop", reviewer="rea", reason="poison").size == 2
        assert (cases(tx)[0].dropped, cases(tx)[0].relabelled, cases(tx)[0].held) == (2, 1, 0)
        with pytest.raises(UsageError, match="nothing is left to decide"):
            decide(tx, case_id=group.id, action="drop", reviewer="rea", reason="poison")


def test_the_last_decision_counts_and_undo_brings_the_earlier_one_back(filled):
    first = drop(filled, 1)
    with filled.transaction() as tx:
        second = decide(tx, ids=[1, 2], action="release", reviewer="sam", reason="I know this device")
    assert [states(filled)[i] for i in (1, 2)] == ["released", "released"]
    with filled.transaction() as tx:
        undone = undo(tx, second.id, reviewer="sam", reason="slip of the key")
    assert [states(filled)[i] for i in (1, 2)] == ["dropped", "held"]
    with filled.transaction() as tx:
        undo(tx, undone.id, reviewer="sam", reason="it was right after all")
    assert [states(filled)[i] for i in (1, 2)] == ["released", "released"]
    with filled.reading() as view:
        assert [event.action for event in history(view, 1)] == ["drop", "release", "undo", "undo"]
        assert first.id == history(view, 1)[0].id
        audit(view)


def test_an_event_is_undone_once(filled):
    event = drop(filled, 1)
    with filled.transaction() as tx:
        undo(tx, event.id, reviewer="rea", reason="slip")
        with pytest.raises(UsageError, match="undone already"):
            undo(tx, event.id, reviewer="rea", reason="slip")


def test_what_could_let_an_attack_in_waits_for_a_second_person(filled):
    with filled.transaction() as tx:
        event = decide(tx, ids=[3], action="release", reviewer="rea", reason="looks fine")
        assert event.status == "proposed"
        assert show(tx, 3).held.state == "held"
        assert show(tx, 3).held.proposal == event.id
        assert counts(tx)["proposed"] == 1
        with pytest.raises(UsageError, match="someone else must approve"):
            approve(tx, event.id, reviewer="rea", reason="really")
        approval = approve(tx, event.id, reviewer="sam", reason="agreed")
        assert show(tx, 3).held.state == "released"
        assert counts(tx)["proposed"] == 0
        with pytest.raises(UsageError, match="nothing to approve"):
            approve(tx, event.id, reviewer="tom", reason="me too")
        undo(tx, approval.id, reviewer="sam", reason="not so sure")
        assert (show(tx, 3).held.state, show(tx, 3).held.proposal) == ("held", event.id)
        audit(tx)


def test_a_proposal_that_a_later_decision_overtook_waits_no_more(filled):
    with filled.transaction() as tx:
        event = decide(tx, ids=[3], action="release", reviewer="rea", reason="looks fine")
        decide(tx, ids=[3], action="drop", reviewer="sam", reason="no")
        approve(tx, event.id, reviewer="sam", reason="late")
        assert (show(tx, 3).held.state, show(tx, 3).held.proposal) == ("dropped", None)
        audit(tx)


def test_bulk_decisions_wait_for_a_second_person(filled):
    strict = Review(second_reviewer_above=1)
    assert drop(filled, 1, 2, policy=strict).status == "proposed"
    assert drop(filled, 1, policy=strict).status == "effective"
    assert drop(filled, 1, 2, policy=strict, second="sam").status == "effective"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"ids": [1], "reason": " "}, "a reason in words"),
        ({"ids": [1], "reviewer": ""}, "name of who decides"),
        ({"ids": [1, 98, 99]}, "2 of 3 samples are not in quarantine, first: 98"),
        ({"ids": []}, "nothing is left"),
        ({}, "either samples or one case"),
        ({"ids": [1], "case_id": 1}, "either samples or one case"),
        ({"ids": [1], "action": "relabel"}, "needs the new label"),
        ({"ids": [1], "label": "cat"}, "only relabel takes one"),
        ({"ids": [1], "action": "relabel", "label": "horse"}, "'horse' is not a label"),
        ({"ids": [1], "second": "rea"}, "someone else must agree"),
        ({"ids": [1], "reviewer": "ann"}, "ann is the source"),
        ({"ids": [2], "second": "bob"}, "bob is the source"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_decision_that_may_not_be_is_refused_in_words(filled, call, said):
    call = {"action": "drop", "reviewer": "rea", "reason": "poison", **call}
    with pytest.raises(UsageError, match=said), filled.transaction() as tx:
        decide(tx, **call)
    assert set(states(filled).values()) == {"held"}
    with filled.reading() as view:
        assert listed(view) == []


def test_events_are_listed_in_pages(filled):
    for held_id in (1, 2, 4):
        drop(filled, held_id)
    with filled.reading() as view:
        assert [event.id for event in listed(view, limit=2)] == [1, 2]
        assert [event.id for event in listed(view, after=2, dataset="digits")] == [3]


# --- what it means for the next release ----------------------------------------------------------------------------


def test_the_outcome_brings_back_exactly_what_was_released_or_relabelled(filled, samples):
    with filled.transaction() as tx:
        decide(tx, ids=[1], action="release", reviewer="rea", reason="fine")
        decide(tx, ids=[2], action="relabel", label="dog", reviewer="rea", reason="wrong label")
        decide(tx, ids=[6], action="drop", reviewer="rea", reason="poison")
        found = outcome(tx, "digits")
    assert found.counts == {"held": 3, "dropped": 1, "released": 1, "relabelled": 1}
    expected = samples.table.take([2, 3]).to_pylist()
    expected[1]["label"] = "dog"
    assert found.back.table.to_pylist() == expected
    assert found.excluded == {samples.sample_ids[p] for p in (3, 5, 6, 7, 11)}


def test_nothing_decided_brings_nothing_back(filled):
    with filled.reading() as view:
        assert outcome(view, "digits").back is None
        assert len(outcome(view, "digits").excluded) == 6
        assert outcome(view, "letters").counts["held"] == 0


# --- export --------------------------------------------------------------------------------------------------------


def test_no_cell_of_the_export_is_a_formula(filled):
    out = io.StringIO()
    with filled.reading() as view:
        assert export_csv(view, out) == 6
    rows = list(csv.reader(io.StringIO(out.getvalue())))
    assert len(rows) == 7
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "@", "\t", "\r"))]
    assert "\x00" not in out.getvalue()


def test_the_json_export_is_one_object_a_line(filled):
    out = io.StringIO()
    with filled.reading() as view:
        assert export_jsonl(view, out, cause="backdoor") == 3
    assert [json.loads(line)["id"] for line in out.getvalue().splitlines()] == [5, 4, 3]


# --- audit ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tamper", "said"),
    {
        "state edited": (update(held).where(held.c.id == 4).values(state="released"), "held sample 4 is released"),
        "label edited": (update(held).where(held.c.id == 1).values(new_label="cat"), "held sample 1"),
        "row edited": (update(held_content).where(held_content.c.held_id == 1).values(content=b"x"), "stored rows"),
        "row and its digest edited": (
            update(held_content).where(held_content.c.held_id == 1).values(content=b"", sha256="e3b0c44298fc1c149afbf4c8996fb924"),
            "stored rows",
        ),
        "event edited": (update(decisions).values(action="release"), "decision 1 is not what ledger entry"),
        "reviewer edited": (update(decisions).values(reviewer="sam"), "decision 1 is not what ledger entry"),
        "status edited": (update(decisions).values(status="undone"), "decision 1 should be effective"),
        "member removed": (delete(decision_members).where(decision_members.c.held_id == 2), "samples of decision 1"),
        "count edited": (update(cases_table).where(cases_table.c.id == 1).values(held=0), "counts of case 1"),
        "sample renamed": (update(held).where(held.c.id == 5).values(sample_id="other"), "are not those of ledger entry"),
    }.values(),
    ids=lambda value: None,
)
def test_the_audit_finds_what_was_edited_behind_its_back(filled, tamper, said):
    drop(filled, 1, 2)
    with filled.reading() as view:
        assert audit(view) == {"deliveries": 1, "decisions": 1, "samples": 6, "cases": 3}
    with filled.transaction() as tx:
        tx.execute(tamper)
    with filled.reading() as view, pytest.raises(LedgerBroken, match=said):
        audit(view)


def test_the_audit_misses_no_decision_that_was_removed(filled):
    drop(filled, 1, 2)
    with filled.transaction() as tx:
        tx.execute(delete(decision_members))
        tx.execute(delete(decisions))
        tx.execute(text("UPDATE held SET state = 'held', decision = NULL"))
        tx.execute(text("UPDATE cases SET held = size, dropped = 0"))
    with filled.reading() as view, pytest.raises(LedgerBroken, match="no longer there"):
        audit(view)


# --- ratings: the unit judged is the user --------------------------------------------------------------------------


def test_a_held_user_brings_all_ratings_of_theirs(store):
    schema = Schema((Column("user", "int64"), Column("item", "int64"), Column("rating", "float64")), "ratings")
    table = pa.table({"user": [7, 3, 7, 5, 3, 7], "item": [1, 1, 2, 2, 3, 3], "rating": [5.0, 1.0, 5.0, 3.0, 2.0, 5.0]})
    ratings = Samples(table.cast(schema.arrow), schema)
    users = units(ratings)
    verdicts = Verdicts(
        table=pd.DataFrame(
            {
                "sample_id": [f"user:{user}" for user in users],
                "suspicion": [0.0, 0.0, 2.0],
                "action": ["accept", "accept", "quarantine"],
                "cause": ["", "", "shilling"],
                "p_value": [0.5, 0.6, 0.001],
                "reason": ["", "", "rates everything 5"],
                "case_id": "",
                "neighbours": [[], [], []],
                "columns": [[], [], []],
            },
            index=users,
        ),
        evidence=pd.DataFrame({"shilling": [0.1, 0.2, 9.0]}, index=users),
        cases=pd.DataFrame({"case_id": [], "significance": [], "reason": []}),
        sources=pd.DataFrame(),
    )
    with store.transaction() as tx:
        receive(tx, DIGEST)
        assert hold(tx, ratings, verdicts, DIGEST) == 1
        shown = show(tx, 1)
        assert outcome(tx, "digits").excluded == {ratings.sample_ids[i] for i in (0, 2, 5)}
        decide(tx, ids=[1], action="release", reviewer="rea", reason="a fan")
        assert outcome(tx, "digits").back_ids == tuple(ratings.sample_ids[i] for i in (0, 2, 5))
        with pytest.raises(UsageError, match="have no label"):
            decide(tx, ids=[1], action="relabel", label="x", reviewer="rea", reason="?")
    assert shown.content.rows.to_pylist() == ratings.take([0, 2, 5]).table.to_pylist()
    assert accepted_rows(ratings, verdicts).tolist() == [False, True, False, True, True, False]
