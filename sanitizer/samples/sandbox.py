"""Hostile bytes are parsed in a child process that may use so much memory, time and disk, and knows no secrets.

The child is a fresh interpreter with an empty environment, so it holds neither keys nor tokens of ours, and where the kernel has
Landlock it can open no file but those it was given: not even a key that lies on the disk.  It is told which
files to read, hashes each one as the blob store would, parses it, and writes one Arrow file.  What comes back is checked
again: a parser that was taken over may write anything.

A child that dies by a signal is a verdict about the file (`ParserCrash`), not a crash of ours.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from sanitizer.errors import (
    AmbiguousData,
    DigestMismatch,
    FormatNotAllowed,
    ParserCrash,
    ParserLimit,
    SanitizerError,
    SchemaMismatch,
    UsageError,
)
from sanitizer.samples import landlock
from sanitizer.samples.schema import Schema, listed

_ROOT = str(Path(__file__).parents[2])  # where this very package lies; the child ignores PYTHONPATH
_START = "import sys; sys.path.insert(0, sys.argv[1]); from sanitizer.samples import sandbox; sandbox.child()"
_ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # the others reserve address space in advance, which the limit would count
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
# what may still be loaded while parsing: modules, shared libraries, time zones.  Not the whole of where our package lies: there a
# workspace with keys may lie too
_LIBRARIES = (
    *dict.fromkeys((sys.prefix, sys.base_prefix, sys.exec_prefix, str(Path(__file__).parents[1]))),
    *("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib", "/usr/share/zoneinfo", "/etc/localtime", "/etc/ld.so.cache"),
    *("/dev/null", "/dev/urandom", "/proc/self", "/sys/devices/system/cpu", "/sys/fs/cgroup"),
)
_MESSAGE = 1 << 16  # bytes of a child's answer and of its complaints that anybody reads
_ERRORS = {e.code: e for e in (AmbiguousData, DigestMismatch, FormatNotAllowed, ParserLimit, SchemaMismatch, UsageError)}


@dataclass(frozen=True)
class Payload:
    """One file to read: its `name` in messages, the `path` of its bytes, and what these must hash to (None: unverified)."""

    name: str
    path: str
    sha256: str | None = None


@dataclass(frozen=True)
class Limits:
    """What the child may use: `memory` is bytes of address space beyond what the interpreter and its libraries take."""

    rows: int
    decoded_bytes: int
    memory: int
    seconds: int


@dataclass(frozen=True)
class Request:
    """What the child is to do: read `files` as `schema` says, or draft one with these roles.

    `mixed` tells what a draft does with a column of text that holds numbers and something else: "refuse" it, or take it as "text".
    """

    files: tuple[Payload, ...]
    formats: tuple[str, ...]
    limits: Limits
    schema: dict[str, Any] | None = None
    label: str | None = None
    source: str | None = None
    key: tuple[str, ...] = ()
    modality: str | None = None
    mixed: str = "refuse"


def parse(request: Request) -> tuple[pa.Table, Schema]:
    """Read the files of `request` in a child process: one canonical table, the files in the order given, and its schema.

    Raises `AmbiguousData`, `FormatNotAllowed`, `SchemaMismatch`, `UsageError` as the readers do, `ParserLimit` for a file that
    takes more than the limits, and `ParserCrash` for one that kills its parser.
    """
    with tempfile.TemporaryDirectory(prefix="sanitizer-parse-") as scratch:
        result = Path(scratch) / "table.arrow"
        code, answer, complaints = _run(request, result, Path(scratch))
        subject = listed([f.name for f in request.files])
        if code < 0:
            raise _death(-code, complaints, subject, request.limits)
        try:
            told = json.loads(answer)
            error, schema = told.get("error"), told.get("schema")
        except (ValueError, AttributeError) as broken:
            raise ParserCrash(f"the process that read {subject} ended without an answer: {complaints[-200:]}", subject=subject) from broken
        if error is not None:
            raise _ERRORS.get(error["code"], ParserCrash)(error["message"], subject=error["subject"])
        return _checked(result, request, schema, subject)


def _run(request: Request, result: Path, scratch: Path) -> tuple[int, str, str]:
    """Exit status (negative: the signal that ended it), answer and complaints of the child."""
    command = [sys.executable, "-I", "-c", _START, _ROOT, str(result)]
    with (scratch / "answer").open("w+b") as answer, (scratch / "complaints").open("w+b") as complaints:
        child = subprocess.Popen(  # noqa: S603 - our own interpreter and our own code
            command, stdin=subprocess.PIPE, stdout=answer, stderr=complaints, cwd="/", env=_ENVIRONMENT, start_new_session=True
        )
        late = False
        try:
            child.communicate(json.dumps(asdict(request)).encode(), timeout=request.limits.seconds)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)  # it leads a session of its own
                child.wait()
        return -signal.SIGXCPU if late else child.returncode, _read(answer), _read(complaints)


def _read(file: BinaryIO) -> str:
    file.seek(0)
    return file.read(_MESSAGE).decode("utf-8", "replace")


def _death(number: int, complaints: str, subject: str, limits: Limits) -> SanitizerError:
    if number == signal.SIGXCPU:
        return ParserLimit(f"reading {subject} took more than the {limits.seconds} s of `samples.max_seconds`", subject=subject)
    if number == signal.SIGXFSZ:
        return ParserLimit(f"{subject}: the table is larger than `samples.max_decoded_bytes` allows", subject=subject)
    if "bad_alloc" in complaints or "MemoryError" in complaints:
        return _out_of_memory(subject, limits.memory)
    name = signal.Signals(number).name if number in signal.valid_signals() else str(number)
    return ParserCrash(f"the process that read {subject} died by {name}; look at the files with care. {complaints[-200:]}", subject=subject)


def _out_of_memory(subject: str, memory: int) -> ParserLimit:
    return ParserLimit(f"reading {subject} took more than the {memory >> 20} MiB of `samples.max_memory_bytes`", subject=subject)


def _checked(result: Path, request: Request, schema: object, subject: str) -> tuple[pa.Table, Schema]:
    """The table that the child wrote, mapped into memory, if it is what it should be to the last offset."""
    try:
        pinned = Schema.from_json(schema if request.schema is None else request.schema)
        with pa.memory_map(str(result)) as mapped:
            table = pa.ipc.open_file(mapped).read_all()
        table.validate(full=True)
        if not table.schema.equals(pinned.arrow) or table.num_rows > request.limits.rows:
            raise ParserCrash(f"the process that read {subject} wrote another table than it was asked for", subject=subject)
    except (pa.ArrowException, OSError, UsageError) as broken:
        raise ParserCrash(f"the process that read {subject} wrote no table: {broken}", subject=subject) from broken
    return pa.Table.from_arrays(table.columns, schema=pinned.arrow), pinned


def child() -> None:
    """The other side: reads a request on standard input, writes the table to the path in `argv[2]` and the answer to standard output."""
    told = json.load(sys.stdin)
    request = Request(**told | {"files": tuple(Payload(**f) for f in told["files"]), "limits": Limits(**told["limits"])})
    sys.meta_path.insert(0, _WithoutPandas())
    from sanitizer.samples import assemble  # noqa: PLC0415 - only the child needs the parsers

    _limit(request.limits)
    packages = [entry for entry in sys.path if entry.endswith("-packages")]
    landlock.confine(read=[*_LIBRARIES, *packages, *(f.path for f in request.files)], write=[str(Path(sys.argv[2]).parent)])
    answer: dict[str, Any]
    try:
        table, schema = assemble.assemble(request)
        with pa.OSFile(sys.argv[2], "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        answer = {"schema": schema.to_json()}
    except SanitizerError as error:
        answer = {"error": error.as_dict()}
    except MemoryError:
        answer = {"error": _out_of_memory(listed([f.name for f in request.files]), request.limits.memory).as_dict()}
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()
    os._exit(0)  # the answer is out; taking Arrow's threads down in order aborts the process once in a hundred times


class _WithoutPandas(MetaPathFinder):
    """Hides pandas, which pyarrow would import only to ask whether a list is a Series: less to start, less to attack."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:  # noqa: ARG002 - the protocol's names
        if fullname == "pandas":
            raise ModuleNotFoundError(fullname)


def _limit(limits: Limits) -> None:
    """From here on this process gets no more than `limits`; without a core file, for it would hold the data."""
    pa.set_cpu_count(1)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    memory = pages * resource.getpagesize() + limits.memory
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.seconds, limits.seconds + 1))
    # the table is written once; Arrow pads each buffer to 64 bytes
    size = 2 * limits.decoded_bytes + (1 << 20)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it, and a half-written table would look like a bug
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
