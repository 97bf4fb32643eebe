"""CSV by RFC 4180 and nothing looser: comma, UTF-8, a header, every row with as many cells.

The structure is checked on the raw bytes first, so that Arrow's parser, pandas and a training script cannot read the same
file differently: quotes open only at the start of a cell and close only at its end, lines end in LF or CRLF, no line is empty,
no name is there twice.  Only then Arrow cuts the cells, all of them as text; `strict` gives them types.
"""

from __future__ import annotations

import codecs
import csv
import mmap
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from sanitizer.errors import AmbiguousData
from sanitizer.samples.canonical import STRING
from sanitizer.samples.readers.limits import Budget, check_names

_BLOCK = 8 << 20
_LONGEST_HEADER = 16 << 20
_QUOTE, _COMMA, _LF, _CR, _NUL = b'",\n\r\0'
_STRUCTURAL = np.zeros(256, np.bool_)
_STRUCTURAL[[_QUOTE, _COMMA, _LF, _CR, _NUL]] = True
_BOM = codecs.BOM_UTF8


def read(file: BinaryIO, where: str, budget: Budget) -> pa.Table:
    """The cells of a CSV file as text, an empty cell without quotes as null."""
    size = file.seek(0, 2)
    if size == 0:
        raise AmbiguousData(f"{where}: the file is empty, it lacks even a header", subject=where)
    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # closed when the last view of it is gone
    names, rows, longest = _Structure(data, where).check()
    if rows == 0:  # Arrow's reader calls a file without rows empty
        return pa.table({name: pa.array([], STRING) for name in names})
    table = _cells(pa.py_buffer(data), names, longest, where, budget)
    if table.num_rows != rows:
        raise AmbiguousData(f"{where}: {rows} rows by their line ends, {table.num_rows} by Arrow's reader", subject=where)
    return table


def _cells(buffer: pa.Buffer, names: list[str], longest: int, where: str, budget: Budget) -> pa.Table:
    reader = pa.csv.open_csv(
        pa.BufferReader(buffer),
        read_options=pa.csv.ReadOptions(use_threads=False, block_size=max(1 << 20, 2 * longest)),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, STRING),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    return pa.Table.from_batches([budget.spend_batch(batch, where) for batch in reader], reader.schema)


@dataclass
class _Structure:
    """One pass over the bytes of a CSV file, block by block."""

    data: mmap.mmap
    where: str
    names: list[str] | None = None
    row: int = 0  # lines that ended so far; the header is row 0
    end: int = -1  # position of the last line end
    commas: int = 0  # in the line under way
    quoted: bool = False
    longest: int = 0

    def check(self) -> tuple[list[str], int, int]:
        """Names of the columns, number of data rows, bytes of the longest row."""
        size = len(self.data)
        decoder = codecs.getincrementaldecoder("utf-8")("strict")
        for start in range(0, size, _BLOCK):
            block = self.data[start : start + _BLOCK]
            before = self.row
            self._scan(block, start)
            try:
                decoder.decode(block, final=start + len(block) == size)
            except UnicodeDecodeError as error:
                raise self._refused(before + block[: error.start].count(b"\n"), "is not UTF-8: deliver UTF-8 text") from None
        if self.quoted:
            raise self._refused(self.row, "opens a quote that nothing closes")
        if self.data[size - 1] != _LF:
            self._end_rows(np.array([size]), np.array([self.commas]))
        assert self.names is not None
        return self.names, self.row - 1, self.longest

    def _scan(self, block: bytes, start: int) -> None:
        values = np.frombuffer(block, np.uint8)
        at = np.flatnonzero(_STRUCTURAL[values])
        kinds = values[at]
        at += start
        is_quote = kinds == _QUOTE
        quoted = (np.cumsum(is_quote) + self.quoted) % 2 == 1  # the state after each structural byte
        separates = ~quoted & ((kinds == _COMMA) | (kinds == _LF))
        ends = at[separates & (kinds == _LF)]
        for wrong, what in (
            (at[kinds == _NUL], "holds a NUL byte: this is no text"),
            (self._misplaced(at[is_quote & quoted], -1), "opens a quote inside a cell: quote the whole cell and double the quotes in it"),
            (self._misplaced(at[is_quote & ~quoted], +1), "goes on after a closing quote: double the quotes inside a cell"),
            (self._lonely(at[~quoted & (kinds == _CR)]), "holds a carriage return without a line feed: end lines with LF or CRLF"),
        ):
            if wrong.size:
                raise self._refused(self.row + int(np.searchsorted(ends, wrong[0])), what)
        of_lines = np.flatnonzero(kinds[separates] == _LF)
        commas = np.diff(of_lines, prepend=-1) - 1
        if len(commas):
            commas[0] += self.commas
            self._end_rows(ends, commas)
            self.commas = 0
        self.commas += int(separates.sum()) - (int(of_lines[-1]) + 1 if len(of_lines) else 0)
        self.quoted = bool(quoted[-1]) if len(quoted) else self.quoted

    def _misplaced(self, quotes: NDArray[np.int64], side: int) -> NDArray[np.int64]:
        """Quotes that have something else than the edge of their cell, or another quote, on that side."""
        beside = self._bytes(quotes + side)
        edge = (beside == _COMMA) | (beside == _LF) | (beside == _QUOTE) | ((beside == _CR) & (side > 0))
        first = len(_BOM) if self.data[: len(_BOM)] == _BOM else 0
        wrong: NDArray[np.int64] = quotes[~(edge | (quotes + side < first) | (quotes + side >= len(self.data)))]
        return wrong

    def _lonely(self, returns: NDArray[np.int64]) -> NDArray[np.int64]:
        lonely: NDArray[np.int64] = returns[self._bytes(returns + 1) != _LF]
        return lonely

    def _bytes(self, at: NDArray[np.int64]) -> NDArray[np.uint8]:
        values: NDArray[np.uint8] = np.frombuffer(self.data, np.uint8)[np.clip(at, 0, len(self.data) - 1)]
        return values

    def _end_rows(self, ends: NDArray[np.int64], commas: NDArray[np.int64]) -> None:
        lengths = np.diff(ends, prepend=self.end) - 1
        if self.names is None:
            self.names = self._header(int(ends[0]))
        ragged = np.flatnonzero(commas != len(self.names) - 1)
        if ragged.size:
            row = self.row + int(ragged[0])
            raise self._refused(row, f"has {commas[ragged[0]] + 1} cells, the header has {len(self.names)}")
        returns = (lengths == 1) & (self._bytes(ends - 1) == _CR)
        empty = np.flatnonzero((lengths == 0) | returns)
        if empty.size:
            raise self._refused(self.row + int(empty[0]), "is an empty line: some readers skip it, others take it for a row")
        self.longest = max(self.longest, int(lengths.max()))
        self.row += len(ends)
        self.end = int(ends[-1])

    def _header(self, end: int) -> list[str]:
        if end > _LONGEST_HEADER:
            raise self._refused(0, f"is longer than {_LONGEST_HEADER} bytes")
        try:
            line = self.data[:end].removeprefix(_BOM).decode("utf-8")
            csv.field_size_limit(_LONGEST_HEADER)
            names = next(csv.reader([line], strict=True), [])
        except (UnicodeDecodeError, csv.Error) as error:
            raise self._refused(0, f"cannot be read: {error}") from None
        check_names(names, self.where)
        return names

    def _refused(self, row: int, what: str) -> AmbiguousData:
        return AmbiguousData(f"{self.where}: {f'row {row}' if row else 'the header'} {what}", subject=self.where)
