"""The whole line on a small table: what comes in well goes out signed, what is bad stops by itself, and nothing is lost."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from sanitizer import bootstrap, overview, pipeline
from sanitizer.detectors import Evidence, SourceFinding
from sanitizer.errors import SanitizerError
from sanitizer.features import Features
from sanitizer.release.gate import open_release, verify_release
from sanitizer.store import deliveries
from sanitizer.store.ledger import entries
from sanitizer.workspace import Workspace
from tests.line import found, place, signed, table


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("workspace") / "w"
    found(root)
    return root


@pytest.fixture
def root(founded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(founded, tmp_path / "w"))


def states(root: Path) -> dict[str, tuple[str, str]]:
    ws = Workspace.open(root)
    with ws.store() as store, store.reading() as view:
        return {d.path: (d.state, d.code) for d in deliveries.listed(view, dataset="toy")}


def ledger(root: Path) -> list[tuple[str, str]]:
    ws = Workspace.open(root)
    with ws.store() as store, store.reading() as view:
        return [(e.kind, e.facts.get("code", "")) for e in entries(view)]


def test_an_honest_delivery_becomes_part_of_the_next_release_and_again_is_a_no_op(root: Path) -> None:
    signed(root, place(root, "first"))
    (outcome,) = pipeline.run(root)
    assert outcome.error is None
    newest = Path(pipeline.gate(root))
    assert newest.name == "2"
    with open_release(newest, trust=root / "trust") as release:
        assert len(release.pandas()) == 300 + 120 - outcome.quarantined
    before = sorted((p, p.stat().st_mtime_ns) for p in (root / "releases").rglob("*") if p.is_file())
    assert pipeline.run(root) == []
    (again,) = pipeline.run(root, ["acme/first"])
    assert (again.state, again.exit_code) == ("published", 0)
    assert before == sorted((p, p.stat().st_mtime_ns) for p in (root / "releases").rglob("*") if p.is_file())


def test_an_incomplete_delivery_waits_and_is_named(root: Path) -> None:
    place(root, "half")
    assert pipeline.run(root) == []
    assert overview.summary_facts(root)["incomplete"] == ["acme/half"]


def flip_a_byte(folder: Path, _: Path) -> None:
    data = bytearray((folder / "rows.csv").read_bytes())
    data[-3] ^= 1
    (folder / "rows.csv").write_bytes(data)


def sign_anew(**terms: object) -> Callable[[Path, Path], None]:
    def tamper(folder: Path, root: Path) -> None:
        (folder / "delivery.dsse.json").unlink()
        signed(root, folder, **terms)  # type: ignore[arg-type]

    return tamper


def cut_signatures(folder: Path, _: Path) -> None:
    envelope = json.loads((folder / "delivery.dsse.json").read_bytes())
    envelope["signatures"] = []
    (folder / "delivery.dsse.json").write_text(json.dumps(envelope))


REFUSED: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "one byte flipped": (flip_a_byte, "digest_mismatch"),
    "a file cut short": (lambda f, _: (f / "rows.csv").write_bytes((f / "rows.csv").read_bytes()[:-9]), "length_mismatch"),
    "a file added": (lambda f, _: (f / "more.csv").write_text("a,b\n1,2\n"), "unlisted_file"),
    "a file removed": (lambda f, _: (f / "rows.csv").unlink(), "missing_file"),
    "signed by another supplier's key": (sign_anew(key="bolt"), "untrusted_signer"),
    "signed for another source": (sign_anew(source="bolt", key="acme"), "untrusted_signer"),
    "no signature left": (cut_signatures, "unsigned"),
    "a link": (
        lambda f, _: (f / "rows.csv").rename(f.parent / "x.csv") and (f / "rows.csv").symlink_to(f.parent / "x.csv"),
        "not_regular_file",
    ),
    "expired": (sign_anew(ago=timedelta(days=31)), "expired"),
}


@pytest.mark.parametrize(("tamper", "code"), REFUSED.values(), ids=REFUSED)
def test_a_bad_delivery_is_refused_once_with_its_reason_and_nothing_else_suffers(
    tamper: Callable[[Path, Path], None], code: str, root: Path
) -> None:
    folder = signed(root, place(root, "bad"))
    tamper(folder, root)
    signed(root, place(root, "good", table(120, seed=8), source="bolt"), source="bolt")
    outcomes = {o.delivery: o for o in pipeline.run(root)}
    bad = outcomes["acme/bad"].error
    assert bad is not None
    assert (bad.code, outcomes["acme/bad"].exit_code) == (code, 3)
    assert "\n" not in bad.message
    assert outcomes["bolt/good"].error is None
    assert states(root)["acme/bad"] == ("refused", code)
    assert ("delivery.refused", code) in ledger(root)
    assert folder.exists()
    assert pipeline.pull(root) == []


def test_an_older_delivery_of_the_same_source_is_a_replay(root: Path) -> None:
    signed(root, place(root, "second"), sequence=2)
    pipeline.run(root)
    signed(root, place(root, "first", table(50, seed=5)), sequence=1)
    (outcome,) = pipeline.run(root)
    assert outcome.error is not None
    assert outcome.error.code == "replayed"


def test_a_repaired_delivery_is_judged_anew(root: Path) -> None:
    folder = signed(root, place(root, "first"))
    good = (folder / "rows.csv").read_bytes()
    flip_a_byte(folder, root)
    assert pipeline.run(root)[0].state == "refused"
    (folder / "rows.csv").write_bytes(good)
    assert pipeline.run(root)[0].state == "decided"


UNREADABLE: dict[str, tuple[bytes, str, int]] = {
    "ragged rows": (b"f0,f1,f2,f3,colour,label\n1,2,3,4,red,yes\n1,2\n", "ambiguous_data", 3),
    "a column twice": (b"f0,f0,f2,f3,colour,label\n1,2,3,4,red,yes\n", "ambiguous_data", 3),
    "not UTF-8": (b"f0,f1,f2,f3,colour,label\n1,2,3,4,r\xffd,yes\n", "ambiguous_data", 3),
    "a pickle": (b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07builtins\x94.", "format_not_allowed", 3),
    "a missing label column": (b"f0,f1,f2,f3,colour\n1,2,3,4,red\n", "schema_mismatch", 4),
    "words where numbers belong": (b"f0,f1,f2,f3,colour,label\none,2,3,4,red,yes\n", "schema_mismatch", 4),
}


@pytest.mark.parametrize(("data", "code", "exit_code"), UNREADABLE.values(), ids=UNREADABLE)
def test_data_that_cannot_be_read_in_one_way_stops_with_one_line(data: bytes, code: str, exit_code: int, root: Path) -> None:
    folder = place(root, "odd")
    (folder / "rows.csv").write_bytes(data)
    signed(root, folder)
    (outcome,) = pipeline.run(root)
    assert outcome.error is not None
    assert (outcome.error.code, outcome.exit_code) == (code, exit_code)
    assert states(root)["acme/odd"][1] == code


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_a_delivery_of_hardly_any_rows_goes_through(rows: int, root: Path) -> None:
    signed(root, place(root, "tiny", table(rows, seed=3)))
    (outcome,) = pipeline.run(root)
    assert outcome.error is None


@pytest.mark.parametrize(
    "frame",
    [table(80, seed=4).assign(label="yes"), table(80, seed=4).assign(f1=None), table(80, seed=4).assign(f2=7.0, colour="red")],
    ids=["a constant label", "an empty column", "constant columns"],
)
def test_dull_columns_do_not_stop_the_line(frame: pd.DataFrame, root: Path) -> None:
    signed(root, place(root, "dull", frame))
    (outcome,) = pipeline.run(root)
    assert outcome.error is None or outcome.error.exit_code == 4


def test_a_full_disk_loses_nothing_and_the_next_run_goes_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signed(root, place(root, "first"))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        outcomes = pipeline.run(root)
    assert [o.exit_code for o in outcomes] == [5]
    assert isinstance(outcomes[0].error, SanitizerError)
    assert pipeline.run(root)[0].error is None
    verify_release(root / "releases/toy", root / "trust")


def test_a_person_lets_in_or_refuses_a_delivery_that_was_held_as_a_whole(root: Path) -> None:
    suite = {"name": "toy", "expectations": [{"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 100}}]}
    (root / "suite.json").write_text(json.dumps(suite))
    policy = (root / "sanitizer.toml").read_text().replace("[expectations]", '[expectations]\nsuite = "suite.json"')
    (root / "sanitizer.toml").write_text(policy)
    bootstrap.sign_policy(root)
    signed(root, place(root, "short", table(40, seed=6)))
    signed(root, place(root, "shorter", table(30, seed=7)), sequence=2)
    assert [(o.state, o.exit_code) for o in pipeline.run(root)] == [("held", 4), ("held", 4)]
    assert pipeline.pull(root) == []
    with pytest.raises(SanitizerError, match="somebody else must decide"):
        pipeline.lift(root, "acme/short", reviewer="acme", reason="mine")
    pipeline.lift(root, "acme/short", reviewer="ann", reason="the supplier told us")
    pipeline.refuse(root, "acme/shorter", reviewer="ann", reason="nobody knows why")
    assert states(root)["acme/short"][0] == "decided"
    assert states(root)["acme/shorter"] == ("refused", "refused")
    assert Path(pipeline.publish(root)).name == "2"


def test_a_copy_offered_by_somebody_else_first_does_not_block_the_true_delivery(root: Path) -> None:
    true = signed(root, place(root, "true", source="bolt"), source="bolt")
    shutil.copytree(true, root / "inbox/acme/stolen")
    outcomes = {o.delivery: o for o in pipeline.run(root)}
    assert outcomes["acme/stolen"].exit_code == 3
    assert outcomes["bolt/true"].error is None
    told = [kind for kind, _ in ledger(root) if kind in ("delivery.refused", "delivery.published")]
    assert told[-2:] == ["delivery.refused", "delivery.published"]


class Accuser:
    """A witness of the user's own, who mistrusts one annotator."""

    name = "accuser"
    kind = "group"

    def testify(self, features: Features) -> Evidence:
        return Evidence(self.name, "group", "source", sources=(SourceFinding("w7", accused=True, suspicious=5, p_value=0.001),))


def test_what_an_accused_annotator_brings_next_waits_for_a_person(tmp_path: Path) -> None:
    root = tmp_path / "w"
    found(root, annotated=True, detect=f'extra = ["{__name__}:Accuser"]')
    crowd = table(120, seed=5).assign(by=["w1", "w7"] * 60)
    signed(root, place(root, "first", crowd))
    (outcome,) = pipeline.run(root)
    assert outcome.state == "decided", outcome.error
    signed(root, place(root, "second", table(120, seed=6).assign(by="w1")), sequence=2)
    signed(root, place(root, "third", crowd.assign(f0=crowd["f0"] + 0.01)), sequence=3)
    second, third = pipeline.run(root)
    assert second.state == "decided"
    assert (third.state, third.error and third.error.code) == ("held", "too_suspicious")
    assert "holds rows of w7, accused in acme/first" in str(third.error)
    pipeline.lift(root, "acme/third", reviewer="ada", reason="w7 was trained anew")
    assert states(root)["acme/third"][0] == "decided"
