"""What fixes take, and the settings of a compose file that they change."""

import re
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from preflight.model.facts import Measured, Path

if TYPE_CHECKING:
    from preflight.model.report import Result

FixKind: TypeAlias = Literal["edit", "command", "root", "destructive", "manual"]

LEGACY_KEY_BY_PATH = {
    ("limits", "memory"): "mem_limit",
    ("limits", "cpus"): "cpus",
    ("reservations", "memory"): "mem_reservation",
    ("reservations", "cpus"): None,
}
"""The keys of format 2 of the compose file, by those of `deploy.resources`."""

# compiled by `re` at their first use: few checks show what they tell apart
_COMMAND_START_PATTERN = r"(?:^|[|;&(]|&&)[ \t]*"
_DESTRUCTIVE_PATTERN = (
    r"(?<![-\w./])(?:prune|rm|rmi|rmdir|mkfs\S*|shred|truncate|unregister|reset)(?![-\w.])"
    r"|--(?:volumes|unregister|delete)\b|\bdown\b.*\s-v\b|\s-delete\b|\bdd\b.*\bof="
)
_ROOT_PATTERN = (
    rf"(?m){_COMMAND_START_PATTERN}(?:sudo|doas|pkexec|su)\b|--privileged\b"
    r"|(?:>|\btee\b[^|\n]*)[ \t]*/(?:etc|usr|sys|proc|boot|lib)/"
)
_READ_ONLY_PATTERN = (
    r"(?:docker|podman)(?: compose| system| service| node| plugin| context| network| container)?"
    r" (?:ps|ls|df|logs|stats|info|inspect|version|config)\b"
    r"|podman machine ssh df|colima ssh -- df|kubectl (?:get|describe|logs)|preflight\b"
    r"|(?:free|df|ls|cat|grep|stat|uname|nvidia-smi|rocm-smi|quota|ipcs|oomctl|lscpu|ss|getent)\b"
)

_PROGRAM_PATTERN = rf"{_COMMAND_START_PATTERN}(?:sudo )?(?:{{}})\b"
_SYSTEMD_PROGRAMS = "systemctl|journalctl|loginctl|timedatectl|oomctl|usermod|newgrp"
_LINUX_COMMANDS = (
    _PROGRAM_PATTERN.format(
        f"{_SYSTEMD_PROGRAMS}|apk|apt-get|dnf|pacman|dmesg|sysctl|free|ss|ipcs|quota"
        "|nvidia-ctk|cat /proc|ls -l /dev|dockerd|findmnt|modprobe|mount|service|aa-remove-unknown"
    )
    + "|/etc/(?:sysctl|systemd|docker)|podman system migrate"
)
_UNIX_COMMANDS = (
    _PROGRAM_PATTERN.format("sudo|grep|sed|chmod|chown|export|unset|stat|tee|printf|df|[A-Z_]+=")
    + "|2>&1"
)
_MISSING_COMMANDS_BY_SYSTEM = {
    "alpine": _PROGRAM_PATTERN.format(_SYSTEMD_PROGRAMS),
    "darwin": rf"{_LINUX_COMMANDS}|\bnvidia-smi\b",
    "windows": f"{_LINUX_COMMANDS}|{_UNIX_COMMANDS}",
}
_KERNEL_PATTERN = r"\b(?:sysctl|dmesg)\b"
_INTRODUCTION_PATTERN = r"(?:(?<=[.!?] )|\A)(?:To|Then|Now)\b[^.!?]*:\Z"


def is_set_in_compose_file(fact: Path) -> bool:
    """Return whether the compose file decides a fact: a setting of a service, or a sum of them."""
    is_setting = fact[1:2] == ("settings",)  # of a program, which a variable of its service sets
    return is_setting or fact[:2] in (("compose", "services"), ("compose", "total"))


def classify_fix(command: str | None, fact: Path = ()) -> FixKind:
    """Return the kind of a fix whose rule file doesn't state it; `fact` is the one to change.

    A command that only shows something leaves what has to be done to the user.
    """
    if command and re.search(_DESTRUCTIVE_PATTERN, command):
        return "destructive"
    if command and re.search(_ROOT_PATTERN, command):
        return "root"
    if is_set_in_compose_file(fact):
        return "edit"
    lines = (command or "").splitlines()
    return "manual" if all(re.match(_READ_ONLY_PATTERN, line) for line in lines) else "command"


def adapt_to_system(text: str, command: str | None, *systems: object) -> tuple[str, str | None]:
    """Return a fix without the lines of its command that the machine can't run.

    `systems` are `host.os` and `host.distribution.id`. On macOS and Windows the engine's kernel is
    that of a VM.
    """
    names = _MISSING_COMMANDS_BY_SYSTEM.keys() & {*map(str, systems)}
    missing = [_MISSING_COMMANDS_BY_SYSTEM[name] for name in names]
    lines = (command or "").splitlines()
    kept = [line for line in lines if not any(re.search(pattern, line) for pattern in missing)]
    if len(kept) == len(lines):
        return text, command
    if not kept:
        text = re.sub(_INTRODUCTION_PATTERN, "", text).rstrip()
        text = f"{text[:-1]}." if text.endswith(":") else text
    if re.search(_KERNEL_PATTERN, command or "") and names & {"darwin", "windows"}:
        text = f"{text} This concerns the VM in which the engine runs.".lstrip()
    return text, "\n".join(kept) or None


class ComposeEdit(NamedTuple):
    """A setting of a service: its `key` in the file gets the `text`.

    Several texts are a list that replaces that of the other files. `before` is the value until now
    as people read it, `facts` are what will be measured, `rules` the ids of those that ask for it.
    """

    service: str
    key: Path
    text: str | tuple[str, ...]
    before: str
    facts: tuple[Measured, ...]
    rules: tuple[str, ...] = ()


class ComposeOverride(NamedTuple):
    """Edits that were judged: with them `passing` pass, and `failing` fail still.

    Beside a failing result stands the one that a passing value would make worse, if there is one.
    `warnings` didn't apply before, or recommend what a requirement contradicts.
    """

    edits: tuple[ComposeEdit, ...]
    passing: tuple["Result", ...]
    failing: tuple[tuple["Result", "Result | None"], ...]
    warnings: tuple["Result", ...]
