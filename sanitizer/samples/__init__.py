"""Verified bytes become one canonical Arrow table."""

from sanitizer.samples.schema import Column, Schema
from sanitizer.samples.table import Samples, UnverifiedSamples

__all__ = ["Column", "Samples", "Schema", "UnverifiedSamples"]
