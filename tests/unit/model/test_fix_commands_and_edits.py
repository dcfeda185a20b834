"""What a fix takes, read from its command and from the fact that its rule judges."""

from __future__ import annotations

from typing import get_args

import pytest

from preflight.cli.options import load_rules
from preflight.model.facts import Unknown
from preflight.model.fix_commands_and_edits import (
    FixKind,
    classify_fix,
    remove_unsupported_commands,
)
from preflight.model.rules import Fix

COMMANDS = {
    "destructive": [
        "docker system df\ndocker system prune -f",
        "docker image prune -a",
        "docker volume rm data",
        "docker compose down -v",
        "docker compose down --volumes",
        "sudo rm -rf /var/lib/docker",
        "rmdir data",
        "find . -name '*.log' -delete",
        "wsl --unregister Ubuntu",
    ],
    "root": [
        "sudo systemctl enable --now docker",
        "docker compose ps -a\nsudo journalctl -u docker",
        "printf 'x' | sudo tee /etc/sysctl.d/99-x.conf",
        "echo 1 > /proc/sys/vm/overcommit_memory",
        "cat new | tee -a /etc/hosts",
        "docker run --privileged --rm tonistiigi/binfmt --install all",
    ],
    "command": [
        "docker compose up -d --remove-orphans",
        "docker compose run --rm app id",
        "colima stop\ncolima start --memory 8",
        "docker ps\ndocker compose restart api",
        "cp /etc/hosts hosts.example",
        "docker compose down",
    ],
    "manual": [
        "docker stats --no-stream\nfree -h",
        "docker compose logs --tail 50 api",
        "docker system info | grep -i memory",
        "preflight check --path /mnt",
    ],
}


@pytest.mark.parametrize(
    ("kind", "command"), [(kind, command) for kind in COMMANDS for command in COMMANDS[kind]]
)
def test_the_kind_of_a_command(kind: str, command: str) -> None:
    assert classify_fix(command) == kind
    assert kind in get_args(FixKind)


@pytest.mark.parametrize(
    ("fact", "command", "kind"),
    [
        (("compose", "services", "api", "limits", "memory"), None, "edit"),
        (("compose", "total", "limits", "memory"), None, "edit"),
        (("ollama", "settings", "ollama", "keep_alive"), "docker compose up -d", "edit"),
        (("compose", "services", "api", "limits", "memory"), "sudo reboot", "root"),
        (("docker", "compose", "version"), None, "manual"),
        (("compose", "variables", "missing"), None, "manual"),
    ],
)
def test_what_the_compose_file_decides_is_an_edit(
    fact: tuple[str, ...], command: str | None, kind: str
) -> None:
    assert classify_fix(command, fact) == kind


def _bundled_fixes() -> list[tuple[str, str, Fix]]:
    """Every bundled fix, with the id of its rule or diagnosis and the kind that it has."""
    rules = load_rules("default", known_errors=True)
    fixes = [
        (rule.id, fix.kind or classify_fix(fix.command, rule.fact), fix)
        for rule in rules.rules
        for fix in rule.fixes
    ]
    return fixes + [
        (diagnosis.id, fix.kind or classify_fix(fix.command), fix)
        for diagnosis in rules.diagnoses
        for fix in diagnosis.fixes
    ]


def test_every_bundled_fix_has_the_kind_that_its_words_say() -> None:
    removes, needs_root, applies_an_edit, names_a_setting = [], [], [], []
    fixes = _bundled_fixes()
    for id_, kind, fix in fixes:
        words = (fix.command or "").split()
        if {"delete", "prune", "rm", "rmi", "rmdir", "reset"} & {*words}:
            removes.append((id_, kind))
        elif {"sudo", "--privileged"} & {*words}:
            needs_root.append((id_, kind))
        elif fix.text.endswith("hen run:"):
            applies_an_edit.append((id_, kind))
        elif fix.text.startswith(("Set deploy.", "Set PYTHON", "Lower deploy.")):
            names_a_setting.append((id_, kind))
        else:
            assert kind != "destructive", id_
    assert {kind for _, kind in removes} == {"destructive"}, removes
    assert {kind for _, kind in needs_root} == {"root"}, needs_root
    assert {kind for _, kind in applies_an_edit} == {"edit", "manual"}, applies_an_edit
    assert {kind for _, kind in names_a_setting} == {"edit"}, names_a_setting
    assert {kind for _, kind, _ in fixes} == {*get_args(FixKind)}


def test_a_bundled_fix_without_a_command_is_never_a_command() -> None:
    kinds = {kind for _, kind, fix in _bundled_fixes() if fix.command is None}
    assert kinds <= {"edit", "manual", "root"}


SYSCTL = "sudo sysctl -w vm.max_map_count=262144"
VM = "This concerns the VM in which the engine runs."


@pytest.mark.parametrize(
    ("system", "text", "command", "expected"),
    [
        ("linux", "Raise it:", SYSCTL, ("Raise it:", SYSCTL)),
        (Unknown("cut off"), "Raise it:", SYSCTL, ("Raise it:", SYSCTL)),
        ("darwin", "Raise it:", SYSCTL, (f"Raise it. {VM}", None)),
        ("windows", "Raise it:", SYSCTL, (f"Raise it. {VM}", None)),
        ("darwin", "Use less. To see what uses it:", "free -h", ("Use less.", None)),
        ("darwin", "To see what uses it:", "free -h", ("", None)),
        ("darwin", "See:", "docker stats\nfree -h", ("See:", "docker stats")),
        ("darwin", "Look:", "df -h", ("Look:", "df -h")),
        ("windows", "Look:", "df -h", ("Look.", None)),
        ("windows", "Look:", "docker info 2>&1 | grep -i warning", ("Look.", None)),
        ("darwin", "Look:", "docker info | grep x", ("Look:", "docker info | grep x")),
        ("darwin", "Look:", "nvidia-smi", ("Look.", None)),
        ("windows", "Look:", "nvidia-smi", ("Look:", "nvidia-smi")),
        ("alpine", "Restart it:", "sudo systemctl restart docker", ("Restart it.", None)),
        ("alpine", "Look:", "free -h", ("Look:", "free -h")),
        ("windows", "Then run:", "docker compose up -d", ("Then run:", "docker compose up -d")),
        ("alpine", "Edit it, then run:", "sudo systemctl restart docker", ("Edit it.", None)),
        ("windows", "Do it.", None, ("Do it.", None)),
    ],
)  # fmt: skip
def test_a_command_that_a_system_does_not_have_is_not_shown(
    system: object, text: str, command: str | None, expected: tuple[str, str | None]
) -> None:
    assert remove_unsupported_commands(text, command, system) == expected
