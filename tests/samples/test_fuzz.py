"""Whatever bytes come, a reader answers with a table or with one of our errors."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanitizer.errors import SanitizerError
from sanitizer.samples import strict
from sanitizer.samples.readers import READERS, TEXT
from sanitizer.samples.readers.limits import Budget

TABLE = pa.table(
    {
        "n": [1, 2, None],
        "x": [0.5, None, 2.0],
        "s": ["a,b", 'say "hi"', "é\n"],
        "t": pa.array([0, 1, 2], pa.timestamp("us")),
        "b": [True, None, False],
        "v": pa.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], pa.list_(pa.float32(), 2)),
        "d": pa.array(["u", "v", "u"]).dictionary_encode(),
    }
)


def valid() -> dict[str, bytes]:
    parquet, arrow, npz = io.BytesIO(), io.BytesIO(), io.BytesIO()
    pq.write_table(TABLE, parquet)
    with pa.ipc.new_file(arrow, TABLE.schema) as writer:
        writer.write_table(TABLE)
    np.savez_compressed(npz, image=np.arange(24, dtype=np.uint8).reshape(3, 2, 4), label=np.array(["a", "b", "c"]))
    return {
        "csv": 'n,x,s\n1,0.5,"a,b"\r\n,2,"say ""hi"""\n3,1e5,é\n'.encode(),
        "jsonl": b'{"n": 1, "x": 0.5, "s": "a"}\n{"n": null, "v": [1, 2.5], "b": true, "s": "\\u00e9"}\n',
        "parquet": parquet.getvalue(),
        "arrow": arrow.getvalue(),
        "npz": npz.getvalue(),
    }


VALID = valid()
PIECES = [
    b'"',
    b",",
    b"\n",
    b"\r\n",
    b"\r",
    b"\0",
    b"[",
    b"{",
    b"}",
    b'"a":',
    b"NaN",
    b"1e999",
    b"\xff",
    b"\xef\xbb\xbf",
    b"null",
    b"9" * 30,
    b"PK\3\4",
    b"PAR1",
]


def mutated(data: bytes, choose: random.Random) -> bytes:
    """`data` with a few bytes flipped, cut, doubled, moved or replaced by something that means something."""
    held = bytearray(data)
    for _ in range(choose.choice([1, 1, 1, 2, 6])):
        at = choose.randrange(len(held) + 1)
        match choose.randrange(6):
            case 0 if at < len(held):
                held[at] ^= 1 << choose.randrange(8)
            case 1:
                held[at : at + choose.randrange(1, 20)] = b""
            case 2:
                held[at:at] = choose.choice(PIECES)
            case 3:
                held[at:at] = held[at : at + choose.randrange(1, 60)]
            case 4:
                held[at : at + 4] = choose.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x01\0\0\0"])
            case _:
                held[at : at + 1] = bytes([choose.randrange(256)])
    return bytes(held)


def taken(kind: str, data: bytes, path: Path) -> bool:
    """Whether the reader, and the type inference behind it, made a table of `data`; anything but our errors escapes."""
    path.write_bytes(data)
    try:
        with path.open("rb") as file:
            table = READERS[kind](file, "f", Budget(10_000, 1 << 22))
        for name in table.column_names:
            if kind in TEXT:
                strict.infer([("f", table[name])], name)
            else:
                strict.canonical_exactly(table[name], name, "f").validate(full=True)
    except SanitizerError:
        return False
    return True


@pytest.mark.parametrize("kind", VALID)
def test_the_seeds_are_read(kind: str, tmp_path: Path) -> None:
    assert taken(kind, VALID[kind], tmp_path / "f")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "npz"])
def test_arbitrary_bytes_end_in_a_table_or_in_our_error(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "f"

    @given(st.one_of(st.binary(max_size=64), st.randoms(use_true_random=False).map(lambda r: mutated(VALID[kind], r))))
    def fuzz(data: bytes) -> None:
        taken(kind, data, path)

    fuzz()


def test_mutations_of_text_are_both_taken_and_refused(tmp_path: Path) -> None:
    choose = random.Random(0)
    for kind in ("csv", "jsonl"):
        outcomes = [taken(kind, mutated(VALID[kind], choose), tmp_path / "f") for _ in range(250)]
        assert 0 < sum(outcomes) < 250  # a fuzzer whose inputs all end the same way tests nothing


WORKER = """
import random, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.samples.test_fuzz import VALID, mutated, taken
kind, seed, seconds, path = sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), Path(sys.argv[5])
choose, end, count = random.Random(seed), time.monotonic() + seconds, 0
while time.monotonic() < end:
    state = choose.getstate()
    data = mutated(VALID[kind], choose)
    taken(kind, data, path)
    count += 1
print(count)
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", VALID)
def test_ten_minutes_of_mutations_end_in_tables_or_our_errors(kind: str, tmp_path: Path) -> None:
    """Each reader for `FUZZ_SECONDS` (600).  A death by a signal is what the sandbox is for: it is counted, and must stay rare."""
    seconds = float(os.environ.get("FUZZ_SECONDS", "600"))
    end, seed, deaths, inputs = time.monotonic() + seconds, 0, 0, 0
    while (left := end - time.monotonic()) > 1:
        seed += 1
        command = [sys.executable, "-c", WORKER, str(Path.cwd()), kind, str(seed), str(left), str(tmp_path / "f")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 120)
        if done.returncode < 0:
            deaths += 1
            continue
        assert done.returncode == 0, done.stderr[-2000:]
        inputs += int(done.stdout)
    assert inputs > 0
    assert deaths <= 3
