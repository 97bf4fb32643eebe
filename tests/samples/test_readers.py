"""Bytes are read in one way or refused with the row: no two parsers may see different data."""

from __future__ import annotations

import csv
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sanitizer.errors import AmbiguousData, FormatNotAllowed, ParserLimit, SanitizerError
from sanitizer.samples.readers import READERS, csv_text, sniff
from sanitizer.samples.readers.limits import Budget

ALL = tuple(READERS)
Read = Callable[..., pa.Table]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(kind: str, data: bytes, budget: Budget | None = None) -> pa.Table:
        return _read(tmp_path / "f", kind, data, budget)

    return read


def _read(path: Path, kind: str, data: bytes, budget: Budget | None = None) -> pa.Table:
    path.write_bytes(data)
    with path.open("rb") as file:
        return READERS[kind](file, "f", budget or Budget(10_000, 1 << 24))


def parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def arrow(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def npz(**arrays: Any) -> bytes:
    sink = io.BytesIO()
    np.savez(sink, **arrays)
    return sink.getvalue()


CSV = {
    "duplicate column": (b"a,b,a\n1,2,3\n", "the column 'a' is there 2 times"),
    "duplicate column up to spaces": (b"a, a\n1,2\n", "the column 'a' is there 2 times"),
    "nameless column": (b"a,\n1,2\n", "column 2 has no name"),
    "short row": (b"a,b\n1,2\n3\n", "row 2 has 1 cells, the header has 2"),
    "long row": (b"a,b\n1,2,3\n", "row 1 has 3 cells, the header has 2"),
    "short last row": (b"a,b\n1,2\n3", "row 2 has 1 cells"),
    "latin-1": (b"a,b\n1,2\n3,\xe9\n", "row 2 is not UTF-8"),
    "UTF-8 cut short": (b"a\n1\n\xc3", "row 2 is not UTF-8"),
    "NUL": (b"a,b\n1,2\n3,\0\n", "row 2 holds a NUL byte"),
    "open quote": (b'a,b\n1,2\n3,"x\n4,5\n', "row 2 opens a quote that nothing closes"),
    "quote inside a cell": (b'a,b\n1,x"y"\n', "row 1 opens a quote inside a cell"),
    "text after a quote": (b'a,b\n"x"y,2\n', "row 1 goes on after a closing quote"),
    "space before a quote": (b'a,b\n1, "x"\n', "row 1 opens a quote inside a cell"),
    "carriage return": (b"a,b\n1,2\r3,4\n", "row 1 holds a carriage return"),
    "old Mac line ends": (b"a,b\r1,2\r", "the header holds a carriage return"),
    "empty line": (b"a,b\n1,2\n\n3,4\n", "row 2 has 1 cells"),
    "empty line under one column": (b"a\n1\n\n2\n", "row 2 is an empty line"),
    "empty line with CRLF": (b"a\r\n1\r\n\r\n", "row 2 is an empty line"),
    "empty header": (b"\n1\n", "no columns"),
    "no header": (b"", "lacks even a header"),
}


@pytest.mark.parametrize(("data", "words"), CSV.values(), ids=CSV)
@pytest.mark.parametrize("block", [1, 3, 1 << 20])
def test_ambiguous_csv_is_refused_with_the_row(data: bytes, words: str, block: int, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_text, "_BLOCK", block)
    with pytest.raises(AmbiguousData, match=words):
        read("csv", data)


FINE = {
    "plain": (b"a,b\n1,x\n", {"a": ["1"], "b": ["x"]}),
    "no newline at the end": (b"a,b\n1,x", {"a": ["1"], "b": ["x"]}),
    "CRLF": (b"a,b\r\n1,x\r\n", {"a": ["1"], "b": ["x"]}),
    "byte order mark": (b"\xef\xbb\xbfa,b\n1,x\n", {"a": ["1"], "b": ["x"]}),
    "byte order mark and quote": (b'\xef\xbb\xbf"a",b\n1,x\n', {"a": ["1"], "b": ["x"]}),
    "quotes": (b'a,"b,""c"""\n"1","x\ny"\n', {"a": ["1"], 'b,"c"': ["x\ny"]}),
    "empty and quoted empty": (b'a,b\n,""\n', {"a": [None], "b": [""]}),
    "spaces stay": (b"a,b\n 1 ,x\n", {"a": [" 1 "], "b": ["x"]}),
    "NA is text": (b"a,b\nNA,null\n", {"a": ["NA"], "b": ["null"]}),
    "no rows": (b"a,b\n", {"a": [], "b": []}),
    "no rows, no newline": (b"a,b", {"a": [], "b": []}),
    "one column of quoted empties": (b'a\n""\n', {"a": [""]}),
}


@pytest.mark.parametrize(("data", "expected"), FINE.values(), ids=FINE)
@pytest.mark.parametrize("block", [1, 3, 1 << 20])
def test_plain_csv_is_read_as_text(data: bytes, expected: dict[str, Any], block: int, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_text, "_BLOCK", block)
    assert read("csv", data).to_pydict() == expected


@given(st.text(alphabet='ab",\n\r é\0', max_size=30).map(str.encode))
@example(b'a\n"\r\n"\n')
def test_csv_that_is_accepted_reads_the_same_in_python(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "agree.csv"
    try:
        table = _read(path, "csv", data)
    except AmbiguousData:
        return
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, strict=True))
    cells = [[value or "" for value in row.values()] for row in table.to_pylist()]
    assert [table.column_names, *cells] == rows


def test_a_row_longer_than_a_block_is_read(read: Read) -> None:
    long = "x" * (3 << 20)
    assert read("csv", f"a,b\n1,{long}\n".encode()).to_pydict()["b"] == [long]


JSONL = {
    "key twice": (b'{"a": 1}\n{"a": 1, "a": 2}\n', "row 2 has the key 'a' twice"),
    "key twice, deep down": (b'{"a": [{"b": 1, "b": 2}]}\n', "row 1 has the key 'b' twice"),
    "NaN": (b'{"a": NaN}\n', "row 1 holds NaN"),
    "infinity": (b'{"a": -Infinity}\n', "row 1 holds -Infinity"),
    "huge float": (b'{"a": 1e999}\n', "row 1 holds a number beyond the range of a double"),
    "huge integer": (b'{"a": ' + b"9" * 5000 + b"}\n", "row 1 holds an integer beyond 64 bits"),
    "integer of 20 digits": (b'{"a": 18446744073709551615}\n', "row 1 holds an integer beyond 64 bits"),
    "not UTF-8": (b'{"a": 1}\n{"a": "\xff"}\n', "row 2 is not UTF-8"),
    "lone surrogate": (b'{"a": "x"}\n{"a": "\\ud800"}\n', "row 2: column 'a' holds half a surrogate pair"),
    "mixed types": (b'{"a": 1}\n{"a": null}\n{"a": "x"}\n', "row 3: column 'a' holds a string, but a integer before"),
    "boolean among numbers": (b'{"a": 1}\n{"a": true}\n', "row 2: column 'a' holds a boolean"),
    "big integer among fractions": (b'{"a": 9007199254740993}\n{"a": 0.5}\n', "row 1: column 'a' holds an integer that no double holds"),
    "object": (b'{"a": {"b": 1}}\n', "column 'a' holds objects"),
    "list of text": (b'{"a": ["x"]}\n', "no vectors of numbers"),
    "no object": (b"[1]\n", "row 1 is no object"),
    "empty line": (b'{"a": 1}\n\n', "row 2 is not JSON"),
    "cut off": (b'{"a": 1', "row 1 is not JSON"),
    "nothing": (b"", "no columns"),
    "nameless": (b'{"": 1}\n', "has no name"),
}


@pytest.mark.parametrize(("data", "words"), JSONL.values(), ids=JSONL)
def test_ambiguous_json_is_refused_with_the_row(data: bytes, words: str, read: Read) -> None:
    with pytest.raises(AmbiguousData, match=words):
        read("jsonl", data)


def test_json_that_is_nested_deeper_than_any_table_is_beyond_the_limits(read: Read) -> None:
    with pytest.raises(ParserLimit, match="row 1 is nested deeper"):
        read("jsonl", b'{"a": ' + b"[" * 200_000 + b"\n")


@pytest.mark.parametrize(
    ("name", "data"),
    {
        "rows.csv": pickle.dumps({"x": [1, 2, 3]}, protocol=0),
        "rows.jsonl": pickle.dumps(["a", ("b", 2)], protocol=1),
        "page.csv": b"<!DOCTYPE html><html></html>",
        "page.jsonl": b"<script>alert(1)</script>",
        "program.csv": b"\x7fELF\x02\x01\x01\0x,label\n",
    }.items(),
)
def test_text_by_its_name_and_something_else_by_its_content_is_not_read(name: str, data: bytes) -> None:
    with pytest.raises(FormatNotAllowed, match="its content is"):
        sniff(io.BytesIO(data), name, tuple(READERS))


@pytest.mark.parametrize("data", [b"x,label\n1,a.", b"a.", b".", b"(lp0\n", b"c.\n."])
def test_text_that_ends_in_a_dot_is_text(data: bytes) -> None:
    assert sniff(io.BytesIO(data), "rows.csv", tuple(READERS)) == "csv"


def test_a_member_of_an_npz_that_is_a_path_or_no_array_is_not_read(read: Read) -> None:
    for name, data in {"../x.npy": b"\x93NUMPY", "x.npy": pickle.dumps([1])}.items():
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as archive:
            archive.writestr(name, data)
        with pytest.raises(FormatNotAllowed, match="in it is no"):
            read("npz", made.getvalue())


def test_json_lines_become_columns(read: Read) -> None:
    lines = [{"a": 1, "b": "é\n", "v": [1, 2.5]}, {"a": 2.5, "c": True}, {"b": None}]
    table = read("jsonl", "\n".join(map(json.dumps, lines)).encode())
    assert table.to_pydict() == {
        "a": [1.0, 2.5, None],
        "b": ["é\n", None, None],
        "v": [[1.0, 2.5], None, None],
        "c": [None, True, None],
    }


BINARY = {
    "cut Parquet": ("parquet", parquet(pa.table({"a": [1, 2]}))[:-20] + b"PAR1"),
    "Parquet of noise": ("parquet", b"PAR1" + bytes(range(256)) + b"PAR1"),
    "cut Arrow": ("arrow", arrow(pa.table({"a": ["x"]}))[:-60] + b"ARROW1"),
    "Arrow of noise": ("arrow", b"ARROW1\0\0" + bytes(range(256)) + b"ARROW1"),
    "cut npz": ("npz", npz(a=np.arange(3))[:-30]),
    "npz of noise": ("npz", b"PK\3\4" + bytes(range(256))),
}


@pytest.mark.parametrize(("kind", "data"), BINARY.values(), ids=BINARY)
def test_broken_files_are_refused(kind: str, data: bytes, read: Read) -> None:
    with pytest.raises(AmbiguousData, match="cannot be read as"):
        read(kind, data)


@pytest.mark.parametrize(("kind", "pack"), [("parquet", parquet), ("arrow", arrow)])
def test_a_column_name_twice_is_refused_in_binary_formats_too(kind: str, pack: Callable[[pa.Table], bytes], read: Read) -> None:
    with pytest.raises(AmbiguousData, match="'a' is there 2 times"):
        read(kind, pack(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])))


def test_arrow_text_with_offsets_outside_is_refused(read: Read) -> None:
    tame, wild = (np.array([0, middle, 8], np.int32).tobytes() for middle in (4, 1 << 20))
    data = arrow(pa.table({"a": ["abcd", "efgh"]}))
    assert data.count(tame) == 1
    with pytest.raises(AmbiguousData, match="holds values that are none"):
        read("arrow", data.replace(tame, wild))


@pytest.mark.parametrize(("kind", "pack"), [("parquet", parquet), ("arrow", arrow)])
def test_text_that_is_not_utf8_is_refused_in_binary_formats_too(kind: str, pack: Callable[[pa.Table], bytes], read: Read) -> None:
    data = pack(pa.table({"a": ["abcd", "wxyz"]})).replace(b"wxyz", b"wx\xffz")
    with pytest.raises(AmbiguousData, match=r"holds values that are none: .*UTF8"):
        read(kind, data)


def test_parquet_and_arrow_keep_values_and_types(read: Read) -> None:
    table = pa.table({"i": pa.array([1, None], pa.int8()), "s": ["x", ""], "v": pa.array([[1, 2], [3, 4]], pa.list_(pa.float32(), 2))})
    assert read("parquet", parquet(table)).equals(table)
    assert read("arrow", arrow(table)).equals(table)


def test_npz_arrays_become_columns(read: Read) -> None:
    images = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    table = read("npz", npz(image=images, embedding=np.asfortranarray(np.eye(3)), label=np.array(["a", "b", "a"])))
    assert table["label"].to_pylist() == ["a", "b", "a"]
    assert table["embedding"].to_pylist() == np.eye(3).tolist()
    assert table["image"].to_pylist() == images.reshape(3, 4).tolist()
    assert table.schema.field("image").metadata == {b"shape": b"2,2"}


def rezipped(data: bytes, change: Callable[[zipfile.ZipFile, str, bytes], None]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(sink, "w") as new:
        for name in old.namelist():
            change(new, name, old.read(name))
    return sink.getvalue()


class Payload:
    """Unpickling this would call `print`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("pwned",)


plain = npz(a=np.arange(3))
NPZ: dict[str, tuple[bytes, type[SanitizerError], str]] = {
    "objects": (npz(a=np.array([Payload()], object)), FormatNotAllowed, "holds object"),
    "structures": (npz(a=np.zeros(2, [("x", "i4")])), FormatNotAllowed, "only numbers"),
    "other members": (rezipped(plain, lambda z, _, d: z.writestr("a.pkl", d)), FormatNotAllowed, "no plain array"),
    "bytes before": (b"<html>" + plain, FormatNotAllowed, "bytes around the archive"),
    "bytes behind": (plain + b"<html>", AmbiguousData, "cannot be read|bytes around"),
    "longer than declared": (rezipped(plain, lambda z, n, d: z.writestr(n, d + b"x")), AmbiguousData, "declares 24 bytes and holds more"),
    "shorter than declared": (rezipped(plain, lambda z, n, d: z.writestr(n, d[:-1])), AmbiguousData, "declares 24 bytes and holds 23"),
    "two lengths": (npz(a=np.arange(3), b=np.arange(2)), AmbiguousData, "differ in length"),
    "a number": (npz(a=np.int64(3)), AmbiguousData, "rows come first"),
    "nothing": (npz(), AmbiguousData, "no columns|bytes around"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("data", "error", "words"), NPZ.values(), ids=NPZ)
def test_npz_with_anything_but_plain_arrays_is_refused(data: bytes, error: type[SanitizerError], words: str, read: Read) -> None:
    with pytest.raises((error, FormatNotAllowed), match=words):
        read("npz", data)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_twice_in_one_archive_is_refused(read: Read) -> None:
    def twice(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
        archive.writestr(name, data)
        archive.writestr(name, data)

    with pytest.raises(AmbiguousData, match="'a' is there 2 times"):
        read("npz", rezipped(plain, twice))


ROWS = pa.table({"a": pa.array(range(2000), pa.int64())})
FULL = {
    "csv": b"a\n" + b"".join(b"%d\n" % i for i in range(2000)),
    "jsonl": b"".join(b'{"a": %d}\n' % i for i in range(2000)),
    "parquet": parquet(ROWS),
    "arrow": arrow(ROWS),
    "npz": npz(a=np.arange(2000)),
}


@pytest.mark.parametrize("kind", READERS)
def test_every_reader_keeps_to_its_budget(kind: str, read: Read) -> None:
    assert read(kind, FULL[kind], Budget(2000, 1 << 20)).num_rows == 2000
    with pytest.raises(ParserLimit, match="rows"):
        read(kind, FULL[kind], Budget(1999, 1 << 20))
    with pytest.raises(ParserLimit, match="max_decoded_bytes"):
        read(kind, FULL[kind], Budget(2000, 1 << 12))


def test_a_parquet_that_unpacks_to_gigabytes_stops_at_the_budget(read: Read) -> None:
    bomb = parquet(pa.table({"a": pa.DictionaryArray.from_arrays(np.zeros(200_000, np.int32), ["x" * 1000])}), store_schema=False)
    assert len(bomb) < 30_000
    with pytest.raises(ParserLimit, match="decoded bytes"):
        read("parquet", bomb, Budget(1 << 20, 1 << 24))


NAMES: dict[str, tuple[str, bytes, str | None]] = {
    "csv": ("a.csv", b"a\n1\n", "csv"),
    "upper case": ("a.CSV", b"a\n1\n", "csv"),
    "jsonl": ("a.ndjson", b"{}\n", "jsonl"),
    "parquet": ("a.parquet", FULL["parquet"], "parquet"),
    "arrow": ("a.feather", FULL["arrow"], "arrow"),
    "npz": ("a.npz", FULL["npz"], "npz"),
    "pickle": ("a.pkl", b"\x80\x04.", None),
    "pickle named csv": ("a.csv", b"\x80\x04K\1.", None),
    "parquet named csv": ("a.csv", FULL["parquet"], None),
    "csv named parquet": ("a.parquet", b"a\n1\n", None),
    "archive named csv": ("a.csv", FULL["npz"], None),
    "parquet with a tail": ("a.parquet", FULL["parquet"] + b"<script>", None),
    "gzip": ("a.csv", b"\x1f\x8b\x08\0\0\0", None),
    "compressed name": ("a.csv.gz", b"a\n1\n", None),
    "no suffix": ("data", b"a\n1\n", None),
    "joblib": ("a.joblib", b"\x80\x04.", None),
    "stream": ("a.arrow", b"\xff\xff\xff\xff\0\0\0\0", None),
    "UTF-16": ("a.csv", "a\n1\n".encode("utf-16"), None),
    "single array": ("a.npz", b"\x93NUMPY\1\0", None),
    "empty parquet": ("a.parquet", b"", None),
}


@pytest.mark.parametrize(("name", "data", "kind"), NAMES.values(), ids=NAMES)
def test_name_and_content_must_agree_on_an_allowed_format(name: str, data: bytes, kind: str | None) -> None:
    if kind is not None:
        assert sniff(io.BytesIO(data), name, ALL) == kind
        with pytest.raises(FormatNotAllowed, match="are read here"):
            sniff(io.BytesIO(data), name, tuple(k for k in ALL if k != kind))
        return
    with pytest.raises(FormatNotAllowed, match=r"are read here|its content is"):
        sniff(io.BytesIO(data), name, ALL)


def test_what_pandas_writes_is_read(read: Read) -> None:
    frame = pd.DataFrame({"x": [1.5, None, 1e-300], "n": [1, 2, 3], "s": ['a"b', "c,d", "e\nf"], "b": [True, False, True]})
    assert read("csv", frame.to_csv(index=False).encode()).to_pydict() == {
        "x": ["1.5", None, "1e-300"],
        "n": ["1", "2", "3"],
        "s": ['a"b', "c,d", "e\nf"],
        "b": ["True", "False", "True"],
    }
    for kind, pack in (("parquet", frame.to_parquet), ("arrow", frame.to_feather)):
        sink = io.BytesIO()
        pack(sink)
        assert read(kind, sink.getvalue()).num_rows == 3
