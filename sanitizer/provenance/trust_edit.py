"""Changing the trust root: what its owners do, with their keys at hand.

Each edit writes new files beside the old ones and then replaces one, so that a crash leaves either the old trust root or
the new one.  Old versions stay: who could sign for what on some day can still be told.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from sanitizer.errors import Refused, SanitizerError, UsageError
from sanitizer.provenance import keys
from sanitizer.provenance.statement import SOURCE_NAME, time_text
from sanitizer.provenance.trust import (
    FIELD,
    LARGEST_KEY,
    LARGEST_ROOT,
    POLICY,
    REVOCABLE,
    Chain,
    TrustRoot,
    authentic,
    authentic_root,
    key_role,
    locked,
    read,
    root_name,
    write,
)

# days until a part expires unless its owners say otherwise.  The timestamp bounds how long a stolen or stale copy can be
# shown to us as the newest; the others bound how long a forgotten trust root goes on by itself
LIFETIMES: Mapping[str, int] = {"root": 730, "targets": 365, "snapshot": 365, "timestamp": 90}
SOON = timedelta(days=14)  # lint warns this long before something expires

_TOP_LEVEL = frozenset({"root", "targets", "snapshot", "timestamp"})


def init(
    directory: Path,
    *,
    owners: Sequence[Signer],
    release: Key,
    now: datetime,
    ledger: Key | None = None,
    policy: bytes | None = None,
    threshold: int = 1,
    lifetimes: Mapping[str, int] = LIFETIMES,
) -> TrustRoot:
    """Makes a new trust root in `directory`.

    Args:
        directory: empty, or not there yet.
        owners: sign it; any `threshold` of them can change it, each one alone can renew the timestamp.
        release: public key of the releases (ECDSA P-256, which the public OMS verifier asks for).
        now: our clock.
        ledger: public key of the ledger's checkpoints (Ed25519).
        policy: bytes of `sanitizer.toml`; then nobody can change the policy alone.
        threshold: how many owners must sign a change.
        lifetimes: days per role until it expires.

    Raises:
        UsageError: there is a trust root already, or the threshold cannot be met.
    """
    if not 1 <= threshold <= len({keys.material(owner.public_key) for owner in owners}):
        raise UsageError(f"{len(owners)} owners cannot meet a threshold of {threshold}")
    directory.mkdir(parents=True, exist_ok=True)
    root = Root(consistent_snapshot=True)
    for role in sorted(_TOP_LEVEL):
        for owner in owners:
            root.add_key(owner.public_key, role)
        root.roles[role].threshold = threshold if role in {"root", "targets"} else 1
    chain = Chain(
        directory,
        "the trust root",
        Metadata(root),
        Metadata(Timestamp()),
        Metadata(Snapshot()),
        Metadata(Targets(delegations=Delegations({}, {}), unrecognized_fields={FIELD: {"lifetimes": dict(lifetimes), "revoked": []}})),
    )
    with locked(directory):
        if (directory / "1.root.json").exists():
            raise UsageError(f"there is a trust root in {directory} already", subject=str(directory))
        edit = _Edit(chain, new=True)
        edit.put_key("release", release)
        if ledger is not None:
            edit.put_key("ledger", ledger)
        if policy is not None:
            edit.targets.targets[POLICY] = TargetFile.from_data(POLICY, policy)
        edit.commit(owners, now)
    return TrustRoot.load(directory, now=now)


def add_source(
    directory: Path,
    name: str,
    allowed: Sequence[Key],
    *,
    signers: Sequence[Signer],
    now: datetime,
    threshold: int = 1,
    expires: datetime | None = None,
    paths: Sequence[str] = (),
    tuf_root: bytes | None = None,
) -> TrustRoot:
    """Lets `threshold` of the keys `allowed` sign deliveries of the source `name`, until `expires`.

    Args:
        directory: of the trust root.
        name: lower-case letters, digits, dot, dash, underscore; also the name of its directory in the inbox.
        allowed: public keys.
        signers: owners.
        now: our clock.
        threshold: how many different keys must sign each delivery.
        expires: after it nothing of this source is accepted; none: as long as the trust root is renewed.
        paths: patterns of TUF target paths that the source may provide; none: everything below its own name.
        tuf_root: root metadata of the source's own TUF repository, got from it by a safe way; then `allowed` may be empty.

    Raises:
        UsageError: the name is taken or improper, one key is listed twice, or the threshold cannot be met.
    """
    if not SOURCE_NAME.fullmatch(name) or name in _TOP_LEVEL:
        raise UsageError(f"{name!r} cannot name a source: use lower-case letters, digits, dot, dash, underscore", subject=name)
    with _editing(directory) as edit:
        if name in edit.roles:
            raise UsageError(f"the source {name} is known already: change its keys with `sanitizer trust rotate`", subject=name)
        if edit.chain.trust().revocation("source", name) is not None:
            raise UsageError(f"the source {name} was revoked: give it another name if it is to be trusted anew", subject=name)
        if tuf_root is not None:
            edit.put_root(name, tuf_root)
        edit.check_keys(name, allowed, threshold)
        edit.roles[name] = DelegatedRole(
            name, [], threshold, terminating=True, paths=list(paths) or [f"{name}/*"], unrecognized_fields={FIELD: {}}
        )
        for key in allowed:
            edit.targets.add_key(key, name)
        edit.set_expiry(name, expires)
        return edit.commit(signers, now)


def rotate(
    directory: Path,
    role: str,
    *,
    signers: Sequence[Signer],
    now: datetime,
    add: Sequence[Key] = (),
    remove: Sequence[str] = (),
    threshold: int | None = None,
    expires: datetime | None = None,
) -> TrustRoot:
    """Changes who may sign for `role`, and renews the trust root; with no change it only renews.

    A key taken from a source or from the owners counts as revoked from then on and everywhere, so that what it signed is
    told from what a stranger signed.  A release or ledger key that is followed by another one stays good for what it signed
    before; if it was stolen, `revoke` it.

    Args:
        directory: of the trust root.
        role: `owners`, `release`, `ledger`, or the name of a source.
        signers: owners; to replace owners, enough of the old and of the new ones.
        now: our clock.
        add: public keys that may sign from now on.
        remove: key ids that may not any more.
        threshold: how many must sign; none: as before.
        expires: of a source; none: as before.

    Raises:
        UsageError: unknown role or key, too few signers, or a threshold that cannot be met.
    """
    with _editing(directory) as edit:
        if role == "owners":
            _rotate_owners(edit, add, remove, threshold, now)
        elif role in {"release", "ledger"}:
            if remove:
                raise UsageError(f"a {role} key is replaced by adding the next one; to withdraw it, `sanitizer trust revoke`", subject=role)
            for key in add:
                edit.put_key(role, key)
        else:
            _rotate_source(edit, role, add=add, remove=remove, threshold=threshold, expires=expires, now=now)
        return edit.commit(signers, now)


def revoke(directory: Path, kind: str, name: str, *, reason: str, signers: Sequence[Signer], now: datetime) -> TrustRoot:
    """Withdraws trust, at once and for good: from a key (by its id), a source, a delivery or a release (by their digests).

    Raises:
        UsageError: of another kind, or the key is not known to this trust root.
    """
    if kind not in REVOCABLE:
        raise UsageError(f"cannot revoke a {kind!r}: choose {', '.join(REVOCABLE)}", subject=kind)
    with _editing(directory) as edit:
        if kind == "source" and name not in edit.roles:
            raise UsageError(f"no source {name!r} is known", subject=name)
        if kind != "key":
            edit.revoke(kind, name, reason, now)
        elif name in edit.root.keys:
            raise UsageError(f"{keys.short(name)} is an owner's key: replace it with `sanitizer trust rotate owners`", subject=name)
        else:
            edit.revoke_key(edit.known_key(name), reason, now)
        return edit.commit(signers, now)


def sign_policy(directory: Path, policy: bytes, *, signers: Sequence[Signer], now: datetime) -> TrustRoot:
    """Makes `policy`, the bytes of `sanitizer.toml`, the one that is in force."""
    with _editing(directory) as edit:
        edit.targets.targets[POLICY] = TargetFile.from_data(POLICY, policy)
        return edit.commit(signers, now)


def _rotate_owners(edit: _Edit, add: Sequence[Key], remove: Sequence[str], threshold: int | None, now: datetime) -> None:
    root = edit.new_root()
    for keyid in remove:
        if keyid not in root.roles["root"].keyids:
            raise UsageError(f"{keys.short(keyid)} is no owner's key", subject=keyid)
        edit.revoke("key", keyid, "rotated", now, key=root.keys[keyid])
    for role in sorted(_TOP_LEVEL):
        for key in add:
            root.add_key(key, role)
        for keyid in remove:
            root.revoke_key(keyid, role)
        if threshold is not None and role in {"root", "targets"}:
            root.roles[role].threshold = threshold
    edit.check_keys("owners", [root.keys[keyid] for keyid in root.roles["root"].keyids], root.roles["root"].threshold)


def _rotate_source(
    edit: _Edit, name: str, *, add: Sequence[Key], remove: Sequence[str], threshold: int | None, expires: datetime | None, now: datetime
) -> None:
    role = edit.roles.get(name)
    if role is None:
        raise UsageError(f"no source {name!r} is known: add it with `sanitizer trust add-source`", subject=name)
    for key in add:
        edit.targets.add_key(key, name)
    for keyid in remove:
        if keyid not in role.keyids:
            raise UsageError(f"{keys.short(keyid)} is no key of the source {name}", subject=keyid)
        edit.revoke_key(edit.targets.get_key(keyid), "rotated", now)
    if threshold is not None:
        role.threshold = threshold
    edit.check_keys(name, [edit.targets.get_key(keyid) for keyid in role.keyids], role.threshold)
    if expires is not None:
        edit.set_expiry(name, expires)


@dataclass
class _Edit:
    """A trust root being changed: the metadata in memory, and the files to be written with it."""

    chain: Chain
    new: bool = False
    old_root: Root | None = None
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def root(self) -> Root:
        return self.chain.root.signed

    @property
    def targets(self) -> Targets:
        return self.chain.targets.signed

    @property
    def roles(self) -> dict[str, DelegatedRole]:
        if self.targets.delegations is None:
            self.targets.delegations = Delegations({}, {})
        if self.targets.delegations.roles is None:
            raise UsageError("this trust root delegates to hash bins: it cannot be changed here")
        return self.targets.delegations.roles

    @property
    def ours(self) -> dict[str, Any]:
        found: dict[str, Any] = self.targets.unrecognized_fields.setdefault(FIELD, {})
        return found

    def new_root(self) -> Root:
        """The next version of the root, to be changed."""
        self.old_root = self.root
        self.chain.root = Metadata(copy.deepcopy(self.root))  # its `to_dict` shares the lists of key ids
        return self.root

    def put_key(self, role: str, key: Key) -> None:
        """Makes `key` the current one for `role`; the one before stays good for what it signed."""
        current, data = f"{role}.pub.pem", keys.pem(key)
        made = TargetFile.from_data(current, data)
        made.unrecognized_fields["custom"] = {"role": role}
        before = self.targets.targets.get(current)
        if before is not None and before.hashes != made.hashes:
            sha256 = before.hashes["sha256"]
            kept = TargetFile(before.length, before.hashes, f"{role}-{sha256[:12]}.pub.pem", before.unrecognized_fields)
            self.targets.targets[kept.path] = kept
            self.files[f"{sha256}.{kept.path}"] = read(self.chain.directory / f"{sha256}.{current}", LARGEST_KEY, self.chain.what)
        self.targets.targets[current] = made
        self.files[f"{made.hashes['sha256']}.{current}"] = data

    def put_root(self, source: str, data: bytes) -> None:
        """Pins the root of a source's own TUF repository."""
        try:
            authentic_root(data)
        except Refused as error:
            raise UsageError(f"this is no TUF root: {error.message}", subject=source) from error
        target = self.targets.targets[root_name(source)] = TargetFile.from_data(root_name(source), data)
        self.files[f"{target.hashes['sha256']}.{target.path}"] = data

    def check_keys(self, name: str, allowed: Sequence[Key], threshold: int) -> None:
        """Raises `UsageError` for what lint would call an error."""
        withdrawn = {keys.material(r.key): r for r in self.chain.trust().revocations if r.key is not None} if not self.new else {}
        seen: dict[str, Key] = {}
        for key in allowed:
            same = keys.material(key)
            if same in seen:
                raise UsageError(f"{name} lists one key twice, as {keys.short(seen[same].keyid)} and {keys.short(key.keyid)}", subject=name)
            if same in withdrawn:
                raise UsageError(f"{name} lists the key {keys.short(key.keyid)}, which is revoked", subject=name)
            seen[same] = key
        if not 1 <= threshold <= len(seen) and (seen or root_name(name) not in self.targets.targets):
            raise UsageError(f"{name} has {len(seen)} keys: they cannot meet a threshold of {threshold}", subject=name)

    def set_expiry(self, name: str, expires: datetime | None) -> None:
        if expires is not None:
            self.roles[name].unrecognized_fields.setdefault(FIELD, {})["expires"] = time_text(expires)

    def known_key(self, keyid: str) -> Key:
        """The key of this id, of a source or of the releases or ledger."""
        delegated = self.targets.delegations.keys if self.targets.delegations is not None else {}
        trust = self.chain.trust()
        named = {key.keyid: key for key in (*trust.release_keys(), *trust.ledger_keys())}
        key = delegated.get(keyid) or named.get(keyid)
        if key is None:
            raise UsageError(f"no key {keys.short(keyid)} is known: `sanitizer trust show` lists them", subject=keyid)
        return key

    def revoke_key(self, key: Key, reason: str, now: datetime) -> None:
        """Takes the key from all sources and notes it."""
        for name, role in self.roles.items():
            if key.keyid in role.keyids:
                self.targets.revoke_key(key.keyid, name)
        self.revoke("key", key.keyid, reason, now, key=key)

    def revoke(self, kind: str, name: str, reason: str, now: datetime, *, key: Key | None = None) -> None:
        entry = {"kind": kind, "id": name, "at": time_text(now), "reason": reason, **({} if key is None else {"key": key.to_dict()})}
        if not any((r["kind"], r["id"]) == (kind, name) for r in self.ours.setdefault("revoked", [])):
            self.ours["revoked"].append(entry)

    def commit(self, signers: Sequence[Signer], now: datetime) -> TrustRoot:
        """Signs and writes.  Nothing counts until the timestamp is replaced; where the owners change, until the new root is there.

        Then everything below is signed by the old and the new owners, and so is good under either root.
        """
        chain, directory = self.chain, self.chain.directory
        if not self.new and self.old_root is None and now >= self.root.expires:
            raise UsageError(
                f"the root expired on {self.root.expires:%Y-%m-%d}: renew it with `sanitizer trust rotate owners`", subject="root"
            )
        lifetimes = {**LIFETIMES, **self.ours.get("lifetimes", {})}
        delegators = [self.root] if self.old_root is None else [self.root, self.old_root]
        for md in (chain.targets, chain.snapshot, chain.timestamp):
            self._renew(md, lifetimes, now)
        targets = self._sign(chain.targets, "targets", delegators, signers)
        chain.snapshot.signed.meta["targets.json"] = MetaFile.from_data(self.targets.version, targets, ["sha256"])
        snapshot = self._sign(chain.snapshot, "snapshot", delegators, signers)
        chain.timestamp.signed.snapshot_meta = MetaFile.from_data(chain.snapshot.signed.version, snapshot, ["sha256"])
        timestamp = self._sign(chain.timestamp, "timestamp", delegators, signers)
        last = {"timestamp.json": timestamp}
        if self.new or self.old_root is not None:
            self._renew(chain.root, lifetimes, now)
            last[f"{self.root.version}.root.json"] = self._sign(chain.root, "root", delegators, signers)
        beside = {f"{self.targets.version}.targets.json": targets, f"{chain.snapshot.signed.version}.snapshot.json": snapshot, **self.files}
        for name, data in (*beside.items(), *last.items()):
            write(directory / name, data)
        for name, data in self._copies():
            write(directory / name, data)
        return TrustRoot.load(directory, now=now)

    def _copies(self) -> Iterator[tuple[str, bytes]]:
        """What people and other tools look for under its plain name; nothing here reads it."""
        directory = self.chain.directory
        yield "root.json", read(directory / f"{self.root.version}.root.json", LARGEST_ROOT, self.chain.what)
        for role in ("release", "ledger"):
            target = self.targets.targets.get(f"{role}.pub.pem")
            if target is not None:
                yield target.path, read(directory / f"{target.hashes['sha256']}.{target.path}", LARGEST_KEY, self.chain.what)

    def _renew(self, md: Metadata[Any], lifetimes: Mapping[str, int], now: datetime) -> None:
        if not self.new:
            md.signed.version += 1
        md.signed.expires = now.replace(microsecond=0) + timedelta(days=lifetimes[md.signed.type])

    def _sign(self, md: Metadata[Any], role: str, delegators: Sequence[Root], signers: Sequence[Signer]) -> bytes:
        md.signatures.clear()
        for signer in signers:
            if any(signer.public_key.keyid in delegator.roles[role].keyids for delegator in delegators):
                md.sign(signer, append=True)
        for delegator in delegators:
            result = delegator.get_verification_result(role, md.signed_bytes, md.signatures)
            if not result.verified:
                wanted = ", ".join(keys.short(keyid) for keyid in result.unsigned)
                raise UsageError(f"{result.missing} more owners must sign the {role}: give the signers of {wanted}", subject=role)
        return md.to_bytes()


@contextmanager
def _editing(directory: Path) -> Iterator[_Edit]:
    # not `TrustRoot.load`: an expired trust root is what renewing is for
    with locked(directory):
        yield _Edit(authentic(directory))


def show(trust: TrustRoot) -> dict[str, Any]:
    """The trust root for people and for `--format json`."""
    return {
        "versions": dict(trust.versions),
        "expires": time_text(trust.expires),
        "policy": None if trust.policy_sha256 is None else f"sha256:{trust.policy_sha256}",
        "release_keys": [key.keyid for key in trust.release_keys()],
        "ledger_keys": [key.keyid for key in trust.ledger_keys()],
        "sources": {
            name: {
                "keys": [key.keyid for key in role.keys],
                "threshold": role.threshold,
                "expires": time_text(role.expires),
                "paths": list(role.paths),
            }
            for name, role in sorted(trust.sources.items())
        },
        "revoked": [{"kind": r.kind, "id": r.id, "at": time_text(r.at), "reason": r.reason} for r in trust.revocations],
    }


@dataclass(frozen=True)
class Problem:
    """Something that lint found: `level` is error or warning, `where` a role or file."""

    level: str
    where: str
    message: str


def lint(directory: Path, *, now: datetime) -> list[Problem]:
    """What is wrong with the trust root, or will be soon; an empty list when all is well."""
    try:
        chain = authentic(directory)
        trust = chain.trust()
    except SanitizerError as error:
        return [Problem("error", str(directory), error.message)]
    found = [*_lint_expiry(chain, trust, now), *_lint_keys(chain, trust), *_lint_files(chain)]
    return sorted(found, key=lambda p: (p.level, p.where))


def _lint_expiry(chain: Chain, trust: TrustRoot, now: datetime) -> Iterator[Problem]:
    sources = {f"source {name}": role.expires for name, role in trust.sources.items() if trust.revocation("source", name) is None}
    for where, expires in {**chain.expiries(), **sources}.items():
        if now >= expires:
            yield Problem("error", where, f"expired on {expires:%Y-%m-%d}")
        elif now + SOON >= expires:
            yield Problem("warning", where, f"expires on {expires:%Y-%m-%d}")


def _lint_keys(chain: Chain, trust: TrustRoot) -> Iterator[Problem]:
    targets, root = chain.targets.signed, chain.root.signed
    delegated = targets.delegations.roles or {} if targets.delegations is not None else {}
    listed = {f"source {name}": ([targets.get_key(k) for k in role.keyids], role.threshold) for name, role in delegated.items()}
    listed |= {name: ([root.get_key(k) for k in role.keyids], role.threshold) for name, role in root.roles.items()}
    withdrawn = {keys.material(key) for key in trust.revoked_keys()}
    owners = {keys.material(key) for key in listed["root"][0] if keys.acceptable(key)}
    users: dict[str, list[str]] = {}
    for where, (allowed, threshold) in listed.items():
        seen: dict[str, str] = {}
        for key in allowed:
            if not keys.acceptable(key):
                yield Problem("error", where, f"the key {keys.short(key.keyid)} is {key.keytype}/{key.scheme}, which is not accepted")
                continue
            same = keys.material(key)
            if same in seen:
                yield Problem("error", where, f"lists one key under two ids, {keys.short(seen[same])} and {keys.short(key.keyid)}")
            if same in withdrawn:
                yield Problem("error", where, f"lists the key {keys.short(key.keyid)}, which is revoked")
            seen[same] = key.keyid
            if where.startswith("source "):
                users.setdefault(same, []).append(where)
        good = len(set(seen) - withdrawn)
        if (
            good < threshold
            and root_name(where.removeprefix("source ")) not in targets.targets
            and trust.revocation("source", where.removeprefix("source ")) is None
        ):
            yield Problem("error", where, f"needs {threshold} different keys to sign, but has {good}: nothing of it can be accepted")
    for same, sources in users.items():
        if same in owners:
            yield Problem("warning", sources[0], "its key is an owner's key: who supplies data can change who is trusted")
        if len(set(sources)) > 1:
            yield Problem("warning", sources[0], f"shares a key with {', '.join(sorted(set(sources[1:])))}")
    if not trust.release_keys():
        yield Problem("error", "release", "no key signs releases")


def _lint_files(chain: Chain) -> Iterator[Problem]:
    directory = chain.directory
    for target in chain.targets.signed.targets.values():
        copy = directory / target.path
        if key_role(target) is not None and copy.name == target.path and copy.exists():
            data = copy.read_bytes()
            if TargetFile.from_data(target.path, data).hashes != {"sha256": target.hashes.get("sha256")}:
                yield Problem("error", target.path, "is not the key that was signed: somebody changed the copy")
    copy = directory / "root.json"
    newest = directory / f"{chain.root.signed.version}.root.json"
    if copy.exists() and newest.exists() and copy.read_bytes() != newest.read_bytes():
        yield Problem("error", "root.json", f"is not {newest.name}: somebody changed the copy")
    for path in sorted(directory.iterdir()):
        if path.is_file() and b"PRIVATE KEY" in path.read_bytes()[:16_384]:
            yield Problem("error", path.name, "is a private key: it does not belong where everybody reads")
