"""Readers by the word that users write in `samples.formats`: bytes of one file become one Arrow table.

A reader decodes within a budget, refuses what readers of its format disagree on, and leaves the values as the file has them;
`strict` gives them their canonical types.  Readers of text formats say so in `TEXT`.  They run in a child process
(`sanitizer.samples.sandbox`): what they parse is hostile until proven otherwise.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import BinaryIO

import pyarrow as pa

from sanitizer.errors import FormatNotAllowed
from sanitizer.samples.readers import arrow, csv_text, jsonl, npz, parquet
from sanitizer.samples.readers.limits import Budget

Reader = Callable[[BinaryIO, str, Budget], pa.Table]
READERS: dict[str, Reader] = {
    "arrow": arrow.read,
    "csv": csv_text.read,
    "jsonl": jsonl.read,
    "npz": npz.read,
    "parquet": parquet.read,
}
TEXT = frozenset({"csv"})  # all their values are text: types are read off it once, then pinned

_SUFFIXES = {
    ".arrow": "arrow",
    ".csv": "csv",
    ".feather": "arrow",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".npz": "npz",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_LONGEST_PROGRAM = 1 << 20  # bytes that are looked at
# (what a file starts with, what it ends with, what it is); what is not in READERS has a name only for the message
_MAGIC = (
    (b"PAR1", b"PAR1", "parquet"),
    (b"ARROW1\0\0", b"ARROW1", "arrow"),
    (b"PK\3\4", b"", "npz"),
    (b"PAR1", b"", "Parquet with something behind it"),
    (b"PARE", b"", "encrypted Parquet"),
    (b"ARROW1", b"", "Arrow with something behind it"),
    (b"\xff\xff\xff\xff", b"", "an Arrow stream (write the file form)"),
    (b"\x93NUMPY", b"", "a single npy array (write npz)"),
    (b"\x80\x02", b".", "a pickle"),
    (b"\x80\x03", b".", "a pickle"),
    (b"\x80\x04", b".", "a pickle"),
    (b"\x80\x05", b".", "a pickle"),
    (b"\x1f\x8b", b"", "gzip"),
    (b"BZh", b"", "bzip2"),
    (b"\xfd7zXZ", b"", "xz"),
    (b"(\xb5/\xfd", b"", "zstandard"),
    (b"\x89HDF", b"", "HDF5"),
    (b"\x89PNG", b"", "a PNG image"),
    (b"\xff\xd8\xff", b"", "a JPEG image"),
    (b"%PDF", b"", "PDF"),
    (b"7z\xbc\xaf", b"", "a 7z archive"),
    (b"Rar!", b"", "a RAR archive"),
    (b"\x04\x22\x4d\x18", b"", "lz4"),
    (b"\x7fELF", b"", "a program"),
    (b"SQLite f", b"", "a SQLite database"),
    (b"GIF8", b"", "a GIF image"),
    (b"<!DOCTYP", b"", "HTML"),
    (b"<!doctyp", b"", "HTML"),
    (b"<html", b"", "HTML"),
    (b"<HTML", b"", "HTML"),
    (b"<script", b"", "HTML"),
    (b"<?xml", b"", "XML"),
    (b"<svg", b"", "XML"),
    (b"\xff\xfe", b"", "UTF-16 text"),
    (b"\xfe\xff", b"", "UTF-16 text"),
)


def sniff(file: BinaryIO, name: str, allowed: tuple[str, ...]) -> str:
    """The format of `file`, read off its name and its content, which must agree; raises `FormatNotAllowed`.

    Text is told apart by its name alone: its readers refuse what is not theirs.
    """
    declared = _SUFFIXES.get(PurePosixPath(name).suffix.lower())
    if declared is None or declared not in allowed:
        known = ", ".join(sorted({suffix for suffix, kind in _SUFFIXES.items() if kind in allowed}))
        raise FormatNotAllowed(f"{name}: only {known} are read here", subject=name)
    head = file.read(8)
    file.seek(0, 2)
    file.seek(-min(8, file.tell()), 2)
    tail = file.read(8)
    file.seek(0)
    content = next((kind for start, end, kind in _MAGIC if head.startswith(start) and tail.endswith(end)), "text")
    if content == "text" and tail.endswith(b".") and _is_pickle(file):
        content = "a pickle"
    if content != declared and not (content == "text" and declared in ("csv", "jsonl")):
        raise FormatNotAllowed(f"{name}: its name says {declared}, its content is {content}", subject=name)
    return declared


def _is_pickle(file: BinaryIO) -> bool:
    """Whether the file is a program of the pickle machine: in protocols 0 and 1 it is plain text without a magic number.

    The program is read, never run.
    """
    data = file.read(_LONGEST_PROGRAM)
    file.seek(0)
    try:
        program = [operation.name for operation, _, _ in pickletools.genops(data)]
    except (ValueError, UnicodeDecodeError, OverflowError):
        return False
    return len(program) > 2 and program[-1] == "STOP"  # with fewer there is nothing to stop at
