"""Is this machine, and this workspace, fit to work?  Each question is tried out, not looked up."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sanitizer.errors import SanitizerError

CORE = ("click", "cryptography", "rfc8785", "securesystemslib", "tuf")
# extra of the package -> the modules that it brings, in the order of use
EXTRAS = {
    "scan": ("numpy", "pandas", "pyarrow", "pydantic", "sklearn", "scipy"),
    "line": ("alembic", "jinja2", "sqlalchemy"),
    "pyod": ("pyod",),
    "gx": ("great_expectations",),
    "airflow": ("airflow",),
    "postgres": ("psycopg",),
    "review": ("argon2", "fastapi", "uvicorn"),
}
LEAST_FREE = 1 << 30  # bytes: a release is written beside the last one before it takes its place


@dataclass(frozen=True)
class Finding:
    """One question: `level` is ok, note (an optional part is absent), warning or error."""

    level: str
    what: str
    message: str


def examine(workspace: Path | None) -> list[Finding]:
    """All findings about the machine, and about the workspace where one is given."""
    found = [*_python(), *_packages(), *_parsing()]
    if workspace is not None:
        found += _workspace(workspace)
    return found


def _tried(what: str, call: Callable[[], str]) -> Finding:
    try:
        return Finding("ok", what, call())
    except SanitizerError as error:
        return Finding("error", what, f"{error.code}: {error.message}")
    except OSError as error:
        return Finding("error", what, f"{error.strerror}: {error.filename}")


def _python() -> Iterator[Finding]:
    fits = (3, 11) <= sys.version_info[:2] < (3, 14)
    yield Finding("ok" if fits else "error", "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _packages() -> Iterator[Finding]:
    for name in CORE:
        yield Finding("ok", name, importlib.metadata.version(name))
    for extra, modules in EXTRAS.items():
        absent = [name for name in modules if importlib.util.find_spec(name) is None]
        if absent:
            yield Finding("note", extra, f"{', '.join(absent)} not installed: pip install 'sanitizer[{extra}]'")
        else:
            yield Finding("ok", extra, "installed")


def _parsing() -> Iterator[Finding]:
    if importlib.util.find_spec("pyarrow") is None:
        return
    from sanitizer.samples import read_path  # noqa: PLC0415  # heavy, and not there in the core

    def parsed() -> str:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "rows.csv"
            path.write_text("x,label\n1,a\n")
            rows = read_path(path, label="label")
        return f"a child process read {len(rows)} row within its limits"

    yield _tried("parsing", parsed)
    from sanitizer.samples import landlock  # noqa: PLC0415

    known = landlock.version()
    if known:
        yield Finding("ok", "confinement", f"Landlock {known}: the process that parses can open no other file")
    else:
        yield Finding(
            "warning", "confinement", "this kernel has no Landlock: the process that parses is limited, but can read what you can"
        )


def _workspace(root: Path) -> Iterator[Finding]:
    from sanitizer import overview  # noqa: PLC0415
    from sanitizer.provenance import trust_edit  # noqa: PLC0415
    from sanitizer.workspace import Workspace  # noqa: PLC0415

    try:
        ws = Workspace.open(root)
    except SanitizerError as error:
        yield Finding("error", "workspace", error.message)
        return
    now = datetime.now(UTC)
    yield Finding("ok", "workspace", f"{root}, data set {ws.policy.dataset}")
    yield _tried("policy", lambda: (ws.trusted(now), "signed by the owners of the trust root")[1])
    for problem in trust_edit.lint(ws.trust, now=now):
        yield Finding(problem.level, f"trust: {problem.where}", problem.message)
    for key in sorted((root / "keys").glob("*.pem")) if (root / "keys").is_dir() else []:
        if not key.name.endswith(".pub.pem") and stat.S_IMODE(key.stat().st_mode) & 0o077:
            yield Finding("error", f"keys/{key.name}", "others may read this private key: chmod 600")
    yield _tried("ledger", lambda: f"{overview.audit(root)['entries']} entries, all in order")
    free = shutil.disk_usage(root).free
    yield Finding("ok" if free >= LEAST_FREE else "warning", "disk", f"{free / (1 << 30):.1f} GiB free")
    yield _tried("writing", lambda: _written(root))


def _written(root: Path) -> str:
    """Whether a file can be written, flushed and renamed over another here, which every commit rests on."""
    handle, name = tempfile.mkstemp(dir=root, prefix=".doctor-")
    try:
        os.write(handle, b"x")
        os.fsync(handle)
        Path(name).replace(f"{name}.moved")
        Path(f"{name}.moved").unlink()
    finally:
        os.close(handle)
        Path(name).unlink(missing_ok=True)
    return "files can be written, flushed and renamed"
