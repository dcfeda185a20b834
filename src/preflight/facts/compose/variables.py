"""Variables: `${NAME:-default}` in compose files, and the grammar of `.env` and other env files.

Source: compose-spec/compose-go, template and dotenv.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache

from preflight.facts.compose.files import Bounds
from preflight.facts.compose.project import ComposeError

_MAX_DEPTH = 20  # levels of defaults within defaults
_MAX_CHARACTERS = 2**20  # of a value, and of an env file
_MAX_TOTAL = 2**25  # characters of all values together
_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<plain>[A-Za-z_][A-Za-z0-9_]*)"
    r"|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)?(?P<operator>:?[-?+])?)"
)
_BRACE = re.compile(r"\$\{|\}")
_SPACE = " \t\v\f\r\x85\xa0"
_STATEMENT = re.compile(r"(?:\s|#[^\n]*)*(?:export[ \t]+)?([^=:\n]*)([=:])?")
_NAME = re.compile(r"[\w.\[\]-]+")
_VALUE = re.compile(
    rf"[{_SPACE}]*(?:(?P<quote>['\"])(?P<quoted>(?:\\.|(?!(?P=quote))[^\\])*)(?P=quote)"
    r"|(?P<rest>[^\n]*))",
    re.DOTALL,
)
_LINE = re.compile(r"(?P<rest>[^\n]*)")
_ESCAPE = re.compile(r'\\([abfnrtv$"\\]|0[0-7]{0,3})')
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "$": "$$"}


class TemplateError(Exception):
    """A text with an invalid variable, such as `${A`; it may hold secrets and isn't quoted."""


class Variables:
    """Puts the values of variables into texts, and notes those that have none."""

    def __init__(self, lookup: Callable[[str], str | None]) -> None:
        self.lookup = lookup
        self.missing: dict[str, str] = {}  # required ones without a value, and their message
        self.unset: dict[str, None] = {}
        self._characters = 0

    @contextmanager
    def fallback_to(self, read: Callable[[], Mapping[str, str | None]]) -> Iterator[None]:
        """Use what `read` returns for variables without a value; it runs once at most."""
        outer = self.lookup
        self.lookup = _with_fallback(outer, read)
        try:
            yield
        finally:
            self.lookup = outer

    def substitute(self, text: str, depth: int = 0) -> str:
        """Return the text with its variables replaced; raises TemplateError."""
        if depth > _MAX_DEPTH:
            raise TemplateError("variables are nested too deep")
        parts, position = [], 0
        while match := _VARIABLE.search(text, position):
            parts.append(text[position : match.start()])
            position = match.end()
            if match["escaped"]:
                parts.append("$")
            elif match["plain"]:
                parts.append(self._find_value(match["plain"]))
            else:
                end = _closing_brace(text, position)
                parts.append(self._expand_braces(match, text[position:end], depth))
                position = end + 1
        result = "".join((*parts, text[position:]))
        self._characters += len(result)
        if len(result) > _MAX_CHARACTERS or self._characters > _MAX_TOTAL:
            raise TemplateError("it grows too long")
        return result

    def _expand_braces(self, match: re.Match[str], argument: str, depth: int) -> str:
        name, operator = match["name"], match["operator"]
        if name is None or "\n" in argument or (argument and not operator):
            wanted = "expected ${NAME} or ${NAME:-default}; a dollar sign is written $$"
            raise TemplateError(f"'${{{name or ''}': {wanted}")
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


def _with_fallback(
    first: Callable[[str], str | None], read: Callable[[], Mapping[str, str | None]]
) -> Callable[[str], str | None]:
    values = cache(read)

    def lookup(name: str) -> str | None:
        value = first(name)
        return values().get(name) if value is None else value

    return lookup


def _closing_brace(text: str, start: int) -> int:
    """Return where the brace closes that was opened before `start`; raises TemplateError."""
    depth = 1
    for match in _BRACE.finditer(text, start):
        depth += 1 if match[0] == "${" else -1
        if depth == 0:
            return match.start()
    raise TemplateError("'${': expected ${NAME} or ${NAME:-default}; a dollar sign is written $$")


def project_variables(folder: str, environ: Mapping[str, str], bounds: Bounds) -> Variables:
    """Return the variables of a project; `.env` is read once one isn't in the environment."""
    variables = Variables({"PWD": os.getcwd(), **environ}.get)  # Compose sets PWD by itself
    inner = Variables(variables.lookup)
    inner.unset = variables.unset
    variables.lookup = _with_fallback(
        inner.lookup, lambda: read_dotenv(folder, environ, bounds, inner)
    )
    return variables


def read_dotenv(
    folder: str, environ: Mapping[str, str], bounds: Bounds, variables: Variables
) -> dict[str, str]:
    """Return the variables of the folder's `.env`, or of COMPOSE_ENV_FILES; raises ComposeError."""
    named = [file for file in environ.get("COMPOSE_ENV_FILES", "").split(",") if file.strip()]
    disabled = environ.get("COMPOSE_DISABLE_ENV_FILE", "").lower() in ("1", "t", "true")
    default = os.path.join(folder, ".env")
    if not named and (disabled or not os.path.isfile(default)):
        return {}
    if not named:
        bounds.require(default)
    return read_env_files(named or [default], variables)


def read_env_files(paths: Sequence[str], variables: Variables) -> dict[str, str]:
    """Return the variables of env files, of which later ones win; raises ComposeError."""
    values: dict[str, str] = {}
    for path in paths:
        read_env_file(path, values, variables)
        for name, message in variables.missing.items():
            reason = f": {message}" if message else ""
            raise ComposeError(f"required variable {name} is missing a value{reason}", path)
    return values


def read_env_file(
    path: str, values: dict[str, str], variables: Variables, raw: bool = False
) -> dict[str, int]:
    """Add an env file's variables to `values`; returns the lines of them. Raises ComposeError.

    `variables` has precedence in templates. `raw` values are taken as they are written.
    """
    if path == os.devnull:
        return {}
    if not os.path.isfile(path):  # a pipe would be waited for
        raise ComposeError("it can't be read: not a file", path)
    try:
        with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
            text = file.read(_MAX_CHARACTERS + 1)  # Compose passes on what isn't UTF-8
    except OSError as error:
        raise ComposeError(f"it can't be read: {error.strerror}", path) from None
    if len(text) > _MAX_CHARACTERS:
        raise ComposeError("it is too large for an env file", path)
    lines: dict[str, int] = {}
    inherited = variables.lookup
    line, counted, end = 1, 0, 0
    with variables.fallback_to(lambda: values):
        while match := _STATEMENT.match(text, end):
            line, counted = line + text.count("\n", counted, match.start(1)), match.start(1)
            name, end = match[1].strip(), match.end()
            if match.start(1) == len(text):
                break
            if not _NAME.fullmatch(name):
                raise ComposeError("invalid name of a variable: expected NAME=value", path, line, 1)
            value = inherited(name)
            if match[2]:
                written = (_LINE if raw else _VALUE).match(text, end)
                assert written is not None  # both match anything
                end = written.end()
                try:
                    value = (
                        written["rest"].strip(_SPACE) if raw else _decode_value(written, variables)
                    )
                except TemplateError as error:
                    raise ComposeError(f"{name}: {error}", path, line, 1) from None
            if value is not None:
                values[name], lines[name] = value, line
    return lines


def _decode_value(match: re.Match[str], variables: Variables) -> str:
    if match["quote"] == "'":
        return match["quoted"].replace("\\'", "'")
    if match["quote"]:
        return variables.substitute(_ESCAPE.sub(_unescape, match["quoted"]))
    if match["rest"].startswith(("'", '"')):
        raise TemplateError("the quotation mark is not closed")
    return variables.substitute(match["rest"].partition(" #")[0].strip(_SPACE))


def _unescape(match: re.Match[str]) -> str:
    text = match[1]
    return chr(int(text, 8) & 0xFF) if text.startswith("0") else _ESCAPES.get(text, text)
