"""What a fix takes, read from its command and from the fact that its rule judges."""

from __future__ import annotations

import pytest

from preflight.model.fix_kinds import FIX_KINDS, classify_fix

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
    assert kind in FIX_KINDS


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
