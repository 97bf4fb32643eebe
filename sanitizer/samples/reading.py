"""Files become samples: those of a verified delivery, or those at a path that nobody vouches for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sanitizer.errors import SchemaMismatch, UsageError
from sanitizer.provenance.manifest import Manifest
from sanitizer.samples.sandbox import Limits, Payload, Request, parse
from sanitizer.samples.schema import Schema
from sanitizer.samples.table import Samples, UnverifiedSamples

if TYPE_CHECKING:
    from sanitizer import policy as policies  # the child that parses needs no policy and does not wait for pydantic


class Blobs(Protocol):
    """Where the bytes of a delivery are kept by their digest."""

    def path(self, digest: str, /) -> Path:
        """The file that holds them."""


class Verified(Protocol):
    """A delivery whose bytes are what its signers signed."""

    @property
    def digest(self) -> str:
        """Names the delivery."""

    @property
    def manifest(self) -> Manifest:
        """Its files, and no others."""

    @property
    def blobs(self) -> Blobs:
        """Their bytes."""


def read(verified: Verified, schema: Schema | None, policy: policies.Samples) -> Samples:
    """The rows of a verified delivery, all its files in the order of their paths, each hashed again as it is parsed.

    With a `schema` they are cast to it strictly; without one it is drafted from them with the roles that the policy names.
    Raises `AmbiguousData`, `FormatNotAllowed`, `SchemaMismatch`, `ParserLimit`, `ParserCrash`, `DigestMismatch`.
    """
    files = tuple(Payload(f.path, str(verified.blobs.path(f"sha256:{f.sha256}")), f.sha256) for f in verified.manifest.files)
    try:
        table, pinned = parse(_request(files, policy, schema))
    except UsageError as error:  # a role that names no column: it is the delivery that lacks it
        raise SchemaMismatch(error.message, subject=error.subject) from error
    return Samples(table, pinned, verified.digest)


def read_path(
    path: Path, *, label: str | None, source: str | None = None, modality: str | None = None, schema: Schema | None = None
) -> UnverifiedSamples:
    """A file, or all files below a directory in the order of their paths, read as strictly as a delivery but unverified."""
    from sanitizer import policy as policies  # noqa: PLC0415

    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    if not files or not path.exists():
        raise UsageError(f"there is nothing to read at {path}", subject=str(path))
    names = [f.relative_to(path).as_posix() if f != path else f.name for f in files]
    payloads = tuple(Payload(name, str(f.resolve())) for name, f in sorted(zip(names, files, strict=True)))
    policy = policies.Samples(label=label, source=source)
    table, drafted = parse(_request(payloads, policy, schema, modality))
    return UnverifiedSamples(table, drafted)


def _request(files: tuple[Payload, ...], policy: policies.Samples, schema: Schema | None, modality: str | None = None) -> Request:
    return Request(
        files=files,
        formats=policy.formats,
        limits=Limits(policy.max_rows, policy.max_decoded_bytes, policy.max_memory_bytes, policy.max_seconds),
        schema=None if schema is None else schema.to_json(),
        label=policy.label,
        source=policy.source,
        key=policy.key,
        modality=modality or policy.modality,
    )
