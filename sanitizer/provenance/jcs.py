"""JSON in one reading only: RFC 8785 out, strict in.

Two parsers that read one signed text differently are an attack: the one that checks sees the first `"sequence"`, the
one that acts sees the last.  So duplicate keys, `NaN`, byte order marks and anything but UTF-8 are refused.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import rfc8785

from sanitizer.errors import BadEnvelope, Refused


def dumps(value: Any) -> bytes:
    """The RFC 8785 form: one value, one sequence of bytes.

    Raises:
        ValueError: for what JSON cannot carry: NaN, integers beyond 2**53, lone surrogates, keys that are no strings.

    >>> dumps({"b": 1, "a": [True, None, "é"]}).decode()
    '{"a":[true,null,"é"],"b":1}'
    """
    return rfc8785.dumps(value)


def loads(data: bytes, *, what: str, error: type[Refused] = BadEnvelope) -> Any:
    """Parse strictly; `what` names the text in the error.

    >>> loads(b'{"label": 0, "label": 1}', what="row 7")
    Traceback (most recent call last):
    ...
    sanitizer.errors.BadEnvelope: row 7 is not strict JSON: the key 'label' stands there twice
    """
    try:
        return json.loads(
            data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant, parse_int=_number, parse_float=_finite
        )
    except (ValueError, OverflowError, RecursionError) as problem:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        reason = "it is nested too deeply" if isinstance(problem, RecursionError) else problem
        raise error(f"{what} is not strict JSON: {reason}", subject=what) from problem


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name!r} stands there twice")
        found[name] = value
    return found


def _number(digits: str) -> int | float:
    # RFC 8785 knows doubles only and writes 1e17 as an integer; read back as one, it could not be written again
    found = int(digits)
    return found if abs(found) < 2**53 else float(found)


def _finite(digits: str) -> float:
    found = float(digits)
    if not math.isfinite(found):
        raise ValueError(f"{digits[:20]} is larger than any number")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
