"""How often somebody may guess a password: after a few wrong ones the wait doubles, up to a quarter of an hour."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

FREE = 5  # wrong passwords before the first wait: people mistype
LONGEST = 900.0  # seconds
_MOST = 10_000  # names and addresses remembered; the oldest is forgotten first


class Throttle:
    """Wrong passwords by key (an account with an address; an address alone), in the memory of this process.

    The key holds the address too, so that nobody can lock another person out from elsewhere.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._lock = Lock()

    def wait(self, *keys: str) -> float:
        """Seconds until the next try is allowed; 0 when it is now."""
        now = self._clock()
        with self._lock:
            return max((self._wrong.get(key, (0, now))[1] - now for key in keys), default=0.0)

    def wrong(self, *keys: str) -> bool:
        """Counts a wrong password; whether one of the keys has to wait from now on for the first time."""
        first = False
        with self._lock:
            for key in keys:
                count, _ = self._wrong.pop(key, (0, 0.0))
                count += 1
                pause = 0.0 if count < FREE else min(LONGEST, 2.0 ** (count - FREE))
                self._wrong[key] = (count, self._clock() + pause)
                first |= count == FREE
            while len(self._wrong) > _MOST:
                self._wrong.popitem(last=False)
        return first

    def right(self, *keys: str) -> None:
        """Forgets what was wrong before."""
        with self._lock:
            for key in keys:
                self._wrong.pop(key, None)
