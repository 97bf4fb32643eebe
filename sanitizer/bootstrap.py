"""First steps: a workspace with its trust root and keys, its suppliers, its first trusted release, its first suite."""

from __future__ import annotations

import getpass
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import Signer

from sanitizer import expectations, lineage, samples
from sanitizer.errors import UsageError
from sanitizer.pipeline import publish
from sanitizer.provenance import keys, trust_edit
from sanitizer.provenance.trust import TrustRoot
from sanitizer.release import parts
from sanitizer.release.gate import open_release
from sanitizer.store import deliveries
from sanitizer.workspace import POLICY_FILE, Workspace, template, write

OWNER = "keys/owner.pem"


def init(root: Path, *, dataset: str = "data", label: str | None = None, suite: str | None = None) -> Workspace:
    """Makes a workspace: commented policy, inbox, keys of owner, releases and ledger, and a trust root that signs the policy."""
    policy = root / POLICY_FILE
    if policy.exists():
        raise UsageError(f"{root} is a workspace already", subject=str(root))
    write(policy, template(dataset, label=label, suite=suite).encode())
    workspace = Workspace.open(root)
    workspace.inbox.mkdir(parents=True, exist_ok=True)
    keys.new_key(root / OWNER)
    release = keys.new_key(root / "keys/release.pem", "ecdsa")
    ledger = keys.new_key(root / "keys/ledger.pem")
    now = datetime.now(UTC)
    trust_edit.init(workspace.trust, owners=owners(workspace), release=release, ledger=ledger, policy=policy.read_bytes(), now=now)
    _note(workspace, "workspace.made", dataset, {"policy": workspace.policy.digest})
    return workspace


def owners(workspace: Workspace, uris: Sequence[str] = ()) -> list[Signer]:
    """The signers of the trust root: the named ones, or the owner's key that `init` made."""
    return [workspace.signer(uri) for uri in uris or (f"file:{OWNER}",)]


def add_source(
    root: Path,
    name: str,
    public: Sequence[Path],
    *,
    threshold: int = 1,
    expires: datetime | None = None,
    tuf_root: Path | None = None,
    uris: Sequence[str] = (),
) -> None:
    """Lets the keys in the PEM files `public`, or the TUF repository that begins at the file `tuf_root`, prove deliveries of `name`."""
    workspace = Workspace.open(root)
    allowed = [keys.public_key(path) for path in public]
    trust_edit.add_source(
        workspace.trust,
        name,
        allowed,
        signers=owners(workspace, uris),
        now=datetime.now(UTC),
        threshold=threshold,
        expires=expires,
        tuf_root=None if tuf_root is None else tuf_root.read_bytes(),
    )
    (workspace.inbox / name).mkdir(parents=True, exist_ok=True)
    _note(workspace, "trust.source-added", name, {"keys": [k.keyid for k in allowed], "threshold": threshold})


def rotate(
    root: Path,
    role: str,
    *,
    add: Sequence[Path] = (),
    remove: Sequence[str] = (),
    threshold: int | None = None,
    uris: Sequence[str] = (),
) -> None:
    """Changes the keys of `owners`, `release`, `ledger` or a source; without a change it renews the trust root."""
    workspace = Workspace.open(root)
    new = [keys.public_key(path) for path in add]
    trust_edit.rotate(
        workspace.trust, role, signers=owners(workspace, uris), now=datetime.now(UTC), add=new, remove=remove, threshold=threshold
    )
    _note(workspace, "trust.rotated", role, {"added": [k.keyid for k in new], "removed": list(remove)})


def revoke(root: Path, kind: str, name: str, *, reason: str, uris: Sequence[str] = ()) -> None:
    """Withdraws trust from a key, a source, a delivery or a release, for good."""
    workspace = Workspace.open(root)
    trust_edit.revoke(workspace.trust, kind, name, reason=reason, signers=owners(workspace, uris), now=datetime.now(UTC))
    _note(workspace, "trust.revoked", name, {"kind": kind, "reason": reason})


def recall(root: Path, kind: str, name: str, *, reason: str, uris: Sequence[str] = ()) -> list[int]:
    """Revokes a source, a delivery, a key or a release, and tells which published versions no gate lets through any more.

    A release is named by its version, `dataset/version` or digest, a delivery by its digest or `source/name`.
    """
    workspace = Workspace.open(root)
    trust = TrustRoot.load(workspace.trust, now=datetime.now(UTC))
    if kind == "release":
        number = name.rpartition("/")[2]
        found = [r.digest for r in lineage.published(workspace, trust) if name == r.digest or number == str(r.version)]
        if not found:
            raise UsageError(f"there is no release {name} of {workspace.policy.dataset}", subject=name)
        name = found[-1]
    elif kind == "delivery":
        [*_, delivery] = [None, *lineage.trace(root, name).deliveries]
        if delivery is None:
            raise UsageError(f"no delivery {name} ever came: see `sanitizer report`", subject=name)
        name = delivery["digest"]
    versions = lineage.reached(root, kind, name)
    revoke(root, kind, name, reason=reason, uris=uris)
    return versions


def sign_policy(root: Path, *, uris: Sequence[str] = ()) -> None:
    """Puts the edited `sanitizer.toml` in force."""
    workspace = Workspace.open(root)
    trust_edit.sign_policy(workspace.trust, workspace.toml, signers=owners(workspace, uris), now=datetime.now(UTC))
    _note(workspace, "trust.policy-signed", workspace.policy.dataset, {"policy": workspace.policy.digest})


def _note(workspace: Workspace, kind: str, subject: str, facts: dict[str, Any]) -> None:
    with workspace.store() as store, store.transaction() as tx:
        tx.record(kind, subject, facts, actor=whoami())


def baseline(root: Path, data: Path, *, reason: str, actor: str = "") -> str:
    """Existing data as the first trusted release, signed as an assertion of who ran this; returns its path."""
    workspace = Workspace.open(root)
    who = actor or whoami()
    policy = workspace.policy
    with data.open("rb") as file:
        digest = workspace.blobs.put_stream(file)
    rows = samples.from_any(data, label=policy.samples.label, source=policy.samples.source, modality=policy.samples.modality)
    with workspace.store() as store:
        with store.reading() as view:
            known = deliveries.listed(view, dataset=policy.dataset, states=("decided", "published"))
        if known and digest not in {d.digest for d in known}:
            raise UsageError(f"{policy.dataset} has trusted data already; deliver further data like a supplier would", subject=str(data))
        part = parts.baseline(rows, actor=who, reason=reason, policy=policy.digest, blobs=workspace.blobs, data=digest)
        workspace.pin(rows.schema)
        with store.transaction() as tx:
            deliveries.receive(tx, digest, dataset=policy.dataset, source=who, path=data.name, fingerprint=digest)
            deliveries.advance(tx, digest, "verified", level=part.level, facts={"asserted": part.asserted}, actor=who)
            deliveries.advance(tx, digest, "screened")
            deliveries.advance(tx, digest, "decided", artefacts={"part": workspace.blobs.put_json(part.to_json())})
    return publish(root)


def draft_suite(root: Path, to: Path | None = None) -> Path:
    """Drafts a Great Expectations suite from the newest release, for a person to edit; the policy names the file."""
    workspace = Workspace.open(root)
    named = workspace.policy.expectations.suite
    path = to or workspace.root / (named or "expectations.json")
    if path.exists():
        raise UsageError(f"{path} exists already: it is yours to edit; delete it to draft it anew", subject=str(path))
    with open_release(workspace.releases / workspace.policy.dataset, trust=workspace.trust) as opened:
        suite: dict[str, Any] = expectations.draft(opened.samples(), workspace.policy.dataset)
    write(path, json.dumps(suite, indent=2, ensure_ascii=False).encode() + b"\n")
    return path


def whoami() -> str:
    """Who runs this, for the ledger."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
