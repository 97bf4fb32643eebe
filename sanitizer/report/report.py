"""What `sanitizer.scan` returns."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from sanitizer.errors import UsageError, printable
from sanitizer.report import formats
from sanitizer.report.facts import facts
from sanitizer.samples import UnverifiedSamples
from sanitizer.verdicts import Verdicts


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why one sample was accepted or held, with its nearest trusted neighbours beside it.

    `evidence` is a frame indexed by witness: its `score`, and the `share` of the judged samples that score lower.
    `sample` and `neighbours` are rows of the data and of the trusted release.
    """

    verdict: pd.Series
    evidence: pd.DataFrame
    sample: pd.DataFrame
    neighbours: pd.DataFrame

    def __str__(self) -> str:
        v = self.verdict
        reason = printable(str(v["reason"])) or "no reason to hold it"
        lines = [f"{printable(str(v['sample_id']))}: {v['action']}" + (f" ({v['cause']})" if v["cause"] else "") + f": {reason}"]
        lines.append(f"  suspicion {v['suspicion']:.4g}, p = {v['p_value']:.3g}" + (f", {v['case_id']}" if v["case_id"] else ""))
        if len(v["columns"]):
            lines.append(f"  weighs most: {', '.join(printable(str(column)) for column in v['columns'])}")
        lines += [f"  {name}: {row.score:.4g} (stranger than {row.share:.1%})" for name, row in self.evidence.iterrows()]
        lines.append(f"  nearest trusted: {len(self.neighbours)} in .neighbours")
        return "\n".join(lines)


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """The outcome of a scan: a verdict for every sample, the evidence, the cases, and what could not be seen.

    Its attributes are those of `Verdicts`; `facts()` is the plain dict from which text, JSON and HTML are made.
    """

    judged: Verdicts
    samples: UnverifiedSamples
    trusted: UnverifiedSamples | None = None

    @property
    def verdicts(self) -> pd.DataFrame:
        """One row per sample in the order of the data (ratings: per user): `sample_id, suspicion, action, cause, p_value, reason, …`."""
        return self.judged.table

    @property
    def evidence(self) -> pd.DataFrame:
        """One column of scores per row or batch witness, NaN where it could not speak."""
        return self.judged.evidence

    @property
    def cases(self) -> pd.DataFrame:
        """Groups of samples with one cause: `case_id, cause, size, significance, reason, members`."""
        return self.judged.cases

    @property
    def sources(self) -> pd.DataFrame:
        """Indexed by source: `accused, samples, suspicious, p_value`."""
        return self.judged.sources

    @property
    def held(self) -> bool:
        """The delivery as a whole waits for a person; then no row is accused."""
        return self.judged.held

    @property
    def unproven(self) -> bool:
        """There was no trusted release to judge against."""
        return self.judged.unproven

    @property
    def failed(self) -> dict[str, str]:
        """Witnesses that could not speak, and why."""
        return self.judged.failed

    @property
    def expected_recall(self) -> dict[str, float]:
        """Attack family -> recall on decoys planted in a copy of this very delivery."""
        return self.judged.expected_recall

    @property
    def power(self) -> dict[str, float]:
        """What this much trusted data could prove at all: cause -> least share of the delivery."""
        return self.judged.power

    @property
    def notes(self) -> tuple[str, ...]:
        """What the witnesses want said."""
        return self.judged.notes

    def facts(self, **context: Any) -> dict[str, Any]:
        """The plain dict that every format is made from; keywords as for `report.facts`."""
        return facts(self.judged, self.samples, trusted=self.trusted, **context)

    def explain(self, sample: int | str) -> Explanation:
        """Why one sample was judged as it was; `sample` is its position, its user, or its `sample_id`."""
        table = self.judged.table
        i = self._position(sample)
        spoke = self.judged.evidence.iloc[i].dropna()
        below = self.judged.evidence[spoke.index].lt(spoke).mean()
        evidence = pd.DataFrame({"score": spoke, "share": below}).sort_values("share", ascending=False, kind="stable")
        if self.samples.schema.modality == "ratings":
            mine = self.samples.table["user"].to_pandas().astype(str) == str(table.index[i])
            return Explanation(table.iloc[i], evidence, self.samples.table.to_pandas()[mine], pd.DataFrame())
        neighbours = pd.DataFrame()
        if self.trusted is not None and len(table["neighbours"].iloc[i]):
            place = {name: row for row, name in enumerate(self.trusted.sample_ids)}
            rows = [place[name] for name in table["neighbours"].iloc[i] if name in place]
            neighbours = self.trusted.table.take(rows).to_pandas()
        return Explanation(table.iloc[i], evidence, self.samples.table.slice(i, 1).to_pandas(), neighbours)

    def _position(self, sample: int | str) -> int:
        table = self.judged.table
        for known in (table.index, pd.Index(table["sample_id"])):
            if sample in known:
                place = known.get_loc(sample)
                if isinstance(place, int):
                    return place
        raise UsageError(f"no sample {sample!r} in this report; name a row from 0 to {len(table) - 1} or a sample_id", subject=str(sample))

    def to_html(self, path: str | Path, **context: Any) -> Path:
        """Write the report as one self-contained HTML file; keywords as for `report.facts`."""
        from sanitizer.report.page import html  # noqa: PLC0415 (the extra `line` brings Jinja; everything else works without)

        out = Path(path)
        out.write_text(html(self.facts(**context)), encoding="utf-8")
        return out

    def __str__(self) -> str:
        return formats.text(self.facts())

    def __repr__(self) -> str:
        return f"<Report: {self.judged.quarantined} of {len(self.judged.table)} samples held back>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the summary and the held samples, most suspicious first."""
        table = self.judged.table
        held = table[table["action"] == "quarantine"].sort_values("suspicion", ascending=False, kind="stable").head(20)
        head = "".join(f"<th>{name}</th>" for name in ("", "cause", "p", "reason"))
        rows = "".join(
            "<tr>"
            + "".join(f"<td>{escape(printable(str(cell)))}</td>" for cell in (i, v["cause"], f"{v['p_value']:.3g}", v["reason"]))
            + "</tr>"
            for i, v in held.iterrows()
        )
        return f"<pre>{escape(str(self))}</pre>" + (f"<table><tr>{head}</tr>{rows}</table>" if len(held) else "")
