"""What stops a build, against what the real builders of Docker 20.10 then say."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from builds import BUILDERS, BuildCase, build, measure
from engines import IMAGE, Engine

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
    "base given": BuildCase("ARG BASE\nFROM ${BASE}\nCOPY a /\n", build="args: {BASE: scratch}"),
    "mount": BuildCase(f"FROM {IMAGE}\nRUN --mount=source=gone,target=/x true\n"),
    "mode": BuildCase(f"{SCRATCH}COPY --chmod=644 a /\n"),
    "no Dockerfile": BuildCase(SCRATCH, build="dockerfile: Dockerfile.prod"),
    "inline": BuildCase(SCRATCH, build='dockerfile_inline: "FROM scratch\\nCOPY gone /\\n"'),
    "additional context": BuildCase(f"{SCRATCH}COPY a /\n", build="additional_contexts: {x: ./q}"),
}


EVERY_CHANGE = (
    *("missing", "present", "outside", "ignored", "link outside", "pattern without a match"),
    *("default of an argument", "unknown instruction", "heredoc", "unknown target", "mount"),
    *("blank base", "no Dockerfile", "exception at any depth"),
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
