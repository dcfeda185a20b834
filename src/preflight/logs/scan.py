"""Blocks of a log to tallies of known errors, in memory that neither log nor line makes grow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from preflight.logs import lines
from preflight.logs.matches import Met, Tally
from preflight.logs.sieve import Owners, Sieve
from preflight.model import patterns
from preflight.model.rules import Diagnosis

REACH = 4096  # bytes of a line that are looked at on each side of what is searched for
_CUT = "…".encode()  # here no line begins or ends
SAMPLE = 2**16  # bytes of a log that tell the sieve what is rare


class Counted:
    """The tallies of one log, or of one part of it, and how many lines it has."""

    def __init__(self, diagnoses: Sequence[Diagnosis]) -> None:
        self.tallies = [Tally(one) for one in diagnoses]
        self.lines = 0

    def join(self, later: Counted) -> None:
        """Add what the following part holds."""
        for tally, other in zip(self.tallies, later.tallies, strict=True):
            tally.join(other, self.lines)
        self.lines += later.lines


class Scanner:
    """Searches logs for the known errors of a rule file."""

    def __init__(self, diagnoses: Sequence[Diagnosis]) -> None:
        self._diagnoses = diagnoses
        self._patterns = [
            (n, one) for n, diagnosis in enumerate(diagnoses) for one in diagnosis.patterns
        ]
        self._sieve: Sieve | None = None

    def scan(self, blocks: Iterable[bytes]) -> Counted:
        """Count the known errors of a log."""
        counted = Counted(self._diagnoses)
        window = _Window()
        for block in blocks:
            self._search(window.take(block), counted)
        self._search(window.end(), counted)
        counted.lines = window.lines()
        return counted

    def _search(self, window: _Window, counted: Counted) -> None:
        if not window.buffer:
            return
        if self._sieve is None:
            sources = [source for _, source in self._patterns]
            self._sieve = Sieve(sources, window.buffer[:SAMPLE])
        places = self._sieve.places(window.buffer, window.begin, window.limit)
        for number, data, owners in window.lines_at(places):
            self._judge(number, lines.read(data), owners, counted)

    def _judge(self, number: int, line: lines.Line, owners: Owners, counted: Counted) -> None:
        """Hold a line against what it may match; it counts once for a diagnosis."""
        done = -1
        for owner in owners:
            diagnosis, source = self._patterns[owner]
            if diagnosis == done:
                continue
            found = patterns.compiled(source)(line.text)
            if found is not None and not lines.is_talk(line.text, found.start()):
                met = Met(number, line, found.start())
                counted.tallies[diagnosis].add(met, found.groupdict())
                done = diagnosis


class _Window:
    """The bytes in hand: what is searched now, with what stands before and behind it.

    Searched are the places from `begin` up to `limit`, so each once.
    """

    def __init__(self) -> None:
        self.buffer = b""
        self.begin = self.limit = 0
        self._newlines = 0  # before `_counted`
        self._counted = 0
        self._spent = 0  # what stands before it was judged: a line that is cut is, in parts
        self._open = False  # whether the last line has no end yet

    def take(self, block: bytes) -> _Window:
        """Add a block; what can still be before a place stays."""
        self._forget(max(0, self.limit - REACH))
        self.buffer = self.buffer + block if self.buffer else block
        self.begin, limit = self.limit, len(self.buffer) - REACH
        whole = self.buffer.rfind(b"\n", self.begin, max(limit, 0)) + 1
        if whole:
            self.limit = whole
        elif limit - self.begin > REACH:
            self.limit = limit  # a line as long as that is searched in parts
        return self

    def end(self) -> _Window:
        """Search up to the end."""
        self.begin, self.limit = self.limit, len(self.buffer)
        return self

    def lines(self) -> int:
        """Return how many lines there were; the last one may have no end."""
        self._count_to(len(self.buffer))
        return self._newlines + (bool(self.buffer) and not self.buffer.endswith(b"\n"))

    def lines_at(self, places: Iterable[tuple[int, Owners]]) -> Iterator[tuple[int, bytes, Owners]]:
        """Yield the lines that hold places: number, bytes, and all that may match.

        Of a long line that is what stands around each place; no part of it is yielded twice.
        """
        end, at, owners = -1, 0, set[int]()
        for place, mine in places:
            if place < self._spent:
                continue
            if place < end:
                owners.update(mine)
                continue
            if end >= 0:
                yield self._line(at, end, owners)
            at, owners = place, set(mine)
            end = self._end_of(place)
        if end >= 0:
            yield self._line(at, end, owners)

    def _end_of(self, place: int) -> int:
        found = self.buffer.find(b"\n", place, place + REACH)
        return found if found >= 0 else min(place + REACH, len(self.buffer))

    def _line(self, place: int, end: int, owners: set[int]) -> tuple[int, bytes, Owners]:
        least = max(self._spent, place - REACH, 0)
        start = self.buffer.rfind(b"\n", least, place) + 1 or least
        self._count_to(start)
        self._spent = end
        data = self.buffer[start:end]
        if start and self.buffer[start - 1 : start] != b"\n":
            data = _CUT + data
        if end < len(self.buffer) and self.buffer[end : end + 1] != b"\n":
            data += _CUT
        return self._newlines + 1, data, tuple(sorted(owners))

    def _count_to(self, end: int) -> None:
        if end > self._counted:
            self._newlines += self.buffer.count(b"\n", self._counted, end)
            self._counted = end

    def _forget(self, size: int) -> None:
        """Drop bytes at the front."""
        self._count_to(size)
        self.buffer = self.buffer[size:]
        self.begin, self.limit = self.begin - size, self.limit - size
        self._counted, self._spent = self._counted - size, self._spent - size
