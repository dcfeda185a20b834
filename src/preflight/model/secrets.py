"""Which names of variables and keys say that a secret is in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+|[0-9]+")
_KINDS = (
    ("password", ("password", "passwd", "passphrase", "pass", "pwd", "passwort", "pin")),
    ("token", ("token", "jwt", "bearer")),
    ("key", ("key", "apikey", "privkey", "pem")),
    (
        "secret",
        ("secret", "secrets", "credential", "credentials", "creds", "auth", "dsn", "salt", "cookie",
         "signature", "webhook", "license", "licence", "private", "connectionstring", "htpasswd"),
    ),
)  # fmt: skip
_ABOUT = (
    "file", "path", "dir", "sock", "type", "enabled", "required", "name", "ttl", "timeout",
    "length", "expiry", "algorithm", "mode", "method", "provider", "parallelism",
)  # fmt: skip
"""Last words of names that tell something about a secret, and not the secret."""


def secret_kind(name: str) -> str | None:
    """Return what a variable or key of this name holds, None where it doesn't look like a secret.

    `DB_PASSWORD`, `pgpassword`, `apiKey` and `HFTOKEN` do; `MAX_TOKENS`, `DB_PASSWORD_FILE`,
    `AUTH_TYPE` and `KEEP_ALIVE` don't.
    """
    if name == "PWD":
        return None  # the shell's folder
    words = [word.lower() for word in _WORDS.findall(name)]
    if words and words[-1] in _ABOUT:
        return None
    joined = "".join(words)
    for kind, ends in _KINDS:
        for end in ends:
            if end in words or (len(end) > 3 and any(w.endswith(end) for w in words)):
                return kind
    return "secret" if joined.endswith(("connectionstring", "keyid")) else None


def secret_variables(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return kind and value of each environment variable in facts that is named like a secret."""
    return [
        (kind, value)
        for name, value in _variables(facts)
        if isinstance(value, str) and (kind := secret_kind(name))
    ]


def _variables(node: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the variables of this process, of services and of containers."""
    for name, value in node.items():
        if not isinstance(value, Mapping):
            continue
        if name in ("env", "environment"):
            yield from value.items()
        else:
            yield from _variables(value)
