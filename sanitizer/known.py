"""What the newest release tells of a delivery before anybody judges it: whether it still stands itself, and which samples it knows."""

from __future__ import annotations

from sanitizer import samples
from sanitizer.errors import RevokedKey
from sanitizer.release.gate import open_release
from sanitizer.samples import Samples
from sanitizer.store import releases
from sanitizer.workspace import Workspace


def recalled(ws: Workspace) -> bool:
    """Whether something in the newest release was revoked since it was published."""
    with ws.store() as store, store.reading() as view:
        newest = releases.latest(view, ws.policy.dataset)
    if newest is None:
        return False
    try:
        with open_release(ws.releases / ws.policy.dataset / str(newest.version), trust=ws.trust):
            return False
    except RevokedKey:
        return True


def over_budget(ws: Workspace, version: int | None, rows: Samples) -> str | None:
    """What is wrong, where more known samples came back under another label than `hold.max_relabelled` allows; else None.

    What the released data do by themselves is allowed too: coarse data repeat samples under several labels with no malice.
    """
    if version is None or ws.policy.samples.label is None:
        return None
    with open_release(ws.releases / ws.policy.dataset / str(version), trust=ws.trust) as opened:
        if opened.schema.arrow != rows.schema.arrow:
            return None
        trusted = opened.samples()
    is_known, relabelled = samples.known(trusted, rows)
    if not relabelled.any():
        return None
    share, allowed = relabelled.sum() / is_known.sum(), ws.policy.hold.max_relabelled + samples.disagreement(trusted)
    if share <= allowed:
        return None
    return (
        f"{int(relabelled.sum()):,} of the {int(is_known.sum()):,} samples that are known came back with another label: {share:.1%}, "
        f"the policy allows {allowed:.1%}"
    )
