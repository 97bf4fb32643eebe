"""Verified bytes become one canonical Arrow table."""

from sanitizer.samples.inputs import align, concat, from_any
from sanitizer.samples.ipc import load, save
from sanitizer.samples.reading import read, read_path
from sanitizer.samples.schema import Column, Schema
from sanitizer.samples.table import Samples, UnverifiedSamples

__all__ = ["Column", "Samples", "Schema", "UnverifiedSamples", "align", "concat", "from_any", "load", "read", "read_path", "save"]
