"""Named logs to what they hold together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

from preflight.logs.matches import Met, Tally
from preflight.logs.scan import Counted, Scanner
from preflight.logs.streams import BLOCK, blocks
from preflight.model.diagnosis import Hit, Scanned
from preflight.model.rules import Diagnosis

_MOST_SAID = 500  # characters of a line that are shown
_NEAR = 60  # characters: an error that begins later in its line is shown from shortly before it


class LogReader:
    """Searches one log after the other; those of one service the oldest first."""

    def __init__(self, diagnoses: Sequence[Diagnosis]) -> None:
        self._diagnoses = diagnoses
        self._scanner = Scanner(diagnoses)
        self._read: list[tuple[str, Counted]] = []
        self._notes: list[str] = []
        self._lines = 0

    def add(self, name: str, stream: BinaryIO, most: int | None = None) -> None:
        """Search a log, which may be packed or in UTF-16; `most` bytes of it where given."""
        notes: list[str] = []
        self.add_counted(name, self._scanner.scan(blocks(stream, notes, most)))
        self._notes += [f"{name}: {note}" for note in notes]

    def add_counted(self, name: str, counted: Counted) -> None:
        """Take a log that was searched in parts."""
        self._read.append((name, counted))
        self._lines += counted.lines

    def add_state(self, name: str, line: bytes) -> None:
        """Search what is no log; it counts no lines."""
        self._read.append((name, self._scanner.scan([line])))

    def count_part(self, stream: BinaryIO, begin: int, end: int, size: int) -> Counted:
        """Search the lines that begin within a part of a plain file of this size."""
        return self._scanner.scan(part(stream, begin, end, size))

    def result(self) -> Scanned:
        """Return what was found, in the order of the diagnoses."""
        rows = [
            [(name, counted.tallies[number]) for name, counted in self._read]
            for number in range(len(self._diagnoses))
        ]
        hits = [hit for row in rows if (hit := _hit(row)) is not None]
        names = tuple(dict.fromkeys(name for name, _ in self._read))
        return Scanned(names, self._lines, tuple(hits), tuple(self._notes))


def part(stream: BinaryIO, begin: int, end: int, size: int) -> Iterator[bytes]:
    """Yield the lines that begin at `begin` or later and before `end`, in blocks."""
    if begin >= end:
        return
    at = max(0, begin - 1)
    stream.seek(at)
    skipping = begin > 0
    while at < size and (data := stream.read(min(BLOCK, size - at))):
        start = 0
        if skipping:
            start = data.find(b"\n") + 1
            skipping = start == 0
            if (skipping and at + len(data) >= end) or (start and at + start >= end):
                return
        last = data.find(b"\n", max(start, end - 1 - at)) if at + len(data) >= end else -1
        if not skipping:
            yield data[start : last + 1 or None]
        if last >= 0:
            return
        at += len(data)


def _hit(row: list[tuple[str, Tally]]) -> Hit | None:
    """Join the tallies of one diagnosis; None where it was not met often enough."""
    met = [(name, tally) for name, tally in row if tally.first is not None]
    diagnosis = row[0][1].diagnosis if row else None
    if diagnosis is None or not met:
        return None
    total = sum(tally.count for _, tally in met)
    if total < diagnosis.times or not _within([tally for _, tally in met], diagnosis):
        return None
    firsts = [(name, tally.first) for name, tally in met if tally.first is not None]
    lasts = [(name, tally.last) for name, tally in met if tally.last is not None]
    first, last = _extreme(firsts, -1), _extreme(lasts[::-1], 1)
    values: dict[str, str] = {}
    for _, tally in met:
        values.update(tally.values)
    return Hit(
        diagnosis.id,
        total,
        first[1].place(first[0]),
        last[1].place(last[0]),
        values,
        _said(last[1]),
    )


def _said(met: Met) -> str:
    """Return what a line says of the error: from its start, or from shortly before the error."""
    text = met.line.text
    return text[:_MOST_SAID] if met.at <= _NEAR else "…" + text[met.at - _NEAR // 2 :][:_MOST_SAID]


def _within(met: list[Tally], diagnosis: Diagnosis) -> bool:
    """Whether it was met often enough within a while, in one log or over what was rotated."""
    while_ = diagnosis.within
    if while_ is None or any(tally.is_met for tally in met):
        return True
    moments = sorted(one for tally in met for one in tally.moments())
    pairs = zip(moments, moments[diagnosis.times - 1 :], strict=False)
    return any(b - a <= while_ for a, b in pairs)


def _extreme(places: list[tuple[str, Met]], sign: int) -> tuple[str, Met]:
    """Return the earliest (-1) or latest (1), by time where all have one; else the first given."""
    moments = [met.moment() for _, met in places]
    if all(when is not None and when.whole for when in moments):
        ordered = zip((sign * when.seconds for when in moments if when), places, strict=True)
        return max(ordered, key=lambda pair: pair[0])[1]
    return places[0]
