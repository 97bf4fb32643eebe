"""Keys: made once, never replaced, read only where nobody else can, and told apart by what they are."""

from __future__ import annotations

import stat

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat, PublicFormat
from securesystemslib.signer import CryptoSigner, Key, SSlibKey

from sanitizer.errors import UntrustedSigner, UsageError
from sanitizer.provenance import keys
from tests.vectors.world import key


@pytest.mark.parametrize(("scheme", "made"), [("ed25519", "ed25519"), ("ecdsa", "ecdsa-sha2-nistp256")])
def test_a_new_key_pair_signs_and_its_public_half_verifies(tmp_path, scheme, made):
    public = keys.new_key(tmp_path / "keys/supplier.pem", scheme)
    assert public.scheme == made
    assert stat.S_IMODE((tmp_path / "keys/supplier.pem").stat().st_mode) == 0o600
    signer = keys.signer("file:keys/supplier.pem", base=tmp_path)
    again = keys.public_key(tmp_path / "keys/supplier.pub.pem")
    assert signer.public_key.keyid == again.keyid == public.keyid
    again.verify_signature(signer.sign(b"data"), b"data")


def test_a_key_is_never_replaced(tmp_path):
    keys.new_key(tmp_path / "a.pem")
    before = (tmp_path / "a.pem").read_bytes()
    with pytest.raises(UsageError, match="never overwritten"):
        keys.new_key(tmp_path / "a.pem")
    assert (tmp_path / "a.pem").read_bytes() == before


@pytest.mark.parametrize(("name", "scheme", "words"), [("a.pem", "rsa", "unknown key scheme"), ("a.key", "ed25519", r"ends in \.pem")])
def test_an_unusable_key_is_not_made(tmp_path, name, scheme, words):
    with pytest.raises(UsageError, match=words):
        keys.new_key(tmp_path / name, scheme)
    assert list(tmp_path.iterdir()) == []


def test_a_private_key_that_others_can_read_is_not_used(tmp_path):
    keys.new_key(tmp_path / "a.pem")
    (tmp_path / "a.pem").chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        keys.signer(f"file:{tmp_path}/a.pem")


def private(made, encryption=None):
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a key",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        private(ed25519.Ed25519PrivateKey.generate(), BestAvailableEncryption(b"secret")),
        private(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        private(ec.generate_private_key(ec.SECP256K1())),
    ],
    ids=["empty", "text", "broken", "with passphrase", "rsa", "other curve"],
)
def test_a_file_that_holds_no_key_we_accept_is_named(tmp_path, content):
    (tmp_path / "a.pem").write_bytes(content)
    (tmp_path / "a.pem").chmod(0o600)
    with pytest.raises(UsageError, match=r"a\.pem"):
        keys.signer("file:a.pem", base=tmp_path)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("keys/a.pem", "is no signer URI"),
        ("ftp:keys/a.pem", "begins with one of"),
        ("file:none.pem", "sanitizer keys new"),
        ("hsm:2?label=x", "names no public key"),
        ("awskms:alias/x#none.pub.pem", "cannot read the public key"),
    ],
)
def test_a_signer_that_cannot_be_had_is_explained(tmp_path, uri, words):
    with pytest.raises(UsageError, match=words):
        keys.signer(uri, base=tmp_path)


def test_other_schemes_go_to_securesystemslib_with_their_public_key(tmp_path):
    keys.new_key(tmp_path / "a.pem")
    signer = keys.signer(f"file2:{tmp_path}/a.pem#a.pub.pem", base=tmp_path)
    signer.public_key.verify_signature(signer.sign(b"x"), b"x")
    with pytest.raises(UsageError, match="cannot use the signer"):
        keys.signer(f"file2:{tmp_path}/none.pem#a.pub.pem", base=tmp_path)


@pytest.mark.parametrize("content", [b"", b"x", private(ed25519.Ed25519PrivateKey.generate())])
def test_a_public_key_file_that_holds_none_is_named(tmp_path, content):
    (tmp_path / "a.pub.pem").write_bytes(content)
    with pytest.raises(UsageError, match=r"a\.pub\.pem"):
        keys.public_key(tmp_path / "a.pub.pem")


def test_rsa_keys_are_not_accepted():
    public = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    with pytest.raises(UsageError, match="not accepted"):
        keys.public_key(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(UntrustedSigner, match="not accepted"):
        keys.material(SSlibKey.from_crypto(public))


def test_one_key_in_any_dress_is_the_same_material():
    public = key("release").public_key
    dressed = [
        SSlibKey("ab" * 32, "ecdsa", public.scheme, public.keyval),
        SSlibKey("cd" * 32, "ecdsa", public.scheme, {"public": public.keyval["public"].strip() + "\n\n"}),
        SSlibKey("ef" * 32, "ecdsa", public.scheme, {"public": public.keyval["public"].replace("\n", "\r\n")}),
    ]
    assert {keys.material(k) for k in dressed} == {keys.material(public)}
    ed = key("north").public_key
    assert keys.material(SSlibKey("x", "ed25519", "ed25519", {"public": ed.keyval["public"].upper()})) == keys.material(ed)
    assert keys.material(ed) != keys.material(key("south").public_key)


@pytest.mark.parametrize(
    "broken",
    [
        {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "zz"}},
        {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "ab"}},
        {"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": "-----BEGIN PUBLIC KEY-----"}},
        {"keytype": "rsa", "scheme": "rsassa-pss-sha256", "keyval": {"public": ""}},
    ],
)
def test_a_malformed_key_raises_our_error(broken):
    with pytest.raises(UntrustedSigner):
        keys.material(Key.from_dict("ab" * 32, dict(broken)))
    assert not keys.acceptable(Key.from_dict("ab" * 32, dict(broken)))


def test_pem_and_back():
    for name in ("north", "release"):
        assert keys.public_key(keys.pem(key(name).public_key)).keyid == CryptoSigner(key(name)._private_key).public_key.keyid
