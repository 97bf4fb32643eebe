"""OpenSSF Model Signing (OMS v1.0) bundles: what the public `model_signing` command signs and verifies.

The detached signature of a release is one, and a supplier may sign a delivery with one.
A bundle is a sigstore bundle around a DSSE envelope around an in-toto statement that lists every file with its sha256.  We write
one kind (key method, ECDSA P-256, sha256, method `files`, nothing ignored) and read only that kind: a bundle whose signer chose
paths to ignore vouches for less than it seems to.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from securesystemslib.signer import Key, Signer

from sanitizer.errors import BadEnvelope, UsageError, WeakDigest
from sanitizer.provenance import jcs, keys
from sanitizer.provenance.envelope import IN_TOTO, Envelope
from sanitizer.provenance.names import check_names
from sanitizer.provenance.statement import STATEMENT

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_SERIALIZATION = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}


@dataclass(frozen=True)
class Signed:
    """What a verified bundle says: the hex sha256 of each file by path, and who signed.

    `digest` is `sha256:…` over the raw digests of all files in the order of their paths: it names the release.
    """

    name: str
    files: Mapping[str, str]
    digest: str
    keyid: str


def root_digest(files: Mapping[str, str]) -> str:
    """`sha256:…` over the raw sha256 digests of `files` (path -> hex), sorted by path (OMS v1.0, 5.2).

    >>> root_digest({}) == "sha256:" + hashlib.sha256().hexdigest()
    True
    """
    return f"sha256:{hashlib.sha256(b''.join(bytes.fromhex(files[path]) for path in sorted(files))).hexdigest()}"


def sign(name: str, files: Mapping[str, str], signer: Signer) -> bytes:
    """The bundle over `files` (path -> hex sha256) of the directory `name`; raises `UsageError` for a key that is not ECDSA P-256."""
    if signer.public_key.scheme != "ecdsa-sha2-nistp256":
        raise UsageError(
            f"releases are signed with ECDSA P-256, not {signer.public_key.scheme}: `sanitizer keys new --type ecdsa` makes such a key"
        )
    hint = hashlib.sha256(keys.pem(signer.public_key)).hexdigest()
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": root_digest(files).removeprefix("sha256:")}}],
        "predicateType": _PREDICATE_TYPE,
        "predicate": {
            "serialization": _SERIALIZATION,
            "resources": [{"name": path, "algorithm": "sha256", "digest": files[path]} for path in sorted(files)],
        },
    }
    payload = jcs.dumps(statement)
    signature = signer.sign(Envelope(payload, IN_TOTO).pae())
    bundle = {
        "mediaType": _MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": IN_TOTO,
            "signatures": [{"sig": base64.b64encode(bytes.fromhex(signature.signature)).decode(), "keyid": ""}],
        },
    }
    return jcs.dumps(bundle) + b"\n"


def verify(bundle: bytes, allowed: Sequence[Key], *, revoked: Sequence[Key] = (), threshold: int = 1, what: str = "the release") -> Signed:
    """Reads a bundle that one of the keys `allowed` signed.

    Raises:
        BadEnvelope: it is no bundle of the one kind that we accept.
        UntrustedSigner: none of them signed it.
        RevokedKey: one of the keys `revoked` did.
        ThresholdNotMet: more than one must sign, which this format cannot carry.
        WeakDigest: it relies on something else than sha256.
        BadName: it lists a path that could leave the directory.
    """
    outer = jcs.loads(bundle, what=f"the signature of {what}")
    _expect(isinstance(outer, dict) and outer.get("mediaType") == _MEDIA_TYPE, what, f"its media type is not {_MEDIA_TYPE}")
    _expect(set(outer) <= {"mediaType", "verificationMaterial", "dsseEnvelope"}, what, "it has other fields than an OMS bundle")
    inner = outer.get("dsseEnvelope")
    inner = inner if isinstance(inner, dict) else {}
    _expect(inner.get("payloadType") == IN_TOTO, what, f"it holds no {IN_TOTO}")
    signatures: Any = inner.get("signatures")
    _expect(isinstance(signatures, list) and len(signatures) == 1, what, "it must hold exactly one signature")
    _expect(set(inner) == {"payload", "payloadType", "signatures"}, what, "its envelope has other fields than a DSSE envelope")
    _expect(isinstance(signatures[0], dict) and set(signatures[0]) <= {"sig", "keyid"}, what, "its signature has unknown fields")
    try:
        payload = base64.b64decode(inner["payload"], validate=True)
        signature = base64.b64decode(signatures[0]["sig"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise BadEnvelope(f"the signature of {what} is malformed: payload or signature is not base64") from error
    # the key id is a hint that the format leaves empty: every allowed key is tried
    envelope = Envelope(payload, IN_TOTO, (("", signature),))
    [keyid] = envelope.verify(allowed, threshold, what=what, revoked=revoked)
    return _read(payload, keyid, what)


def _read(payload: bytes, keyid: str, what: str) -> Signed:
    statement = jcs.loads(payload, what=f"the signed list of {what}")
    _expect(
        isinstance(statement, dict) and set(statement) == {"_type", "subject", "predicateType", "predicate"},
        what,
        "its statement has other fields than an OMS statement",
    )
    _expect(statement["_type"] == STATEMENT and statement["predicateType"] == _PREDICATE_TYPE, what, "it is no OMS v1.0 statement")
    predicate = statement["predicate"]
    _expect(isinstance(predicate, dict) and set(predicate) == {"serialization", "resources"}, what, "its predicate is not that of OMS v1.0")
    serialization = predicate["serialization"]
    _expect(isinstance(serialization, dict), what, "it does not say how files were hashed")
    if serialization.get("hash_type") != "sha256":
        raise WeakDigest(f"the signature of {what} relies on {serialization.get('hash_type')}: only sha256 is accepted")
    # signer-chosen ignored paths are a hiding place for files that nobody vouches for
    _expect(
        {k: v for k, v in serialization.items() if k != "ignore_paths" or v != []} == _SERIALIZATION,
        what,
        "it ignores paths or follows links",
    )
    files = _files(predicate["resources"], what)
    subject = statement["subject"]
    _expect(isinstance(subject, list) and len(subject) == 1 and isinstance(subject[0], dict), what, "it must have exactly one subject")
    digest = root_digest(files)
    _expect(subject[0].get("digest") == {"sha256": digest.removeprefix("sha256:")}, what, "its subject is not the digest of its files")
    name = subject[0].get("name")
    _expect(isinstance(name, str), what, "its subject has no name")
    return Signed(str(name), files, digest, keyid)


def _files(resources: Any, what: str) -> dict[str, str]:
    _expect(isinstance(resources, list), what, "it lists no files")
    files: dict[str, str] = {}
    for item in resources:
        _expect(
            isinstance(item, dict) and set(item) == {"name", "algorithm", "digest"},
            what,
            "a listed file has other fields than name, algorithm, digest",
        )
        if item["algorithm"] != "sha256":
            raise WeakDigest(f"the signature of {what} lists a file by {item['algorithm']}: only sha256 is accepted")
        name, digest = item["name"], item["digest"]
        _expect(
            isinstance(name, str) and isinstance(digest, str) and _is_sha256(digest), what, "a listed file has no proper name or digest"
        )
        _expect(name not in files, what, f"it lists {name!r} twice")
        files[name] = digest
    check_names(files)
    _expect(list(files) == sorted(files), what, "its files are not in order")
    return files


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def _expect(holds: bool, what: str, otherwise: str) -> None:
    if not holds:
        raise BadEnvelope(f"the signature of {what} is not acceptable: {otherwise}")
