"""DSSE: signed bytes and who signed them.

Dead Simple Signing Envelope v1 (https://github.com/secure-systems-lab/dsse).  The signature covers the payload *and* its
type, so one cannot be read as another kind of document.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature, Signer

from sanitizer.errors import BadEnvelope, RevokedKey, ThresholdNotMet, Unsigned, UntrustedSigner, UsageError
from sanitizer.provenance import jcs, keys

IN_TOTO = "application/vnd.in-toto+json"
LARGEST = 256 << 20  # bytes of an envelope; a manifest of a million files has about 150 MB
MOST_SIGNATURES = 32


@dataclass(frozen=True)
class Envelope:
    """A payload, its type, and signatures: pairs of key id (may be empty) and signature bytes.  Nothing is verified yet."""

    payload: bytes
    payload_type: str
    signatures: tuple[tuple[str, bytes], ...] = ()

    def pae(self) -> bytes:
        """The bytes that are signed (pre-authentication encoding).

        >>> Envelope(b"hello world", "http://example.com/HelloWorld").pae()
        b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
        """
        kind = self.payload_type.encode("utf-8")
        return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(self.payload), self.payload)

    def signed_by(self, signers: Iterable[Signer]) -> Envelope:
        """The same with a signature by each of `signers`; a key that signed before signs anew.

        Raises:
            UsageError: a signer cannot sign.
        """
        made = dict(self.signatures)
        for signer in signers:
            try:
                signature = signer.sign(self.pae())
            except Exception as error:  # tokens and clouds have errors of their own
                raise UsageError(f"the key {keys.short(signer.public_key.keyid)} cannot sign: {error}") from error
            made[signature.keyid] = bytes.fromhex(signature.signature)
        return replace(self, signatures=tuple(made.items()))

    def to_bytes(self) -> bytes:
        """The JSON form, on one line."""
        return jcs.dumps(
            {
                "payload": base64.standard_b64encode(self.payload).decode(),
                "payloadType": self.payload_type,
                "signatures": [{"keyid": keyid, "sig": base64.standard_b64encode(sig).decode()} for keyid, sig in self.signatures],
            }
        )

    def verify(self, allowed: Sequence[Key], threshold: int, *, what: str, revoked: Sequence[Key] = ()) -> tuple[str, ...]:
        """Key ids of at least `threshold` different keys of `allowed` that signed; raises unless every signature is one of theirs.

        A closed world: a signature that none of the allowed keys made is refused even beside enough good ones.  Key ids are
        hints (DSSE): a signature without one is tried against all keys.  One key under two ids counts once.

        Args:
            allowed: keys that may sign.
            threshold: how many different ones must.
            what: what is signed, for the message.
            revoked: keys that may not sign any more: so that revoked is told from unknown.

        Raises:
            Unsigned: no signature at all.
            RevokedKey: a revoked key signed.
            BadEnvelope: an allowed key is named, but the signature is not of these bytes; or nobody's signature beside good ones.
            UntrustedSigner: signed by none of the allowed keys.
            ThresholdNotMet: by too few.
        """
        if not self.signatures:
            raise Unsigned(f"{what} carries no signature", subject=what)
        by_id, pae = {key.keyid: key for key in allowed}, self.pae()
        withdrawn = {key.keyid for key in revoked}
        signed: dict[str, str] = {}  # key material -> key id
        strangers = []
        for keyid, signature in self.signatures:
            if keyid in withdrawn or any(_made(pae, signature, key) for key in revoked):
                raise RevokedKey(f"{what} is signed by the key {keys.short(keyid)}, which is revoked", subject=keyid)
            maker = next((key for key in ([by_id[keyid]] if keyid in by_id else allowed) if _made(pae, signature, key)), None)
            if maker is not None:
                signed[keys.material(maker)] = maker.keyid
            elif keyid in by_id:
                raise BadEnvelope(
                    f"the signature of {keys.short(keyid)} does not belong to {what}: one of the two was changed", subject=keyid
                )
            else:
                strangers.append(keyid)
        if not signed:
            names = ", ".join(keys.short(keyid) or "no key id" for keyid in strangers)
            raise UntrustedSigner(f"{what} is signed by nobody who may sign for it: {names}", subject=strangers[0])
        if len(signed) < threshold:
            raise ThresholdNotMet(f"{what} is signed by {len(signed)} of the {threshold} different keys it needs", subject=what)
        if strangers:
            raise BadEnvelope(f"{what} carries a signature that no key known for it made: {keys.short(strangers[0])}", subject=strangers[0])
        return tuple(sorted(signed.values()))


def _made(pae: bytes, signature: bytes, key: Key) -> bool:
    try:
        key.verify_signature(Signature(key.keyid, signature.hex()), pae)
    except UnverifiedSignatureError:
        return False
    return True


def sign(statement: bytes, signers: Sequence[Signer], *, payload_type: str = IN_TOTO) -> bytes:
    """An envelope around `statement`, signed by each of `signers`, as bytes."""
    return Envelope(statement, payload_type).signed_by(signers).to_bytes()


def open_envelope(data: bytes, *, what: str = "the envelope", payload_type: str = IN_TOTO) -> Envelope:
    """Parse an envelope; nothing in it is verified yet.

    Raises:
        BadEnvelope: not the JSON of an envelope, unknown fields, another payload type, or absurdly many signatures.
        Unsigned: no signature.
    """
    if len(data) > LARGEST:
        raise BadEnvelope(f"{what} is larger than {LARGEST >> 20} MiB", subject=what)
    found = jcs.loads(data, what=what)
    match found:
        case {"payload": str(payload), "payloadType": str(kind), "signatures": list(listed), **rest} if not rest:
            pass
        case {"payload": str(), "payloadType": str(), **rest} if not rest:
            raise Unsigned(f"{what} carries no signature", subject=what)
        case _:
            raise BadEnvelope(f"{what} is no DSSE envelope: it needs payload, payloadType and signatures, and nothing else", subject=what)
    if kind != payload_type:
        raise BadEnvelope(f"{what} holds {kind!r} where {payload_type} belongs", subject=what)
    if not listed:
        raise Unsigned(f"{what} carries no signature", subject=what)
    if len(listed) > MOST_SIGNATURES:
        raise BadEnvelope(f"{what} carries more than {MOST_SIGNATURES} signatures", subject=what)
    signatures = []
    for signature in listed:
        match signature:
            case {"sig": str(sig), **rest} if not set(rest) - {"keyid"} and isinstance(rest.get("keyid", ""), str):
                signatures.append((str(rest.get("keyid", "")), _decoded(sig, what)))
            case _:
                raise BadEnvelope(f"{what} has a signature that is not made of keyid and sig", subject=what)
    return Envelope(_decoded(payload, what), kind, tuple(signatures))


def _decoded(text: str, what: str) -> bytes:
    # DSSE: standard or URL-safe base64, either accepted
    try:
        return base64.b64decode(text.translate({ord("-"): "+", ord("_"): "/"}).encode("ascii"), validate=True)
    except (ValueError, binascii.Error) as error:
        raise BadEnvelope(f"{what} holds what is not base64: {error}", subject=what) from error
