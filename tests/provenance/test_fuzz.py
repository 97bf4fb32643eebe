"""Ten minutes of mutated bytes for every reader of provenance: no crash, no hang, only our own errors.

FUZZ_SECONDS=30 python -m pytest -m slow tests/provenance/test_fuzz.py
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import time

import pytest

from sanitizer.errors import SanitizerError
from sanitizer.provenance import envelope as dsse
from sanitizer.provenance import jcs, keys, names, oms, statement
from sanitizer.provenance.delivery import Delivery, NoHistory, check
from sanitizer.provenance.ledger import Checkpoint, Entry, Tree, verify_entries
from sanitizer.provenance.trust import TrustRoot, authentic_root
from tests.provenance.test_ledger import note, written
from tests.provenance.test_levels import bag, croissant, sums
from tests.vectors.world import FILES, NOW, World, key

SECONDS = float(os.environ.get("FUZZ_SECONDS", "600"))
TOKENS = [
    *(b'{ } [ ] " : , \\ \\u0000 \\ud800 null true -1 0 1e999 1E-999 NaN -0 9007199254740993 \xff \xfe \xef\xbb\xbf'.split(b" ")),
    b"\n",
    b"\r\n",
    b"\0",
    b"../",
    b"0" * 64,
    b"9" * 5000,
    b"[" * 5000,
    b'{"a":' * 5000,
    b"sha256",
    b"md5",
    b"keyid",
    b"signatures",
]


def mutated(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at = rng.randrange(len(out) + 1)
        match rng.randrange(7):
            case 0 if out:
                out[at % len(out)] ^= 1 << rng.randrange(8)
            case 1:
                out[at:at] = rng.choice(TOKENS)
            case 2:
                out[at : at + rng.randrange(1, 40)] = b""
            case 3:
                other = rng.randrange(len(out) + 1)
                out[at:at] = out[other : other + rng.randrange(200)]
            case 4:
                out[at : at + rng.randrange(1, 8)] = rng.choice(TOKENS)
            case 5:
                out = out[:at]
            case _:
                out[at:at] = rng.randbytes(rng.randrange(1, 16))
    return bytes(out)


def reshaped(data: bytes, rng: random.Random) -> bytes:
    """A change of the JSON value instead of its bytes, so that readers behind the parser are reached."""
    value = json.loads(data)
    at = value
    while isinstance(at, (dict, list)) and at:
        place = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
        if rng.random() < 0.3 or not isinstance(at[place], (dict, list)):
            at[place] = rng.choice(
                [None, True, 0, -1, 2**60, 1.5, "", "\ud800", "x" * 1000, [], {}, [[]], {"": None}, at[place], [at[place]]]
            )
            if rng.random() < 0.2:
                del at[place]
            break
        at = at[place]
    return json.dumps(value).encode()


def fuzz(name, seeds, read):
    """Feeds mutations to `read` for the given time; returns how many it refused."""
    rng = random.Random(f"fuzz {name}")
    refused = tries = 0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        seed = rng.choice(seeds)
        data = reshaped(seed, rng) if seed[:1] == b"{" and rng.random() < 0.5 else mutated(seed, rng)
        tries += 1
        try:
            read(data)
        except SanitizerError as error:
            refused += error.exit_code in {2, 3}
        except BaseException as error:
            error.add_note(f"{name}: {data[:2000]!r}")
            raise
    assert tries > 100
    assert refused > tries // 4


def resigned(read):
    """The same bytes as the payload of a valid envelope, so that the reader behind the signature is reached."""
    return lambda data: read(dsse.open_envelope(dsse.sign(data, [key("north")])).payload)


def ledger_of(data):
    entries = written(5)
    verify_entries([*entries[:2], data, *entries[3:]], [note(entries)], [key("ledger").public_key])


BUNDLE = oms.sign("first", {p: hashlib.sha256(d).hexdigest() for p, d in FILES.items()}, key("release"))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World.make(tmp_path_factory.mktemp("fuzz"))


def in_memory(world):
    manifest = world.manifest.read_bytes()
    payload = dsse.open_envelope(manifest).payload
    allowed = [key("north").public_key, key("release").public_key]
    return {
        "envelope": ([manifest], lambda d: dsse.open_envelope(d).verify(allowed, 1, what="x")),
        "statement": ([payload], resigned(statement.parse_delivery)),
        "oms bundle": ([BUNDLE], lambda d: oms.verify(d, allowed)),
        "strict json": ([payload, manifest], lambda d: jcs.loads(d, what="x")),
        "root": ([(world.trust / "1.root.json").read_bytes()], authentic_root),
        "entry": (written(3), Entry.from_bytes),
        "ledger": (written(3), ledger_of),
        "checkpoint": ([note(written(3)).encode()], lambda d: Checkpoint.verify(d.decode("utf-8", "replace"), [key("ledger").public_key])),
        "tree": ([json.dumps(Tree().to_json()).encode()], lambda d: Tree.from_json(jcs.loads(d, what="x"))),
        "names": (
            [b"data/part-0.parquet", "é/ü.csv".encode()],
            lambda d: names.check_names(d.decode("utf-8", "surrogateescape").split("\n")),
        ),
        "public key": ([keys.pem(key("north").public_key), keys.pem(key("release").public_key)], keys.public_key),
    }


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
@pytest.mark.parametrize(
    "name",
    ["envelope", "statement", "oms bundle", "strict json", "root", "entry", "ledger", "checkpoint", "tree", "names", "public key"],
)
def test_no_bytes_break_a_reader(name, world):
    seeds, read = in_memory(world)[name]
    for seed in seeds:
        if name != "ledger":
            read(seed)
    fuzz(name, seeds, read)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
@pytest.mark.parametrize("name", ["1.root.json", "timestamp.json", "4.snapshot.json", "4.targets.json"])
def test_no_bytes_in_the_trust_root_break_it(name, tmp_path):
    world = World.make(tmp_path)
    path = world.trust / name
    seed = path.read_bytes()

    def read(data):
        path.write_bytes(data)
        TrustRoot.load(world.trust, now=NOW)

    fuzz(name, [seed], read)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
@pytest.mark.parametrize(
    ("name", "write"),
    [("SHA256SUMS", sums), ("manifest-sha256.txt", lambda w: bag(w, tags=False)), ("bagit.txt", bag), ("croissant.json", croissant)],
)
def test_no_bytes_in_a_list_of_digests_break_a_delivery(name, write, tmp_path):
    world = World.make(tmp_path)
    world.manifest.unlink()
    write(world)
    path = world.offered / name
    seed = path.read_bytes()
    trust = TrustRoot.load(world.trust, now=NOW)

    def read(data):
        path.write_bytes(data)
        check(Delivery(world.offered, "north", "L1"), trust, NoHistory(), now=NOW, least_level="L1")

    fuzz(name, [seed], read)
