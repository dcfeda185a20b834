"""Replaces secrets by placeholders, and finds those that are left in a finished file.

The same secret has the same placeholder throughout one output, so that a log stays readable. What
is learned from one text holds for all: whoever redacts several texts does it twice. A name that is
an ordinary word here, of a rule, a service or an image, is replaced only where its position shows
that it is a host, a user or a password. Neither judges nor writes anything.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus

from preflight.model.facts import Facts, Path, join_path, split_path
from preflight.model.secrets import AMBIGUOUS_WORDS, secret_kind
from preflight.snapshot.shapes import ASSIGNED_VALUE, PLACEHOLDER, SHAPES, Shape

T = TypeVar("T")

MIN_ANYWHERE_CHARS = 8  # from here on a secret is replaced inside of words too
MIN_SECRET_CHARS = 4  # below, a secret is replaced only where its position shows what it is
MAX_SECRET_CHARS = 2**14  # above, it is a file
MAX_SECRETS = 2000
MAX_NAME_CHARS = 100
_COMMON_WORDS = frozenset({
    "true", "false", "yes", "no", "on", "off", "none", "null", "nil", "unset", "empty", "missing",
    "invalid", "required", "expired", "changed", "unknown", "default", "example", "password",
    "passwd", "secret", "token", "root", "admin", "user", "test", "guest", "postgres", "mysql",
    "redis", "ubuntu", "debian", "alpine", "localhost", "node", "app", "docker", "podman",
    "www-data", "nobody", "runner", "linux", "darwin", "windows", "server", "client", "debug",
    "trace", "info", "warning", "error", "production", "development", "staging",
})  # fmt: skip
_SAFE_FIELDS = frozenset(
    {"id", "kind", "verdict", "severity", "unit", "counts", "memory", "version", "rules_sha256"}
)
"""Fields of a report that hold no text of users."""
_SHORT_NUMBER = re.compile(r"[-+]?[0-9]{1,6}(?:\.[0-9]{1,6})?")
_IDENTIFIER = re.compile(r"[a-z][a-z0-9]*(?:[._:/@-]+[a-z0-9]+)*")
_LOWERCASE_WORD = re.compile(r"[a-z]{1,12}")
_NOT_RANDOM = re.compile(
    r"(?:sha256[:-])?[a-f0-9]{12,64}$|[./~]|[\w.-]{1,253}:[0-9]{1,5}$|v?[0-9.]+[a-z]*$"
    r"|[A-Za-z][\w+.-]*://"
)
"""Digests, paths, addresses, versions and URLs."""
_IP_ADDRESS = re.compile(r"[0-9.]+|[0-9a-fA-F:]*:[0-9a-fA-F:.]*")
_NOTHING = re.compile(r"(?!)")


class Redactor:
    """Knows secrets, and gives each its placeholder.

    `shown` are variables whose values stay because a rule asks for them; `public` are words that
    are never replaced as names.
    """

    def __init__(self, shown: Collection[str] = (), public: Iterable[str] = ()) -> None:
        self._shown_variables = frozenset(shown)
        self._public_words = {*_COMMON_WORDS, *(word.lower() for word in public)}
        self._counts: Counter[str] = Counter()  # placeholders by kind
        self._placeholders: dict[str, str] = {}
        self._secrets: set[str] = set()
        self._by_spelling: dict[str, tuple[str, str]] = {}  # kind and secret, replaced anywhere
        self._by_word: dict[str, tuple[str, str]] = {}  # the same, replaced as whole words
        self._spelling_pattern = self._word_pattern = _NOTHING
        self._is_outdated = False

    def add_secret(self, kind: str, value: str) -> None:
        """Replace a value from now on wherever it can't be an ordinary word."""
        value = value.strip()
        if value in self._secrets or len(self._secrets) >= MAX_SECRETS:
            return
        self._secrets.add(value)
        is_word = kind != "password" and _LOWERCASE_WORD.fullmatch(value)  # AUTH=optional
        is_ordinary = is_word or _SHORT_NUMBER.fullmatch(value) or PLACEHOLDER.fullmatch(value)
        if is_ordinary or not MIN_SECRET_CHARS <= len(value) <= MAX_SECRET_CHARS:
            return
        if len(value) < MIN_ANYWHERE_CHARS:
            self.add_name(kind, value)
            return
        if value.lower() in self._public_words:
            return
        lines = (line.strip() for line in value.splitlines() if "-----" not in line)
        long_lines = [line for line in lines if len(line) >= 2 * MIN_ANYWHERE_CHARS]
        for spelling in (*_spellings(value), *long_lines):
            self._by_spelling.setdefault(spelling, (kind, value))
        self._is_outdated = True

    def add_variable(self, name: str, value: str) -> None:
        """Learn from an environment variable that isn't shown itself."""
        if kind := secret_kind(name):
            self.add_secret(kind, value)
        elif name not in self._shown_variables and _looks_like_secret(value):
            self.add_secret("value", value)
        if "://" in value:
            self._replace_shapes(value, SHAPES)  # learns the password in a URL

    def add_name(self, kind: str, value: str | None) -> None:
        """Replace a word, such as the name of a host or a user; IP addresses stay."""
        value = (value or "").strip().rstrip(".")
        if len(value) < 2 or value.lower() in self._public_words:
            return
        if not _IP_ADDRESS.fullmatch(value) and not PLACEHOLDER.search(value):
            self._by_word[value.lower()] = kind, value
            self._is_outdated = True

    def reserve_placeholders(self, text: str) -> None:
        """Never give the placeholders that a text has from an earlier redaction to new secrets."""
        for match in PLACEHOLDER.finditer(text):
            kind, _, number = match[0][1:-1].rpartition("-")
            self._counts[kind] = max(self._counts[kind], int(number))

    def _placeholder(self, kind: str, value: str) -> str:
        if PLACEHOLDER.fullmatch(value):
            return value
        if value not in self._placeholders:
            self._counts[kind] += 1
            self._placeholders[value] = f"<{kind}-{self._counts[kind]}>"
        return self._placeholders[value]

    def redact_text(self, text: str) -> str:
        """Replace in a text of any number of lines what is known and what has a known shape."""
        self._compile()
        text = self._redact(text)
        self._compile()
        return self._replace_known(text)

    def redact_known(self, node: T) -> T:
        """Replace in every string of a structure what is known, not what only has a shape."""
        self._compile()
        redacted: T = _map_strings(node, self._replace_known)
        return redacted

    def redact_tree(self, node: T) -> T:
        """Replace in every string of a structure: lists, mappings with their keys, named tuples.

        What is learned from one string holds for the others only in the next call.
        """
        self._compile()
        redacted: T = _map_strings(node, self._redact)
        return redacted

    def redact_facts(self, facts: Facts) -> Facts:
        """Return a snapshot without secrets, in values, sources, reasons and names."""
        return facts._replace(
            values=self.redact_config(facts.values),
            sources=self._redact_by_path(facts.sources),
            places=self._redact_by_path(facts.places),
            unknown=self._redact_by_path(facts.unknown),
        )

    def _redact_by_path(self, by_path: Mapping[str, T]) -> dict[str, T]:
        redacted = {}
        for dotted, node in by_path.items():
            try:
                path = join_path(tuple(map(self._redact, split_path(dotted))))
            except ValueError:
                path = self._redact(dotted)  # a snapshot from elsewhere may have any name
            redacted[path] = _map_strings(node, self._redact)
        return redacted

    def redact_config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return facts or a compose configuration without secrets.

        Values of variables that no rule asks for aren't shown, nor the content of configs and
        secrets, nor what stands under a key that is named like a secret.
        """
        self._compile()
        redacted: dict[str, Any] = self._redact_node(config, ())
        return redacted

    def _redact_node(self, node: Any, path: Path) -> Any:
        if isinstance(node, Mapping):
            return {
                self._redact(str(key)): self._redact_node(inner, (*path, str(key)))
                for key, inner in node.items()
            }
        if isinstance(node, list):
            return [self._redact_node(inner, (*path, "")) for inner in node]
        parent = path[-2:-1]
        if node is not None and (
            path[:-1] == ("env",)
            or parent in (("environment",), ("args",))
            or (path[:3] == ("docker", "swarm", "nodes") and parent == ("labels",))
        ):
            value = node if isinstance(node, str) else json.dumps(node)
            return self.redact_variable(path[-1], value)
        if not isinstance(node, str) or not node:
            return node
        if path == ("host", "hostname"):
            return self._placeholder("host", node)
        if path[0] in ("configs", "secrets") and path[-1] == "content":
            self._redact(node)  # learns what is in it
            return self._placeholder("content", node)
        if kind := secret_kind(path[-1]):
            self.add_secret(kind, node)
            return self._placeholder(kind, node.strip())
        return self._redact(node)

    def redact_variable(self, name: str, value: str) -> str:
        """Return what is shown of an environment variable, and learn what isn't."""
        kind = secret_kind(name)
        if not value or (kind is None and name in self._shown_variables):
            return self._redact(value)
        self.add_variable(name, value)
        return self._placeholder(kind or "value", value.strip())

    def _compile(self) -> None:
        """Make the patterns of what is known: not for each secret, or many would take minutes."""
        if self._is_outdated:
            words = _build_alternation(self._by_word)
            self._spelling_pattern = re.compile(_build_alternation(self._by_spelling))
            self._word_pattern = re.compile(f"(?i)(?<![A-Za-z0-9])(?:{words})(?![A-Za-z0-9])")
            self._is_outdated = False

    def _redact(self, text: str, shapes: Iterable[Shape] = SHAPES) -> str:
        """Replace secrets, shapes, then names: an e-mail address or a URL may hold one."""
        return self._replace_words(self._replace_shapes(self._replace_anywhere(text), shapes))

    def _replace_known(self, text: str) -> str:
        return self._replace_words(self._replace_anywhere(text))

    def _replace_anywhere(self, text: str) -> str:
        return self._spelling_pattern.sub(
            lambda match: self._placeholder(*self._by_spelling[match[0]]), text
        )

    def _replace_words(self, text: str) -> str:
        def replace(match: re.Match[str]) -> str:
            known = self._by_word.get(match[0].lower())  # not of characters such as İ
            return self._placeholder(*(known or ("secret", match[0])))

        return self._word_pattern.sub(replace, text)

    def _replace_shapes(self, text: str, shapes: Iterable[Shape]) -> str:
        for shape in shapes:
            parts: list[str] = []
            end = 0
            for match in shape.pattern.finditer(text):
                for kind, (start, stop) in _find_secrets(match) if match.end() >= end else ():
                    value = self._replace_value(kind, text[start:stop], learn=not shape.distinctive)
                    parts += text[end:start], value
                    end = stop
            text = "".join((*parts, text[end:]))
        return text

    def _replace_value(self, kind: str, value: str, *, learn: bool) -> str:
        """Return what is shown of a value whose position says of which kind it is."""
        is_redacted = PLACEHOLDER.search(value) and not value.startswith("-----BEGIN")
        if is_redacted or (kind != "user" and value.lower() in _COMMON_WORDS):
            return value
        if kind in ("user", "host", "email"):
            is_public = value == "root" or (kind == "host" and value.lower() in self._public_words)
            return value if is_public else self._placeholder(kind, value)
        if _SHORT_NUMBER.fullmatch(value) and (kind != "password" or len(value) < MIN_SECRET_CHARS):
            return value  # token_id=128009
        is_unusual = _is_random(value) or len(value) >= 2 * MIN_ANYWHERE_CHARS
        if is_unusual and (learn or kind == "password"):
            self.add_secret(kind, value)
        return self._placeholder(kind, value)

    def find_leftovers(self, name: str, data: bytes) -> list[str]:
        """Return a line for each place of a finished file that isn't clean, without the secret.

        It isn't clean where redaction would change it. Of JSON each string counts by itself, as a
        key and its colon aren't an assignment; of HTML only distinctive shapes count.
        """
        text = data.decode("utf-8", "replace")
        self._compile()
        if name.endswith(".json"):
            tree = json.loads(text)
            text = json.dumps(tree, indent=2)
            redacted = json.dumps(_map_strings(tree, self._redact), indent=2)
        elif name.endswith(".html"):
            text = html.unescape(text)
            redacted = self._redact(text, [shape for shape in SHAPES if shape.distinctive])
        else:
            redacted = self._redact(text)
        lines = zip(text.split("\n"), redacted.split("\n"), strict=False)
        return [
            f"{name}:{number} holds a secret"
            for number, (line, redacted_line) in enumerate(lines, 1)
            if line != redacted_line
        ]


def _find_secrets(match: re.Match[str]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield kind and span of the secrets in a match, from left to right."""
    groups = match.groupdict()
    name = groups.get("option") or groups.get("name")
    if name is None:
        for group in sorted(filter(groups.get, groups), key=match.start):
            yield group.rstrip("0123456789"), match.span(group)
        return
    is_ambiguous = "name" in groups and name.rpartition(".")[2].lower() in AMBIGUOUS_WORDS
    kind = None if is_ambiguous else secret_kind(name[-MAX_NAME_CHARS:])
    value = ASSIGNED_VALUE.match(match.string, match.end()) if kind else None
    if kind and value and value.lastgroup:
        yield kind, value.span(value.lastgroup)


def _map_strings(node: Any, change: Callable[[str], str]) -> Any:
    if isinstance(node, str):
        return change(node)
    if isinstance(node, Mapping):
        return {_map_strings(k, change): _map_strings(value, change) for k, value in node.items()}
    if fields := getattr(node, "_fields", None):  # a named tuple
        texts = {name: getattr(node, name) for name in fields if name not in _SAFE_FIELDS}
        return node._replace(**{f: _map_strings(value, change) for f, value in texts.items()})
    if isinstance(node, list | tuple):
        return type(node)(_map_strings(inner, change) for inner in node)
    return node


def _is_random(value: str) -> bool:
    """Whether nobody writes a value by chance, so that it can be replaced anywhere."""
    has_both = any(map(str.isdigit, value)) and not value.isdigit()
    is_number = _SHORT_NUMBER.fullmatch(value)
    return len(value) >= 6 and has_both and not is_number and not _NOT_RANDOM.match(value)


def _looks_like_secret(value: str) -> bool:
    """Whether a value under a neutral name is random, and not a tag, a host or a model's name."""
    return _is_random(value) and (len(value) >= 20 or not _IDENTIFIER.fullmatch(value))


def _spellings(value: str) -> Iterator[str]:
    """Yield a secret as it is written in URLs, JSON, HTML, compose files, Base64 and hex."""
    data = value.encode("utf-8", "replace")
    yield from (
        value,
        quote(value, safe="", errors="replace"),
        quote_plus(value, errors="replace"),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        html.escape(value, quote=False),
        value.replace("$", "$$"),
        base64.b64encode(data).decode().rstrip("="),
        data.hex(),
    )


def _build_alternation(texts: Iterable[str]) -> str:
    """Return a pattern for many texts, longest first, that tries few of them at each character."""
    by_start: dict[str, list[str]] = {}
    for text in sorted(texts, key=len, reverse=True):
        by_start.setdefault(text[0], []).append(re.escape(text[1:]))
    branches = (f"{re.escape(start)}(?:{'|'.join(rest)})" for start, rest in by_start.items())
    return "|".join(branches) or r"(?!)"
