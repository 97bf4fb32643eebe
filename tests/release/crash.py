"""A small line that is killed, or whose disk fails, at a chosen step; and what must hold whenever one looks.

Run as a script it loads everything once and forks a process for each trial: `python crash.py PLACE MODE [ARGUMENTS]`.
"""

from __future__ import annotations

import errno
import json
import os
import random
import select
import signal
import sqlite3
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from securesystemslib.signer import CryptoSigner
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from sanitizer.errors import StorageFailed
from sanitizer.policy import Policy
from sanitizer.provenance import keys
from sanitizer.provenance.blobs import BlobStore
from sanitizer.quarantine import audit as audit_quarantine
from sanitizer.quarantine import decide, hold, ls, outcome
from sanitizer.release.gate import verify_with_keys
from sanitizer.release.parts import Part, accept
from sanitizer.release.publish import publish
from sanitizer.store import Store, audit, deliveries, releases
from tests.quarantine.build import make_samples, make_verdicts

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
POLICY = Policy(dataset="toys")
SIGNER, LEDGER = CryptoSigner.generate_ecdsa(), CryptoSigner.generate_ed25519()
# number -> samples, first, held; the second repeats one sample of the first
DELIVERIES = {1: (8, 0, {2: "outlier", 5: "label-flip"}), 2: (6, 7, {3: "outlier"})}
_write = os.write  # for ourselves: the others are counted
STEPS = ("open", "fsync", "rename", "replace", "link", "unlink", "mkdir", "write", "fchmod")


def digest_of(number):
    return f"sha256:{number:064x}"


def open_store(place):
    return Store.open("sqlite:///state.db", place, ledger_signer=LEDGER)


def work(place):
    """The whole line, which goes on where it was interrupted."""
    blobs = BlobStore(place / "blobs")
    with open_store(place) as store:
        for number, (n, first, held) in DELIVERIES.items():
            _judge(store, blobs, number, n, first, held)
            _publish(store, blobs, place)
        with store.transaction(now=NOW) as tx:
            waiting = [sample.id for sample in ls(tx, state="held").samples if sample.cause == "label-flip"]
            if waiting:
                decide(tx, ids=waiting, action="relabel", label="dog", reviewer="rea", reason="looked at it")
        _publish(store, blobs, place)


def _judge(store, blobs, number, n, first, held):
    digest, samples = digest_of(number), make_samples(n, first=first)
    verdicts = make_verdicts(samples, held)
    with store.transaction(now=NOW) as tx:
        state = deliveries.receive(
            tx, digest, dataset="toys", source="lab", path=f"lab/{number}", fingerprint=digest, sequence=number
        ).state
    for step in ("verified", "screened"):
        if state == "received" or (state, step) == ("verified", "screened"):
            with store.transaction(now=NOW) as tx:
                state = deliveries.advance(tx, digest, step).state
    if state == "screened":
        part = accept(
            samples,
            verdicts,
            delivery=digest,
            source="lab",
            sequence=number,
            level="L2",
            signers=("k",),
            policy=POLICY.digest,
            blobs=blobs,
        )
        kept = blobs.put_json(part.to_json())
        with store.transaction(now=NOW) as tx:
            hold(tx, samples, verdicts, digest)
            deliveries.advance(tx, digest, "decided", artefacts={"part": kept})


def _publish(store, blobs, place):
    with store.reading() as view:
        accepted = deliveries.listed(view, dataset="toys", states=("decided", "published"))
        review = outcome(view, "toys")
    publish(
        store,
        blobs,
        place / "releases",
        parts=[Part.from_json(blobs.read_json(d.artefacts["part"])) for d in accepted],
        policy=POLICY,
        signer=SIGNER,
        back=review.back,
        back_ids=review.back_ids,
        excluded=review.excluded,
        review=review.counts,
        now=NOW,
    )


def whole(place):
    """What must hold at every look; returns the sample ids of each release."""
    home = place / "releases" / "toys"
    contents = {}
    for entry in sorted(home.iterdir()) if home.exists() else []:
        if entry.name.isdecimal():
            found = verify_with_keys(entry, [SIGNER.public_key])
            rows = pq.read_table(pa.BufferReader(found.read("rows.sha256.parquet")))
            names = [f"{row['row'].hex()}-{row['occurrence']}" for row in rows.to_pylist()]
            assert len(set(names)) == len(names) == found.samples, "a sample is twice in a release"
            contents[found.version] = set(names)
    assert sorted(contents) == list(range(1, len(contents) + 1)), f"versions {sorted(contents)}"
    if (home / "latest").exists():
        assert int((home / "latest").read_text()) in contents
    if (place / "state.db").exists():
        with open_store(place) as store:
            audit(store, [LEDGER.public_key])
            with store.reading() as view:
                audit_quarantine(view)
                published = {r.version for r in releases.listed(view) if r.state == "published"}
                assert published <= set(contents), "the state knows a release that is not there"
                if published:
                    held = {sample.sample_id for sample in ls(view, state="held", limit=100).samples}
                    # the newest release may be older than the newest verdict; a published one never holds what was suspicious then
                    if all(d.state == "published" for d in deliveries.listed(view)):
                        assert not held & contents[max(published)], "a held sample is in the newest release"
    return contents


def finished(place):
    """What an undisturbed run leaves."""
    contents = whole(place)
    with open_store(place) as store, store.reading() as view:
        assert [d.state for d in deliveries.listed(view)] == ["published"] * len(DELIVERIES)
        newest = releases.latest(view, "toys")
        review = outcome(view, "toys")
    first, second = make_samples(8).sample_ids, make_samples(6, first=7).sample_ids
    expected = (set(first) | set(second)) - {first[2], first[5], second[3]}
    assert newest.version == len(contents)
    assert contents[newest.version] == expected | set(review.back_ids)
    assert not list((place / "releases" / "toys").glob(".staging*"))
    return sorted(map(len, contents.values()))


# --- disturbing ----------------------------------------------------------------------------------------------------


class Counter:
    """Calls `act` at the n-th step that changes the disk, with the kind of step."""

    def __init__(self, n, act):
        self.n, self.act, self.seen = n, act, 0

    def step(self, kind):
        self.seen += 1
        if self.seen == self.n:
            self.act(kind)

    def watch(self):
        for name in STEPS:
            setattr(os, name, self._wrapped(name, getattr(os, name)))
        event.listen(Engine, "commit", lambda _: self.step("commit"))

    def _wrapped(self, name, real):
        def call(*args, **more):
            writes = name != "open" or (len(args) > 1 and args[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            if writes:
                self.step(name)
            return real(*args, **more)

        return call


def die(_):
    os.kill(os.getpid(), signal.SIGKILL)


def fail(kind):
    if kind == "commit":
        raise OperationalError("COMMIT", {}, sqlite3.OperationalError("database or disk is full"))
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def in_child(function, *, delay=None):
    """Runs `function` in a fork; returns what it returned, or None when it was killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        code = 0
        try:
            answer = function()
        except BaseException:  # noqa: BLE001 (whatever it was, the parent reports it)
            answer, code = traceback.format_exc(), 1
        _write(writer, json.dumps(answer).encode())
        os._exit(code)
    os.close(writer)
    if delay is not None and not select.select([reader], [], [], delay)[0]:
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == -signal.SIGKILL:
        return None
    if code != 0:
        raise SystemExit(json.loads(said))
    return json.loads(said)


def disturbed(place, n, act):
    counter = Counter(n, act)
    counter.watch()
    try:
        work(place)
    except StorageFailed:
        return -1
    return counter.seen


def kill_at_every_step(place, stride, offset):
    """Kills once at each step, then lets the line finish."""
    kills, n = 0, 1 + offset
    while True:
        here = place / f"step{n}"
        here.mkdir()
        seen = in_child(lambda here=here, n=n: disturbed(here, n, die))
        in_child(lambda here=here: whole(here) and None)
        if seen is not None:
            return {"kills": kills, "steps": seen}
        kills += 1
        in_child(lambda here=here: work(here))
        in_child(lambda here=here: finished(here))
        n += stride


def fail_at_every_step(place, stride, offset):
    """Lets the disk be full once at each step: our own error, nothing lost, then the line finishes."""
    failures, n = 0, 1 + offset
    while True:
        here = place / f"step{n}"
        here.mkdir()
        seen = in_child(lambda here=here, n=n: disturbed(here, n, fail))
        in_child(lambda here=here: whole(here) and None)
        failures += seen == -1
        in_child(lambda here=here: work(here))
        in_child(lambda here=here: finished(here))
        if seen != -1 and seen < n:
            return {"failures": failures, "steps": seen}
        n += stride


def kill_at_random(place, kills, seed):
    """Kills at random instants and starts again, over and over, looking after each kill."""
    chance = random.Random(seed)
    done = trial = 0
    while done < kills:
        trial += 1
        here = place / f"trial{trial}"
        here.mkdir()
        while True:
            ended = in_child(lambda here=here: work(here) or "done", delay=chance.uniform(0.005, 0.4))
            in_child(lambda here=here: whole(here) and None)
            if ended:
                break
            done += 1
        in_child(lambda here=here: finished(here))
    return {"kills": done, "trials": trial}


MODES = {"steps": kill_at_every_step, "full": fail_at_every_step, "random": kill_at_random}

if __name__ == "__main__":
    assert keys.material(SIGNER.public_key) != keys.material(LEDGER.public_key)
    mode, place, first, second = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    sys.stdout.write(json.dumps(MODES[mode](place, first, second)))
