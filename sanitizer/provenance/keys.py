"""Key pairs and signers, by URI."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, CryptoSigner, Key, Signer, SSlibKey

from sanitizer.errors import UntrustedSigner, UsageError

# signature schemes we accept: short deterministic names for strong ones; RSA and PGP keys are left out on purpose
SCHEMES = frozenset({"ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"})

_GENERATE: dict[str, Callable[[], Any]] = {"ed25519": Ed25519PrivateKey.generate, "ecdsa": lambda: generate_private_key(SECP256R1())}


def new_key(path: Path, scheme: str = "ed25519") -> Key:
    """Makes a key pair: the private key at `path` (PKCS#8 PEM, mode 0600), the public one beside it as `<name>.pub.pem`.

    Args:
        path: ends in `.pem`; a file that exists is never replaced.
        scheme: `ed25519` (sources, ledger) or `ecdsa` (P-256; releases).

    Raises:
        UsageError: unknown scheme, or a file is in the way.
    """
    if scheme not in _GENERATE:
        raise UsageError(f"unknown key scheme {scheme!r}: choose ed25519 or ecdsa", subject=scheme)
    if path.suffix != ".pem":
        raise UsageError(f"a key file ends in .pem, not {path.name!r}", subject=str(path))
    private = _GENERATE[scheme]()
    public = private.public_key()
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    _write(public_path(path), public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
    return checked(SSlibKey.from_crypto(public))


def public_path(path: Path) -> Path:
    """Where the public half of the key at `path` lies.

    >>> public_path(Path("keys/release.pem")).as_posix()
    'keys/release.pub.pem'
    """
    return path.with_name(f"{path.stem}.pub.pem")


def public_key(source: Path | bytes) -> Key:
    """A public key from a PEM file, or from its bytes.

    Raises:
        UsageError: no PEM public key, or of a kind that we do not accept.
    """
    name = str(source) if isinstance(source, Path) else "the key"
    try:
        pem = source.read_bytes() if isinstance(source, Path) else source
        return checked(SSlibKey.from_crypto(load_pem_public_key(pem)))
    except OSError as error:
        raise UsageError(f"cannot read the public key {name}: {error.strerror}", subject=name) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{name} is no public key in PEM that we know: {error}", subject=name) from error
    except UntrustedSigner as error:
        raise UsageError(f"{name}: {error.message}", subject=name) from error


def pem(key: Key) -> bytes:
    """The public key as PEM.

    >>> public_key(pem(SSlibKey.from_crypto(Ed25519PrivateKey.generate().public_key()))).scheme
    'ed25519'
    """
    assert isinstance(key, SSlibKey)
    return key._crypto_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)  # noqa: SLF001  # the library's only way from a Key to PEM


def material(key: Key) -> str:
    """What makes two keys the same key, whatever they are called: sha256 of the public key in DER, as hex.

    One key listed under two key ids must count once: securesystemslib and TUF count key ids.

    Raises:
        UntrustedSigner: the key is malformed or of a scheme that we do not accept.
    """
    checked(key)
    assert isinstance(key, SSlibKey)
    der = key._crypto_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # noqa: SLF001  # see `pem`
    return hashlib.sha256(der).hexdigest()


def checked(key: Key) -> Key:
    """`key`, if it is of a scheme that we accept and can be used; raises `UntrustedSigner` else."""
    if not isinstance(key, SSlibKey) or key.scheme not in SCHEMES or key.keytype not in {"ed25519", "ecdsa"}:
        raise UntrustedSigner(f"keys of kind {key.keytype}/{key.scheme} are not accepted: use ed25519 or ecdsa", subject=key.keyid)
    try:
        key._crypto_key()  # noqa: SLF001  # see `pem`
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UntrustedSigner(f"the key {key.keyid} is malformed: {error}", subject=key.keyid) from error
    return key


def acceptable(key: Key) -> bool:
    """Whether `checked` would let `key` pass."""
    try:
        checked(key)
    except UntrustedSigner:
        return False
    return True


def signer(uri: str, *, base: Path | None = None) -> Signer:
    """The signer behind `uri`.

    `file:keys/supplier.pem` is a private key file (relative to `base`).  Any other scheme of securesystemslib (`hsm`,
    `awskms`, `gcpkms`, `azurekms`, `hv`, …) names its public key file after a `#`: `hsm:2?label=release#keys/release.pub.pem`.

    Raises:
        UsageError: no such scheme, or the key cannot be used.
    """
    scheme, colon, _ = uri.partition(":")
    if not colon or (scheme not in SIGNERS and scheme not in SIGNER_FOR_URI_SCHEME):
        known = ", ".join(sorted({*SIGNERS, *SIGNER_FOR_URI_SCHEME}))
        raise UsageError(f"{uri!r} is no signer URI: it begins with one of {known}", subject=uri)
    return SIGNERS.get(scheme, _by_library)(uri, base or Path())


def _from_file(uri: str, base: Path) -> Signer:
    path = base / uri.removeprefix("file:")
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise UsageError(f"the private key {path} can be read by others: chmod 600 {path}", subject=str(path))
            private = load_pem_private_key(file.read(), password=None)
        made = CryptoSigner(private)
        checked(made.public_key)
    except OSError as error:
        raise UsageError(
            f"cannot read the private key {path}: {error.strerror}; make one with `sanitizer keys new`", subject=str(path)
        ) from error
    except (ValueError, TypeError, UnsupportedAlgorithm, UntrustedSigner) as error:  # TypeError: it has a passphrase
        raise UsageError(f"{path} is no plain private key in PEM: {error}", subject=str(path)) from error
    return made


def _by_library(uri: str, base: Path) -> Signer:
    address, _, public = uri.partition("#")
    if not public:
        raise UsageError(f"{uri!r} names no public key: add #PATH of its PEM file", subject=uri)
    try:
        return Signer.from_priv_key_uri(address, public_key(base / public))
    except UsageError:
        raise
    except Exception as error:  # each cloud and token library has errors of its own
        raise UsageError(f"cannot use the signer {address}: {error}", subject=uri) from error


# URI scheme -> how to get a signer; schemes not listed go to securesystemslib
SIGNERS: dict[str, Callable[[str, Path], Signer]] = {"file": _from_file}


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise UsageError(f"{path} exists: a key is never overwritten, choose another name", subject=str(path)) from None
    except OSError as error:
        raise UsageError(f"cannot write the key {path}: {error.strerror}", subject=str(path)) from error
    with os.fdopen(handle, "wb") as file:
        file.write(data)


def short(keyid: str) -> str:
    """The first characters of a key id, for people.

    >>> short("ab" * 32)
    'abababababab'
    """
    return re.sub(r"[^0-9a-zA-Z]", "?", keyid)[:12]
