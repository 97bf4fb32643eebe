"""What people and other tools read beside the data: the data set card, Croissant metadata, the bill of materials.

None of them proves anything by itself; the signature over the release covers them all.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sanitizer.release.assemble import Assembly
from sanitizer.release.parts import Part
from sanitizer.release.statement import counts, part_path
from sanitizer.samples import Column
from sanitizer.store.tables import timestamp

_NAMESPACE = uuid.UUID("6c7f1f0e-52f7-5b0c-9d5e-8f3f2f1f7f4d")  # of serial numbers: the same content has the same one
_CROISSANT_TYPES = {"int64": "sc:Integer", "float64": "sc:Float", "string": "sc:Text", "bool": "sc:Boolean", "timestamp": "sc:DateTime"}


def croissant(
    dataset: str, version: int, assembly: Assembly, files: Mapping[str, tuple[str, int]], *, licence: str, issued: datetime
) -> bytes:
    """`croissant.json`: MLCommons Croissant 1.0 with the sha256 of each Parquet file (never md5, which readers would prefer)."""
    parts = [part_path(i) for i in range(len(assembly.pieces))]
    body: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": dataset,
        "version": f"{version}.0.0",
        "description": f"Release {version} of {dataset}: {assembly.rows} samples that passed provenance checks, detectors and review.",
        "datePublished": timestamp(issued),
        "url": f"urn:sanitizer:{dataset}:{version}",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": path,
                "name": path,
                "contentUrl": path,
                "contentSize": f"{files[path][1]} B",
                "encodingFormat": "application/x-parquet",
                "sha256": files[path][0],
            }
            for path in parts
        ]
        + [
            {
                "@type": "cr:FileSet",
                "@id": "parts",
                "encodingFormat": "application/x-parquet",
                "includes": "data/*.parquet",
            }
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "samples",
                "name": "samples",
                "field": [_field(column) for column in assembly.schema.columns],
            }
        ],
    }
    if licence:
        body["license"] = licence
    return _json(body)


def _field(column: Column) -> dict[str, Any]:
    scalar = _CROISSANT_TYPES.get(column.type)
    data_type = scalar or ("sc:Float" if column.type.startswith("embedding") else "sc:Integer")
    field = {
        "@type": "cr:Field",
        "@id": f"samples/{column.name}",
        "name": column.name,
        "description": column.type,
        "dataType": data_type,
        "source": {"fileSet": {"@id": "parts"}, "extract": {"column": column.name}},
    }
    return field if scalar else field | {"repeated": True}


def bom(
    dataset: str,
    version: int,
    assembly: Assembly,
    parts: Sequence[Part],
    files: Mapping[str, tuple[str, int]],
    *,
    versions: Mapping[str, str],
    licence: str,
    issued: datetime,
) -> bytes:
    """`bom.cdx.json`: CycloneDX 1.6, the release as a data component made of its files, the deliveries behind it, and the tools used."""
    ref = f"release:{dataset}:{version}"
    component: dict[str, Any] = {
        "type": "data",
        "bom-ref": ref,
        "name": dataset,
        "version": str(version),
        "data": [{"type": "dataset", "name": dataset, "classification": "training data"}],
        "components": [
            {"type": "file", "bom-ref": f"file:{path}", "name": path, "hashes": [{"alg": "SHA-256", "content": sha256}]}
            for path, (sha256, _) in sorted(files.items())
        ],
    }
    if licence:
        component["licenses"] = [{"license": {"name": licence}}]
    deliveries = [
        {
            "type": "data",
            "bom-ref": f"delivery:{part.delivery}",
            "name": part.source if part.sequence is None else f"{part.source}/{part.sequence}",
            "version": str(part.sequence if part.sequence is not None else 0),
            "hashes": [{"alg": "SHA-256", "content": part.delivery.removeprefix("sha256:")}],
            "supplier": {"name": part.source},
            "data": [{"type": "dataset", "name": part.source}],
            "properties": [
                {"name": "sanitizer:level", "value": part.level},
                *({"name": "sanitizer:signer", "value": s} for s in part.signers),
            ],
        }
        for part in {part.delivery: part for part in parts}.values()
    ]
    tools = [{"type": "library", "bom-ref": f"tool:{name}", "name": name, "version": number} for name, number in sorted(versions.items())]
    body = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, f'{dataset}/{version}/{assembly.content}')}",
        "version": 1,
        "metadata": {"timestamp": timestamp(issued), "tools": {"components": tools}, "component": component},
        "components": deliveries,
        "dependencies": [{"ref": ref, "dependsOn": [d["bom-ref"] for d in deliveries]}, *({"ref": d["bom-ref"]} for d in deliveries)],
    }
    return _json(body)


def card(
    dataset: str,
    version: int,
    assembly: Assembly,
    parts: Sequence[Part],
    *,
    review: Mapping[str, int],
    previous: int | None,
    licence: str,
    issued: datetime,
    expires: datetime,
) -> bytes:
    """`README.md`: the data set card, with the front matter that model hubs read."""
    told = counts(parts, review)
    schema = assembly.schema
    lines = [
        "---",
        f"pretty_name: {json.dumps(dataset)}",
        *([f"license: {json.dumps(licence)}"] if licence else []),
        "configs:",
        "- config_name: default",
        "  data_files: data/*.parquet",
        "---",
        "",
        f"# {dataset}, release {version}",
        "",
        f"{assembly.rows:,} samples, issued {timestamp(issued)[:10]}, to be used until {timestamp(expires)[:10]}."
        + ("" if previous is None else f"  The release before it is {previous}."),
        "",
        "Every sample came in a delivery whose signature, age and files were checked, was judged by detectors, and was either accepted by",
        "them or let in by a person.  Suspicious samples are not here.",
        "",
        "## Where it comes from",
        "",
        "| source | number | level | samples | accepted | quarantined |",
        "|---|---|---|---|---|---|",
        *(
            f"| {_cell(part.source)} | {'' if part.sequence is None else part.sequence} | {part.level} | {part.counts['samples']:,} | "
            f"{part.counts['accepted']:,} | {part.counts['quarantined']:,} |"
            for part in parts
        ),
        "",
        *(f"Asserted, not proven, by {_cell(part.asserted)}." for part in parts if part.asserted),
        *(f"Let in although held as a whole, by {_cell(part.lifted)}." for part in parts if part.lifted),
        "",
        "## What became of the quarantined samples",
        "",
        ", ".join(f"{told[name]:,} {name}" for name in ("held", "dropped", "released", "relabelled") if name in told)
        or "None were quarantined.",
        "",
        "## Columns",
        "",
        "| name | type | role |",
        "|---|---|---|",
        *(f"| {_cell(c.name)} | {c.type} | {_role(c.name, schema.label, schema.source, schema.key)} |" for c in schema.columns),
        "",
        "## How to check it",
        "",
        "```",
        f"sanitizer gate {version} --trust TRUST_ROOT",
        f"model_signing verify key {version} --signature {version}.sig --public_key release.pub.pem --no-ignore-git-paths",
        f"(cd {version} && sha256sum -c SHA256SUMS)",
        "```",
        "",
        "## What this does not promise",
        "",
        "Detectors miss some poison: `provenance.intoto.json` tells, for each delivery, which attacks planted in a copy of it were caught",
        "and how many, which detectors spoke and which failed.  A cold start (`unproven`) was judged without any trusted data.",
        "",
    ]
    return "\n".join(lines).encode()


def sums(files: Mapping[str, tuple[str, int]]) -> bytes:
    """`SHA256SUMS`, for `sha256sum -c`."""
    return "".join(f"{sha256}  {path}\n" for path, (sha256, _) in sorted(files.items())).encode()


def _role(name: str, label: str | None, source: str | None, key: tuple[str, ...]) -> str:
    return "label" if name == label else "source" if name == source else "key" if name in key else ""


def _cell(text: str) -> str:
    # text from suppliers: no cell, link or tag of theirs may form in the card
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return "".join(f"\\{c}" if c in "\\`*_{}[]()#+!|~" else {"<": "&lt;", ">": "&gt;", "&": "&amp;"}.get(c, c) for c in shown)


def _json(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, indent=2, ensure_ascii=False).encode() + b"\n"


_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
