"""The facts of builds: what stops `docker compose build` of each service, in the builder's words.

Reads Dockerfiles and `.dockerignore` of the project only, and looks up what they name. What
depends on an image, or on a variable whose value isn't known, is unknown. What the builders say
was tried with Compose 2.40.3, BuildKit and the classic builder of Docker 20.10, Podman 4.3.1.
"""

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from typing import Any

from preflight.facts.builds.builder import ImageBuilderInfo, find_builder
from preflight.facts.builds.context import (
    BuildContext,
    CopySourceProblem,
    DockerignoreFile,
    UndecidableCopySourceError,
)
from preflight.facts.builds.dockerfile import (
    MAX_DOCKERFILE_BYTES,
    Dockerfile,
    DockerfileError,
    DockerfileInstruction,
    parse_dockerfile,
)
from preflight.facts.builds.setting_problems import (
    BuildProblem,
    find_build_setting_problems,
    find_secrets_and_ssh_not_given,
    replace_surrogates_and_shorten,
)
from preflight.facts.builds.stages import BuildContextSource, BuildPlan, ImageBuildError
from preflight.facts.collect.context import MeasurementContext
from preflight.facts.compose.compose_facts import parse_text_mapping
from preflight.facts.compose.load import (
    ReadableFolders,
    format_file_path,
    make_compose_environment,
    read_bytes,
)
from preflight.facts.compose.project import Project, find_setting_source, list_service_image_names
from preflight.facts.compose.project_file_guard import REMOTE_CONTEXT_PATTERN, make_absolute_path
from preflight.facts.images import format_reference_error, list_engine_images, normalize_image_name
from preflight.model.facts import Measured, NotMeasuredError, Source, Unknown, read_or_unknown

_MAX_BUILD_STAGES = 1000
_MAX_COPY_SOURCES = 2000  # of one Dockerfile
_MAX_IGNORE_FILE_BYTES = 2**20
_MAX_BUILD_PROBLEMS = 20  # of one service
_BUILDKIT_REQUIRED_MESSAGE = (
    "the --{flag} option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ "
    "to learn how to build images with BuildKit enabled"
)
# by builder, and kind of problem or the engine's major version: what it doesn't find
_MISSING_SOURCE_MESSAGES = {
    ("classic", "outside"): "COPY failed: forbidden path outside the build context: {source} ()",
    ("classic", "glob"): "COPY failed: no source files were specified",
    ("classic", ""): "COPY failed: file not found in build context or excluded by .dockerignore: "
    "stat {relative}: file does not exist",
    ("buildah", ""): 'copier: stat: "/{path}": no such file or directory',
    ("buildkit", "20"): 'failed to compute cache key: "/{path}" not found: not found',
    ("buildkit", ""): "failed to compute cache key: failed to calculate checksum of ref: "
    '"/{path}": not found',
}


def measure_builds(
    context: MeasurementContext, project: Project, environ: Mapping[str, str] = os.environ
) -> Iterator[Measured]:
    """Yield the facts of each service that has `build`."""
    for build in _list_builds(context, project, environ):
        yield from build.measure_build()


def list_images_needed_by_builds(
    context: MeasurementContext, project: Project, environ: Mapping[str, str] = os.environ
) -> Iterator[tuple[str, str, str | None]]:
    """Yield the services that must be built, with each image that their Dockerfile names.

    The third is a stage of nearly the same name, if there is one.
    """
    for build in _list_builds(context, project, environ):
        for image, stage in build.list_images().items() if build.must_be_built()[0] else ():
            yield build.name, image, stage


def _list_builds(
    context: MeasurementContext, project: Project, environ: Mapping[str, str]
) -> "Iterator[ServiceBuild]":
    engine = context.engine_or_unknown()
    builder, images = find_builder(engine, environ), read_or_unknown(list_engine_images, context)
    bounds = ReadableFolders(context.options.compose_files, make_compose_environment(environ))
    bounds.folders.add(os.path.realpath(project.folder))
    for name, service in project.services.items():
        if service.get("build"):
            yield ServiceBuild(project, name, builder, bounds, images, environ)


class ServiceBuild:
    """The build of one service; raises nothing while it is measured."""

    def __init__(
        self,
        project: Project,
        name: str,
        builder: ImageBuilderInfo,
        bounds: ReadableFolders,
        images: set[str] | Unknown,
        environ: Mapping[str, str],
    ) -> None:
        self.name, self._environ = name, environ
        self._project, self._builder, self._bounds, self._images = project, builder, bounds, images
        self._service = project.services[name]
        build = self._service["build"]
        self._build: Mapping[str, Any] = build if isinstance(build, Mapping) else {"context": build}
        context = str(self._build.get("context") or ".")
        self.is_local = not re.match(REMOTE_CONTEXT_PATTERN, context)
        self.context = make_absolute_path(context, project.folder) if self.is_local else context
        self.inline = None
        if builder.name == "buildkit":  # the others look for a file
            self.inline = self._build.get("dockerfile_inline")
        self.file_name = str(self._build.get("dockerfile") or "Dockerfile")
        self.file = os.path.normpath(os.path.join(self.context, self.file_name))
        if self.file_name == "Dockerfile" and not os.path.exists(self.file):
            lower = os.path.join(self.context, "dockerfile")
            self.file = lower if os.path.exists(lower) else self.file
        contexts = parse_text_mapping(self._build.get("additional_contexts"))
        self.contexts = {name.lower(): value for name, value in contexts.items()}
        self._shown_context = format_file_path(self.context) if self.is_local else context

    def measure_build(self) -> Iterator[Measured]:
        """Yield the facts of this build."""
        context_source = self._find_source_of_key("context")
        dockerfile = None if self.inline is not None else replace_surrogates_and_shorten(self.file)
        problems: list[BuildProblem] | Unknown = []
        if self.is_local:
            problems = read_or_unknown(lambda: list(self._find_problems())[:_MAX_BUILD_PROBLEMS])
        texts: Any = problems
        kinds: Any = problems
        error: Any = problems
        source = context_source
        if not isinstance(problems, Unknown):
            source = self._find_problem_source(problems)
            texts = [  # the source tells the line of the first
                problem.text if not index else f"line {problem.line}: {problem.text}"
                for index, problem in enumerate(problems)
            ]
            kinds = list(dict.fromkeys(problem.kind for problem in problems))
            error = problems[0].error if problems else None
        for fact, value, fact_source in (
            ("context", replace_surrogates_and_shorten(self.context), context_source),
            ("dockerfile", dockerfile, self._find_source_of_key("dockerfile")),
            ("local", self.is_local, context_source),
            ("builder", self._builder.name, "DOCKER_BUILDKIT, GET /version"),
            ("required", *self.must_be_built()),
            ("problems", texts or None, source),
            ("kinds", kinds or None, source),
            ("error", error, source),
        ):
            yield Measured(("start", "services", self.name, "build", fact), value, fact_source)

    def _find_source_of_key(self, key: str) -> Source:
        return find_setting_source(self._project, ("services", self.name, "build", key))

    def _find_problem_source(self, problems: list[BuildProblem]) -> Source:
        line = problems[0].line if problems else 0
        if line and self.inline is None:
            return Source.in_file(format_file_path(self.file), line)
        return self._find_source_of_key("context" if self.inline is None else "dockerfile_inline")

    def must_be_built(self) -> tuple[bool, str]:
        """Return whether `up` must build the image, and how that is known."""
        image = self._service.get("image")
        if self._service.get("pull_policy") == "build":
            return True, "pull_policy: build"
        images = self._images
        for name in list_service_image_names(self._project, self.name):
            if not isinstance(images, Unknown) and normalize_image_name(name) in images:
                return False, f"the engine has the image {replace_surrogates_and_shorten(name)}"
        if image:
            pulled = replace_surrogates_and_shorten(str(image))
            return False, f"Compose builds it only where it can't pull {pulled}"
        is_asked = not isinstance(images, Unknown)
        return True, "GET /images/json" if is_asked else "the engine can't be asked"

    def _find_ignore_file(self) -> str:
        own = f"{self.file}.dockerignore"
        if self.inline is None and self._builder.name == "buildkit" and os.path.exists(own):
            return own
        return os.path.join(self.context, ".dockerignore")

    def _find_problems(self) -> Iterator[BuildProblem]:
        """Yield what stops this build, in the order of the builder."""
        if not _is_folder(self.context):
            os_problem = "not found" if not os.path.lexists(self.context) else "is not a folder"
            text = f"the build context {self._shown_context} is not there"
            error = f'unable to prepare context: path "{self.context}" {os_problem}'
            yield BuildProblem.make("context", text, error)
            return
        refusals = find_build_setting_problems(
            self._project, self._build, self._builder.name, self._environ
        )
        if (setting_problem := next(refusals, None)) is not None:
            yield setting_problem
            return
        for name, path in self.contexts.items():
            if os.path.isabs(path) and not os.path.exists(path):
                text = f"the additional context {name} is not there: {format_file_path(path)}"
                reason = f"stat {path}: no such file or directory"
                error = f"failed to get build context {name}: {reason}"
                yield BuildProblem.make("context", text, error)
                return
        try:
            dockerfile = self._read_dockerfile()
            if dockerfile is None:
                yield self._make_missing_dockerfile_problem()
                return
            plan = self._make_build_plan(dockerfile)
        except DockerfileError as error:
            yield self._make_dockerfile_problem(error)
            return
        except ImageBuildError as error:
            words = format_reference_error(str(error), self._builder.major)
            yield BuildProblem.make("stage", words, line=error.line)
            return
        ignore_file = self._find_ignore_file()
        ignore = DockerignoreFile()
        if os.path.lexists(ignore_file):
            self._bounds.require_inside(ignore_file)
            ignore = DockerignoreFile(read_bytes(ignore_file, _MAX_IGNORE_FILE_BYTES))
        classic = self._builder.name == "classic"
        if ignore.refusal and (classic or any(plan.list_context_sources())):  # else nothing is sent
            line, pattern, words = ignore.refusal
            text = f"{format_file_path(ignore_file)}:{line} isn't a valid pattern: {pattern}"
            yield BuildProblem.make("pattern", text, words)
            return
        context = BuildContext(self.context, ignore, format_file_path(ignore_file), classic=classic)
        yield from self._find_dockerfile_problems(plan, context)

    def list_images(self) -> dict[str, str | None]:
        """Return the images that the stages need, each with a stage of nearly the same name.

        None if the Dockerfile can't be used.
        """
        try:
            dockerfile = self._read_dockerfile() if self.is_local else None
            if dockerfile is None:
                return {}
            images = [image for image, _ in self._make_build_plan(dockerfile).list_images()]
            return {image: dockerfile.find_similar_stage(image) for image in images}
        except (NotMeasuredError, DockerfileError, ImageBuildError, OSError):
            return {}

    def _read_dockerfile(self) -> Dockerfile | None:
        """Return the Dockerfile, or None without one; raises DockerfileError, ComposeError."""
        classic = self._builder.name == "classic"
        if self.inline is not None:
            data = str(self.inline).encode("utf-8", "surrogateescape")
        elif not os.path.lexists(self.file):
            return None
        else:
            self._bounds.require_inside(self.file)
            data = read_bytes(self.file, MAX_DOCKERFILE_BYTES)
        if len(data) > MAX_DOCKERFILE_BYTES:
            raise UndecidableCopySourceError(f"{format_file_path(self.file)} is larger than 1 MiB")
        dockerfile = parse_dockerfile(data, self._builder.syntax, reads_directive=not classic)
        if len(dockerfile.stages) > _MAX_BUILD_STAGES:
            raise UndecidableCopySourceError(
                f"{format_file_path(self.file)} has more than {_MAX_BUILD_STAGES:,} stages"
            )
        return dockerfile

    def _make_missing_dockerfile_problem(self) -> BuildProblem:
        text = f"there is no {format_file_path(self.file)}"
        error = f"failed to read dockerfile: open {self.file_name}: no such file or directory"
        if self._builder.name != "buildkit":
            error = (
                "unable to prepare context: unable to evaluate symlinks in Dockerfile path: "
                f"lstat {self.file}: no such file or directory"
            )
        return BuildProblem.make("dockerfile", text, error)

    def _make_dockerfile_problem(self, error: DockerfileError) -> BuildProblem:
        message = str(error)
        if error.is_instruction:
            on = "" if self._builder.major == "20" else "on "
            message = f"dockerfile parse error {on}line {error.line}: {error}"
        return BuildProblem.make("syntax", str(error), message, error.line)

    def _make_build_plan(self, dockerfile: Dockerfile) -> BuildPlan:
        given = self._build.get("args") or {}
        return BuildPlan(
            dockerfile,
            {str(name): None if value is None else str(value) for name, value in given.items()},
            self._list_platform_arguments(),
            self.contexts,
            target=str(self._build.get("target") or ""),
            classic=self._builder.name == "classic",
        )

    def _list_platform_arguments(self) -> dict[str, str | None]:
        """Return the arguments that BuildKit sets by itself, None for unknown values."""
        if self._builder.name == "classic":
            return {}
        system, _, architecture = self._builder.platform.partition("/")
        names = {"PLATFORM": f"{system}/{architecture}", "OS": system, "ARCH": architecture}
        is_known = bool(system and architecture) and architecture != "arm"
        own = {f"BUILD{key}": value if is_known else None for key, value in names.items()}
        has_platform = self._service.get("platform") or self._build.get("platforms")
        is_known = is_known and not has_platform
        target = {f"TARGET{key}": value if is_known else None for key, value in names.items()}
        return {**own, **target, "TARGETVARIANT": "" if is_known else None}

    def _find_dockerfile_problems(
        self, plan: BuildPlan, context: BuildContext
    ) -> Iterator[BuildProblem]:
        unknown: BuildContextSource | None = None
        has_problem = False
        classic = self._builder.name == "classic"
        if classic:
            for index in plan.stages:
                for instruction in plan.dockerfile.stages[index].instructions:
                    yield from self._find_classic_builder_refusals(instruction)
        for refusal, instruction in plan.find_invalid_instructions():
            has_problem = True
            yield BuildProblem.make("syntax", refusal, line=instruction.line)
        for number, source in enumerate(plan.list_context_sources()):
            if number == _MAX_COPY_SOURCES:
                raise UndecidableCopySourceError(
                    f"{format_file_path(self.file)} has more than {_MAX_COPY_SOURCES:,} sources"
                )
            if source.path is None and not source.problem:
                unknown = unknown or source
                continue
            kind, reason = "syntax", source.problem
            error = f"failed to process {json.dumps(source.text)}: {reason}"
            if source.path is not None:
                problem = context.find_source_problem(source.path)
                copies_others = classic and len(source.instruction.arguments()) > 2
                if problem is None or (problem.kind == "glob" and copies_others):
                    continue
                kind = "missing" if problem.kind == "glob" else problem.kind
                reason, error = problem.reason, self._format_source_error(problem, source.path)
            has_problem = True
            text = f"{source.instruction.name} {source.text}: {reason}"
            yield BuildProblem.make(kind, text, error, source.instruction.line)
        if not has_problem and self._builder.name == "buildkit":
            for missing in find_secrets_and_ssh_not_given(plan, self._build, self._builder.major):
                has_problem = True
                yield missing
        if unknown is not None and not has_problem:
            name, line = unknown.instruction.name, unknown.instruction.line
            reason = f"{name} {unknown.text} in line {line} depends on a variable that isn't known"
            raise UndecidableCopySourceError(replace_surrogates_and_shorten(reason))

    def _find_classic_builder_refusals(
        self, instruction: DockerfileInstruction
    ) -> Iterator[BuildProblem]:
        """Yield what the classic builder refuses of an instruction, and BuildKit doesn't."""
        name, arguments = instruction.name, instruction.arguments()
        is_copy = name in ("ADD", "COPY") and len(arguments) > 2
        if is_copy and not arguments[-1].endswith("/") and "$" not in arguments[-1]:
            reason = "the destination must be a directory and end with a /"
            error = f"When using {name} with more than one source file, {reason}"
            text = f"{name} of several sources: {reason}"
            yield BuildProblem("buildkit", text, error, instruction.line)
        for flag in instruction.flags:
            name = flag[2:].partition("=")[0]
            wanted = ("mount", "network", "security") if instruction.name == "RUN" else ("chmod",)
            if name in wanted:
                error = _BUILDKIT_REQUIRED_MESSAGE.format(flag=name)
                text = f"{instruction.name} --{name}: the classic builder doesn't support it"
                yield BuildProblem("buildkit", text, error, instruction.line)

    def _format_source_error(self, problem: CopySourceProblem, path: str) -> str:
        """Return what the builder says where it doesn't find a source."""
        name = self._builder.name
        if problem.kind == "syntax":
            return problem.reason
        detail = problem.kind if name == "classic" else self._builder.major
        message = _MISSING_SOURCE_MESSAGES.get((name, detail)) or _MISSING_SOURCE_MESSAGES[name, ""]
        return message.format(source=path, relative=path.lstrip("/"), path=problem.path)


def _is_folder(path: str) -> bool:
    """Return whether there is a folder; raises OSError if that can't be seen."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
