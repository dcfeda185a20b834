"""What the stages of a Dockerfile need: which are built, their variables, images and sources."""

import json
import re
from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from preflight.facts.builds.dockerfile import (
    Dockerfile,
    DockerfileInstruction,
    DockerfileStage,
    parse_instruction_key_values,
)
from preflight.facts.images import parse_image_reference

_DOCKERFILE_VARIABLE_PATTERN = re.compile(r"\$(?:(\w+)|\{(\w+)\}|\{(\w+)(:?[-+?])([^${}]*)\})")
_NON_CONTEXT_SOURCE_PATTERN = re.compile(r"[a-z+]+://|git@|github\.com/|<<", re.IGNORECASE)
_PLATFORM_PART_PATTERN = r"(?a)[\w-]+(?:\([\w.-]*\))?"
_KNOWN_OS_OR_ARCH_PATTERN = (
    "(?i)linux|windows|darwin|macos|freebsd|netbsd|openbsd|dragonfly|solaris|illumos|aix|plan9|android"
    "|js|wasi.*|amd64|x86.*|i[3-6]86|386|arm.*|aarch64.*|ppc.*|mips.*|riscv.*|s390.*|loong.*|wasm.*"
)
_EXPOSED_PORT_PATTERN = r"(?:.*:)?(\d{1,5})(?:-(\d{1,5}))?"
MAX_EXPANDED_TEXT_CHARS = 1000


class UndecidableVariableError(Exception):
    """A text that depends on a variable whose value isn't known."""


class ImageBuildError(Exception):
    """What stops a build; the message is the builder's, `line` that of the Dockerfile."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


class BuildContextSource(NamedTuple):
    """A source in the build context; `path` is None if `text` depends on something unknown.

    `problem` says why it can't be read.
    """

    text: str
    path: str | None
    problem: str
    instruction: DockerfileInstruction


class StageVariables:
    """The variables of a stage at one point; None stands for a value that isn't known.

    With `is_complete` every other variable is empty; else the base image may have set it.
    """

    def __init__(self, escape: str, *, is_complete: bool) -> None:
        self.escape, self.is_complete = escape, is_complete
        self.arguments: dict[str, str | None] = {}
        self.environment: ChainMap[str, str | None] = ChainMap()

    def copy_for_child_stage(self) -> "StageVariables":
        """Return the variables of a stage that is based on this one."""
        other = StageVariables(self.escape, is_complete=self.is_complete)
        other.environment = self.environment.new_child()
        return other

    def expand(self, text: str) -> str:
        """Return a text without quotes, its variables replaced.

        Raises UndecidableVariableError, and ValueError where a quote isn't closed or a value is
        required.
        """
        parts, position, quote = [], 0, ""
        while position < len(text):
            char = text[position]
            if char == self.escape and quote != "'" and position + 1 < len(text):
                following = text[position + 1]
                if quote and following not in ('"', "$", self.escape):
                    parts.append(char)
                parts.append(following)
                position += 2
                continue
            if char in "'\"" and quote in ("", char):
                quote = "" if quote else char
            elif char == "$" and quote != "'":
                replacement, position = self._expand_variable(text, position)
                parts.append(replacement)
                continue
            else:
                parts.append(char)
            position += 1
        if quote:
            name = "single" if quote == "'" else "double"
            message = "unexpected end of statement while looking for matching"
            raise ValueError(f"{message} {name}-quote")
        if len(value := "".join(parts)) > MAX_EXPANDED_TEXT_CHARS:
            raise UndecidableVariableError(text[:20])
        return value

    def _expand_variable(self, text: str, position: int) -> tuple[str, int]:
        match = _DOCKERFILE_VARIABLE_PATTERN.match(text, position)
        if match is None:
            raise UndecidableVariableError(text[position:])
        name = match[1] or match[2] or match[3]
        value, operator, word = self._get_variable_value(name), match[4] or "", match[5] or ""
        counts_as_set = bool(value) if operator.startswith(":") else value is not None
        if operator.endswith("-") and not counts_as_set:
            value = word
        elif operator.endswith("+"):
            value = word if counts_as_set else ""
        elif operator.endswith("?") and not counts_as_set:
            raise ValueError(f"{name}: {word or 'not set'}")
        return value or "", match.end()

    def _get_variable_value(self, name: str) -> str | None:
        for values in (self.environment, self.arguments):
            if name in values:
                value = values[name]
                if value is None:
                    raise UndecidableVariableError(name)
                return value
        if not self.is_complete:
            raise UndecidableVariableError(name)
        return None

    def expand_or_none(self, text: str) -> str | None:
        """Return the text, or None if that isn't known."""
        try:
            return self.expand(text)
        except (UndecidableVariableError, ValueError):
            return None


class BuildPlan:
    """The stages that a target needs. Raises ImageBuildError for a stage that isn't there.

    `platform` has the values of TARGETARCH and the like, None for those that aren't known.
    """

    def __init__(
        self,
        dockerfile: Dockerfile,
        build_arguments: Mapping[str, str | None],
        platform: Mapping[str, str | None],
        contexts: Mapping[str, str],
        *,
        target: str = "",
        classic: bool = False,
    ) -> None:
        self.dockerfile, self._contexts, self._classic = dockerfile, contexts, classic
        self._given, self._platform = build_arguments, platform
        self._global = self._read_global_arguments()
        self.bases = [self._expand_base_image_name(stage) for stage in dockerfile.stages]
        for stage in dockerfile.stages:
            self._check_platform_syntax(stage)
        self._base_stages = self._find_base_stages()
        for number, stage in enumerate(dockerfile.stages):
            self._check_base_image_name(number, stage)
        index: int | None = len(dockerfile.stages) - 1
        if target:
            index = dockerfile.find_stage_index(target)
        if index is None and target.isdecimal():
            index = int(target) if int(target) < len(dockerfile.stages) else None
        if index is None:
            refusal = f"target stage {target} could not be found"
            if classic:
                refusal = f"failed to reach build target {target} in Dockerfile"
            raise ImageBuildError(refusal, dockerfile.stages[-1].line)
        self.stages = self._list_needed_stages(index)

    def _read_global_arguments(self) -> StageVariables:
        variables = StageVariables(self.dockerfile.escape, is_complete=True)
        variables.arguments.update(self._platform)
        for instruction in self.dockerfile.arguments:
            self._set_stage_variables(instruction, variables, {})
        return variables

    def _expand_base_image_name(self, stage: DockerfileStage) -> str | None:
        """Return the name that FROM gives, or None if that isn't known; raises ImageBuildError."""
        base = self._global.expand_or_none(stage.base)
        if base == "":
            raise ImageBuildError(f"base name ({stage.base}) should not be blank", stage.line)
        return base

    def _check_platform_syntax(self, stage: DockerfileStage) -> None:
        """Raise ImageBuildError for a platform in FROM that isn't valid."""
        platform = None if stage.platform is None else self._global.expand_or_none(stage.platform)
        if platform is None:
            return
        parts, problem = platform.split("/"), ""
        wrong = next(
            (part for part in parts if not re.fullmatch(_PLATFORM_PART_PATTERN, part)), None
        )
        if len(parts) > 3:
            problem = f'"{platform}": cannot parse platform specifier'
        elif wrong is not None:
            rule = "platform specifier component must match"
            problem = f'"{wrong}" is an invalid component of "{platform}": {rule}'
        elif len(parts) == 1 and not re.fullmatch(_KNOWN_OS_OR_ARCH_PATTERN, platform):
            problem = f'"{platform}": unknown operating system or architecture'
        if problem:
            raise ImageBuildError(f"failed to parse platform {platform}: {problem}", stage.line)

    def _check_base_image_name(self, index: int, stage: DockerfileStage) -> None:
        """Raise ImageBuildError for an image in FROM whose name isn't valid."""
        base = self.bases[index]
        is_image = base is not None and base.lower() not in (*self._contexts, "scratch")
        if base is None or not is_image or self._base_stages[index] is not None:
            return
        try:
            parse_image_reference(base)
        except ValueError as error:
            prefix = "" if self._classic else f'failed to parse stage name "{base}": '
            raise ImageBuildError(f"{prefix}{error}", stage.line) from None

    def _set_stage_variables(
        self,
        instruction: DockerfileInstruction,
        variables: StageVariables,
        defaults: Mapping[str, str | None],
    ) -> None:
        """Set the variables of an ARG or ENV instruction."""
        pairs = parse_instruction_key_values(instruction, self.dockerfile.escape)
        is_environment = instruction.name == "ENV"
        for raw_name, text in pairs:
            name = variables.expand_or_none(raw_name) or raw_name
            value = None if text is None else variables.expand_or_none(text)
            if is_environment:
                variables.environment[name] = value
            elif name in variables.environment:
                variables.environment[name] = None  # builders differ in which of the two counts
            elif self._given.get(name) is not None:
                variables.arguments[name] = self._given[name]
            elif text is not None:
                variables.arguments[name] = value
            elif name in defaults:
                variables.arguments[name] = defaults[name]
            else:
                variables.arguments[name] = ""

    def _list_needed_stages(self, target: int) -> list[int]:
        needed: set[int] = set()
        waiting = list(range(target + 1)) if self._classic else [target]
        while waiting:
            index = waiting.pop()
            if index in needed:
                continue
            needed.add(index)
            references = [self._base_stages[index]]
            references += [
                self._find_referenced_stage(name, index, instruction.line)
                for instruction in self.dockerfile.stages[index].instructions
                for name in list_referenced_stages(instruction)
            ]
            waiting += [stage for stage in references if stage is not None]
        return sorted(needed)

    def _find_base_stages(self) -> list[int | None]:
        """Return for each stage the one before it that it is based on, None for an image."""
        index_by_name: dict[str, int] = {}
        stages: list[int | None] = []
        for index, (base, stage) in enumerate(zip(self.bases, self.dockerfile.stages, strict=True)):
            stages.append(index_by_name.get((base or "").lower()))
            if stage.name:
                index_by_name[stage.name] = index
        return stages

    def _find_referenced_stage(self, name: str, index: int, line: int) -> int | None:
        """Return the stage that `--from` names, None for an image or a named context."""
        count = index if self._classic else len(self.dockerfile.stages)
        stage = self.dockerfile.find_stage_index(name)
        if name.lower() in self._contexts or (
            self._classic and stage is not None and stage >= index
        ):
            return None
        if stage is None and name.isdecimal():
            stage = int(name)
            if stage >= count:
                reason = (
                    "refers to current build stage" if stage == index else "index out of bounds"
                )
                classic = f"invalid from flag value {name}: {reason}"
                raise ImageBuildError(
                    classic if self._classic else f"invalid stage index {name}", line
                )
        if stage == index:
            own = self.dockerfile.stages[index].name or f"stage-{index}"
            raise ImageBuildError(f"circular dependency detected on stage: {own}", line)
        return stage

    def list_images(self) -> Iterator[tuple[str, int]]:
        """Yield the images that the build needs, and the lines that name them."""
        for index in self.stages:
            stage, base = self.dockerfile.stages[index], self.bases[index]
            is_image = base and base != "scratch" and base.lower() not in self._contexts
            if base and is_image and self._base_stages[index] is None:
                yield base, stage.line
            for instruction in stage.instructions:
                for name in list_referenced_stages(instruction):
                    known = self.dockerfile.find_stage_index(name) is not None or name.isdecimal()
                    if not known and "$" not in name and name.lower() not in self._contexts:
                        yield name, instruction.line

    def list_context_sources(self) -> Iterator[BuildContextSource]:
        """Yield the sources that are looked up in the build context."""
        for instruction, variables in self._iterate_instructions():
            for text in _list_build_context_sources(instruction):
                path, problem = None, ""
                try:
                    path = variables.expand(text)
                except UndecidableVariableError:
                    pass
                except ValueError as error:
                    problem = str(error)
                yield BuildContextSource(text, path, problem, instruction)

    def find_invalid_instructions(self) -> Iterator[tuple[str, DockerfileInstruction]]:
        """Yield what the builder says to values that aren't valid, in the stages that are built."""
        for instruction, variables in self._iterate_instructions():
            for text in _list_texts_to_expand(instruction, self.dockerfile.escape):
                try:
                    value = variables.expand(text)
                except UndecidableVariableError:
                    continue
                except ValueError as error:
                    yield f"failed to process {json.dumps(text)}: {error}", instruction
                    break
                if problem := _find_instruction_value_problem(instruction.name, value):
                    yield problem, instruction
                    break
            is_copy = instruction.name == "COPY" and not instruction.get_flag("from")
            sources = instruction.arguments()[:-1] if is_copy else ()
            if any(re.match("https?://", source) for source in sources):
                prefix = "COPY failed: " if self._classic else ""
                yield f"{prefix}source can't be a URL for COPY", instruction

    def list_required_secrets_and_ssh(self) -> Iterator[tuple[str, str, DockerfileInstruction]]:
        """Yield the kind and the id of each secret or SSH key that a RUN instruction requires."""
        for index in self.stages:
            for instruction in self.dockerfile.stages[index].instructions:
                for fields in instruction.mounts():
                    kind, name = fields.get("type", ""), fields.get("id")
                    if kind in ("secret", "ssh") and fields.get("required", "").lower() == "true":
                        target = fields.get("target") or fields.get("dst") or ""
                        yield kind, name or target.rpartition("/")[2], instruction

    def _iterate_instructions(self) -> Iterator[tuple[DockerfileInstruction, StageVariables]]:
        """Yield the instructions of the stages that are built, with the variables before each."""
        final: dict[int, StageVariables] = {}
        for index in self.stages:
            stage, base = self.dockerfile.stages[index], self._base_stages[index]
            variables = StageVariables(
                self.dockerfile.escape, is_complete=self.bases[index] == "scratch"
            )
            if base is not None and base in final:
                variables = final[base].copy_for_child_stage()
            for instruction in stage.instructions:
                yield instruction, variables
                if instruction.name in ("ARG", "ENV"):
                    self._set_stage_variables(instruction, variables, self._global.arguments)
            final[index] = variables


def _list_texts_to_expand(instruction: DockerfileInstruction, escape: str) -> list[str]:
    """Return the texts of an instruction in which the builder replaces variables.

    Those of COPY and ADD are sources.
    """
    if instruction.name in ("ARG", "ENV", "LABEL"):
        pairs = parse_instruction_key_values(instruction, escape)
        return [text for pair in pairs for text in pair if text is not None]
    if instruction.name in ("EXPOSE", "VOLUME"):
        return instruction.arguments()
    return [instruction.text] if instruction.name in ("STOPSIGNAL", "USER", "WORKDIR") else []


def _find_instruction_value_problem(name: str, value: str) -> str:
    """Return what the builder says to a port, a signal or a volume."""
    if name == "STOPSIGNAL":
        from preflight.facts.service_setting_refusals import is_signal

        return "" if is_signal(value) else f"Invalid signal: {value}"
    if name == "VOLUME" and not value.strip():
        return "VOLUME specified can not be an empty string"
    for specification in value.split() if name == "EXPOSE" else ():
        port, _, protocol = specification.partition("/")
        match = re.fullmatch(_EXPOSED_PORT_PATTERN, port)
        if match is None or not int(match[1]) <= int(match[2] or match[1]) <= 65535:
            return f"Invalid containerPort: {port.rpartition(':')[2]}"
        if protocol.lower() not in ("", "tcp", "udp", "sctp"):
            return f"Invalid proto: {protocol}"
    return ""


def list_referenced_stages(instruction: DockerfileInstruction) -> list[str]:
    """Return the stages, images or contexts that `--from` and `--mount=from=` name."""
    names = []
    if instruction.name == "COPY" and (name := instruction.get_flag("from")):
        names.append(name)
    return names + [fields["from"] for fields in instruction.mounts() if fields.get("from")]


def _list_build_context_sources(instruction: DockerfileInstruction) -> Iterator[str]:
    """Yield the sources of an instruction that lie in the build context."""
    if instruction.name in ("COPY", "ADD") and not instruction.get_flag("from"):
        yield from (
            source
            for source in instruction.arguments()[:-1]
            if not _NON_CONTEXT_SOURCE_PATTERN.match(source.lstrip("\"'"))
        )
    for fields in instruction.mounts():
        if fields.get("type", "bind") == "bind" and not fields.get("from"):
            yield fields.get("source") or fields.get("src") or "/"
