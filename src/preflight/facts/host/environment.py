"""Environment variables of this process, only those that a rule asks for.

Read by the program itself, since which they are is known only when the rules are read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

from preflight.model.facts import Measured


def measure(names: Iterable[str], environ: Mapping[str, str] = os.environ) -> Iterator[Measured]:
    """Yield the variables of these names."""
    for name in names:
        yield Measured(("env", name), environ.get(name), "the environment")


def asked(
    measured: Iterable[Measured],
    asks: Iterable[tuple[str, ...]],
    hidden: list[tuple[str, str]] | None = None,
) -> Iterator[Measured]:
    """Leave out variables of services and containers that no rule asks for by name.

    `hidden` gets names and values of those left out: who redacts must know them.
    """
    names = {path[-1] for path in asks if path[-2:-1] == ("environment",)}
    for one in measured:
        if one.path[-2:-1] != ("environment",) or one.path[-1] in names:
            yield one
        elif hidden is not None and isinstance(one.value, str):
            hidden.append((one.path[-1], one.value))
