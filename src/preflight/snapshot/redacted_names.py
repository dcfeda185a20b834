"""The names that a redactor replaces, of hosts and users, and those that it keeps, of a stack."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Mapping
from typing import Any

from preflight.model.facts import Facts, split_fact_path
from preflight.model.secret_names import SECRET_NAME_WORDS_BY_HEADING, find_secret_kind_of_name
from preflight.snapshot.redact import Redactor

_HOME_FOLDER_PATTERN = re.compile(r"(?:.*[\\/])?(?:home|[Uu]sers)[\\/]([^\\/]+)[\\/]?")
_URL_HOST_PATTERN = re.compile(r"(?!unix:|npipe:)[a-z+]+://(?:[^/@\s]*@)?(\[[^\]]*\]|[^\s/:?#]+)")
_REGISTRY_HOST_PATTERN = re.compile(r"((?=[^/]*[.:])[\w.-]+)(?::[0-9]+)?/")
_SERVICE_AND_CONTAINER_COLLECTIONS = ("compose.services", "stack.containers")


def learn_names_and_environment_secrets(redactor: Redactor, facts: Facts) -> None:
    """Learn the names of this host, its user and the hosts in facts, and this process's secrets."""
    home = _HOME_FOLDER_PATTERN.fullmatch(
        os.environ.get("HOME") or os.environ.get("USERPROFILE") or ""
    )
    users = map(os.environ.get, ("USER", "LOGNAME", "USERNAME", "SUDO_USER"))
    for user in (home and home[1], *users):
        redactor.add_name("user", user)
    for name, value in os.environ.items():
        if kind := find_secret_kind_of_name(name):
            redactor.add_secret(kind, value)
    nodes = (name for name, _ in _iterate_collection_items(facts, "docker.swarm.nodes"))
    for host in (socket.gethostname(), facts.text("host", "hostname") or "", *nodes):
        name = host.partition(" (")[0]  # an id distinguishes nodes of the same name
        redactor.add_name("host", name)
        redactor.add_name("host", name.partition(".")[0])
    addresses = [facts.text(group, "endpoint") or "" for group in facts.values]
    addresses += [os.environ[name] for name in os.environ if name.lower().endswith("_proxy")]
    endpoints = map(_URL_HOST_PATTERN.match, addresses)
    registries = (
        _REGISTRY_HOST_PATTERN.match(str(item.get("image")))
        for _, item in _iterate_collection_items(facts, *_SERVICE_AND_CONTAINER_COLLECTIONS)
    )
    for match in (*endpoints, *registries):
        if match and not match[1].endswith(tuple(SECRET_NAME_WORDS_BY_HEADING["public_hosts"])):
            redactor.add_name("host", match[1])


def find_unredacted_names(facts: Facts) -> Iterator[str]:
    """Yield the words that name the parts of a stack: they aren't secret."""
    values = [
        facts.text(*split_fact_path(path))
        for path in ("compose.project", "model.name", "docker.context")
    ]
    for name, item in _iterate_collection_items(
        facts, *_SERVICE_AND_CONTAINER_COLLECTIONS, "host.ports"
    ):
        aliases = item.get("known_as")
        yield from (name, *map(str, aliases if isinstance(aliases, list) else ()))
        values.append(str(item.get("image")))
    for value in filter(None, values):
        yield from (value, *re.split(r"[/:@.-]", value))


def _iterate_collection_items(facts: Facts, *paths: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for path in paths:
        for name, item in facts.collection(*split_fact_path(path)).items():
            yield name, item if isinstance(item, Mapping) else {}
