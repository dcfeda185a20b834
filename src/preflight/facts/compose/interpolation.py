"""Variables: the `.env` file's own grammar, and `${NAME:-default}` in the compose files.

Source: compose-spec/compose-go, dotenv and template.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping

from preflight.facts.compose.bounds import Bounds
from preflight.facts.compose.project import ComposeError

Lookup = Callable[[str], "str | None"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")
_DEEPEST = 20  # of defaults within defaults
_LARGEST = 2**20  # characters that a value may grow to
_LARGEST_SUM = 2**25  # and all values together
_ESCAPE = re.compile(r'\\(?:[abcfnrtv$"\\]|0[0-7]{0,3})')
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_SPACE = " \t\v\f\r\x85\xa0"


class Template(Exception):
    """A text that is no template, such as `${A`; the rest may be secret, and isn't told."""


class Told:
    """What came up while variables were put in."""

    def __init__(self) -> None:
        self.missing: dict[str, str] = {}
        self.unset: dict[str, None] = {}
        self.lacking = 0  # how often a required variable had no value
        self.length = 0  # of all texts that came out


class Variables:
    """What variables stand for."""

    def __init__(self, lookup: Lookup, told: Told | None = None) -> None:
        self.lookup = lookup
        self.told = told or Told()

    def inside(self, lookup: Lookup) -> Variables:
        """Return the variables of another scope; what comes up is told here too."""
        return Variables(lookup, self.told)

    def substitute(self, text: str, depth: int = 0) -> str:
        """Put in the values; raises Template."""
        if depth > _DEEPEST:
            raise Template("variables within variables go too deep")
        parts, position = [], 0
        while (dollar := text.find("$", position)) >= 0:
            parts.append(text[position:dollar])
            value, position = self._one(text, dollar + 1, depth)
            parts.append(value)
        parts.append(text[position:])
        result = "".join(parts)
        self.told.length += len(result)
        if len(result) > _LARGEST or self.told.length > _LARGEST_SUM:
            raise Template("it grows too long")
        return result

    def _one(self, text: str, start: int, depth: int) -> tuple[str, int]:
        """Return what a dollar sign stands for, and where the text goes on after it."""
        if text.startswith("$", start):
            return "$", start + 1
        if text.startswith("{", start):
            return self._braced(text, start + 1, depth)
        match = _NAME.match(text, start)
        if match is None:
            return "$", start
        return self._value(match[0]), match.end()

    def _braced(self, text: str, start: int, depth: int) -> tuple[str, int]:
        match, end = _NAME.match(text, start), _closing(text, start)
        name = match[0] if match else ""
        begins = f"'${{{name:.60}'"
        if match is None or end < 0 or "\n" in text[start:end]:
            looks = "${NAME} or ${NAME:-default}"
            raise Template(f"{begins}: expected {looks}; a dollar sign is written $$")
        rest = text[match.end() : end]
        if not rest:
            return self._value(name), end + 1
        operator = _OPERATOR.match(rest)
        if operator is None:
            operators = ":-, -, :?, ?, :+ or +"
            raise Template(f"{begins}: expected {operators} next; a dollar sign is written $$")
        argument = self.substitute(rest[operator.end() :], depth + 1)
        return self._chosen(name, operator[0], argument), end + 1

    def _chosen(self, name: str, operator: str, argument: str) -> str:
        value = self.lookup(name)
        given = bool(value) if operator.startswith(":") else value is not None
        if operator.endswith("+"):
            return argument if given else ""
        if given:
            return value or ""
        if operator.endswith("?"):
            self.told.missing.setdefault(name, argument)
            self.told.lacking += 1
            return ""
        return argument

    def _value(self, name: str) -> str:
        value = self.lookup(name)
        if value is None:
            self.told.unset.setdefault(name)
        return value or ""


def _closing(text: str, start: int) -> int:
    """Return where the brace closes that was opened before `start`, -1 where it does not."""
    depth = 1
    for index in range(start, len(text)):
        if text[index] == "}":
            depth -= 1
            if depth == 0:
                return index
        elif text.startswith("${", index):
            depth += 1
    return -1


def dotenv(
    folder: str,
    environ: Mapping[str, str],
    bounds: Bounds | None = None,
    told: Told | None = None,
) -> dict[str, str]:
    """Return the variables of the folder's `.env`, or of COMPOSE_ENV_FILES; raises ComposeError."""
    named = [file for file in environ.get("COMPOSE_ENV_FILES", "").split(",") if file.strip()]
    disabled = environ.get("COMPOSE_DISABLE_ENV_FILE", "").lower() in ("1", "t", "true")
    default = os.path.join(folder, ".env")
    if not named and (disabled or not os.path.isfile(default)):
        return {}
    if bounds and not named:
        bounds.require(default)
    return env_files(named or [default], environ.get, told)


def env_files(paths: list[str], lookup: Lookup, told: Told | None = None) -> dict[str, str]:
    """Return the variables of env files, of which later ones win; raises ComposeError."""
    values: dict[str, str] = {}
    for path in paths:
        variables = Variables(lookup)
        read_env_file(path, values, variables)
        if told is not None:
            told.unset.update(variables.told.unset)
        for name, message in variables.told.missing.items():
            said = f": {message}" if message else ""
            raise ComposeError(f"required variable {name} is missing a value{said}", path)
    return values


def read_env_file(
    path: str, values: dict[str, str], outer: Variables, raw: bool = False
) -> dict[str, int]:
    """Add an env file's variables to `values`; returns the lines of them. Raises ComposeError.

    A variable of `outer` has precedence within its templates, and what has no value is noted there.
    """
    if path == os.devnull:
        return {}
    if not os.path.isfile(path):  # a pipe would be waited for
        raise ComposeError("it can't be read: it is no file", path)
    try:
        with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
            text = file.read(_LARGEST + 1)  # Compose passes on what is no UTF-8
    except OSError as error:
        raise ComposeError(f"it can't be read: {error.strerror}", path) from None
    if len(text) > _LARGEST:
        raise ComposeError("it is too large for an env file", path)
    return _EnvFile(path, text, values, outer).read(raw)


class _EnvFile:
    """A reading of an env file: where it stands, and the variables so far."""

    def __init__(self, path: str, text: str, values: dict[str, str], outer: Variables) -> None:
        self.path, self.text, self.at = path, text, 0
        self.values, self.lookup = values, outer.lookup
        self.variables = outer.inside(self._look)

    def _look(self, name: str) -> str | None:
        outer = self.lookup(name)
        return self.values.get(name) if outer is None else outer

    def fault(self, message: str, at: int) -> ComposeError:
        """Return the error for a place of the text."""
        column = at - self.text.rfind("\n", 0, at)
        return ComposeError(message, self.path, self.line(at), column)

    def line(self, at: int) -> int:
        """Return the number of the line of a place."""
        return self.text.count("\n", 0, at) + 1

    def read(self, raw: bool) -> dict[str, int]:
        """Read the file, its values as they stand where it is `raw`."""
        lines = {}
        while self._skip():
            start = self.at
            key, inherited = self._key()
            try:
                value = self.lookup(key) if inherited else self._line() if raw else self._value()
            except Template as fault:
                raise self.fault(f"{key}: {fault}", start) from None
            if value is not None:
                self.values[key], lines[key] = value, self.line(start)
        return lines

    def _skip(self) -> bool:
        """Go on to the next statement; False where there is none."""
        text = self.text
        while self.at < len(text):
            if text[self.at] == "#":
                end = text.find("\n", self.at)
                self.at = len(text) if end < 0 else end
            elif not text[self.at].isspace():
                return True
            self.at += 1
        return False

    def _key(self) -> tuple[str, bool]:
        """Return a name, and whether it stands alone."""
        exported = re.compile(r"export[ \t]+").match(self.text, self.at)
        start = exported.end() if exported else self.at
        end = start
        while end < len(self.text) and self.text[end] not in "=:\n":
            one = self.text[end]
            if not (one.isalnum() or one in "_.-[]" or one in _SPACE):
                raise self.fault(f"unexpected character {one!r} in the name of a variable", end)
            end += 1
        key = self.text[start:end].strip()
        if " " in key:
            raise self.fault("the name of a variable has a space: expected NAME=value", start)
        self.at = end + 1
        return key, end >= len(self.text) or self.text[end] == "\n"

    def _line(self) -> str:
        end = self.text.find("\n", self.at)
        end = len(self.text) if end < 0 else end
        value, self.at = self.text[self.at : end], end + 1
        return value.strip(_SPACE)

    def _value(self) -> str:
        while self.text[self.at : self.at + 1] and self.text[self.at] in _SPACE:
            self.at += 1
        quote = self.text[self.at : self.at + 1]
        if quote not in ("'", '"') or not quote:
            return self.variables.substitute(self._line().partition(" #")[0].rstrip())
        match = re.compile(rf"{quote}((?:\\.|[^\\{quote}])*){quote}", re.DOTALL).match(
            self.text, self.at
        )
        if match is None:
            raise self.fault("the quotation mark is not closed", self.at)
        self.at = match.end()
        if quote == "'":
            return match[1].replace("\\'", "'")
        return self.variables.substitute(_ESCAPE.sub(_unescaped, match[1]))


def _unescaped(match: re.Match[str]) -> str:
    text = match[0][1:]
    if text == "$":
        return "$$"  # which the substitution turns into one
    if text.startswith("0"):
        return chr(int(text, 8) & 0xFF)
    return _ESCAPES.get(text, match[0] if text == "c" else text)
