"""A small world with suppliers, a receiver and a trust root, the same at every build: keys come from seeds, time stands still."""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from sanitizer.provenance import envelope as dsse
from sanitizer.provenance import trust_edit
from sanitizer.provenance.delivery import MANIFEST, deliver

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OWNERS = ("owner",)
POLICY = b'dataset = "demo"\n[samples]\nlabel = "label"\n'
FILES = {
    "data.csv": b"x,y,label\n1,2,a\n2,1,b\n3,3,a\n",
    "more/part-0.csv": b"x,y,label\n5,2,b\n",
    "README.txt": b"measured by hand\n",
}


def key(name: str) -> CryptoSigner:
    """The key pair that `name` always has: Ed25519, and P-256 for releases."""
    seed = hashlib.sha256(f"test key of {name}".encode()).digest()
    if name.startswith("release"):
        return CryptoSigner(ec.derive_private_key(int.from_bytes(seed, "big") >> 1, ec.SECP256R1()))
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(seed))


@functools.cache
def _template(now: datetime) -> Path:
    """Built once per process: signing and flushing take longer than copying."""
    root = Path(tempfile.mkdtemp(prefix="vectors-"))
    atexit.register(shutil.rmtree, root)
    World._build(root, now)
    return root


@dataclass
class World:
    """A workspace in which the sources `north` (one key), `south` (another) and `pair` (two of three keys) deliver.

    An attack changes what lies in `root`; `offered` is the delivery that is then judged, for the source `source`.
    `accepted` are sequences that were accepted before, by source.
    """

    root: Path
    source: str = "north"
    name: str = "first"
    now: datetime = NOW
    least_level: str = "L2"
    accepted: dict[str, int] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)

    @property
    def trust(self) -> Path:
        return self.root / "trust"

    @property
    def offered(self) -> Path:
        return self.root / "inbox" / self.source / self.name

    @property
    def manifest(self) -> Path:
        return self.offered / MANIFEST

    @classmethod
    def make(cls, root: Path, now: datetime = NOW) -> World:
        """The world before any attack: one honest delivery of `north`, which verifies."""
        shutil.copytree(_template(now), root, dirs_exist_ok=True)
        return cls(root, now=now)

    @classmethod
    def _build(cls, root: Path, now: datetime) -> World:
        world = cls(root, now=now)
        trust_edit.init(
            world.trust,
            owners=[key(name) for name in OWNERS],
            release=key("release").public_key,
            ledger=key("ledger").public_key,
            policy=POLICY,
            now=now - timedelta(days=30),
        )
        (root / "sanitizer.toml").write_bytes(POLICY)
        world.add_source("north", "north")
        world.add_source("south", "south")
        world.add_source("pair", "pair-a", "pair-b", "pair-c", threshold=2)
        world.deliver()
        return world

    def add_source(self, name: str, *keys: str, **options: Any) -> None:
        trust_edit.add_source(
            self.trust,
            name,
            [key(k).public_key for k in keys],
            signers=[key(k) for k in OWNERS],
            now=self.now - timedelta(days=30),
            **options,
        )

    def put(self, path: str, data: bytes) -> Path:
        """A file in the offered delivery."""
        place = self.offered / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return place

    def deliver(self, source: str | None = None, *keys: str, name: str | None = None, **options: Any) -> None:
        """An honest delivery; it becomes the offered one."""
        self.source, self.name = source or self.source, name or self.name
        for path, data in FILES.items():
            self.put(path, data)
        day = timedelta(days=1)
        values: dict[str, Any] = {"sequence": 1, "issued": self.now - day, "expires": self.now + 30 * day, **options}
        signers = [key(k) for k in keys or (self.source,)]
        deliver(self.offered, source=self.source, signers=signers, **values)

    def manifest_json(self) -> Any:
        """The manifest's JSON, to be tampered with."""
        return json.loads(self.manifest.read_bytes())

    def statement(self) -> Any:
        """What the manifest signs, to be tampered with."""
        return json.loads(dsse.open_envelope(self.manifest.read_bytes()).payload)

    def write(self, envelope: Any) -> None:
        self.manifest.write_bytes(envelope if isinstance(envelope, bytes) else json.dumps(envelope).encode())

    def sign(self, statement: Any, *keys: str, payload_type: str = dsse.IN_TOTO) -> None:
        """Puts another statement in the manifest, validly signed: what a supplier with bad intent, or a bad tool, can do."""
        payload = statement if isinstance(statement, bytes) else json.dumps(statement).encode()
        self.write(dsse.sign(payload, [key(k) for k in keys or (self.source,)], payload_type=payload_type))

    def restate(self, change: Callable[[Any], None]) -> None:
        """Changes the statement and signs it anew with the right key."""
        statement = self.statement()
        change(statement)
        self.sign(statement)
