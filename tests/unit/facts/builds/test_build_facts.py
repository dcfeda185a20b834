"""What stops a build, against what the real builders of Docker 20.10 then say."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from builds import BUILDERS, BuildCase, build, measure
from engines import IMAGE, Engine
from preflight.facts.builds.builder import find_builder
from preflight.facts.collect.context import Engine as AnsweringEngine
from preflight.facts.engine.api import EngineApi
from preflight.facts.engine.endpoint import Endpoint
from preflight.facts.engine.host_visibility import NO_HOST_VISIBILITY
from preflight.model.facts import Source, Unknown

SCRATCH = "FROM scratch\n"
TWO_STAGES = f"{SCRATCH}COPY gone /\nFROM scratch AS prod\nCOPY a /\n"
CASES = {
    "missing": BuildCase(f"{SCRATCH}COPY gone /x/\n"),
    "wrong case": BuildCase(f"{SCRATCH}COPY A /x/\n"),
    "present": BuildCase(f"{SCRATCH}COPY a d /x/\nADD /d/f ./a /y/\n"),
    "above the context, and there": BuildCase(f"{SCRATCH}COPY ../a /x/\n"),
    "outside": BuildCase(f"{SCRATCH}COPY ../gone /x/\n"),
    "ignored": BuildCase(f"{SCRATCH}COPY a /x/\n", ignore="# all\n*\n!d\n"),
    "ignored folder": BuildCase(f"{SCRATCH}COPY d /x/\n", ignore="d/\n"),
    "ignored, with an exception": BuildCase(f"{SCRATCH}COPY d /x/\n", ignore="d\n!d/f\n"),
    "exception at any depth": BuildCase(f"{SCRATCH}COPY d/f /x/\n", ignore="*\n!**/f\n"),
    "all of a folder ignored": BuildCase(f"{SCRATCH}COPY d /x/\n", ignore="d/*\n"),
    "invalid pattern ignored": BuildCase(f"{SCRATCH}COPY a /x/\n", ignore="b\n[a\n"),
    "invalid class ignored": BuildCase(f"{SCRATCH}COPY a /x/\n", ignore="[^]\n"),
    "invalid range ignored": BuildCase(f"{SCRATCH}COPY a /x/\n", ignore="[z-a]\n"),
    "open escape ignored": BuildCase(f"{SCRATCH}COPY a /x/\n", ignore="a\\\n"),
    "empty exception": BuildCase(f"{SCRATCH}COPY a /x/\n", ignore="! \n"),
    "invalid pattern, nothing needed": BuildCase(f"{SCRATCH}ENV A=b\n", ignore="[a\n"),
    "Dockerfile ignored": BuildCase(f"{SCRATCH}COPY a /\n", ignore="Dockerfile\n.dockerignore\n"),
    "link outside": BuildCase(f"{SCRATCH}COPY l /x/\n", links={"l": "/etc/passwd"}),
    "link from the root": BuildCase(f"{SCRATCH}COPY l /x/\n", links={"l": "/a"}),
    "link to a folder": BuildCase(f"{SCRATCH}COPY l/f /x/\n", links={"l": "d"}),
    "link to what is ignored": BuildCase(f"{SCRATCH}COPY l /x/\n", links={"l": "a"}, ignore="a\n"),
    "pattern without a match": BuildCase(f"{SCRATCH}COPY gone* /x/\n"),
    "pattern without a match, beside a file": BuildCase(f"{SCRATCH}COPY a gone* /x/\n"),
    "pattern with a match": BuildCase(f"{SCRATCH}COPY [a-c] d/?* /x/\n"),
    "JSON form": BuildCase(f'{SCRATCH}COPY ["a b", "/x/"]\n', files=["a b"]),
    "JSON form, missing": BuildCase(f'{SCRATCH}COPY ["a b", "/x/"]\n'),
    "quotes": BuildCase(f"{SCRATCH}COPY \"a\" 'd/f' /x/\n"),
    "open quote": BuildCase(f'{SCRATCH}COPY "a b" /x/\n', files=["a b"]),
    "default of an argument": BuildCase(f"{SCRATCH}ARG D=gone\nCOPY ${{D}} /x/\n"),
    "argument given": BuildCase(f"{SCRATCH}ARG D=gone\nCOPY ${{D}} /x/\n", build="args: {D: a}"),
    "global argument": BuildCase(f"ARG D=gone\n{SCRATCH}ARG D\nCOPY $D /x/\n"),
    "global argument, not declared": BuildCase(f"ARG D=gone\n{SCRATCH}COPY ${{D}}a /x/\n"),
    "defaults": BuildCase(f"{SCRATCH}ENV D=d\nCOPY ${{D:-gone}}/f ${{E:-d}}/f /x/\n"),
    "environment of another stage": BuildCase(
        "FROM scratch AS one\nENV D=gone\nFROM one\nCOPY $D /x/\n"
    ),
    "unknown instruction": BuildCase(f"{SCRATCH}RUNN true\n"),
    "unknown instruction, no stage": BuildCase("COPY a /\n"),
    "one argument": BuildCase(f"{SCRATCH}\n# comment\nCOPY a\n"),
    "name of a stage": BuildCase("FROM scratch AS 1st\nCOPY a /\n"),
    "FROM with a comment": BuildCase("FROM scratch # comment\nCOPY a /\n"),
    "health check without CMD": BuildCase(f"{SCRATCH}COPY a /\nHEALTHCHECK curl localhost\n"),
    "health check with CMD": BuildCase(f"{SCRATCH}COPY a /\nHEALTHCHECK --retries=3 cmd true\n"),
    "unknown flag of a health check": BuildCase(f"{SCRATCH}HEALTHCHECK --every=1s CMD true\n"),
    "no volumes": BuildCase(f"{SCRATCH}COPY a /\nVOLUME []\n"),
    "volumes": BuildCase(f'{SCRATCH}COPY a /\nVOLUME ["/v", "/w"]\n'),
    "several sources to a file": BuildCase(f"{SCRATCH}COPY a d/f /x\n"),
    "several sources to a variable": BuildCase(f"{SCRATCH}ENV D=/x/\nCOPY a d/f $D\n"),
    "several sources to a folder by its name": BuildCase(f"{SCRATCH}WORKDIR /y\nCOPY a d/f .\n"),
    "chained trigger": BuildCase(f"{SCRATCH}ONBUILD ONBUILD RUN true\n"),
    "trigger": BuildCase(f"{SCRATCH}COPY a /\nONBUILD COPY gone /\n"),
    "pair without =": BuildCase(f"{SCRATCH}COPY a /\nENV A=b c\n"),
    "unknown flag": BuildCase(f"{SCRATCH}COPY --form=a a /\n"),
    "newer flag": BuildCase(f"{SCRATCH}COPY --link a /\n"),
    "heredoc": BuildCase(f"{SCRATCH}COPY a /\nCOPY <<EOF /x\nhi\nEOF\n"),
    "heredoc in a stage that isn't built": BuildCase(
        "FROM scratch AS prod\nCOPY a /\nFROM prod\nCOPY <<EOF /x\nhi\nEOF\n", build="target: prod"
    ),
    "escape directive": BuildCase("# escape=`\nFROM scratch\nCOPY `\n  a `\n # c\n\n  /x\n"),
    "wrong escape directive": BuildCase("# escape=x\nFROM scratch\nCOPY a /x\n"),
    "BOM and CRLF": BuildCase(b"\xef\xbb\xbfFROM scratch\r\nCOPY a \\\r\n  d/f /x/\r\n"),
    "stage that isn't built": BuildCase(TWO_STAGES),
    "target": BuildCase(TWO_STAGES, build="target: PROD"),
    "unknown target": BuildCase(TWO_STAGES, build="target: dev"),
    "index of a stage": BuildCase(f"{SCRATCH}COPY a /\n{SCRATCH}COPY --from=7 a /\n"),
    "own index": BuildCase(f"{SCRATCH}COPY --from=0 a /\n"),
    "copy from a stage": BuildCase(f"FROM scratch AS b\nCOPY a /q\n{SCRATCH}COPY --from=B q /\n"),
    "blank base": BuildCase("ARG BASE\nFROM ${BASE}\nCOPY a /\n"),
    "blank base of a stage that isn't built": BuildCase(f"FROM $BASE AS b\n{SCRATCH}COPY a /\n"),
    "invalid base": BuildCase("FROM Foo\nCOPY a /\n"),
    "base given": BuildCase("ARG BASE\nFROM ${BASE}\nCOPY a /\n", build="args: {BASE: scratch}"),
    "mount": BuildCase(f"FROM {IMAGE}\nRUN --mount=source=gone,target=/x true\n"),
    "mode": BuildCase(f"{SCRATCH}COPY --chmod=644 a /\n"),
    "no context": BuildCase(""),
    "no Dockerfile": BuildCase(SCRATCH, build="dockerfile: Dockerfile.prod"),
    "inline": BuildCase(SCRATCH, build='dockerfile_inline: "FROM scratch\\nCOPY gone /\\n"'),
    "additional context": BuildCase(f"{SCRATCH}COPY a /\n", build="additional_contexts: {x: ./q}"),
    "pattern that isn't valid": BuildCase(f"{SCRATCH}COPY ['a', '/x/']\n"),
    "pattern that isn't valid, beside a file": BuildCase(f"{SCRATCH}COPY d/[z-a] a /x/\n"),
    "pattern that isn't valid, in no folder": BuildCase(f"{SCRATCH}COPY gone/[a /x/\n"),
    "platform of four parts": BuildCase("FROM --platform=linux/amd64/v/x scratch\nCOPY a /\n"),
    "platform without a value": BuildCase("FROM --platform=$NONE scratch\nCOPY a /\n"),
    "platform of the builder": BuildCase("FROM --platform=$BUILDPLATFORM scratch\nCOPY a /\n"),
    "unknown platform": BuildCase("FROM --platform=foo scratch\nCOPY a /\n"),
    "invalid platform of a stage that isn't built": BuildCase(
        f"FROM --platform=linux//x scratch AS b\n{SCRATCH}COPY a /\n"
    ),
    "open quote of ENV": BuildCase(f'{SCRATCH}COPY a /\nENV A="b C=d\n'),
    "open quote of LABEL": BuildCase(f"{SCRATCH}COPY a /\nLABEL a='b\n"),
    "open quote of ARG": BuildCase(f"{SCRATCH}COPY a /\nARG a='b\n"),
    "open quote of WORKDIR": BuildCase(f'{SCRATCH}COPY a /\nWORKDIR "/x\n'),
    "apostrophe": BuildCase(f"{SCRATCH}COPY a /\nENV A it's\n"),
    "open quote of a stage that isn't built": BuildCase(
        f'FROM scratch AS b\nENV A="b\n{SCRATCH}COPY a /\n'
    ),
    "required variable": BuildCase(f"{SCRATCH}COPY a /\nENV A=${{B:?set it}}\n"),
    "required variable that is set": BuildCase(f"{SCRATCH}COPY a /\nARG B=x\nENV A=${{B:?no}}\n"),
    "port above 65535": BuildCase(f"{SCRATCH}COPY a /\nEXPOSE 70000\n"),
    "port by its name": BuildCase(f"{SCRATCH}COPY a /\nEXPOSE http\n"),
    "ports with a comma": BuildCase(f"{SCRATCH}COPY a /\nEXPOSE 80,81\n"),
    "ports in reverse order": BuildCase(f"{SCRATCH}COPY a /\nEXPOSE 90-80\n"),
    "protocol of a port": BuildCase(f"{SCRATCH}COPY a /\nEXPOSE 80/http\n"),
    "ports": BuildCase(
        f"{SCRATCH}COPY a /\nARG P='82 83'\nEXPOSE 80/TCP 81-85/udp 1.2.3.4:90:80 $P ${{NONE}}\n"
    ),
    "port of a variable": BuildCase(f"{SCRATCH}COPY a /\nARG P=http\nEXPOSE ${{P}}\n"),
    "signal": BuildCase(f"{SCRATCH}COPY a /\nSTOPSIGNAL SIGFOO\n"),
    "signal 0": BuildCase(f"{SCRATCH}COPY a /\nSTOPSIGNAL 0\n"),
    "signals": BuildCase(f"{SCRATCH}COPY a /\nSTOPSIGNAL quit\nSTOPSIGNAL SIGRTMIN+3\n"),
    "volume without a path": BuildCase(f'{SCRATCH}COPY a /\nVOLUME ["/v", " "]\n'),
    "volume of an empty variable": BuildCase(f"{SCRATCH}COPY a /\nVOLUME ${{NONE}}\n"),
    "interval without a unit": BuildCase(f"{SCRATCH}HEALTHCHECK --interval=5 CMD true\n"),
    "interval without a number": BuildCase(f"{SCRATCH}HEALTHCHECK --timeout=s CMD true\n"),
    "interval of microseconds": BuildCase(f"{SCRATCH}HEALTHCHECK --timeout=10us CMD true\n"),
    "negative interval": BuildCase(f"{SCRATCH}HEALTHCHECK --start-period=-1s CMD true\n"),
    "intervals": BuildCase(
        f"{SCRATCH}COPY a /\nHEALTHCHECK --interval=1m30s --timeout=1.5s --retries=3 CMD true\n"
    ),
    "retries": BuildCase(f"{SCRATCH}HEALTHCHECK --retries=x CMD true\n"),
    "health check without a command": BuildCase(f"{SCRATCH}HEALTHCHECK CMD\n"),
    "no health check of a command": BuildCase(f"{SCRATCH}HEALTHCHECK NONE true\n"),
    "copy of a URL": BuildCase(f"{SCRATCH}COPY https://example.com/x /x/\n"),
    "unknown type of a mount": BuildCase(f"{SCRATCH}RUN --mount=type=caches,target=/x true\n"),
    "unknown flag of RUN": BuildCase(f"{SCRATCH}RUN --network=none true\n"),
    "unknown flag of ENV": BuildCase(f"{SCRATCH}ENV --a b=c\n"),
    "unknown flag of FROM": BuildCase("FROM --os=linux scratch\nCOPY a /\n"),
    "required secret": BuildCase(f"FROM {IMAGE}\nRUN --mount=type=secret,id=t,required true\n"),
    "required SSH key": BuildCase(f"FROM {IMAGE}\nRUN --mount=type=ssh,required=true true\n"),
    "file of a secret": BuildCase(
        f"{SCRATCH}COPY a /\n", build="secrets: [t]", more="secrets: {t: {file: ./gone}}\n"
    ),
    "secret of the environment": BuildCase(
        f"{SCRATCH}COPY a /\n", build="secrets: [t]", more="secrets: {t: {environment: PF_GONE}}\n"
    ),
    "SSH agent": BuildCase(f"{SCRATCH}COPY a /\n", build="ssh: [default]"),
    "SSH key": BuildCase(f"{SCRATCH}COPY a /\n", build="ssh: ['k=./gone']"),
    "network": BuildCase(f"{SCRATCH}COPY a /\n", build="network: backend"),
    "network of the host": BuildCase(f"{SCRATCH}COPY a /\n", build="network: host"),
}


EVERY_CHANGE = (
    *(
        "missing",
        "present",
        "outside",
        "ignored",
        "invalid pattern ignored",
        "link outside",
        "pattern without a match",
    ),
    *("default of an argument", "unknown instruction", "heredoc", "unknown target", "mount"),
    *("blank base", "no context", "no Dockerfile", "exception at any depth"),
    *(
        "unknown platform",
        "open quote of ENV",
        "port by its name",
        "ports",
        "interval without a unit",
    ),
    *("required secret", "file of a secret", "SSH agent", "network"),
)
"""The cases that are built on every change; the others at night."""


def disagreements(engine: Engine, folder: Path, builder: str, names: Iterable[str]) -> list[str]:
    """Build the cases; returns where the builder says something else than the facts."""
    files = {name: CASES[name].write(folder / name.replace(" ", "-")) for name in names}
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda file: build(file, engine, builder), files.values()))
    wrong = []
    for (name, file), answer in zip(files.items(), answers, strict=True):
        error = measure(file, engine.url, builder)["error"].value
        words = (error or "").split("open Dockerfile.prod")  # it names a folder of its own there
        if (error is None) != (answer == "") or not all(word in answer for word in words):
            wrong.append(f"{name}: {error!r}, but {answer!r}")
    return wrong


@pytest.mark.parametrize("builder", BUILDERS)
def test_what_stops_a_build_is_what_the_builder_says(
    docker_engine: Engine, tmp_path: Path, builder: str
) -> None:
    assert disagreements(docker_engine, tmp_path, builder, EVERY_CHANGE) == []


@pytest.mark.nightly
@pytest.mark.parametrize("builder", BUILDERS)
def test_every_case_is_what_the_builder_says(
    docker_engine: Engine, tmp_path: Path, builder: str
) -> None:
    names = [name for name in CASES if name not in EVERY_CHANGE]
    assert disagreements(docker_engine, tmp_path, builder, names) == []


def values(case: BuildCase, folder: Path, builder: str = "buildkit", **environ: str) -> Any:
    """Return what is known of a build without an engine: problems, else why they aren't known."""
    return measure(case.write(folder), None, builder, **environ)["problems"].value


@pytest.mark.parametrize(
    "dockerfile",
    [
        "FROM node\nCOPY $SOURCE /\n",
        "FROM node\nCOPY ${SOURCE:-gone} /\n",
        f"{SCRATCH}ARG S=gone\nCOPY ${{S#g}} /\n",
        f"{SCRATCH}ENV S=a\nARG S=gone\nCOPY $S /\n",
        f"{SCRATCH}ARG TARGETARCH\nCOPY gone-$TARGETARCH /\n",
    ],
)
def test_a_source_that_depends_on_the_unknown_is_unknown(dockerfile: str, tmp_path: Path) -> None:
    value = values(BuildCase(dockerfile), tmp_path)
    assert isinstance(value, Unknown)
    assert value.reason.endswith("depends on a variable that isn't known")


@pytest.mark.parametrize(
    "dockerfile",
    [
        "FROM node\nCOPY --from=builder /gone /\nADD https://a.b/c git@a.b:c.git#d /\n",
        f"{SCRATCH}RUN --mount=type=cache,source=gone,target=/a b\n",
        f"{SCRATCH}RUN --mount=type=bind,from=node,source=gone,target=/a b\n",
        "FROM node\nCOPY $SOURCE /\nFROM scratch\nCOPY a /\n",
        f"{SCRATCH}COPY --parents ./d/./f --exclude=*.md d /x/\n",
        "FROM $BUILDPLATFORM\nCOPY a /\n",
        f"{SCRATCH}COPY <<EOF a /\ngone\nEOF\n",
    ],
)
def test_what_is_not_in_the_context_is_not_looked_up(dockerfile: str, tmp_path: Path) -> None:
    assert values(BuildCase(dockerfile), tmp_path) is None


def test_the_platform_of_the_engine_is_known(docker_engine: Engine, tmp_path: Path) -> None:
    case = BuildCase(f"{SCRATCH}ARG TARGETARCH\nCOPY gone-$TARGETARCH a /\n")
    arch = docker_engine.docker("version", "-f", "{{.Server.Arch}}")
    error = measure(case.write(tmp_path), docker_engine.url)["error"]
    assert error.value == f'failed to compute cache key: "/gone-{arch}" not found: not found'
    assert error.source == Source.in_file(f"{tmp_path}/web/Dockerfile", 3)


def test_whether_up_builds(docker_engine: Engine, tmp_path: Path) -> None:
    file = BuildCase(SCRATCH).write(tmp_path)

    def required(text: str) -> Any:
        file.write_text(f"services:\n  web:\n    build: ./web\n{text}")
        return measure(file, docker_engine.url)["required"].value

    assert required("") is True
    assert required(f"    image: {IMAGE}\n") is False, "it is there"
    assert required(f"    image: docker.io/library/{IMAGE}\n    pull_policy: build\n") is True
    assert required("    image: localhost:1/web:1\n") is False, "it may be pulled"
    docker_engine.docker("tag", IMAGE, "shop-web")
    assert required("name: shop\n") is False
    docker_engine.docker("rmi", "shop-web")


def test_what_lies_outside_of_the_project_is_not_read(tmp_path: Path) -> None:
    inside, outside = tmp_path / "project", tmp_path / "other"
    outside.mkdir()
    (outside / "Dockerfile").write_text("SECRET of mine\n")
    case = BuildCase(SCRATCH, build=f"dockerfile: {outside}/Dockerfile")
    value = values(case, inside)
    assert isinstance(value, Unknown)
    assert "outside the project" in value.reason
    (inside / "web/Dockerfile").unlink()
    (inside / "web/Dockerfile").symlink_to(outside / "Dockerfile")
    (inside / "compose.yaml").write_text("services: {web: {build: ./web}}")
    assert isinstance(measure(inside / "compose.yaml", None)["problems"].value, Unknown)
    allowed = measure(inside / "compose.yaml", None, PREFLIGHT_ALLOW_READ=str(outside))
    assert allowed["problems"].value == ["unknown instruction"]


@pytest.mark.parametrize(
    "context", ["https://a.b/c.git#d:e", "git@a.b:c.git", "ssh://a.b/c", "github.com/a/b"]
)
def test_a_context_elsewhere_is_not_judged(context: str, tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(f"services: {{web: {{build: '{context}'}}}}")
    measured = measure(file, None)
    assert measured["local"].value is False
    assert measured["problems"].value is None


def test_the_ignore_file_of_the_dockerfile_goes_first(tmp_path: Path) -> None:
    file = BuildCase(f"{SCRATCH}COPY a /\n", ignore="a\n").write(tmp_path)
    assert measure(file, None)["kinds"].value == ["ignored"]
    (tmp_path / "web/Dockerfile.dockerignore").write_text("b\n")
    assert measure(file, None)["kinds"].value is None
    assert measure(file, None, "classic")["kinds"].value == ["ignored"]


@pytest.mark.parametrize(
    ("dockerfile", "ignore"),
    [
        (f"{SCRATCH}COPY gone /\n", "**/a" * 9),
        (f"{SCRATCH}COPY gone /\n", "*a" * 500_000),
        (f"{SCRATCH}COPY gone /\n", "a\n" * 500_000),
        (SCRATCH + "COPY a /x\n" * 100_000, "b\n" * 1000),
    ],
    ids=["depth", "length", "patterns", "sources"],
)
def test_what_would_take_long_is_unknown_at_once(
    dockerfile: str, ignore: str, tmp_path: Path
) -> None:
    start = time.process_time()
    assert isinstance(values(BuildCase(dockerfile, ignore=ignore), tmp_path), Unknown)
    assert time.process_time() - start < 5


def test_the_line_of_an_invalid_pattern_is_named(tmp_path: Path) -> None:
    case = BuildCase(f"{SCRATCH}COPY a /x/\n", ignore="# b\n\n[a\n!\n")
    measured = measure(case.write(tmp_path), None)
    assert measured["problems"].value == [
        f"{tmp_path}/web/.dockerignore:3 isn't a valid pattern: [a"
    ]
    assert measured["kinds"].value == ["pattern"]


def test_all_sources_that_are_missing_are_named(tmp_path: Path) -> None:
    measured = measure(BuildCase(f"{SCRATCH}COPY a gone /\nADD no /\n").write(tmp_path), None)
    assert measured["problems"].value == [
        "COPY gone: it isn't in the build context",
        "line 3: ADD no: it isn't in the build context",
    ]
    key = "failed to compute cache key: failed to calculate checksum of ref"
    assert measured["error"].value == f'{key}: "/gone": not found', "of a current BuildKit"


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    case = BuildCase(b"FROM scratch\nCOPY gone\xff /\n", ignore="\u00ff\n")
    measured = measure(case.write(tmp_path), None)
    assert measured["problems"].value == ["COPY gone?: it isn't in the build context"]


def test_a_builder_of_buildx_may_know_more(tmp_path: Path) -> None:
    builder = find_builder(Unknown("no engine"), {"DOCKER_BUILDKIT": "False"})
    assert builder.name == "classic"
    (tmp_path / "buildx").mkdir()
    (tmp_path / "buildx/current").write_text('{"Name": "mine"}')
    version = {"Version": "20.10.24", "Os": "linux", "Arch": "amd64"}
    api = EngineApi(Endpoint("unix:///nowhere", "default", "the test"), 1)
    engine = AnsweringEngine(api, version, {}, "docker", NO_HOST_VISIBILITY)
    assert find_builder(engine, {"DOCKER_CONFIG": "/nowhere"}).syntax == (1, 2)
    for environ in ({"DOCKER_CONFIG": str(tmp_path)}, {"BUILDX_BUILDER": "mine"}):
        assert find_builder(engine, environ).syntax is None
