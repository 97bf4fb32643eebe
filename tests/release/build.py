"""Small deliveries, verdicts and releases for the tests of this room."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from sanitizer.policy import Policy
from sanitizer.quarantine import hold, outcome
from sanitizer.release.parts import Part, accept
from sanitizer.release.publish import publish
from sanitizer.store import deliveries
from tests.quarantine.build import make_samples, make_verdicts

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
POLICY = Policy(dataset="toys")


@dataclass
class Trust:
    """A trust root at hand."""

    keys: list
    gone: list = field(default_factory=list)
    recalled: dict = field(default_factory=dict)

    def release_keys(self):
        return self.keys

    def revoked_keys(self):
        return self.gone

    def revocation(self, kind, name):
        return self.recalled.get((kind, name))


@dataclass
class Line:
    """A workspace of which only the end is real: deliveries arrive judged."""

    store: object
    blobs: object
    directory: object
    signer: object
    parts: list[Part] = field(default_factory=list)

    def deliver(self, n, *, first=0, held=None, group=()):
        samples = make_samples(n, first=first)
        verdicts = make_verdicts(samples, held or {}, group=group)
        number = len(self.parts) + 1
        digest = f"sha256:{number:064x}"
        with self.store.transaction(now=NOW) as tx:
            deliveries.receive(tx, digest, dataset="toys", source="lab", path="inbox/lab", fingerprint=digest, sequence=number)
            for state in ("verified", "screened", "decided"):
                deliveries.advance(tx, digest, state)
            hold(tx, samples, verdicts, digest)
        self.parts.append(
            accept(
                samples,
                verdicts,
                delivery=digest,
                source="lab",
                sequence=number,
                level="L2",
                signers=("k1",),
                policy=POLICY.digest,
                blobs=self.blobs,
            )
        )
        return samples

    def publish(self, *, now=NOW, policy=POLICY, signer=None):
        with self.store.reading() as view:
            review = outcome(view, "toys")
        return publish(
            self.store,
            self.blobs,
            self.directory,
            parts=self.parts,
            policy=policy,
            signer=signer or self.signer,
            back=review.back,
            back_ids=review.back_ids,
            excluded=review.excluded,
            review=review.counts,
            actor="ops",
            now=now,
        )
