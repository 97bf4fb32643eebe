"""File names that mean one file, on every system and to every eye."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from sanitizer.errors import BadName

LONGEST_NAME = 1024  # bytes of a whole name in UTF-8; PATH_MAX leaves room for the directory it is put in
LONGEST_PART = 255  # bytes between two slashes; NAME_MAX of the usual file systems
DEEPEST = 32  # parts

# nearly all honest names: they need none of the slow checks
_PLAIN = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9_-])?")
# Windows opens a device for these, with any extension
_DEVICES = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE | re.DOTALL)
# drives and alternate streams (:), the other separator (\), and what no Windows file may be called
_FORBIDDEN = frozenset('\\:*?"<>|')
# percent-encoded dots, separators, NUL and percent signs
_ENCODED = re.compile("%(?:00|25|2e|2f|5c)", re.IGNORECASE)
# Default_Ignorable_Code_Point (Unicode 16, DerivedCoreProperties) beyond the categories below: drawn as nothing
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]")
_HIDDEN_CATEGORIES = {
    "Cc": "a control character",
    "Cf": "an invisible or direction-changing character",
    "Cs": "half a surrogate pair",
    "Co": "a private-use character",
    "Cn": "an unassigned character",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
    "Zs": "a space that is not U+0020",
}


def check_name(name: str) -> str:
    """Returns `name`, a relative POSIX path, if it can be read in one way only.

    Refused: leaving the directory, empty or dot parts, drives, streams, backslashes, control, invisible and bidirectional
    characters, half surrogates, anything but NFC, parts that end in a dot or begin or end in a space, device names, over-long names.

    Raises:
        BadName: which rule it breaks.

    >>> check_name("data/part-0.parquet")
    'data/part-0.parquet'
    >>> check_name("data/../../etc/passwd")
    Traceback (most recent call last):
    ...
    sanitizer.errors.BadName: bad file name 'data/../../etc/passwd': it has an empty or dot part
    """
    parts = name.split("/")
    if len(name) <= LONGEST_NAME and len(parts) <= DEEPEST and all(map(_PLAIN.fullmatch, parts)):
        wrong = next(filter(None, map(_wrong_device, parts)), "")
    else:
        wrong = _wrong(name, parts)
    if wrong:
        raise BadName(f"bad file name {name!r}: {wrong}", subject=name)
    return name


def check_names(names: Iterable[str]) -> list[str]:
    """Checks each name and that no two of them can fall together: by case, by compatibility form, or file against directory.

    Raises:
        BadName: the first name that breaks a rule.
    """
    checked = [check_name(name) for name in names]
    seen: dict[str, str] = {}
    for name in checked:
        folded = fold(name)
        if folded in seen:
            raise BadName(f"bad file name {name!r}: some file systems take it for {seen[folded]!r}", subject=name)
        seen[folded] = name
    directories = {parent: name for name in checked for parent in parents(name)}
    spelled: dict[str, str] = {}
    for directory, name in directories.items():
        folded = fold(directory)
        if folded in seen:
            raise BadName(f"bad file name {name!r}: {seen[folded]!r} is a file, not a directory", subject=name)
        if spelled.setdefault(folded, directory) != directory:
            raise BadName(f"bad file name {name!r}: some file systems take its directory for {spelled[folded]!r}", subject=name)
    return checked


def parents(name: str) -> Iterator[str]:
    """The directories above a file, nearest first."""
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def fold(name: str) -> str:
    """What a file system that ignores case and compatibility forms makes of `name`.

    >>> fold("Straße/ﬁle") == fold("STRASSE/FILE")
    True
    """
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _wrong(name: str, parts: list[str]) -> str:
    """The rule that `name` breaks, or nothing."""
    if not name:
        return "it is empty"
    for c in name:
        category = unicodedata.category(c)
        if category in _HIDDEN_CATEGORIES and c != " ":
            return f"it has {_HIDDEN_CATEGORIES[category]}, U+{ord(c):04X}"
        if c in _FORBIDDEN:
            return f"it has {c!r}, which is a drive, a stream, a separator or a wildcard elsewhere"
    if found := _INVISIBLE.search(name):
        return f"it has a character that is drawn as nothing, U+{ord(found.group()):04X}"
    if len(name.encode("utf-8")) > LONGEST_NAME:
        return f"it is longer than {LONGEST_NAME} bytes"
    if not unicodedata.is_normalized("NFC", name):
        return "it is not in Unicode normal form C"
    if name.startswith("/"):
        return "it is absolute"
    if found := _ENCODED.search(name):
        return f"it has {found.group()}, which is a dot, a separator or NUL to whoever takes it for part of a URL"
    if len(parts) > DEEPEST:
        return f"it is deeper than {DEEPEST} directories"
    if wrong := next(filter(None, map(_wrong_part, parts)), ""):
        return wrong
    compatible = unicodedata.normalize("NFKC", name)
    if compatible.count("/") != name.count("/") or any(set(part) <= {"."} or "\\" in part for part in compatible.split("/")):
        return "what looks like a dot or a separator in it becomes one in its compatibility form"
    return ""


def _wrong_part(part: str) -> str:
    if part in {"", ".", ".."}:
        return "it has an empty or dot part"
    if part.endswith(".") or part != part.strip(" "):
        return "a part of it ends in a dot, or begins or ends in a space, which other systems drop"
    if len(part.encode("utf-8")) > LONGEST_PART:
        return f"a part of it is longer than {LONGEST_PART} bytes"
    return _wrong_device(part)


def _wrong_device(part: str) -> str:
    return f"{part!r} is a device on other systems" if _DEVICES.fullmatch(part) else ""
