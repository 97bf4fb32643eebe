"""An exercise: known attacks planted in a copy of trusted data, judged as a delivery would be, and what of them was caught."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sanitizer import detectors, drills, verdicts
from sanitizer.errors import UsageError
from sanitizer.policy import Policy
from sanitizer.release.gate import open_release
from sanitizer.samples import UnverifiedSamples, from_any
from sanitizer.workspace import Workspace

SHARE = 0.3  # of the rows play the delivery; the others are what it is judged against


def of_workspace(root: Path | str, **options: Any) -> dict[str, Any]:
    """The exercise on the newest release of a workspace, under its policy.  Nothing is written; the options are those of `drill`."""
    ws = Workspace.in_force(root, now=datetime.now(UTC))
    with open_release(ws.releases / ws.policy.dataset, trust=ws.trust) as opened:
        rows = UnverifiedSamples(opened.arrow(), opened.schema)
    return drill(rows, ws.policy, **options)


def of_data(data: Path, *, label: str | None, source: str | None = None, **options: Any) -> dict[str, Any]:
    """The exercise on any data that you trust; the options are those of `drill`."""
    return drill(from_any(data, label=label, source=source), Policy(), **options)


def drill(rows: UnverifiedSamples, policy: Policy, *, families: Sequence[str] = (), rate: float = 0.03, seed: int = 0) -> dict[str, Any]:
    """Plants each family at `rate` in a third of `rows` and judges it against the rest.

    Returns:
        `attacks`: per family how many units were planted and caught, the recall with its exact 90 % interval, the share of
        honest units that were quarantined beside them, or why the family finds no place here.

    Raises:
        UsageError: an unknown family, or too few rows to split.
    """
    if len(rows) < 20:
        raise UsageError(f"{len(rows)} rows are too few for an exercise: give at least 20")
    chosen = tuple(families) or drills.sensible(rows)
    order = np.random.default_rng(seed).permutation(len(rows))
    cut = max(10, int(SHARE * len(rows)))
    copy, trusted = rows.take(np.sort(order[:cut])), rows.take(np.sort(order[cut:]))

    def judge(delivery: UnverifiedSamples) -> NDArray[np.bool_]:
        decided = verdicts.decide(detectors.run(delivery, trusted, policy.detect), delivery, trusted, policy)
        return np.asarray((decided.table["action"] == "quarantine").to_numpy(), dtype=bool)

    attacks = {}
    for family in chosen:
        try:
            [found] = drills.power_curve(copy, judge, family, rates=(rate,), seeds=(seed,)).to_dict("records")
        except UsageError as error:
            if families:
                raise
            attacks[family] = {"left_out": error.message}
            continue
        attacks[family] = {str(name): value for name, value in found.items() if name != "family"}
    return {"rows": len(rows), "delivery": len(copy), "trusted": len(trusted), "rate": rate, "seed": seed, "attacks": attacks}
