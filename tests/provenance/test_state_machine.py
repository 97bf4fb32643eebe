"""Owners add, rotate, revoke and renew, suppliers deliver, time passes, an attacker offers old things again: in any order the
receiver decides as a small model does that knows nothing of signatures or files."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import hypothesis.strategies as st
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from sanitizer.errors import SanitizerError, UsageError
from sanitizer.provenance import trust_edit
from sanitizer.provenance.delivery import Delivery, check, deliver
from sanitizer.provenance.trust import FileTrustState, TrustRoot
from tests.vectors.world import NOW, key

SOURCES = ("north", "south")
KEYS = ("k1", "k2", "k3", "k4")
DAY = timedelta(days=1)


def public(names):
    return [key(name).public_key for name in sorted(names)]


@dataclass
class Source:
    """The model of a source."""

    keys: set[str]
    threshold: int
    expires: datetime | None = None
    revoked: bool = False
    last: int | None = None


@dataclass(frozen=True)
class Sent:
    """The model of a delivery."""

    source: str
    keys: tuple[str, ...]
    sequence: int
    issued: datetime
    expires: datetime
    path: Path = field(compare=False)


class Provenance(RuleBasedStateMachine):
    sent = Bundle("sent")
    copies = Bundle("copies")

    @initialize(threshold=st.integers(1, 2))
    def begin(self, threshold):
        self.home = Path(tempfile.mkdtemp(prefix="machine-"))
        self.quick = patch("os.fsync", lambda _: None)
        self.quick.start()
        self.trust, self.now, self.count = self.home / "trust", NOW, 0
        self.owners = {"o1", "o2"}
        self.owner_threshold = threshold
        self.sources: dict[str, Source] = {}
        self.revoked: set[str] = set()
        self.accepted: set[str] = set()
        signers = [key(o) for o in sorted(self.owners)]
        trust_edit.init(self.trust, owners=signers, threshold=threshold, release=key("release").public_key, now=self.now)
        self.renewed = self.root_renewed = self.now
        self.state = FileTrustState(self.home / "seen.json")
        self.version = self.seen = 1
        self.root_version = self.root_seen = 1

    def teardown(self):
        if hasattr(self, "home"):
            self.quick.stop()
            shutil.rmtree(self.home)

    def signers(self):
        return [key(o) for o in sorted(self.owners)]

    def edit(self, call, *arguments, possible=True, **options):
        """Makes an edit; True if it is one that the model expects to succeed, and then it did."""
        if possible and (self.now < self.root_renewed + 730 * DAY or "owners" in arguments):
            call(self.trust, *arguments, now=self.now, **options)
            self.renewed = self.now
            self.version += 1
            return True
        with pytest.raises(UsageError):
            call(self.trust, *arguments, now=self.now, **options)
        return False

    @rule(
        name=st.sampled_from(SOURCES),
        keys=st.sets(st.sampled_from(KEYS), min_size=1),
        threshold=st.integers(1, 3),
        days=st.none() | st.integers(1, 60),
    )
    def add_source(self, name, keys, threshold, days):
        expires = None if days is None else self.now + days * DAY
        possible = name not in self.sources and threshold <= len(keys) and not keys & self.revoked
        options = {"threshold": threshold, "expires": expires, "signers": self.signers()}
        if self.edit(trust_edit.add_source, name, public(keys), possible=possible, **options):
            self.sources[name] = Source(set(keys), threshold, expires)

    @precondition(lambda self: self.sources)
    @rule(data=st.data(), add=st.sets(st.sampled_from(KEYS)), remove=st.sets(st.sampled_from(KEYS)))
    def rotate_source(self, data, add, remove):
        name = data.draw(st.sampled_from(sorted(self.sources)))
        source = self.sources[name]
        left = (source.keys | add) - remove
        possible = remove <= source.keys | add and not left & self.revoked and len(left) >= source.threshold
        options = {"add": public(add), "remove": [key(k).public_key.keyid for k in sorted(remove)], "signers": self.signers()}
        if self.edit(trust_edit.rotate, name, possible=possible, **options):
            source.keys = left
            self.withdraw(remove)

    @precondition(lambda self: any(s.keys for s in self.sources.values()))
    @rule(data=st.data())
    def revoke_key(self, data):
        name = data.draw(st.sampled_from(sorted(set().union(*(s.keys for s in self.sources.values())))))
        if self.edit(trust_edit.revoke, "key", key(name).public_key.keyid, reason="stolen", signers=self.signers()):
            self.withdraw({name})

    def withdraw(self, keys):
        self.revoked |= keys
        for source in self.sources.values():
            source.keys = source.keys - keys

    @precondition(lambda self: self.sources)
    @rule(data=st.data())
    def revoke_source(self, data):
        name = data.draw(st.sampled_from(sorted(self.sources)))
        if self.edit(trust_edit.revoke, "source", name, reason="gone", signers=self.signers()):
            self.sources[name].revoked = True

    @rule(new=st.sampled_from(["o3", "o4", "o5"]), old=st.sampled_from(["o1", "o2", "o3", "o4", "o5"]))
    def replace_owner(self, new, old):
        possible = old in self.owners and new not in self.owners and new not in self.revoked
        both = [*self.signers(), key(new)]
        options = {"add": public({new}), "remove": [key(old).public_key.keyid], "signers": both}
        if new != old and new not in self.owners and self.edit(trust_edit.rotate, "owners", possible=possible, **options):
            self.owners = (self.owners | {new}) - {old}
            self.revoked.add(old)
            self.root_version += 1
            self.root_renewed = self.now

    @rule(forger=st.sampled_from(["stranger", "o1", "o2", "o3"]))
    def somebody_else_edits(self, forger):
        if forger not in self.owners:
            self.edit(trust_edit.rotate, "release", add=public({"release-2"}), signers=[key(forger)], possible=False)

    @rule(days=st.sampled_from([0.5, 5, 40, 100]))
    def time_passes(self, days):
        self.now += days * DAY

    @rule()
    def renew(self):
        if self.edit(trust_edit.rotate, "owners", signers=self.signers()):
            self.root_version += 1
            self.root_renewed = self.now

    @rule(
        target=sent,
        source=st.sampled_from(SOURCES),
        signers=st.lists(st.sampled_from([*KEYS, "stranger"]), min_size=1, max_size=3, unique=True),
        sequence=st.integers(1, 6),
        days=st.sampled_from([1, 30, 400]),
    )
    def send(self, source, signers, sequence, days):
        self.count += 1
        path = self.home / f"inbox/{self.count}"
        path.mkdir(parents=True)
        (path / "data.csv").write_text(f"x\n{self.count}\n")
        expires = self.now + days * DAY
        deliver(path, source=source, signers=[key(s) for s in signers], sequence=sequence, issued=self.now, expires=expires)
        return Sent(source, tuple(signers), sequence, self.now, expires, path)

    @rule(target=copies)
    def copy_trust(self):
        copy = self.home / f"copy-{self.count}-{self.version}"
        shutil.copytree(self.trust, copy, dirs_exist_ok=True)
        return copy, self.version, self.root_version, self.renewed, self.root_renewed

    @rule(copy=copies)
    def offer_an_old_trust_root(self, copy):
        path, version, root_version, renewed, root_renewed = copy
        expected = self.trust_verdict(renewed, root_renewed) or (
            "replayed" if version < self.seen or root_version < self.root_seen else None
        )
        assert self.loaded(path)[0] == expected
        if expected is None:
            self.seen, self.root_seen = max(self.seen, version), max(self.root_seen, root_version)

    def loaded(self, path):
        try:
            return None, TrustRoot.load(path, now=self.now, state=self.state)
        except SanitizerError as error:
            return error.code, None

    def trust_verdict(self, renewed, root_renewed):
        return "expired" if self.now >= renewed + 90 * DAY or self.now >= root_renewed + 730 * DAY else None

    @rule(offered=sent)
    def judge(self, offered):
        code, trust = self.loaded(self.trust)
        assert code == self.trust_verdict(self.renewed, self.root_renewed)
        if trust is None:
            return
        self.seen, self.root_seen = self.version, self.root_version
        expected = self.expected(offered)
        delivery = Delivery(offered.path, offered.source)
        try:
            check(delivery, trust, self, now=self.now)
            code = None
        except SanitizerError as error:
            code = error.code
        assert code == expected
        if code is None:
            source = self.sources[offered.source]
            source.last = max(source.last or 0, offered.sequence)
            self.accepted.add(delivery.digest())

    def expected(self, offered):
        source = self.sources.get(offered.source)
        if source is None:
            return "untrusted_signer"
        if source.revoked or set(offered.keys) & self.revoked:
            return "revoked_key"
        good = set(offered.keys) & source.keys
        if not good:
            return "untrusted_signer"
        if len(good) < source.threshold:
            return "threshold_not_met"
        if set(offered.keys) - source.keys:
            return "bad_envelope"
        if self.now >= offered.expires or (source.expires is not None and self.now >= source.expires):
            return "expired"
        if (
            source.last is not None
            and offered.sequence <= source.last
            and Delivery(offered.path, offered.source).digest() not in self.accepted
        ):
            return "replayed"
        return None

    # the receiver's history

    def last_sequence(self, source):
        return self.sources[source].last

    def knows(self, digest):
        return digest in self.accepted

    @invariant()
    def lint_finds_no_error_that_the_model_does_not_know(self):
        if not hasattr(self, "home"):
            return
        errors = {p.where for p in trust_edit.lint(self.trust, now=self.now) if p.level == "error"}
        short = {f"source {n}" for n, s in self.sources.items() if not s.revoked and len(s.keys) < s.threshold}
        late = {f"source {n}" for n, s in self.sources.items() if not s.revoked and s.expires is not None and self.now >= s.expires}
        assert short | late <= errors


def test_a_revoked_source_is_revoked_whoever_signs_for_it():
    machine = Provenance()
    try:
        machine.begin(threshold=1)
        machine.add_source(name="north", keys={"k1", "k2"}, threshold=2, days=None)
        too_few = machine.send(source="north", signers=["k1"], sequence=1, days=30)
        stranger = machine.send(source="north", signers=["stranger"], sequence=2, days=30)
        machine.edit(trust_edit.revoke, "source", "north", reason="gone", signers=machine.signers())
        machine.sources["north"].revoked = True
        for offered in (too_few, stranger):
            assert machine.expected(offered) == "revoked_key"
            machine.judge(offered)
    finally:
        machine.teardown()


# shrinking an example of dozens of steps takes longer than reading it
UNSHRUNK = [phase for phase in Phase if phase is not Phase.shrink]

TestProvenance = Provenance.TestCase
TestProvenance.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)


@pytest.mark.slow
@pytest.mark.timeout(900)
class TestProvenanceLong(Provenance.TestCase):
    settings = settings(max_examples=100, stateful_step_count=50, deadline=None, phases=UNSHRUNK)
