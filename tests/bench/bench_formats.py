"""What further formats cost, side by side in one run: `python tests/bench/bench_formats.py`.

Needs a running engine (DOCKER_HOST or the default socket). Prints a table of medians; the ratio
is to the text report alone.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from bench_check import Command, measure

from preflight.render import FORMATS

TOGETHER = ("junit", "sarif", "prometheus")


def commands() -> dict[str, list[str]]:
    """Return what is run, by the name it has in the table."""
    check = [str(Path(sys.executable).with_name("preflight")), "check"]

    def with_files(*formats: str) -> list[str]:
        return [*check, "-f", "text", *(part for one in formats for part in ("-f", f"{one}:{one}"))]

    every = [name for name in FORMATS if name != "text"]
    return {
        "text": with_files(),
        **{name: [*check, "-f", name] for name in every},
        f"text, {', '.join(TOGETHER)}": with_files(*TOGETHER),
        f"all {len(FORMATS)}": with_files(*every),
    }


def main() -> None:
    """Measure it all and print the table."""
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        runs = measure({what: Command(words, here) for what, words in commands().items()})
    seconds = {what: statistics.median(run.wall for run in each) for what, each in runs.items()}
    print("| formats | ms | of the text report alone |")
    print("|---|---:|---:|")
    for what, median in seconds.items():
        print(f"| {what} | {median * 1000:.0f} | {median / seconds['text']:.2f} |")


if __name__ == "__main__":
    main()
