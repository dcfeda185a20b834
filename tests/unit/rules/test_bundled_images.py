"""What well-known images need: said where it is known, and of nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from preflight import check as pipeline
from preflight.cli.streams import read_rule_file
from preflight.facts.compose.compose_facts import measure_compose_facts
from preflight.facts.compose.project import Project
from preflight.model.facts import Measured, Unknown, build_facts
from preflight.model.rules import IMAGES_RULE_SET

RULES = pipeline.load_ruleset(IMAGES_RULE_SET, read_rule_file)
MACHINE = {
    "docker reachable": True,
    "docker native": True,
    "docker platform": "linux/amd64",
    "docker memory usable": 8e9,
    "kernel sysctl vm max_map_count": 65530,
    "host cpu flags": ["fpu", "sse4_1"],
}
ELASTIC = "docker.elastic.co/elasticsearch/elasticsearch:8.15.0"
SQL_SERVER = "mcr.microsoft.com/mssql/server:2022-latest"
MAP_COUNT = {"elasticsearch-max-map-count"}


def verdicts(service: dict[str, Any], machine: dict[str, Any] | None = None) -> dict[str, str]:
    """Return what isn't met or not known of a service, on a machine that has nothing of it."""
    project = Project("shop", "/shop", ("compose.yaml",), "cli", {"services": {"x": service}})
    facts = {**MACHINE, **(machine or {})}
    measured = [Measured(tuple(name.split()), value, "test") for name, value in facts.items()]
    snapshot = build_facts(
        [*measure_compose_facts(None, project), *measured], measured_at="", version="1"
    )
    report = pipeline.check(RULES, snapshot)
    return {r.id: r.verdict for r in report.results if r.verdict not in ("pass", "skip")}


def variables(**given: str) -> dict[str, Any]:
    return {"environment": {name.replace("__", "."): value for name, value in given.items()}}


@pytest.mark.parametrize(
    ("service", "rules"),
    [
        ({"image": ELASTIC}, MAP_COUNT),
        ({"image": "elasticsearch:7.17.24"}, MAP_COUNT),
        ({"image": ELASTIC, "command": ["/usr/local/bin/docker-entrypoint.sh", "eswrapper"]},
         MAP_COUNT),
        ({"image": "docker.io/library/elasticsearch"}, MAP_COUNT),
        ({"image": "opensearchproject/opensearch:2"},
         {"opensearch-max-map-count", "opensearch-password"}),
        ({"image": "opensearchproject/opensearch:2.11.1"}, {"opensearch-max-map-count"}),
        ({"image": "opensearchproject/opensearch:2.12.0", **variables(discovery__type="single-node",
          OPENSEARCH_INITIAL_ADMIN_PASSWORD="")},
         {"opensearch-password", "elasticsearch-max-map-count-recommended"}),
        ({"image": "couchdb:3.4"}, {"couchdb-password"}),
        ({"image": "mongo:4.4", **variables(MONGO_INITDB_ROOT_USERNAME="root",
          MONGO_INITDB_ROOT_PASSWORD="")}, {"mongo-password"}),
        ({"image": "mongo:4.4", **variables(MONGO_INITDB_ROOT_USERNAME="",
          MONGO_INITDB_ROOT_PASSWORD="a")}, {"mongo-user"}),
        ({"image": "sonarqube:community"}, {"sonarqube-max-map-count"}),
        ({"image": SQL_SERVER, "mem_limit": 2**30, **variables(ACCEPT_EULA="Y")}, {"mssql-memory"}),
        ({"image": SQL_SERVER}, {"mssql-eula"}),
        ({"image": "postgres:16"}, {"postgres-password"}),
        ({"image": "docker.io/postgres:16", **variables(POSTGRES_PASSWORD="")},
         {"postgres-password"}),
        ({"image": "pgvector/pgvector:pg17", "command": ["postgres", "-c", "a=b"]},
         {"postgres-password"}),
        ({"image": "postgres:18-alpine", **variables(POSTGRES_PASSWORD="x"),
          "volumes": [{"type": "volume", "source": "d", "target": "/var/lib/postgresql/data"}]},
         {"postgres-data-directory"}),
        ({"image": "mysql:8.4", **variables(MYSQL_DATABASE="shop")}, {"mysql-password"}),
        ({"image": "mariadb"}, {"mariadb-password"}),
        ({"image": "mongo:7"}, {"mongo-avx"}),
        ({"image": "mongo"}, {"mongo-avx"}),
        ({"image": "clickhouse/clickhouse-server:24.8"}, {"clickhouse-sse42"}),
        ({"image": "own/app", "mem_limit": 2**30, **variables(JAVA_OPTS="-Xms2g -Xmx2g")},
         {"java-heap-fits-limit"}),
        ({"image": "own/app", "mem_limit": 2**30, "command": ["java", "-Xmx1024m", "-jar", "a"]},
         {"java-heap-max-fits-limit"}),
    ],
)  # fmt: skip
def test_what_an_image_lacks_is_said_once(service: dict[str, Any], rules: set[str]) -> None:
    assert set(verdicts(service)) == rules
    names = dict.fromkeys(
        ("java-heap-max-fits-limit", "couchdb-password", "elasticsearch-max-map-count-recommended"),
        "warn",
    )
    assert verdicts(service) == {rule: names.get(rule, "fail") for rule in rules}


@pytest.mark.parametrize(
    "service",
    [
        {"image": ELASTIC, "command": ["bash", "-c", "elasticsearch-certutil ca"]},
        {"image": ELASTIC, **variables(node__store__allow_mmap="false")},
        {"image": "sonarqube", **variables(SONAR_ES_BOOTSTRAP_CHECKS_DISABLE="true")},
        {"image": "elastic/kibana:8.15.0"},
        {"image": "own/elasticsearch-exporter"},
        {"image": SQL_SERVER, "mem_limit": 2 * 2**30, **variables(ACCEPT_EULA="Y")},
        {"image": "postgres:16", **variables(POSTGRES_PASSWORD="x")},
        {"image": "postgres:16", **variables(POSTGRES_PASSWORD_FILE="/run/secrets/pw")},
        {"image": "postgres:16", **variables(POSTGRES_HOST_AUTH_METHOD="trust")},
        {"image": "postgres:16", "entrypoint": ["sh", "/backup.sh"]},
        {"image": "postgres:16", "command": ["pg_dump", "-h", "db"]},
        {"image": "own/postgres"},
        {"build": {"context": "."}},
        {"image": "postgres:17", **variables(POSTGRES_PASSWORD="x"),
         "volumes": [{"type": "volume", "source": "d", "target": "/var/lib/postgresql/data"}]},
        {"image": "mysql:8", **variables(MYSQL_RANDOM_ROOT_PASSWORD="yes")},
        {"image": "mariadb:11", **variables(MYSQL_ROOT_PASSWORD="x")},
        {"image": "mongo:4.4"},
        {"image": "mongo:4.4", **variables(MONGO_INITDB_ROOT_USERNAME="")},
        {"image": "mongo:4.4", "command": ["mongorestore"],
         **variables(MONGO_INITDB_ROOT_USERNAME="root")},
        {"image": "mongo:4.4", **variables(MONGO_INITDB_ROOT_USERNAME="root",
                                           MONGO_INITDB_ROOT_PASSWORD_FILE="/run/secrets/p")},
        {"image": "couchdb:2.3.1"},
        {"image": "couchdb:3", **variables(COUCHDB_USER="a", COUCHDB_PASSWORD="b")},
        {"image": "couchdb:3", "volumes": [
            {"type": "bind", "source": "/x", "target": "/opt/couchdb/etc/local.d"}]},
        {"image": "opensearchproject/opensearch:3", **variables(
            node__store__allow_mmap="false", OPENSEARCH_INITIAL_ADMIN_PASSWORD="x")},
        {"image": "opensearchproject/opensearch:3", **variables(
            node__store__allow_mmap="false", DISABLE_SECURITY_PLUGIN="true")},
        {"image": "opensearchproject/opensearch-dashboards:3"},
        {"image": "docker.elastic.co/elasticsearch/elasticsearch:5.5.2",
         **variables(transport__host="127.0.0.1", http__host="0.0.0.0")},
        {"image": ELASTIC, **variables(ES_SETTING_DISCOVERY_TYPE="single-node")},
        {"image": ELASTIC, "command": ["bin/elasticsearch-certutil", "cert"]},
        {"image": "sonarqube:community",
         **variables(SONAR_SEARCH_JAVAADDITIONALOPTS="-Dnode.store.allow_mmap=false")},
        {"image": SQL_SERVER, "mem_limit": 2**29, "entrypoint": ["/opt/mssql-tools/bin/sqlcmd"]},
        {"image": "mongo@sha256:" + 64 * "0"},
        {"image": "own/app", "mem_limit": 2**30, **variables(JAVA_OPTS="-Xms256m -Xmx512m")},
        {"image": "own/app", **variables(JAVA_OPTS="-Xmx64g")},
    ],
)  # fmt: skip
def test_nothing_is_said_of_what_is_in_order_or_not_known(service: dict[str, Any]) -> None:
    assert verdicts(service) == {}


def test_a_single_node_is_only_advised() -> None:
    single = {"image": ELASTIC, **variables(discovery__type="single-node")}
    assert verdicts(single) == {"elasticsearch-max-map-count-recommended": "warn"}


def test_a_database_that_has_its_data_needs_no_password() -> None:
    data = {"compose services x filled_targets": ["/var/lib/postgresql/data"]}
    assert verdicts({"image": "postgres:16"}, data) == {}


def test_what_the_containers_kernel_says_is_unknown_in_a_vm() -> None:
    hidden = {"kernel sysctl vm max_map_count": Unknown("in a VM"), "docker native": False}
    assert verdicts({"image": ELASTIC}, hidden) == dict.fromkeys(MAP_COUNT, "unknown")
    assert verdicts({"image": "mongo:7"}, hidden) == {}
    assert verdicts({"image": "mongo:7"}, {"host cpu flags": Unknown("generic")}) == {
        "mongo-avx": "unknown"
    }


def test_without_an_engine_nothing_is_left_undecided() -> None:
    down = {"docker reachable": False, "docker native": Unknown("no socket")}
    for image in ("postgres:16", "mysql:8", "mariadb:11", "mongo:7", ELASTIC):
        no_data = {"compose services x filled_targets": Unknown("no socket")}
        assert verdicts({"image": image}, {**down, **no_data}) == {}


def test_where_a_password_is_set_nothing_else_has_to_be_known() -> None:
    elsewhere = {"compose services x filled_targets": Unknown("another machine's files")}
    service = {"image": "postgres:16", **variables(POSTGRES_PASSWORD="x")}
    assert verdicts(service, elsewhere) == {}
    assert verdicts({"image": "postgres:16"}, elsewhere) == {"postgres-password": "unknown"}
