"""Verified bytes become one canonical Arrow table."""

from sanitizer.samples.diff import Diff, diff, disagreement, known
from sanitizer.samples.inputs import align, concat, from_any
from sanitizer.samples.ipc import load, save
from sanitizer.samples.reading import read, read_files, read_path
from sanitizer.samples.schema import Column, Schema
from sanitizer.samples.table import Samples, UnverifiedSamples

__all__ = [
    "Column",
    "Diff",
    "Samples",
    "Schema",
    "UnverifiedSamples",
    "align",
    "concat",
    "diff",
    "disagreement",
    "from_any",
    "known",
    "load",
    "read",
    "read_files",
    "read_path",
    "save",
]
