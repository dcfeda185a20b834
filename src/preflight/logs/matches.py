"""How often a known error was met, where first and last, and what it said.

Tallies of two parts of a log, read by two processes, join to what one reading finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from preflight.logs.lines import Line
from preflight.logs.timestamps import Moment, moment
from preflight.model.diagnosis import Place
from preflight.model.rules import Diagnosis

_ONE_EVENT = 50  # lines within which the same pid is the same event: the kernel tells a kill twice


class Met(NamedTuple):
    """One line that a known error was met on, and at which character of it."""

    number: int
    line: Line
    at: int = 0

    def moment(self) -> Moment | None:
        """Return when it was written."""
        return moment(self.line.time) or moment(self.line.text)

    def place(self, file: str) -> Place:
        """Return where it stands, as reports say it."""
        when = self.moment()
        return Place(file, self.number, when.text if when else None)


class Tally:
    """The count of one diagnosis in one log."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        self.diagnosis = diagnosis
        self.count = 0
        self.first: Met | None = None
        self.last: Met | None = None
        self.values: dict[str, str] = {}
        self._pid: tuple[str, int] | None = None
        self._begin: tuple[str, int] | None = None  # the pid of the first event
        self._early: list[float] = []  # moments, where some of them within a while are asked for
        self._late: list[float] = []
        self._often = False

    @property
    def is_met(self) -> bool:
        """Whether it was met as often as it takes."""
        if self.diagnosis.within is not None:
            return self._often
        return self.count >= self.diagnosis.times

    def moments(self) -> set[float]:
        """Return the first and last moments, as many as may be within a while with others."""
        return {*self._early, *self._late}

    def add(self, met: Met, captured: Mapping[str, str | None]) -> None:
        """Count a line; one more about the same event only adds what it tells."""
        self.values.update({name: text for name, text in captured.items() if text is not None})
        pid = captured.get("pid")
        again = self._is_again(pid, met.number)
        self._pid = (pid, met.number) if pid else None
        self.last = met
        if again:
            return
        self.count += 1
        if self.first is None:
            self.first, self._begin = met, self._pid
        if self.diagnosis.within is not None and (when := met.moment()) is not None:
            self._remember(when.seconds)

    def _is_again(self, pid: str | None, number: int) -> bool:
        known = self._pid
        return known is not None and known[0] == pid and number - known[1] <= _ONE_EVENT

    def _remember(self, seconds: float) -> None:
        fewer = self.diagnosis.times - 1
        if len(self._early) < fewer:
            self._early.append(seconds)
        self._late.append(seconds)
        self._judge_late()
        del self._late[: max(0, len(self._late) - fewer)]

    def _judge_late(self) -> None:
        times, within = self.diagnosis.times, self.diagnosis.within
        assert within is not None
        pairs = zip(self._late, self._late[times - 1 :], strict=False)
        self._often = self._often or any(0 <= b - a <= within for a, b in pairs)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "diagnosis"}

    def join(self, later: Tally, lines: int) -> None:
        """Add the tally of the part that follows after so many lines."""
        if later.first is None or later.last is None:
            return
        begin = later._begin
        if begin is not None and self._is_again(begin[0], begin[1] + lines):
            later.count -= 1
        self.count += later.count
        self.first = self.first or later.first._replace(number=later.first.number + lines)
        self.last = later.last._replace(number=later.last.number + lines)
        self._begin = self._begin or later._begin
        self._pid = later._pid and (later._pid[0], later._pid[1] + lines)
        self.values.update(later.values)
        if self.diagnosis.within is not None:
            fewer = self.diagnosis.times - 1
            before = self._late
            self._late = before + later._early
            self._judge_late()
            self._often = self._often or later._often
            self._early = (self._early + later._early)[:fewer]
            self._late = (before + later._late)[-fewer:]
