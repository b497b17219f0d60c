"""How far long work is, told at most once a second."""

from __future__ import annotations

import time
from collections.abc import Callable

# What is being done, and how many percent of it are; ``None`` where the whole is not known.
Report = Callable[[str, "int | None", int], None]
INTERVAL_SECONDS = 1.0


def silent(what: str, percent: int | None, done: int) -> None:
    """Tell nobody."""


class Progress:
    """One piece of long work; what ends within a second is not told."""

    def __init__(self, what: str, total: int | None, report: Report) -> None:
        """Start at nothing.

        :param what: a few words: ``copy of /srv/a.raw``
        :param total: its whole in bytes, where that is known
        :param report: who is told
        """
        self._what, self._total, self._report = what, total, report
        self._done, self._told = 0, time.monotonic()
        self._spoken = False

    def add(self, more: int) -> None:
        """Count bytes as done."""
        self.reach(self._done + more)

    def reach(self, done: int) -> None:
        """Set how much is done in all."""
        self._done = done
        now = time.monotonic()
        if now - self._told >= INTERVAL_SECONDS:
            self._told, self._spoken = now, True
            self._report(self._what, self._percent(), done)

    def end(self) -> None:
        """Tell the end of what was told about."""
        if self._spoken:
            self._report(self._what, 100, self._done)

    def _percent(self) -> int | None:
        return None if not self._total else min(100, 100 * self._done // self._total)
