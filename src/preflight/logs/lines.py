"""One line of a log: the text that a program wrote, and whether it only quotes an error."""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

_MIN_WRAP_WIDTH, _MAX_WRAP_WIDTH = 60, 250
_MAX_WRAPPED_LINES = 20  # of one line
_JSON_FILE_LINE_START = b'{"log":"'  # how each line of Docker's json-file logging driver begins
# Fields that hold what was said to or by a model, asked of a search, or written in an alert's rule.
_QUOTING_FIELD_NAMES = (
    rb"prompts?|content|question|query|user_?input|input|completion|answer|response|expr|alert"
    rb"|summary|description|pattern|regexp?|search"
)
# What opens a quotation of an error: a field, a web request, or a string in source code. It ends
# with the quote that began it.
_QUOTING_FIELD_PATTERN = re.compile(
    rb"""(?:(?:\b|")(?:%b)\\?["']?\s*[:=]\s*\[?\s*
    |(?<=")(?=(?:GET|POST|PUT|HEAD|DELETE|PATCH|OPTIONS)[ ])
    |(?:^[\s+-]*raise[ ]\w+|\bnew[ ]\w+|\berrors\.new
        |(?<=\w\.)(?-i:(?!\w*(?:Error|Exception|Timeout)\()\w+)
        |\b(?-i:(?!\w*(?:error|timeout))[a-z_]\w*)|\b(?-i:errorf?|Errorf)(?=\(["'`]))
     \((?:[\w.(){}\[\]= -]+,[ ])*(?:\w+=)?[bfru]{0,2}
    )(?P<quote>\\?["']|`|(?=(?-i:[A-Z]{3,7}[ ])))"""
    % _QUOTING_FIELD_NAMES,
    re.IGNORECASE | re.VERBOSE,
)
# What makes the rest of a line talk about an error: a search for it, a comment or a line of source
# code, a test's result, a chat, or a sentence of a manual.
_CHAT_MESSAGE_PATTERN = re.compile(
    rb"""\b(?:prompts?|question|user_?input|expr|summary|description|patterns?|\w*regex)
      \s*[:=]\s*(?![\s"'\\\[{])
    |"(?:match\w*|query_string|term|wildcard)"\s*:\s*\{
    |(?:^|[\s;|&(="'/])(?:[efz]?grep|rg|ag|ack|findstr|select-string|echo)\s
    |(?:^\s*|[;){}][ \t]*)(?://|/\*)|^\#{2,6}[ ]|^\s*\#[ ](?-i:[a-z]+[ ][a-z]+[ ])|^\s*except[ ]
    |^[\w./-]*/[\w.-]+\.(?:c|cc|cpp|cs|cu|go|h|java|js|kt|mdx?|php|py|rb|rs|rst|sh|ts|ya?ml)
     (?:-[0-9]+-|:[0-9]+:(?![ ]\w*Warning:))
    |^[\w.-]+\.(?:mdx?|rst|ya?ml)(?::[0-9]+:|-[0-9]+-)
    |^\s*(?:[-*]|[0-9a-f]{7,12})[ ]+(?:fix|fixe[sd]|add(?:s|ed)?|changed?|handle[sd]?|removed?)\b
    |^(?:[0-9a-f]{7,12}[ ])?(?:fix|feat|docs|chore)(?:\([\w/-]+\))?:[ ]
    |^[\w./-]+\.py::\w
    |^\s*(?:if|elif|return|case|(?:const|let|var|export)[ ]\w+[ ]:?=
      |(?-i:[A-Z0-9]+_[A-Z0-9_]+)[ ]=)[ ][("'`]
    |^\s*(?:\xe2\x9c\x93|---[ ]PASS|PASS(?:ED)?\b|ok[ ][0-9]+[ ])
    |(?:^|[\]|]\s*|\d\s)(?:user|assistant|human)(?:[ ](?:said|asked|wrote))?:\s+(?![\s"'\\\[{])
    |\b(?:if|when|whenever)[ ](?:you|we|it|they)[ ](?:see|sees|get|gets|hit|hits)\b
    |\bwhat[ ](?:do|does|is)\b
    |\bhow[ ](?:to|do[ ]i|can[ ]i)[ ](?:fix|solve|avoid|handle)\b
    |\b(?:errors?|messages?|faults?)[ ](?:looks?[ ](?:something[ ])?)?(?:like|such[ ]as)\b
    |^\s*(?:[-*]\s+)?(?:symptoms?|solutions?|workarounds?|fix):\s|\bthrow[ ]new[ ]
    |\bwhen[ ](?:your|the|a)[ ][\w ]{1,40}[ ](?:reports|says|shows|prints|logs)\b
    |\b(?:(?:resolv|fix|solv|avoid|prevent)\w*|due[ ]to)[ ](?:the|this|an?)[ ]["'`*]
    |\bHandler[ ]for[ ](?:GET|HEAD)[ ]|\bAttempting[ ]next[ ]endpoint[ ]
    |\bi(?:'m[ ]getting|[ ]get|[ ]got|[ ]see)\b
    |\*\*[^*]{3,60}(?::\*\*|\*\*[ ]?(?::|-|\xe2\x86\x92|\xe2\x80[\x93\x94]))|\bshows[ ]["'`]
    |\b(?:erreur|fehler|fehlermeldung|errore|erro|mensaje)[ ](?:["'`]|\xc2\xab|\xe2\x80[\x9c\x9e])
    |^\s*(?:(?:const|let|var|final|static)\s+)?[\w.\[\]]+\s+:?=\s+[bfru]?["'`]""",
    re.IGNORECASE | re.VERBOSE,
)


# A line of source code that is a string or a comment, which a few programs write too, or a row of a
# table of the system's error numbers.
_SOURCE_LINE_PATTERN = re.compile(
    rb"""^\s+[bfru]?["'`](?![@\w.-]+["'][ ]*:).*["'`]\s*(?:[+,;\\]|[\])}]+[,;]?)?$
    |^\s*\#[ ]+(?!(?i:there[ ]is|native|out[ ]of|fatal|gpu|cuda|can't|redis
      |(?:sudo|docker|podman)\b))[A-Za-z\x80-\xff]
    |^\s*\[[^\]]+\]\(https?://|\berrno\.E[A-Z]{3}|</(?:a|code|div|em|li|p|pre|span|strong|td)>
    |^\s+\w+:\s+["'`].*["'`],$|^\s*[\[({]*\{[ ]?[a-z]\w*:[ ].*\}[\])]*[,;]$
    |^\W*(?:(?:\#\s*define|case|const)\s+)?(?:[0-9]+\W+)?
     E(?:ACCES|ADDRINUSE|AGAIN|CONNREFUSED|DQUOT|MFILE|NFILE|NOENT|NOEXEC|NOMEM|NOSPC|PERM|ROFS)\b
     (?:["']?\s*(?:=>?|,|:|\||\)|->)\s*["'(0-9/-]|\s*[0-9]|\s+/\*|\s+[A-Z][a-z])""",
    re.VERBOSE,
)


class LogLine(NamedTuple):
    """The text of a line; `time` where Docker's wrapper has it."""

    text: bytes
    time: str = ""


def unwrap_line(data: bytes) -> LogLine:
    """Return what the program wrote, without the wrapper of Docker's json-file."""
    if data.startswith(_JSON_FILE_LINE_START):
        try:
            entry = json.loads(data)
            return LogLine(entry["log"].rstrip("\r\n").encode(), str(entry.get("time") or ""))
        except (ValueError, KeyError, AttributeError, RecursionError):
            pass  # cut off, or written by something else
    return LogLine(data.rstrip(b"\r\n"))


_ISO_TIME_PATTERN = (
    rb"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:]{8}(?:[.,][0-9]+)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
)
# What log collectors and runners write before a line, each of them once or more.
_PREFIX_PATTERN = re.compile(
    rb"""(?:\s+|>[ ]|\xe2\x94\x82[ ]|(?:docker(?:-compose)?|podman)(?:\.exe)?[ ]:[ ]
    |[\w.-]+\s+\|[ ]|\[pod/[^]]+\][ ]|\#\#\[error\]|\#[0-9]+[ ][0-9.]+[ ](?!Killed$)
    |%b[ ]|[A-Z][a-z]{2}[ ][ 0-9]?[0-9][ ][0-9:]{8}[ ]|\[[ ]*[0-9]+\.[0-9]+\][ ]
    |<[0-9]{1,3}>[0-9][ ](?=[0-9]{4}-)|[\w.-]+[ ][\w.-]+[ ][0-9-]+[ ]\S+[ ](?:-|\[[^]]*\])[ ]
    |(?:stdout|stderr)[ ][FP][ ]|[0-9]{2}[OE]\+?[ ]|(?:[^\t|]+\t){2}(?=[0-9]{4}-)
    |[IWEF][0-9]{4}[ ][0-9:.]{15}[ ]+[0-9]+[ ][\w.-]+:[0-9]+\][ ]
    |(?:[\w.-]+[ ])?[\w./-]+\[[0-9]+\]:[ ])+"""
    % _ISO_TIME_PATTERN,
    re.VERBOSE,
)
_QUOTED_VALUE_PATTERN = re.compile(
    rb"""(?:^|[:=\[][ ]?)b?(?:"([^"]{4,})"|'([^']{4,})')(?=$|[\s,})\]"'])""", re.VERBOSE
)


def extract_messages(text: bytes) -> list[bytes]:
    """Return what a line may hold: the text after its prefixes, and each quoted value of a field.

    A pager's mark at the end is left out.
    """
    prefix = _PREFIX_PATTERN.match(text)
    bare = text[prefix.end() if prefix else 0 :].removesuffix(b">").removesuffix("…".encode())
    return [bare, *(match[1] or match[2] for match in _QUOTED_VALUE_PATTERN.finditer(bare))]


_ESCAPE_PATTERN = re.compile(rb"""\\+(u00[0-9a-f]{2}|[nrt"'])|\x1b\[[0-9;?]*[a-z]""", re.IGNORECASE)
_CHARACTER_BY_ESCAPE = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def has_escaped_text(text: bytes) -> bool:
    """Return whether a line holds what `unescape` resolves."""
    return b"\\" in text or b"\x1b" in text or b"\r" in text


def split_escaped_lines(text: bytes) -> list[bytes]:
    """Return the lines within a line: a text in JSON or a Python string, escaped once or more."""

    def character(match: re.Match[bytes]) -> bytes:
        escape = match[1] or b""
        if len(escape) > 1:
            return bytes([int(escape[3:], 16)])
        return _CHARACTER_BY_ESCAPE.get(escape, escape)

    return re.split(rb"[\r\n]+", _ESCAPE_PATTERN.sub(character, text))


def may_quote_errors(text: bytes) -> bool:
    """Return whether a line has a field, a search or a sentence that quotes errors."""
    patterns = _QUOTING_FIELD_PATTERN, _CHAT_MESSAGE_PATTERN, _SOURCE_LINE_PATTERN
    return any(pattern.search(text) for pattern in patterns)


def is_quoted(text: bytes, start: int, end: int) -> bool:
    """Return whether a part of a line only quotes an error: in a chat, a search, or source code."""
    start = end - len(text[start:end].lstrip(b"=:\"'([] "))  # what quotes it may be in the pattern
    for match in _QUOTING_FIELD_PATTERN.finditer(text, 0, start):
        closing = rb"(?<!\\)" + re.escape(match["quote"] or b'"')
        if not re.search(closing, text[match.end() : start]):
            return True
    in_backticks = any(
        text.count(mark, 0, start) % 2 == 1 and mark in text[start:] for mark in (b"`", b"``")
    )
    in_table = text.startswith(b"| ") and text.endswith(b" |")
    in_source = _SOURCE_LINE_PATTERN.search(text) is not None
    in_chat = _CHAT_MESSAGE_PATTERN.search(text, 0, start) is not None
    return in_backticks or in_table or in_source or in_chat


class WrappedLine(NamedTuple):
    """Lines joined into one: the index of the first, and the offsets at which they meet."""

    first: int
    text: bytes
    joints: list[int]


def find_wrapped_lines(lines: Sequence[bytes]) -> Iterator[list[WrappedLine]]:
    """Yield what may have been one line: its parts are as wide as the longest line allows.

    There are two forms of each, as terminals cut within words and editors between them.
    """
    width = max(map(len, lines), default=0)
    first = 0
    while first < len(lines) and _MIN_WRAP_WIDTH <= width <= _MAX_WRAP_WIDTH:
        end = first + 1
        last = min(first + _MAX_WRAPPED_LINES, len(lines))
        while end < last and _may_be_continued_by(lines[end - 1], lines[end], width):
            end += 1
        parts = [line.rstrip(b"\r") for line in lines[first:end]]
        if len(parts) > 1:
            sizes = list(accumulate(map(len, parts[:-1])))
            spaced = [size + number for number, size in enumerate(sizes, 1)]
            yield [
                WrappedLine(first, b"".join(parts), sizes),
                WrappedLine(first, b" ".join(parts), spaced),
            ]
        first = end


def _may_be_continued_by(line: bytes, following: bytes, width: int) -> bool:
    word = following.split(b" ", 1)[0]
    return len(line) == width or (word != b"" and len(line) + 1 + len(word) > width)
