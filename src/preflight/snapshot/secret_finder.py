"""Finds secrets in text: by the shapes of secret_shapes.txt, and as values of names.

Names of secrets are in model/secret_names.py. Nothing is replaced here.
"""

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from preflight.model.patterns import read_regex_file
from preflight.model.secret_names import SECRET_NAME_WORDS_BY_HEADING, find_secret_kind_of_name

SECRET_PLACEHOLDER_PATTERN = re.compile(r"<[a-z]+-[1-9][0-9]{0,8}>")
MAX_COMPARED_NAME_CHARS = 100
MAX_SECRET_VALUE_CHARS = 4096

_FOLDER_PATH_START_PATTERN = re.compile(r"[/~]|[A-Za-z]:[\\/]")
_PROSE_AFTER_COLON_PATTERN = re.compile(
    r"(?<=: )[a-z]{2,20} [a-z]{2,20}\b"
)  # token: signature is invalid
_WORD_BEFORE_NAME_PATTERN = re.compile(r"[A-Za-z]+ \Z")


class SecretShape(NamedTuple):
    """Where a secret is in a text: in the groups of `pattern`.

    Finished HTML files are searched for the `distinctive` ones alone.
    """

    pattern: re.Pattern[str]
    distinctive: bool


_SECRET_PATTERN_BY_HEADING = {
    heading: re.compile(pattern, re.VERBOSE | re.MULTILINE)
    for heading, pattern in read_regex_file(
        os.path.join(os.path.dirname(__file__), "secret_shapes.txt"),
        {"{state}": f"(?:{'|'.join(sorted(SECRET_NAME_WORDS_BY_HEADING['state']))})"},
    ).items()
}
_ASSIGNED_VALUE_PATTERN, _NOT_SECRET_PATTERN, _RANDOM_VALUE_PATTERN = map(
    _SECRET_PATTERN_BY_HEADING.pop, ("value", "not a secret", "random")
)
SECRET_SHAPES = tuple(
    SecretShape(p, heading.startswith("distinctive"))
    for heading, p in _SECRET_PATTERN_BY_HEADING.items()
)


def looks_random(value: str) -> bool:
    """Whether a value has letters and digits, and isn't a path, address, version or made of words.

    Nobody writes it by chance, so that it can be replaced anywhere.
    """
    return (
        len(value) >= 6 and _RANDOM_VALUE_PATTERN.match(value[:MAX_COMPARED_NAME_CHARS]) is not None
    )


def is_short_number(value: str, max_chars: int = 6) -> bool:
    """Whether a value is a short number, with or without a fraction."""
    return len(value) <= max_chars and re.fullmatch(r"[-+]?[0-9]+(?:\.[0-9]+)?", value) is not None


def find_secrets(shape: SecretShape, text: str) -> Iterator[tuple[str, int, int]]:
    """Yield kind, start and end of each secret of this shape, from left to right."""
    end = 0
    for match in shape.pattern.finditer(text):
        for kind, start, stop in _find_secrets_in_match(match) if match.end() >= end else ():
            if start >= end:  # not inside of the value before it
                yield kind, start, stop
                end = stop


def _find_secrets_in_match(match: re.Match[str]) -> Iterator[tuple[str, int, int]]:
    groups = match.groupdict()
    if (name := groups.get("element")) and (kind := find_secret_kind_of_name(name)):
        yield kind, *match.span("content")
    elif name := groups.get("name"):
        yield from _find_assigned_secret(match, name[-MAX_COMPARED_NAME_CHARS:])
    elif "element" not in groups:
        for group in sorted(filter(groups.get, groups), key=match.start):
            yield group.rstrip("0123456789"), *match.span(group)


def _find_assigned_secret(match: re.Match[str], name: str) -> Iterator[tuple[str, int, int]]:
    text = match.string
    kind = find_secret_kind_of_name(name.lower() if name == "PWD" else name)
    if kind is None and text[match.start("name") - 1 : match.start("name")] == "\\":
        kind = find_secret_kind_of_name(name[1:])  # after an escaped line break: \njwt=…
    before = _WORD_BEFORE_NAME_PATTERN.search(
        text, max(0, match.start("name") - 20), match.start("name")
    )
    if kind and before:
        kind = find_secret_kind_of_name(f"{before[0]}{name}")  # public key: …
    head = (
        _find_assigned_value_span(text, match.end(), match.end() + MAX_COMPARED_NAME_CHARS)
        if kind
        else None
    )
    if kind is None or head is None:
        return
    value = text[slice(*head)]  # enough of it to judge
    word = name.rpartition(".")[2].lower().removesuffix("s")
    if match[0].endswith(","):  # ('name', 'value'), or only a list of names
        is_secret = match["quote"] != "" and looks_random(value)
    elif word in SECRET_NAME_WORDS_BY_HEADING["ambiguous"]:
        is_secret = value[0] not in "[{" and looks_random(value)
    elif not match["quote"] and (
        word in SECRET_NAME_WORDS_BY_HEADING["prose"] or match[0].lower() == "pass:"
    ):
        is_secret = value[0] in "[{" or looks_random(value)
    else:  # pwd is the working directory, but not in `UID=sa;PWD=…`
        is_secret = name.lower() != "pwd" or not _FOLDER_PATH_START_PATTERN.match(value)
    is_prose = kind != "password" and _PROSE_AFTER_COLON_PATTERN.match(text, head[0])
    is_count = is_short_number(value, {"password": 3, "token": 10}.get(kind, 6))
    if is_secret and not is_prose and not is_count and not _NOT_SECRET_PATTERN.fullmatch(value):
        yield (
            kind,
            *(
                _find_assigned_value_span(text, match.end(), match.end() + MAX_SECRET_VALUE_CHARS)
                or head
            ),
        )


def _find_assigned_value_span(text: str, start: int, last: int) -> tuple[int, int] | None:
    match = _ASSIGNED_VALUE_PATTERN.match(text, start, last)
    if match is None or match.lastgroup is None:
        return None
    start, end = match.span(match.lastgroup)
    if match.lastgroup == "bracket":
        depth = 1
        while depth and end < min(len(text), last) and text[end] != "\n":
            depth += (text[end] in "[{") - (text[end] in "]}")
            end += 1
    return start, end
