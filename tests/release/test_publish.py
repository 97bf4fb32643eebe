from __future__ import annotations

import hashlib
import json
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from securesystemslib.signer import CryptoSigner
from sqlalchemy import select

from sanitizer.errors import Busy, StorageFailed, UsageError
from sanitizer.policy import Policy
from sanitizer.quarantine import decide, ls
from sanitizer.release import parts, publish
from sanitizer.release.gate import verify_release
from sanitizer.release.parts import accept, baseline
from sanitizer.samples import UnverifiedSamples
from sanitizer.store import Store, deliveries, releases
from sanitizer.store.tables import ledger
from tests.quarantine.build import make_samples, make_verdicts
from tests.release.build import NOW, POLICY, Line, Trust

LAYOUT = {
    "data/part-00000.parquet",
    "rows.sha256.parquet",
    "croissant.json",
    "provenance.intoto.json",
    "SHA256SUMS",
    "bom.cdx.json",
    "README.md",
}


def rows(release):
    return pa.concat_tables([pq.read_table(path) for path in sorted((release.path / "data").iterdir())]).to_pylist()


def decided(line, sample_id, action, **more):
    with line.store.transaction(now=NOW) as tx:
        ids = [held.id for held in ls(tx).samples if held.sample_id == sample_id]
        decide(tx, ids=ids, action=action, reviewer="rea", reason="looked at it", **more)


def test_a_release_holds_exactly_the_accepted_samples_in_the_promised_layout(line):
    samples = line.deliver(10, held={3: "outlier", 7: "label-flip"})
    release = line.publish()
    assert rows(release) == samples.take([0, 1, 2, 4, 5, 6, 8, 9]).table.to_pylist()
    assert {p.relative_to(release.path).as_posix() for p in release.path.rglob("*") if p.is_file()} == LAYOUT
    assert (release.version, release.samples, release.new) == (1, 8, True)
    assert release.path == line.directory / "toys" / "1"
    assert release.signature == line.directory / "toys" / "1.sig"
    assert (line.directory / "toys" / "latest").read_text() == "1\n"


def test_nothing_is_left_of_the_staging(line):
    line.deliver(3)
    line.publish()
    assert {path.name for path in (line.directory / "toys").iterdir()} == {"1", "1.sig", "latest", ".publishing"}


def test_sha256sum_accepts_the_release(line):
    line.deliver(3)
    release = line.publish()
    done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=release.path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == len(LAYOUT) - 1


def test_publishing_again_makes_no_new_version(line):
    line.deliver(4)
    first = line.publish()
    before = {path: path.stat().st_mtime_ns for path in line.directory.rglob("*") if path.name != ".publishing"}
    again = line.publish(now=NOW + timedelta(days=1))
    assert (again.version, again.digest, again.new) == (first.version, first.digest, False)
    assert {path: path.stat().st_mtime_ns for path in line.directory.rglob("*") if path.name != ".publishing"} == before


def test_another_policy_is_another_release(line):
    line.deliver(4)
    line.publish()
    assert line.publish(policy=Policy(dataset="toys", release={"licence": "CC0-1.0"})).version == 2


def test_releases_are_cumulative_and_parts_keep_their_bytes(line):
    line.deliver(4)
    first = line.publish()
    line.deliver(3, first=50)
    second = line.publish()
    assert second.samples == 7
    assert rows(second)[:4] == rows(first)
    assert (second.path / "data/part-00000.parquet").read_bytes() == (first.path / "data/part-00000.parquet").read_bytes()


def test_a_sample_that_comes_twice_is_there_once(line):
    line.deliver(6)
    line.deliver(9)
    release = line.publish()
    assert rows(release) == make_samples(9).table.to_pylist()


def test_exact_duplicates_within_a_delivery_stay_apart(line, monkeypatch):
    twice = make_samples(3).take([0, 1, 1, 2])
    monkeypatch.setattr("tests.release.build.make_samples", lambda n, first: twice)
    line.deliver(4, held={1: "outlier"})
    release = line.publish()
    assert rows(release) == twice.take([0, 2, 3]).table.to_pylist()


def test_a_sample_under_suspicion_leaves_until_a_person_decides(line):
    line.deliver(6)
    assert line.publish().samples == 6
    samples = line.deliver(6, held={2: "outlier"})
    assert line.publish().samples == 5
    decided(line, samples.sample_ids[2], "release")
    assert line.publish().samples == 6


def test_what_review_lets_in_comes_with_the_next_release(line):
    samples = line.deliver(6, held={1: "outlier", 2: "label-flip", 3: "outlier"})
    line.publish()
    decided(line, samples.sample_ids[1], "release")
    decided(line, samples.sample_ids[2], "relabel", label="cat")
    decided(line, samples.sample_ids[3], "drop")
    release = line.publish()
    expected = samples.take([0, 4, 5, 1, 2]).table.to_pylist()
    expected[-1]["label"] = "cat"
    assert rows(release) == expected
    counts = verify_release(release.path, Trust([line.signer.public_key]), now=NOW).statement["release"]["counts"]
    assert counts == {"delivered": 6, "accepted": 3, "quarantined": 3, "held": 0, "dropped": 1, "released": 1, "relabelled": 1}


def test_the_statement_tells_what_went_in(line):
    line.deliver(6, held={1: "outlier"})
    release = line.publish()
    found = verify_release(release.path, Trust([line.signer.public_key]), now=NOW)
    told = found.statement["release"]
    (material,) = found.statement["buildDefinition"]["resolvedDependencies"]
    assert material["digest"]["sha256"] == f"{1:064x}"
    assert material["annotations"]["counts"] == {"samples": 6, "accepted": 5, "quarantined": 1}
    assert material["annotations"]["detectors"] == {"outlier.knn": "1"}
    assert (told["dataset"], told["version"], told["samples"], told["published_by"]) == ("toys", 1, 5, "ops")
    assert "\n" in told["ledger"]
    assert told["previous"] == ""
    assert found.statement["buildDefinition"]["internalParameters"]["policy"] == POLICY.digest


def test_each_release_names_the_one_before(line):
    line.deliver(2)
    first = line.publish()
    line.deliver(2, first=10)
    second = verify_release(line.publish().path, Trust([line.signer.public_key]), now=NOW)
    assert second.statement["release"]["previous"] == first.digest


def test_the_rows_file_names_every_row_in_order(line):
    samples = line.deliver(5, held={0: "outlier"})
    more = line.deliver(2, first=70)
    release = line.publish()
    table = pq.read_table(release.path / "rows.sha256.parquet")
    names = [f"{row['row'].hex()}-{row['occurrence']}" for row in table.to_pylist()]
    assert names == samples.sample_ids[1:] + more.sample_ids
    assert table["part"].to_pylist() == [0] * 4 + [1] * 2


def test_state_and_ledger_know_the_release(line):
    line.deliver(2)
    release = line.publish()
    with line.store.reading() as view:
        state = releases.latest(view, "toys")
        kinds = list(view.execute(select(ledger.c.kind).where(ledger.c.kind.like("release.%")).order_by(ledger.c.index)).scalars())
        delivery = deliveries.get(view, line.parts[0].delivery)
    assert (state.version, state.digest, state.state) == (1, release.digest, "published")
    assert kinds == ["release.planned", "release.published"]
    assert delivery.state == "published"


def test_files_of_a_release_cannot_be_written(line):
    line.deliver(2)
    release = line.publish()
    assert {oct(path.stat().st_mode & 0o777) for path in [*release.path.rglob("*.*"), release.signature] if path.is_file()} == {"0o444"}


def test_nothing_accepted_is_nothing_to_publish(line):
    with pytest.raises(UsageError, match="nothing of toys was accepted yet"):
        line.publish()


def test_a_delivery_of_which_nothing_was_accepted_adds_no_file(line):
    line.deliver(3)
    line.deliver(2, first=9, held={0: "outlier", 1: "outlier"})
    assert [path.name for path in (line.publish().path / "data").iterdir()] == ["part-00000.parquet"]


def test_a_release_can_be_empty_but_keeps_its_columns(line):
    line.deliver(2, held={0: "outlier", 1: "outlier"})
    release = line.publish()
    assert rows(release) == []
    assert pq.read_schema(release.path / "data/part-00000.parquet").names == ["x", "pixels", "note", "label", "by"]


def test_a_key_that_cannot_sign_releases_is_named_before_anything_is_left(line):
    line.deliver(2)
    with pytest.raises(UsageError, match="ECDSA P-256"):
        line.publish(signer=CryptoSigner.generate_ed25519())
    assert not (line.directory / "toys" / "1").exists()
    assert line.publish().version == 1


def test_a_second_publisher_is_told_to_wait(line):
    line.deliver(2)
    with line.store.lock("publish toys"), pytest.raises(Busy, match="publish toys is in use"):
        line.publish()


def test_a_publisher_that_lost_the_race_leaves_the_winner_alone(line, monkeypatch):
    line.deliver(2)
    real = publish._stage

    def slow(staging, signature, what, signer):
        signed = real(staging, signature, what, signer)
        rival = staging.parent / "1"
        rival.mkdir()
        (rival / "SHA256SUMS").write_text("the winner's")
        return signed

    monkeypatch.setattr(publish, "_stage", slow)
    with pytest.raises(Busy, match="another publisher was faster"):
        line.publish()
    assert (line.directory / "toys" / "1" / "SHA256SUMS").read_text() == "the winner's"


def test_of_publishers_that_race_one_wins_and_the_others_are_told(line, tmp_path, ledger_signer):
    line.deliver(3)
    start = threading.Barrier(4)

    def race():
        with Store.open("sqlite:///state.db", tmp_path, ledger_signer=ledger_signer) as store:
            rival = Line(store, line.blobs, line.directory, line.signer, line.parts)
            start.wait()
            try:
                return rival.publish().new
            except Busy as error:
                return error.message

    with ThreadPoolExecutor(4) as pool:
        said = [future.result() for future in [pool.submit(race) for _ in range(4)]]
    assert said.count(True) == 1
    assert all(word is False or "is in use" in word for word in said if word is not True)
    assert {path.name for path in (line.directory / "toys").iterdir()} == {"1", "1.sig", "latest", ".publishing"}
    assert line.publish().new is False


def test_a_place_that_cannot_be_written_is_named(line):
    line.deliver(2)
    line.directory.write_text("a file")
    with pytest.raises(StorageFailed, match="cannot publish to"):
        line.publish()


@pytest.mark.parametrize("step", ["_stage", "_commit", "_mark", "point_latest"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_what_an_interrupted_publish_left_is_finished_or_cleared(line, monkeypatch, step, after):
    line.deliver(3)
    real = getattr(publish, step)

    def crash(*args):
        if after:
            real(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(publish, step, crash)
        line.publish()
    release = line.publish(now=NOW + timedelta(hours=1))
    assert release.version == 1
    assert verify_release(line.directory / "toys", Trust([line.signer.public_key]), now=NOW).hashed
    assert {path.name for path in (line.directory / "toys").iterdir()} == {"1", "1.sig", "latest", ".publishing"}
    with line.store.reading() as view:
        assert [state.state for state in releases.listed(view)] == ["published"]
        assert deliveries.get(view, line.parts[0].delivery).state == "published"


def test_a_version_is_never_given_twice_even_if_the_state_was_lost(line, tmp_path, signer):
    line.deliver(2)
    line.publish()
    with line.store.transaction() as tx:
        tx.execute(releases.table.delete())
    line.deliver(2, first=20)
    assert line.publish().version == 2


def test_unverified_samples_cannot_be_published(line):
    samples = make_samples(3)
    unverified = UnverifiedSamples(samples.table, samples.schema)
    with pytest.raises(UsageError, match="only samples read from a verified delivery"):
        give(line, unverified, make_verdicts(samples, {}))


def give(line, samples, verdicts, **more):
    return accept(
        samples,
        verdicts,
        delivery="sha256:" + "1" * 64,
        source="lab",
        sequence=1,
        level="L2",
        signers=(),
        policy=POLICY.digest,
        blobs=line.blobs,
        **more,
    )


def test_verdicts_must_be_those_of_the_samples(line):
    samples = make_samples(3)
    for other in (make_samples(4), make_samples(3, first=1)):
        with pytest.raises(UsageError, match="every sample needs exactly one"):
            give(line, samples, make_verdicts(other, {}))


def test_a_held_delivery_needs_the_name_of_who_lets_it_in(line):
    samples = make_samples(3)
    verdicts = make_verdicts(samples, {})
    object.__setattr__(verdicts, "held", True)
    object.__setattr__(verdicts, "held_reason", "it moved as a whole")
    with pytest.raises(UsageError, match="it moved as a whole"):
        give(line, samples, verdicts)
    assert give(line, samples, verdicts, lifted="rea: new camera, expected").rows == 3


def test_a_part_survives_its_json(line):
    line.deliver(3)
    digest = line.blobs.put_json(line.parts[0].to_json())
    assert parts.Part.from_json(line.blobs.read_json(digest)) == line.parts[0]


def test_a_baseline_says_who_vouched_for_it_and_why(line):
    samples = make_samples(3)
    data = "sha256:" + hashlib.sha256(b"file").hexdigest()
    unverified = UnverifiedSamples(samples.table, samples.schema)
    with pytest.raises(UsageError, match="a reason in words"):
        baseline(unverified, actor="ann", reason=" ", policy=POLICY.digest, blobs=line.blobs, data=data)
    line.parts.append(baseline(unverified, actor="ann", reason="in use since 2019", policy=POLICY.digest, blobs=line.blobs, data=data))
    release = line.publish()
    statement = verify_release(release.path, Trust([line.signer.public_key]), now=NOW).statement
    assert statement["buildDefinition"]["resolvedDependencies"][0]["annotations"]["asserted"] == "ann: in use since 2019"
    assert "Asserted, not proven, by ann: in use since 2019." in (release.path / "README.md").read_text()


def test_the_documents_are_whole_json_and_name_every_part(line):
    line.deliver(3)
    line.deliver(3, first=30)
    release = line.publish()
    croissant = json.loads((release.path / "croissant.json").read_bytes())
    bom = json.loads((release.path / "bom.cdx.json").read_bytes())
    named = {item["contentUrl"]: item["sha256"] for item in croissant["distribution"] if item["@type"] == "cr:FileObject"}
    real = {f"data/{p.name}": hashlib.sha256(p.read_bytes()).hexdigest() for p in (release.path / "data").iterdir()}
    assert named == real
    assert {c["name"]: c["hashes"][0]["content"] for c in bom["metadata"]["component"]["components"]}.items() >= real.items()


def test_text_from_suppliers_forms_nothing_in_the_card(line):
    line.deliver(2)
    hostile = "x|y](http://evil) <script>\x1b[31m\u202e`a`"
    object.__setattr__(line.parts[0], "source", hostile)
    card = (line.publish().path / "README.md").read_text()
    assert "<script" not in card
    assert "](http" not in card
    assert "\x1b" not in card
    assert "\u202e" not in card
