"""One line of a log: the text that a program wrote, and whether it only quotes an error."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

_JSON_FILE = b'{"log":"'  # how each line of Docker's json-file logging driver begins
# fields that hold what was said to or by a model: talk about an error is not an error
_PROMPT_FIELDS = rb"prompts?|content|question|query|user_?input|input|completion|answer|response"
_QUOTED = re.compile(
    rb"""(?:\b|")(?:%b)\\?["']?\s*[:=]\s*\[?\s*(?P<quote>\\?["'])""" % _PROMPT_FIELDS, re.IGNORECASE
)
_UNQUOTED = re.compile(rb"\b(?:prompts?|question|user_?input):\s*[^\s\"'\\\[{]", re.IGNORECASE)


class Line(NamedTuple):
    """The text of a line; `time` where Docker's wrapper has it."""

    text: bytes
    time: str = ""


def unwrap_line(data: bytes) -> Line:
    """Return what the program wrote, without the wrapper of Docker's json-file."""
    if data.startswith(_JSON_FILE):
        try:
            entry = json.loads(data)
            return Line(entry["log"].rstrip("\r\n").encode(), str(entry.get("time") or ""))
        except (ValueError, KeyError, AttributeError, RecursionError):
            pass  # cut off, or written by something else
    return Line(data.rstrip(b"\r\n"))


def is_in_prompt_or_answer(text: bytes, offset: int) -> bool:
    """Return whether what begins at the offset is part of a prompt or an answer."""
    for match in _QUOTED.finditer(text, 0, offset):
        closing = rb"(?<!\\)" + re.escape(match["quote"])
        if not re.search(closing, text[match.end() : offset]):
            return True
    return _UNQUOTED.search(text, 0, offset) is not None
