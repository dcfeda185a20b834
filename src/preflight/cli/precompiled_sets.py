"""Where precompiled rule sets are: in the wheel, or cached on their first use."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from preflight import __version__
from preflight.check import build_catalogue
from preflight.cli.streams import read_rule_file
from preflight.model.problems import InputError
from preflight.model.rules import BUNDLED_FILE_BY_SET
from preflight.rules.decoding_context import RuleFileContents
from preflight.rules.precompiled import load_precompiled_set, precompile_set

if TYPE_CHECKING:
    from pathlib import Path

_PACKAGE_DIR = os.path.dirname(os.path.dirname(__file__))
_SHIPPED_SETS_DIR = os.path.join(_PACKAGE_DIR, "rulesets")
_CACHE_KEY_FOLDERS = (
    ".",
    "facts",
    "model",
    "rules",
    "rulesets",
)  # what decides how a set is decoded


def precompile_shipped_sets() -> dict[str, bytes]:
    """Return the files that a wheel has beside the YAML, by name."""
    catalogue = build_catalogue()
    return {
        f"{name}.precompiled": precompile_set(name, read_rule_file, catalogue, __version__)
        for name in BUNDLED_FILE_BY_SET
    }


def find_or_precompile_set(
    name: str, read: Callable[[str], bytes]
) -> Mapping[str, RuleFileContents] | None:
    """Return a bundled set precompiled, and those that it extends; `read` returns a set's YAML.

    What the wheel hasn't, as in a checkout, is kept beside the bytecode or in the user's cache
    folder. None if the YAML has problems.
    """
    with suppress(OSError):  # a checkout has none
        with open(os.path.join(_SHIPPED_SETS_DIR, f"{name}.precompiled"), "rb") as shipped:
            contents = load_precompiled_set(shipped.read(), __version__, read)
        if contents is not None:
            return contents
    return _load_or_precompile_set(name, read)


def _load_or_precompile_set(
    name: str, read: Callable[[str], bytes]
) -> Mapping[str, RuleFileContents] | None:
    """Return a set that an earlier run has kept, or make it and keep it."""
    from preflight.cache_files import read_cache_file, write_cache_file  # a wheel needs none of it

    key = f"{__version__} {_sum_decoder_change_times()}"
    for file in _list_possible_precompiled_paths(name):
        if (contents := load_precompiled_set(read_cache_file(file), key, read)) is not None:
            return contents
    try:
        data = precompile_set(name, read, build_catalogue(), key)
    except InputError:
        return None
    any(
        write_cache_file(file, data) for file in _list_possible_precompiled_paths(name)
    )  # the first that it can
    return load_precompiled_set(data, key, read)


def _list_possible_precompiled_paths(name: str) -> Iterator[Path]:
    from importlib.util import cache_from_source, source_hash
    from pathlib import Path

    from preflight.cache_files import prepare_cache_file_path

    if not sys.dont_write_bytecode:
        compiled = cache_from_source(os.path.join(_SHIPPED_SETS_DIR, f"{name}.precompiled"))
        yield Path(compiled).with_suffix(".precompiled")
    installation = source_hash(os.fsencode(_PACKAGE_DIR)).hex()  # several may have one cache folder
    if (file := prepare_cache_file_path(f"{name}-{installation}.precompiled")) is not None:
        yield file


@cache
def _sum_decoder_change_times() -> int:
    return sum(
        entry.stat().st_mtime_ns
        for folder in _CACHE_KEY_FOLDERS
        for entry in os.scandir(os.path.join(_PACKAGE_DIR, folder))
        if entry.is_file()
    )
