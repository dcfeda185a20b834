"""The kinds of requirements that fifteen documents state, by the facts of the rules for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import yaml

from preflight.check import load_ruleset
from preflight.cli.streams import read_rule_file
from preflight.model.facts import join_path
from preflight.model.rules import BUNDLED_FILE_BY_SET, IMAGES_BY_PACK, RuleSet

DOCUMENTS = Path(__file__).resolve().parents[1] / "documents"
PROFILES = "figures by profile, users or optional parts"
FACTS_BY_KIND = {
    "RAM": ("docker.memory", "host.memory"),
    "CPU cores": ("docker.cpus", "host.cpu.logical"),
    "disk": ("host.disk.total", "host.disk.free", "host.disk.kind", "docker.disk"),
    "swap": ("host.swap",),
    "versions of Docker and Compose": ("docker.version", "docker.api", "docker.compose.version"),
    "engine and storage driver": (
        *("docker.reachable", "docker.engine", "docker.snap", "docker.storage"),
    ),
    "operating system and architecture": ("host.os", "host.arch", "host.kernel", "docker.platform"),
    "distribution": ("host.distribution",),
    "ports that must be free": ("host.ports",),
    PROFILES: ("compose.profiles",),
    "names that resolve": ("net.resolve",),
    "outbound access": ("net.connect", "registry"),
    "folders and their owners": (
        "start.services.*.mounts_created",
        "start.services.*.mounts_denied",
    ),
    "type of the filesystem": ("host.disk.filesystem",),
    "ulimits": ("docker.ulimits", "compose.services.*.ulimits"),
    "programs of the host": ("host.tools",),
    "CPU instruction set": ("host.cpu.flags", "host.cpu.level"),
    "kernel settings": ("kernel.sysctl",),
    "kernel modules": ("kernel.module",),
    "virtualization": ("host.virtualization",),
    "SELinux": ("docker.security.selinux", "start.services.*.mounts_unlabeled"),
    "time zone and time": (
        *("host.timezone", "host.time", "compose.services.*.environment.TZ"),
        "compose.services.*.environment.GENERIC_TIMEZONE",
    ),
    "what a service sets": ("compose",),
}
"""By the beginnings of facts; the first kind that has one counts."""


@cache
def load_document(name: str) -> RuleSet:
    """Return the rules that state a document: those of a pack, or of a file of the tests."""
    read: Callable[[str], bytes] = (
        read_rule_file
        if name in IMAGES_BY_PACK
        else lambda file: (
            read_rule_file(file)
            if file in BUNDLED_FILE_BY_SET
            else (DOCUMENTS / f"{name}.yaml").read_bytes()
        )
    )
    return load_ruleset(name, read)


@cache
def read_not_stated() -> dict[str, list[str]]:
    """Return what no rule can state, by document, in the order of the table."""
    text = (DOCUMENTS / "not-stated.yaml").read_text(encoding="utf-8")
    names: dict[str, list[str]] = yaml.safe_load(text)
    return names


def find_kinds(ruleset: RuleSet) -> list[str]:
    """Return the kinds of requirements of a document, in the order of the table."""
    kinds = {PROFILES} if ruleset.profiles else set()
    for rule in ruleset.rules:
        if rule.file in (ruleset.origin, f"{ruleset.name}.yaml") and rule.enabled:
            fact = f"{join_path(rule.fact)}."
            kinds.add(
                next(
                    kind
                    for kind, starts in FACTS_BY_KIND.items()
                    if any(fact.startswith((f"{start}.", start)) for start in starts)
                )
            )
    return [kind for kind in FACTS_BY_KIND if kind in kinds]
