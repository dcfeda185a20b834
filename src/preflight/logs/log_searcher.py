"""Named logs to the known errors in them: how often, where first and last, and with what values."""

import re
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import BinaryIO, NamedTuple

from preflight.logs.candidate_lines import CandidateLogLine, find_candidate_lines
from preflight.logs.candidate_matcher import UNKNOWN_PATTERN_NUMBER, build_matcher
from preflight.logs.lines import (
    LogLine,
    RejoinedLine,
    blank_quoted_lines,
    extract_messages,
    find_wrapped_lines,
    is_quoted_error,
    may_line_quote_errors,
    may_need_unescaping,
    parse_docker_log_line,
    split_escaped_lines,
    unescape_html_and_csv,
)
from preflight.logs.log_blocks import read_decompressed_blocks
from preflight.logs.timestamps import LogTimestamp, parse_log_timestamp
from preflight.model.diagnosis import KnownErrorFinding, LogPosition, LogSearchResult
from preflight.model.patterns import compile_log_pattern, limit_search_time
from preflight.model.rules import DiagnosisRule

_COMPOSE_PREFIX_PATTERN = re.compile(rb"(?P<service>[\w.-]+?)[-_][0-9]+ +\| ")
_MAX_EXCERPT_CHARS = 500
_MAX_CHARS_BEFORE_ERROR = (
    60  # an error that begins later in its line is shown from shortly before it
)
_MAX_LINES_BETWEEN_SAME_EVENT = (
    50  # within which a pid is the same event: the kernel logs a kill twice
)
_MAX_REJOINED_TEXT_BYTES = 2**14  # of a text in which lines may have been wrapped
_MAX_EXPLAINING_VALUES = 10_000
_MAX_CHUNK_SEARCH_CPU_SECONDS = 30.0  # of processor time for the candidates of one chunk


class LogSearcher:
    """Searches one log after the other; those of one service must come oldest first.

    `notes` say what couldn't be read, `slow_reason` why it takes longer than it should.
    """

    def __init__(self, diagnoses: Sequence[DiagnosisRule]) -> None:
        self.notes: list[str] = []
        self._names: dict[str, None] = {}
        self._line_count = 0
        self._counts = [_OccurrenceCount(diagnosis) for diagnosis in diagnoses]
        self._explaining: set[tuple[str, str, str | None]] = set()  # diagnosis, group, value
        self._explaining_groups: dict[str, set[str]] = defaultdict(set)  # by diagnosis
        for diagnosis in diagnoses:
            for id_, same in diagnosis.unless:
                if same is not None:
                    self._explaining_groups[id_].add(same)
        sources = [(count, source) for count in self._counts for source in count.diagnosis.patterns]
        self._patterns = sources
        self._current_pattern = compile_log_pattern("")
        self._find, self.slow_reason = build_matcher(tuple(source for _, source in sources))

    def add_log(self, name: str, stream: BinaryIO, max_bytes: int | None = None) -> None:
        """Search a log, which may be compressed or in UTF-16, up to this many bytes of it.

        Raises SlowPatternError where a pattern takes too long.
        """
        self._names[name] = None
        notes: list[str] = []
        line_count_before = self._line_count
        blocks = read_decompressed_blocks(stream, notes, max_bytes)
        head, second = next(blocks, b""), next(blocks, b"")
        if not second and len(head) <= _MAX_REJOINED_TEXT_BYTES:
            with limit_search_time(_MAX_CHUNK_SEARCH_CPU_SECONDS, lambda: self._current_pattern):
                head = self._rejoin_wrapped_lines(head)
        blocks = chain([head, second], blocks)
        for candidates, line_count in find_candidate_lines(self._find, blocks):
            self._line_count = line_count_before + line_count
            with limit_search_time(_MAX_CHUNK_SEARCH_CPU_SECONDS, lambda: self._current_pattern):
                for candidate in candidates:
                    self._search_line(name, candidate)
        self.notes += [f"{name}: {note}" for note in notes]

    def add_container_state(self, name: str, line: bytes) -> None:
        """Search a line that isn't from a log, such as a container's state."""
        self._names[name] = None
        self._search_line(name, CandidateLogLine(1, line, [UNKNOWN_PATTERN_NUMBER]))

    def _search_line(self, name: str, candidate: CandidateLogLine) -> None:
        """Search the line for its patterns; it belongs to the first diagnosis that matches it."""
        line = parse_docker_log_line(candidate.data)
        lines = [line]
        if may_need_unescaping(line.text) and not may_line_quote_errors(line.text):
            time = line.time or line.text.decode(errors="replace")  # where the whole line has it
            lines = [*(LogLine(text, time) for text in split_escaped_lines(line.text)), line]
        if not self._count_first_matching_diagnosis(
            name, candidate, lines
        ) and not may_line_quote_errors(line.text):
            time = line.time or line.text.decode(errors="replace")
            texts = (text for line in lines for text in extract_messages(line.text))
            self._count_first_matching_diagnosis(
                name, candidate, [LogLine(text, time) for text in texts]
            )

    def _rejoin_wrapped_lines(self, text: bytes) -> bytes:
        """Return a short text without what it quotes, in which no error is wrapped."""
        lines = blank_quoted_lines(unescape_html_and_csv(text).split(b"\n"))
        for variants in find_wrapped_lines(lines):
            first, wrapped = min(
                (self._find_pattern_across_line_break(line), line) for line in variants
            )
            if first < len(self._patterns):
                empty = [b""] * len(wrapped.joints)
                lines[wrapped.first : wrapped.first + 1 + len(empty)] = [*empty, wrapped.text]
        return b"\n".join(lines)

    def _find_pattern_across_line_break(self, wrapped: RejoinedLine) -> int:
        """Return the number of the first pattern that matches across a joint, if there is one."""
        numbers = {number for _, number in self._find(wrapped.text)}
        for number, (_, source) in enumerate(self._patterns):
            if number in numbers or UNKNOWN_PATTERN_NUMBER in numbers:
                self._current_pattern = compile_log_pattern(source)
                match = self._current_pattern.search(wrapped.text)
                if match and any(
                    match.start() < joint < match.end()
                    and not self._current_pattern.search(wrapped.text, joint)  # it has its own
                    for joint in wrapped.joints
                ):
                    return number
        return len(self._patterns)

    def _count_first_matching_diagnosis(
        self, name: str, candidate: CandidateLogLine, lines: Sequence[LogLine]
    ) -> bool:
        """Count the first diagnosis that matches one of these forms of a line."""
        patterns = self._patterns
        if UNKNOWN_PATTERN_NUMBER not in candidate.patterns:
            patterns = [patterns[number] for number in sorted(set(candidate.patterns))]
        for count, source in patterns:
            self._current_pattern = compile_log_pattern(source)
            for line in lines:
                match = self._current_pattern.search(line.text)
                if match is not None:
                    if not is_quoted_error(line.text, *match.span()):
                        occurrence = _ErrorOccurrence(
                            name, candidate.line_number, line, match.start()
                        )
                        self._count_occurrence(count, occurrence, match)
                    return True
        return False

    def _count_occurrence(
        self, count: "_OccurrenceCount", occurrence: "_ErrorOccurrence", match: re.Match[bytes]
    ) -> None:
        """Count a match, unless an earlier line with the same captured value explains it."""
        groups = match.groupdict().items()
        values = {name: text.decode(errors="replace") for name, text in groups if text is not None}
        diagnosis = count.diagnosis
        explained_by = ((id_, same, values.get(same)) for id_, same in diagnosis.unless if same)
        if any(captured in self._explaining for captured in explained_by):
            return
        count.add_occurrence(occurrence, values)
        for group in self._explaining_groups.get(diagnosis.id, ()):
            if group in values and len(self._explaining) < _MAX_EXPLAINING_VALUES:
                self._explaining.add((diagnosis.id, group, values[group]))

    def build_search_result(self) -> LogSearchResult:
        """Return what was found, in the order of the diagnoses."""
        errors = [
            error for count in self._counts if (error := count.build_known_error()) is not None
        ]
        return LogSearchResult(tuple(self._names), self._line_count, tuple(errors))


class _ErrorOccurrence(NamedTuple):
    """A line with a known error, which begins at this offset of it."""

    log: str
    line_number: int
    line: LogLine
    offset: int

    def timestamp(self) -> LogTimestamp | None:
        return parse_log_timestamp(self.line.time) or parse_log_timestamp(
            self.line.text.decode(errors="replace")
        )

    def find_position(self) -> LogPosition:
        timestamp = self.timestamp()
        return LogPosition(self.log, self.line_number, timestamp.text if timestamp else None)

    def service(self) -> str | None:
        """Return the service that Compose names at the start of the line."""
        prefix = _COMPOSE_PREFIX_PATTERN.match(self.line.text)
        return prefix["service"].decode() if prefix else None

    def excerpt(self) -> str:
        """Return the line from its start, or from shortly before the error."""
        text = self.line.text.decode(errors="replace")
        offset = len(self.line.text[: self.offset].decode(errors="replace"))
        if offset > _MAX_CHARS_BEFORE_ERROR:
            return "…" + text[offset - _MAX_CHARS_BEFORE_ERROR // 2 :][:_MAX_EXCERPT_CHARS]
        return text[:_MAX_EXCERPT_CHARS]


class _OccurrenceCount:
    """How often a known error occurred, and where."""

    def __init__(self, diagnosis: DiagnosisRule) -> None:
        self.diagnosis = diagnosis
        self._count = 0
        self._by_log: dict[str, list[_ErrorOccurrence]] = {}  # the first and the last of each log
        self._values: dict[str, str] = {}
        self._pid: tuple[str, str, int] | None = None  # log, pid and line of the last event
        self._recent: deque[float] = deque(maxlen=diagnosis.times)  # seconds
        self._is_frequent = diagnosis.within is None

    def add_occurrence(self, occurrence: _ErrorOccurrence, values: Mapping[str, str]) -> None:
        """Count an occurrence; another line about the same event only adds its values."""
        self._values.update(values)
        log, number, pid = occurrence.log, occurrence.line_number, values.get("pid")
        is_same_event = (
            self._pid is not None
            and self._pid[:2] == (log, pid)
            and number - self._pid[2] <= _MAX_LINES_BETWEEN_SAME_EVENT
        )
        self._pid = (log, pid, number) if pid else None
        self._by_log.setdefault(log, [occurrence, occurrence])[1] = occurrence
        if is_same_event:
            return
        self._count += 1
        within = self.diagnosis.within
        if within is not None and (timestamp := occurrence.timestamp()) is not None:
            self._recent.append(timestamp.seconds)
            if len(self._recent) == self.diagnosis.times:
                self._is_frequent |= 0 <= self._recent[-1] - self._recent[0] <= within

    def build_known_error(self) -> KnownErrorFinding | None:
        """Return what was counted; None if it didn't occur often enough."""
        if not self._by_log or self._count < self.diagnosis.times or not self._is_frequent:
            return None
        firsts, lasts = zip(*self._by_log.values(), strict=True)
        first, last = _sort_by_time(firsts)[0], _sort_by_time(lasts)[-1]
        places = first.find_position(), last.find_position()
        return KnownErrorFinding(
            self.diagnosis.id, self._count, *places, self._values, last.excerpt(), last.service()
        )


def _sort_by_time(occurrences: Sequence[_ErrorOccurrence]) -> Sequence[_ErrorOccurrence]:
    """Sort by time where all have a timestamp with a year; else keep the order of the logs."""
    times = [occurrence.timestamp() for occurrence in occurrences]
    seconds = [time.seconds for time in times if time is not None and time.has_year]
    if len(seconds) < len(times):
        return occurrences
    order = sorted(range(len(times)), key=seconds.__getitem__)
    return [occurrences[number] for number in order]
