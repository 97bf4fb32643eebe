"""What people read: text, JSON, and one self-contained HTML file."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from sanitizer.verdicts import Verdicts

__all__ = ["Report"]


@dataclass(frozen=True, eq=False)
class Report:
    """The outcome of a scan; see `Verdicts` for the meaning of each part."""

    judged: Verdicts

    @property
    def verdicts(self) -> pd.DataFrame:
        """One row per sample in the order of the data (ratings: one per user)."""
        return self.judged.table

    @property
    def evidence(self) -> pd.DataFrame:
        """One column of scores per witness."""
        return self.judged.evidence

    @property
    def cases(self) -> pd.DataFrame:
        """Groups of samples with one cause."""
        return self.judged.cases

    @property
    def sources(self) -> pd.DataFrame:
        """What is known of each supplier."""
        return self.judged.sources

    @property
    def held(self) -> bool:
        """The delivery as a whole waits for a person; no row is accused."""
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
        """Attack family -> recall on decoys planted in a copy of this delivery."""
        return self.judged.expected_recall
