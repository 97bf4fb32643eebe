"""The review app: held samples by case, decided by people, every decision an event; and the demo that fills a workspace for it."""

from __future__ import annotations
