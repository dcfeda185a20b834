"""Reads a Dockerfile as the builders do: lines, heredocs, instructions, stages.

Refuses what both builders refuse, in their words. Looks at no file. Source: moby/buildkit,
frontend/dockerfile/parser and instructions.
"""

import json
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import NamedTuple, TypeAlias

SyntaxVersion: TypeAlias = tuple[int, int]

MAX_DOCKERFILE_BYTES = 2**20
MIN_HEREDOC_SYNTAX_VERSION = (1, 4)  # of the Dockerfile syntax
_NEWEST_KNOWN_SYNTAX_VERSION = (1, 19)
_ARGUMENT_COUNT_MESSAGE_BY_INSTRUCTION = {
    **dict.fromkeys(("CMD", "ENTRYPOINT", "FROM", "RUN"), ""),
    **dict.fromkeys(("MAINTAINER", "STOPSIGNAL", "USER", "WORKDIR"), "exactly one argument"),
    **dict.fromkeys(("ARG", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL"), "at least one argument"),
    **dict.fromkeys(("ONBUILD", "SHELL", "VOLUME"), "at least one argument"),
    **dict.fromkeys(("ADD", "COPY"), "at least two arguments, but only one was provided"),
}
"""What an instruction requires, as the builders say it; FROM says more."""
_HEREDOC_INSTRUCTIONS = ("ADD", "COPY", "RUN")
_REFUSED_ONBUILD_TRIGGERS = {
    "ONBUILD": "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
    "FROM": "FROM isn't allowed as an ONBUILD trigger",
    "MAINTAINER": "MAINTAINER isn't allowed as an ONBUILD trigger",
}
_HEALTHCHECK_DURATION_FLAGS = ("interval", "timeout", "start-period", "start-interval")
_SYNTAX_VERSION_BY_COPY_FLAG: Mapping[str, SyntaxVersion] = {
    "chown": (1, 0), "from": (1, 0), "chmod": (1, 2), "link": (1, 4), "keep-git-dir": (1, 2),
    "checksum": (1, 4), "exclude": (1, 7), "parents": (1, 7), "unpack": (1, 2),
}  # fmt: skip
_SYNTAX_VERSION_BY_INSTRUCTION_FLAG: Mapping[str, Mapping[str, SyntaxVersion]] = {
    "ADD": _SYNTAX_VERSION_BY_COPY_FLAG,
    "COPY": _SYNTAX_VERSION_BY_COPY_FLAG,
    "FROM": {"platform": (1, 0)},
    "HEALTHCHECK": dict.fromkeys((*_HEALTHCHECK_DURATION_FLAGS, "retries"), (1, 0)),
    "RUN": {"mount": (1, 2), "network": (1, 3)},
}
"""By instruction its flags, and the version of the syntax that any builder knew them from."""
_RUN_MOUNT_TYPES = ("bind", "cache", "secret", "ssh", "tmpfs")
_GO_DURATION_PATTERN = r"[-+]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|[uµ]s|ms|s|m|h))+)"
_DURATION_BELOW_MILLISECOND_PATTERN = r"-.*[1-9].*|[1-9]\d{0,2}[uµ]s|[1-9]\d{0,5}ns"

_PARSER_DIRECTIVE_PATTERN = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+)")
_HEREDOC_PATTERN = re.compile(r"\d*<<(-?)([^<]+)")
_STAGE_NAME_PATTERN = re.compile("[a-z][a-z0-9-_.]*")
_WHITESPACE_PATTERN = re.compile(r"[\t\v\f\r ]+")
_INSTRUCTION_FLAG_PATTERN = re.compile(r"""(--(?:[^\s'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*")+)\s*""")
_SYNTAX_IMAGE_PATTERN = re.compile(r"(?:docker\.io/)?docker/dockerfile:1\.(\d+)(?:\.\d+)?")


class DockerfileError(ValueError):
    """Why the builders refuse a Dockerfile; lines count from 1.

    `is_instruction` tells the errors of one instruction, which BuildKit names with their line.
    """

    def __init__(self, message: str, line: int, *, is_instruction: bool = True) -> None:
        super().__init__(message)
        self.line, self.is_instruction = line, is_instruction


class DockerfileInstruction(NamedTuple):
    """An instruction, its name in capitals; `text` is what follows the flags, in one line."""

    name: str
    flags: tuple[str, ...]
    text: str
    line: int

    def get_flag(self, name: str) -> str | None:
        """Return the value of `--name=value`, None without it."""
        values = (flag.partition("=") for flag in self.flags)
        return next((value for key, _, value in values if key == f"--{name}"), None)

    def mounts(self) -> Iterator[dict[str, str]]:
        """Yield the fields of each `RUN --mount`; one without a value counts as true."""
        for flag in self.flags if self.name == "RUN" else ():
            name, _, value = flag.partition("=")
            if name == "--mount":
                pairs = (field.partition("=") for field in value.split(","))
                yield {
                    key.strip().lower(): text if equals else "true" for key, equals, text in pairs
                }

    def arguments(self) -> list[str]:
        """Return the arguments: of the JSON form if it is one, else split at white space."""
        return _parse_json_form(self.text) or _split_at_whitespace(self.text)


class DockerfileStage(NamedTuple):
    """A build stage: FROM, and the instructions that follow it."""

    base: str
    name: str
    line: int
    instructions: list[DockerfileInstruction]
    platform: str | None


class Dockerfile(NamedTuple):
    """The stages, and the ARG instructions before the first of them."""

    stages: tuple[DockerfileStage, ...]
    arguments: tuple[DockerfileInstruction, ...]
    escape: str

    def find_stage_index(self, name: str) -> int | None:
        """Return the index of a stage by its name; the last of two with the same name counts."""
        names = [stage.name for stage in self.stages]
        if not name or name.lower() not in names:
            return None
        return len(names) - 1 - names[::-1].index(name.lower())

    def find_similar_stage(self, image: str) -> str | None:
        """Return the stage that an image's name may be a misspelling of."""
        names = [stage.name for stage in self.stages if stage.name]
        return next(iter(get_close_matches(image.lower(), names, 1, cutoff=0.75)), None)


@lru_cache(maxsize=64)  # services of one project often share it
def parse_dockerfile(
    data: bytes, syntax: SyntaxVersion | None = None, *, reads_directive: bool = True
) -> Dockerfile:
    """Read a Dockerfile; `syntax` is what the builder understands, or None if that isn't known.

    With `reads_directive` a line `# syntax=` decides that. Raises DockerfileError.
    """
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    directives = _read_parser_directives(text.split("\n"))
    if reads_directive and "syntax" in directives:
        pinned = _SYNTAX_IMAGE_PATTERN.fullmatch(directives["syntax"])
        syntax = (1, int(pinned[1])) if pinned else None
    escape = directives.get("escape", "\\")
    stages: list[DockerfileStage] = []
    arguments = []
    instruction = None
    for instruction in _read_instructions(text, escape, syntax):
        _check_instruction(instruction, syntax, escape, is_in_stage=bool(stages))
        if instruction.name == "FROM":
            stages.append(_parse_from(instruction))
        elif stages:
            stages[-1].instructions.append(instruction)
        elif instruction.name == "ARG":
            arguments.append(instruction)
        else:
            line = instruction.line
            raise DockerfileError("no build stage in current context", line, is_instruction=False)
    if instruction is None:
        raise DockerfileError("file with no instructions", 1, is_instruction=False)
    if not stages:
        raise DockerfileError("dockerfile contains no stages to build", 1, is_instruction=False)
    return Dockerfile(tuple(stages), tuple(arguments), escape)


def _read_parser_directives(lines: list[str]) -> dict[str, str]:
    """Return the parser directives, which stand before everything else."""
    directives: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _PARSER_DIRECTIVE_PATTERN.fullmatch(line.rstrip())
        name = match[1].lower() if match else ""
        if match is None or name not in ("syntax", "escape", "check"):
            break
        if name in directives:
            message = f"only one {name} parser directive can be used"
            raise DockerfileError(message, number, is_instruction=False)
        directives[name] = match[2]
        if name == "escape" and match[2] not in ("\\", "`"):
            message = f"invalid escape token '{match[2]}' does not match ` or \\"
            raise DockerfileError(message, number, is_instruction=False)
    return directives


def _read_instructions(
    text: str, escape: str, syntax: SyntaxVersion | None
) -> Iterator[DockerfileInstruction]:
    lines = iter(enumerate(text.split("\n"), 1))
    for number, line in lines:
        first = "" if _is_comment(line) else line.rstrip("\r").lstrip()
        part, is_continued = _strip_line_continuation(first, escape)
        parts = [part]
        while is_continued and (following := next(lines, (0, None))[1]) is not None:
            if not _is_comment(following) and following.strip():
                part, is_continued = _strip_line_continuation(following.rstrip("\r"), escape)
                parts.append(part)
        joined = "".join(parts).strip()
        if not joined:
            continue
        instruction = _parse_instruction(joined, number)
        yield instruction
        if syntax is None or syntax >= MIN_HEREDOC_SYNTAX_VERSION:
            for name, is_indented in find_heredocs(instruction):
                ends = (body.rstrip("\r") for _, body in lines)
                if name not in (end.lstrip("\t") if is_indented else end for end in ends):
                    raise DockerfileError("unterminated heredoc", number, is_instruction=False)


def _strip_line_continuation(line: str, escape: str) -> tuple[str, bool]:
    """Return a line without the escape character at its end, and whether it had one."""
    stripped = line.rstrip(" \t")
    is_continued = stripped.endswith(escape) and not stripped[:-1].endswith(escape)
    return (stripped[:-1], True) if is_continued else (line, False)


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _parse_instruction(line: str, number: int) -> DockerfileInstruction:
    name, *rest = _WHITESPACE_PATTERN.split(line, maxsplit=1)
    text, flags, position = rest[0] if rest else "", [], 0
    while match := _INSTRUCTION_FLAG_PATTERN.match(text, position):
        flags.append(re.sub(r"""\\(.)|["']""", r"\1", match[1]))
        position = match.end()
    return DockerfileInstruction(name.upper(), tuple(flags), text[position:].strip(), number)


def find_heredocs(instruction: DockerfileInstruction) -> list[tuple[str, bool]]:
    """Return the names of an instruction's heredocs, and whether tabs before their end go."""
    name, text = instruction.name, instruction.text
    if name == "ONBUILD":
        name, _, text, _ = _parse_instruction(text, 0)
    if name not in _HEREDOC_INSTRUCTIONS or "<<" not in text or _parse_json_form(text):
        return []
    try:
        matches = map(_HEREDOC_PATTERN.fullmatch, split_words_outside_quotes(text, "\\"))
        return [(re.sub("[\"']", "", m[2]), m[1] == "-") for m in matches if m]
    except ValueError:
        return []


def split_words_outside_quotes(text: str, escape: str, *, may_be_open: bool = False) -> list[str]:
    """Split at white space outside of quotes, which are kept.

    A quote that isn't closed holds the rest, or raises ValueError unless it may be open.
    """
    words: list[str] = []
    token = re.escape(escape)
    rest = r"""|["'].*""" if may_be_open else ""
    pattern = re.compile(
        rf"""(?:[^\s"'{token}]|{token}.|{token}$|'[^']*'|"(?:[^"{token}]|{token}.)*"{rest})+"""
    )
    position = 0
    text = text.strip()
    while position < len(text):
        match = pattern.match(text, position)
        if match is None:
            raise ValueError("a quotation mark isn't closed")
        words.append(match[0])
        position = match.end()
        while position < len(text) and text[position].isspace():
            position += 1
    return words


def _parse_json_form(text: str) -> list[str] | None:
    if not text.startswith("["):
        return None
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return values if all(isinstance(value, str) for value in values) else None


def _split_at_whitespace(text: str) -> list[str]:
    return _WHITESPACE_PATTERN.split(text.strip()) if text.strip() else []


def _check_instruction(
    instruction: DockerfileInstruction,
    syntax: SyntaxVersion | None,
    escape: str,
    *,
    is_in_stage: bool,
) -> None:
    name, text = instruction.name, instruction.text
    requirement = _ARGUMENT_COUNT_MESSAGE_BY_INSTRUCTION.get(name)
    problem, is_copy = "", name in ("COPY", "ADD")
    if requirement is None:
        problem = "unknown instruction"
        # a compose file can name any file of the project, such as one with passwords
        if is_in_stage or get_close_matches(
            name, _ARGUMENT_COUNT_MESSAGE_BY_INSTRUCTION, 1, cutoff=0.7
        ):
            problem = f"{problem}: {name}"
    elif requirement and (not text or (is_copy and len(instruction.arguments()) < 2)):
        problem = f"{name} requires {requirement}"
    else:
        problem = _find_argument_problem(instruction, syntax, escape)
    if requirement is not None and (text or not requirement):
        problem = _find_unknown_flag(instruction, syntax) or problem
    if problem:
        by_parser = problem.endswith(("must have two arguments", "form: name=value"))
        raise DockerfileError(problem, instruction.line, is_instruction=not by_parser)


def _find_argument_problem(
    instruction: DockerfileInstruction, syntax: SyntaxVersion | None, escape: str
) -> str:
    name, text, arguments = instruction.name, instruction.text, instruction.arguments()
    if name in ("ENV", "LABEL"):
        return _find_env_or_label_problem(name, text, escape)
    if name == "ARG" and any(word.startswith("=") for word in _split_at_whitespace(text)):
        return "ARG names can not be blank"
    if name == "ONBUILD":
        return _REFUSED_ONBUILD_TRIGGERS.get(text.split()[0].upper(), "")
    if name == "HEALTHCHECK":
        return _find_healthcheck_problem(instruction)
    if name == "RUN":
        return _find_mount_type_problem(instruction, syntax)
    if name == "VOLUME":
        if _parse_json_form(text) == []:
            return "VOLUME requires at least one argument"
        is_blank = not all(map(str.strip, arguments))
        return "VOLUME specified can not be an empty string" if is_blank else ""
    is_refused = name == "SHELL" and not _parse_json_form(text)
    return "SHELL requires the arguments to be in JSON form" if is_refused else ""


def _find_healthcheck_problem(instruction: DockerfileInstruction) -> str:
    kind, *command = instruction.text.split()
    if kind.upper() not in ("CMD", "NONE"):
        return f'Unknown type "{kind.upper()}" in HEALTHCHECK (try CMD)'
    if kind.upper() == "NONE":
        return "HEALTHCHECK NONE takes no arguments" if command else ""
    if not command:
        return "Missing command after HEALTHCHECK CMD"
    for flag in _HEALTHCHECK_DURATION_FLAGS:
        value = instruction.get_flag(flag) or "0"  # newer builders take 0 for the default
        if not re.fullmatch(_GO_DURATION_PATTERN, value):
            is_number = re.fullmatch(r"[-+]?\d*\.?\d+", value)
            reason = "missing unit in duration" if is_number else "invalid duration"
            return f'time: {reason} "{value}"'
        if re.fullmatch(_DURATION_BELOW_MILLISECOND_PATTERN, value):
            return f'Interval "{flag}" cannot be less than 1ms'
    retries = instruction.get_flag("retries") or "1"
    is_integer = re.fullmatch(r"[-+]?\d+", retries)
    return "" if is_integer else f'strconv.ParseInt: parsing "{retries}": invalid syntax'


def _find_mount_type_problem(
    instruction: DockerfileInstruction, syntax: SyntaxVersion | None
) -> str:
    types = [fields.get("type", "bind") for fields in instruction.mounts()] if syntax else []
    unknown = (kind for kind in types if kind not in _RUN_MOUNT_TYPES and "$" not in kind)
    return next((f'unsupported mount type "{kind}"' for kind in unknown), "")


def _find_unknown_flag(instruction: DockerfileInstruction, syntax: SyntaxVersion | None) -> str:
    """Return what is said to a flag; none is judged if what the builder knows isn't known."""
    version_by_flag = _SYNTAX_VERSION_BY_INSTRUCTION_FLAG.get(instruction.name, {})
    if syntax is None or syntax > _NEWEST_KNOWN_SYNTAX_VERSION:
        return ""
    names = (flag[2:].partition("=")[0] for flag in instruction.flags)
    unknown = (name for name in names if name and version_by_flag.get(name, (99, 0)) > syntax)
    return next((f"Unknown flag: {name}" for name in unknown), "")


def _find_env_or_label_problem(name: str, text: str, escape: str) -> str:
    words = split_words_outside_quotes(text, escape, may_be_open=True)
    if "=" not in words[0]:
        return f"{name} must have two arguments" if len(words) < 2 else ""
    wrong = next((word for word in words if "=" not in word), None)
    if wrong is not None:
        return f'Syntax error - can\'t find = in "{wrong}". Must be of the form: name=value'
    blank = any(word.startswith("=") for word in words)
    return f"{name} names can not be blank" if blank else ""


def _parse_from(instruction: DockerfileInstruction) -> DockerfileStage:
    words, platform = _split_at_whitespace(instruction.text), instruction.get_flag("platform")
    if len(words) == 3 and words[1].lower() == "as":
        name = words[2].lower()
        if not _STAGE_NAME_PATTERN.fullmatch(name):
            reason = "name can't start with a number or contain symbols"
            message = f'invalid name for build stage: "{words[2]}", {reason}'
            raise DockerfileError(message, instruction.line)
        return DockerfileStage(words[0], words[2].lower(), instruction.line, [], platform)
    if len(words) != 1:
        raise DockerfileError("FROM requires either one or three arguments", instruction.line)
    return DockerfileStage(words[0], "", instruction.line, [], platform)


def parse_instruction_key_values(
    instruction: DockerfileInstruction, escape: str
) -> list[tuple[str, str | None]]:
    """Return the names and values of ENV, LABEL or ARG, with quotes and variables as they stand.

    The value is None if ARG gives none.
    """
    words = split_words_outside_quotes(instruction.text, escape, may_be_open=True)
    if instruction.name != "ARG" and "=" not in words[0]:
        return [(words[0], instruction.text[len(words[0]) :].strip())]
    split = (word.partition("=") for word in words)
    return [(name, value if equals else None) for name, equals, value in split]
