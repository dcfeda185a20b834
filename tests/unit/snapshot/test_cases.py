"""What a case expects: every problem of an expected.json is named."""

from __future__ import annotations

import pytest

from preflight.model.problems import InputError
from preflight.snapshot.cases import parse_case_expectations


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected.json:1:1: not valid JSON: Expecting value"),
        (b'{"os":\n?}', "expected.json:2:1: not valid JSON: "),
        (b"\xff", "expected.json: not valid JSON: 'utf-8' codec can't decode"),
        (b"[" * 100_000, "expected.json: not valid JSON: nested too deeply"),
        (b" " * (2**20 + 1), "expected.json: the file is larger than 1 MiB"),
        (b'["pass"]', 'expected.json: expected an object such as {"host-memory": "pass"}'),
        (b"{}", "expected.json: it expects nothing"),
        (b'{"verdicts": {}}', "expected.json: it expects nothing"),
        (b'{"a": "pas"}', "expected.json: verdicts.a: must be one of pass, warn"),
        (b'{"a\\n": 1}', "expected.json: verdicts.'a\\n': must be one of pass, warn"),
        (b'{"a": 1}', "expected.json: verdicts.a: must be one of pass, warn"),
        (b'{"a": ["pass"]}', "expected.json: verdicts.a: must be one of pass, warn"),
        (b'{"a": "pass", "a": "fail"}', "expected.json: 'a' is defined twice"),
        (b'{"a": "pass", "today": "2026-01-01"}', "expected.json: today: must be beside"),
        (b'{"verdicts": {"a": "pass"}, "tody": 1}', "expected.json: unknown key 'tody', did you"),
        (b'{"verdicts": {"a": "pass"}, "today": "2026-02-30"}', "expected.json: today: must be"),
        (b'{"verdicts": {"a": "pass"}, "today": 5}', "expected.json: today: must be a day"),
        (
            b'{"verdicts": {"a": "pass"}, "exit_code": 2}',
            "expected.json: exit_code: must be one of 0, 1, 3",
        ),
        (
            b'{"verdicts": {"a": "pass"}, "exit_code": true}',
            "expected.json: exit_code: must be one of",
        ),
        (
            b'{"verdicts": {"a": "pass"}, "exit_code": "1"}',
            "expected.json: exit_code: must be one of 0, 1, 3, not '1'",
        ),
        (b'{"verdicts": {"a": "pass"}, "vars": {"a": []}}', "expected.json: vars.a: must be"),
        (b'{"verdicts": {"a": "pass"}, "only": "a"}', "expected.json: only: must be a list"),
        (b'{"verdicts": {"a": "pass"}, "strict": 1}', "expected.json: strict: must be true"),
    ],
)
def test_what_is_not_an_expectation(data: bytes, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_case_expectations(data, "expected.json")
    assert str(error.value.problems[0]).startswith(message)


def test_a_near_verdict_is_suggested() -> None:
    with pytest.raises(InputError, match="did you mean 'pass'"):
        parse_case_expectations(b'{"a": "pas"}', "expected.json")


def test_all_problems_are_named() -> None:
    with pytest.raises(InputError) as error:
        parse_case_expectations(b'{"verdicts": {"a": "x", "b": 1}, "strict": 0, "c": 1}', "e")
    assert len(error.value.problems) == 4
