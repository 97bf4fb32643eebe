"""What became of content that was pinned on first sight: other samples, the same samples written otherwise, or neither can be told.

Addresses change for honest reasons far more often than for bad ones (about one in seven images of a large crawl), which is why checks
that simply drop them get switched off.  So a person gets the difference in samples; nothing is dropped or let in by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from sanitizer import samples
from sanitizer.errors import SanitizerError
from sanitizer.provenance.manifest import Manifest
from sanitizer.workspace import Workspace


@dataclass(frozen=True)
class Drift:
    """How two versions of one thing differ: `kind` is `encoding` (the same samples), `content` or `bytes` (one cannot be read)."""

    kind: str
    message: str


def triage(ws: Workspace, first: str, now: str) -> Drift:
    """Compares two versions, each the blob of a manifest, sample by sample."""
    before, after = (Manifest.from_json(ws.blobs.read_json(digest)) for digest in (first, now))
    try:
        old, new = (samples.read_files(manifest, ws.blobs, ws.schema(), ws.policy.samples) for manifest in (before, after))
        found = samples.diff(old, new)
    except SanitizerError as error:
        return Drift("bytes", f"other bytes, which cannot be compared as samples: {error.code}: {error.message}")
    if not found:
        return Drift("encoding", f"the same {len(old):,} samples, only written otherwise")
    told = ", ".join(f"{number:,} {name}" for name, number in found.counts.items() if number)
    return Drift("content", f"other samples: {told}")
