"""Finds secrets in text: by the shapes of secret_shapes.txt, and as values of names.

Names of secrets are in model/secrets.py. Nothing is replaced here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from preflight.model.secrets import secret_kind

PLACEHOLDER = re.compile(r"<[a-z]+-[1-9][0-9]{0,8}>")
NUMBER = re.compile(r"[-+]?[0-9]{1,10}(?:\.[0-9]{1,6})?")
MAX_NAME_CHARS = 100
_MAX_VALUE_CHARS = 4096

_MACROS = {
    "{start}": r"(?:(?<![A-Za-z0-9])|(?<=\\[nrtbf])|(?<=%[0-9A-Fa-f]{2})|(?<=[0-9;\[]m)"
    r"|(?<=\\u[0-9A-Fa-f]{4}))",
    "{next}": r"""(?:\s{1,3}["']?|\\{0,7}["']\s{0,3},\s{0,3}\\{0,7}["'])""",
}
_VALUE = re.compile(
    r"""\s{0,3}(?:\x1b\[[0-9;]{0,9}m)?(?:"(?P<double>(?:[^"\\\n]|\\[^\n]){1,4096})"
    |\\{1,7}"(?P<escaped>(?:[^"\\\n]|\\+[^"\\\n]){1,4096})
    |'(?P<single>(?:[^'\\\n]|\\[^\n]){1,4096})'
    |["'](?P<cut>[^"'\n]{1,4096})$
    |(?P<bracket>[\[{])
    |(?P<bare>(?:[^\s"'\\,;&)}\]]|\\(?!["'nrt])){1,4096}))""",
    re.VERBOSE | re.MULTILINE,
)
"""A value: quoted to its quote, bracketed to its bracket, else up to what ends it in JSON, YAML,
URLs and shells."""

_ALWAYS_AMBIGUOUS = frozenset({"key", "token"})
_AMBIGUOUS = frozenset({
    "auth", "pin", "pem", "cookie", "license", "licence", "private", "webhook", "bearer", "pat",
    "signature", "salt",
})  # fmt: skip
"""Alone, these names rarely mean a secret in a log: only a value that looks random is one."""

_NOT_SECRET = re.compile(
    r"(?i)true|false|yes|no|on|off|none|null|nil|unset|empty|missing|invalid|required|expired"
    r"|changed|unknown|default|disabled|enabled|optional|not|is|was|and|or|the|for|to|from"
    r"|\$\{?\w+\}?|\$\(.*|%\w+%|\{\{.*|[*.x…_-]+|[\[<(]?(?:redacted|hidden|masked|filtered)[\])>]?"
)
"""Values that say something of a secret, name where it is, or are redacted already."""

_RANDOM = re.compile(
    r"(?![a-z]*[0-9]{0,4}(?:[._:/@-]+[a-z]*[0-9]{0,4})*$)(?!v?[0-9.]+\w?$)"
    r"(?:[^\s0-9]*[0-9][^\sA-Za-z]*[A-Za-z]|[^\sA-Za-z]*[A-Za-z][^\s0-9]*[0-9]|\S{20})"
)
"""The beginning of a value with letters and digits that isn't a version or made of words."""

_PROSE = re.compile(r"(?<=: )[a-z]{2,20} [a-z]{2,20}\b")  # token: signature is invalid


class Shape(NamedTuple):
    """Where a secret is in a text: in the groups of `pattern`.

    Finished JSON and HTML files are searched for the `distinctive` ones too.
    """

    pattern: re.Pattern[str]
    distinctive: bool


def _read_shapes() -> tuple[Shape, ...]:
    text = Path(__file__).with_name("secret_shapes.txt").read_text("utf-8")
    _, *sections = text.split("\n\n[")
    shapes = []
    for section in sections:
        heading, pattern = section.split("]\n", 1)
        for macro, expression in _MACROS.items():
            pattern = pattern.replace(macro, expression)
        shapes.append(Shape(re.compile(pattern, re.VERBOSE), heading.startswith("distinctive")))
    return tuple(shapes)


SHAPES = _read_shapes()


def find_secrets(shape: Shape, text: str) -> Iterator[tuple[str, int, int]]:
    """Yield kind, start and end of each secret of this shape, from left to right."""
    end = 0
    for match in shape.pattern.finditer(text):
        if match.end() < end:
            continue  # inside of the value before it
        for kind, start, stop in _find_in_match(match):
            if start >= end:
                yield kind, start, stop
                end = stop


def _find_in_match(match: re.Match[str]) -> Iterator[tuple[str, int, int]]:
    groups = match.groupdict()
    if name := groups.get("name1"):
        if kind := secret_kind(name):
            yield kind, *match.span("value1")
    elif name := groups.get("name"):
        yield from _find_assigned(match, name)
    else:
        for group in sorted(filter(groups.get, groups), key=match.start):
            yield group.rstrip("0123456789"), *match.span(group)


def _find_assigned(match: re.Match[str], name: str) -> Iterator[tuple[str, int, int]]:
    name = name[-MAX_NAME_CHARS:]
    kind = secret_kind(name.lower() if name == "PWD" else name)
    if kind is None and match.string[match.start("name") - 1 : match.start("name")] == "\\":
        kind = secret_kind(name[1:])  # after an escaped line break: \njwt=…
    span = _find_value(match.string, match.end()) if kind else None
    if kind is None or span is None:
        return
    value = match.string[slice(*span)]
    last_word = name.rpartition(".")[2].lower().removesuffix("s")
    if last_word in _ALWAYS_AMBIGUOUS:
        is_secret = value[0] not in "[{" and _RANDOM.match(value) is not None
    elif not match["quote"] and (last_word in _AMBIGUOUS or match[0].lower() == "pass:"):
        is_secret = value[0] in "[{" or _RANDOM.match(value) is not None
    else:
        is_secret = True
    if not is_secret or _NOT_SECRET.fullmatch(value) or _is_count(kind, value):
        return
    if name == "PWD" and value[:1] in "/~":  # the working directory, but not in `UID=sa;PWD=…`
        return
    if kind != "password" and _PROSE.match(match.string, span[0]):
        return
    yield kind, *span


def _is_count(kind: str, value: str) -> bool:
    max_chars = {"password": 3, "token": 10}.get(kind, 6)
    return len(value) <= max_chars and NUMBER.fullmatch(value) is not None


def _find_value(text: str, start: int) -> tuple[int, int] | None:
    match = _VALUE.match(text, start)
    if match is None or match.lastgroup is None:
        return None
    if match.lastgroup != "bracket":
        return match.span(match.lastgroup)
    depth = 0
    for position in range(match.start("bracket"), min(len(text), start + _MAX_VALUE_CHARS)):
        depth += (text[position] in "[{") - (text[position] in "]}")
        if depth == 0 or text[position] == "\n":
            return match.start("bracket"), position + (depth == 0)
    return match.start("bracket"), min(len(text), start + _MAX_VALUE_CHARS)
