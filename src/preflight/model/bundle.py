"""The members of a bundle: their names, and what each holds."""

from __future__ import annotations

from typing import NamedTuple

MANIFEST, FACTS, REPORT, PAGE = "manifest.json", "facts.json", "report.json", "report.html"
COMPOSE, VERSIONS, LOGS = "compose.json", "versions.json", "logs/"


class Member(NamedTuple):
    """One file of a bundle."""

    name: str
    description: str
    data: bytes
