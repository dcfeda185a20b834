"""Which names say that a secret follows: the one list for variables, keys, options and logs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

_SECRET_WORDS = {
    "password": "password passwd passphrase passcode passwort pass pwd pw pin",
    "token": "token jwt bearer pat",
    "key": "key apikey accesskey secretkey privatekey privkey authkey accountkey signingkey"
    " encryptionkey masterkey sharedkey pem",
    "secret": "secret credential cred auth dsn salt cookie signature webhook license licence"
    " private connectionstring htpasswd sessionid keyid",
}
SECRET_KINDS = {word: kind for kind, words in _SECRET_WORDS.items() for word in words.split()}
"""Words of a name that say that it holds a secret, with the kind that a placeholder shows."""

_ATTRIBUTES = frozenset({
    "file", "path", "dir", "sock", "url", "type", "enabled", "required", "name", "ttl",
    "timeout", "length", "expiry", "algorithm", "mode", "method", "provider", "parallelism",
    "count", "limit", "size", "rounds", "policy", "version", "format", "error",
})  # fmt: skip
"""Last words of names that describe a secret and don't hold it (`DB_PASSWORD_FILE`)."""

_BEFORE_TOKENS = frozenset({
    "n", "t", "num", "max", "min", "total", "new", "prompt", "completion", "input", "output",
    "cache", "cached", "context", "special", "added", "stop", "eos", "eog", "eot", "bos",
    "batch", "per", "reasoning", "generated", "sampled", "draft", "accepted", "predicted",
})  # fmt: skip
"""Language models count tokens: `MAX_TOKENS` and `tokens` are numbers, `API_TOKENS` secrets."""

VARIABLE_GROUPS = ("env", "environment")
"""The segments of paths below which facts are variables."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_MIN_SUFFIX_CHARS = 4  # from here on a word also counts at the end of another one: `PGPASSWORD`
_HARMLESS_WORDS = frozenset({"bypass", "compass", "encompass", "trespass"})


@lru_cache(maxsize=4096)
def secret_kind(name: str) -> str | None:
    """Return what a variable, key or option of this name holds, None if it isn't a secret.

    `DB_PASSWORD1`, `pgpassword`, `API_KEYS` and `HFTOKEN` are secrets; `MAX_TOKENS`,
    `DB_PASSWORD_FILE`, `AUTH_TYPE` and `KEEP_ALIVE` aren't.
    """
    words = [word.lower() for word in _WORD.findall(name)]
    if name == "PWD" or not words or words[-1] in _ATTRIBUTES:  # PWD: the working directory
        return None
    words = [
        word
        for previous, word in zip(("n", *words), words, strict=False)
        if word != "tokens" or previous not in _BEFORE_TOKENS
    ]
    pairs = ("".join(pair) for pair in pairwise(words))  # session-id
    kinds = {_kind_of_word(word) for word in (*words, *pairs)}
    return next((kind for kind in _SECRET_WORDS if kind in kinds), None)


def _kind_of_word(word: str) -> str | None:
    for singular in (word, word.removesuffix("s")):
        if singular in SECRET_KINDS:
            return SECRET_KINDS[singular]
        if singular not in _HARMLESS_WORDS:
            for start in range(1, len(singular) - _MIN_SUFFIX_CHARS + 1):
                if singular[start:] in SECRET_KINDS:
                    return SECRET_KINDS[singular[start:]]
    return None


def is_secret_path(path: Sequence[str]) -> bool:
    """Return whether a fact is a variable that is named like a secret, or all variables."""
    return any(
        group in VARIABLE_GROUPS and (name is None or secret_kind(name) is not None)
        for group, name in zip(path, (*path[1:], None), strict=False)
    )


def secret_variables(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield kind and value of each environment variable in facts that is named like a secret."""
    for group, values in facts.items():
        if group not in VARIABLE_GROUPS:
            yield from secret_variables(values) if isinstance(values, Mapping) else ()
            continue
        for name, value in values.items() if isinstance(values, Mapping) else ():
            if isinstance(value, str) and (kind := secret_kind(name)):
                yield kind, value
