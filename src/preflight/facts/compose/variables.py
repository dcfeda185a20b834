"""Variables: `${NAME:-default}` in compose files, and the grammar of `.env` and other env files.

Source: compose-spec/compose-go, template and dotenv.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache

from preflight.facts.compose.load import Bounds
from preflight.facts.compose.project import ComposeError

_MAX_DEPTH = 20  # levels of defaults within defaults
_MAX_CHARACTERS = 2**20  # of a value, and of an env file
_MAX_TOTAL = 2**25  # characters of all values together
_VARIABLE = re.compile(r"\$(?:\$|\{|(?P<name>[A-Za-z_][A-Za-z0-9_]*))")
_BRACES_CONTENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)?(?:(:?[-?+])([^\n]*))?")
_BRACE = re.compile(r"\$\{|\}")
_SPACE = " \t\v\f\r\x85\xa0"
_STATEMENT = re.compile(
    r"(?:\s|\#[^\n]*)*(?:export[ \t]+)?(?P<name>[^=:\n]*)"
    rf"(?:[=:][{_SPACE}]*"
    r"(?:(?P<quote>['\"])(?P<quoted>(?:\\.|(?!(?P=quote))[^\\])*)(?P=quote)|(?P<rest>[^\n]*)))?",
    re.DOTALL,
)
_VARIABLE_NAME = re.compile(r"[\w.\[\]-]+")
_ESCAPE = re.compile(r'\\([abfnrtv$"\\]|0[0-7]{0,3})')
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "$": "$$"}

Lookup = Callable[[str], "str | None"]


class TemplateError(Exception):
    """A text with an invalid variable, such as `${A`; it may hold secrets and isn't quoted."""


class Variables:
    """Puts the values of variables into texts, and notes those that have none."""

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
    def fallback_to(self, values: Mapping[str, str | None]) -> Iterator[None]:
        """Use these values for variables that have no other."""
        self.lookups.append(values.get)
        try:
            yield
        finally:
            self.lookups.pop()

    def substitute(self, text: str, depth: int = 0) -> str:
        """Return the text with its variables replaced; raises TemplateError."""
        if depth > _MAX_DEPTH:
            raise TemplateError("variables are nested too deep")
        parts, position = [], 0
        while match := _VARIABLE.search(text, position):
            parts.append(text[position : match.start()])
            position = match.end()
            if match[0] == "$$":
                parts.append("$")
            elif match["name"]:
                parts.append(self._find_value(match["name"]))
            else:
                end = _find_closing_brace(text, position)
                parts.append(self._expand_braces(text[position:end], depth))
                position = end + 1
        result = "".join((*parts, text[position:]))
        self._characters += len(result)
        if len(result) > _MAX_CHARACTERS or self._characters > _MAX_TOTAL:
            raise TemplateError("it grows too long")
        return result

    def _expand_braces(self, content: str, depth: int) -> str:
        match = _BRACES_CONTENT.match(content)
        assert match is not None  # it matches anything
        name, operator, argument = match.groups()
        if name is None or match.end() < len(content):
            raise _invalid_template(name or "")
        if operator is None:
            return self._find_value(name)
        argument = self.substitute(argument, depth + 1)
        value = self.lookup(name)
        is_set = bool(value) if operator.startswith(":") else value is not None
        if operator.endswith("+"):
            return argument if is_set else ""
        if not is_set and operator.endswith("?"):
            self.missing.setdefault(name, argument)
            return ""
        return value or "" if is_set else argument

    def _find_value(self, name: str) -> str:
        value = self.lookup(name)
        if value is None:
            self.unset.setdefault(name)
        return value or ""


def _find_closing_brace(text: str, start: int) -> int:
    depth = 1
    for match in _BRACE.finditer(text, start):
        depth += 1 if match[0] == "${" else -1
        if depth == 0:
            return match.start()
    raise _invalid_template("")


def _invalid_template(name: str) -> TemplateError:
    wanted = "expected ${NAME} or ${NAME:-default}; a dollar sign is written $$"
    return TemplateError(f"'${{{name}': {wanted}")


def project_variables(folder: str, environ: Mapping[str, str], bounds: Bounds) -> Variables:
    """Return the variables of a project; `.env` is read once one isn't in the environment."""
    own = {"PWD": os.getcwd(), **environ}.get  # Compose sets PWD by itself
    inner = Variables(own)
    dotenv = cache(lambda: _read_dotenv(folder, environ, bounds, inner))
    variables = Variables(own, lambda name: dotenv().get(name))
    variables.unset, variables.missing = inner.unset, inner.missing
    return variables


def _read_dotenv(
    folder: str, environ: Mapping[str, str], bounds: Bounds, variables: Variables
) -> dict[str, str]:
    """Return the variables of the folder's `.env`, or of COMPOSE_ENV_FILES; raises ComposeError."""
    named = [file for file in environ.get("COMPOSE_ENV_FILES", "").split(",") if file.strip()]
    disabled = environ.get("COMPOSE_DISABLE_ENV_FILE", "").lower() in ("1", "t", "true")
    default = os.path.join(folder, ".env")
    if not named and not disabled and os.path.isfile(default):
        bounds.require(default)
        named = [default]
    values: dict[str, str] = {}
    for path in named:
        read_env_file(path, values, variables)
    return values


def read_env_file(path: str, values: dict[str, str], variables: Variables) -> dict[str, int]:
    """Add an env file's variables to `values`; returns the lines of them. Raises ComposeError.

    `variables` has precedence in templates.
    """
    text = _read_text(path)
    lines: dict[str, int] = {}
    line, counted, end = 1, 0, 0
    with variables.fallback_to(values):
        while (match := _STATEMENT.match(text, end)) and match.start("name") < len(text):
            start, end = match.start("name"), match.end()
            line, counted = line + text.count("\n", counted, start), start
            name = match["name"].strip()
            if not _VARIABLE_NAME.fullmatch(name):
                raise ComposeError("invalid name of a variable: expected NAME=value", path, line, 1)
            try:
                value = _parse_value(match, variables)
            except TemplateError as error:
                raise ComposeError(f"{name}: {error}", path, line, 1) from None
            if value is not None:
                values[name], lines[name] = value, line
    return lines


def _read_text(path: str) -> str:
    if path == os.devnull:
        return ""
    if not os.path.isfile(path):  # a pipe would be waited for
        raise ComposeError("it can't be read: not a file", path)
    try:
        with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
            text = file.read(_MAX_CHARACTERS + 1)  # Compose passes on what isn't UTF-8
    except OSError as error:
        raise ComposeError(f"it can't be read: {error.strerror}", path) from None
    if len(text) > _MAX_CHARACTERS:
        raise ComposeError("it is too large for an env file", path)
    return text


def _parse_value(statement: re.Match[str], variables: Variables) -> str | None:
    """Return the value of a statement; a name alone takes that of the environment."""
    if statement["quote"] == "'":
        return statement["quoted"].replace("\\'", "'")
    if statement["quote"]:
        return variables.substitute(_ESCAPE.sub(_unescape, statement["quoted"]))
    if statement["rest"] is None:
        return variables.lookup(statement["name"].strip())
    if statement["rest"].startswith(("'", '"')):
        raise TemplateError("the quotation mark is not closed")
    return variables.substitute(statement["rest"].partition(" #")[0].strip(_SPACE))


def _unescape(match: re.Match[str]) -> str:
    text = match[1]
    return chr(int(text, 8) & 0xFF) if text.startswith("0") else _ESCAPES.get(text, text)
