"""Dockerfiles as the builders read them."""

from __future__ import annotations

import time

import pytest

from preflight.facts.builds.dockerfile import DockerfileError, parse_dockerfile
from preflight.facts.builds.stages import BuildPlan


def read(text: str, syntax: tuple[int, int] | None = None) -> list[tuple[str, str, int]]:
    """Return name, text and line of each instruction of the last stage."""
    stage = parse_dockerfile(text.encode(), syntax).stages[-1]
    return [(own.name, own.text, own.line) for own in stage.instructions]


def refusal(text: str, syntax: tuple[int, int] | None = None) -> tuple[str, int]:
    with pytest.raises(DockerfileError) as raised:
        parse_dockerfile(text.encode(), syntax)
    return str(raised.value), raised.value.line


@pytest.mark.parametrize(
    ("text", "instructions"),
    [
        ("run a", [("RUN", "a", 2)]),
        ("RUN a \\\n  b\\\nc", [("RUN", "a   bc", 2)]),
        ("RUN a \\\n# comment\n\n  # more\n  b\nUSER c", [("RUN", "a   b", 2), ("USER", "c", 7)]),
        ("RUN a \\\\\nUSER b", [("RUN", "a \\\\", 2), ("USER", "b", 3)]),
        ("RUN a \\", [("RUN", "a", 2)]),
        ("RUN --mount=type=cache,target=/a --network=none b", [("RUN", "b", 2)]),
        ('COPY --chown="a b" a b', [("COPY", "a b", 2)]),
        ("RUN <<EOF\nRUNN a\n#EOF\nEOF\nUSER a", [("RUN", "<<EOF", 2), ("USER", "a", 6)]),
        (
            "COPY <<-'A' <<B /\na\n\tA\nb\nB\nUSER a",
            [("COPY", "<<-'A' <<B /", 2), ("USER", "a", 7)],
        ),
        ('RUN echo "<<EOF"\nUSER a', [("RUN", 'echo "<<EOF"', 2), ("USER", "a", 3)]),
        ("RUN cat <<< a\nUSER a", [("RUN", "cat <<< a", 2), ("USER", "a", 3)]),
        ("ONBUILD RUN <<E\nx\nE\nUSER a", [("ONBUILD", "RUN <<E", 2), ("USER", "a", 5)]),
    ],
)
def test_instructions(text: str, instructions: list[tuple[str, str, int]]) -> None:
    assert read(f"FROM a\n{text}") == instructions
    assert read("\N{BYTE ORDER MARK}FROM a\r\n" + text.replace("\n", "\r\n")) == instructions


def test_flags_that_a_newer_builder_may_know() -> None:
    text = "FROM a\nHEALTHCHECK --every=1s CMD true"
    assert refusal(text, (1, 19)) == ("Unknown flag: every", 2)
    for syntax in (None, (1, 20)):
        assert parse_dockerfile(text.encode(), syntax).stages


def test_another_escape_character() -> None:
    text = "# escape=`\nFROM a\nRUN dir c:\\\nRUN a `\n b"
    assert read(text) == [("RUN", "dir c:\\", 3), ("RUN", "a  b", 4)]
    assert refusal(f"\n{text}") == ("unknown instruction: B", 6), "a comment after a blank line"


@pytest.mark.parametrize(
    ("first_lines", "syntax", "is_understood"),
    [
        ("", (1, 2), False),
        ("", (1, 4), True),
        ("", None, True),
        ("# syntax=docker/dockerfile:1\n", (1, 2), True),
        ("#syntax = docker/dockerfile:1.3\n", None, False),
        ("# syntax=docker/dockerfile:1.3-labs\n", None, True),
        ("# a comment\n# syntax=docker/dockerfile:1\n", (1, 2), False),
    ],
)
def test_heredocs_by_what_the_builder_understands(
    first_lines: str, syntax: tuple[int, int] | None, is_understood: bool
) -> None:
    text = f"{first_lines}FROM a\nRUN <<EOF\necho\nEOF\n"
    if is_understood:
        assert [name for name, _, _ in read(text, syntax)] == ["RUN"]
    else:
        assert refusal(text, syntax)[0] == "unknown instruction: ECHO"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("DB_PASSWORD=hunter2\n", "unknown instruction"),
        ("correcthorse", "unknown instruction"),
        ("ARG A\nTOKEN=x", "unknown instruction"),
        ("FORM a", "unknown instruction: FORM"),
        ("FROM a\nhunter2 x", "unknown instruction: HUNTER2"),
    ],
)
def test_a_line_of_another_file_is_not_shown(text: str, message: str) -> None:
    """A stranger's compose file may have `dockerfile: .env`."""
    assert refusal(text)[0] == message


@pytest.mark.parametrize(
    "text",
    ["FROM a\nRUN " + "--a " * 100_000 + "true", "# a = x" + " " * 300_000 + "y\nFROM a\nRUN b"],
    ids=["flags", "directive"],
)
def test_long_lines_take_linear_time(text: str) -> None:
    start = time.process_time()
    assert len(read(text)) == 1
    assert time.process_time() - start < 2


def test_a_directive_is_a_comment_to_the_classic_builder() -> None:
    text = b"# syntax=docker/dockerfile:1\nFROM a\nRUN <<EOF\necho\nEOF\n"
    with pytest.raises(DockerfileError, match="unknown instruction: ECHO"):
        parse_dockerfile(text, (1, 2), reads_directive=False)


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("", "file with no instructions", 1),
        ("# comment\n\n", "file with no instructions", 1),
        ("ARG A", "dockerfile contains no stages to build", 1),
        ("FROM a\nRUN <<EOF\nEOF2", "unterminated heredoc", 2),
        ("FROM a\nWORKDIR", "WORKDIR requires exactly one argument", 2),
        ("FROM a\nENV A", "ENV must have two arguments", 2),
        ("FROM a\nSHELL sh", "SHELL requires the arguments to be in JSON form", 2),
        ("FROM a\nARG =b", "ARG names can not be blank", 2),
        ("FROM a\nONBUILD FROM b", "FROM isn't allowed as an ONBUILD trigger", 2),
    ],
)
def test_what_is_refused(text: str, message: str, line: int) -> None:
    assert refusal(text) == (message, line)


@pytest.mark.parametrize(
    "text",
    [
        "RUN a \\\n" * 100_000,
        "ENV " + "A=b " * 200_000,
        "ENV A=" + '"' * 1_000_001,
        "COPY --from=" + "a" * 1_000_000,
        "RUN " + "<<" * 500_000,
        "COPY " + "[" * 1_000_000 + " a",
        "FROM a AS b\n" * 900 + "COPY a b\n" * 90_000,
        "ENV A=$A$A\n" * 90_000 + "COPY $A /\n",
        *("\n".join(f"ENV A{number}=$A{number - 1}x" for number in range(1, 40_000)),),
    ],
    ids=range(9),
)
def test_a_megabyte_takes_no_long_time(text: str) -> None:
    started = time.process_time()
    try:
        dockerfile = parse_dockerfile(f"FROM scratch\n{text}".encode())
    except DockerfileError:
        pass
    else:
        assert sum(1 for _ in BuildPlan(dockerfile, {}, {}, {}).list_context_sources()) >= 0
    assert time.process_time() - started < 5
