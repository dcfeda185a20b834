"""The names that a redactor replaces, of hosts and users, and those that it keeps, of a stack."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Mapping
from typing import Any

from preflight.model.facts import Facts
from preflight.model.secrets import secret_kind
from preflight.snapshot.redact import Redactor

_HOME = re.compile(r"(?:.*[\\/])?(?:home|[Uu]sers)[\\/]([^\\/]+)[\\/]?")
_URL_HOST = re.compile(r"[a-z+]+://(?:[^/@\s]*@)?(\[[^\]]*\]|[^\s/:?#]+)")
_REGISTRY = re.compile(r"([\w.-]+\.[\w-]+)(?::[0-9]+)?/|([\w-]+):[0-9]+/")
_PUBLIC_HOSTS = (
    "docker.io", "ghcr.io", "quay.io", "gcr.io", "k8s.io", "mcr.microsoft.com", "nvcr.io",
    "public.ecr.aws", "registry.gitlab.com", "registry.access.redhat.com", "docker.elastic.co",
    "huggingface.co", "hf.co", "registry.ollama.ai", "ollama.com", "lscr.io", "cgr.dev",
    "localhost", "host.docker.internal",
)  # fmt: skip


def learn_machine_and_hosts(redactor: Redactor, facts: Facts) -> None:
    """Learn the names of this host, its user and the hosts in facts, and this process's secrets."""
    home = _HOME.fullmatch(os.environ.get("HOME") or os.environ.get("USERPROFILE") or "")
    users = map(os.environ.get, ("USER", "LOGNAME", "USERNAME", "SUDO_USER"))
    for user in (home and home[1], *users):
        redactor.add_name("user", user)
    for name, value in os.environ.items():
        if kind := secret_kind(name):
            redactor.add_secret(kind, value)
    nodes = facts.get(("docker", "swarm", "nodes"))
    hosts = [facts.get(("host", "hostname")), *(nodes if isinstance(nodes, Mapping) else ())]
    for host in (socket.gethostname(), *hosts):
        if isinstance(host, str):
            name = host.partition(" (")[0]  # an id distinguishes nodes of the same name
            redactor.add_name("host", name)
            redactor.add_name("host", name.partition(".")[0])
    for host in _private_hosts(facts):
        redactor.add_name("host", host)


def _private_hosts(facts: Facts) -> Iterator[str]:
    """Yield the hosts in endpoints and images."""
    for path in (("docker", "endpoint"), ("ollama", "endpoint")):
        endpoint = facts.get(path)
        if isinstance(endpoint, str) and not endpoint.startswith(("unix:", "npipe:")):
            match = _URL_HOST.match(endpoint)
            yield from (match[1],) if match and match[1] not in _PUBLIC_HOSTS else ()
    for item in _services_and_containers(facts):
        image = item.get("image")
        match = _REGISTRY.match(image) if isinstance(image, str) else None
        registry = (match[1] or match[2]) if match else ""
        if registry and not registry.endswith(_PUBLIC_HOSTS):
            yield registry


def public_names(facts: Facts) -> Iterator[str]:
    """Yield the words that name the parts of a stack: they aren't secret."""
    paths = (("compose", "project"), ("model", "name"), ("docker", "context"))
    values = [facts.get(path) for path in paths]
    for group in (("compose", "services"), ("stack", "containers"), ("host", "ports")):
        items = facts.get(group)
        yield from items if isinstance(items, Mapping) else ()
    for item in _services_and_containers(facts):
        values.append(item.get("image"))
        aliases = item.get("known_as")
        yield from map(str, aliases) if isinstance(aliases, list) else ()
    for value in values:
        if isinstance(value, str):
            yield from (value, *re.split(r"[/:@.-]", value))


def _services_and_containers(facts: Facts) -> Iterator[Mapping[str, Any]]:
    for group in (("compose", "services"), ("stack", "containers")):
        items = facts.get(group)
        if isinstance(items, Mapping):
            yield from (item for item in items.values() if isinstance(item, Mapping))
