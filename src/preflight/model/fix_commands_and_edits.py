"""What fixes take, and the settings of a compose file that they change."""

import os
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Literal, TypeAlias

from preflight.model.facts import Path

FixKind: TypeAlias = Literal["edit", "command", "root", "destructive", "manual"]

LEGACY_KEY_BY_PATH = {
    ("limits", "memory"): "mem_limit",
    ("limits", "cpus"): "cpus",
    ("reservations", "memory"): "mem_reservation",
    ("reservations", "cpus"): None,
}
"""The keys of format 2 of the compose file, by those of `deploy.resources`."""

# compiled by `re` at their first use, as are those of command_patterns.txt: few checks need them
_SYSCTL_OR_DMESG_PATTERN = r"\b(?:sysctl|dmesg)\b"
_COMMAND_INTRODUCTION_PATTERN = r"(?:(?<=[.!?] )|\A)(?:To|Then|Now)\b[^.!?]*:\Z|, then run(?=:\Z)"


def is_decided_by_compose_file(fact: Path) -> bool:
    """Return whether the compose file decides a fact: a setting of a service, or a sum of them."""
    is_setting = fact[1:2] == ("settings",)  # of a program, which a variable of its service sets
    return is_setting or fact[:2] in (("compose", "services"), ("compose", "total"))


@cache
def _read_fix_command_patterns() -> Mapping[str, str]:
    from preflight.model.patterns import read_regex_file

    return read_regex_file(os.path.join(os.path.dirname(__file__), "command_patterns.txt"), {})


def _has_command_effect(command: str, heading: str) -> bool:
    return re.search(_read_fix_command_patterns()[heading], command, re.VERBOSE) is not None


@lru_cache(maxsize=1024)  # many rules and items have the same fix
def classify_fix(command: str | None, fact: Path = ()) -> FixKind:
    """Return the kind of a fix whose rule file doesn't state it; `fact` is the one to change.

    A command that only shows something leaves what has to be done to the user.
    """
    if command and _has_command_effect(command, "destructive"):
        return "destructive"
    if command and _has_command_effect(command, "root"):
        return "root"
    if is_decided_by_compose_file(fact):
        return "edit"
    lines = (command or "").splitlines()
    return "manual" if all(_has_command_effect(line, "read only") for line in lines) else "command"


def remove_unsupported_commands(
    text: str, command: str | None, *systems: str | None
) -> tuple[str, str | None]:
    """Return a fix without the lines of its command that the machine can't run.

    `systems` are `host.os` and `host.distribution.id`. On macOS and Windows the engine's kernel is
    that of a VM.
    """
    names = {"alpine", "darwin", "windows"}.intersection(systems)
    if not names:
        return text, command
    lines = (command or "").splitlines()
    kept = [line for line in lines if not any(_has_command_effect(line, name) for name in names)]
    if len(kept) == len(lines):
        return text, command
    if not kept:
        text = re.sub(_COMMAND_INTRODUCTION_PATTERN, "", text).rstrip()
        text = f"{text[:-1]}." if text.endswith(":") else text
    if re.search(_SYSCTL_OR_DMESG_PATTERN, command or "") and names & {"darwin", "windows"}:
        text = f"{text} This concerns the VM in which the engine runs.".lstrip()
    return text, "\n".join(kept) or None
