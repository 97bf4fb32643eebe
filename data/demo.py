"""Takes the demo through the whole line: `python data/demo.py [WORKSPACE]`, which is what `make run` does.

Makes a workspace with a trust root, two suppliers and a trusted baseline, lets the suppliers sign their deliveries, runs the three
DAGs on a throw-away Airflow, and says what came of it.  Run again, it finds everything done and changes nothing.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sanitizer
from sanitizer import bootstrap, overview
from sanitizer.provenance import keys
from sanitizer.provenance.delivery import deliver

HERE = Path(__file__).resolve().parent
SOURCES = ("lab-north", "lab-south")
STAGES = {
    "pull": "pull what came",
    "sanitize.verify": "verify provenance",
    "sanitize.read": "read and cast",
    "sanitize.check": "gate (Great Expectations)",
    "sanitize.judge": "detect and decide",
    "sanitize.hold": "quarantine",
    "announce": "announce",
    "publish": "publish, signed",
    "gate": "gate before training",
}


def prepare(root: Path) -> None:
    """A workspace with a trust root, suppliers' keys, a trusted baseline, and two signed deliveries in the inbox."""
    workspace = bootstrap.init(root, dataset="digits", label="digit", suite="expectations.json")
    for source in SOURCES:
        keys.new_key(root / "keys" / f"{source}.pem")
        bootstrap.add_source(root, source, [root / "keys" / f"{source}.pub.pem"])
    bootstrap.baseline(root, HERE / "baseline.csv", reason="demo: the part of the digits that is trusted from the start")
    bootstrap.draft_suite(root)
    now = datetime.now(UTC)
    for source in SOURCES:
        folder = workspace.inbox / source / "first"
        shutil.copytree(HERE / "inbox" / source / "first", folder)
        signer = keys.signer(f"file:keys/{source}.pem", base=root)
        deliver(folder, source=source, signers=[signer], sequence=1, issued=now, expires=now + timedelta(days=30))


def drive(root: Path) -> int:
    """The DAGs, with a line per finished task."""
    command = [sys.executable, str(HERE.parent / "dags" / "try_out.py"), str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            word, dag, *rest = line.split()
            if word == "task":
                task, index, state, seconds = rest
                where = "" if index == "-" else f" [{index}]"
                print(f"  {dag:<16} {STAGES.get(task, task) + where:<32} {state:<16} {seconds:>6} s", flush=True)
    return process.returncode


def caught(root: Path) -> tuple[int, int, int, int]:
    """Planted rows held and all; honest rows of the poisoned delivery held and all.  The truth lies outside the delivery."""
    with (HERE / "truth.csv").open(newline="") as file:
        planted = {int(row["row"]) for row in csv.DictReader(file)}
    verdicts = overview.verdicts(root, "lab-south/first").table
    held = {i for i, action in enumerate(verdicts["action"]) if action == "quarantine"}
    return len(held & planted), len(planted), len(held - planted), len(verdicts) - len(planted)


def main(arguments: list[str]) -> int:
    """Exit code 0 when the line ran to its end."""
    root = Path(arguments[0] if arguments else "workspace").absolute()
    begun = time.monotonic()
    print(f"sanitizer {sanitizer.__version__}: the demo, in {root}\n")
    if not (root / "sanitizer.toml").exists():
        prepare(root)
    code = drive(root)
    if code:
        print(f"\nA DAG did not succeed: see {root / 'airflow.log'}", file=sys.stderr)
        return code
    pages = overview.write_reports(root)
    print("\n" + overview.summary(root) + "\n")
    hit, planted, wrong, honest = caught(root)
    print(f"What was planted (data/truth.csv): {hit} of {planted} poisoned rows are in quarantine, and {wrong} of {honest} honest ones.")
    print(f"The report: {pages[-1]}")
    print(f"All of it took {time.monotonic() - begun:.0f} s.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
