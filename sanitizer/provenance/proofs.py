"""What a delivery can bring to prove itself, from a TUF repository down to nothing.

    L3  a TUF repository               signed, numbered, current: rollback, freeze and mix-and-match are noticed
    L2  a signed list of files         DSSE statement (ours), or an OMS bundle (no number: an old one is noticed only if it was seen)
    L1  a list of digests              BagIt, `sha256sum`, Croissant: damage is noticed, a forger is not
    L0  nothing                        a person must look, always

A delivery has the level of the one proof that governs it, the first present of `PROOFS`; a broken one never falls back to a
weaker one.  Lists are read by our own strict readers: the usual ones prefer md5, follow `../`, unpack archives.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

from tuf.api.metadata import Metadata, Snapshot, Targets, Timestamp

from sanitizer.errors import BadEnvelope, BadName, MissingFile, Unsigned, UntrustedSigner, WeakDigest
from sanitizer.provenance import envelope as dsse
from sanitizer.provenance import jcs, oms, statement, walk
from sanitizer.provenance.manifest import Claim, Manifest
from sanitizer.provenance.trust import TrustRoot, authentic, unverified

MANIFEST = "delivery.dsse.json"
BUNDLE = "model.sig"  # what the public `model_signing sign` writes by default

LEVELS = ("L0", "L1", "L2", "L3")
_LARGEST_LIST = 64 << 20  # bytes; some 500,000 files


@dataclass(frozen=True)
class Proven:
    """What a delivery says of itself, once its signatures hold: its files are still to be compared.

    `digest` names it, `beside` are the files that are the proof itself.
    """

    digest: str
    source: str
    files: tuple[Claim, ...]
    beside: frozenset[str]
    signers: tuple[str, ...] = ()
    sequence: int | None = None
    issued: datetime | None = None
    expires: datetime | None = None
    schema_id: str | None = None
    rows_root: str | None = None


class Proof(Protocol):
    """One way to prove a delivery.  What it reads it reads once: the file may be another one the next time."""

    level: ClassVar[str]
    kind: ClassVar[str]

    def __init__(self, root: Path, source: str) -> None: ...

    @property
    def present(self) -> bool:
        """Whether the delivery brings this proof; looks at names only."""

    def digest(self) -> str:
        """`sha256:…`, the delivery's name: the same for the same delivery, whoever asks and whenever.  Unverified."""

    def sequence(self) -> int | None:
        """The number that it claims.  Unverified."""

    def prove(self, trust: TrustRoot) -> Proven:
        """Checks all signatures; raises a subclass of `Refused`."""


@dataclass(frozen=True)
class SignedStatement:
    """`delivery.dsse.json`: a DSSE envelope around an in-toto statement, what `sanitizer deliver` writes."""

    level: ClassVar[str] = "L2"
    kind: ClassVar[str] = "dsse"
    root: Path
    source: str

    @property
    def present(self) -> bool:
        """Whether the manifest is there; it is written last."""
        return os.path.lexists(self.root / MANIFEST)

    @property
    def _name(self) -> str:
        return f"the manifest of {self.root.name}"

    @cached_property
    def envelope(self) -> dsse.Envelope:
        """The manifest, parsed and not verified."""
        try:
            data = walk.read(self.root, MANIFEST, dsse.LARGEST)
        except MissingFile:
            raise Unsigned(f"{self.root} has no {MANIFEST}: it is incomplete, or was never signed", subject=str(self.root)) from None
        return dsse.open_envelope(data, what=self._name)

    def digest(self) -> str:
        """Of the signed payload: who signs it, and how often, does not change it."""
        return f"sha256:{hashlib.sha256(self.envelope.payload).hexdigest()}"

    def sequence(self) -> int | None:
        """The number that the statement claims."""
        return statement.parse_delivery(self.envelope.payload).sequence

    def prove(self, trust: TrustRoot) -> Proven:
        """Signed by enough keys of the source, and a statement of ours."""
        signed, role = self.envelope, trust.role(self.source)
        signers = signed.verify(role.keys, role.threshold, what=self._name, revoked=trust.revoked_keys())
        said = statement.parse_delivery(signed.payload, what=self._name)
        return Proven(
            self.digest(),
            said.source,
            said.files,
            frozenset({MANIFEST}),
            signers,
            said.sequence,
            said.issued,
            said.expires,
            said.schema_id,
            said.rows_root,
        )


@dataclass(frozen=True)
class Repository:
    """A TUF repository: `metadata/` (root versions, timestamp, snapshot, targets) and `targets/` with the files.

    The chain of its roots begins at the one that our trust root holds for this source.  The version of its targets is the
    number of the delivery, so an older state is noticed like an older delivery.  Delegations are not followed: files
    that only a delegated role signs are unlisted.
    """

    level: ClassVar[str] = "L3"
    kind: ClassVar[str] = "tuf"
    root: Path
    source: str

    @property
    def present(self) -> bool:
        """Whether there is a timestamp, which a TUF repository writes last."""
        return os.path.lexists(self.root / "metadata/timestamp.json")

    @cached_property
    def _claimed(self) -> Targets:
        """The targets that timestamp and snapshot lead to, not verified."""
        what, name = f"the repository of {self.root.name}", "timestamp.json"
        for kind in (Timestamp, Snapshot):
            found = unverified(walk.read(self.root, f"metadata/{name}", _LARGEST_LIST), kind, what).signed
            below, meta = ("snapshot", found.snapshot_meta) if kind is Timestamp else ("targets", found.meta.get("targets.json"))
            if meta is None:
                raise BadEnvelope(f"{what}: {name} names no {below}", subject=name)
            prefixed = f"{meta.version}.{below}.json"
            name = prefixed if os.path.lexists(self.root / f"metadata/{prefixed}") else f"{below}.json"
        claimed: Targets = unverified(walk.read(self.root, f"metadata/{name}", _LARGEST_LIST), Targets, what).signed
        return claimed

    def digest(self) -> str:
        """Of the targets: a new timestamp over the same files is the same delivery."""
        return self._name(self._claimed)

    def _name(self, targets: Targets) -> str:
        return _named(self.kind, self.source, {"targets": Metadata(targets).signed_bytes})

    def sequence(self) -> int | None:
        """The version of the targets."""
        return self._claimed.version

    def prove(self, trust: TrustRoot) -> Proven:
        """Signed along the chain from the root that we know for this source."""
        role = trust.role(self.source)
        if role.tuf_root is None:
            raise UntrustedSigner(
                f"no TUF root is known for the source {self.source}: `sanitizer trust add-source --tuf-root` pins one", subject=self.source
            )
        found = authentic(
            self.root / "metadata", pinned=role.tuf_root, revoked=trust.revoked_keys(), what=f"the repository of {self.root.name}"
        )
        return Proven(
            self._name(found.targets.signed),
            self.source,
            tuple(self._claims(found.targets.signed.targets.values())),
            frozenset(self._metadata()),
            tuple(sorted(found.targets.signatures)),
            found.targets.signed.version,
            None,
            min(found.expiries().values()),
        )

    def _claims(self, targets: Iterable[Any]) -> Iterator[Claim]:
        for target in targets:
            claim = Claim.of(f"targets/{target.path}", target.hashes, target.length)
            # with consistent snapshots the file lies under its digest and its name
            prefixed = [f"targets/{path}" for path in target.get_prefixed_paths()]
            lying = next((path for path in prefixed if os.path.lexists(self.root / path)), claim.path)
            yield Claim(lying, claim.size, claim.sha256, claim.sha512)

    def _metadata(self) -> Iterator[str]:
        """Metadata of this and of earlier states; only those of this state were read."""
        with walk.directory(self.root) as top:
            for name in walk.listing(top, self.root):
                if re.fullmatch(r"metadata/[^/]+\.json", name):
                    yield name


@dataclass(frozen=True)
class Bundle:
    """`model.sig`: an OMS bundle made by the public `model_signing sign key`.  It has no number and no expiry of its own."""

    level: ClassVar[str] = "L2"
    kind: ClassVar[str] = "oms"
    root: Path
    source: str

    @property
    def present(self) -> bool:
        """Whether the bundle is there."""
        return os.path.lexists(self.root / BUNDLE)

    def digest(self) -> str:
        """Of the bundle."""
        return _named(self.kind, self.source, {BUNDLE: self._data})

    @cached_property
    def _data(self) -> bytes:
        return walk.read(self.root, BUNDLE, _LARGEST_LIST)

    def sequence(self) -> int | None:
        """None."""
        return None

    def prove(self, trust: TrustRoot) -> Proven:
        """Signed by a key of the source, over every file: a bundle that ignores paths is refused."""
        role, what = trust.role(self.source), f"the delivery {self.root.name}"
        signed = oms.verify(self._data, role.keys, revoked=trust.revoked_keys(), threshold=role.threshold, what=what)
        files = tuple(Claim(path, None, sha256) for path, sha256 in signed.files.items())
        return Proven(self.digest(), self.source, files, frozenset({BUNDLE}), (signed.keyid,))


@dataclass(frozen=True)
class Bag:
    """A BagIt bag (RFC 8493): `bagit.txt`, `manifest-sha256.txt` or `manifest-sha512.txt`, payload under `data/`."""

    level: ClassVar[str] = "L1"
    kind: ClassVar[str] = "bagit"
    root: Path
    source: str

    @property
    def present(self) -> bool:
        """Whether it is declared a bag."""
        return os.path.lexists(self.root / "bagit.txt")

    @cached_property
    def _lists(self) -> dict[str, bytes]:
        """All its manifests by name."""
        with walk.directory(self.root) as top:
            names = [name for name in walk.listing(top, self.root) if re.fullmatch(r"(tag)?manifest-[^/]*\.txt", name)]
        return {name: walk.read(self.root, name, _LARGEST_LIST) for name in sorted(names)}

    def digest(self) -> str:
        """Of its manifests."""
        return _named(self.kind, self.source, self._lists)

    def sequence(self) -> int | None:
        """None."""
        return None

    def prove(self, trust: TrustRoot) -> Proven:  # noqa: ARG002  # nothing is signed
        """Every manifest lists the same payload, by sha256 or sha512 only; nothing is to be fetched from elsewhere."""
        what = f"the bag {self.root.name}"
        declared = walk.read(self.root, "bagit.txt", 1024)
        if not re.fullmatch(rb"BagIt-Version: (1\.0|0\.97)\r?\nTag-File-Character-Encoding: UTF-8(\r?\n)?", declared):
            raise BadEnvelope(f"{what}: bagit.txt is not that of BagIt 1.0 in UTF-8", subject="bagit.txt")
        if os.path.lexists(self.root / "fetch.txt"):
            raise BadEnvelope(f"{what}: fetch.txt names files that lie elsewhere: deliver them in the bag", subject="fetch.txt")
        payload: list[dict[str, Claim]] = []
        tags: list[dict[str, Claim]] = []
        for name, data in self._lists.items():
            algorithm = name.rpartition("-")[2].removesuffix(".txt")
            if algorithm not in {"sha256", "sha512"}:
                raise WeakDigest(f"{what}: {name} relies on {algorithm}; keep manifest-sha256.txt or -sha512.txt only", subject=name)
            (tags if name.startswith("tag") else payload).append(dict(_bag_lines(data, algorithm, f"{what}: {name}")))
        if not payload:
            raise Unsigned(f"{what} has no manifest", subject=what)
        listed = _merged(payload, what)
        if stray := [path for path in listed if not path.startswith("data/")]:
            raise BadName(f"{what} lists {stray[0]!r} outside data/", subject=stray[0])
        tagged = _merged(tags, what) if tags else {}
        if stray := [path for path in tagged if path.startswith("data/")]:
            raise BadName(f"{what} lists {stray[0]!r} among the tag files", subject=stray[0])
        own = {"bagit.txt", "bag-info.txt", *self._lists} - set(tagged)
        beside = frozenset(name for name in own if os.path.lexists(self.root / name))
        return Proven(self.digest(), self.source, (*listed.values(), *tagged.values()), beside)


@dataclass(frozen=True)
class Sums:
    """A list as `sha256sum` or `sha512sum` writes it, `SHA256SUMS` or a like name."""

    level: ClassVar[str] = "L1"
    kind: ClassVar[str] = "sha256sum"
    names: ClassVar[tuple[str, ...]] = ("SHA256SUMS", "sha256sum.txt", "sha256sums.txt", "SHA512SUMS", "sha512sum.txt", "sha512sums.txt")
    root: Path
    source: str

    @property
    def present(self) -> bool:
        """Whether there is such a list."""
        return self._list() is not None

    def _list(self) -> str | None:
        return next((name for name in self.names if os.path.lexists(self.root / name)), None)

    @cached_property
    def _found(self) -> tuple[str, bytes]:
        name = self._list()
        if name is None:
            raise Unsigned(f"{self.root} has no list of digests", subject=str(self.root))
        return name, walk.read(self.root, name, _LARGEST_LIST)

    def digest(self) -> str:
        """Of the list."""
        return _named(self.kind, self.source, dict([self._found]))

    def sequence(self) -> int | None:
        """None."""
        return None

    def prove(self, trust: TrustRoot) -> Proven:  # noqa: ARG002  # nothing is signed
        """Every line is a digest and a name."""
        name, data = self._found
        listed = dict(_sum_lines(data, f"{self.root.name}: {name}"))
        return Proven(self.digest(), self.source, tuple(listed.values()), frozenset({name}))


@dataclass(frozen=True)
class Croissant:
    """`croissant.json`: of each file object its `contentUrl`, `sha256` and size; md5 and everything else is not looked at."""

    level: ClassVar[str] = "L1"
    kind: ClassVar[str] = "croissant"
    root: Path
    source: str

    @property
    def present(self) -> bool:
        """Whether there is a description."""
        return os.path.lexists(self.root / "croissant.json")

    def digest(self) -> str:
        """Of the description."""
        return _named(self.kind, self.source, {"croissant.json": self._data})

    @cached_property
    def _data(self) -> bytes:
        return walk.read(self.root, "croissant.json", _LARGEST_LIST)

    def sequence(self) -> int | None:
        """None."""
        return None

    def prove(self, trust: TrustRoot) -> Proven:  # noqa: ARG002  # nothing is signed
        """Every file object lies in the delivery and has a sha256."""
        what = f"{self.root.name}: croissant.json"
        found = jcs.loads(self._data, what=what)
        listed = found.get("distribution") if isinstance(found, dict) else None
        if not isinstance(listed, list):
            raise BadEnvelope(f"{what} has no distribution", subject=what)
        files: dict[str, Claim] = {}
        for item in listed:
            kind = item.get("@type") if isinstance(item, dict) else None
            if kind in ("cr:FileSet", "FileSet", "sc:FileSet"):
                continue  # a pattern over files; each file still needs an object of its own
            if kind not in ("cr:FileObject", "FileObject", "sc:FileObject"):
                raise BadEnvelope(f"{what} distributes {kind!r}, which is neither a FileObject nor a FileSet", subject=what)
            claim = _file_object(item, what)
            if files.setdefault(claim.path, claim) != claim:
                raise BadEnvelope(f"{what} lists {claim.path!r} twice", subject=claim.path)
        return Proven(self.digest(), self.source, tuple(files.values()), frozenset({"croissant.json"}))


@dataclass(frozen=True)
class Nothing:
    """No proof at all: what lies there is what came.  Its name is found by hashing everything."""

    level: ClassVar[str] = "L0"
    kind: ClassVar[str] = "nothing"
    root: Path
    source: str

    @property
    def present(self) -> bool:
        """Whether there is anything."""
        return self.root.is_dir() and any(self.root.iterdir())

    @cached_property
    def _files(self) -> Manifest:
        return walk.measure(self.root)

    def digest(self) -> str:
        """Of all names and bytes."""
        return _named(self.kind, self.source, {"files": jcs.dumps(self._files.to_json())})

    def sequence(self) -> int | None:
        """None."""
        return None

    def prove(self, trust: TrustRoot) -> Proven:  # noqa: ARG002  # nothing is signed
        """Only that it does not change while it is copied."""
        return Proven(self.digest(), self.source, tuple(Claim(f.path, f.size, f.sha256) for f in self._files.files), frozenset())


# the first present governs
PROOFS: tuple[type[Proof], ...] = (SignedStatement, Repository, Bundle, Bag, Sums, Croissant, Nothing)


def governing(root: Path, source: str, *, least_level: str) -> Proof:
    """The proof that a delivery stands or falls with.

    Lists of digests count only where the policy is content with them: elsewhere `SHA256SUMS` is a file like any other.

    Raises:
        Unsigned: it brings none that the policy is content with.
    """
    for kind in PROOFS:
        if LEVELS.index(kind.level) >= LEVELS.index(least_level) and (proof := kind(root, source)).present:
            return proof
    wanted = {"L0": "file", "L1": "list of digests", "L2": f"signed {MANIFEST}", "L3": "TUF repository"}[least_level]
    raise Unsigned(f"{root} has no {wanted}: it is incomplete, or was never signed", subject=str(root))


def _named(kind: str, source: str, files: dict[str, bytes]) -> str:
    """A name for what has no signed statement: of its kind, its source, and the bytes that list it."""
    parts = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    return f"sha256:{hashlib.sha256(jcs.dumps({'kind': kind, 'source': source, 'lists': parts})).hexdigest()}"


def _lines(data: bytes, what: str) -> list[str]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadEnvelope(f"{what} is not UTF-8: {error}", subject=what) from error
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def _sum_lines(data: bytes, what: str) -> Iterator[tuple[str, Claim]]:
    seen: set[str] = set()
    for number, line in enumerate(_lines(data, what), 1):
        # GNU: digest, space, space or star, name; BSD: SHA256 (name) = digest.  An escaped name (\) would be a bad one
        if gnu := re.fullmatch(r"([0-9a-fA-F]+) [ *](.+)", line):
            digest, name = gnu[1].lower(), gnu[2]
        elif bsd := re.fullmatch(r"SHA(?:256|512) \((.+)\) = ([0-9a-fA-F]+)", line):
            digest, name = bsd[2].lower(), bsd[1]
        else:
            raise BadEnvelope(f"{what}, line {number}: neither DIGEST  NAME nor SHA256 (NAME) = DIGEST", subject=what)
        algorithm = {64: "sha256", 128: "sha512"}.get(len(digest))
        if algorithm is None:
            raise WeakDigest(f"{what}, line {number}: a digest of {len(digest) * 4} bits; list sha256 or sha512", subject=name)
        name = name.removeprefix("./")
        if name in seen:
            raise BadEnvelope(f"{what} lists {name!r} twice", subject=name)
        seen.add(name)
        yield name, Claim.of(name, {algorithm: digest})


def _bag_lines(data: bytes, algorithm: str, what: str) -> Iterator[tuple[str, Claim]]:
    seen: set[str] = set()
    for number, line in enumerate(_lines(data, what), 1):
        found = re.fullmatch(r"([0-9a-fA-F]+)[ \t]+(?:\*|\./)?(.+)", line)
        if found is None:
            raise BadEnvelope(f"{what}, line {number}: no digest and name", subject=what)
        # RFC 8493 2.1.3: only line ends and the percent sign itself are escaped
        name = re.sub("%(0D|0A|25)", lambda m: {"0D": "\r", "0A": "\n", "25": "%"}[m[1].upper()], found[2], flags=re.IGNORECASE)
        if name in seen:
            raise BadEnvelope(f"{what} lists {name!r} twice", subject=name)
        seen.add(name)
        yield name, Claim.of(name, {algorithm: found[1].lower()})


def _merged(lists: list[dict[str, Claim]], what: str) -> dict[str, Claim]:
    """One claim per file from several lists that must agree on which files there are."""
    if any(set(other) != set(lists[0]) for other in lists[1:]):
        raise BadEnvelope(f"{what} has manifests that list different files", subject=what)
    digests: dict[str, dict[str, str]] = {}
    for claims in lists:
        for path, claim in claims.items():
            digests.setdefault(path, {}).update({k: v for k, v in (("sha256", claim.sha256), ("sha512", claim.sha512)) if v})
    return {path: Claim.of(path, found) for path, found in digests.items()}


def _file_object(item: dict[str, Any], what: str) -> Claim:
    url, digest = item.get("contentUrl"), item.get("sha256")
    if not isinstance(url, str) or "containedIn" in item:
        raise BadEnvelope(f"{what} has a FileObject without contentUrl, or inside another: archives are not opened", subject=what)
    if ":" in url or url.startswith("//"):  # a scheme, or a name that is refused anyway
        raise BadEnvelope(f"{what}: {url!r} lies elsewhere: deliver the file and name it by its path", subject=url)
    if not isinstance(digest, str):
        raise WeakDigest(f"{what}: {url!r} has no sha256", subject=url)
    size = re.fullmatch(r"([0-9]{1,15})( B)?", str(item.get("contentSize", "")))
    return Claim.of(url.removeprefix("./"), {"sha256": digest.lower()}, int(size[1]) if size else None)


def claimed_source(root: Path) -> str:
    """The source that a signed statement claims to be of; raises a `Refused` where there is none."""
    return statement.parse_delivery(SignedStatement(root, "").envelope.payload).source
