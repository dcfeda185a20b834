"""Environment variables of this process, only those that a rule asks for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from preflight.model.facts import Fact, Measured
from preflight.probes.options import Options

FACTS = (
    Fact("env.*", "text", "an environment variable of this process; absent where not set", True),
)


def measure(
    options: Options, environ: Mapping[str, str] = os.environ
) -> Iterator[Measured]:
    """Yield the variables that `options.environment` names."""
    for name in options.environment:
        yield Measured(("env", name), environ.get(name), "the environment")
