"""Known errors within what surrounds them: a log's prefix, JSON, a Python string, colours."""

from __future__ import annotations

import io
import json
import re
import textwrap
import time
from collections.abc import Callable

import pytest

from bundled_rules import bundled_rules
from known_errors import lines_by_error
from log_matchers import share_matchers
from preflight.cli.diagnose import build_log_report
from preflight.logs.lines import is_quoted_error
from preflight.logs.log_searcher import LogSearcher

RULES = bundled_rules(known_errors=True)


def found(line: str) -> list[str]:
    reader = LogSearcher(RULES.diagnoses)
    reader.add_log("a.log", io.BytesIO(f"{line}\n".encode()))
    return [finding.id for finding in build_log_report(RULES, reader).findings]


REPORTED = {one.id for one in RULES.diagnoses if one.report and one.times == 1}
TIME = "2026-03-01T10:00:00.123456789Z"
WRAPPERS: dict[str, Callable[[str], str]] = {
    "compose": lambda line: f"api-1  | {line}",
    "compose with time": lambda line: f"api-1  | {TIME} {line}",
    "journald": lambda line: f"2026-01-02T10:00:00.123456+01:00 vm dockerd[812]: {line}",
    "RFC 3164": lambda line: f"Mar  1 10:00:00 vm dockerd[812]: {line}",
    "RFC 5424": lambda line: f'<27>1 {TIME} vm dockerd 812 ID47 [meta id="29"] {line}',
    "klog": lambda line: f"E0712 10:11:12.123456    1234 remote.go:152] {line}",
    "CRI": lambda line: f"{TIME} stderr F {line}",
    "kubectl": lambda line: f"[pod/api-7c9/api] {line}",
    "GitHub Actions": lambda line: f"{TIME} ##[error]{line}",
    "gh run view": lambda line: f"build\tStart\t{TIME} {line}",
    "GitLab": lambda line: f"{TIME} 01O {line}",
    "BuildKit": lambda line: f"#12 3.456 {line}",
    "Windows": lambda line: f"{line}\r",
    "PowerShell": lambda line: f"docker : {line}",
    "Terraform": lambda line: f"│ {line}",
    "Markdown": lambda line: f"> {line}",
    "json-file": lambda line: json.dumps({"log": f"{line}\n", "time": "x"}, separators=(",", ":")),
    "JSON": lambda line: json.dumps({"level": "error", "msg": line}),
    "JSON on several lines": lambda line: json.dumps({"reason": "x", "Error": line}, indent=4),
    "docker inspect": lambda line: f'            "Error": {json.dumps(line)},',
    "JSON for HTML": lambda line: json.dumps({"message": line}).replace("<", "\\u003c"),
    "JSON twice": lambda line: json.dumps({"msg": json.dumps({"error": line})}),
    "JSON three times": lambda line: json.dumps({"a": json.dumps({"b": json.dumps({"c": line})})}),
    "several lines in JSON": lambda line: json.dumps({"msg": f"Traceback:\n{line}\nend"}),
    "Ansible": lambda line: f"fatal: [web1]: FAILED! => {json.dumps({'msg': line})}",
    "logfmt": lambda line: f"time={TIME} level=error msg={json.dumps(line)}",
    "Python": lambda line: f"ERROR:app:failed: {line!r}",
    "Python's bytes": lambda line: f"stderr: {line.encode()!r}",
    "colours": lambda line: f"\x1b[36mapi-1  |\x1b[0m \x1b[31m{line}\x1b[0m\x1b[K",
    "progress": lambda line: f"Pulling 10%\rPulling 20%\r{line}",
    "less -S": lambda line: f"Mar 01 10:00:00 vm dockerd[812]: {line}>",
    "systemctl status": lambda line: f"{line}…",
    "wrapped at 80 columns": lambda line: "\n".join(re.findall(".{1,80}", line)),
    "wrapped at words": lambda line: textwrap.fill(line, 80, break_on_hyphens=False),
}


def found_wrongly(wrapper: str, lines: list[tuple[str, str]]) -> dict[str, list[str]]:
    wrap = WRAPPERS[wrapper]
    return {line: hits for id_, line in lines if (hits := found(wrap(line))) != [id_]}


@pytest.fixture(autouse=True)
def patterns_are_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    share_matchers(monkeypatch)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_an_example_of_each_error_is_found_in_a_wrapper(wrapper: str) -> None:
    lines = [(one.id, one.examples[0]) for one in RULES.diagnoses if one.id in REPORTED]
    assert found_wrongly(wrapper, lines) == {}


@pytest.mark.nightly
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_nearly_every_line_is_found_in_a_wrapper(wrapper: str) -> None:
    """A few hold quotes within quotes, or begin as a wrapper does."""
    lines = [line for line in lines_by_error(RULES.diagnoses) if line[0] in REPORTED]
    wrong = found_wrongly(wrapper, lines)
    assert len(wrong) < len(lines) // 100, wrong


def test_a_line_within_a_line_has_the_time_of_the_whole() -> None:
    reader = LogSearcher(RULES.diagnoses)
    entry = {"time": "2026-01-01T10:00:00Z", "msg": "Traceback:\nMemoryError: no more\nend"}
    reader.add_log("a.log", io.BytesIO(json.dumps(entry).encode() + b"\n"))
    (error,) = reader.build_search_result().errors
    assert (error.id, error.first.time) == ("process-out-of-memory", "2026-01-01T10:00:00Z")


def test_lines_are_only_joined_where_an_error_goes_across_them() -> None:
    """What isn't wrapped keeps its own lines, and a wrapped one is found where it ends."""
    reader = LogSearcher(RULES.diagnoses)
    head = "Error response from daemon: could not select device driver with capabilities of a"
    text = f"{head}\nOOMKilled: true\n\nMemoryError: x\n"
    reader.add_log("a.log", io.BytesIO(text.encode()))
    wrapped = (
        'docker: Error response from daemon: could not select device driver "nvidia" with capab\n'
        "ilities: [[gpu]]\r\nMemoryError\n"
    )
    reader.add_log("b.log", io.BytesIO(wrapped.encode()))
    places = {
        error.id: (error.first.file, error.first.line, error.last.line)
        for error in reader.build_search_result().errors
    }
    assert places == {
        "container-oom-killed": ("a.log", 2, 2),
        "process-out-of-memory": ("a.log", 4, 3),
        "gpu-runtime-missing": ("b.log", 2, 2),
    }


def test_an_error_that_is_repeated_on_the_next_line_is_not_wrapped() -> None:
    """What Compose prints: the longest line of a paste is as wide as the longest line allows."""
    reader = LogSearcher(RULES.diagnoses)
    error = "Error response from daemon: Minimum memory limit allowed is 6MB\n"
    text = f" Container app-tiny-1  Creating\n Container app-tiny-1  {error}{error}"
    reader.add_log("a.log", io.BytesIO(text.encode()))
    (found,) = reader.build_search_result().errors
    assert (found.occurrences, found.first.line, found.last.line) == (2, 2, 3)
    assert list(found.values.values()) == ["6MB"]


@pytest.mark.parametrize("text", [b'*"', b"f(a, ", b"a(", b"new A(b, "])
def test_whether_a_long_line_quotes_an_error_takes_linear_time(text: bytes) -> None:
    error = b"no space left on device"
    line = text * (8192 // len(text)) + error
    start = time.process_time()
    is_quoted_error(line, len(line) - len(error), len(line))
    assert time.process_time() - start < 0.3  # two that weren't linear took longer
