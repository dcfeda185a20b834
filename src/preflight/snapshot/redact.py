"""Replaces secrets by placeholders, and finds those that are left in a finished file.

The same secret has the same placeholder throughout one output, so that a log stays readable. What
is learned from one text holds for all: whoever redacts several texts does it twice. In facts and
configurations the place decides, in texts the shape. A name that is an ordinary word here, of a
rule, a service or an image, is replaced only where its position shows that it is a host, a user or
a password. Neither judges nor writes anything.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus

from preflight.model.facts import Facts, join_path, split_fact_path
from preflight.model.facts import Path as FactPath
from preflight.model.secret_names import SECRET_NAME_WORDS_BY_HEADING, find_secret_kind_of_name
from preflight.snapshot.secret_finder import (
    SECRET_PLACEHOLDER_PATTERN,
    SECRET_SHAPES,
    SecretShape,
    find_secrets,
    is_short_number,
    looks_random,
)

T = TypeVar("T")

MIN_CHARS_REPLACED_WITHIN_WORDS = 8  # from here on a secret is replaced inside of words too
MIN_SECRET_CHARS = 4  # below, a secret is replaced only where its position shows what it is
MAX_SECRET_CHARS = 2**14  # above, it is a file
MAX_SECRET_SPELLINGS = 20_000  # of secrets: each has about nine
MAX_REDACTED_LINE_CHARS = 2**15  # a longer line is replaced whole, as one that doesn't settle
MAX_REDACTION_PASSES = 4
_REPORT_FIELDS_WITHOUT_SECRETS = frozenset(
    {"id", "kind", "verdict", "severity", "unit", "counts", "memory", "version", "rules_sha256"}
)
"""Fields of a report that hold no text of users."""

_KEYS_WITH_HOST_NAMES = frozenset({"hostname", "domainname", "extra_hosts", "dns", "dns_search"})
_LOWERCASE_WORD_PATTERN = re.compile(r"[a-z]{1,12}")
_IP_ADDRESS_PATTERN = re.compile(r"[0-9.]+|[0-9a-fA-F:]*:[0-9a-fA-F:.]*")
_PATTERN_WITHOUT_MATCHES = re.compile(r"(?!)")


class Redactor:
    """Knows secrets, and gives each its placeholder.

    `shown` are variables whose values stay because a rule asks for them; `public` are words that
    are never replaced as names.
    """

    def __init__(self, shown: Collection[str] = (), public: Iterable[str] = ()) -> None:
        self._shown_variables = frozenset(shown)
        self._public_keys = {word.lower() for word in public}
        self._public_words = SECRET_NAME_WORDS_BY_HEADING["common"] | self._public_keys
        self._counts: Counter[str] = Counter()  # placeholders by kind
        self._placeholders: dict[str, str] = {}
        # by what is replaced, anywhere or as a whole word: the kind and the secret
        self._secrets_by_spelling: dict[str, tuple[str, str]] = {}
        self._names: dict[str, tuple[str, str]] = {}
        self._spelling_pattern = self._word_pattern = _PATTERN_WITHOUT_MATCHES
        self._needs_compiling = False

    def add_secret(self, kind: str, value: str) -> None:
        """Replace a value from now on wherever it can't be an ordinary word."""
        value = value.strip()
        if (
            value in self._secrets_by_spelling
            or len(self._secrets_by_spelling) >= MAX_SECRET_SPELLINGS
        ):
            return
        is_word = kind != "password" and _LOWERCASE_WORD_PATTERN.fullmatch(value)  # AUTH=optional
        is_ordinary = is_word or is_short_number(value) or _is_fully_redacted(value)
        if is_ordinary or not MIN_SECRET_CHARS <= len(value) <= MAX_SECRET_CHARS:
            return
        if len(value) < MIN_CHARS_REPLACED_WITHIN_WORDS:
            self.add_name(kind, value)
        elif value.lower() not in self._public_words:
            lines = (line.strip() for line in value.splitlines() if "-----" not in line)
            long_lines = (
                line for line in lines if len(line) >= 2 * MIN_CHARS_REPLACED_WITHIN_WORDS
            )
            for spelling in (*_list_encoded_spellings(value), *long_lines):
                self._secrets_by_spelling.setdefault(spelling, (kind, value))
            self._needs_compiling = True

    def learn_variable(self, name: str, value: str) -> str | None:
        """Learn from an environment variable; return its kind, None for one that is shown."""
        kind = find_secret_kind_of_name(name)
        if kind is None and name in self._shown_variables:
            return None
        if kind or looks_random(value):
            self.add_secret(kind or "value", value)
        if "://" in value:
            self._replace_secret_shapes(value)  # learns the password in a URL
        return kind or "value"

    def add_name(self, kind: str, value: str | None) -> None:
        """Replace a word, such as the name of a host or a user; IP addresses stay."""
        value = (value or "").strip().rstrip(".")
        if len(value) < 2 or value.lower() in self._public_words:
            return
        if not _IP_ADDRESS_PATTERN.fullmatch(value) and not SECRET_PLACEHOLDER_PATTERN.search(
            value
        ):
            self._names[value.lower()] = kind, value
            self._needs_compiling = True

    @property
    def known_value_count(self) -> int:
        """How many spellings of secrets, and names, are replaced wherever they stand."""
        return len(self._secrets_by_spelling) + len(self._names)

    def reserve_placeholders(self, text: str) -> None:
        """Never give the placeholders that a text has from an earlier redaction to new secrets."""
        for match in SECRET_PLACEHOLDER_PATTERN.finditer(text):
            kind, _, number = match[0][1:-1].rpartition("-")
            self._counts[kind] = max(self._counts[kind], int(number))

    def _get_placeholder(self, kind: str, value: str) -> str:
        if _is_fully_redacted(value):
            return value
        if value not in self._placeholders:
            self._counts[kind] += 1
            self._placeholders[value] = f"<{kind}-{self._counts[kind]}>"
        return self._placeholders[value]

    # --- texts ------------------------------------------------------------------------------------

    def redact_tree(self, node: T) -> T:
        """Replace in every string of a structure: lists, mappings with their keys, named tuples.

        What is learned from one string holds for the others only in the next call. A string stays
        as it is when it is redacted again: a line for which that takes too many passes, or which is
        very long, is replaced whole.
        """
        self._compile_patterns()
        redacted: T = _map_strings(node, self._redact_until_stable)
        return redacted

    def redact_text(self, text: str) -> str:
        """Replace what is known, what has a known shape, and what the text shows to be secret."""
        return self.redact_tree(self.redact_tree(text))

    def _redact_until_stable(self, text: str) -> str:
        if len(text) > MAX_REDACTED_LINE_CHARS:
            text = self._replace_matching_lines(
                text, lambda line: len(line) > MAX_REDACTED_LINE_CHARS
            )
        for _ in range(MAX_REDACTION_PASSES):
            redacted = self._redact_once(text)
            if redacted == text:
                return text
            text = redacted
        return self._replace_matching_lines(text, lambda line: self._redact_once(line) != line)

    def _replace_matching_lines(self, text: str, is_replaced: Callable[[str], bool]) -> str:
        return "\n".join(
            self._get_placeholder("line", line) if is_replaced(line) else line
            for line in text.split("\n")
        )

    def _redact_once(self, text: str) -> str:
        return self._replace_names(self._redact_except_names(text))  # last: an e-mail may hold one

    def _redact_except_names(self, text: str, shapes: Iterable[SecretShape] = SECRET_SHAPES) -> str:
        text = self._spelling_pattern.sub(
            lambda match: self._get_placeholder(*self._secrets_by_spelling[match[0]]), text
        )
        return self._replace_secret_shapes(text, shapes)

    def _compile_patterns(self) -> None:
        """Make the patterns of what is known: not for each secret, or many would take minutes."""
        if self._needs_compiling:
            words = _join_alternatives(self._names)
            self._spelling_pattern = re.compile(_join_alternatives(self._secrets_by_spelling))
            self._word_pattern = re.compile(f"(?i)(?<![A-Za-z0-9])(?:{words})(?![A-Za-z0-9])")
            self._needs_compiling = False

    def _replace_names(self, text: str) -> str:
        def replace(match: re.Match[str]) -> str:
            known = self._names.get(match[0].lower())  # not of characters such as İ
            return self._get_placeholder(*(known or ("secret", match[0])))

        return self._word_pattern.sub(replace, text)

    def _replace_secret_shapes(
        self, text: str, shapes: Iterable[SecretShape] = SECRET_SHAPES
    ) -> str:
        for shape in shapes:
            if shape.pattern.search(text) is None:
                continue
            parts: list[str] = []
            end = 0
            for kind, start, stop in find_secrets(shape, text):
                value = self._replace_value(kind, text[start:stop], learn=not shape.distinctive)
                parts += text[end:start], value
                end = stop
            text = "".join((*parts, text[end:]))
        return text

    def _replace_value(self, kind: str, value: str, *, learn: bool) -> str:
        """Return what is shown of a value whose position says of which kind it is."""
        if kind in ("user", "host", "email"):
            is_public = value == "root" or (kind == "host" and value.lower() in self._public_words)
            return value if is_public else self._get_placeholder(kind, value)
        has_digit = any(map(str.isdigit, value)) and kind == "password"
        is_long = len(value) >= 2 * MIN_CHARS_REPLACED_WITHIN_WORDS
        is_unusual = has_digit or is_long or looks_random(value)
        if is_unusual and (learn or kind == "password"):
            self.add_secret(kind, value)
        return self._get_placeholder(kind, value)

    # --- facts and configurations -----------------------------------------------------------------

    def redact_facts(self, facts: Facts) -> Facts:
        """Return a snapshot without secrets, in values, sources, reasons and names."""
        self._compile_patterns()
        values = self._redact_node(facts.values, (), self._learn_fact_value)
        sources, places, unknown = (
            {
                self._redact_fact_path(path): _map_strings(node, self._redact_until_stable)
                for path, node in by.items()
            }
            for by in (facts.sources, facts.places, facts.unknown)
        )
        return facts._replace(values=values, sources=sources, places=places, unknown=unknown)

    def _redact_fact_path(self, dotted: str) -> str:
        try:
            return join_path(tuple(map(self._redact_until_stable, split_fact_path(dotted))))
        except ValueError:
            return self._redact_until_stable(dotted)  # a snapshot from elsewhere may have any name

    def redact_config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return an effective compose configuration: only what stands at harmless places."""
        self._compile_patterns()
        redacted: dict[str, Any] = self._redact_node(config, (), self._learn_config_secret_kind)
        return redacted

    def _redact_node(
        self, node: Any, path: FactPath, hidden_kind: Callable[[FactPath, str], str | None]
    ) -> Any:
        if isinstance(node, Mapping):
            return {
                self._redact_until_stable(str(key)): self._redact_node(
                    value, (*path, str(key)), hidden_kind
                )
                for key, value in node.items()
            }
        if isinstance(node, list):
            self._replace_secret_shapes(json.dumps(node))  # learns from the options of a command
            return [self._redact_node(v, (*path, str(n)), hidden_kind) for n, v in enumerate(node)]
        if node is None or isinstance(node, bool) or node == "":
            return node
        text = str(node).strip()
        if kind := hidden_kind(path, text):
            return self._get_placeholder(kind, text)
        return self._redact_until_stable(node) if isinstance(node, str) else node

    def _learn_fact_value(self, path: FactPath, value: str) -> str | None:
        """Return the kind of a value that isn't shown, and learn from it."""
        is_label = path[:3] == ("docker", "swarm", "nodes") and path[-2:-1] == ("labels",)
        if path[:-1] == ("env",) or path[-2:-1] == ("environment",) or is_label:
            return self.learn_variable(path[-1], value)
        if path == ("host", "hostname"):
            return "host"
        keys = (
            SECRET_PLACEHOLDER_PATTERN.sub("", key)
            for key in path
            if key.lower() not in self._public_keys
        )
        kind = next(filter(None, map(find_secret_kind_of_name, keys)), None)
        if kind:
            self.add_secret(kind, value)
        return kind

    def _learn_config_secret_kind(self, path: FactPath, value: str) -> str | None:
        """Return the kind of a value that isn't at a harmless place, and learn from it."""
        if path[-2:-1] == ("environment",):
            return self.learn_variable(path[-1], value)
        if not _KEYS_WITH_HOST_NAMES.isdisjoint(path[2:4]):
            self.add_name("host", re.split("[=:]", value)[0])
            return "host"
        has_credentials = path[-1] == "image" and "@" in value.replace("@sha256:", "")
        if _read_unredacted_paths_pattern().fullmatch("/".join(path)) and not has_credentials:
            return None
        self._replace_secret_shapes(value)  # learns from a command, or the content of a config
        return self.learn_variable(path[-1], value)

    # --- finished files ---------------------------------------------------------------------------

    def find_remaining_secrets(self, name: str, data: bytes) -> list[str]:
        """Return a line for each place of a finished file that isn't clean, without the secret.

        It isn't clean where redaction would change it. Of JSON each string counts by itself, as a
        key and its colon aren't an assignment; of HTML only distinctive shapes count. Names count
        in logs alone: elsewhere a user's name may be a key or an element.
        """
        self._compile_patterns()
        text = data.decode("utf-8", "replace")
        if name.endswith(".json"):
            tree = json.loads(text)
            text = json.dumps(tree, indent=2)
            redacted = json.dumps(_map_strings(tree, self._redact_except_names), indent=2)
        elif name.endswith(".html"):
            text = html.unescape(text)
            shapes = [shape for shape in SECRET_SHAPES if shape.distinctive]
            redacted = self._redact_except_names(text, shapes)
        else:
            redacted = self._redact_once(text)
        lines = zip(text.split("\n"), redacted.split("\n"), strict=False)
        return [
            f"{name}:{number} holds a secret"
            for number, (line, redacted_line) in enumerate(lines, 1)
            if line != redacted_line
        ]


def _map_strings(node: Any, change: Callable[[str], str]) -> Any:
    if isinstance(node, str):
        return change(node)
    if isinstance(node, Mapping):
        return {_map_strings(k, change): _map_strings(value, change) for k, value in node.items()}
    if fields := getattr(node, "_fields", None):  # a named tuple
        texts = {
            name: getattr(node, name)
            for name in fields
            if name not in _REPORT_FIELDS_WITHOUT_SECRETS
        }
        return node._replace(**{f: _map_strings(value, change) for f, value in texts.items()})
    if isinstance(node, list | tuple):
        return type(node)(_map_strings(inner, change) for inner in node)
    return node


def _is_fully_redacted(value: str) -> bool:
    """Whether nothing is left of a value but placeholders and punctuation."""
    rest, count = SECRET_PLACEHOLDER_PATTERN.subn("", value)
    return count > 0 and not any(map(str.isalnum, rest))


@cache
def _read_unredacted_paths_pattern() -> re.Pattern[str]:
    text = Path(__file__).with_name("shown_places.txt").read_text("utf-8").split("\n\n")[1]
    pattern = "|".join(text.split()).replace("/**", "(?:/.*)?").replace("/*", "/[^/]+")
    return re.compile(pattern)


def _list_encoded_spellings(value: str) -> Iterator[str]:
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


def _join_alternatives(texts: Iterable[str]) -> str:
    """Return a pattern for many texts, longest first, that tries few of them at each character."""
    by_start: dict[str, list[str]] = {}
    for text in sorted(texts, key=len, reverse=True):
        by_start.setdefault(text[0], []).append(re.escape(text[1:]))
    branches = (f"{re.escape(start)}(?:{'|'.join(rest)})" for start, rest in by_start.items())
    return "|".join(branches) or r"(?!)"
