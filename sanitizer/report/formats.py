"""The formats that machines and terminals read: text, JSON, SARIF 2.1.0, JUnit.  Each is made from the facts alone."""

from __future__ import annotations

import json as _json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

from sanitizer import drills

_CAUSES = {
    "label-flip": "The label contradicts the sample's features.",
    "outlier": "The sample is unlike every trusted one.",
    "backdoor": "The sample carries a pattern that goes with one label far too often.",
    "feature-collision": "The sample lies where another class lies.",
    "duplicate-flood": "One of many near-copies, under a label that their neighbours contradict.",
    "source": "The sample's supplier labels unlike all others.",
    "shilling": "The profile pushes or nukes an item together with others.",
    "expectation": "The row does not meet the expectations of the data set.",
}
_RULE_OF = {"label-flip": "random_flip", "backdoor": "backdoor_tabular", "outlier": "anomaly", "feature-collision": "feature_collision"}


def text(facts: Mapping[str, Any], *, width: int = 100) -> str:
    """A summary for a terminal: a dozen lines, plain characters, no colour."""
    lines = [f"{facts['name']}: {facts['headline']}"]
    provenance = facts["provenance"]
    if provenance is not None:
        signers = ", ".join(short(signer) for signer in provenance["signers"]) or "nobody"
        lines.append(f"  signed by    {signers} ({provenance['level']}), {len(provenance['files'])} file(s), {short(provenance['digest'])}")
    gate = facts["gate"]
    if gate is not None:
        failed = len(gate["table_failures"])
        state = f"{failed} expectation(s) on the table failed" if failed else "passed"
        lines.append(f"  gate         {state}" + (f", {gate['rows_failed']} row(s) failed" if gate["rows_failed"] else ""))
        lines += [f"    {_cut(failure, width - 4)}" for failure in gate["table_failures"]]
    against = f"{facts['trusted']['rows']:,} trusted rows" if facts["trusted"] else "its own sifted core (unproven)"
    lines.append(f"  judged       {facts['counts']['judged']:,} against {against}, false-discovery share q = {facts['decision']['q']:g}")
    for case in facts["cases"]:
        name = f"{case['case_id'] or 'single rows'}"
        lines.append(f"    {case['size']:>6,}  {case['cause']:<18} {_cut(f'{name}: ' + case['reason'], width - 28)}")
    for source in facts["sources"]:
        if source["accused"]:
            lines.append(f"  accused      {source['name']}: {source['suspicious']} of {source['samples']} suspicious")
    if facts["expected_recall"]:
        told = ", ".join(f"{family} {recall:.0%}" for family, recall in facts["expected_recall"].items() if recall is not None)
        lines += wrapped("  would find   ", told, width)
    lines += [f"  silent       {_cut(w['name'] + ': ' + w['failed'], width - 15)}" for w in facts["witnesses"] if w["failed"]]
    lines += [f"  note         {_cut(note, width - 15)}" for note in facts["notes"]]
    release = facts["release"]
    if release is not None:
        lines.append(
            "  published    " + _cut(", ".join(f"{key} {value}" for key, value in release.items() if value is not None), width - 15)
        )
    return "\n".join(lines)


def json(facts: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> str:
    """The facts as JSON: ASCII only, no NaN, the same facts give the same text."""
    return _json.dumps(facts, indent=1, ensure_ascii=True, allow_nan=False)


def sarif(facts: Mapping[str, Any], *, version: str = "") -> str:
    """SARIF 2.1.0 (OASIS): one result per quarantined sample, its fingerprint is the sample id, its rule the cause.

    A sample is located by its row, counted from 1, in the delivery's file (or its only one; else in the delivery as a whole).
    """
    files = [file["path"] for file in (facts["provenance"] or {"files": []})["files"]]
    place = files[0] if len(files) == 1 else facts["name"]
    causes = sorted({sample["cause"] for sample in facts["quarantined"]})
    rules = [
        {
            "id": cause or "unnamed",
            "shortDescription": {"text": _CAUSES.get(cause, cause or "A suspicious sample.")},
            "properties": {"tags": ["data-poisoning", *_atlas(cause)]},
        }
        for cause in causes
    ]
    results = [
        {
            "ruleId": sample["cause"] or "unnamed",
            "ruleIndex": causes.index(sample["cause"]),
            "level": "error" if sample["case_id"] else "warning",
            "message": {"text": sample["reason"] or _CAUSES.get(sample["cause"], "A suspicious sample.")},
            "partialFingerprints": {"sampleId/v1": sample["sample_id"]},
            "locations": [
                {
                    "physicalLocation": {"artifactLocation": {"uri": _uri(place)}, "region": {"startLine": sample["row"] + 1}},
                    "logicalLocations": [{"name": f"row {sample['row']}", "kind": "element"}],
                }
            ],
            "properties": {"p_value": sample["p_value"], "suspicion": sample["suspicion"], "case": sample["case_id"]},
        }
        for sample in facts["quarantined"]
    ]
    driver = {"name": "sanitizer", "rules": rules} | ({"version": version} if version else {})
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return json({"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]})


def junit(facts: Mapping[str, Any]) -> str:
    """JUnit XML as every CI server shows it: one test per question that the run put to the delivery."""
    name = facts["name"]
    cases: list[tuple[str, str, str]] = []  # what was asked, the kind of failure ("" = none), what went wrong
    gate, counts = facts["gate"], facts["counts"]
    if facts["provenance"] is not None:
        cases.append(("is what its signers signed", "", ""))
    if gate is not None:
        cases.append(
            ("meets the expectations on the whole table", "failure" if gate["table_failures"] else "", "; ".join(gate["table_failures"]))
        )
        reasons = "; ".join(f"{reason['rows']}x {reason['reason']}" for reason in gate["row_reasons"])
        cases.append(("meets the expectations on every row", "failure" if gate["rows_failed"] else "", reasons))
    decision = facts["decision"]
    cases.append(("did not move as a whole", "failure" if decision["held"] else "", decision["held_reason"]))
    cases += [(f"{w['name']} spoke", "error" if w["failed"] else "", w["failed"]) for w in facts["witnesses"]]
    cases += [
        (f"{case['cause']} {case['case_id']}".strip(), "failure", f"{case['size']} of {counts['judged']}: {case['reason']}")
        for case in facts["cases"]
    ]
    if not facts["cases"]:
        cases.append(("holds no suspicious sample", "failure" if counts["quarantined"] else "", facts["headline"]))
    suite = ET.Element("testsuite", name=_xml(name), tests=str(len(cases)))
    for kind in ("failure", "error"):
        suite.set(f"{kind}s", str(sum(found == kind for _, found, _ in cases)))
    for asked, found, why in cases:
        case = ET.SubElement(suite, "testcase", classname=_xml(name), name=_xml(asked))
        if found:
            ET.SubElement(case, found, message=_xml(why))
    return ET.tostring(suite, encoding="unicode", xml_declaration=False)


def short(digest: str) -> str:
    """The first characters of a digest or key id, enough to compare by eye.

    >>> short("sha256:0123456789abcdef0123456789abcdef")
    'sha256:0123456789ab…'
    """
    prefix, colon, rest = digest.rpartition(":")
    return f"{prefix}{colon}{rest[:12]}…" if len(rest) > 13 else digest


def wrapped(head: str, words: str, width: int) -> list[str]:
    """`words`, separated by commas, on lines that start under each other."""
    lines, line = [], head
    for word in words.split(", "):
        if len(line) + len(word) > width and line.strip() != head.strip():
            lines.append(line.rstrip())
            line = " " * len(head)
        line += f"{word}, "
    return [*lines, line.rstrip(", ")]


def _cut(sentence: str, most: int) -> str:
    return sentence if len(sentence) <= most else sentence[: most - 1].rstrip() + "…"


def _atlas(cause: str) -> list[str]:
    """The MITRE ATLAS techniques of a cause, as tags."""
    family = _RULE_OF.get(cause, cause.replace("-", "_"))
    attack = drills.ATTACKS.get(family)
    return [] if attack is None else sorted({word.rstrip(",;") for word in attack.reference.split() if word.startswith("AML.")})


def _uri(path: str) -> str:
    """A relative URI reference of a path."""
    return quote(path)


def _xml(words: str) -> str:
    """Text without what XML 1.0 cannot hold at all (printable leaves only lone surrogates and noncharacters to fear)."""
    return "".join(c if c in "\t\n\r" or "\x20" <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff" else "\ufffd" for c in words)
