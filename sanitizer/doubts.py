"""Why a delivery as a whole waits for a person, whatever becomes of its rows."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow.compute as pc

from sanitizer import samples
from sanitizer.errors import Held, RelabelBudget, TooSuspicious, printable
from sanitizer.samples import Samples
from sanitizer.store import Store, deliveries
from sanitizer.verdicts import Verdicts
from sanitizer.workspace import Workspace


def doubts(ws: Workspace, store: Store, rows: Samples, decided: Verdicts, released: Samples | None) -> Held | None:
    """The hold that the delivery of `rows` ends in, beside the newest release (`released`; none yet: None); None when it goes on."""
    if released is not None and (relabelled := _over_budget(ws, released, rows)) is not None:
        return RelabelBudget(f"{relabelled}; read its report, then release or refuse it", subject=rows.origin)
    share = decided.quarantined / max(1, len(decided.table))
    why = decided.held_reason if decided.held else ""
    if not why and share > ws.policy.hold.max_quarantined:
        why = f"{share:.0%} of its samples are suspicious, more than anybody could review"
    with store.reading() as view:
        delivery = deliveries.get(view, rows.origin)
        accepted = deliveries.listed(view, dataset=ws.policy.dataset, states=("decided", "published"))
    if not why and ws.policy.hold.accused_sources and rows.schema.source:
        present = set(map(str, pc.unique(rows.table[rows.schema.source]).to_pylist()))
        # a baseline was judged by nobody: it has no verdicts, and may share its name with a source
        again = _accused(ws, [d for d in accepted if d.source == delivery.source and "verdicts" in d.artefacts], present)
        why = "; ".join(f"it holds rows of {printable(name)}, accused in {path}" for name, path in sorted(again.items()))
    if why:
        return TooSuspicious(f"the delivery waits for a person: {why}; read its report, then release or refuse it", subject=rows.origin)
    if delivery.level == "L0":
        return Held("nothing proves who sent the delivery (level L0): read its report, then release or refuse it", subject=rows.origin)
    return None


def _accused(ws: Workspace, before: Sequence[deliveries.DeliveryState], names: set[str]) -> dict[str, str]:
    """Those of the named suppliers of rows whom the last delivery that held rows of theirs accused, and that delivery."""
    accused, unsettled = {}, set(names)
    for delivery in reversed(before):
        if not unsettled:
            break
        sources = ws.verdicts(delivery.artefacts["verdicts"]).sources
        for name in unsettled & set(sources.index):
            if sources.loc[name, "accused"]:
                accused[name] = delivery.path
        unsettled -= set(sources.index)
    return accused


def _over_budget(ws: Workspace, released: Samples, rows: Samples) -> str | None:
    """What is wrong, where more known samples came back under another label than `hold.max_relabelled` allows; else None.

    What the released data do by themselves is allowed too: coarse data repeat samples under several labels with no malice.
    """
    if ws.policy.samples.label is None or released.schema.arrow != rows.schema.arrow:
        return None
    is_known, relabelled = samples.known(released, rows)
    if not relabelled.any():
        return None
    share, allowed = relabelled.sum() / is_known.sum(), ws.policy.hold.max_relabelled + samples.disagreement(released)
    if share <= allowed:
        return None
    return (
        f"{int(relabelled.sum()):,} of the {int(is_known.sum()):,} samples that are known came back with another label: {share:.1%}, "
        f"the policy allows {allowed:.1%}"
    )
