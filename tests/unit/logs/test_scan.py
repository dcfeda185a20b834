"""Whatever the blocks, parts, lines and bytes are: what is found is what a plain reading finds."""

from __future__ import annotations

import io
import re
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from known_errors import CLEAN, HITS
from paths import ROOT
from preflight import check as pipeline
from preflight.logs import log_reader as logs
from preflight.logs import scan, sieve, streams
from preflight.logs.lines import Line, read
from preflight.logs.log_reader import LogReader
from preflight.logs.scan import Scanner
from preflight.logs.sieve import Sieve
from preflight.model.rules import Diagnosis

RULES = pipeline.load(str(ROOT / "rules.yaml"), lambda name: Path(name).read_bytes())
LINES = [line for many in (*HITS.values(), *CLEAN.values()) for line in many]
SIMPLE = (
    Diagnosis("error", "E", (r"error (?P<code>\d+)", "failure")),
    Diagnosis("kill", "K", ("killed by [a-z]+", "sigkill")),
    Diagnosis("class", "C", (r"took \d\d?m\d\ds",)),
    Diagnosis("short", "S", ("q",)),
    Diagnosis("any", "A", (r"[0-9]+[a-z]+=",)),
    Diagnosis("wild", "W", (r"(x+x+)+y",)),
)


@pytest.fixture(params=["re2", "passes"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without the engine that need not be installed."""
    if request.param == "passes":
        monkeypatch.setattr(sieve, "re2", None)
    else:
        pytest.importorskip("re2", reason="google-re2 is not installed")


def plainly(diagnoses: tuple[Diagnosis, ...], data: bytes) -> list[tuple[int, list[int]]]:
    """Count as a reader without any haste would: each line, each pattern."""
    rows = data.split(b"\n")
    found = []
    for one in diagnoses:
        numbers = [
            number
            for number, row in enumerate(rows, 1)
            if any(re.search(p, row.decode("utf-8", "replace"), re.I | re.A) for p in one.patterns)
        ]
        found.append((len(numbers), numbers[:1] + numbers[-1:]))
    return found


def counted(counts: scan.Counted) -> list[tuple[int, list[int]]]:
    return [
        (t.count, [met.number for met in (t.first, t.last) if met is not None])
        for t in counts.tallies
    ]


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


WORDS = st.sampled_from(
    ["error 12", "ERROR 7", "error", "failure", "killed by me", "SIGKILL", "took 1m32s", "took 9s",
     "q", "12ab=", "xxxxy", "xxxx", "é", "\x00", "\r", "\n", "\n", "\n", " ", "ki", "er", "k" * 9,
     "…", "\ufffd", "\x1b[31m"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, max_size=60).map("".join), st.integers(1, 80))
def test_any_blocks(text: str, size: int) -> None:
    data = text.encode()
    found = Scanner(SIMPLE).scan(cut(data, size))
    assert counted(found) == plainly(SIMPLE, data)
    assert found.lines == data.count(b"\n") + (not data.endswith(b"\n") and bool(data))


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, max_size=60).map("".join), st.integers(1, 80))
def test_any_blocks_that_hold_few_lines(text: str, size: int) -> None:
    """With a reach of a line, every block ends in what the next one needs."""
    data = b"\n".join(line.encode()[:20] for line in text.split("\n"))
    was, scan.REACH = scan.REACH, 24
    try:
        found = Scanner(SIMPLE).scan(cut(data, size))
    finally:
        scan.REACH = was
    assert counted(found) == plainly(SIMPLE, data)


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS, max_size=60).map("".join), st.lists(st.integers(0, 300), max_size=4))
def test_parts_join_to_the_whole(text: str, cuts: list[int]) -> None:
    data = text.encode()
    bounds = [0, *sorted(min(one, len(data)) for one in cuts), len(data)]
    whole = Scanner(SIMPLE).scan([data])
    joined = scan.Counted(SIMPLE)
    reader = LogReader(SIMPLE)
    for begin, end in pairwise(bounds):
        joined.join(reader.count_part(io.BytesIO(data), begin, end, len(data)))
    assert counted(joined) == counted(whole)
    assert joined.lines == whole.lines
    assert [t.values for t in joined.tallies] == [t.values for t in whole.tallies]


def test_parts_of_events_and_of_whiles_join_too() -> None:
    often = Diagnosis("often", "O", ("slow answer",), times=3, within=60.0)
    event = Diagnosis("event", "E", (r"killed (?P<pid>\d+)",))
    rows = [
        f"2026-01-01T00:{minute:02}:00Z slow answer\nkilled {minute // 2}\n"
        for minute in (0, 1, 2, 30, 31)
    ]
    rows += [
        "2026-01-01T01:00:00Z slow answer\n",
        "2026-01-01T01:00:20Z slow answer\n",
        "2026-01-01T01:00:50Z slow answer\n",
    ]
    data = "".join(rows).encode()
    whole = Scanner((often, event)).scan([data])
    assert [t.count for t in whole.tallies] == [8, 3]
    assert whole.tallies[0].is_met
    assert not Scanner((often,)).scan(["".join(rows[:-1]).encode()]).tallies[0].is_met
    for at in range(0, len(data), 7):
        reader = LogReader((often, event))
        first = reader.count_part(io.BytesIO(data), 0, at, len(data))
        first.join(reader.count_part(io.BytesIO(data), at, len(data), len(data)))
        assert counted(first) == counted(whole)
        assert [t.is_met for t in first.tallies] == [True, True]


def test_the_sieve_loses_no_line_of_the_bundled_rules() -> None:
    sources = [p for one in RULES.diagnoses for p in one.patterns]
    for sample in (b"", "\n".join(LINES).encode(), bytes(range(256)) * 9, b"aeiou" * 99):
        sieve_ = Sieve(sources, sample)
        for line in LINES:
            for text in (line, line.upper(), f"x{line}y"):
                data = text.encode()
                told = {o for _, owners in sieve_.places(data, 0, len(data)) for o in owners}
                must = {n for n, p in enumerate(sources) if re.search(p, text, re.I | re.A)}
                assert must <= told, text


def test_a_dense_block_is_searched_all_the_same() -> None:
    line = HITS["disk-full"][0]
    found = Scanner(RULES.diagnoses).scan([f"{line}\n".encode() * 5000])
    tally = next(t for t in found.tallies if t.diagnosis.id == "disk-full")
    assert (tally.count, found.lines) == (5000, 5000)


def test_grep_counts_the_same_lines(tmp_path: Path) -> None:
    """An independent reader, line by line, of a log of all that is known and near."""
    rows = [
        line
        for number in range(300)
        for line in (LINES[number % len(LINES)], "INFO: x" * (number % 40))
    ]
    log = tmp_path / "a.log"
    log.write_text("\n".join(rows) + "\n", encoding="utf-8")
    reader = LogReader(RULES.diagnoses)
    with log.open("rb") as file:
        reader.add("a.log", file)
    counts = {
        name: t.count for (_, c) in reader._read for t in c.tallies for name in [t.diagnosis.id]
    }
    for one in ("ollama-busy", "cpu-limit-refused", "runner-stopped", "load-timed-out"):
        diagnosis = next(d for d in RULES.diagnoses if d.id == one)
        joined = "|".join(ere(p) for p in diagnosis.patterns)
        done = subprocess.run(["grep", "-ciE", joined, str(log)], capture_output=True, text=True)
        assert counts[one] == int(done.stdout) > 0, one


def ere(pattern: str) -> str:
    """Write a pattern in grep's grammar."""
    plain = re.sub(r"\(\?P<[a-z_]+>|\(\?:", "(", pattern)
    return plain.replace(r"\d", "[0-9]")


def test_a_line_longer_than_memory_should_hold() -> None:
    error = HITS["model-needs-more-memory"][0].encode()

    def blocks() -> Iterator[bytes]:
        yield b"first line\n"
        for number in range(40):
            yield b"x" * streams.BLOCK + (b" " + error + b" " if number in (3, 20) else b"")
        yield b"\nlast line: " + error

    found = Scanner(RULES.diagnoses).scan(blocks())
    tally = found.tallies[0]
    assert (tally.count, found.lines) == (3, 3)
    assert tally.first is not None
    assert tally.last is not None
    assert (tally.first.number, tally.last.number) == (2, 3)
    assert len(tally.first.line.text) < 3 * scan.REACH


def test_a_cut_line_neither_begins_nor_ends_there() -> None:
    strict = (Diagnosis("d", "D", ("^failure here", "failure there$")),)
    long = b"x" * 9000
    assert Scanner(strict).scan([long + b"failure here" + long]).tallies[0].count == 0
    assert Scanner(strict).scan([long + b"failure there" + long]).tallies[0].count == 0
    assert Scanner(strict).scan([b"failure here" + long]).tallies[0].count == 1


def test_dockers_json_file() -> None:
    rows = (
        r'{"log":"Error: model requires more system memory (5.7 GiB) than is available (2.8 GiB)'
        r'\n",'
        r'"stream":"stderr","time":"2026-11-23T10:00:00.123456789Z"}'
        "\n"
        r'{"log":"  \"OOMKilled\": true,\n","stream":"stdout","time":"2026-11-23T11:00:00Z"}'
        "\n"
        r'{"log":"cut in the mid'
    )
    reader = LogReader(RULES.diagnoses)
    reader.add("x-json.log", io.BytesIO(rows.encode()))
    hits = {hit.id: hit for hit in reader.result().hits}
    assert hits["model-needs-more-memory"].first.time == "2026-11-23T10:00:00.123456789Z"
    assert hits["container-oom-killed"].last.time == "2026-11-23T11:00:00Z"


@pytest.mark.parametrize(
    "line", ['{"log":"it is fu', '{"log":5}', '{"log":null,"time":"x"}', '{"log":' + "[" * 100_000]
)
def test_a_line_of_dockers_that_is_cut_is_text(line: str) -> None:
    assert read(line.encode()) == Line(line)


def test_first_and_last_of_several_logs_are_by_time() -> None:
    reader = LogReader(RULES.diagnoses)
    line = "write /a: no space left on device\n"
    for name, hour in (("b", "12"), ("a", "10"), ("c", "11")):
        reader.add(name, io.BytesIO(f"2026-01-01T{hour}:00:00Z {line}".encode()))
    hit = reader.result().hits[0]
    assert (hit.first.file, hit.last.file, hit.times) == ("a", "b", 3)


def test_a_log_that_ends_while_it_is_read() -> None:
    data = b"a\nb\nwrite x: no space left on device\n"
    counts = LogReader(RULES.diagnoses).count_part(io.BytesIO(data[:20]), 0, 1000, 1000)
    assert counts.lines == 3
    assert list(logs.part(io.BytesIO(data), 500, 1000, 1000)) == []


def test_what_is_shown_of_a_line_holds_the_error() -> None:
    reader = LogReader(SIMPLE[:1])
    reader.add("a.log", io.BytesIO(b"x" * 3000 + b" error 7, " + b"y" * 3000))
    (hit,) = reader.result().hits
    assert "error 7" in hit.said[:80]
    assert len(hit.said) <= 501
