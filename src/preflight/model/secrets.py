"""Which names say that a secret follows: the one list for variables, keys, options and logs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

SECRET_WORDS: Mapping[str, tuple[str, ...]] = {
    "password": ("password", "passwd", "passphrase", "passwort", "pass", "pwd", "pin"),
    "token": ("token", "jwt", "bearer"),
    "key": ("key", "apikey", "privkey", "pem"),
    "secret": (
        "secret", "secrets", "credential", "credentials", "creds", "auth", "dsn", "salt", "cookie",
        "signature", "webhook", "license", "licence", "private", "connectionstring", "keyid",
        "htpasswd", "sessionid",
    ),
}  # fmt: skip
"""By the kind that its placeholder shows: the words of a name that say so."""

ATTRIBUTE_WORDS = frozenset({
    "file", "path", "dir", "sock", "type", "enabled", "required", "name", "ttl", "timeout",
    "length", "expiry", "algorithm", "mode", "method", "provider", "parallelism",
})  # fmt: skip
"""Last words of names that describe a secret and don't hold it (`DB_PASSWORD_FILE`)."""

AMBIGUOUS_WORDS = frozenset({
    "key", "auth", "pass", "pin", "pem", "cookie", "license", "licence", "private", "webhook",
    "bearer",
})  # fmt: skip
"""Alone before a colon or an equals sign in a log, these rarely name a secret (`key=value`)."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+|[0-9]+")
_MIN_SUFFIX_CHARS = 4  # from here on a word also counts at the end of another one: `PGPASSWORD`


@lru_cache(maxsize=4096)
def secret_kind(name: str) -> str | None:
    """Return what a variable, key or option of this name holds, None if it isn't a secret.

    `DB_PASSWORD`, `pgpassword`, `apiKey` and `HFTOKEN` are secrets; `MAX_TOKENS`,
    `DB_PASSWORD_FILE`, `AUTH_TYPE` and `KEEP_ALIVE` aren't.
    """
    if name == "PWD":
        return None  # the shell's working directory
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or words[-1] in ATTRIBUTE_WORDS:
        return None
    parts = {*words, "".join(words[-2:])}  # connection_string, session-id
    for kind, secret_words in SECRET_WORDS.items():
        for secret_word in secret_words:
            is_suffix = len(secret_word) >= _MIN_SUFFIX_CHARS
            if secret_word in parts or (is_suffix and any(w.endswith(secret_word) for w in words)):
                return kind
    return None


def secret_variables(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield kind and value of each environment variable in facts that is named like a secret."""
    for group, values in facts.items():
        if group not in ("env", "environment"):
            yield from secret_variables(values) if isinstance(values, Mapping) else ()
            continue
        for name, value in values.items() if isinstance(values, Mapping) else ():
            if isinstance(value, str) and (kind := secret_kind(name)):
                yield kind, value
