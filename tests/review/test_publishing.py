"""After review the next release holds exactly what was accepted, released and relabelled, and its signed statement counts them."""

from __future__ import annotations

import base64
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sanitizer import cli, pipeline
from sanitizer.release.gate import open_release
from sanitizer.review import people, state
from sanitizer.workspace import Workspace
from tests.line import found, place, signed, table
from tests.review.build import Site

FLIPPED = range(0, 120, 10)


def rows(frame):
    """A table as a multiset, whatever its order."""
    return Counter(tuple(row) for row in frame[sorted(frame.columns)].astype(str).itertuples(index=False))


@pytest.fixture
def reviewed(tmp_path):
    """A delivery with twelve flipped labels, its samples in quarantine, and a reviewer beside them."""
    root = tmp_path / "w"
    found(root)
    frame = table(120, seed=2)
    frame.loc[list(FLIPPED), "label"] = frame.loc[list(FLIPPED), "label"].map({"yes": "no", "no": "yes"})
    signed(root, place(root, "first", frame))
    (outcome,) = pipeline.run(root)
    assert outcome.quarantined >= 10
    with state(root) as store:
        with store.transaction() as tx:
            people.add(tx, "rea", "reviewer")
        site = Site(store, policy=Workspace.open(root).policy)
        site.clock.now = datetime.now(UTC)
        yield root, frame, site


def samples_of(rea):
    """Held samples: id -> its row as the reviewer sees it, and the label that its neighbours bear."""
    held = rea.get("members", state="all", limit=200).json()["members"]
    details = rea.get("details", ids=",".join(str(one["id"]) for one in held)).json()["samples"]
    return {one["id"]: (details[str(one["id"])]["position"], one["label"], details[str(one["id"])]["labels"][0]["label"]) for one in held}


def test_the_release_after_review_holds_exactly_what_was_accepted_released_and_relabelled(reviewed, capsys):
    root, frame, site = reviewed
    rea = site.person("rea")
    held = samples_of(rea)
    ids = sorted(held)
    dropped, released, relabelled, left = ids[:3], ids[3:5], ids[5:9], ids[9:]
    assert left
    assert rea.decide("drop", *dropped)["ok"]
    assert rea.decide("release", *released)["ok"]
    for number in relabelled:
        assert rea.decide("relabel", number, label=held[number][2])["ok"]
    wrong = rea.decide("release", left[0])  # taken back: as if it had never been
    assert rea.undo(wrong["event"])["ok"]
    with pytest.raises(SystemExit) as end:
        cli.main(["publish", "--workspace", str(root)])
    assert not end.value.code
    newest = Path(capsys.readouterr().out.strip())
    expected = frame.drop(index=[held[i][0] for i in ids])
    back = frame.loc[[held[i][0] for i in released]]
    corrected = frame.loc[[held[i][0] for i in relabelled]].assign(label=[held[i][2] for i in relabelled])
    with open_release(newest, trust=root / "trust") as release:
        got = rows(release.pandas())
    assert got == rows(table(300, seed=1)) + rows(expected) + rows(back) + rows(corrected)
    envelope = json.loads((newest / "provenance.intoto.json").read_text())
    told = json.loads(base64.b64decode(envelope["payload"]))["predicate"]["release"]
    assert told["samples"] == sum(got.values())
    assert {name: told["counts"][name] for name in ("held", "dropped", "released", "relabelled")} == {
        "held": len(left),
        "dropped": 3,
        "released": 2,
        "relabelled": 4,
    }
    assert told["counts"]["quarantined"] == len(ids)
    assert pipeline.gate(root) == str(newest)


def test_nothing_decided_nothing_new(reviewed):
    root, _, site = reviewed
    before = pipeline.publish(root)
    assert site.person("rea").get("start").json()["progress"]["left"] > 0
    assert pipeline.publish(root) == before
