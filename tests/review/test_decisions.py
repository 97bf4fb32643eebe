"""Deciding through the app: once, on what was seen, by who may; and every refusal is told."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select

from sanitizer.policy import Policy, Review
from sanitizer.quarantine import audit, ls
from sanitizer.quarantine.decisions import listed
from sanitizer.review import people
from sanitizer.store.tables import ledger
from tests.review.build import Site, new_token


def states(store):
    with store.reading() as view:
        return {sample.id: sample.state for sample in ls(view, limit=100).samples}


def told(store, kind):
    with store.reading() as view:
        return [
            json.loads(row) for row in view.execute(select(ledger.c.entry).where(ledger.c.kind == kind).order_by(ledger.c.index)).scalars()
        ]


def case_of(person, cause):
    return next(row for row in person.get("start").json()["cases"] if row["cause"] == cause)


@pytest.fixture
def rea(site):
    return site.person("rea")


@pytest.fixture
def sam(site):
    return site.person("sam")


# --- once, and as seen -----------------------------------------------------------------------------------------------


def test_a_decision_is_an_event_with_what_was_on_the_screen(site, rea):
    seen = rea.get("details", ids="1,2").json()["samples"]
    made = rea.decide("drop", 1, 2, looked=[[n, seen[str(n)]["evidence"]] for n in (1, 2)], screen="selection", seconds=2.5)
    assert (made["ok"], made["status"], made["size"]) == (True, "effective", 2)
    entry = told(site.store, "quarantine.drop")[0]
    assert entry["actor"] == "rea"
    shown = entry["facts"]["shown"]
    assert (shown["looked_at"], shown["screen"], shown["seconds"]) == (2, "selection", 2.5)
    assert shown["evidence"].startswith("sha256:")
    assert states(site.store)[1] == "dropped"


def test_evidence_that_was_not_there_cannot_have_been_seen(site, rea):
    made = rea.decide("drop", 1, looked=[[1, "0" * 32]])
    assert (made["ok"], made["code"]) == (False, "overtaken")
    assert set(states(site.store).values()) == {"held"}


def test_a_batch_is_carried_out_in_order_and_a_refused_one_leaves_the_others_alone(site, rea):
    body = {
        "commands": [
            {"token": new_token(), "action": "drop", "reason": "a", "members": [[1, 0]]},
            {"token": new_token(), "action": "relabel", "label": "horse", "reason": "b", "members": [[2, 0]]},
            {"token": new_token(), "action": "release", "reason": "c", "members": [[6, 0]]},
        ]
    }
    answer = rea.post("decide", body).json()
    assert [o["ok"] for o in answer["outcomes"]] == [True, False, True]
    assert "'horse' is not a label" in answer["outcomes"][1]["message"]
    assert states(site.store) | {1: 0, 6: 0} == {1: 0, 2: "held", 3: "held", 4: "held", 5: "held", 6: 0}
    assert {row["id"]: row["state"] for row in answer["samples"]} == {1: "dropped", 6: "released"}


def test_the_same_request_again_is_carried_out_once(site, rea):
    body = {"commands": [{"token": new_token(), "action": "drop", "reason": "a", "members": [[1, 0]]}]}
    first, again = rea.post("decide", body).json()["outcomes"][0], rea.post("decide", body).json()["outcomes"][0]
    assert again == first | {"repeated": True}
    with site.store.reading() as view:
        assert len(listed(view)) == 1


def test_a_token_is_worth_nothing_for_another_request_or_another_person(site, rea, sam):
    token = new_token()
    assert rea.decide("drop", 1, token=token)["ok"]
    for made in (rea.decide("release", 2, token=token), sam.decide("drop", 1, token=token)):
        assert (made["ok"], made["code"]) == (False, "not_allowed")
        assert "repeats the token" in made["message"]
    assert len(told(site.store, "review.refused")) == 2


def test_nobody_overwrites_what_somebody_else_decided_meanwhile(site, rea, sam):
    first = sam.decide("release", 1)
    made = rea.decide("drop", 1)
    assert (made["ok"], made["code"]) == (False, "overtaken")
    assert "sam released it; nothing was overwritten" in made["message"]
    assert states(site.store)[1] == "released"
    assert rea.decide("drop", (1, first["event"]))["ok"]


def test_a_case_is_decided_as_it_was_seen(site, rea, sam):
    case = case_of(rea, "outlier")
    assert sam.decide("drop", 1)["ok"]
    command = {"token": new_token(), "action": "drop", "reason": "all of it", "case": case["id"], "expected": case["left"]}
    made = rea.post("decide", {"commands": [command]}).json()["outcomes"][0]
    assert "1 samples of this case are undecided by now, not 2" in made["message"]
    command |= {"token": new_token(), "expected": 1}
    assert rea.post("decide", {"commands": [command]}).json()["outcomes"][0]["size"] == 1


def test_a_proposal_of_one_is_not_swept_away_by_another_ones_case(site, rea, sam):
    proposed = rea.decide("release", 3)
    assert proposed["status"] == "proposed"
    case = case_of(sam, "backdoor")
    assert (case["left"], case["waiting"]) == (2, 1)
    command = {"token": new_token(), "action": "drop", "reason": "all of it", "case": case["id"], "expected": 2}
    assert sam.post("decide", {"commands": [command]}).json()["outcomes"][0]["size"] == 2
    assert sam.approve(proposed["event"])["ok"]
    assert states(site.store)[3] == "released"


# --- taking back -----------------------------------------------------------------------------------------------------


def test_undo_without_limit_returns_to_the_beginning(site, rea):
    for action, number in (("drop", 1), ("release", 2), ("drop", 6)):
        assert rea.decide(action, number)["ok"]
    assert [rea.undo()["undone_action"] for _ in range(3)] == ["drop", "release", "drop"]
    assert set(states(site.store).values()) == {"held"}
    assert "nothing of yours" in rea.undo()["message"]
    with site.store.reading() as view:
        audit(view)


def test_a_reviewer_takes_back_only_their_own_events(site, rea, sam):
    event = rea.decide("drop", 1)["event"]
    kim = site.person("kim")
    assert "rea's" in kim.undo(event)["message"]
    assert sam.undo(event)["ok"]


def test_nobody_brings_back_an_agreement_that_the_second_person_withdrew(site, rea, sam):
    event = rea.decide("release", 3)["event"]
    agreement = sam.approve(event)["event"]
    withdrawal = sam.undo(agreement)["event"]
    for person in (rea, site.person("tom")):
        made = person.undo(withdrawal)
        assert (made["ok"], made["code"]) == (False, "not_allowed")
    assert states(site.store)[3] == "held"


# --- four eyes -------------------------------------------------------------------------------------------------------


def test_who_proposed_cannot_agree_in_a_second_window_either(site, sam):
    other_window = site.person("sam")
    event = sam.decide("release", 3)["event"]
    made = other_window.approve(event)
    assert (made["ok"], made["code"]) == (False, "not_allowed")
    assert "someone else must approve" in made["message"]
    assert told(site.store, "review.refused")[-1]["actor"] == "sam"


def test_an_agreement_sent_again_is_refused(site, rea, sam):
    event = rea.decide("release", 3)["event"]
    assert sam.approve(event)["status"] == "effective"
    assert "nothing to approve" in sam.approve(event)["message"]


def test_a_role_that_was_taken_away_in_mid_flight_no_longer_acts(site, rea, sam):
    event = rea.decide("release", 3)["event"]
    with site.store.transaction() as tx:  # the session is kept on purpose: the role alone must stop them
        tx.execute(people.accounts.update().where(people.accounts.c.name == "sam").values(role="viewer"))
    answer = sam.post("approve", {"token": new_token(), "event": event, "reason": "yes"})
    assert answer.status_code == 403
    assert "sam is viewer" in answer.json()["message"]
    assert states(site.store)[3] == "held"


def test_a_role_taken_away_between_the_check_and_the_write_no_longer_acts(site, rea, monkeypatch):
    event_of = people.session

    def session_then_demoted(view, token):
        found = event_of(view, token)
        with site.store.transaction() as tx:
            tx.execute(people.accounts.update().where(people.accounts.c.name == "rea").values(role="viewer"))
        return found

    monkeypatch.setattr(people, "session", session_then_demoted)
    command = {"token": new_token(), "action": "drop", "reason": "a", "members": [[1, 0]]}
    assert rea.post("decide", {"commands": [command]}).status_code == 403
    assert set(states(site.store).values()) == {"held"}


def test_what_the_policy_wants_two_people_for_waits(store):
    site = Site(store, policy=Policy(review=Review(second_reviewer_above=1)))
    rea, sam = site.person("rea"), site.person("sam")
    made = rea.decide("drop", 1, 2)
    assert made["status"] == "proposed"
    (waiting,) = sam.get("proposals").json()["proposals"]
    assert (waiting["reviewer"], waiting["size"], len(waiting["samples"])) == ("rea", 2, 2)
    assert sam.approve(made["event"])["ok"]
    assert sam.get("proposals").json()["proposals"] == []


def test_a_policy_that_wants_two_people_for_every_new_label_gets_them(store):
    site = Site(store, policy=Policy(review=Review(second_reviewer_relabels=True)))
    rea, sam = site.person("rea"), site.person("sam")
    label = rea.get("details", ids="1").json()["samples"]["1"]["labels"][0]["label"]
    made = rea.decide("relabel", 1, label=label)
    assert made["status"] == "proposed"
    assert sam.approve(made["event"])["status"] == "effective"
    assert rea.decide("drop", 2)["status"] == "effective"


def test_a_second_look_that_somebody_asked_for_makes_every_decision_wait(site, rea, sam):
    assert rea.decide("drop", 1)["status"] == "effective"
    assert rea.outcome("mark", {"sample": 2, "kind": "flag", "text": "I am not sure"})["ok"]
    assert sam.decide("drop", 2)["status"] == "proposed"
    assert told(site.store, "review.flag")[0]["facts"]["text"] == "I am not sure"
    assert [m["id"] for m in rea.get("members", state="all", marked=True).json()["members"]] == [2]


# --- one's own samples -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "number"),
    [("ann", 1), ("wes", 2), ("lena", 1), ("lena", 6)],
    ids=["the source", "works for the source", "the lab", "the lab, again"],
)
def test_nobody_decides_on_samples_of_their_own(site, rea, name, number):
    person = site.person(name)
    made = person.decide("release", number)
    assert (made["ok"], made["code"]) == (False, "not_allowed")
    assert "cannot decide on them" in made["message"]
    event = rea.decide("drop", number)["event"]
    assert person.undo(event)["code"] == "not_allowed"
    refused = told(site.store, "review.refused")
    assert {entry["actor"] for entry in refused} == {name}


def test_nobody_agrees_about_samples_of_their_own(site, rea):
    event = rea.decide("release", 3)["event"]
    assert site.person("ann").approve(event)["code"] == "not_allowed"
    assert site.person("lena").approve(event)["code"] == "not_allowed"


# --- sample audit --------------------------------------------------------------------------------------------------------


def test_a_draw_is_told_before_it_is_shown_and_cannot_be_drawn_again(site, rea):
    case = case_of(rea, "backdoor")
    first = rea.post("draw", {"case": case["id"], "size": 2}).json()
    assert told(site.store, "review.draw")[0]["facts"] | {"members": 0} == {"draw": 1, "population": 3, "drawn": 2, "members": 0}
    assert rea.post("draw", {"case": case["id"], "size": 1}).json()["members"] == first["members"]
    assert [m["id"] for m in rea.get("members", draw=1, state="all").json()["members"]] == sorted(first["members"], reverse=True)


def test_what_was_drawn_speaks_for_the_rest_with_its_bound(site, rea, sam):
    case = case_of(rea, "backdoor")
    draw = rea.post("draw", {"case": case["id"], "size": 2}).json()
    rest = {"token": new_token(), "action": "drop", "reason": "audit", "case": case["id"], "expected": 3, "draw": draw["id"]}
    assert "decide all that were drawn first" in rea.post("decide", {"commands": [rest]}).json()["outcomes"][0]["message"]
    for number in draw["members"]:
        assert rea.decide("drop", number)["ok"]
    standing = rea.get(f"draw/{draw['id']}").json()
    assert (standing["done"], standing["odd"]["drop"], standing["at_most"]["drop"], standing["rest"]) == (True, 0, 1, 1)
    rest |= {"expected": 1}
    theft = sam.post("decide", {"commands": [rest | {"token": new_token()}]}).json()["outcomes"][0]
    assert theft["code"] == "not_allowed"
    made = rea.post("decide", {"commands": [rest | {"token": new_token()}]}).json()["outcomes"][0]
    assert made["ok"]
    audited = told(site.store, "quarantine.drop")[-1]["facts"]["shown"]["audit"]
    assert audited == {
        "draw": 1,
        "population": 3,
        "drawn": 2,
        "decided": {"drop": 2},
        "rest": 1,
        "confidence": 0.95,
        "odd": 0,
        "at_most": 1,
    }
    again = rea.post("decide", {"commands": [rest | {"token": new_token(), "expected": 0}]}).json()["outcomes"][0]
    assert "used already" in again["message"]


@pytest.mark.parametrize("size", [0, 4])
def test_a_draw_of_an_impossible_size_is_refused(site, rea, size):
    assert rea.post("draw", {"case": case_of(rea, "backdoor")["id"], "size": size}).status_code == 400


# --- what others do --------------------------------------------------------------------------------------------------------


def test_the_pulse_tells_what_others_did_and_where_they_are(site, rea, sam):
    head = rea.get("start").json()["head"]
    case = case_of(sam, "outlier")
    sam.post("claim", {"case": case["id"]})
    sam.decide("drop", 1)
    beat = rea.get("pulse", head=head).json()
    assert beat["claims"] == [{"case": case["id"], "by": "sam"}]
    assert [(e["reviewer"], e["action"]) for e in beat["events"]] == [("sam", "drop")]
    assert [(s["id"], s["state"]) for s in beat["samples"]] == [(1, "dropped")]
    assert [(c["id"], c["left"]) for c in beat["cases"]] == [(case["id"], 1)]
    assert (beat["progress"]["left"], beat["progress"]["dropped"]) == (5, 1)
    assert rea.get("pulse", head=beat["head"]).json()["events"] == []
    site.clock.ahead(seconds=80)
    assert rea.get("pulse", head=head).json()["claims"] == []


def test_pace_and_time_to_go_come_from_decisions_that_still_count(site, rea, sam):
    rea.decide("drop", 1)
    sam.decide("drop", 2)
    site.clock.ahead(minutes=2)
    progress = rea.get("start").json()["progress"]
    assert (progress["per_minute"], progress["minutes"]) == (0.5, 4.0)
    rea.undo()
    assert rea.get("start").json()["progress"]["per_minute"] is None


def test_agreement_is_measured_where_two_judged_the_same(site, rea, sam):
    first = rea.decide("drop", 1)["event"]
    sam.decide("release", (1, first))
    second = rea.decide("drop", 2)["event"]
    sam.decide("drop", (2, second))
    found = sam.get("people").json()
    assert found["agreement"] == [{"reviewers": ["rea", "sam"], "samples": 2, "same": 1, "kappa": 0.0}]
    assert {row["reviewer"]: row["samples"] for row in found["measures"]} == {"rea": 2, "sam": 2}


def test_the_quarantine_and_the_ledger_agree_after_all_this(site, rea, sam):
    rea.decide("drop", 1, 2)
    event = rea.decide("release", 3)["event"]
    sam.approve(event)
    rea.outcome("mark", {"sample": 4, "kind": "note", "text": "odd corner"})
    sam.decide("relabel", 6, label="dog")
    sam.undo()
    with site.store.reading() as view:
        assert audit(view)["decisions"] == 5


def test_an_export_is_told_by_the_ledger_and_runs_nothing(site):
    answer = site.person("aud").get("export.csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="quarantine.csv"'
    assert len(answer.text.splitlines()) == 7
    assert "\x00" not in answer.text
    assert told(site.store, "review.export")[0]["actor"] == "aud"
    assert len(site.person("aud").get("export.jsonl", state="dropped").text.splitlines()) == 0
