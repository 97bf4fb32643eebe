"""numpy archives of plain arrays; one of objects is a pickle in disguise and never opened."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.lib import format as npy
from numpy.typing import NDArray

from sanitizer.errors import AmbiguousData, FormatNotAllowed, UsageError
from sanitizer.samples.inputs import from_arrays
from sanitizer.samples.readers.limits import Budget, check_names

_PLAIN = "biufUM"  # no objects, no structures, no raw bytes


def read(file: BinaryIO, where: str, budget: Budget) -> pa.Table:
    """The arrays of an npz file, one column each: rows first, then the shape of one sample."""
    try:
        with zipfile.ZipFile(file) as archive:
            _check_edges(file, archive, where)
            members = archive.infolist()
            names = [m.filename.removesuffix(".npy") for m in members]
            check_names(names, where)
            arrays = {name: _member(archive, m, where, budget) for name, m in zip(names, members, strict=True)}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError) as error:
        raise AmbiguousData(f"{where} cannot be read as npz: {error}", subject=where) from error
    try:
        columns, shapes = from_arrays(arrays)
    except UsageError as error:
        raise AmbiguousData(f"{where}: {error}", subject=where) from error
    fields = [
        pa.field(name, values.type, metadata={"shape": ",".join(map(str, shapes[name]))} if len(shapes.get(name, ())) > 1 else None)
        for name, values in columns.items()
    ]
    budget.spend(len(next(iter(columns.values()))), 0, where)
    return pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields))


def _check_edges(file: BinaryIO, archive: zipfile.ZipFile, where: str) -> None:
    """No bytes before the first member, after the end record or in its comment: there another format could hide."""
    first = min((m.header_offset for m in archive.infolist()), default=0)
    file.seek(-22, io.SEEK_END)
    if first != 0 or archive.comment or file.read(4) != b"PK\5\6":
        raise FormatNotAllowed(f"{where}: there are bytes around the archive that belong to no array", subject=where)


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str, budget: Budget) -> NDArray[Any]:
    # a name that is a path means a file to whoever unpacks the archive, never a column
    if not member.filename.endswith(".npy") or member.flag_bits & 1 or set(member.filename) & set("/\\\0:"):
        raise FormatNotAllowed(f"{where}: {member.filename!r} in it is no plain array", subject=where)
    with archive.open(member) as stream:
        magic = stream.read(8)
        if not magic.startswith(b"\x93NUMPY"):
            raise FormatNotAllowed(f"{where}: {member.filename!r} in it is no array, whatever its name says", subject=where)
        version = npy.read_magic(io.BytesIO(magic))
        header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if header is None:
            raise FormatNotAllowed(f"{where}: {member.filename!r} in it has the npy version {version}", subject=where)
        shape, fortran, dtype = header(stream)
        if dtype.kind not in _PLAIN:
            raise FormatNotAllowed(
                f"{where}: {member.filename!r} in it holds {dtype}: only numbers, booleans, times and text", subject=where
            )
        size = math.prod(shape) * dtype.itemsize
        budget.spend(0, size, where)
        data = stream.read(size + 1)
    if len(data) != size:
        raise AmbiguousData(
            f"{where}: {member.filename!r} in it declares {size} bytes and holds {'more' if len(data) > size else len(data)}", subject=where
        )
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
