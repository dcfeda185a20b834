"""One candidate line: its text out of what wrapped it, and whether an error in it is meant."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

_JSON_FILE = b'{"log":"'
# who talks with a model about an error has none: what stands in these fields is talk
_TALK = r"prompts?|content|question|query|user_?input|input|completion|answer|response"
_QUOTED = re.compile(rf"""(?:\b|")(?:{_TALK})\\?["']?\s*[:=]\s*\[?\s*(?P<quote>\\?["'])""", re.I)
_PLAIN = re.compile(r"\b(?:prompts?|question|user_?input):\s*[^\s\"'\\\[{]", re.I)


class Line(NamedTuple):
    """The text of a line; `time` where what wraps it tells that, as docker's json-file does."""

    text: str
    time: str = ""


def read(data: bytes) -> Line:
    """Return what a program wrote; docker's json-file is unwrapped."""
    if data.startswith(_JSON_FILE):
        try:
            entry = json.loads(data)
            return Line(entry["log"].rstrip("\r\n"), str(entry.get("time") or ""))
        except (ValueError, KeyError, AttributeError, RecursionError):
            pass  # cut, or something else
    return Line(data.decode("utf-8", "replace").rstrip("\r"))


def is_talk(text: str, at: int) -> bool:
    """Whether what begins at a place is quoted from a prompt or an answer, and no error."""
    for match in _QUOTED.finditer(text, 0, at):
        quote = match["quote"]
        if not re.search(rf"(?<!\\){re.escape(quote)}", text[match.end() : at]):
            return True
    return _PLAIN.search(text, 0, at) is not None
