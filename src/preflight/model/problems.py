"""Problems of an input, with their place, so that the reader can fix them."""

import re
from collections.abc import Iterable
from typing import NamedTuple


class Problem(NamedTuple):
    """One problem of a file; line and column count from 1, 0 if they aren't known."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}"


class InputError(Exception):
    """Input that cannot be used: its problems are printed, the exit code is 2."""

    def __init__(self, *problems: Problem | str) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


_NAME_BY_SYNONYM = {
    **dict.fromkeys(("host.cpu", "host.cpus", "host.cores", "host.cpu.cores"), "host.cpu.logical"),
    **dict.fromkeys(("host.ram", "host.mem", "host.memory", "memory", "ram"), "host.memory.total"),
    **dict.fromkeys(("docker.ram", "docker.mem", "docker.memory"), "docker.memory.total"),
    **dict.fromkeys(("docker.installed", "docker.running", "docker"), "docker.reachable"),
    **dict.fromkeys(("host.disk", "host.disk.space", "disk"), "host.disk.free"),
    "docker.disk": "docker.disk.free",
    "host.gpu": "host.gpu.count",
    **dict.fromkeys(("compose.version", "docker.compose"), "docker.compose.version"),
    "host.distro": "host.distribution.id",
    "ollama.running": "ollama.reachable",
    **dict.fromkeys(("min", "minimum", ">=", "gte", "ge"), "at_least"),
    **dict.fromkeys(("max", "maximum", "<=", "lte", "le"), "at_most"),
    **dict.fromkeys((">", "gt"), "more_than"),
    **dict.fromkeys(("<", "lt"), "less_than"),
    **dict.fromkeys(("==", "=", "eq", "is"), "equals"),
    **dict.fromkeys(("!=", "ne"), "not_equals"),
    **dict.fromkeys(("regex", "pattern", "=~"), "matches"),
    "in": "one_of",
    "not_in": "none_of",
}
"""What people write whose name has little in common with ours, by that."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `, did you mean X?` where a known name is near or has this one in it, else nothing."""
    by_lower = {known_name.lower(): known_name for known_name in known}
    lower = name.lower()
    near = [n for n in (lower, _NAME_BY_SYNONYM.get(lower)) if n in by_lower]
    if not near:
        from difflib import get_close_matches  # hardly any run has a mistake

        near = get_close_matches(lower, by_lower, n=1, cutoff=0.6)
    near = near or [n for n in by_lower if lower in re.split("[-.]", n) and len(lower) > 2]
    return f", did you mean {by_lower[near[0]]!r}?" if near else ""
