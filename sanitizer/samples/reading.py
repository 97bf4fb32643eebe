"""Files become samples: those of a verified delivery, or those at a path that nobody vouches for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sanitizer.errors import AmbiguousData, SchemaMismatch, UsageError
from sanitizer.samples.proof import rows_root
from sanitizer.samples.sandbox import Limits, Payload, Request, parse
from sanitizer.samples.schema import Schema
from sanitizer.samples.table import Samples, UnverifiedSamples

if TYPE_CHECKING:
    # the child that parses needs neither, and does not wait for pydantic
    from sanitizer import policy as policies
    from sanitizer.provenance.blobs import BlobStore
    from sanitizer.provenance.delivery import VerifiedDelivery
    from sanitizer.provenance.manifest import Manifest


def read(verified: VerifiedDelivery, schema: Schema | None, policy: policies.Samples) -> Samples:
    """The rows of a verified delivery, all its files in the order of their paths, each hashed again as it is parsed.

    With a `schema` they are cast to it strictly; without one it is drafted from them with the roles that the policy names.
    Where the supplier signed a schema id or a root over the row digests, ours must be the same.
    Raises `AmbiguousData`, `FormatNotAllowed`, `SchemaMismatch`, `ParserLimit`, `ParserCrash`, `DigestMismatch`.
    """
    files = tuple(Payload(f.path, str(verified.blobs.path(f"sha256:{f.sha256}")), f.sha256) for f in verified.manifest.files)
    if schema is not None and verified.schema_id not in (None, schema.id):
        raise SchemaMismatch(f"the supplier signed schema {verified.schema_id}, pinned is {schema.id}", subject=verified.digest)
    try:
        table, pinned = parse(_request(files, policy, schema))
    except UsageError as error:  # a role that names no column: it is the delivery that lacks it
        raise SchemaMismatch(error.message, subject=error.subject) from error
    samples = Samples(table, pinned, verified.digest)
    if verified.rows_root is not None and (root := rows_root(samples.row_digests)) != verified.rows_root:
        # the bytes are what was signed, so it is the reading that differs: the attack that strict parsing is there to stop
        raise AmbiguousData(
            f"the supplier signed rows with the root {verified.rows_root}, read here they have {root}", subject=verified.digest
        )
    return samples


def read_files(manifest: Manifest, blobs: BlobStore, schema: Schema | None, policy: policies.Samples) -> UnverifiedSamples:
    """The rows of some files in a blob store, whatever they prove: to compare two versions of them.  Raises what `read` does."""
    files = tuple(Payload(f.path, str(blobs.path(f"sha256:{f.sha256}")), f.sha256) for f in manifest.files)
    return UnverifiedSamples(*parse(_request(files, policy, schema)))


def read_path(
    path: Path,
    *,
    label: str | None,
    source: str | None = None,
    modality: str | None = None,
    schema: Schema | None = None,
    mixed: str = "refuse",
) -> UnverifiedSamples:
    """A file, or all files below a directory in the order of their paths, read as strictly as a delivery but unverified.

    Without a schema, a CSV column that mixes numbers and something else is refused, or taken as text where `mixed` is "text".
    """
    from sanitizer import policy as policies  # noqa: PLC0415

    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    if not files or not path.exists():
        raise UsageError(f"there is nothing to read at {path}", subject=str(path))
    names = [f.relative_to(path).as_posix() if f != path else f.name for f in files]
    payloads = tuple(Payload(name, str(f.resolve())) for name, f in sorted(zip(names, files, strict=True)))
    policy = policies.Samples(label=label, source=source)
    table, drafted = parse(replace(_request(payloads, policy, schema), modality=modality, mixed=mixed))
    return UnverifiedSamples(table, drafted)


def _request(files: tuple[Payload, ...], policy: policies.Samples, schema: Schema | None) -> Request:
    return Request(
        files=files,
        formats=policy.formats,
        limits=Limits(policy.max_rows, policy.max_decoded_bytes, policy.max_memory_bytes, policy.max_seconds),
        schema=None if schema is None else schema.to_json(),
        label=policy.label,
        source=policy.source,
        key=policy.key,
        modality=policy.modality,
    )
