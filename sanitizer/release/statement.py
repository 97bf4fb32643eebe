"""The signed statement of a release: what went in, who vouched for it, how it was judged, and what it is now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sanitizer.provenance.statement import RELEASE
from sanitizer.release.assemble import Assembly
from sanitizer.release.parts import Part
from sanitizer.store.tables import timestamp


def predicate(
    *,
    dataset: str,
    version: int,
    assembly: Assembly,
    parts: Sequence[Part],
    files: Mapping[str, tuple[str, int]],
    policy: str,
    review: Mapping[str, int],
    previous: str,
    checkpoint: str,
    rows_root: str,
    issued: Any,
    expires: Any,
    actor: str,
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """The predicate, in the shape of SLSA provenance v1 (`buildDefinition`, `runDetails`) with our facts under `release`."""
    return {
        "buildDefinition": {
            "buildType": RELEASE,
            "externalParameters": {"dataset": dataset, "version": version},
            "internalParameters": {"policy": policy},
            "resolvedDependencies": [_material(part) for part in parts],
        },
        "runDetails": {
            "builder": {"id": "urn:sanitizer:publish", "version": dict(versions)},
            "metadata": {"invocationId": assembly.content, "startedOn": timestamp(issued), "finishedOn": timestamp(issued)},
        },
        "release": {
            "dataset": dataset,
            "version": version,
            "issued": timestamp(issued),
            "expires": timestamp(expires),
            "published_by": actor,
            "previous": previous,
            "content": assembly.content,
            "schema": assembly.schema.to_json(),
            "samples": assembly.rows,
            "rows_root": rows_root,
            "counts": counts(parts, review),
            "ledger": checkpoint,
            "files": [{"path": path, "size": size, "digest": {"sha256": sha256}} for path, (sha256, size) in sorted(files.items())],
            "parts": [{"path": part_path(i), "origin": piece.origin, "rows": piece.rows} for i, piece in enumerate(assembly.pieces)],
        },
    }


def counts(parts: Sequence[Part], review: Mapping[str, int]) -> dict[str, int]:
    """How many samples came, by verdict, and what became of the quarantined ones."""
    verdicts = {name: sum(part.counts[name] for part in parts) for name in ("samples", "accepted", "quarantined")}
    return {"delivered": verdicts["samples"], "accepted": verdicts["accepted"], "quarantined": verdicts["quarantined"], **review}


def part_path(number: int) -> str:
    """The path of the n-th Parquet file.

    >>> part_path(0)
    'data/part-00000.parquet'
    """
    return f"data/part-{number:05d}.parquet"


def _material(part: Part) -> dict[str, Any]:
    """One delivery as an in-toto resource descriptor."""
    annotations = {
        "level": part.level,
        "source": part.source,
        "sequence": part.sequence,
        "signers": list(part.signers),
        "counts": dict(part.counts),
        "policy": part.policy,
        "samples": part.samples,
        "verdicts": part.verdicts,
        "detectors": dict(part.detectors),
        "failed": dict(part.failed),
        "seed": part.seed,
        "q": part.q,
        "unproven": part.unproven,
        "expected_recall": dict(part.expected_recall),
        "asserted": part.asserted,
        "lifted": part.lifted,
    }
    name = part.source if part.sequence is None else f"{part.source}/{part.sequence}"
    return {"name": name, "digest": {"sha256": part.delivery.removeprefix("sha256:")}, "annotations": annotations}
