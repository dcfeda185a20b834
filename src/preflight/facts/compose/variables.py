"""Variables: `${NAME:-default}` in compose files, and the grammar of `.env` and other env files.

Source: compose-spec/compose-go, template and dotenv.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache

from preflight.facts.compose.files import Bounds
from preflight.facts.compose.project import ComposeError

Lookup = Callable[[str], "str | None"]

_MAX_DEPTH = 20  # levels of defaults within defaults
_MAX_CHARACTERS = 2**20  # of a value, and of an env file
_MAX_TOTAL = 2**25  # characters of all values together
_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<plain>[A-Za-z_][A-Za-z0-9_]*)"
    r"|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)?(?P<operator>:?[-?+])?)"
)
_SPACE = " \t\v\f\r\x85\xa0"
_BETWEEN = re.compile(r"(?:\s|#[^\n]*)*")
_LINE = re.compile(r"[^\n]*")
_KEY = re.compile(r"(?:export[ \t]+)?([^=:\n]*)(?:([=:])|\n|\Z)")
_QUOTED = re.compile(rf"[{_SPACE}]*(['\"])((?:\\.|(?!\1)[^\\])*)\1", re.DOTALL)
_ESCAPE = re.compile(r'\\([abfnrtv$"\\]|0[0-7]{0,3})')
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class TemplateError(Exception):
    """A text with an invalid variable, such as `${A`; it may hold secrets and isn't quoted."""


class Variables:
    """Puts the values of variables into texts, and notes those that have none."""

    def __init__(self, lookup: Lookup, unset: dict[str, None] | None = None) -> None:
        self.lookup = lookup
        self.missing: dict[str, str] = {}  # required ones without a value, and their message
        self.unset = {} if unset is None else unset
        self._characters = 0

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
                parts.append(self._value(match["plain"]))
            else:
                end = _closing_brace(text, position)
                argument = text[position:end]
                parts.append(self._braced(match, argument if end >= 0 else "\n", depth))
                position = end + 1
        result = "".join((*parts, text[position:]))
        self._characters += len(result)
        if len(result) > _MAX_CHARACTERS or self._characters > _MAX_TOTAL:
            raise TemplateError("it grows too long")
        return result

    def _braced(self, match: re.Match[str], argument: str, depth: int) -> str:
        name, operator = match["name"], match["operator"]
        if name is None or "\n" in argument or (argument and not operator):
            raise TemplateError(
                f"'${{{name or ''}': expected ${{NAME}} or ${{NAME:-default}}; "
                "a dollar sign is written $$"
            )
        if operator is None:
            return self._value(name)
        argument = self.substitute(argument, depth + 1)
        value = self.lookup(name)
        is_set = bool(value) if operator.startswith(":") else value is not None
        if operator.endswith("+"):
            return argument if is_set else ""
        if not is_set and operator.endswith("?"):
            self.missing.setdefault(name, argument)
            return ""
        return value or "" if is_set else argument

    def _value(self, name: str) -> str:
        value = self.lookup(name)
        if value is None:
            self.unset.setdefault(name)
        return value or ""


def _closing_brace(text: str, start: int) -> int:
    """Return where the brace closes that was opened before `start`, -1 where it does not."""
    depth = 1
    for match in re.compile(r"\$\{|\}").finditer(text, start):
        depth += 1 if match[0] == "${" else -1
        if depth == 0:
            return match.start()
    return -1


def project_lookup(
    folder: str, environ: Mapping[str, str], bounds: Bounds, unset: dict[str, None]
) -> Lookup:
    """Return the lookup of a project's variables; `.env` is read once one is missing elsewhere.

    Variables without a value that `.env` itself uses are added to `unset`.
    """
    pwd = environ.get("PWD", "")
    if not os.path.isabs(pwd) or os.path.realpath(pwd) != os.getcwd():
        pwd = os.getcwd()
    own = {**environ, "PWD": pwd}  # Compose sets it by itself
    return chain_lookup(own.get, lambda: read_dotenv(folder, environ, bounds, unset))


def chain_lookup(first: Lookup, read: Callable[[], Mapping[str, str]]) -> Lookup:
    """Return a lookup that asks `first`, then what `read` returns; that runs once at most."""
    values = cache(read)

    def lookup(name: str) -> str | None:
        value = first(name)
        return values().get(name) if value is None else value

    return lookup


def read_dotenv(
    folder: str, environ: Mapping[str, str], bounds: Bounds, unset: dict[str, None] | None = None
) -> dict[str, str]:
    """Return the variables of the folder's `.env`, or of COMPOSE_ENV_FILES; raises ComposeError."""
    named = [file for file in environ.get("COMPOSE_ENV_FILES", "").split(",") if file.strip()]
    disabled = environ.get("COMPOSE_DISABLE_ENV_FILE", "").lower() in ("1", "t", "true")
    default = os.path.join(folder, ".env")
    if not named and (disabled or not os.path.isfile(default)):
        return {}
    if not named:
        bounds.require(default)
    return read_env_files(named or [default], environ.get, unset)


def read_env_files(
    paths: Sequence[str], lookup: Lookup, unset: dict[str, None] | None = None
) -> dict[str, str]:
    """Return the variables of env files, of which later ones win; raises ComposeError."""
    values: dict[str, str] = {}
    for path in paths:
        variables = Variables(lookup, unset)
        read_env_file(path, values, variables)
        for name, message in variables.missing.items():
            reason = f": {message}" if message else ""
            raise ComposeError(f"required variable {name} is missing a value{reason}", path)
    return values


def read_env_file(
    path: str, values: dict[str, str], variables: Variables, raw: bool = False
) -> dict[str, int]:
    """Add an env file's variables to `values`; returns the lines of them. Raises ComposeError.

    `variables` has precedence in templates, and notes what has no value. `raw` values are taken
    as they are written.
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
    inherited = variables.lookup
    variables.lookup = chain_lookup(inherited, lambda: values)
    lines: dict[str, int] = {}
    line, counted, at = 1, 0, 0
    while (begin := _end_of(_BETWEEN, text, at)) < len(text):
        line, counted = line + text.count("\n", counted, begin), begin
        key = _KEY.match(text, begin)
        if key is None or not re.fullmatch(r"[\w.\[\]-]+", key[1].strip()):
            raise ComposeError("invalid name of a variable: expected NAME=value", path, line, 1)
        name, at = key[1].strip(), key.end()
        try:
            value, at = _value(text, at, variables, raw) if key[2] else (inherited(name), at)
        except TemplateError as error:
            raise ComposeError(f"{name}: {error}", path, line, 1) from None
        if value is not None:
            values[name], lines[name] = value, line
    variables.lookup = inherited
    return lines


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _value(text: str, at: int, variables: Variables, raw: bool) -> tuple[str, int]:
    """Return the value that begins at a position of an env file, and where it ends."""
    quoted = None if raw else _QUOTED.match(text, at)
    if quoted is not None:
        if quoted[1] == "'":
            return quoted[2].replace("\\'", "'"), quoted.end()
        return variables.substitute(_ESCAPE.sub(_unescape, quoted[2])), quoted.end()
    end = _end_of(_LINE, text, at)
    value = text[at:end].strip(_SPACE)
    if raw:
        return value, end
    if value.startswith(("'", '"')):
        raise TemplateError("the quotation mark is not closed")
    return variables.substitute(value.partition(" #")[0].rstrip()), end


def _unescape(match: re.Match[str]) -> str:
    text = match[1]
    if text == "$":
        return "$$"  # which the substitution turns into one
    return chr(int(text, 8) & 0xFF) if text.startswith("0") else _ESCAPES.get(text, text)
