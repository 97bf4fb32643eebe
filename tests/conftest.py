"""Settings of all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# how long an example takes tells of the machine's load, not of the code
settings.register_profile("sanitizer", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sanitizer")
