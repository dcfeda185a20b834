"""Patterns of `.dockerignore` and of COPY, against what the real builders leave out."""

from __future__ import annotations

import io
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from builds import BUILDERS, environment
from compose_projects import compose_program
from engines import Engine
from preflight.facts.builds.context import (
    BuildContext,
    DockerignoreFile,
    InvalidPathPatternError,
    UndecidableCopySourceError,
    compile_path_pattern,
    has_wildcard,
)

FILES = (
    *("a", "b.md", "c.txt", ".env", ".env.local", "README.md", "x", "a b", "!c"),
    *("src/a", "src/b.md", "src/deep/a", "src/deep/c.txt", "src/.env", "src/x/y/z"),
    *("node_modules/m/a", "src/node_modules/m/b.md", "dist/a", "dist/keep/a", "dist/keep/b.md"),
)
IGNORE_FILES = (
    "*.md\n!README.md\n",
    "# comment\n  .env*  \n/src/\n\n!src/a\n",
    "*\n!src\nsrc/deep\n!c.txt\n",
    "**\n!**/*.txt\n",
    "**/node_modules\n**/.env\ndist\n!dist/keep\ndist/keep/*.md\n",
    "**/a\n!src/**/a\n",
    "./src/../dist/./keep\n[ab]\n\\[x\\]\n",
    "src/*\n!src/deep\n?.txt\n",
    "**/*.md\n**/x/**\n!\\!c\nsrc/**/c.txt\n",
    "\N{BYTE ORDER MARK}[^a-c]\r\nsrc/deep/**\r\n",
)


@pytest.mark.parametrize("builder", BUILDERS)
def test_what_is_ignored_is_what_the_builder_leaves_out(
    docker_engine: Engine, tmp_path: Path, builder: str
) -> None:
    services = []
    for number, text in enumerate(IGNORE_FILES):
        context = tmp_path / str(number)
        for name in FILES:
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            (context / name).write_text("x")
        (context / ".dockerignore").write_text(text, newline="")
        (context / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
        services.append(f"  s{number}: {{image: 'ignore:{builder}{number}', build: ./{number}}}\n")
    file = tmp_path / "compose.yaml"
    file.write_text("services:\n" + "".join(services))
    subprocess.run(
        [compose_program(), "-f", str(file), "build"],
        env={**environment(file, builder), "DOCKER_HOST": docker_engine.url},
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    wrong = {}
    for number, text in enumerate(IGNORE_FILES):
        kept = files_of_image(docker_engine, f"ignore:{builder}{number}") & set(FILES)
        context = BuildContext(
            str(tmp_path / str(number)),
            DockerignoreFile(text.encode()),
            ".dockerignore",
            classic=builder == "classic",
        )
        expected = {name for name in FILES if context.find_source_problem(name) is None}
        if kept != expected:
            wrong[text] = sorted(kept ^ expected)
    assert wrong == {}


def files_of_image(engine: Engine, image: str) -> set[str]:
    saved = subprocess.run(
        ["docker", "-H", engine.url, "save", image], check=True, capture_output=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
        names = [name for name in archive.getnames() if name.endswith("layer.tar")]
        layers = [archive.extractfile(name) for name in names]
        return {
            member.name
            for layer in layers
            if layer is not None
            for member in tarfile.open(fileobj=layer)
            if member.isfile()
        }


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("a*c", ["ac", "abc", "abcc"], ["a/c", "abcd"]),
        ("*a*b*", ["ab", "xaxbx", "aab"], ["ba", "a/b"]),
        ("?[a-c]", ["xa", "[c"], ["x", "xd", "/a"]),
        ("[^a]", ["b", "\u00e9"], ["a", ""]),
        ("[\\]a]", ["]", "a"], ["\\"]),
        ("a\\*", ["a*"], ["ab"]),
        ("{a,b}+(c)$", ["{a,b}+(c)$"], ["a"]),
    ],
)
def test_patterns_of_names(pattern: str, matching: list[str], other: list[str]) -> None:
    expression = compile_path_pattern(pattern)
    assert [name for name in (*matching, *other) if expression.fullmatch(name)] == matching


@pytest.mark.parametrize("pattern", ["[a", "a[]", "[]", "a\\", "[b-a]", "[a-]"])
def test_patterns_that_go_refuses(pattern: str) -> None:
    with pytest.raises(InvalidPathPatternError):
        compile_path_pattern(pattern)


def test_which_exceptions_may_keep_a_folder() -> None:
    ignore = DockerignoreFile(b"*\n!package*.json\n!src/*/a\n")
    assert ignore.may_include_below("src")
    assert not ignore.may_include_below("dist")
    assert DockerignoreFile(b"*\n!**/a\n").may_include_below("dist")


def test_wildcards() -> None:
    assert has_wildcard("a[b]")
    assert not has_wildcard("a\\[b\\]")


def test_a_hostile_pattern_takes_no_long_time() -> None:
    started = time.process_time()
    name = "/".join(["a" * 250] * 4)
    lines = ["*a" * 100 + "b", "**/a" * 4 + "*b", "a*" * 100 + "[b]", "?*" * 50 + "b"]
    ignore = DockerignoreFile("\n".join(lines * 5).encode())
    assert ignore.find_excluding_pattern(name) is None
    with pytest.raises(UndecidableCopySourceError):
        DockerignoreFile(b"**/a/**/a/**/a/**/a/**/a/**/b")
    assert time.process_time() - started < 3
