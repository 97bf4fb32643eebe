"""Parsers work in a child process with limits and without secrets; whatever happens there is a verdict about the file."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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
from sanitizer.samples import Column, Schema, from_any, read_path, sandbox
from sanitizer.samples.sandbox import Limits, Payload, Request, parse

LIMITS = Limits(rows=1_000_000, decoded_bytes=1 << 28, memory=1 << 29, seconds=60)
FORMATS = ("csv", "jsonl", "parquet", "arrow", "npz")


def request(folder: Path, files: dict[str, bytes], **rest: Any) -> Request:
    payloads = []
    for name, data in files.items():
        path = folder / name
        path.write_bytes(data)
        payloads.append(Payload(name, str(path), hashlib.sha256(data).hexdigest()))
    return Request(tuple(payloads), FORMATS, **{"limits": LIMITS} | rest)


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def test_files_of_several_formats_become_one_table(tmp_path: Path) -> None:
    files = {
        "1.csv": b"x,y,t\n1,cat,2026-01-31\n,dog,\n",
        "2.jsonl": b'{"y": "cat", "x": 2.5, "t": null}\n',
        "3.parquet": parquet(pa.table({"t": pa.nulls(1), "x": [3], "y": ["dog"]})),
    }
    with pytest.raises(AmbiguousData, match="the files disagree about the types of their columns"):
        parse(request(tmp_path, files | {"4.jsonl": b'{"x": "one", "y": "cat", "t": null}\n'}, label="y"))
    table, schema = parse(request(tmp_path, files, label="y"))
    assert table["x"].to_pylist() == [1.0, None, 2.5, 3.0]
    assert table["y"].to_pylist() == ["cat", "dog", "cat", "dog"]
    assert [c.type for c in schema.columns] == ["float64", "string", "timestamp"]
    assert schema["y"].categories == ("cat", "dog")


def test_a_pinned_schema_is_kept_to(tmp_path: Path) -> None:
    schema = Schema((Column("x", "int64"), Column("y", "string", nullable=False, categories=("cat",))), "tabular", "y")
    table, pinned = parse(request(tmp_path, {"a.csv": b"y,x\ncat,1\n"}, schema=schema.to_json()))
    assert pinned == schema
    assert table.to_pylist() == [{"x": 1, "y": "cat"}]
    with pytest.raises(SchemaMismatch, match=r"a.csv: row 1: column 'y' holds 'dog'"):
        parse(request(tmp_path, {"a.csv": b"y,x\ndog,1\n"}, schema=schema.to_json()))


def test_errors_of_the_readers_come_back_as_they_are(tmp_path: Path) -> None:
    for files, error, words in (
        ({"a.csv": b"x,y\n1\n"}, AmbiguousData, "a.csv: row 1 has 1 cells"),
        ({"a.pkl": b"\x80\x04."}, FormatNotAllowed, "are read here"),
        ({"a.csv": b"x\n1\n"}, UsageError, "no column 'y' for the label"),
        ({"a.csv": b"y,x\n1,1\n", "b.csv": b"y\n1\n"}, AmbiguousData, "b.csv has the columns y, a.csv has y, x"),
    ):
        with pytest.raises(error, match=words):
            parse(request(tmp_path, files, label="y"))


def test_bytes_that_changed_after_the_check_are_not_parsed(tmp_path: Path) -> None:
    asked = request(tmp_path, {"a.csv": b"x\n1\n"})
    (tmp_path / "a.csv").write_bytes(b"x\n2\n")
    with pytest.raises(DigestMismatch, match=r"a\.csv changed after it was verified"):
        parse(asked)


def test_a_bomb_stops_at_the_row_budget(tmp_path: Path) -> None:
    rows = pa.table({"a": pa.array(np.zeros(3_000_000, np.int64))})
    with pytest.raises(ParserLimit, match="3000000 rows"):
        parse(request(tmp_path, {"a.parquet": parquet(rows)}))


def test_a_parser_that_wants_more_memory_than_allowed_is_a_limit_and_no_crash(tmp_path: Path) -> None:
    sink = io.BytesIO()
    repeated = pa.DictionaryArray.from_arrays(np.zeros(5_000, np.int32), ["x" * 100_000])
    pq.write_table(pa.table({"a": repeated}), sink, store_schema=False)
    bomb = sink.getvalue()
    assert len(bomb) < 20_000
    limits = replace(LIMITS, memory=1 << 26, decoded_bytes=1 << 33)
    with pytest.raises(ParserLimit, match=r"64 MiB of `samples.max_memory_bytes`"):
        parse(request(tmp_path, {"a.parquet": bomb}, limits=limits))


def test_brackets_that_end_other_parsers_are_refused(tmp_path: Path) -> None:
    with pytest.raises((ParserLimit, ParserCrash)):
        parse(request(tmp_path, {"a.jsonl": b'{"a": ' + b"[" * 400_000}))


def child_that(monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    monkeypatch.setattr(sandbox, "_START", f"import os, signal, sys, json, time\n{does}")


ENDS: dict[str, tuple[str, type[SanitizerError], str]] = {
    "segfault": ("os.kill(os.getpid(), signal.SIGSEGV)", ParserCrash, "died by SIGSEGV"),
    "out of time": ("os.kill(os.getpid(), signal.SIGXCPU)", ParserLimit, "more than the 60 s"),
    "table too large": (
        "signal.signal(signal.SIGXFSZ, signal.SIG_DFL); os.kill(os.getpid(), signal.SIGXFSZ)",
        ParserLimit,
        "max_decoded_bytes",
    ),
    "std::bad_alloc": ("print('std::bad_alloc', file=sys.stderr); sys.stderr.flush(); os.abort()", ParserLimit, "max_memory_bytes"),
    "silence": ("", ParserCrash, "ended without an answer"),
    "traceback": ("raise KeyError('x')", ParserCrash, "ended without an answer: .*KeyError"),
    "noise": ("print('[1]')", ParserCrash, "ended without an answer"),
    "no table": (
        "print(json.dumps({'schema': {'modality': 'tabular', 'columns': [{'name': 'x', 'type': 'int64'}]}}))",
        ParserCrash,
        "wrote no table",
    ),
    "no schema": ("print(json.dumps({'schema': 1}))", ParserCrash, "wrote no table"),
    "an unknown error": ("print(json.dumps({'error': {'code': 'accepted', 'message': 'm', 'subject': ''}}))", ParserCrash, "m"),
}


@pytest.mark.parametrize(("does", "error", "words"), ENDS.values(), ids=ENDS)
def test_however_the_child_ends_it_is_a_verdict(
    does: str, error: type[SanitizerError], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child_that(monkeypatch, does)
    with pytest.raises(error, match=words):
        parse(request(tmp_path, {"a.csv": b"x\n1\n"}))


def test_a_child_that_never_ends_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child_that(monkeypatch, "time.sleep(1000)")
    with pytest.raises(ParserLimit, match="more than the 1 s"):
        parse(request(tmp_path, {"a.csv": b"x\n1\n"}, limits=replace(LIMITS, seconds=1)))


def test_a_child_that_was_taken_over_cannot_pass_another_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child_that(
        monkeypatch,
        "sys.path.insert(0, sys.argv[1]); import pyarrow as pa\n"
        "t = pa.table({'x': ['evil']})\n"
        "with pa.OSFile(sys.argv[2], 'wb') as s, pa.ipc.new_file(s, t.schema) as w: w.write_table(t)\n"
        "print(json.dumps({'schema': {'modality': 'tabular', 'columns': [{'name': 'x', 'type': 'int64'}]}}))",
    )
    with pytest.raises(ParserCrash, match="wrote another table than it was asked for"):
        parse(request(tmp_path, {"a.csv": b"x\n1\n"}))


def test_the_child_knows_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELEASE_KEY_PASSWORD", "hunter2")
    child_that(monkeypatch, "print(json.dumps({'error': {'code': 'usage', 'message': ' '.join(os.environ), 'subject': ''}}))")
    with pytest.raises(UsageError) as told:
        parse(request(tmp_path, {"a.csv": b"x\n1\n"}))
    assert "RELEASE_KEY_PASSWORD" not in told.value.message
    assert "LC_ALL" in told.value.message


def test_a_path_is_read_like_a_delivery_but_stays_unverified(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "b.csv").write_text("x,y\n2,dog\n")
    (tmp_path / "d" / "a.csv").write_text("x,y\n1,cat\n")
    samples = from_any(tmp_path / "d", label="y")
    assert type(samples).__name__ == "UnverifiedSamples"
    assert samples.table["x"].to_pylist() == [1, 2]
    assert from_any(str(tmp_path / "d" / "a.csv"), label="y").sample_ids == samples.sample_ids[:1]


def test_a_file_holds_the_same_samples_as_the_frame_it_was_written_from(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1.5, None, 3.0], "s": ["a", "b,c", None], "n": [1, 2, 3], "y": ["cat", "dog", "cat"]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    ids = from_any(frame, label="y").sample_ids
    for name in ("a.csv", "a.parquet", "a.jsonl"):
        assert from_any(tmp_path / name, label="y").sample_ids == ids


def test_arrays_in_a_file_are_the_arrays_in_memory(tmp_path: Path) -> None:
    arrays = {"image": np.arange(24, dtype=np.uint8).reshape(3, 2, 4), "label": np.array([0, 1, 0])}
    np.savez(tmp_path / "a.npz", **arrays)
    samples = from_any(tmp_path / "a.npz", label="label")
    assert samples.schema == from_any(arrays, label="label").schema
    assert np.array_equal(samples.matrix("image"), arrays["image"])


def test_a_mixed_column_at_a_path_is_text_for_a_scan_and_refused_for_everything_else(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,y\n1,cat\n?,dog\n")
    assert from_any(path, label="y").table["x"].to_pylist() == ["1", "?"]
    with pytest.raises(AmbiguousData, match=r"a\.csv: row 2: column 'x' holds numbers, but here '\?'"):
        read_path(path, label="y")


def test_a_path_without_anything_is_one_clear_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone.csv"):
        with pytest.raises(UsageError, match="nothing to read at"):
            from_any(path, label=None)


def test_what_is_sent_to_the_child_is_plain_json(tmp_path: Path) -> None:
    asked = request(tmp_path, {"a.csv": b"x\n1\n"}, schema=Schema((Column("x", "int64"),), "tabular").to_json())
    assert json.loads(json.dumps(asdict(asked)))["files"][0]["name"] == "a.csv"
