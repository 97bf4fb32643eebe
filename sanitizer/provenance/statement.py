"""What is signed: in-toto statements (https://github.com/in-toto/attestation, Statement v1).

A delivery's statement lists every file as a subject and says in its predicate for whom, which number, and until when.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sanitizer.errors import BadEnvelope
from sanitizer.provenance import jcs
from sanitizer.provenance.manifest import Claim, Manifest

STATEMENT = "https://in-toto.io/Statement/v1"
DELIVERY = "urn:sanitizer:delivery:v1"
RELEASE = "urn:sanitizer:release:v1"

LARGEST_INTEGER = 2**53 - 1  # beyond it, JSON readers disagree about integers

SOURCE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}[a-z0-9]|[a-z0-9]")
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_REQUIRED = frozenset({"source", "sequence", "issued", "expires", "sizes"})
_OPTIONAL = frozenset({"schema_id", "rows_root"})


@dataclass(frozen=True)
class DeliveryStatement:
    """What a supplier signs: `files` as claimed, `schema_id` and `rows_root` as `sha256:…` or None."""

    source: str
    sequence: int
    issued: datetime
    expires: datetime
    files: tuple[Claim, ...]
    schema_id: str | None = None
    rows_root: str | None = None


def build(manifest: Manifest, *, predicate_type: str, predicate: dict[str, Any]) -> bytes:
    """The bytes of a statement about all files of `manifest`."""
    subject = [{"name": f.path, "digest": {"sha256": f.sha256}} for f in manifest.files]
    return jcs.dumps({"_type": STATEMENT, "subject": subject, "predicateType": predicate_type, "predicate": predicate})


def parse(payload: bytes, *, predicate_type: str, what: str) -> tuple[list[tuple[str, Any]], dict[str, Any]]:
    """Subjects (name and digests, unchecked) and predicate of a statement.

    Raises:
        BadEnvelope: no in-toto statement v1, or about something else than `predicate_type`.
    """
    match jcs.loads(payload, what=what):
        case {"_type": str(kind), "subject": list(subjects), "predicateType": str(about), "predicate": dict(predicate), **rest} if not rest:
            pass
        case _:
            raise BadEnvelope(f"{what} is no in-toto statement", subject=what)
    if kind != STATEMENT:
        raise BadEnvelope(f"{what} is a {kind!r}, not a {STATEMENT}", subject=what)
    if about != predicate_type:
        raise BadEnvelope(f"{what} is about {about!r}, not {predicate_type}", subject=what)
    named = []
    for subject in subjects:
        match subject:
            case {"name": str(name), "digest": digest, **rest} if not rest:
                named.append((name, digest))
            case _:
                raise BadEnvelope(f"{what} has a subject that is not made of name and digest", subject=what)
    return named, predicate


def build_delivery(
    manifest: Manifest,
    *,
    source: str,
    sequence: int,
    issued: datetime,
    expires: datetime,
    schema_id: str | None = None,
    rows_root: str | None = None,
) -> bytes:
    """The bytes that a supplier signs."""
    optional = {"schema_id": schema_id, "rows_root": rows_root}
    predicate = {
        "source": source,
        "sequence": sequence,
        "issued": time_text(issued),
        "expires": time_text(expires),
        "sizes": {f.path: f.size for f in manifest.files},
        **{name: value for name, value in optional.items() if value is not None},
    }
    return build(manifest, predicate_type=DELIVERY, predicate=predicate)


def parse_delivery(payload: bytes, *, what: str = "the manifest") -> DeliveryStatement:
    """What a supplier said, well-formed; whether it is true is for `delivery.verify`.

    Raises:
        BadEnvelope: not such a statement, an unknown field, or a value of the wrong form.
        WeakDigest: a file is bound by something else than sha256 or sha512.
    """
    subjects, predicate = parse(payload, predicate_type=DELIVERY, what=what)
    unknown, absent = set(predicate) - _REQUIRED - _OPTIONAL, _REQUIRED - set(predicate)
    if unknown or absent:
        wrong = ", ".join(sorted({f"unknown {n!r}" for n in unknown} | {f"no {n!r}" for n in absent}))
        raise BadEnvelope(f"{what} has another predicate than expected: {wrong}", subject=what)
    source = predicate["source"]
    if not isinstance(source, str) or not SOURCE_NAME.fullmatch(source):
        raise BadEnvelope(f"{what} names no proper source: {source!r}", subject=what)
    issued, expires = (_time(predicate[name], name, what) for name in ("issued", "expires"))
    if issued >= expires:
        raise BadEnvelope(f"{what} expires before it is issued", subject=what)
    return DeliveryStatement(
        source,
        _integer(predicate["sequence"], 1, "sequence", what),
        issued,
        expires,
        _files(subjects, predicate["sizes"], what),
        _digest(predicate.get("schema_id"), "schema_id", what),
        _digest(predicate.get("rows_root"), "rows_root", what),
    )


def _files(subjects: Sequence[tuple[str, Any]], sizes: Any, what: str) -> tuple[Claim, ...]:
    names = [name for name, _ in subjects]
    if len(set(names)) != len(names):
        raise BadEnvelope(f"{what} lists a file twice", subject=what)
    if not isinstance(sizes, dict) or set(sizes) != set(names):
        raise BadEnvelope(f"{what} gives sizes for other files than it lists", subject=what)
    return tuple(Claim.of(name, digest, _integer(sizes[name], 0, f"size of {name!r}", what)) for name, digest in subjects)


def _integer(value: Any, least: int, name: str, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= LARGEST_INTEGER:
        raise BadEnvelope(f"{what}: {name} is no integer from {least} to 2**53 - 1: {value!r}", subject=what)
    return value


def _digest(value: Any, name: str, what: str) -> str | None:
    if value is not None and not (isinstance(value, str) and re.fullmatch("sha256:[0-9a-f]{64}", value)):
        raise BadEnvelope(f"{what}: {name} is no digest: {value!r}", subject=what)
    return value


def time_text(moment: datetime) -> str:
    """RFC 3339 in UTC, whole seconds.

    >>> time_text(datetime(2026, 3, 1, 12, tzinfo=UTC))
    '2026-03-01T12:00:00Z'
    """
    return moment.astimezone(UTC).strftime(_TIME)


def time_of(text: str) -> datetime:
    """What `time_text` wrote; ValueError for anything else.

    >>> time_of("2026-03-01T12:00:00Z").isoformat()
    '2026-03-01T12:00:00+00:00'
    """
    moment = datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    if time_text(moment) != text:  # strptime takes 2026-3-1 too
        raise ValueError(f"{text!r} is not of the form 2026-03-01T12:00:00Z")
    return moment


def _time(value: Any, name: str, what: str) -> datetime:
    try:
        return time_of(value)
    except (TypeError, ValueError) as error:
        raise BadEnvelope(f"{what}: {name} is no time of the form 2026-03-01T12:00:00Z: {value!r}", subject=what) from error
