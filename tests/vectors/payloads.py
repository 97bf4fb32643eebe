"""Files that a supplier signed and nobody should read: bombs, programs in disguise, and text that two parsers read differently."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CSV = b"x,y,label\n1,2,a\n2,1,b\n3,3,a\n"
TABLE = pa.table({"x": [1, 2, 3], "y": [2, 1, 3], "label": ["a", "b", "a"]})


class Evil:
    """Prints when it is unpickled, which a test would see."""

    def __reduce__(self):
        return (print, ("UNPICKLED",))


@dataclass(frozen=True)
class Payload:
    """`row` is the number in the threat table; `codes` are the code words that may answer, `exit_code` the one exit."""

    row: int
    exit_code: int
    codes: tuple[str, ...]
    files: Callable[[], dict[str, bytes]]


def zipped(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in members.items():
            out.writestr(name, data)
    return made.getvalue()


def tarred(name: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as out:
        member = tarfile.TarInfo(name)
        member.size = len(CSV)
        out.addfile(member, io.BytesIO(CSV))
    return made.getvalue()


def npy(values: np.ndarray) -> bytes:
    made = io.BytesIO()
    np.save(made, values)
    return made.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    made = io.BytesIO()
    np.savez_compressed(made, **arrays)
    return made.getvalue()


def header(shape: str) -> bytes:
    return b"\x93NUMPY\x01\x00\x76\x00" + (f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}").encode().ljust(117) + b"\n"


def parquet(table: pa.Table) -> bytes:
    made = io.BytesIO()
    pq.write_table(table, made)
    return made.getvalue()


def arrow(table: pa.Table, *, stream: bool = False) -> bytes:
    made = io.BytesIO()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(made, table.schema) as out:
        out.write_table(table)
    return made.getvalue()


def repeated() -> pa.Table:
    """200 GB of text in a few kilobytes: one long value, and an index of zeros."""
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(200_000, np.int32)), pa.array(["A" * 1_000_000]))
    return pa.table({"x": column, "label": column})


def zeros(rows: int) -> pa.Table:
    column = pa.array(np.zeros(rows, np.int8))
    return pa.table({"x": column, "label": column})


PAYLOADS: dict[str, Payload] = {}


def add(row: int, exit_code: int, codes: str, made: dict[str, Callable[[], dict[str, bytes]]]) -> None:
    for name, files in made.items():
        assert name not in PAYLOADS
        PAYLOADS[name] = Payload(row, exit_code, tuple(codes.split()), files)


def one(name: str, data: bytes) -> Callable[[], dict[str, bytes]]:
    return lambda: {name: data}


add(
    16,
    3,
    "format_not_allowed",
    {
        "zip": lambda: {"d.zip": zipped({"d.csv": CSV})},
        "zip_named_csv": lambda: {"d.csv": zipped({"d.csv": CSV})},
        "zip_that_leaves_named_npz": lambda: {"d.npz": zipped({"../evil.npy": npy(np.arange(3))})},
        "zip_of_text_named_npz": lambda: {"d.npz": zipped({"d.csv": CSV})},
        "zip_in_npz": lambda: {"d.npz": zipped({"x.npz": npz(x=np.arange(3))})},
        "tar": lambda: {"d.tar": tarred("../evil.csv")},
        "tar_gz": lambda: {"d.tar.gz": gzip.compress(tarred("d.csv"))},
        "gzip_named_csv": lambda: {"d.csv": gzip.compress(CSV)},
        "csv_gz": lambda: {"d.csv.gz": gzip.compress(CSV)},
        "seven_zip_named_csv": one("d.csv", b"7z\xbc\xaf\x27\x1c" + CSV),
        "rar_named_jsonl": one("d.jsonl", b"Rar!\x1a\x07\x00" + CSV),
        "lz4_named_csv": one("d.csv", b"\x04\x22\x4d\x18" + CSV),
    },
)
add(16, 3, "ambiguous_data format_not_allowed", {"tar_named_csv": lambda: {"d.csv": tarred("d.csv")}})
add(
    17,
    4,
    "parser_limit parser_crash",
    {
        "npz_bomb": lambda: {"d.npz": npz(x=np.zeros(200_000_000, np.uint8))},
        "npz_that_declares_too_much": lambda: {"d.npz": zipped({"x.npy": header("(99999999999,)")})},
        "parquet_bomb_by_dictionary": lambda: {"d.parquet": parquet(repeated())},
        "parquet_bomb_by_runs": lambda: {"d.parquet": parquet(zeros(50_000_000))},
        "json_of_brackets": one("d.jsonl", b"[" * 400_000),
        "json_of_objects": one("d.jsonl", b'{"a":' * 200_000 + b"1" + b"}" * 200_000),
        "json_nested_in_a_value": one("d.jsonl", b'{"x":1,"label":"a","z":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"),
        "json_of_one_line": lambda: {"d.jsonl": b'{"x":"' + b"A" * (80 << 20) + b'","label":"a"}\n'},
        "csv_of_one_cell": lambda: {"d.csv": b"x,label\n" + b"A" * (80 << 20) + b",a\n"},
        "csv_of_many_columns": lambda: {"d.csv": b",".join(b"c%d" % i for i in range(300_000)) + b"\n" + b"1," * 299_999 + b"1\n"},
        "csv_of_many_rows": lambda: {"d.csv": b"x,label\n" + b"1,a\n" * 1_200_000},
        "json_of_many_keys": lambda: {"d.jsonl": b"".join(b'{"k%d":1}\n' % i for i in range(20_000))},
    },
)
add(
    17,
    3,
    "ambiguous_data format_not_allowed",
    {
        "parquet_of_junk": one("d.parquet", b"PAR1" + b"\xff" * 1000 + struct.pack("<I", 1000) + b"PAR1"),
        "parquet_with_a_huge_footer": one("d.parquet", b"PAR1" + bytes(100) + struct.pack("<I", 2**31 - 1) + b"PAR1"),
        "arrow_of_junk": one("d.arrow", b"ARROW1\0\0" + b"\xff" * 500 + struct.pack("<i", 400) + b"ARROW1"),
        "npz_of_negative_length": lambda: {"d.npz": zipped({"x.npy": header("(-3,)")})},
        "npz_that_declares_more_than_it_holds": lambda: {"d.npz": zipped({"x.npy": header("(9,)") + bytes(24)})},
    },
)
add(
    18,
    3,
    "format_not_allowed",
    {
        "pickle": lambda: {"d.pkl": pickle.dumps(Evil())},
        "pickle_named_csv": lambda: {"d.csv": pickle.dumps(Evil())},
        "pickle_of_protocol_0_named_csv": lambda: {"d.csv": pickle.dumps(Evil(), protocol=0)},
        "pickle_of_protocol_0_named_jsonl": lambda: {"d.jsonl": pickle.dumps(Evil(), protocol=0)},
        "pickle_named_npz": lambda: {"d.npz": pickle.dumps(Evil())},
        "npy_of_objects": lambda: {"d.npy": npy(np.array([Evil()], dtype=object))},
        "npz_of_objects": lambda: {"d.npz": npz(x=np.array([Evil(), 1], dtype=object))},
        "npz_of_structures_with_objects": lambda: {"d.npz": npz(x=np.array([(1, None)], dtype=[("a", "i4"), ("b", "O")]))},
        "npz_with_a_pickle_in_it": lambda: {"d.npz": zipped({"x.npy": pickle.dumps(Evil())})},
        "torch": lambda: {"d.pt": zipped({"archive/data.pkl": pickle.dumps(Evil())})},
        "torch_named_npz": lambda: {"d.npz": zipped({"archive/data.pkl": pickle.dumps(Evil())})},
        "joblib": lambda: {"d.joblib": pickle.dumps(Evil())},
    },
)
add(
    19,
    3,
    "format_not_allowed",
    {
        "parquet_with_a_zip_behind": lambda: {"d.parquet": parquet(TABLE) + zipped({"a": b"b"})},
        "parquet_behind_html": lambda: {"d.parquet": b"<html>" + parquet(TABLE)},
        "npz_behind_html": lambda: {"d.npz": b"<html></html>" + npz(x=np.arange(3))},
        "npz_with_html_behind": lambda: {"d.npz": npz(x=np.arange(3)) + b"<html>"},
        "npz_with_bytes_between": lambda: {"d.npz": npz(x=np.arange(3)).replace(b"PK\x01\x02", b"EVIL" * 2 + b"PK\x01\x02", 1)},
        "png_named_csv": one("d.csv", b"\x89PNG\r\n\x1a\n" + CSV),
        "parquet_named_csv": lambda: {"d.csv": parquet(TABLE)},
        "csv_named_parquet": one("d.parquet", CSV),
        "program_named_csv": one("d.csv", b"\x7fELF\x02\x01\x01\0" + CSV),
        "database_named_csv": one("d.csv", b"SQLite format 3\0" + CSV),
        "pdf_named_csv": one("d.csv", b"%PDF-1.7\n" + CSV),
        "html_named_csv": one("d.csv", b"<!DOCTYPE html><html><script>alert(1)</script></html>"),
        "arrow_stream": lambda: {"d.arrow": arrow(TABLE, stream=True)},
        "svg": one("d.svg", b"<svg/>"),
        "no_extension": one("data", CSV),
        "two_extensions": one("data.csv.exe", CSV),
    },
)
add(19, 3, "ambiguous_data", {"csv_with_a_zip_behind": lambda: {"d.csv": CSV + zipped({"a": b"b"})}})
add(
    21,
    3,
    "ambiguous_data format_not_allowed",
    {
        "csv_name_twice": one("d.csv", b"x,x,label\n1,2,a\n"),
        "csv_name_twice_but_for_a_space": one("d.csv", b"x,x ,label\n1,2,a\n"),
        "csv_without_a_name": one("d.csv", b"x,,label\n1,2,a\n"),
        "csv_row_too_long": one("d.csv", b"x,label\n1,a,3\n2,b\n"),
        "csv_row_too_short": one("d.csv", b"x,y,label\n1,a\n2,3,b\n"),
        "csv_quote_not_closed": one("d.csv", b'x,label\n1,"a\n2,b\n3,c\n'),
        "csv_quote_inside": one("d.csv", b'x,label\n1,a"b"c\n2,b\n'),
        "csv_text_after_quote": one("d.csv", b'x,label\n1,"a"b\n2,b\n'),
        "csv_latin_1": one("d.csv", "x,label\n1,é\n".encode("latin-1")),
        "csv_overlong_utf8": one("d.csv", b"x,label\n1,\xc0\xaf\n"),
        "csv_half_surrogate": one("d.csv", b"x,label\n1,\xed\xa0\x80\n"),
        "csv_with_nul": one("d.csv", b"x,label\n1,a\0b\n"),
        "csv_utf16": one("d.csv", CSV.decode().encode("utf-16")),
        "csv_old_mac_lines": one("d.csv", b"x,label\r1,a\r2,b\r"),
        "csv_mixed_lines": one("d.csv", b"x,label\n1,a\r\n2,b\r3,c\n"),
        "csv_nan": one("d.csv", b"x,label\n1,a\nnan,b\n"),
        "csv_infinity": one("d.csv", b"x,label\n1,a\ninf,b\n2,b\n"),
        "csv_beyond_a_double": one("d.csv", b"x,label\n1,a\n1e999,b\n"),
        "csv_5000_digits": one("d.csv", b"x,label\n1,a\n" + b"9" * 5000 + b",b\n"),
        "csv_empty": one("d.csv", b""),
        "csv_empty_lines": one("d.csv", b"x,label\n\n1,a\n\n2,b\n"),
        "json_key_twice": one("d.jsonl", b'{"x":1,"label":"a","label":"b"}\n'),
        "json_key_twice_escaped": one("d.jsonl", b'{"x":1,"label":"a","l\\u0061bel":"b"}\n'),
        "json_nan": one("d.jsonl", b'{"x":NaN,"label":"a"}\n'),
        "json_infinity": one("d.jsonl", b'{"x":-Infinity,"label":"a"}\n'),
        "json_beyond_a_double": one("d.jsonl", b'{"x":1e999,"label":"a"}\n'),
        "json_5000_digits": one("d.jsonl", b'{"x":' + b"9" * 5000 + b',"label":"a"}\n'),
        "json_half_surrogate": one("d.jsonl", b'{"x":"\\ud800","label":"a"}\n'),
        "json_not_utf8": one("d.jsonl", b'{"x":"\xff","label":"a"}\n'),
        "json_mixed_types": one("d.jsonl", b'{"x":1,"label":"a"}\n{"x":"1","label":"b"}\n'),
        "json_array": one("d.jsonl", b"[1,2]\n"),
        "json_two_in_a_line": one("d.jsonl", b'{"x":1,"label":"a"}{"x":2,"label":"b"}\n'),
        "json_comment": one("d.jsonl", b'// c\n{"x":1,"label":"a"}\n'),
        "parquet_name_twice": lambda: {
            "d.parquet": parquet(pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array(["a"])], names=["x", "x", "label"]))
        },
        "parquet_of_structures": lambda: {"d.parquet": parquet(pa.table({"x": [{"a": 1}], "label": ["a"]}))},
        "files_with_other_columns": lambda: {"a.csv": b"x,label\n1,a\n", "b.csv": b"y,label\n1,a\n"},
        "files_with_other_types": lambda: {"a.csv": b"x,label\n1,a\n", "b.jsonl": b'{"x":"one","label":"a"}\n'},
    },
)
