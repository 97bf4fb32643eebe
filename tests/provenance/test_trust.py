"""The trust root: who may sign, how that changes, and what a forged, old or half-written one leads to."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from sanitizer.errors import (
    BadEnvelope,
    DigestMismatch,
    Expired,
    MissingFile,
    Replayed,
    SanitizerError,
    StorageFailed,
    ThresholdNotMet,
    UntrustedSigner,
    UsageError,
)
from sanitizer.provenance import keys, trust_edit
from sanitizer.provenance.trust import FileTrustState, TrustRoot
from tests.vectors.attacks import twice
from tests.vectors.world import NOW, POLICY, World, key


@pytest.fixture
def world(tmp_path):
    return World.make(tmp_path)


def public(*names):
    return [key(name).public_key for name in names]


def keyid(name):
    return key(name).public_key.keyid


OWNER = [key("owner")]


# reading


def test_a_source_has_its_keys_threshold_and_expiry(world):
    trust = TrustRoot.load(world.trust, now=NOW)
    assert set(trust.sources) == {"north", "south", "pair"}
    assert [k.keyid for k in trust.role("pair").keys] == [keyid(n) for n in ("pair-a", "pair-b", "pair-c")]
    assert trust.role("pair").threshold == 2
    assert trust.role("north").expires == trust.expires + timedelta(days=275)  # targets outlive the timestamp
    assert [k.keyid for k in trust.release_keys()] == [keyid("release")]
    assert [k.keyid for k in trust.ledger_keys()] == [keyid("ledger")]
    with pytest.raises(UntrustedSigner, match="nobody may sign for the source 'east'"):
        trust.role("east")


def test_the_policy_in_force_is_the_one_that_the_owners_signed(world):
    trust = TrustRoot.load(world.trust, now=NOW)
    trust.check_policy(POLICY)
    with pytest.raises(DigestMismatch, match="not the policy that its owners signed"):
        trust.check_policy(b'dataset = "demo"\nq = 1\n')
    changed = trust_edit.sign_policy(world.trust, b"new", signers=OWNER, now=NOW)
    changed.check_policy(b"new")


def test_without_a_trust_root_the_user_is_told_how_to_make_one(tmp_path):
    with pytest.raises(UsageError, match="sanitizer trust init"):
        TrustRoot.load(tmp_path, now=NOW)


@pytest.mark.parametrize(
    ("days", "part"),
    [(-31, None), (59, None), (60, "timestamp"), (335, "targets"), (700, "root")],
)
def test_an_expired_part_is_refused_by_our_clock(world, days, part):
    now = NOW + timedelta(days=days)
    if part is None:
        TrustRoot.load(world.trust, now=now)
    else:
        with pytest.raises(Expired) as expired:
            TrustRoot.load(world.trust, now=now)
        assert part in trust_parts_expired(world, now)
        assert expired.value.subject in trust_parts_expired(world, now)


def trust_parts_expired(world, now):
    return {name for name, expires in trust_edit.authentic(world.trust).expiries().items() if now >= expires}


def test_an_expired_trust_root_is_renewed_by_its_owners(world):
    later = NOW + timedelta(days=200)
    assert any(p.where == "timestamp" and p.level == "error" for p in trust_edit.lint(world.trust, now=later))
    trust_edit.rotate(world.trust, "owners", signers=OWNER, now=later)
    assert TrustRoot.load(world.trust, now=later).versions["root"] == 2
    assert trust_edit.lint(world.trust, now=later) == []


# memory


def test_an_older_trust_root_is_noticed_once_a_newer_one_was_seen(world, tmp_path):
    state = FileTrustState(tmp_path / "state.json")
    before = shutil.copytree(world.trust, tmp_path / "before")
    TrustRoot.load(before, now=NOW, state=state)
    trust_edit.revoke(world.trust, "key", keyid("north"), reason="stolen", signers=OWNER, now=NOW)
    TrustRoot.load(world.trust, now=NOW, state=state)
    with pytest.raises(Replayed, match=r"timestamp has version 4, but version 5 was seen before"):
        TrustRoot.load(before, now=NOW, state=state)
    TrustRoot.load(world.trust, now=NOW, state=state)


def test_a_withheld_root_rotation_is_noticed(world, tmp_path):
    state = FileTrustState(tmp_path / "state.json")
    trust_edit.rotate(world.trust, "owners", signers=[*OWNER, key("owner-2")], add=public("owner-2"), remove=[keyid("owner")], now=NOW)
    TrustRoot.load(world.trust, now=NOW, state=state)
    (world.trust / "2.root.json").unlink()
    with pytest.raises(Replayed, match="root has version 1, but version 2 was seen"):
        TrustRoot.load(world.trust, now=NOW, state=state)


def test_the_state_never_forgets_a_higher_version(tmp_path):
    state = FileTrustState(tmp_path / "state.json")
    state.remember({"root": 3, "targets": 5})
    state.remember({"root": 2, "snapshot": 1})
    assert state.seen() == {"root": 3, "targets": 5, "snapshot": 1}


@pytest.mark.parametrize("content", ["[]", "{", '{"root": "1"}', '{"root": 1, "root": 0}'])
def test_a_damaged_state_is_named_and_not_taken_for_an_empty_one(tmp_path, content):
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(UsageError, match="is no trust state"):
        FileTrustState(tmp_path / "state.json").seen()


# pinning


def test_the_first_root_can_come_by_another_way(world, tmp_path):
    pinned = tmp_path / "pinned.json"
    pinned.write_bytes((world.trust / "root.json").read_bytes())
    trust_edit.rotate(world.trust, "owners", signers=[*OWNER, key("owner-2")], add=public("owner-2"), remove=[keyid("owner")], now=NOW)
    assert TrustRoot.load(world.trust, now=NOW, pinned=pinned).versions["root"] == 2
    assert TrustRoot.load(world.trust, now=NOW, pinned=pinned.read_bytes()).versions["root"] == 2


def test_a_trust_root_of_others_is_refused_under_our_pinned_root(world, tmp_path):
    trust_edit.init(tmp_path / "theirs", owners=[key("stranger")], release=public("release")[0], now=NOW)
    with pytest.raises(UntrustedSigner, match="signed by none of its owners"):
        TrustRoot.load(tmp_path / "theirs", now=NOW, pinned=world.trust / "root.json")


def test_a_new_root_needs_the_old_owners_and_not_only_its_own(world):
    stranger = trust_edit.authentic(world.trust)
    root = stranger.root.signed
    root.version = 2
    root.revoke_key(keyid("owner"), "root")
    root.add_key(key("stranger").public_key, "root")
    stranger.root.signatures.clear()
    stranger.root.sign(key("stranger"))
    (world.trust / "2.root.json").write_bytes(stranger.root.to_bytes())
    with pytest.raises(UntrustedSigner, match=r"2\.root\.json is signed by none of its owners"):
        TrustRoot.load(world.trust, now=NOW)


# forgery


def newest(world, part):
    return max(world.trust.glob(f"*.{part}.json"), key=lambda p: int(p.name.split(".")[0]))


@pytest.mark.parametrize("part", ["root", "timestamp", "snapshot", "targets"])
def test_one_changed_byte_in_any_part_is_refused(world, part):
    path = world.trust / "timestamp.json" if part == "timestamp" else newest(world, part)
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"expires":"20', b'"expires":"30'))
    assert path.read_bytes() != data
    with pytest.raises((BadEnvelope, UntrustedSigner)):
        TrustRoot.load(world.trust, now=NOW)


@pytest.mark.parametrize("part", ["snapshot", "targets"])
def test_a_missing_part_is_named(world, part):
    newest(world, part).unlink()
    with pytest.raises(MissingFile, match=part):
        TrustRoot.load(world.trust, now=NOW)


def test_a_swapped_release_key_is_refused(world):
    [signed] = world.trust.glob("*.release.pub.pem")
    signed.write_bytes(keys.pem(key("release-2").public_key))
    with pytest.raises(DigestMismatch, match=r"release\.pub\.pem is not what was signed"):
        TrustRoot.load(world.trust, now=NOW)


GARBAGE = [
    b"",
    b"{}",
    b"[]",
    b"7",
    b"\xff",
    b"[" * 200_000,
    b'{"signatures": [], "signed": {"_type": "timestamp"}}',
    b'{"signatures": 1, "signed": {"_type": "root", "version": "x"}}',
    b'{"signatures": [], "signed": {"_type": "root"}, "signed": {}}',
    b" " * 600_000,
]


@pytest.mark.parametrize("name", ["1.root.json", "timestamp.json", "4.snapshot.json", "4.targets.json"])
@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_in_place_of_metadata_raises_our_errors_only(world, name, data):
    (world.trust / name).write_bytes(data)
    with pytest.raises(SanitizerError) as refused:
        TrustRoot.load(world.trust, now=NOW)
    assert refused.value.exit_code == 3


def test_one_owner_key_under_two_ids_does_not_meet_a_threshold_of_two(tmp_path):
    trust_edit.init(tmp_path, owners=[key("owner"), key("owner-2")], threshold=2, release=public("release")[0], now=NOW)
    chain = trust_edit.authentic(tmp_path)
    alias = type(key("owner").public_key).from_dict("ab" * 32, key("owner").public_key.to_dict())
    root = chain.root.signed
    root.add_key(alias, "root")
    chain.root.signatures.clear()
    signature = chain.root.sign(key("owner"))
    chain.root.signatures[alias.keyid] = type(signature)(alias.keyid, signature.signature)
    with pytest.raises(ThresholdNotMet, match=r"signed by 1 of the 2 different keys"):
        TrustRoot.load(tmp_path, now=NOW, pinned=chain.root.to_bytes())


# changing


def test_a_key_that_is_rotated_out_is_told_from_an_unknown_one(world):
    trust = trust_edit.rotate(world.trust, "north", signers=OWNER, add=public("north-2"), remove=[keyid("north")], now=NOW)
    assert [k.keyid for k in trust.role("north").keys] == [keyid("north-2")]
    assert trust.revoked(keyid("north")).reason == "rotated"
    assert trust.revoked(keyid("stranger")) is None


def test_a_revoked_key_counts_for_no_source(world):
    world.add_source("west", "north", "west")
    trust = trust_edit.revoke(world.trust, "key", keyid("north"), reason="stolen", signers=OWNER, now=NOW)
    assert trust.role("north").keys == ()
    assert [k.keyid for k in trust.role("west").keys] == [keyid("west")]
    with pytest.raises(UsageError, match="which is revoked"):
        trust_edit.rotate(world.trust, "north", signers=OWNER, add=public("north"), now=NOW)


def test_a_release_key_that_is_followed_stays_good_until_it_is_revoked(world):
    trust = trust_edit.rotate(world.trust, "release", signers=OWNER, add=public("release-2"), now=NOW)
    assert [k.keyid for k in trust.release_keys()] == [keyid("release-2"), keyid("release")]
    assert (world.trust / "release.pub.pem").read_bytes() == keys.pem(public("release-2")[0])
    trust = trust_edit.revoke(world.trust, "key", keyid("release"), reason="stolen", signers=OWNER, now=NOW)
    assert [k.keyid for k in trust.release_keys()] == [keyid("release-2")]
    assert keyid("release") in [k.keyid for k in trust.revoked_keys()]
    assert trust_edit.lint(world.trust, now=NOW) == []


def test_a_change_needs_as_many_owners_as_the_threshold_says(tmp_path):
    owners = [key("owner"), key("owner-2"), key("owner-3")]
    trust_edit.init(tmp_path, owners=owners, threshold=2, release=public("release")[0], now=NOW)
    with pytest.raises(UsageError, match="1 more owners must sign the targets"):
        trust_edit.add_source(tmp_path, "north", public("north"), signers=owners[:1], now=NOW)
    assert TrustRoot.load(tmp_path, now=NOW).sources == {}
    assert "north" in trust_edit.add_source(tmp_path, "north", public("north"), signers=owners[1:], now=NOW).sources


def test_owners_can_be_replaced_and_the_old_ones_then_change_nothing(world):
    both = [*OWNER, key("owner-2")]
    trust_edit.rotate(world.trust, "owners", signers=both, add=public("owner-2"), remove=[keyid("owner")], now=NOW)
    with pytest.raises(UsageError, match="more owners must sign"):
        trust_edit.add_source(world.trust, "east", public("east"), signers=OWNER, now=NOW)
    trust = trust_edit.add_source(world.trust, "east", public("east"), signers=[key("owner-2")], now=NOW)
    assert set(trust.sources) == {"north", "south", "pair", "east"}
    assert trust_edit.lint(world.trust, now=NOW) == []


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda t: trust_edit.add_source(t, "north", public("east"), signers=OWNER, now=NOW), "is known already"),
        (lambda t: trust_edit.add_source(t, "targets", public("east"), signers=OWNER, now=NOW), "cannot name a source"),
        (lambda t: trust_edit.add_source(t, "../east", public("east"), signers=OWNER, now=NOW), "cannot name a source"),
        (lambda t: trust_edit.add_source(t, "east", [], signers=OWNER, now=NOW), "cannot meet a threshold"),
        (lambda t: trust_edit.add_source(t, "east", public("east"), threshold=2, signers=OWNER, now=NOW), "cannot meet a threshold"),
        (lambda t: trust_edit.add_source(t, "east", public("east", "east"), signers=OWNER, now=NOW), "one key twice"),
        (lambda t: trust_edit.add_source(t, "east", public("east"), signers=[key("stranger")], now=NOW), "more owners must sign"),
        (lambda t: trust_edit.rotate(t, "east", signers=OWNER, now=NOW), "no source 'east' is known"),
        (lambda t: trust_edit.rotate(t, "north", remove=[keyid("north")], signers=OWNER, now=NOW), "cannot meet a threshold"),
        (lambda t: trust_edit.rotate(t, "north", remove=["ab" * 32], signers=OWNER, now=NOW), "is no key of the source"),
        (lambda t: trust_edit.rotate(t, "owners", remove=[keyid("owner")], signers=OWNER, now=NOW), "cannot meet a threshold"),
        (lambda t: trust_edit.rotate(t, "release", remove=[keyid("release")], signers=OWNER, now=NOW), "replaced by adding"),
        (lambda t: trust_edit.revoke(t, "key", "ab" * 32, reason="", signers=OWNER, now=NOW), "no key"),
        (lambda t: trust_edit.revoke(t, "key", keyid("owner"), reason="", signers=OWNER, now=NOW), "is an owner's key"),
        (lambda t: trust_edit.revoke(t, "source", "east", reason="", signers=OWNER, now=NOW), "no source 'east' is known"),
        (lambda t: trust_edit.revoke(t, "hope", "x", reason="", signers=OWNER, now=NOW), "cannot revoke a 'hope'"),
        (lambda t: trust_edit.init(t, owners=OWNER, release=public("release")[0], now=NOW), "already"),
    ],
)
def test_an_edit_that_makes_no_sense_is_refused_and_changes_nothing(world, edit, words):
    before = {p.name: p.read_bytes() for p in world.trust.iterdir()}
    with pytest.raises(UsageError, match=words):
        edit(world.trust)
    assert {p.name: p.read_bytes() for p in world.trust.iterdir()} == before


EDITS = {
    "add a source": lambda t: trust_edit.add_source(t, "east", public("east"), signers=OWNER, now=NOW),
    "rotate a source": lambda t: trust_edit.rotate(t, "north", add=public("n2"), remove=[keyid("north")], signers=OWNER, now=NOW),
    "rotate the release key": lambda t: trust_edit.rotate(t, "release", add=public("release-2"), signers=OWNER, now=NOW),
    "revoke": lambda t: trust_edit.revoke(t, "key", keyid("north"), reason="stolen", signers=OWNER, now=NOW),
    "replace the owner": lambda t: trust_edit.rotate(
        t, "owners", add=public("owner-2"), remove=[keyid("owner")], signers=[*OWNER, key("owner-2")], now=NOW
    ),
    "renew": lambda t: trust_edit.rotate(t, "owners", signers=OWNER, now=NOW),
    "make one": lambda t: trust_edit.init(t / "new", owners=OWNER, release=public("release")[0], now=NOW),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edit_cut_short_at_any_file_leaves_the_old_or_the_new_trust_root_and_can_be_done_again(world, tmp_path, monkeypatch, edit):
    write = trust_edit.write
    for allowed in range(20):
        trust = shutil.copytree(world.trust, tmp_path / f"trust-{allowed}")
        written = []

        def failing(path, data, allowed=allowed, written=written):
            if len(written) == allowed:
                raise StorageFailed("the power went out")
            written.append(path)
            write(path, data)

        monkeypatch.setattr(trust_edit, "write", failing)
        try:
            edit(trust)
        except StorageFailed:
            TrustRoot.load(trust, now=NOW)
            monkeypatch.setattr(trust_edit, "write", write)
            try:
                edit(trust)
            except UsageError:  # it had been done already
                assert written
            TrustRoot.load(trust, now=NOW)
        else:
            assert allowed >= 3
            return
    pytest.fail("the edit never came to its end")


# lint


def test_a_sound_trust_root_has_nothing_to_lint(world):
    assert trust_edit.lint(world.trust, now=NOW) == []


def problems(world, now=NOW):
    return [(p.level, p.where, p.message) for p in trust_edit.lint(world.trust, now=now)]


def test_lint_finds_one_key_under_two_ids(world):
    twice(world, "pair", "pair-a")
    [(level, where, message)] = problems(world)
    assert (level, where) == ("error", "source pair")
    assert "one key under two ids" in message


def test_lint_finds_a_threshold_that_cannot_be_met_any_more(world):
    trust_edit.revoke(world.trust, "key", keyid("north"), reason="stolen", signers=OWNER, now=NOW)
    [(level, where, message)] = problems(world)
    assert (level, where) == ("error", "source north")
    assert "needs 1 different keys to sign, but has 0" in message


def test_lint_finds_what_is_expired_and_what_will_be(world):
    trust_edit.rotate(world.trust, "south", signers=OWNER, now=NOW, expires=NOW + timedelta(days=1))
    [(level, where, message)] = problems(world)
    assert (level, where, message) == ("warning", "source south", "expires on 2026-03-02")
    assert ("error", "source south", "expired on 2026-03-02") in problems(world, NOW + timedelta(days=2))


def test_lint_finds_shared_keys(world):
    world.add_source("west", "north")
    world.add_source("boss", "owner")
    found = problems(world)
    assert [level for level, _, _ in found] == ["warning", "warning"]
    assert {where for _, where, _ in found} == {"source north", "source boss"}


def test_lint_finds_changed_copies_and_stray_private_keys(world):
    (world.trust / "release.pub.pem").write_bytes(keys.pem(key("release-2").public_key))
    (world.trust / "root.json").write_bytes(b"{}")
    (world.trust / "owner.pem").write_bytes(key("owner").private_bytes)
    assert {(level, where) for level, where, _ in problems(world)} == {
        ("error", "release.pub.pem"),
        ("error", "root.json"),
        ("error", "owner.pem"),
    }


def test_lint_says_what_makes_the_trust_root_unreadable(world):
    newest(world, "targets").unlink()
    [(level, _, message)] = problems(world)
    assert level == "error"
    assert "lacks" in message


def test_show_is_plain_json(world):
    trust = trust_edit.revoke(world.trust, "delivery", "sha256:" + "0" * 64, reason="recalled", signers=OWNER, now=NOW)
    shown = json.loads(json.dumps(trust_edit.show(trust)))
    assert shown["sources"]["pair"]["threshold"] == 2
    assert shown["revoked"] == [{"kind": "delivery", "id": "sha256:" + "0" * 64, "at": "2026-03-01T12:00:00Z", "reason": "recalled"}]


# the public client


class LocalFetcher(FetcherInterface):
    """Serves `file:` addresses; the client itself decides what is good."""

    def _fetch(self, url):
        path = Path(unquote(urlparse(url).path))
        if not path.exists():
            raise DownloadHTTPError("not found", 404)
        return iter([path.read_bytes()])


def client(trust, home, bootstrap=None):
    home.mkdir(exist_ok=True)
    (home / "targets").mkdir(exist_ok=True)
    return Updater(
        str(home),
        trust.as_uri() + "/",
        target_dir=str(home / "targets"),
        target_base_url=trust.as_uri() + "/",
        fetcher=LocalFetcher(),
        bootstrap=bootstrap or (trust / "1.root.json").read_bytes(),
    )


def test_the_client_of_the_tuf_package_accepts_the_trust_root_through_all_its_changes(tmp_path):
    now = datetime.now(UTC).replace(microsecond=0)  # that client knows no other clock
    trust = tmp_path / "trust"
    trust_edit.init(trust, owners=OWNER, release=public("release")[0], ledger=public("ledger")[0], policy=b"q = 1\n", now=now)
    trust_edit.add_source(trust, "north", public("north"), signers=OWNER, now=now)
    both = [*OWNER, key("owner-2")]
    trust_edit.rotate(trust, "owners", signers=both, add=public("owner-2"), remove=[keyid("owner")], now=now)
    trust_edit.rotate(trust, "release", signers=both, add=public("release-2"), now=now)
    trust_edit.revoke(trust, "key", keyid("north"), reason="stolen", signers=both, now=now)
    updater = client(trust, tmp_path / "home")
    updater.refresh()
    fetched = updater.download_target(updater.get_targetinfo("release.pub.pem"))
    assert Path(fetched).read_bytes() == keys.pem(key("release-2").public_key)
    (tmp_path / "sanitizer.toml").write_bytes(b"q = 1\n")
    policy = updater.get_targetinfo("sanitizer.toml")
    assert updater.find_cached_target(policy, str(tmp_path / "sanitizer.toml")) is not None
    (tmp_path / "sanitizer.toml").write_bytes(b"q = 2\n")
    assert updater.find_cached_target(policy, str(tmp_path / "sanitizer.toml")) is None
