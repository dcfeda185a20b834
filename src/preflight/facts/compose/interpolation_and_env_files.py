"""Variables: `${NAME:-default}` in compose files, and the grammar of `.env` and other env files.

Follows compose-spec/compose-go, template and dotenv, to the letter: the guard must come to the
paths that Compose comes to.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from preflight.facts.compose.load import read_bytes
from preflight.facts.compose.project import ComposeError

_MAX_NESTED_DEFAULTS = 20  # levels of defaults within defaults
_MAX_ENV_VALUE_CHARS = 2**20  # of a value, and of an env file
_MAX_MESSAGE_CHARS = 4000
_MAX_EXPANDED_CHARS = 2**25  # characters of all values together
_COMPOSE_VARIABLE_NAME_PATTERN = (
    "[A-Za-z_\u017f\u212a][A-Za-z0-9_\u017f\u212a]*"  # Go folds the case of ſ and K too
)
_SUBSTITUTION_START_PATTERN = rf"\$(?:\$|\{{|(?P<name>{_COMPOSE_VARIABLE_NAME_PATTERN}))"
_SUBSTITUTION_IN_BRACES_PATTERN = rf"({_COMPOSE_VARIABLE_NAME_PATTERN})(?:(:?[-?+])([^\n]*))?"
_SINGLE_BRACE_PATTERN = re.compile(r"\{.?|\}", re.DOTALL)
_ENV_BLANK_CHARS = " \t\v\f\r\x85\xa0"
_UNICODE_SPACES = "".join(map(chr, range(0x2000, 0x200B)))
_WHITESPACE_CHARS = f"{_ENV_BLANK_CHARS}\n\u1680\u2028\u2029\u202f\u205f\u3000{_UNICODE_SPACES}"
_ENV_STATEMENT_PATTERN = (
    rf"(?s)(?:[{_WHITESPACE_CHARS}]|\#[^\n]*)*(?:export[ \t\f\r]+)?(?P<name>[^=:\n]*)"
    rf"(?:[=:][{_ENV_BLANK_CHARS}]*"
    r"(?:(?P<quote>['\"])(?P<quoted>(?:\\.|(?!(?P=quote))[^\\])*)(?P=quote)|(?P<rest>[^\n]*)))?"
)
_ENV_FILE_VARIABLE_NAME_PATTERN = r"[\w.\[\]-]+"
_HIDEABLE_WORD_PATTERN = r"\w{4,}|\w[\w.+-]{3,}"
_HARMLESS_VALUE_PATTERN = r"(?s)(?i:.{0,2}|[0-9]{1,5}|true|false|yes|no|on|off|none|null)"
# of which what Compose says is made, so that they reveal no value
_WORDS_IN_COMPOSE_MESSAGES = (
    "Docker Compose rejects refuses: service has neither an image nor a build context specified, "
    "invalid compose project, refers to undefined network volume secret config, depends on, "
    "dependency cycle detected, declares mutually exclusive, additional properties not allowed, "
    "validating, must be a string, failed to parse, required variable is missing a value, services,"
    " empty file, expected mapping list, invalid type format, unexpected"
)
_BACKSLASH_ESCAPE_PATTERN = r'\\([abfnrtv$"\\]|0[0-9]{0,3})'
_CHARACTER_BY_ESCAPE = {**dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True)), "$": "$$"}

Lookup = Callable[[str], "str | None"]


class ComposeInterpolator:
    """Puts the values of variables into texts, and notes those that have none.

    ValueError is raised for an invalid template; its message quotes nothing, as it may be secret.
    """

    def __init__(self, *lookups: Lookup) -> None:
        self.lookups = list(lookups)  # the first that has a value decides
        self.missing: dict[str, str] = {}  # required ones without a value, and their message
        self.unset: dict[str, None] = {}
        self._characters = 0

    def lookup(self, name: str) -> str | None:
        """Return the value of a variable."""
        values = (lookup(name) for lookup in self.lookups)
        return next((value for value in values if value is not None), None)

    @contextmanager
    def with_fallback_values(self, values: Mapping[str, str | None]) -> Iterator[None]:
        """Use these values for variables that have no other."""
        self.lookups.append(values.get)
        try:
            yield
        finally:
            self.lookups.pop()

    def substitute(self, text: str, depth: int = 0) -> str:
        """Return the text with its variables replaced; raises ValueError."""
        if depth > _MAX_NESTED_DEFAULTS:
            raise ValueError("variables are nested too deeply")
        parts, position = [], 0
        while "$" in text and (
            match := re.compile(_SUBSTITUTION_START_PATTERN).search(text, position)
        ):
            parts.append(text[position : match.start()])
            position = match.end()
            if match[0] == "$$":
                parts.append("$")
            elif match["name"]:
                parts.append(self._get_value_or_empty(match["name"]))
            else:
                end = _find_closing_brace(text, match.start() + 1)
                parts.append(self._expand_braces(text[position:end], depth))
                position = end + 1
        result = "".join((*parts, text[position:]))
        self._characters += len(result)
        if len(result) > _MAX_ENV_VALUE_CHARS or self._characters > _MAX_EXPANDED_CHARS:
            raise ValueError("the value is too long after substitution")
        return result

    def _expand_braces(self, content: str, depth: int) -> str:
        match = re.fullmatch(_SUBSTITUTION_IN_BRACES_PATTERN, content)
        if match is None:
            raise _make_invalid_template_error(content)
        name, operator, argument = match.groups()
        if operator is None:
            return self._get_value_or_empty(name)
        argument = self.substitute(argument, depth + 1)
        value = self.lookup(name)
        is_set = bool(value) if operator.startswith(":") else value is not None
        if operator.endswith("+"):
            return argument if is_set else ""
        if not is_set and operator.endswith("?"):
            self.missing.setdefault(name, argument)
            return ""
        return value or "" if is_set else argument

    def _get_value_or_empty(self, name: str) -> str:
        value = self.lookup(name)
        if value is None:
            self.unset.setdefault(name)
        return value or ""


def _find_closing_brace(text: str, start: int) -> int:
    depth = 0
    for match in _SINGLE_BRACE_PATTERN.finditer(text, start):
        depth += -1 if match[0] == "}" else 1
        if depth == 0:
            return match.start()
    raise _make_invalid_template_error("")


def _make_invalid_template_error(content: str) -> ValueError:
    match = re.match(_COMPOSE_VARIABLE_NAME_PATTERN, content)
    wanted = "expected ${NAME} or ${NAME:-default}; a dollar sign is written $$"
    return ValueError(f"'${{{match[0] if match else ''}': {wanted}")


def read_project_variables(
    env_files: Iterable[str], environ: Mapping[str, str]
) -> ComposeInterpolator:
    """Return the variables of a project: the environment's, then those of its env files."""
    variables, values = ComposeInterpolator(environ.get), dict[str, str]()
    for path in env_files:
        add_env_file_values(path, values, variables)
    variables.lookups.append(values.get)
    return variables


def add_env_file_values(
    path: str, values: dict[str, str], variables: ComposeInterpolator
) -> dict[str, int]:
    """Add an env file's variables to `values`; returns the lines of them. Raises ComposeError.

    `variables` has precedence in templates.
    """
    data = b"" if path == os.devnull else read_bytes(path, _MAX_ENV_VALUE_CHARS)
    if len(data) > _MAX_ENV_VALUE_CHARS:
        raise ComposeError(f"the env file is larger than {_MAX_ENV_VALUE_CHARS // 2**20} MiB", path)
    text = data.decode("utf-8-sig", "replace")  # Compose passes on what isn't UTF-8
    lines: dict[str, int] = {}
    line, counted, end = 1, 0, 0
    with variables.with_fallback_values(values):
        pattern = re.compile(_ENV_STATEMENT_PATTERN)
        while (match := pattern.match(text, end)) and match.start("name") < len(text):
            start, end = match.start("name"), match.end()
            line, counted = line + text.count("\n", counted, start), start
            name = match["name"].rstrip(_WHITESPACE_CHARS)
            if not re.fullmatch(_ENV_FILE_VARIABLE_NAME_PATTERN, name):
                raise ComposeError("invalid variable name: expected NAME=value", path, line, 1)
            try:
                value = _parse_env_value(name, match, variables)
            except ValueError as error:
                raise ComposeError(f"{name}: {error}", path, line, 1) from None
            if value is not None:
                values[name], lines[name] = value, line
    return lines


def _parse_env_value(
    name: str, statement: re.Match[str], variables: ComposeInterpolator
) -> str | None:
    """Return the value of a statement; a name alone takes that of the environment."""
    if statement["quote"] == "'":
        return statement["quoted"].replace("\\'", "'")
    if statement["quote"]:
        return variables.substitute(
            re.sub(_BACKSLASH_ESCAPE_PATTERN, _decode_escape_match, statement["quoted"])
        )
    if statement["rest"] is None:
        return variables.lookup(name)
    if statement["rest"].startswith(("'", '"')):
        raise ValueError("a quotation mark isn't closed")
    return variables.substitute(statement["rest"].partition(" #")[0].rstrip(_WHITESPACE_CHARS))


def _decode_escape_match(match: re.Match[str]) -> str:
    text = match[1]
    if re.fullmatch("0[0-3][0-7]{2}", text):  # Go leaves other numbers, but for the 0
        return chr(int(text, 8))
    return f"\\{text[1:]}" if text.startswith("0") else _CHARACTER_BY_ESCAPE.get(text, text)


def _list_quoted_spellings(value: str) -> set[str]:
    """Return a value as it stands, and as Go and Python write it in quotes."""
    chars = (c if c.isprintable() and c not in '"\\' else json.dumps(c)[1:-1] for c in value)
    return {value, "".join(chars), repr(value)[1:-1]}


def hide_variable_values_in_message(message: str, values: Mapping[str, str], known: str) -> str:
    """Return a message with `${NAME}` in place of the values, or parts of them.

    Paths, numbers below 100,000 and the like stay, and what stands in `known` anyway. A message is
    cut to what a report shows.
    """
    message, known = message[:_MAX_MESSAGE_CHARS], f"{known}\n{_WORDS_IN_COMPOSE_MESSAGES}"
    from preflight.model.secret_names import (
        find_secret_kind_of_name,  # a project in order needs none of it
    )

    hidden: dict[str, str] = {}
    spellings = (
        (name, spelling) for name in values for spelling in _list_quoted_spellings(values[name])
    )
    for name, value in spellings:
        is_path = os.path.isabs(value) and not find_secret_kind_of_name(name)
        longest = min(len(value), len(message))
        prefixes = (value[:length] for length in range(longest, 3, -1))
        cut = next((prefix for prefix in prefixes if prefix in message), value)
        parts = {
            value,
            cut,
            *(word for word in re.findall(_HIDEABLE_WORD_PATTERN, message) if word in value),
        }
        for part in parts if name not in ("PWD", "HOME") and not is_path else ():
            if (
                part in message
                and part not in known
                and not re.fullmatch(_HARMLESS_VALUE_PATTERN, part)
            ):
                hidden.setdefault(part, f"${{{name}}}")
    pattern = "|".join(map(re.escape, sorted(hidden, key=len, reverse=True)))  # longest first
    return re.sub(pattern, lambda match: hidden[match[0]], message) if hidden else message
