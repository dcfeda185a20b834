"""Waivers that ended or soon will: a remark on each, at its place in the rule file."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from preflight.evaluate.waivers import find_waiver_expiry_problems
from preflight.model.report import WAIVER_NOTICE_DAYS
from preflight.model.rules import Waiver

WAIVER = Waiver("a", "r", "ops", date(2027, 1, 31), file="r.yaml", line=6, column=5)


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (-400, "ended on"),
        (-1, "ended on"),
        (0, "ends on"),
        (WAIVER_NOTICE_DAYS, "ends on"),
        (WAIVER_NOTICE_DAYS + 1, None),
        (9999, None),
    ],
)
def test_those_that_ended_or_soon_will_are_remarked(left: int, said: str | None) -> None:
    today = date(2027, 1, 31) - timedelta(days=left)
    wanted = f"r.yaml:6:5: the waiver of a by ops {said} 2027-01-31"
    remarks = [str(remark) for remark in find_waiver_expiry_problems([WAIVER], today)]
    assert remarks == ([wanted] if said else [])
