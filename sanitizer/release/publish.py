"""Publishing: staged, fsynced, signed, renamed.  A release is there as a whole or not at all, and never changes afterwards.

    (1) one publisher at a time      (2) finish or clear what a crash left     (3) put the rows together
    (4) nothing new: no new version  (5) plan it in the ledger                 (6) stage and sign
    (7) rename: the commit point     (8) tell the state                        (9) move `latest`

A crash before (7) leaves a staging directory that the next publisher removes; after (7), a whole release that it finishes.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import pyarrow as pa
from securesystemslib.signer import Signer

from sanitizer.errors import Busy, StorageFailed, UsageError
from sanitizer.policy import Policy
from sanitizer.provenance import oms
from sanitizer.provenance.blobs import BlobStore
from sanitizer.provenance.envelope import sign as sign_envelope
from sanitizer.provenance.manifest import FileEntry, Manifest
from sanitizer.provenance.statement import RELEASE, build
from sanitizer.release import documents, gate
from sanitizer.release.assemble import Assembly, assemble
from sanitizer.release.loaders import Identities
from sanitizer.release.parts import Part, parquet, read_parquet
from sanitizer.release.statement import part_path, predicate
from sanitizer.samples import Samples
from sanitizer.samples.proof import rows_root
from sanitizer.store import Store, Transaction, deliveries, releases
from sanitizer.store.ledger import last_checkpoint
from sanitizer.store.lock import file_lock

_log = logging.getLogger(__name__)
_CHUNK = 1 << 20
_TOOLS = ("sanitizer", "pyarrow", "numpy", "pandas", "scikit-learn", "securesystemslib", "tuf")


@dataclass(frozen=True)
class Release:
    """A published release.  `new` is False when everything was published before and nothing was written."""

    dataset: str
    version: int
    digest: str
    path: Path
    signature: Path
    samples: int
    new: bool


def publish(
    store: Store,
    blobs: BlobStore,
    directory: Path,
    *,
    parts: Sequence[Part],
    policy: Policy,
    signer: Signer,
    back: Samples | None = None,
    back_ids: Sequence[str] = (),
    excluded: Collection[str] = (),
    review: Mapping[str, int] | None = None,
    withdrawn: Collection[str] = (),
    actor: str = "sanitizer",
    now: datetime | None = None,
) -> Release:
    """Publishes the next release of a data set, or finds that there is nothing new.

    Args:
        store: the state; deliveries that are `decided` and among `parts` become `published`.
        blobs: where the rows of the parts lie.
        directory: of all releases; this one comes to `directory/<dataset>/<version>`, its signature beside it.
        parts: the accepted rows of every delivery that counts, in the order of their arrival.
        policy: names the data set; its digest goes into the release.
        signer: of the release, ECDSA P-256.
        back: rows that review let in, labels applied.
        back_ids: their sample ids.
        excluded: sample ids that review keeps out or has not decided.
        review: how many held samples are in which state, for the statement.
        withdrawn: ids of release keys that were revoked: a release that only they signed is issued anew, as is one that expired.
        actor: who publishes.
        now: the time of the release.

    Raises:
        Busy: another publisher is at work on this data set.
        UsageError: nothing was accepted yet, schemas differ, or the key cannot sign releases.
        StorageFailed: the disk is full or cannot be written; no release is left half-made.
    """
    now = now or datetime.now(UTC)
    home = directory / policy.dataset
    # (1) the store's lock keeps out publishers elsewhere, the directory's those with another store
    with store.lock(f"publish {policy.dataset}"), _disk(home), file_lock(home / ".publishing", f"publishing {policy.dataset}"):
        recover(store, directory, policy.dataset, signer, now=now)  # (2)
        assembly = assemble(  # (3)
            parts, blobs, dataset=policy.dataset, policy=policy.digest, back=back, back_ids=back_ids, excluded=excluded
        )
        with store.reading() as view:
            latest = releases.latest(view, policy.dataset)
            version = max(releases.next_version(view, policy.dataset), _highest(home) + 1)
        if latest is not None and latest.content == assembly.content and not _lapsed(latest, policy, withdrawn, now):  # (4)
            with store.transaction(now=now) as tx:
                _mark(tx, parts)
            point_latest(home, latest.version)
            return _release(home, latest, new=False)
        with store.transaction(now=now) as tx:  # (5)
            facts = {"parts": [piece.data for piece in assembly.pieces], "samples": assembly.rows, "policy": policy.digest}
            releases.plan(tx, policy.dataset, version, assembly.content, facts, actor=actor)
        with store.reading() as view:
            checkpoint = last_checkpoint(view)
        staging = home / f".staging-{version}-{os.getpid()}"
        signed = _stage(  # (6)
            staging,
            home / f"{version}.sig",
            _Contents(policy, version, latest, assembly, tuple(parts), dict(review or {}), checkpoint, actor, now, blobs),
            signer,
        )
        _commit(staging, home / str(version))  # (7)
        with store.transaction(now=now) as tx:  # (8)
            state = releases.publish(tx, policy.dataset, version, signed.digest, _facts(signed, assembly.rows), actor=actor)
            _mark(tx, parts)
        point_latest(home, version)  # (9)
        return _release(home, state, new=True)


def _lapsed(latest: releases.ReleaseState, policy: Policy, withdrawn: Collection[str], now: datetime) -> bool:
    """Whether no gate opens for this release any more, although there is nothing wrong with its rows."""
    return latest.facts.get("keyid") in withdrawn or now >= latest.at + timedelta(days=policy.release.expires_days)


def recover(store: Store, directory: Path, dataset: str, signer: Signer, *, now: datetime) -> None:
    """Finishes a release that is in place but not in the state, removes one that never came to be.  Call it with the lock held."""
    home = directory / dataset
    for stray in sorted(home.glob(".staging-*")):
        _log.warning("removing %s, which an interrupted publish left", stray)
        _remove(stray)
    with store.reading() as view:
        plan = releases.planned(view, dataset)
    if plan is None:
        return
    place = home / str(plan.version)
    if place.exists():
        found = gate.verify_with_keys(place, [signer.public_key])
        if found.content != plan.content:
            raise UsageError(f"{place} is not the release that was planned: move it away, then publish again", subject=str(place))
        with store.transaction(now=now) as tx:
            facts = _facts(oms.Signed(dataset, {}, found.digest, found.keyid), found.samples)
            releases.publish(tx, dataset, plan.version, found.digest, facts, actor="recovery")
        point_latest(home, plan.version)
    else:
        (home / f"{plan.version}.sig").unlink(missing_ok=True)
        fsync_directory(home)


@dataclass(frozen=True)
class _Contents:
    policy: Policy
    version: int
    latest: releases.ReleaseState | None
    assembly: Assembly
    parts: tuple[Part, ...]
    review: dict[str, int]
    checkpoint: str
    actor: str
    now: datetime
    blobs: BlobStore


def _stage(staging: Path, signature: Path, what: _Contents, signer: Signer) -> oms.Signed:
    """Writes and syncs every file of the release, then its signature, which takes its final name at once."""
    dataset, version, assembly, licence = what.policy.dataset, what.version, what.assembly, what.policy.release.licence
    expires = what.now + timedelta(days=what.policy.release.expires_days)
    (staging / "data").mkdir(parents=True)
    files: dict[str, tuple[str, int]] = {}
    for i, piece in enumerate(assembly.pieces):
        files[part_path(i)] = _copy(what.blobs, piece.data, staging / part_path(i))
    versions = {name: installed(name) for name in _TOOLS}

    def write(name: str, data: bytes) -> None:
        files[name] = (_write(staging / name, data), len(data))

    rows = _rows(assembly, what.blobs)
    write("rows.sha256.parquet", parquet(rows))
    write("croissant.json", documents.croissant(dataset, version, assembly, files, licence=licence, issued=what.now))
    write(
        "README.md",
        documents.card(
            dataset,
            version,
            assembly,
            what.parts,
            review=what.review,
            previous=what.latest.version if what.latest else None,
            licence=licence,
            issued=what.now,
            expires=expires,
        ),
    )
    write("bom.cdx.json", documents.bom(dataset, version, assembly, what.parts, files, versions=versions, licence=licence, issued=what.now))
    body = predicate(
        dataset=dataset,
        version=version,
        assembly=assembly,
        parts=what.parts,
        files=files,
        policy=what.policy.digest,
        review=what.review,
        previous=what.latest.digest if what.latest else "",
        checkpoint=what.checkpoint,
        rows_root=rows_root(Identities(rows).row_digests),
        issued=what.now,
        expires=expires,
        actor=what.actor,
        versions=versions,
    )
    manifest = Manifest.of(FileEntry(path, sha256, size) for path, (sha256, size) in files.items())
    write("provenance.intoto.json", sign_envelope(build(manifest, predicate_type=RELEASE, predicate=body), [signer]))
    write("SHA256SUMS", documents.sums(files))
    listed = {path: sha256 for path, (sha256, _) in files.items()}
    bundle = oms.sign(str(version), listed, signer)
    for place in (staging / "data", staging):
        fsync_directory(place)
    _write_beside(signature, bundle)
    return oms.Signed(str(version), listed, oms.root_digest(listed), signer.public_key.keyid)


def _rows(assembly: Assembly, blobs: BlobStore) -> pa.Table:
    """`rows.sha256.parquet`: the identity of every row of the release, in order, with the number of its part."""
    tables = []
    for i, piece in enumerate(assembly.pieces):
        # the content ids follow from the rows; digests do not compress, and every gate hashes this file
        ids = read_parquet(blobs.read(piece.ids)).select(["row", "occurrence"])
        tables.append(ids.add_column(0, pa.field("part", pa.int32()), pa.array([i] * ids.num_rows, pa.int32())))
    return pa.concat_tables(tables)


def _copy(blobs: BlobStore, digest: str, target: Path) -> tuple[str, int]:
    """A blob as a file of the release; the blob store hashes it as it is read."""
    size = 0
    sha256 = hashlib.sha256()
    with blobs.open(digest) as source, _create(target) as out:
        while chunk := source.read(_CHUNK):
            sha256.update(chunk)
            out.write(chunk)
            size += len(chunk)
    return sha256.hexdigest(), size


def _write(path: Path, data: bytes) -> str:
    with _create(path) as out:
        out.write(data)
    return hashlib.sha256(data).hexdigest()


@contextmanager
def _create(path: Path) -> Iterator[Any]:
    """A new, read-only file that is on the disk when the block ends."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o444)
    with os.fdopen(descriptor, "wb") as out:
        yield out
        out.flush()
        os.fsync(out.fileno())


def _write_beside(signature: Path, bundle: bytes) -> None:
    """The signature comes before the directory: whoever sees a release sees its signature too."""
    temporary = signature.with_name(f".staging-{signature.name}")
    temporary.unlink(missing_ok=True)
    _write(temporary, bundle)
    try:
        os.link(temporary, signature)  # unlike rename, this fails when there is one already: releases are never replaced
    except FileExistsError as error:
        raise Busy(f"{signature} exists already: another publisher was faster, run again", subject=str(signature)) from error
    temporary.unlink()
    fsync_directory(signature.parent)


def _commit(staging: Path, place: Path) -> None:
    try:
        staging.rename(place)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise Busy(f"{place} exists already: another publisher was faster, run again", subject=str(place)) from error
        raise
    fsync_directory(place.parent)


def point_latest(home: Path, version: int) -> None:
    """Moves the pointer `latest`: a convenience that nobody has to trust."""
    pointer = home / "latest"
    if pointer.is_file() and pointer.read_bytes() == f"{version}\n".encode():
        return
    temporary = home / ".staging-latest"
    temporary.unlink(missing_ok=True)
    _write(temporary, f"{version}\n".encode())
    temporary.replace(pointer)
    fsync_directory(home)


def fsync_directory(path: Path) -> None:
    """Makes names in a directory durable: without it a rename can be lost though the file is not."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _disk(home: Path) -> Iterator[None]:
    """Makes the directory of a data set's releases; what the file system refuses in the block becomes `StorageFailed`."""
    try:
        if not home.exists():
            home.mkdir(parents=True)
            fsync_directory(home.parent)
        yield
    except OSError as error:
        raise StorageFailed(
            f"cannot publish to {home}: {error.strerror or error}; no release is left half-made, run again when that is solved",
            subject=str(home),
        ) from error


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _highest(home: Path) -> int:
    return max((int(entry.name) for entry in home.iterdir() if entry.name.isdecimal()), default=0)


def _facts(signed: oms.Signed, samples: int) -> dict[str, Any]:
    return {"samples": samples, "keyid": signed.keyid}


def _mark(tx: Transaction, parts: Sequence[Part]) -> None:
    for part in parts:
        state = deliveries.find(tx, part.delivery)
        if state is not None and state.state == "decided":
            deliveries.advance(tx, part.delivery, "published")


def _release(home: Path, state: releases.ReleaseState, *, new: bool) -> Release:
    place = home / str(state.version)
    return Release(state.dataset, state.version, state.digest, place, home / f"{state.version}.sig", int(state.facts["samples"]), new)
