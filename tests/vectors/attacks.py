"""Every attack on a delivery that has a name: what is done, and how it must end.

    python -m tests.vectors.attacks DIRECTORY

writes one workspace per attack, with `expected.json` in it: exit code, code word, the command's arguments, and our clock.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from sanitizer.provenance import trust_edit
from sanitizer.provenance.delivery import MANIFEST, add_signature
from tests.vectors.world import World, key


@dataclass(frozen=True)
class Attack:
    """`row` is the number in the threat table; `exit_code` and `code` are what the command line must answer."""

    name: str
    row: int
    code: str
    build: Callable[[World], None]
    exit_code: int = 3


ATTACKS: dict[str, Attack] = {}


def attack(row: int, code: str, *, exit_code: int = 3) -> Callable[[Callable[[World], None]], Callable[[World], None]]:
    def register(build: Callable[[World], None]) -> Callable[[World], None]:
        _add(build.__name__, row, code, build, exit_code)
        return build

    return register


def _add(name: str, row: int, code: str, build: Callable[[World], None], exit_code: int = 3) -> None:
    assert name not in ATTACKS
    ATTACKS[name] = Attack(name, row, code, build, exit_code)


# 1: bytes


@attack(1, "digest_mismatch")
def one_bit_flipped(world: World) -> None:
    path = world.offered / "data.csv"
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)


@attack(1, "length_mismatch")
def file_truncated(world: World) -> None:
    path = world.offered / "data.csv"
    path.write_bytes(path.read_bytes()[:-1])


@attack(1, "length_mismatch")
def file_lengthened(world: World) -> None:
    with (world.offered / "data.csv").open("ab") as file:
        file.write(b"9,9,a\n")


@attack(1, "length_mismatch")
def file_emptied(world: World) -> None:
    (world.offered / "more/part-0.csv").write_bytes(b"")


# 2: names bound to digests


@attack(2, "digest_mismatch")
def files_of_one_size_swapped(world: World) -> None:
    world.put("a.csv", b"x,label\n1,a\n")
    world.put("b.csv", b"x,label\n1,b\n")
    world.deliver()
    a, b = world.offered / "a.csv", world.offered / "b.csv"
    a.rename(world.offered / "c")
    b.rename(a)
    (world.offered / "c").rename(b)


@attack(2, "unlisted_file")
def file_renamed(world: World) -> None:
    (world.offered / "data.csv").rename(world.offered / "data2.csv")


@attack(2, "unlisted_file")
def file_renamed_by_case(world: World) -> None:
    (world.offered / "data.csv").rename(world.offered / "Data.csv")


# 3: closed world


def _extra(path: str) -> Callable[[World], None]:
    return lambda world: world.put(path, b"x,y,label\n0,0,a\n") and None


for _name, _path in {
    "extra_file": "extra.csv",
    "extra_file_in_git_directory": ".git/extra.csv",
    "extra_file_in_github_directory": ".github/extra.csv",
    "extra_gitattributes": ".gitattributes",
    "extra_dotfile": ".hidden",
    "extra_file_beside_a_part": "more/part-1.csv",
    "extra_alternate_stream": "data.csv:stream",
    "extra_oms_signature": "model.sig",
    "extra_macos_file": ".DS_Store",
    "extra_second_manifest": "more/" + MANIFEST,
    "extra_editor_backup": "data.csv~",
}.items():
    _add(_name, 3, "unlisted_file", _extra(_path))


@attack(3, "unlisted_file")
def extra_empty_directory(world: World) -> None:
    (world.offered / "empty").mkdir()


@attack(3, "unlisted_file")
def extra_file_name_not_utf8(world: World) -> None:
    (world.offered / os.fsdecode(b"extra-\xff.csv")).write_bytes(b"")


# 4: missing


@attack(4, "missing_file")
def file_missing(world: World) -> None:
    (world.offered / "data.csv").unlink()


@attack(4, "missing_file")
def directory_missing(world: World) -> None:
    shutil.rmtree(world.offered / "more")


# 5: replay


@attack(5, "replayed")
def older_sequence(world: World) -> None:
    world.accepted["north"] = 2


@attack(5, "replayed")
def same_sequence_other_content(world: World) -> None:
    world.accepted["north"] = 1


@attack(5, "replayed")
def older_trust_root(world: World) -> None:
    world.seen["targets"] = 99


@attack(5, "replayed")
def newest_root_withheld(world: World) -> None:
    world.seen["root"] = 2


# 6: time


@attack(6, "expired")
def manifest_expired(world: World) -> None:
    world.deliver(issued=world.now - timedelta(days=9), expires=world.now - timedelta(days=1))


@attack(6, "expired")
def manifest_expires_this_second(world: World) -> None:
    world.deliver(expires=world.now)


@attack(6, "expired")
def manifest_from_the_future(world: World) -> None:
    world.deliver(issued=world.now + timedelta(days=1))


@attack(6, "expired")
def role_of_the_source_expired(world: World) -> None:
    ends = world.now - timedelta(days=1)
    trust_edit.rotate(world.trust, "north", signers=[key("owner")], now=ends - timedelta(days=1), expires=ends)


@attack(6, "expired")
def frozen_trust_root(world: World) -> None:
    # nobody renewed it for 100 days; the timestamp is good for 90
    trust_edit.rotate(world.trust, "owners", signers=[key("owner")], now=world.now - timedelta(days=100))


# 7: signers


@attack(7, "untrusted_signer")
def unknown_source(world: World) -> None:
    world.deliver("east", "stranger")


@attack(7, "untrusted_signer")
def stranger_signs(world: World) -> None:
    world.deliver("north", "stranger")


@attack(7, "untrusted_signer")
def other_source_signs(world: World) -> None:
    world.deliver("north", "south")


@attack(7, "untrusted_signer")
def owner_signs(world: World) -> None:
    world.deliver("north", "owner")


@attack(7, "untrusted_signer")
def release_key_signs(world: World) -> None:
    world.deliver("north", "release")


@attack(7, "untrusted_signer")
def delivery_of_another_source_moved_here(world: World) -> None:
    world.deliver("south", name="moved")
    shutil.rmtree(world.root / "inbox/north/first")
    world.offered.rename(world.root / "inbox/north/first")
    world.source, world.name = "north", "first"


@attack(7, "untrusted_signer")
def key_of_two_sources_speaks_for_the_other(world: World) -> None:
    world.add_source("west", "north")
    world.deliver("west", "north", name="moved")
    shutil.rmtree(world.root / "inbox/north/first")
    world.offered.rename(world.root / "inbox/north/first")
    world.source, world.name = "north", "first"


@attack(7, "untrusted_signer")
def signature_without_key_id_by_a_stranger(world: World) -> None:
    world.deliver("north", "stranger")
    found = world.manifest_json()
    found["signatures"][0]["keyid"] = ""
    world.write(found)


# 8: revocation


@attack(8, "revoked_key")
def key_revoked(world: World) -> None:
    _revoke(world, "key", key("north").public_key.keyid)


@attack(8, "revoked_key")
def key_revoked_and_signature_backdated(world: World) -> None:
    _revoke(world, "key", key("north").public_key.keyid)
    world.deliver(issued=world.now - timedelta(days=300))


@attack(8, "revoked_key")
def key_rotated_out(world: World) -> None:
    _rotate(world, remove=[key("north").public_key.keyid], add=[key("north-2").public_key])


@attack(8, "revoked_key")
def revoked_key_hides_its_id(world: World) -> None:
    _revoke(world, "key", key("north").public_key.keyid)
    found = world.manifest_json()
    del found["signatures"][0]["keyid"]
    world.write(found)


@attack(8, "revoked_key")
def revoked_key_beside_a_good_one(world: World) -> None:
    _rotate(world, remove=[key("north").public_key.keyid], add=[key("north-2").public_key])
    world.deliver("north", "north", "north-2")


@attack(8, "revoked_key")
def source_revoked(world: World) -> None:
    _revoke(world, "source", "north")


@attack(8, "revoked_key")
def delivery_revoked(world: World) -> None:
    payload = base64.b64decode(world.manifest_json()["payload"])
    _revoke(world, "delivery", f"sha256:{hashlib.sha256(payload).hexdigest()}")


def _revoke(world: World, kind: str, name: str) -> None:
    trust_edit.revoke(world.trust, kind, name, reason="laptop stolen", signers=[key("owner")], now=world.now - timedelta(hours=1))


def _rotate(world: World, **change: Any) -> None:
    trust_edit.rotate(world.trust, "north", signers=[key("owner")], now=world.now - timedelta(hours=1), **change)


# 9: threshold


@attack(9, "threshold_not_met")
def one_signature_of_two(world: World) -> None:
    world.deliver("pair", "pair-a")


@attack(9, "threshold_not_met")
def same_key_signs_twice(world: World) -> None:
    world.deliver("pair", "pair-a")
    found = world.manifest_json()
    found["signatures"] *= 2
    world.write(found)


@attack(9, "threshold_not_met")
def same_key_signs_with_and_without_its_id(world: World) -> None:
    world.deliver("pair", "pair-a")
    found = world.manifest_json()
    found["signatures"].append({"sig": found["signatures"][0]["sig"]})
    world.write(found)


@attack(9, "threshold_not_met")
def second_signature_by_a_stranger(world: World) -> None:
    world.deliver("pair", "pair-a", "stranger")


@attack(9, "threshold_not_met")
def one_key_under_two_ids(world: World) -> None:
    twice(world, "pair", "pair-a")
    world.deliver("pair", "pair-a")
    found = world.manifest_json()
    found["signatures"].append({"keyid": "ab" * 32, "sig": found["signatures"][0]["sig"]})
    world.write(found)


def twice(world: World, source: str, name: str) -> None:
    """Lists one key of `source` under a second id, which our own editing refuses: as another tool might."""
    with trust_edit._editing(world.trust) as edit:
        good = key(name).public_key
        alias = type(good).from_dict("ab" * 32, good.to_dict())
        edit.targets.add_key(alias, source)
        edit.commit([key("owner")], world.now - timedelta(hours=1))


# 10: parts of different things


@attack(10, "bad_envelope")
def signature_of_another_delivery(world: World) -> None:
    signature = world.manifest_json()["signatures"]
    world.deliver(sequence=2)
    world.write({**world.manifest_json(), "signatures": signature})


@attack(10, "bad_envelope")
def trust_root_mixed_from_two_states(world: World) -> None:
    before = world.trust.with_name("before")
    shutil.copytree(world.trust, before)
    world.add_source("west", "west")
    newest = max(world.trust.glob("*.targets.json"), key=lambda p: int(p.name.split(".")[0]))
    oldest = max(before.glob("*.targets.json"), key=lambda p: int(p.name.split(".")[0]))
    newest.write_bytes(oldest.read_bytes())
    shutil.rmtree(before)


@attack(10, "untrusted_signer")
def trust_root_of_a_stranger(world: World) -> None:
    other = World.make(world.root / "other", world.now)
    forged = trust_edit.authentic(other.trust)
    for metadata in (forged.timestamp, forged.snapshot, forged.targets):
        metadata.signatures.clear()
        metadata.sign(key("stranger"))
    (world.trust / "timestamp.json").write_bytes(forged.timestamp.to_bytes())
    shutil.rmtree(other.root)


# 11: envelopes


def _tampered(change: Callable[[Any], Any]) -> Callable[[World], None]:
    def build(world: World) -> None:
        found = world.manifest_json()
        changed = change(found)
        world.write(found if changed is None else changed)

    return build


def _junk_first(found: Any) -> None:
    found["signatures"].insert(0, {"keyid": "", "sig": base64.b64encode(b"junk").decode()})


def _junk_known(found: Any) -> None:
    found["signatures"].insert(0, {"keyid": "cd" * 32, "sig": base64.b64encode(bytes(64)).decode()})


def _duplicated(found: Any) -> bytes:
    text = json.dumps(found)
    return text.replace('{"payload"', '{"payload": "e30=", "payload"', 1).encode()


for _name, _code, _change in (
    ("signatures_empty", "unsigned", lambda e: e.update(signatures=[])),
    ("signatures_absent", "unsigned", lambda e: e.pop("signatures") and None),
    ("signatures_null", "bad_envelope", lambda e: e.update(signatures=None)),
    ("signature_is_text", "bad_envelope", lambda e: e.update(signatures=["sig"])),
    ("signature_without_sig", "bad_envelope", lambda e: e["signatures"][0].pop("sig") and None),
    ("signature_not_base64", "bad_envelope", lambda e: e["signatures"][0].update(sig="@@@@")),
    ("signature_zeroed", "bad_envelope", lambda e: e["signatures"][0].update(sig=base64.b64encode(bytes(64)).decode())),
    ("signature_of_zero_bytes", "bad_envelope", lambda e: e["signatures"][0].update(sig="")),
    ("signature_with_other_fields", "bad_envelope", lambda e: e["signatures"][0].update(cert="x")),
    ("signature_junk_first", "bad_envelope", _junk_first),
    ("signature_of_nobody_first", "bad_envelope", _junk_known),
    ("signatures_by_the_thousand", "bad_envelope", lambda e: e.update(signatures=e["signatures"] * 1000)),
    ("payload_changed", "bad_envelope", lambda e: e.update(payload=base64.b64encode(b"{}").decode())),
    ("payload_not_base64", "bad_envelope", lambda e: e.update(payload="not base64!")),
    ("payload_not_text", "bad_envelope", lambda e: e.update(payload=7)),
    ("payload_type_changed", "bad_envelope", lambda e: e.update(payloadType="text/plain")),
    ("envelope_with_other_fields", "bad_envelope", lambda e: e.update(payloadtype="x")),
    ("envelope_with_duplicate_keys", "bad_envelope", _duplicated),
    ("envelope_is_a_list", "bad_envelope", lambda e: [e]),
    ("envelope_is_a_number", "bad_envelope", lambda _: b"7"),
    ("envelope_empty", "bad_envelope", lambda _: b""),
    ("envelope_not_utf8", "bad_envelope", lambda _: b"\xff\xfe{}"),
    ("envelope_with_byte_order_mark", "bad_envelope", lambda e: b"\xef\xbb\xbf" + json.dumps(e).encode()),
    ("envelope_with_nan", "bad_envelope", lambda _: b'{"payload": NaN, "payloadType": "x", "signatures": []}'),
    ("envelope_nested_deeply", "bad_envelope", lambda _: b"[" * 400_000),
    ("envelope_followed_by_another", "bad_envelope", lambda e: json.dumps(e).encode() * 2),
    ("envelope_with_huge_number", "bad_envelope", lambda _: b"9" * 10_000),
    ("envelope_is_a_pickle", "bad_envelope", lambda _: b"\x80\x04\x95"),
):
    _add(_name, 11, _code, _tampered(_change))


@attack(11, "unsigned")
def manifest_removed(world: World) -> None:
    world.manifest.unlink()


@attack(11, "bad_envelope")
def manifest_of_another_kind_validly_signed(world: World) -> None:
    world.sign(world.statement(), payload_type="application/json")


@attack(11, "bad_envelope")
def statement_with_duplicate_keys(world: World) -> None:
    text = json.dumps(world.statement())
    world.sign(text.replace('"predicate": {', '"predicate": {"sequence": 9, ', 1).encode())


def _restated(change: Callable[[Any], Any]) -> Callable[[World], None]:
    return lambda world: world.restate(change)


for _name, _change in {
    "statement_of_another_type": lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"),
    "predicate_of_another_type": lambda s: s.update(predicateType="https://slsa.dev/provenance/v1"),
    "predicate_with_unknown_field": lambda s: s["predicate"].update(ignore_paths=["more"]),
    "predicate_without_sequence": lambda s: s["predicate"].pop("sequence"),
    "predicate_without_expiry": lambda s: s["predicate"].pop("expires"),
    "statement_with_unknown_field": lambda s: s.update(exclude=["more"]),
    "subject_with_unknown_field": lambda s: s["subject"][0].update(uri="http://localhost/data.csv"),
    "subject_twice": lambda s: s["subject"].append(s["subject"][0]),
    "subjects_not_a_list": lambda s: s.update(subject={}),
    "sequence_is_text": lambda s: s["predicate"].update(sequence="2"),
    "sequence_is_true": lambda s: s["predicate"].update(sequence=True),
    "sequence_is_a_fraction": lambda s: s["predicate"].update(sequence=1.5),
    "sequence_is_zero": lambda s: s["predicate"].update(sequence=0),
    "sequence_is_huge": lambda s: s["predicate"].update(sequence=2**53),
    "size_is_negative": lambda s: s["predicate"]["sizes"].update({"data.csv": -1}),
    "size_of_an_unlisted_file": lambda s: s["predicate"]["sizes"].update({"other.csv": 1}),
    "size_missing": lambda s: s["predicate"]["sizes"].pop("data.csv"),
    "source_is_a_path": lambda s: s["predicate"].update(source="../south"),
    "source_is_a_list": lambda s: s["predicate"].update(source=["north"]),
    "issued_without_zone": lambda s: s["predicate"].update(issued="2026-02-01T00:00:00"),
    "issued_is_a_number": lambda s: s["predicate"].update(issued=1),
    "expires_before_issued": lambda s: s["predicate"].update(expires="2020-01-01T00:00:00Z"),
    "digest_in_capitals": lambda s: s["subject"][0]["digest"].update(sha256=s["subject"][0]["digest"]["sha256"].upper()),
    "digest_too_short": lambda s: s["subject"][0]["digest"].update(sha256="ab"),
    "schema_id_is_a_path": lambda s: s["predicate"].update(schema_id="../schema.json"),
}.items():
    _add(_name, 11, "bad_envelope", _restated(_change))


# 12: weak digests


def _digests(change: Callable[[bytes], dict[str, str]]) -> Callable[[World], None]:
    def build(world: World) -> None:
        def restate(statement: Any) -> None:
            for subject in statement["subject"]:
                subject["digest"] = change((world.offered / subject["name"]).read_bytes())

        world.restate(restate)

    return build


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


for _name, _code, _algorithms in (
    ("md5_alone", "weak_digest", lambda d: {"md5": hashlib.md5(d).hexdigest()}),
    ("md5_beside_sha256", "weak_digest", lambda d: {"md5": hashlib.md5(d).hexdigest(), "sha256": _sha256(d)}),
    ("md5_right_sha256_wrong", "weak_digest", lambda d: {"md5": hashlib.md5(d).hexdigest(), "sha256": "0" * 64}),
    ("sha1_alone", "weak_digest", lambda d: {"sha1": hashlib.sha1(d).hexdigest()}),
    ("crc32_beside_sha256", "weak_digest", lambda d: {"crc32": "00000000", "sha256": _sha256(d)}),
    ("no_digest", "weak_digest", lambda _: {}),
    ("another_hash_labelled_sha256", "digest_mismatch", lambda d: {"sha256": hashlib.blake2b(d, digest_size=32).hexdigest()}),
    ("sha512_wrong_beside_sha256", "digest_mismatch", lambda d: {"sha256": _sha256(d), "sha512": "0" * 128}),
    ("sha256_wrong_beside_sha512", "digest_mismatch", lambda d: {"sha256": "0" * 64, "sha512": hashlib.sha512(d).hexdigest()}),
):
    _add(_name, 12, _code, _digests(_algorithms))


# 13: names.  A supplier's own tool refuses them, so they are put into the statement and signed


def _listed(name: str) -> Callable[[World], None]:
    def build(world: World) -> None:
        def restate(statement: Any) -> None:
            statement["subject"].append({"name": name, "digest": {"sha256": _sha256(b"")}})
            statement["predicate"]["sizes"][name] = 0

        world.restate(restate)

    return build


NAMES = {
    "parent": "../south.csv",
    "parent_inside": "more/../../south.csv",
    "absolute": "/etc/passwd",
    "dot": "./data2.csv",
    "double_slash": "more//x.csv",
    "trailing_slash": "more/",
    "empty": "",
    "backslash": "more\\x.csv",
    "drive": "C:/x.csv",
    "stream": "x.csv:y",
    "nul": "x\0.csv",
    "newline": "x\n.csv",
    "escape": "x\x1b[2J.csv",
    "delete": "x\x7f.csv",
    "bidirectional_override": "x\u202egpj.csv",
    "bidirectional_isolate": "x\u2066y.csv",
    "zero_width_space": "x\u200by.csv",
    "zero_width_joiner": "x\u200dy.csv",
    "byte_order_mark": "\ufeffx.csv",
    "soft_hyphen": "x\u00ady.csv",
    "hangul_filler": "x\u3164y.csv",
    "variation_selector": "x\ufe0fy.csv",
    "tag_character": "x\U000e0041y.csv",
    "half_surrogate": "x\ud800.csv",
    "private_use": "x\ue000.csv",
    "no_break_space": "x\u00a0y.csv",
    "line_separator": "x\u2028y.csv",
    "decomposed": unicodedata.normalize("NFD", "é.csv"),
    "trailing_dot": "x.csv.",
    "trailing_space": "x.csv ",
    "leading_space": " x.csv",
    "device": "more/CON",
    "device_with_extension": "nul.csv",
    "long_part": "x" * 256,
    "long": "/".join(["x" * 200] * 6),
    "deep": "/".join("x" * 40),
    "case_collision": "DATA.csv",
    "case_collision_of_directory": "More/x.csv",
    "compatibility_collision": "\uff44ata.csv",
    "file_as_directory": "data.csv/x",
    "directory_as_file": "more",
    "dots_by_compatibility": "\u2024\u2024/x.csv",
    "wide_dots": "\uff0e\uff0e/x.csv",
    "wide_slash": "more\uff0fx.csv",
    "wide_backslash": "more\uff3cx.csv",
    "encoded_dots": "%2e%2e/x.csv",
    "encoded_slash": "..%2Fx.csv",
    "encoded_twice": "%252e%252e/x.csv",
    "encoded_nul": "x%00.csv",
    "the_manifest_itself": MANIFEST,
    "the_manifest_in_capitals": MANIFEST.upper(),
}
for _label, _listing in NAMES.items():
    _add(f"name_{_label}", 13, "bad_name", _listed(_listing))


# 14: what is no plain file


def _instead(make: Callable[[Path], object]) -> Callable[[World], None]:
    def build(world: World) -> None:
        path = world.offered / "data.csv"
        path.rename(world.root / "aside.csv")
        make(path)

    return build


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 24)


for _name, _make in {
    "link_to_the_same_bytes": lambda p: p.symlink_to("../../../aside.csv"),
    "link_to_a_system_file": lambda p: p.symlink_to("/etc/passwd"),
    "link_to_nothing": lambda p: p.symlink_to("nowhere"),
    "link_to_itself": lambda p: p.symlink_to(p.name),
    "hard_link": lambda p: p.hardlink_to(p.parents[3] / "aside.csv"),
    "pipe": os.mkfifo,
}.items():
    _add(_name, 14, "not_regular_file", _instead(_make))


@attack(14, "unlisted_file")
def unlisted_link(world: World) -> None:
    (world.offered / "extra.csv").symlink_to("data.csv")


@attack(14, "not_regular_file")
def directory_is_a_link(world: World) -> None:
    (world.offered / "more").rename(world.root / "aside")
    (world.offered / "more").symlink_to("../../../aside")


@attack(14, "not_regular_file")
def delivery_is_a_link(world: World) -> None:
    world.offered.rename(world.root / "aside")
    world.offered.symlink_to("../../aside")


@attack(14, "not_regular_file")
def manifest_is_a_link(world: World) -> None:
    world.manifest.rename(world.root / "aside.json")
    world.manifest.symlink_to("../../../aside.json")


@attack(14, "not_regular_file")
def manifest_is_a_pipe(world: World) -> None:
    world.manifest.unlink()
    os.mkfifo(world.manifest)


@attack(14, "not_regular_file")
def manifest_is_a_directory(world: World) -> None:
    world.manifest.unlink()
    world.manifest.mkdir()


@attack(14, "not_regular_file")
def directory_where_a_file_belongs(world: World) -> None:
    path = world.offered / "data.csv"
    path.unlink()
    path.mkdir()


@attack(14, "not_regular_file")
def sparse_file_validly_signed(world: World) -> None:
    _sparse(world.offered / "data.csv")

    def restate(statement: Any) -> None:
        subject = next(s for s in statement["subject"] if s["name"] == "data.csv")
        subject["digest"] = {"sha256": _sha256(bytes(1 << 24))}
        statement["predicate"]["sizes"]["data.csv"] = 1 << 24

    world.restate(restate)


# what must pass


HONEST: dict[str, Callable[[World], None]] = {}


def honest(build: Callable[[World], None]) -> Callable[[World], None]:
    HONEST[build.__name__] = build
    return build


def _with_file(path: str, data: bytes) -> Callable[[World], None]:
    def build(world: World) -> None:
        world.put(path, data)
        world.deliver()

    return build


HONEST["as_delivered"] = lambda _: None
HONEST["two_of_three_keys"] = lambda world: world.deliver("pair", "pair-a", "pair-c")
HONEST["all_three_keys"] = lambda world: world.deliver("pair", "pair-a", "pair-b", "pair-c")
HONEST["sha512_beside_sha256"] = _digests(lambda d: {"sha256": _sha256(d), "sha512": hashlib.sha512(d).hexdigest()})
HONEST["sha512_alone"] = _digests(lambda d: {"sha512": hashlib.sha512(d).hexdigest()})
HONEST["signature_without_key_id"] = _tampered(lambda e: e["signatures"][0].pop("keyid") and None)
HONEST["names_in_many_scripts"] = _with_file("данные/标签 é.csv", b"x\n")
HONEST["dotfile_that_is_listed"] = _with_file(".config/labels.csv", b"x\n")
HONEST["empty_file"] = _with_file("empty.csv", b"")
HONEST["file_of_zeros"] = _with_file("zeros.bin", bytes(1 << 21))
HONEST["clock_of_the_supplier_a_little_ahead"] = lambda world: world.deliver(issued=world.now + timedelta(minutes=2))


@honest
def higher_sequence(world: World) -> None:
    world.accepted["north"] = 1
    world.deliver(sequence=2)


@honest
def key_added_by_rotation(world: World) -> None:
    _rotate(world, add=[key("north-2").public_key])
    world.deliver("north", "north-2")


@honest
def second_signature_added_later(world: World) -> None:
    world.deliver("pair", "pair-a")
    add_signature(world.offered, [key("pair-b")])


@attack(9, "bad_envelope")
def stranger_signs_beside_enough_keys(world: World) -> None:
    world.deliver("pair", "pair-a", "pair-b")
    add_signature(world.offered, [key("stranger")])


def write(out: Path) -> None:
    """One workspace per attack and per honest delivery."""
    honest = [Attack(f"honest_{name}", 0, "", build, 0) for name, build in HONEST.items()]
    for found in [*ATTACKS.values(), *honest]:
        world = World.make(out / found.name)
        found.build(world)
        expected = {**{k: v for k, v in dataclasses.asdict(found).items() if k != "build"}, "source": world.source}
        expected |= {"delivery": str(world.offered.relative_to(world.root)), "now": world.now.isoformat()}
        expected |= {"accepted": world.accepted, "seen": world.seen}
        (world.root / "expected.json").write_text(json.dumps(expected, indent=1))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
