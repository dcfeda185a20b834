"""Environment variables, only those that a rule names.

Read by the program itself, because which ones are needed is known only with the rules.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

from preflight.model.facts import Measured


def read_variables(
    names: Iterable[str], environ: Mapping[str, str] = os.environ
) -> Iterator[Measured]:
    """Yield the variables of these names from this process's environment."""
    for name in names:
        yield Measured(("env", name), environ.get(name), "the environment")


def drop_unused_variables(
    measured: Iterable[Measured],
    asked_paths: Iterable[tuple[str, ...]],
    hidden: list[tuple[str, str]] | None = None,
) -> Iterator[Measured]:
    """Leave out variables of services and containers that no rule names.

    Their names and values are added to `hidden`: the redactor must know them.
    """
    names = {path[-1] for path in asked_paths if path[-2:-1] == ("environment",)}
    for fact in measured:
        if fact.path[-2:-1] != ("environment",) or fact.path[-1] in names:
            yield fact
        elif hidden is not None and isinstance(fact.value, str):
            hidden.append((fact.path[-1], fact.value))
