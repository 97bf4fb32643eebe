"""How often somebody may guess a password: after a few wrong ones the wait doubles, up to a quarter of an hour."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

FREE = 5  # wrong passwords of one person before the first wait: people mistype
FREE_ADDRESS = 40  # wrong passwords from one address, which may be that of a whole office
LONGEST = 900.0  # seconds
_MOST = 10_000  # names and addresses remembered; the oldest is forgotten first


class Throttle:
    """Wrong passwords by account *and* address, and by address, in the memory of this process.

    Nobody can lock another person out from elsewhere, because no count is of the account alone.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._lock = Lock()

    def wait(self, name: str, address: str) -> float:
        """Seconds until the next try is allowed; 0 when it is now."""
        now = self._clock()
        with self._lock:
            return max(0.0, *(self._wrong.get(key, (0, now))[1] - now for key, _ in _keys(name, address)))

    def wrong(self, name: str, address: str) -> bool:
        """Counts a wrong password; whether the waiting begins with this one."""
        begins = False
        with self._lock:
            for key, free in _keys(name, address):
                count = self._wrong.pop(key, (0, 0.0))[0] + 1
                pause = 0.0 if count < free else min(LONGEST, 2.0 ** min(count - free, 10))
                self._wrong[key] = (count, self._clock() + pause)
                begins |= count == free
            while len(self._wrong) > _MOST:
                self._wrong.popitem(last=False)
        return begins

    def right(self, name: str, address: str) -> None:
        """Forgets what this person got wrong before."""
        with self._lock:
            self._wrong.pop(_keys(name, address)[0][0], None)


def _keys(name: str, address: str) -> tuple[tuple[str, int], tuple[str, int]]:
    return (f"{name}\0{address}", FREE), (address, FREE_ADDRESS)
