"""What commands say of redaction: what it hid, what it would show, and where a secret is left."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from preflight import check as pipeline
from preflight.cli.streams import complain
from preflight.model.problems import InputError

if TYPE_CHECKING:
    from preflight.check import Redactor

PRIVATE = 0o600
_PLACEHOLDER = re.compile(r"(?:<|&lt;)([a-z]+)-([1-9][0-9]*)(?:>|&gt;)")
_NAMES = {
    "host": "host name",
    "user": "user name",
    "email": "e-mail address",
    "value": "environment value",
    "content": "config's content",
}
_MOST_TOLD = 5


def kinds(*texts: str) -> Mapping[str, int]:
    """Return how many secrets of each kind are redacted in texts."""
    found = {placeholder for text in texts for placeholder in _PLACEHOLDER.findall(text)}
    return Counter(kind for kind, _ in found)


def counted(*texts: str) -> str:
    """Say what is redacted in texts: `2 passwords, 1 host name`."""
    by_kind = sorted(kinds(*texts).items())
    parts = [_plural(count, _NAMES.get(kind, kind)) for kind, count in by_kind]
    return ", ".join(parts) or "nothing that would be redacted"


def _plural(count: int, name: str) -> str:
    if count == 1:
        return f"{count} {name}"
    return f"{count} {name}{'es' if name.endswith('s') else 's'}"


def say_undecided(rules: Iterable[str]) -> None:
    """Say which rules the snapshot leaves open, since they ask for what is redacted."""
    if names := ", ".join(rules):
        complain(f"what {names} asks for is redacted: undecided from this; --no-redact keeps it")


def refuse_leftovers(what: str, redactor: Redactor, files: Mapping[str, bytes]) -> None:
    """Raise InputError where a finished file still holds a secret; it names the place alone."""
    left = [
        line for name, data in files.items() for line in pipeline.leftovers(redactor, name, data)
    ]
    if left:
        more = [f"and {len(left) - _MOST_TOLD} more"] if len(left) > _MOST_TOLD else []
        raise InputError(*(f"{what} is not written: {line}" for line in left[:_MOST_TOLD]), *more)
