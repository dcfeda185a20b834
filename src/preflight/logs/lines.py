"""One line of a log: the text that a program wrote, and whether it only quotes an error."""

import html
import json
import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

_MIN_WRAPPED_LINE_BYTES, _MAX_WRAPPED_LINE_BYTES = 60, 250
_MAX_PROSE_BEFORE_ERROR_CHARS = 250  # of a sentence before an error
_MAX_WRAPPED_LINES = 20  # of one line
_MAX_LINES_OF_QUOTED_ERROR = 8  # of an error in a manual
_TYPOGRAPHIC_QUOTES = [
    (opening.encode(), closing.encode())
    for opening, closing in ("„“", "“”", "‘’", "«»", "»«", "「」", "『』")
]
_JSON_FILE_LINE_START = b'{"log":"'  # how each line of Docker's json-file logging driver begins


def _read_line_shapes() -> Iterator[re.Pattern[bytes]]:
    """Yield the patterns of line_shapes.txt in their order."""
    text = Path(__file__).with_name("line_shapes.txt").read_bytes()
    for section in text.split(b"\n\n[")[1:]:
        yield re.compile(section.partition(b"]\n")[2], re.VERBOSE)


(
    _LOG_LINE_PREFIX_PATTERN,
    _QUOTED_FIELD_VALUE_PATTERN,
    _QUOTING_FIELD_PATTERN,
    _TALK_ABOUT_ERRORS_PATTERN,
    _SOURCE_CODE_LINE_PATTERN,
    _QUOTATION_INTRODUCTION_PATTERN,
    _MANUAL_EXPLANATION_PATTERN,
    _CAUSE_PATTERN,
    _MARKDOWN_HEADING_PATTERN,
    _ADVICE_PATTERN,
    _PROSE_BEFORE_ERROR_PATTERN,
    _PROSE_AFTER_ERROR_PATTERN,
    _UNCLOSED_STRING_PATTERN,
    _USER_REPORT_PATTERN,
) = _read_line_shapes()


class LogLine(NamedTuple):
    """The text of a line; `time` where Docker's wrapper has it."""

    text: bytes
    time: str = ""


def parse_docker_log_line(data: bytes) -> LogLine:
    """Return what the program wrote, without the wrapper of Docker's json-file."""
    if data.startswith(_JSON_FILE_LINE_START):
        try:
            entry = json.loads(data)
            return LogLine(entry["log"].rstrip("\r\n").encode(), str(entry.get("time") or ""))
        except (ValueError, KeyError, AttributeError, RecursionError):
            pass  # cut off, or written by something else
    return LogLine(data.rstrip(b"\r\n"))


def extract_messages(text: bytes) -> list[bytes]:
    """Return what a line may hold: the text after its prefixes, and each quoted value of a field.

    A pager's mark at the end is left out.
    """
    prefix = _LOG_LINE_PREFIX_PATTERN.match(text)
    bare = text[prefix.end() if prefix else 0 :].removesuffix(b">").removesuffix("…".encode())
    return [bare, *(match[1] or match[2] for match in _QUOTED_FIELD_VALUE_PATTERN.finditer(bare))]


_BACKSLASH_OR_ANSI_ESCAPE_PATTERN = re.compile(
    rb"""\\+(u00[0-9a-f]{2}|[nrt"'])|\x1b\[[0-9;?]*[a-z]""", re.IGNORECASE
)
_HTML_OR_CSV_ESCAPE_PATTERN = re.compile(
    rb"""&(?:quot|apos|amp|[lg]t|\#3[49]|\#x2[27]);|(?<=[^=:,("])""(?=[\w/.-])|(?<=[\w/.-])""(?=[^,"])""",
    re.IGNORECASE,
)
_PATCH_OR_COMMIT_START_PATTERN = re.compile(rb"@@ -|commit [0-9a-f]{40}\b")
_PATCH_LINE_PATTERN = re.compile(rb"$|[ +\\-]|(?:Author|Commit|Date|Merge)\w*: ")
_CHARACTER_BY_ESCAPE = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def may_need_unescaping(text: bytes) -> bool:
    """Return whether a line holds what `unescape` resolves."""
    return b"\\" in text or b"\x1b" in text or b"\r" in text


def split_escaped_lines(text: bytes) -> list[bytes]:
    """Return the lines within a line: a text in JSON or a Python string, escaped once or more."""

    def character(match: re.Match[bytes]) -> bytes:
        escape = match[1] or b""
        if len(escape) > 1:
            return bytes([int(escape[3:], 16)])
        return _CHARACTER_BY_ESCAPE.get(escape, escape)

    return re.split(rb"[\r\n]+", _BACKSLASH_OR_ANSI_ESCAPE_PATTERN.sub(character, text))


def unescape_html_and_csv(text: bytes) -> bytes:
    """Return a text without HTML's entities and CSV's doubled quotes."""
    return _HTML_OR_CSV_ESCAPE_PATTERN.sub(
        lambda match: html.unescape(match[0].decode()).encode()[:1], text
    )


def may_line_quote_errors(text: bytes) -> bool:
    """Return whether a line has a field, a search or a sentence that quotes errors."""
    patterns = _QUOTING_FIELD_PATTERN, _TALK_ABOUT_ERRORS_PATTERN, _SOURCE_CODE_LINE_PATTERN
    return any(pattern.search(text) for pattern in patterns)


def is_quoted_error(text: bytes, start: int, end: int) -> bool:
    """Return whether a part of a line only quotes an error: in a chat, a search, or source code."""
    start = end - len(text[start:end].lstrip(b"=:\"'`([] "))  # what quotes it may be in the pattern
    for match in _QUOTING_FIELD_PATTERN.finditer(text, 0, start):
        closing = rb"(?<!\\)" + re.escape(match["quote"] or b'"')
        if not re.search(closing, text[match.end() : start]):
            return True
    if _USER_REPORT_PATTERN.match(text):
        return False
    marks = (b"`", b"``") if b"***" in text else (b"`", b"``", b"**")
    in_marks = not text.lstrip().startswith(b"```") and (
        text[end : end + 1] == b"`"
        or any(text.count(mark, 0, start) % 2 == 1 and mark in text[start:] for mark in marks)
    )
    in_quotes = any(
        text.rfind(opening, 0, start) > text.rfind(closing, 0, end) and closing in text[end:]
        for opening, closing in _TYPOGRAPHIC_QUOTES
    )
    in_table = text.startswith(b"| ") and text.endswith(b" |")
    in_source = _SOURCE_CODE_LINE_PATTERN.search(text) is not None
    in_chat = _TALK_ABOUT_ERRORS_PATTERN.search(text, 0, start) is not None
    sentence_start = max(0, start - _MAX_PROSE_BEFORE_ERROR_CHARS)
    in_prose = _PROSE_BEFORE_ERROR_PATTERN.search(text, sentence_start, start) is not None
    in_prose = in_prose or _PROSE_AFTER_ERROR_PATTERN.match(text, end) is not None
    return in_marks or in_quotes or in_table or in_source or in_chat or in_prose


def blank_quoted_lines(lines: Sequence[bytes]) -> list[bytes]:
    """Return the lines of a short text, empty where a patch, a commit or a manual quotes one."""
    result = list(lines)
    blocks = [range(0), *_find_paragraph_ranges(lines), range(0)]
    for before, block, after in zip(blocks, blocks[1:], blocks[2:], strict=False):
        opening = lines[before[-1]] if before else b""
        following = lines[after[0]] if after else b""
        is_quotation = (
            _QUOTATION_INTRODUCTION_PATTERN.search(opening)
            or any(_CAUSE_PATTERN.match(lines[n]) for n in block[1:_MAX_LINES_OF_QUOTED_ERROR])
            or (
                len(block) <= _MAX_LINES_OF_QUOTED_ERROR
                and (
                    _MANUAL_EXPLANATION_PATTERN.match(following)
                    or (
                        _MARKDOWN_HEADING_PATTERN.match(opening)
                        and _ADVICE_PATTERN.match(following)
                    )
                )
            )
        )
        for number in block:
            if is_quotation:
                result[number] = b""
            is_quotation = is_quotation or _QUOTATION_INTRODUCTION_PATTERN.search(lines[number])
    in_diff, mark = False, b""
    for number, line in enumerate(lines):
        in_diff = bool(_PATCH_OR_COMMIT_START_PATTERN.match(line)) or (
            in_diff and _PATCH_LINE_PATTERN.match(line) is not None
        )
        if in_diff or mark:
            result[number] = b""
        opened = None if mark else _UNCLOSED_STRING_PATTERN.search(line)
        if opened is not None and any(opened["mark"] in other for other in lines[number + 1 :]):
            mark = opened["mark"]
        elif mark in line:
            mark = b""
    return result


def _find_paragraph_ranges(lines: Sequence[bytes]) -> list[range]:
    """Return where the paragraphs are, and the blocks within a pair of fences."""
    blocks, start, fenced = [], 0, False
    for number, line in enumerate([*lines, b""]):
        text = b"" if line.startswith(b"<!--") else line.strip()
        is_fence = text.startswith((b"```", b"~~~"))
        if is_fence or (not text and not fenced) or number == len(lines):
            if start < number:
                blocks.append(range(start, number))
            start = number + 1
            fenced ^= is_fence
    return blocks


class RejoinedLine(NamedTuple):
    """Lines joined into one: the index of the first, and the offsets at which they meet."""

    first: int
    text: bytes
    joints: list[int]


def find_wrapped_lines(lines: Sequence[bytes]) -> Iterator[list[RejoinedLine]]:
    """Yield what may have been one line: its parts are as wide as the longest line allows.

    There are two forms of each, as terminals cut within words and editors between them.
    """
    width = max(map(len, lines), default=0)
    first = 0
    while first < len(lines) and _MIN_WRAPPED_LINE_BYTES <= width <= _MAX_WRAPPED_LINE_BYTES:
        end = first + 1
        last = min(first + _MAX_WRAPPED_LINES, len(lines))
        while end < last and _may_continue_on_next_line(lines[end - 1], lines[end], width):
            end += 1
        parts = [line.rstrip(b"\r") for line in lines[first:end]]
        if len(parts) > 1:
            sizes = list(accumulate(map(len, parts[:-1])))
            spaced = [size + number for number, size in enumerate(sizes, 1)]
            yield [
                RejoinedLine(first, b"".join(parts), sizes),
                RejoinedLine(first, b" ".join(parts), spaced),
            ]
        first = end


def _may_continue_on_next_line(line: bytes, following: bytes, width: int) -> bool:
    word = following.split(b" ", 1)[0]
    return len(line) == width or (word != b"" and len(line) + 1 + len(word) > width)
