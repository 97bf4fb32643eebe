"""Where a sample came from and went to, through the command line: diff, trace, prove, bom, revoke, drill, doctor."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sanitizer import bootstrap, cli, pipeline
from sanitizer.provenance import keys
from sanitizer.release.gate import open_release
from sanitizer.store import deliveries, releases
from sanitizer.workspace import Workspace
from tests.line import found, place, signed, table


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two releases: the baseline, and one with a delivery of acme."""
    root = tmp_path_factory.mktemp("lineage") / "w"
    found(root)
    signed(root, place(root, "first"))
    (outcome,) = pipeline.run(root)
    assert outcome.state == "decided"
    return root


@pytest.fixture
def root(grown: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(grown, tmp_path / "w", symlinks=True))


class Said:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> dict:
        return json.loads(self.out)


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]):
    def run(*arguments: object) -> Said:
        with pytest.raises(SystemExit) as end:
            cli.main([str(a) for a in arguments])
        told = capsys.readouterr()
        assert "Traceback" not in told.out + told.err
        return Said(int(end.value.code or 0), told.out, told.err)

    return run


def release(root: Path, version: int) -> Path:
    return root / "releases/toy" / str(version)


def samples_of(root: Path, version: int) -> list[str]:
    with open_release(release(root, version), trust=root / "trust") as opened:
        return opened.samples().sample_ids


def states(root: Path) -> dict[str, str]:
    with Workspace.open(root).store() as store, store.reading() as view:
        return {d.path: d.state for d in deliveries.listed(view)}


# --- diff ---


def test_diff_finds_what_changed_in_any_row_order(tmp_path: Path, say) -> None:
    before = table(60, seed=3)
    after = before.sample(frac=1, random_state=1)
    flipped = after.index[:4]
    after.loc[flipped, "label"] = after.loc[flipped, "label"].map({"yes": "no", "no": "yes"})
    before.to_csv(tmp_path / "a.csv", index=False)
    after.iloc[:-2].to_csv(tmp_path / "b.csv", index=False)
    told = say("diff", tmp_path / "a.csv", tmp_path / "b.csv", "--label", "label", "--format", "json")
    assert told.code == 1
    assert told.json["counts"] == {"added": 0, "removed": 2, "changed": 0, "relabelled": 4, "same": 54}
    assert len(told.json["samples"]["relabelled"]) == 4
    same = say("diff", tmp_path / "a.csv", tmp_path / "a.csv", "--label", "label")
    assert (same.code, "same: 60" in same.out) == (0, True)


def test_diff_of_two_releases_verifies_both(root: Path, say) -> None:
    told = say("diff", release(root, 1), release(root, 2), "--trust", root / "trust", "--format", "json")
    assert told.code == 1
    assert told.json["counts"]["added"] > 100
    assert told.json["counts"]["removed"] == 0
    assert say("diff", release(root, 1), release(root, 2)).code == 3  # no trust root, no answer


def test_diff_of_nothing_is_a_usage_error(tmp_path: Path, say) -> None:
    told = say("diff", tmp_path / "a.csv", tmp_path / "b.csv")
    assert (told.code, len(told.err.splitlines())) == (2, 1)


# --- trace and prove ---


def test_a_sample_is_traced_to_its_delivery_and_its_releases(root: Path, say) -> None:
    new = (set(samples_of(root, 2)) - set(samples_of(root, 1))).pop()
    told = say("trace", new, "-w", root, "--format", "json").json
    assert [h["version"] for h in told["releases"]] == [2]
    assert [d["path"] for d in told["deliveries"]] == ["acme/first"]
    old = samples_of(root, 1)[0]
    assert [h["version"] for h in say("trace", old, "-w", root, "--format", "json").json["releases"]] == [1, 2]


@pytest.mark.parametrize("name", ["acme", "acme/first"])
def test_a_source_and_a_delivery_are_traced(name: str, root: Path, say) -> None:
    told = say("trace", name, "-w", root, "--format", "json").json
    assert [h["version"] for h in told["releases"]] == [2]
    assert told["releases"][0]["samples"] > 100


def test_a_key_is_traced(root: Path, say) -> None:
    keyid = keys.public_key(root / "keys/acme.pub.pem").keyid
    told = say("trace", keyid, "-w", root, "--format", "json").json
    assert (told["kind"], [h["version"] for h in told["releases"]]) == ("key", [2])


@pytest.mark.parametrize("name", ["nobody", "0" * 64, "../x"])
def test_a_name_that_nobody_knows_is_a_usage_error(name: str, root: Path, say) -> None:
    told = say("trace", name, "-w", root)
    assert (told.code, len(told.err.splitlines())) == (2, 1)


def test_a_proof_is_checked_without_the_release(root: Path, tmp_path: Path, say) -> None:
    sample = samples_of(root, 2)[7]
    proof = tmp_path / "proof.json"
    assert say("prove", sample, "-w", root, "--to", proof).code == 0
    shutil.rmtree(root / "releases")
    told = say("prove", "--check", proof, "--trust", root / "trust", "--format", "json")
    assert (told.code, told.json["sample"], told.json["row"], told.json["version"]) == (0, sample, 7, 2)


@pytest.mark.parametrize("change", ["sample", "statement", "path", "row"])
def test_a_proof_that_was_changed_is_refused(change: str, root: Path, tmp_path: Path, say) -> None:
    first, second = samples_of(root, 2)[:2]
    made = say("prove", first, "-w", root, "--format", "json").json
    del made["ok"]
    if change == "sample":
        made["sample"] = second
    elif change == "statement":
        made["statement"] = made["statement"][:-8] + "AAAAAAA="
    elif change == "path":
        made["proof"]["block"] = made["proof"]["block"].replace(second[:64], "00" * 32)
    else:
        made["proof"]["row"] = 1
    (tmp_path / "p.json").write_text(json.dumps(made))
    assert say("prove", "--check", tmp_path / "p.json", "--trust", root / "trust").code == 3


def test_there_is_no_proof_of_what_is_not_there(root: Path, say) -> None:
    assert say("prove", "ab" * 32, "-w", root).code == 2
    assert say("prove", "-w", root).code == 2


def test_the_bill_of_materials_is_that_of_a_verified_release(root: Path, say) -> None:
    told = say("bom", "-w", root)
    assert (told.code, json.loads(told.out)["bomFormat"]) == (0, "CycloneDX")
    path = release(root, 2) / "bom.cdx.json"
    path.chmod(0o644)
    path.write_text("{}")
    assert say("bom", "-w", root).code == 3


# --- recall ---


def test_a_revoked_source_closes_the_gate_and_the_next_release_lacks_it(root: Path, say) -> None:
    assert say("gate", release(root, 2), "--trust", root / "trust").code == 0
    told = say("revoke", "source", "acme", "--reason", "bought labels", "-w", root, "--format", "json")
    assert (told.code, told.json["releases"]) == (0, [2])
    closed = say("gate", release(root, 2), "--trust", root / "trust", "--format", "json")
    assert (closed.code, closed.json["code"]) == (3, "revoked_key")
    assert "bought labels" in closed.json["message"]
    assert say("trace", "acme", "-w", root, "--format", "json").json["releases"][0]["revoked"]
    assert say("publish", "-w", root).code == 0
    assert say("gate", release(root, 3), "--trust", root / "trust").code == 0
    assert set(samples_of(root, 3)) == set(samples_of(root, 1))


@pytest.mark.slow
def test_a_recall_does_not_fall_upon_the_next_delivery(root: Path, say) -> None:
    gone = set(samples_of(root, 2)) - set(samples_of(root, 1))
    assert say("revoke", "delivery", "acme/first", "--reason", "wrong file", "-w", root).code == 0
    signed(root, place(root, "next", table(120, seed=9), source="bolt"), source="bolt")
    assert say("run", "-w", root).code in (0, 4)
    assert states(root)["bolt/next"] == "published"
    assert gone
    assert not gone & set(samples_of(root, 4))


def test_a_release_is_revoked_by_its_number(root: Path, say) -> None:
    assert say("revoke", "release", "2", "--reason", "wrong split", "-w", root, "--format", "json").json["releases"] == [2]
    assert say("gate", release(root, 2), "--trust", root / "trust").code == 3
    assert say("gate", release(root, 1), "--trust", root / "trust").code == 0
    assert say("revoke", "release", "9", "--reason", "x", "-w", root).code == 2


def test_a_stolen_release_key_is_replaced_and_the_same_rows_are_signed_anew(root: Path, say) -> None:
    keys.new_key(root / "keys/release-2.pem", "ecdsa")
    stolen = keys.public_key(root / "keys/release.pub.pem").keyid
    assert say("trust", "rotate", "release", "--add", root / "keys/release-2.pub.pem", "-w", root).code == 0
    assert say("revoke", "key", stolen, "--reason", "stolen", "-w", root).code == 0
    closed = say("gate", release(root, 2), "--trust", root / "trust", "--format", "json")
    assert (closed.code, closed.json["code"]) == (3, "revoked_key")
    (root / "keys/release-2.pem").replace(root / "keys/release.pem")
    assert say("publish", "-w", root).code == 0
    assert say("gate", root / "releases/toy", "--trust", root / "trust").code == 0
    with Workspace.open(root).store() as store, store.reading() as view:
        assert releases.latest(view, "toy").version == 3


# --- the policy ---


def test_an_edited_policy_counts_only_once_its_owners_signed_it(root: Path, say) -> None:
    policy = root / "sanitizer.toml"
    policy.write_text(policy.read_text().replace('least_level = "L2"', 'least_level = "L0"'))
    place(root, "unsigned", table(50, seed=4))
    told = say("run", "acme/unsigned", "-w", root, "--format", "json")
    assert (told.code, told.json["deliveries"][0]["code"]) == (3, "digest_mismatch")
    assert say("publish", "-w", root).code == 3
    assert say("trust", "sign-policy", "-w", root).code == 0
    assert say("run", "-w", root).code == 4  # L0: a person must look


def test_relabelled_samples_beyond_the_budget_hold_the_delivery(root: Path, say) -> None:
    known = table(300, seed=1).iloc[:100]
    flipped = known.copy()
    flipped.loc[:4, "label"] = flipped.loc[:4, "label"].map({"yes": "no", "no": "yes"})
    signed(root, place(root, "again", known), sequence=2)
    signed(root, place(root, "relabelled", flipped), sequence=3)
    told = say("run", "-w", root, "--format", "json")
    assert told.code == 4
    assert {d["delivery"]: d.get("code") for d in told.json["deliveries"]} == {"acme/again": None, "acme/relabelled": "relabel_budget"}
    assert say("quarantine", "lift", "acme/relabelled", "--reviewer", "ada", "--reason", "looked", "-w", root).code == 0


@pytest.mark.slow
def test_what_was_pinned_and_drifted_is_held_with_what_changed(root: Path, say) -> None:
    policy = root / "sanitizer.toml"
    policy.write_text(policy.read_text().replace('least_level = "L2"', 'least_level = "L0"'))
    bootstrap.sign_policy(root)
    folder = place(root, "crawl", table(50, seed=4))
    assert say("run", "acme/crawl", "-w", root).code == 4
    rows = (folder / "rows.csv").read_text().splitlines()
    (folder / "rows.csv").write_text("\r\n".join([rows[0], *rows[:0:-1]]) + "\r\n")
    told = say("run", "acme/crawl", "-w", root, "--format", "json").json["deliveries"][0]
    assert told["code"] == "changed_since_pinned"
    assert "the same 50 samples, only written otherwise" in told["message"]
    table(50, seed=5).to_csv(folder / "rows.csv", index=False)
    told = say("run", "acme/crawl", "-w", root, "--format", "json").json["deliveries"][0]
    assert "other samples: 50 added, 50 removed" in told["message"]
    (folder / "rows.csv").write_bytes(b"\xff\xfe\0")
    told = say("run", "acme/crawl", "-w", root, "--format", "json").json["deliveries"][0]
    assert (told["code"], "cannot be compared" in told["message"]) == ("changed_since_pinned", True)
    table(50, seed=5).to_csv(folder / "rows.csv", index=False)
    again = say("run", "acme/crawl", "-w", root)
    assert again.code == 4
    moved = say("quarantine", "lift", "acme/crawl", "--reviewer", "ada", "--reason", "the page was updated", "-w", root)
    assert (moved.code, "level L0" in moved.err) == (4, True)  # the new content still needs a look of its own
    assert say("quarantine", "lift", "acme/crawl", "--reviewer", "ada", "--reason", "looked", "-w", root).code == 0


# --- the ledger ---


def test_a_ledger_cut_together_with_its_checkpoints_disagrees_with_the_releases(root: Path, say) -> None:
    import sqlite3  # noqa: PLC0415

    assert say("audit", "verify", "-w", root).code == 0
    older = root.parent / "older.db"
    with sqlite3.connect(older) as copy, sqlite3.connect(root / "state.db") as state:
        state.backup(copy)
    signed(root, place(root, "second", table(120, seed=8)), sequence=2)
    assert say("run", "-w", root).code in (0, 4)
    older.replace(root / "state.db")
    for suffix in ("-wal", "-shm"):
        (root / f"state.db{suffix}").unlink(missing_ok=True)
    told = say("audit", "verify", "-w", root, "--format", "json")
    assert (told.code, told.json["code"]) == (3, "ledger_broken")


# --- suppliers who sign their rows, drills, doctor, trust roots ---


@pytest.mark.slow
def test_a_supplier_signs_the_rows_as_they_are_read(root: Path, say) -> None:
    folder = place(root, "rows", table(80, seed=7))
    key = f"file:{root / 'keys/acme.pem'}"
    assert say("deliver", folder, "--source", "acme", "--key", key, "--schema", root / "schema.json").code == 0
    shown = say("verify", folder, "--trust", root / "trust", "--format", "json").json
    assert shown["rows_root"].startswith("sha256:")
    assert say("run", "-w", root).code in (0, 4)
    assert states(root)["acme/rows"] == "published"


def test_a_drill_tells_what_would_have_been_caught(root: Path, say) -> None:
    told = say("drill", "-w", root, "--family", "random_flip", "--rate", "0.1", "--format", "json")
    assert told.code == 0
    found = told.json["attacks"]["random_flip"]
    assert found["planted"] > 0
    assert 0 <= found["recall"] <= 1
    assert say("drill", "-w", root, "--family", "no_such_attack").code == 2


def test_the_doctor_finds_what_is_wrong(root: Path, say) -> None:
    well = say("doctor", "-w", root, "--format", "json")
    assert (well.code, well.json["ok"]) == (0, True), well.out
    (root / "keys/acme.pem").chmod(0o644)
    ill = say("doctor", "-w", root)
    assert ill.code == 2
    assert "error    keys/acme.pem" in ill.out


def test_a_trust_root_is_made_and_linted_outside_a_workspace(tmp_path: Path, say) -> None:
    for name, scheme in (("owner", "ed25519"), ("release", "ecdsa")):
        assert say("keys", "new", name, "--type", scheme, "--into", tmp_path).code == 0
    owner = ("--owner", f"file:{tmp_path / 'owner.pem'}")
    assert say("trust", "init", tmp_path / "t", *owner, "--release", tmp_path / "release.pub.pem").code == 0
    assert say("trust", "lint", tmp_path / "t").code == 0
    assert say("trust", "show", tmp_path / "t", "--format", "json").json["sources"] == {}
    assert say("trust", "init", tmp_path / "u", *owner, "--threshold", 2, "--release", tmp_path / "release.pub.pem").code == 2
    (tmp_path / "t" / "timestamp.json").write_text("{")
    assert say("trust", "lint", tmp_path / "t", "--format", "json").json["ok"] is False
