"""Which names say that a secret follows: the one list for variables, keys, options and logs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from os.path import dirname, join

with open(join(dirname(__file__), "secret_names.txt"), encoding="utf-8") as _file:
    _SECRET_NAMES_TEXT = _file.read()
SECRET_NAME_WORDS_BY_HEADING: Mapping[str, frozenset[str]] = {
    heading: frozenset(words.split())
    for heading, words in re.findall(r"^\[(\w+)\].*\n([^\[]*)", _SECRET_NAMES_TEXT, re.MULTILINE)
}
"""The lists of secret_names.txt, each by its heading."""

ENVIRONMENT_PATH_SEGMENTS = frozenset({"env", "environment"})
"""The segments of paths below which facts are variables."""

_SECRET_KINDS = ("password", "token", "key", "secret")
_NAME_WORD_PATTERN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# from here on a word also counts at the end of another one: `PGPASSWORD`
_MIN_SECRET_WORD_SUFFIX_CHARS = 4


@lru_cache(maxsize=4096)
def find_secret_kind_of_name(name: str) -> str | None:
    """Return what a variable, key or option of this name holds, or None if it isn't a secret.

    `DB_PASSWORD1`, `pgpassword`, `API_KEYS` and `HFTOKEN` are secrets; `MAX_TOKENS`,
    `DB_PASSWORD_FILE`, `AUTH_TYPE` and `KEEP_ALIVE` aren't.
    """
    words = [word.lower() for word in _NAME_WORD_PATTERN.findall(name)]
    is_working_directory = name == "PWD"
    if is_working_directory or not words or words[-1] in SECRET_NAME_WORDS_BY_HEADING["attribute"]:
        return None
    words = [
        word
        for previous, word in pairwise(("n", *words))
        if previous not in SECRET_NAME_WORDS_BY_HEADING.get(f"before_{word}", ())
    ]
    words += ["".join(pair) for pair in pairwise(words)]  # session-id
    kinds = {
        _find_secret_kind_of_word(word) or _find_secret_kind_of_word(word.removesuffix("s"))
        for word in words
    }
    return next(filter(kinds.__contains__, _SECRET_KINDS), None)


def _find_secret_kind_of_word(word: str) -> str | None:
    suffixes = (
        word[start:] for start in range(max(1, len(word) - _MIN_SECRET_WORD_SUFFIX_CHARS + 1))
    )
    candidates = [word] if word in SECRET_NAME_WORDS_BY_HEADING["harmless"] else list(suffixes)
    return next(
        (
            k
            for part in candidates
            for k in _SECRET_KINDS
            if part in SECRET_NAME_WORDS_BY_HEADING[k]
        ),
        None,
    )


def is_secret_fact(path: Sequence[str]) -> bool:
    """Return whether a fact is a variable that is named like a secret, or all variables."""
    if ENVIRONMENT_PATH_SEGMENTS.isdisjoint(path):  # as of most
        return False
    return any(
        group in ENVIRONMENT_PATH_SEGMENTS
        and (name is None or find_secret_kind_of_name(name) is not None)
        for group, name in pairwise((*path, None))
    )
