"""Whatever the blocks, lines and bytes are: what is found is what a plain reading finds."""

from __future__ import annotations

import io
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bundled_rules import bundled_rules
from known_errors import CLEAN, HITS
from log_matchers import ENGINES, share_matchers
from preflight.logs import candidate_lines
from preflight.logs.lines import LogLine, parse_docker_log_line
from preflight.logs.log_searcher import LogSearcher
from preflight.model.diagnosis import KnownErrorFinding
from preflight.model.patterns import compile_log_pattern
from preflight.model.rules import DiagnosisRule

RULES = bundled_rules(known_errors=True)
LINES = [line for lines in (*HITS.values(), *CLEAN.values()) for line in lines]
SIMPLE = (
    DiagnosisRule("error", "E", (r"error (?P<code>\d+)", "failure")),
    DiagnosisRule("kill", "K", ("killed by [a-z]+", "sigkill")),
    DiagnosisRule("class", "C", (r"took \d\d?m\d\ds", "^[^x]*wide$")),
    DiagnosisRule("short", "S", ("q",)),
    DiagnosisRule("any", "A", (r"[0-9]+[a-z]+=",)),
    DiagnosisRule("wild", "W", (r"(x+x+)+y",)),
    DiagnosisRule("quote", "Q", (r'"é" <\w+>$',)),
)


@pytest.fixture(params=ENGINES, autouse=True, scope="module")
def engine(request: pytest.FixtureRequest) -> Iterator[None]:
    """With Hyperscan, and as on a machine that has none."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        share_matchers(monkeypatch, request.param)
        yield


def read(
    diagnoses: tuple[DiagnosisRule, ...], *blocks: bytes
) -> tuple[dict[str, KnownErrorFinding], int]:
    """Return the known errors of a log that comes in these blocks, and its number of lines."""

    left = list(blocks)

    class Blocks(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return left.pop(0) if left else b""

    reader = LogSearcher(diagnoses)
    reader.add_log("a.log", Blocks())  # type: ignore[arg-type]
    contents = reader.build_search_result()
    return {error.id: error for error in contents.errors}, contents.line_count


Counts = dict[str, tuple[int, int, int]]


def counts(errors: dict[str, KnownErrorFinding]) -> Counts:
    return {i: (e.occurrences, e.first.line, e.last.line) for i, e in errors.items()}


def only(id_: str) -> tuple[DiagnosisRule, ...]:
    return tuple(diagnosis for diagnosis in RULES.diagnoses if diagnosis.id == id_)


def plain_counts(diagnoses: tuple[DiagnosisRule, ...], data: bytes) -> Counts:
    """Count line by line: each belongs to the first diagnosis with a pattern that matches.

    Only if none does, a pager's mark at the end of the line is left out.
    """
    numbers: dict[str, list[int]] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        whole = [re.sub(rb"\x1b\[[0-9;]*m", b"", line).rstrip(b"\r"), line.rstrip(b"\r")]
        whole += [text.lstrip() for text in whole]  # a message may be indented
        for texts in (whole, [text.removesuffix("…".encode()) for text in whole]):
            matching = [
                diagnosis.id
                for diagnosis in diagnoses
                if any(compile_log_pattern(p).search(t) for p in diagnosis.patterns for t in texts)
            ]
            if matching:
                numbers.setdefault(matching[0], []).append(number)
                break
    return {id_: (len(lines), lines[0], lines[-1]) for id_, lines in numbers.items()}


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


WORDS = st.sampled_from(
    ["error 12", "ERROR 7", "error", "failure", "killed by me", "SIGKILL", "took 1m32s", "took 9s",
     "q", "12ab=", "xxxxy", "xxxx", "é", "\x01", "\r\n", "\n", "\n", "\n", " ", "ki", "er", "k" * 9,
     "…", "\ufffd", "\x1b[31m", "wide", '"é" <b>']
)  # fmt: skip


@settings(max_examples=3 * settings.default.max_examples)
@given(st.lists(WORDS, max_size=60).map("".join), st.integers(1, 80))
@example("qwide…", 1)
def test_any_blocks(text: str, size: int) -> None:
    data = b"- " + text.encode()
    errors, lines = read(SIMPLE, *cut(data, size))
    assert counts(errors) == plain_counts(SIMPLE, data)
    assert lines == data.count(b"\n") + (not data.endswith(b"\n"))


@settings(max_examples=2 * settings.default.max_examples)
@given(st.lists(WORDS, max_size=60).map("".join), st.integers(1, 80))
def test_any_blocks_whose_lines_are_as_long_as_can_be(text: str, size: int) -> None:
    data = b"\n".join(line.encode()[:20] for line in ("- " + text).split("\n"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(candidate_lines, "MATCH_CONTEXT_BYTES", 24)
        errors, _ = read(SIMPLE, *cut(data, size))
    assert counts(errors) == plain_counts(SIMPLE, data)


ATOMS = st.sampled_from(
    ["a", "b", "[ab]", "(a|b)", "(a|ab)(c|bcd)", "(?P<x>a*)", "(a+)+", r"\b", r"\B", "^", "$",
     "(?:ab)?", "a{1,3}", "a{,2}b", "a{2,}?", "[^a]", r"\w", r"\D", r"[\W_]", r"\s", r"[^\s]",
     "(?i:B)", "(?-i:B)", ".", "(?:a|b)+?", "é", r"\Z", r"\A", "(?:a|bc|abd)", '"', "<", r"\\",
     r'["\\]', "(?:(?P<y>a)b|ac)"]
)  # fmt: skip


@settings(max_examples=5 * settings.default.max_examples)
@given(
    st.lists(ATOMS, min_size=1, max_size=5).map("".join),
    st.lists(st.text('abcdBé "<\\_-\t', min_size=1, max_size=12), min_size=1, max_size=4),
    st.booleans(),
)
@example(r"\Ab", [" B"], False)
@example('""', ['"\\"'], False)
@example('""', ['"\\"'], True)
@example('b["]a', ['B""a'], False)
@example('b["]a', ['B""a'], True)
@example("a[^a][^a][^a]a", ['a<<""a'], True)
def test_any_pattern_matches_where_pythons_own_does(
    pattern: str, texts: list[str], wrapped: bool
) -> None:
    """In docker's json-file too, where a quote and some others are written in another way."""
    diagnoses = (DiagnosisRule("d", "D", (pattern,)),)
    try:
        compile_log_pattern(pattern)
    except ValueError:  # a group's name twice
        return
    matching = (bool(plain_counts(diagnoses, text.encode())) for text in texts)
    data = "\n".join(
        text if matches else unescape_quotes(text, in_json=wrapped)
        for text, matches in zip(texts, matching, strict=True)
    ).encode()
    rows = [docker_row(text) for text in texts] if wrapped else texts
    found = counts(read(diagnoses, ("\n".join(rows)).encode())[0])
    assert found == plain_counts(diagnoses, data) or any(map(is_in_prompt_or_answer, texts))


def is_in_prompt_or_answer(text: str) -> bool:
    return "input" in text


def unescape_quotes(text: str, *, in_json: bool) -> str:
    """Return what a line may hold that is escaped, as in JSON or, outside of JSON, in CSV."""
    return re.sub(r'\\+"' if in_json else r'\\+"|""', '"', text)


def docker_row(text: str) -> str:
    """Write a line as Docker does."""
    row = json.dumps({"log": text + "\n", "stream": "stderr"}, ensure_ascii=False)
    return row.replace('": "', '":"').replace("<", r"\u003c")


@pytest.mark.parametrize(("pattern", "text"), [(r"\B<", "B<<"), (r"\boom", "<oom")])
def test_a_word_beside_what_json_escapes(pattern: str, text: str) -> None:
    diagnoses = (DiagnosisRule("d", "D", (pattern,)),)
    assert read(diagnoses, docker_row(text).encode())[0]["d"].occurrences == 1


def test_each_line_an_error() -> None:
    line = HITS["disk-full"][0]
    errors, lines = read(RULES.diagnoses, f"{line}\n".encode() * 2000)
    assert (errors["disk-full"].occurrences, lines) == (2000, 2000)


def test_grep_counts_the_same_lines(tmp_path: Path) -> None:
    """An independent reader, line by line, of a log of all that is known and near."""
    rows = [
        line
        for number in range(300)
        for line in (LINES[number % len(LINES)], "INFO: x" * (number % 40))
    ]
    log = tmp_path / "a.log"
    log.write_text("\n".join(rows) + "\n", encoding="utf-8")
    errors, _ = read(RULES.diagnoses, log.read_bytes())
    for id_ in ("ollama-busy", "cpu-limit-refused", "runner-stopped", "load-timed-out"):
        diagnosis = next(d for d in RULES.diagnoses if d.id == id_)
        joined = "|".join(ere(p) for p in diagnosis.patterns)
        done = subprocess.run(["grep", "-ciE", joined, str(log)], capture_output=True, text=True)
        assert errors[id_].occurrences == int(done.stdout) > 0, id_


def ere(pattern: str) -> str:
    """Write a pattern in grep's grammar."""
    plain = re.sub(r"\(\?P<[a-z_]+>|\(\?:", "(", pattern)
    return plain.replace(r"\d", "[0-9]")


def test_a_line_longer_than_memory_should_hold() -> None:
    error = HITS["model-needs-more-memory"][0].encode()
    parts = [b" -" * 2**18 + (b" " + error if number in (3, 8) else b"") for number in range(12)]
    errors, lines = read(
        only("model-needs-more-memory"), b"first line\n", *parts, b"\nlast line: " + error
    )
    assert counts(errors) == {"model-needs-more-memory": (3, 2, 3)}
    assert lines == 3


def test_a_cut_line_neither_begins_nor_ends_there() -> None:
    diagnoses = (DiagnosisRule("d", "D", ("^failure here", "failure there$")),)
    long = b" -" * 4500
    assert not read(diagnoses, long + b"failure here" + long)[0]
    assert not read(diagnoses, long + b"failure there" + long)[0]
    assert read(diagnoses, b"failure here" + long)[0]["d"].occurrences == 1


def test_dockers_json_file() -> None:
    rows = (
        r'{"log":"Error: model requires more system memory (5.7 GiB) than is available (2.8 GiB)'
        r'\n",'
        r'"stream":"stderr","time":"2026-11-23T10:00:00.123456789Z"}'
        "\n"
        r'{"log":"  \"OOMKilled\": true,\n","stream":"stdout","time":"2026-11-23T11:00:00Z"}'
        "\n"
        r'{"log":"MemoryError\r\n","stream":"stdout","time":"2026-11-23T11:00:00Z"}'
        "\n"
        r'{"log":"cut in the mid'
    )
    errors, _ = read(RULES.diagnoses, rows.encode())
    assert errors["model-needs-more-memory"].first.time == "2026-11-23T10:00:00.123456789Z"
    assert errors["container-oom-killed"].last.time == "2026-11-23T11:00:00Z"
    assert errors["process-out-of-memory"].first.line == 3


@pytest.mark.parametrize(
    "line", ['{"log":"it is fu', '{"log":5}', '{"log":null,"time":"x"}', '{"log":' + "[" * 100_000]
)
def test_a_line_of_dockers_that_is_cut_is_text(line: str) -> None:
    assert parse_docker_log_line(line.encode()) == LogLine(line.encode())


def test_first_and_last_of_several_logs_are_by_time() -> None:
    reader = LogSearcher(RULES.diagnoses)
    line = "write /a: no space left on device\n"
    for name, hour in (("b", "12"), ("a", "10"), ("c", "11")):
        reader.add_log(name, io.BytesIO(f"2026-01-01T{hour}:00:00Z {line}".encode()))
    error = reader.build_search_result().errors[0]
    assert (error.first.file, error.last.file, error.occurrences) == ("a", "b", 3)


def test_without_a_year_they_are_in_the_order_of_the_logs() -> None:
    reader = LogSearcher(RULES.diagnoses)
    line = "write /a: no space left on device\n"
    for name, day in (("b", 3), ("a", 1), ("c", 2)):
        reader.add_log(name, io.BytesIO(f"Nov  {day} 10:11:12 {line}".encode()))
    error = reader.build_search_result().errors[0]
    assert (error.first.file, error.last.file) == ("b", "c")


def test_often_within_a_while() -> None:
    often = (DiagnosisRule("often", "O", ("slow answer",), times=3, within=60.0),)
    rows = [f"2026-01-01T00:{minute:02}:00Z slow answer\n" for minute in (0, 1, 2, 30, 31)]
    rows += [f"2026-01-01T01:00:{second}Z slow answer\n" for second in ("00", "20", "50")]
    assert not read(often, "".join(rows[:-1]).encode())[0]
    assert read(often, "".join(rows).encode())[0]["often"].occurrences == 8
    rotated = LogSearcher(often)
    rotated.add_log("a.log.1", io.BytesIO("".join(rows[:-1]).encode()))
    rotated.add_log("a.log", io.BytesIO(rows[-1].encode()))
    assert rotated.build_search_result().errors[0].occurrences == 8, "over what was rotated too"


def test_lines_with_one_pid_are_one_event() -> None:
    event = (DiagnosisRule("event", "E", (r"killed (?P<pid>\d+)",)),)
    rows = "".join(f"killed {number // 2}\n" for number in range(6)).encode()
    assert read(event, rows)[0]["event"].occurrences == 3
    assert read(event, rows + b"-\n" * 60 + b"killed 2\n")[0]["event"].occurrences == 4


def test_what_is_shown_of_a_line_holds_the_error() -> None:
    (error,) = read(SIMPLE[:1], b" -" * 1500 + b" error 7, " + b"y" * 3000)[0].values()
    assert "error 7" in error.excerpt[:80]
    assert len(error.excerpt) <= 501


def test_a_pattern_that_takes_too_long_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Hyperscan has found the line, Python's own engine still has to read it."""
    monkeypatch.setattr("preflight.logs.log_searcher._MAX_CHUNK_SEARCH_CPU_SECONDS", 0.05)
    line = b"x" * 60 + b" xxy\n"
    with pytest.raises(ValueError, match=r"\(x\+x\+\)\+y.*takes too long"):
        read((DiagnosisRule("wild", "W", (r"(x+x+)+y",)),), line)
