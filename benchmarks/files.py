"""Verifying files, beside `openssl dgst -sha256` over the same files in the same run.

    python benchmarks/files.py [--gigabytes 2] [--files 10000] [--rounds 3] [--json FILE] [--directory DIR]

Prints CPU seconds and ratios, the median over alternating rounds.  Two shapes: one big file, and many small ones of together
about as many bytes.  `check` is what `sanitizer verify` does: signatures, names, closed world, sizes, every byte hashed.
`verify` also copies into the blob store, which is what the line does.  `openssl` only hashes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from sanitizer.provenance import trust_edit
from sanitizer.provenance.blobs import BlobStore
from sanitizer.provenance.delivery import Delivery, NoHistory, check, deliver, verify

NOW = datetime.now(UTC)
SMALL = 215_000  # bytes of a small file


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of `work`, user and system, children included."""

    def spent() -> float:
        own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime

    before = spent()
    work()
    return spent() - before


def openssl(directory: Path) -> None:
    """Hashes all files below `directory`."""
    names = b"\0".join(os.fsencode(p) for p in sorted(directory.rglob("*")) if p.is_file())
    subprocess.run(["xargs", "-0", "openssl", "dgst", "-sha256"], input=names, stdout=subprocess.DEVNULL, check=True)


def shape(directory: Path, sizes: list[int], supplier: CryptoSigner) -> Delivery:
    """A signed delivery of random files of these sizes."""
    directory.mkdir(parents=True)
    for n, size in enumerate(sizes):
        with (directory / f"part-{n:05}.bin").open("wb") as file:
            for start in range(0, size, 1 << 24):
                file.write(os.urandom(min(1 << 24, size - start)))
    deliver(directory, source="bench", signers=[supplier], sequence=1, issued=NOW, expires=NOW + timedelta(days=1))
    return Delivery(directory, "bench")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--directory", type=Path)
    asked = parser.parse_args()
    owner, supplier = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()
    found = []
    with tempfile.TemporaryDirectory(dir=asked.directory) as home:
        root = Path(home)
        release = CryptoSigner.generate_ecdsa().public_key
        trust_edit.init(root / "trust", owners=[owner], release=release, now=NOW)
        trust = trust_edit.add_source(root / "trust", "bench", [supplier.public_key], signers=[owner], now=NOW)
        shapes = {"one big file": [int(asked.gigabytes * (1 << 30))], "many small files": [SMALL] * asked.files}
        for name, sizes in shapes.items():
            delivery = shape(root / "delivery", sizes, supplier)
            blobs = BlobStore(root / "blobs")
            ways = {
                "openssl": lambda: openssl(delivery.root),  # noqa: B023  # called before the next turn
                "check": lambda: check(delivery, trust, NoHistory(), now=NOW),  # noqa: B023
                "verify": lambda: verify(delivery, trust, blobs, NoHistory(), now=NOW),  # noqa: B023
            }
            times: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(asked.rounds):
                for way, work in ways.items():
                    times[way].append(cpu(work))
                shutil.rmtree(blobs.root)
            median = {way: statistics.median(each) for way, each in times.items()}
            ratios = {way: median[way] / median["openssl"] for way in ways}
            found.append({"shape": name, "files": len(sizes), "bytes": sum(sizes), "cpu_seconds": median, "ratio": ratios})
            shown = ", ".join(f"{way} {median[way]:.2f} s ({ratios[way]:.2f}x)" for way in ways)
            print(f"{name}: {len(sizes)} files, {sum(sizes) / (1 << 30):.2f} GiB: {shown}")
            shutil.rmtree(delivery.root)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
