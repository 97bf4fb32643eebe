"""Envelopes and statements: one reading, every signature accounted for, no input that breaks the reader."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as PublicEnvelope
from securesystemslib.signer import Signature, Signer, SSlibKey

from sanitizer.errors import BadEnvelope, Refused, RevokedKey, ThresholdNotMet, Unsigned, UntrustedSigner, UsageError
from sanitizer.provenance import envelope as dsse
from sanitizer.provenance import jcs, statement
from sanitizer.provenance.envelope import Envelope, open_envelope, sign
from sanitizer.provenance.manifest import FileEntry, Manifest
from tests.vectors.world import key

A, B, C = (key(n) for n in "abc")


def public(*signers):
    return [s.public_key for s in signers]


def test_an_envelope_of_ours_is_read_by_securesystemslib_and_the_other_way_round():
    theirs = PublicEnvelope.from_dict(json.loads(sign(b"payload", [A, B])))
    assert set(theirs.verify(public(A, B), 2)) == {A.public_key.keyid, B.public_key.keyid}
    made = PublicEnvelope(b"payload", dsse.IN_TOTO, {})
    made.sign(A)
    assert open_envelope(json.dumps(made.to_dict()).encode()).verify(public(A), 1, what="x") == (A.public_key.keyid,)


def test_url_safe_base64_is_read_too():
    found = json.loads(sign(b"\xff\xfe\xfd", [A]))
    found["payload"] = base64.urlsafe_b64encode(b"\xff\xfe\xfd").decode()
    assert open_envelope(json.dumps(found).encode()).payload == b"\xff\xfe\xfd"


def test_signing_again_replaces_the_signature_of_that_key():
    envelope = Envelope(b"x", dsse.IN_TOTO).signed_by([A, B]).signed_by([A])
    assert [keyid for keyid, _ in envelope.signatures] == [A.public_key.keyid, B.public_key.keyid]


def test_a_signer_that_fails_is_our_error():
    class Broken(Signer):
        public_key = A.public_key

        @classmethod
        def from_priv_key_uri(cls, *_):
            raise NotImplementedError

        def sign(self, payload):
            raise OSError("the token was pulled")

    with pytest.raises(UsageError, match="the token was pulled"):
        sign(b"x", [Broken()])


def test_the_payload_type_is_signed_too():
    signed = Envelope(b"x", "text/plain").signed_by([A])
    other = Envelope(b"x", dsse.IN_TOTO, signed.signatures)
    with pytest.raises(BadEnvelope, match="does not belong to"):
        other.verify(public(A), 1, what="x")


def alias(signer, keyid):
    return SSlibKey.from_dict(keyid, signer.public_key.to_dict())


@given(st.data())
def test_verification_agrees_with_counting_different_keys(data):
    """A model in one line per rule, against every mix of allowed, unknown, revoked, doubled and broken signatures."""
    makers = data.draw(st.lists(st.sampled_from(["a", "b", "c", "stranger", "revoked", "broken", "a again", "a without id"]), max_size=5))
    threshold = data.draw(st.integers(1, 3))
    envelope = Envelope(b"payload", dsse.IN_TOTO)
    by = {name: Envelope(b"payload", dsse.IN_TOTO).signed_by([key(name)]).signatures[0] for name in ("a", "b", "c", "stranger", "revoked")}
    by["broken"] = (A.public_key.keyid, bytes(64))
    by["a again"] = by["a"]
    by["a without id"] = ("", by["a"][1])
    envelope = Envelope(b"payload", dsse.IN_TOTO, tuple(by[m] for m in makers))
    good = {"a": "a", "a again": "a", "a without id": "a", "b": "b", "c": "c"}
    signed = {good[m] for m in makers if m in good}
    if not makers:
        expected = Unsigned
    elif bad := next((m for m in makers if m in {"revoked", "broken"}), None):
        expected = {"revoked": RevokedKey, "broken": BadEnvelope}[bad]
    elif not signed:
        expected = UntrustedSigner
    elif len(signed) < threshold:
        expected = ThresholdNotMet
    elif "stranger" in makers:
        expected = BadEnvelope
    else:
        expected = None
    allowed = [*public(A, B, C), alias(A, "ab" * 32), alias(B, "cd" * 32)]
    if expected is None:
        assert len(envelope.verify(allowed, threshold, what="x", revoked=public(key("revoked")))) == len(signed)
    else:
        with pytest.raises(Refused) as refused:
            envelope.verify(allowed, threshold, what="x", revoked=public(key("revoked")))
        assert type(refused.value) is expected


def test_ecdsa_and_ed25519_keys_sign_together():
    release = key("release")
    envelope = open_envelope(sign(b"x", [A, release]))
    assert len(envelope.verify(public(A, release), 2, what="x")) == 2
    wrong = Envelope(b"x", dsse.IN_TOTO, ((release.public_key.keyid, b"not DER"), (A.public_key.keyid, b"short")))
    with pytest.raises(BadEnvelope):
        wrong.verify(public(A, release), 1, what="x")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader_of_envelopes(data):
    with pytest.raises((BadEnvelope, Unsigned)):
        open_envelope(data)


@given(st.fixed_dictionaries({"payload": json_values, "payloadType": st.just(dsse.IN_TOTO) | json_values, "signatures": json_values}))
@example({"payload": "", "payloadType": dsse.IN_TOTO, "signatures": [{"sig": "", "keyid": "\ud800"}]})
def test_no_envelope_breaks_reading_and_verifying(found):
    with pytest.raises(Refused):  # nobody signed this
        open_envelope(json.dumps(found).encode()).verify(public(A), 1, what="x")


def delivery(**change):
    manifest = Manifest.of([FileEntry("data.csv", "0" * 64, 3), FileEntry("b", "1" * 64, 0)])
    values = {
        "source": "north",
        "sequence": 7,
        "issued": datetime(2026, 1, 1, tzinfo=UTC),
        "expires": datetime(2026, 2, 1, tzinfo=UTC),
        "schema_id": f"sha256:{'2' * 64}",
    }
    return json.loads(statement.build_delivery(manifest, **(values | change)))


def test_a_statement_comes_back_as_it_was_said():
    said = statement.parse_delivery(jcs.dumps(delivery()))
    assert (said.source, said.sequence, said.schema_id, said.rows_root) == ("north", 7, f"sha256:{'2' * 64}", None)
    assert [(f.path, f.size, f.sha256) for f in said.files] == [("b", 0, "1" * 64), ("data.csv", 3, "0" * 64)]


def test_a_statement_is_one_that_in_toto_readers_know():
    said = delivery()
    assert said["_type"] == "https://in-toto.io/Statement/v1"
    assert said["subject"][0] == {"name": "b", "digest": {"sha256": "1" * 64}}


PLACES = ["_type", "subject", "predicateType", "predicate"]
INNER = ["source", "sequence", "issued", "expires", "sizes", "schema_id", "rows_root", "other"]


@given(st.sampled_from(PLACES), json_values)
def test_no_statement_breaks_its_reader(place, value):
    said = delivery() | {place: value}
    with pytest.raises(Refused):
        statement.parse_delivery(json.dumps(said).encode())


@given(st.sampled_from(INNER), json_values)
@example("sequence", 2**53)
@example("sizes", {"data.csv": 3, "b": True})
def test_no_predicate_breaks_its_reader(place, value):
    said = delivery()
    said["predicate"][place] = value
    try:
        found = statement.parse_delivery(json.dumps(said).encode())
    except Refused:
        return
    assert 1 <= found.sequence < 2**53
    assert found.issued < found.expires
    assert statement.SOURCE_NAME.fullmatch(found.source)


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda b: b.decode("latin-1")))
def test_only_one_form_of_time_is_read(text):
    try:
        moment = statement.time_of(text)
    except ValueError:
        return
    assert statement.time_text(moment) == text


@given(json_values)
def test_strict_json_reads_what_canonical_json_wrote(value):
    try:
        data = jcs.dumps(value)
    except ValueError:
        return
    assert jcs.dumps(jcs.loads(data, what="x")) == data


def test_a_signature_of_securesystemslib_holds_for_our_preauthentication_encoding():
    envelope = Envelope(b"x", dsse.IN_TOTO).signed_by([A])
    [(keyid, signature)] = envelope.signatures
    A.public_key.verify_signature(Signature(keyid, signature.hex()), PublicEnvelope(b"x", dsse.IN_TOTO, {}).pae())
