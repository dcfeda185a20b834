"""Environment variables of this process, only those that a rule asks for.

Read by the program itself, since which they are is known only when the rules are read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

from preflight.model.facts import Fact, Measured

FACTS = (
    Fact("env.*", "text", "an environment variable of this process; absent where not set", True),
)


def measure(names: Iterable[str], environ: Mapping[str, str] = os.environ) -> Iterator[Measured]:
    """Yield the variables of these names."""
    for name in names:
        yield Measured(("env", name), environ.get(name), "the environment")
