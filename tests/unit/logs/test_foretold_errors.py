"""What a rule foretells is known to diagnose too, and both lead to the same remedy."""

from __future__ import annotations

import io
import re

import pytest

from bundled_rules import bundled_rules
from preflight.check import build_catalogue
from preflight.evaluate.diagnoses import diagnose
from preflight.logs.log_searcher import LogSearcher
from preflight.model.diagnosis import DiagnosisFinding
from preflight.model.facts import Facts
from preflight.model.rules import Rule
from refused_projects import NOT_ASKED_HERE, REFUSED_PROJECTS

RULES = bundled_rules(known_errors=True)
RULES_WITH_ERROR = {rule.id: rule for rule in RULES.rules if rule.error}

# What fills the placeholders of an `error:`, as it stands in the engine's own words.
PLACES = {
    "actual": "5.7 GiB", "expected": "2.8 GiB", "docker.compose.version": "1.29.2",
    "image.invalid": "invalid reference format", "image.name": "gone:1",
    "image.helper_missing": "docker-credential-x",
    "error": "manifest unknown",
    "build.error": 'failed to compute cache key: "/gone" not found: not found',
    "cpuset_refused": "Requested CPUs are not available - requested 0-7, available: 0-1",
    "name_refused": 'The container name "/db" is already in use by container "78bb1ea6"',
    "runtime_refused": "unknown or invalid runtime name: nvidia",
    "device_refused": 'error gathering device information while adding custom device "/dev/kfd"',
    "log_driver_refused": 'error looking up logging plugin loki: plugin "loki" not found',
    "driver_refused": 'plugin "weave" not found',
    "sysctls_refused": 'sysctl "vm.max_map_count" is not in a separate kernel namespace',
    "dependency_refused": "dependency failed to start: container db has no healthcheck configured",
    "compose.variables.refused": "required variable DB_PASSWORD is missing a value: set it",
    "containers_missing": "vpn",
    "gpu_refused": 'could not select device driver "" with capabilities: [[gpu]]',
    "privileged_refused": "cannot expose privileged port 80",
    "compose.variables.unset": "TAG", "address": "0.0.0.0", "item": "8080",
}  # fmt: skip

# By rule: what is said in a fix of the rule and in one of the known error, in text or command.
REMEDIES = {
    "bind-mounts": "correct (?:its|the) path",
    "build-inputs": "correct its path",
    "build-inputs-later": "correct",
    "clickhouse-sse42": "processor type to (?:that of the )?host",
    "compose-variables": r"\.env",
    "container-name-free": "remove",
    "couchdb-password": "COUCHDB_USER and COUCHDB_PASSWORD",
    "cpu-limit-minimum": "half a core",
    "cpu-limit-supported": "cpu_shares",
    "cpu-limit-within-docker": "lower the CPU limit",
    "cpu-limit-within-quota": "CPUQuota of the slice",
    "cpuset": "cpuset",
    "credential-helper": "credsStore",
    "devices": "load its driver|load the driver",
    "elasticsearch-max-map-count": r"sysctl -w vm\.max_map_count=262144",
    "env-files": "required: false",
    "external-networks": "docker network create",
    "external-volumes": "docker volume create",
    "gpus": "install the (?:NVIDIA Container Toolkit|toolkit)",
    "healthchecks": "condition: service_started",
    "image-exists": "correct the (?:name|image's name)",
    "image-exists-for-platform": "tag .*for|tag for this platform",
    "image-fits-disk": "docker system df",
    "image-name": "lowercase and without spaces",
    "image-platform": "tonistiigi/binfmt",
    "image-present": "pull_policy",
    "log-driver": "install (?:its|the|the driver's) plugin",
    "mariadb-password": "MARIADB_ROOT_PASSWORD",
    "memory-limit-minimum": "without a unit means bytes|alone is bytes",
    "memory-reservation-minimum": "memory reservation",
    "memory-reservation-within-limit": "memory reservation",
    "memory-swap-limit": "set memswap_limit .*no swap",
    "memory-swap-needs-limit": "remove (?:memswap_limit|it)",
    "model-fits": "OLLAMA_MODEL|use a smaller model",
    "mongo-avx": r"mongo:4\.4",
    "mongo-password": "MONGO_INITDB_ROOT_PASSWORD",
    "mongo-user": "MONGO_INITDB_ROOT_PASSWORD",
    "mounts-of-the-right-type": "empty folder",
    "mssql-eula": "ACCEPT_EULA",
    "mssql-memory": "raise the memory limit",
    "mssql-memory-of-docker": "give Docker .*more memory",
    "mysql-password": "MYSQL_ROOT_PASSWORD",
    "network-driver": "install (?:its|the|the driver's) plugin",
    "opensearch-max-map-count": r"sysctl -w vm\.max_map_count=262144",
    "opensearch-password": "OPENSEARCH_INITIAL_ADMIN_PASSWORD",
    "overlay-needs-swarm": "docker swarm init",
    "platform": "tonistiigi/binfmt",
    "port-clash": "publish another port",
    "port-free": "publish another port",
    "postgres-data-directory": "at /var/lib/postgresql",
    "postgres-password": "POSTGRES_PASSWORD",
    "privileged-ports": "port 1024 or higher",
    "runtime": "nvidia-ctk runtime configure",
    "shared-containers": "network_mode: service:NAME",
    "sonarqube-max-map-count": r"vm\.max_map_count",
    "subnets": "choose another subnet",
    "sysctls": "remove (?:it|the setting) from sysctls",
    "volume-driver": "install the plugin",
}
NO_TEXT_OF_AN_ENGINE = {
    "docker-reachable": "each engine, client and system says it in its own words",
    "compose-conflict": "the error is Compose's whole message",
    "compose-version": "Compose doesn't say which version it needs",
    "container-oom": "a container's state",
    "mounts-permitted": "Permission denied, which has many causes",
    "settings": "each setting has its own words",
}


def diagnosed(rule: Rule) -> list[DiagnosisFinding]:
    text = re.sub(r"\{([a-z_.]+)\}", lambda match: PLACES.get(match[1], "2"), rule.error or "")
    reader = LogSearcher(RULES.diagnoses)
    reader.add_log("up.log", io.BytesIO(f"Error response from daemon: {text}\n".encode()))
    facts = Facts({"host": {"os": "linux"}})
    return [*diagnose(RULES, reader.build_search_result(), facts, build_catalogue()).findings]


def test_each_error_and_each_refusal_has_its_remedy_here() -> None:
    assert RULES_WITH_ERROR.keys() == REMEDIES.keys() | NO_TEXT_OF_AN_ENGINE.keys()
    refused = {project.rule for project in REFUSED_PROJECTS.values()} | NOT_ASKED_HERE.keys()
    assert refused <= RULES_WITH_ERROR.keys()


@pytest.mark.parametrize("id_", REMEDIES)
def test_what_a_rule_foretells_has_the_same_remedy(id_: str) -> None:
    rule = RULES_WITH_ERROR[id_]
    findings = diagnosed(rule)
    assert len(findings) == 1, findings
    remedy = re.compile(REMEDIES[id_], re.IGNORECASE | re.DOTALL)
    for fixes in (rule.fixes, findings[0].fixes):
        assert any(remedy.search(f"{fix.text}\n{fix.command}") for fix in fixes), fixes
