"""Settings that Docker or Compose refuses, asked of both; those that they accept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from contexts import context_with
from engines import Engine
from preflight.facts.compose.project import Project as ComposeProject
from preflight.facts.engine.api import NotFoundError
from preflight.facts.service_refusals import measure_refusals
from preflight.model.facts import Unknown
from refused_projects import REFUSED_NETWORKS, REFUSED_SETTINGS, Project

ACCEPTED_SETTINGS = [
    {"cpu_quota": 50000, "cpu_period": 100000},
    {"mem_swappiness": "60", "cap_add": ["net_admin", "CAP_BPF", "ALL"]},
    *({"stop_signal": name} for name in ("SIGRTMIN+3", "PWR", "SIGSTKFLT", "sigunused", "9")),
    {"stop_signal": "quit", "restart": "on-failure:3", "container_name": "db.1_a-b"},
    {"mac_address": "02:42:ac:11:65:43", "device_cgroup_rules": ["c 81:* rmw", "a *:* rwm"]},
    {"mac_address": "00:00:5e:00:53:01:00:00"},
    {"mac_address": "0000.5e00.5301.0000"},
    {"security_opt": ["no-new-privileges", "apparmor:unconfined", "seccomp=unconfined"]},
    {"tmpfs": "/run", "volumes": [{"type": "volume", "target": "/data"}]},
    {"logging": {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}},
    {"logging": {"driver": "json-file", "options": {"max-size": ".5 GiB", "max-file": "9" * 5000}}},
    {"logging": {"driver": "fluentd", "options": {"tag": "x", "fluentd-address": "y"}}},
    {
        "ulimits": {
            "NOFILE": 1024,
            "nproc": {"soft": 1024, "hard": -1},
            "nofile": 65535,
            "memlock": -1,
        }
    },
    {
        "logging": {
            "driver": "local",
            "options": {"max-size": "1m", "compress": "false", "mode": ""},
        }
    },
    {"logging": {"driver": "syslog", "options": {"syslog-address": "udp://x:514"}}},
    {"logging": {"driver": "syslog", "options": {"syslog-facility": "3", "tag": "x"}}},
    {"logging": {"driver": "gelf", "options": {"gelf-address": "udp://x:1"}}},
    {"logging": {"driver": "journald", "options": {"tag": "x", "mode": "blocking"}}},
    {"logging": {"driver": "local", "options": {"max-file": "1", "compress": "false"}}},
    {"logging": {"driver": "local", "options": {"mode": "non-blocking", "max-buffer-size": "4m"}}},
    {"logging": {"driver": "json-file", "options": {"max-buffer-size": "4m"}}},
    {"logging": {"driver": "none", "options": {"max-size": "1m"}}},
    {"logging": {"options": {"max-size": "10m", "compress": "true"}}},
    {"tmpfs": ["/x:size=10%,mode=1777,uid=5,noexec", "/y:", "/z:rw,size=64M", "/w:size=0x1000"]},
    {"ipc": "shareable", "hostname": "a" * 64, "restart": "always:0"},
    {"restart": "none", "container_name": "/db"},
    {"restart": "any:x", "hostname": "a_b"},
    {"deploy": {"restart_policy": {"max_attempts": 3}}},
    {"tmpfs": ["/proc/acpi"]},
    {"extra_hosts": ["a=host-gateway", "b:10.0.0.1", "c=::1", "d=[::1]"]},
    {"healthcheck": {"interval": "1m30s", "timeout": "1.5s", "start_period": "0s"}},
    {"blkio_config": {"device_read_bps": [{"Path": "/dev/null", "Rate": "1"}]}},
    {"ports": [{"published": "80", "host_ip": "127.0.0.1"}]},
    {"deploy": {"resources": {"reservations": {"devices": [{"capabilities": ["gpu"]}]}}}},
    {"network_mode": "bridge", "hostname": "x", "dns": ["1.1.1.1"], "expose": ["80"]},
    {"deploy": {"restart_policy": {"condition": "on-failure", "max_attempts": 3}}},
    {"deploy": {"restart_policy": {"max_attempts": 3}}},
    {"restart": "always", "deploy": {"restart_policy": {"condition": "any"}}},
    {"volumes": [{"type": "bind", "source": "/proc", "target": "/proc"}]},
    {"volumes": [{"type": "bind", "source": "/x", "target": "/proc/uptime"}]},
    {
        "volumes": [
            {"type": "bind", "source": "/etc", "target": "/x", "read_only": True},
            {"type": "bind", "source": "/y", "target": "/x/hostname"},
        ]
    },
    {"secrets": [{"source": "s"}], "configs": [{"source": "s"}]},
    {"cpu_period": "100ms", "cpu_quota": "x", "ulimits": {"nofile": "many"}},
]


class _Api:
    """An engine that has no images, and the networks or volumes that a test gives it."""

    def __init__(
        self, existing: list[dict[str, Any]], containers: Sequence[dict[str, Any]] = ()
    ) -> None:
        self.existing, self._containers = existing, [*containers]
        self.endpoint = SimpleNamespace(url="unix:///gone")

    def inspect_image(self, name: str) -> NoReturn:
        raise NotFoundError(f"no such image: {name}", "unavailable")

    def get_object_list(self, path: str) -> list[dict[str, Any]]:
        return self.existing

    def get_object(self, path: str) -> dict[str, Any]:
        return {"Volumes": self.existing}

    def containers(self) -> list[dict[str, Any]]:
        return self._containers


def refusals(
    service: dict[str, Any],
    existing: Sequence[dict[str, Any]] = (),
    version: str = "20.10.24",
    name: str = "docker",
    **given: Any,
) -> list[str]:
    """Return what is said to a service of a project that has these networks, volumes, secrets."""
    facts = dict(service_facts(service, existing, version, name, **given))
    value = facts.get(("start", "services", "api", "settings_refused"))
    return value.split("; ") if isinstance(value, str) else []


def service_facts(
    service: dict[str, Any],
    existing: Sequence[dict[str, Any]] = (),
    version: str = "20.10.24",
    name: str = "docker",
    swarm: Mapping[str, str] | None = None,
    containers: Sequence[dict[str, Any]] = (),
    default_log_driver: str = "json-file",
    storage: tuple[str, Any] = ("overlay2", []),
    others: Mapping[str, Any] | None = None,
    **config: Any,
) -> list[tuple[tuple[str, ...], Any]]:
    config = {"services": {"api": {"image": "x", **service}, **(others or {})}, **config}
    project = ComposeProject("shop", "/shop", (), "cli", config)
    api: Any = _Api([*existing], containers)
    info: dict[str, Any] = {"CgroupVersion": "1", "DockerRootDir": "/var/lib/docker"}
    info |= {"Swarm": swarm, "LoggingDriver": default_log_driver}
    info |= dict(zip(("Driver", "DriverStatus"), storage, strict=True))
    context = context_with(
        project, api=api, name=name, version={"Version": version, "Os": "linux"}, info=info
    )
    return [(fact.path, fact.value) for fact in measure_refusals(context, project)]


REFUSED = {**{(keys, ""): words for keys, words in REFUSED_SETTINGS.items()}, **REFUSED_NETWORKS}


@pytest.mark.nightly
@pytest.mark.parametrize(("keys", "rest"), REFUSED)
def test_the_engine_says_what_was_predicted(
    keys: str,
    rest: str,
    docker_engine: Engine,
    tmp_path: Path,
    run_preflight: Callable[..., Any],
) -> None:
    one = Project(docker_engine, tmp_path, run_preflight)
    networks = "networks: {n: {}}\n" if "networks" in keys else ""
    one.write(keys, rest or f"{networks}configs: {{c: {{content: x}}}}\n")
    failure = one.failures()["settings"]
    done = one.up()
    one.down()
    assert failure["verdict"] == "fail"
    assert REFUSED[keys, rest] in failure["error"]
    assert done.returncode != 0
    assert failure["error"].lower() in done.stderr.lower()


@pytest.mark.parametrize("ulimits", ["memlock: -1", "core: 0", "nofile: 1048576", "nice: 9"])
def test_a_limit_is_refused_where_the_engine_may_not_raise_its_own(
    ulimits: str, docker_engine: Engine, tmp_path: Path, run_preflight: Callable[..., Any]
) -> None:
    project = Project(docker_engine, tmp_path, run_preflight)
    project.write(f"ulimits: {{{ulimits}}}")
    failures, done = project.failures(), project.up()
    project.down()
    assert set(failures) == ({"settings"} if done.returncode else set()), done.stderr
    if failures:
        assert failures["settings"]["error"] in done.stderr


@pytest.mark.parametrize("service", ACCEPTED_SETTINGS)
def test_what_is_accepted_is_no_failure(service: dict[str, Any]) -> None:
    assert refusals(service) == []


def test_only_what_this_engine_refuses() -> None:
    newer = {"healthcheck": {"start_interval": "1s"}, "devices": ["nvidia.com/gpu=all"]}
    assert refusals(newer, version="28.2.2") == []
    assert refusals({"restart": "x"}, version="28.2.2") == [
        "invalid restart policy: unknown policy 'x'"
    ]
    assert refusals({"cap_add": ["X"]}, name="podman") == []


def test_names_that_only_a_newer_engine_may_know() -> None:
    options = {"driver": "json-file", "options": {"new": "x", "max-file": "0"}}
    service = {"cap_add": ["NEW"], "cap_drop": ["NEW"], "security_opt": ["new=x"]}
    mounts = [{"type": "volume", "source": "v", "target": "/data"}]
    service |= {"logging": options, "volumes": mounts}
    volumes = {"v": {"driver_opts": {"new": "x"}}}
    assert len(refusals(service, version="28.9.9", volumes=volumes)) == 6
    for version in ("29.0.0", "dev"):
        known = refusals(service, version=version, volumes=volumes)
        assert known == ["max-file cannot be less than 1"]


def test_a_privileged_container_has_all_devices() -> None:
    for devices in (["/dev/gone", "/etc/hosts:/etc/hosts:r"],
                    [{"source": "/etc/hosts", "target": "/etc/hosts"}]):  # fmt: skip
        facts = service_facts({"privileged": True, "devices": devices})
        assert not [path for path, value in facts if value and path[-1].endswith(("ed", "missing"))]
    elsewhere = service_facts({"privileged": True, "devices": ["/dev/gone:/dev/x"]})
    assert (("start", "services", "api", "devices_missing"), ["/dev/gone"]) in elsewhere


@pytest.mark.parametrize(
    ("service", "fact"),
    [
        ({"devices": ["/dev/x\0:/y"]}, "devices_missing"),
        ({"cgroup_parent": "a\0.slice", "cpus": 1}, "cpus_limit"),
        ({"volumes": [{"type": "bind", "source": "/a\0", "target": "/b"}]}, "filled_targets"),
    ],
)
def test_a_nul_in_a_path_leaves_the_rest_known(service: dict[str, Any], fact: str) -> None:
    facts = {path[-1]: value for path, value in service_facts({**service, "cap_add": ["X"]})}
    assert facts[fact] == Unknown("the value in the compose file is invalid: embedded null byte")
    assert str(facts["settings_refused"]).startswith('invalid CapAdd: unknown capability: "CAP_X"')


def test_restart_policies_that_only_swarm_has() -> None:
    service = {"deploy": {"restart_policy": {"condition": "any", "max_attempts": 3}}}
    assert len(refusals(service)) == 1
    assert refusals(service, swarm={"LocalNodeState": "active"}) == []


def test_secrets_that_only_swarm_has() -> None:
    secrets = {"s": {"external": True}}
    refused = refusals({"secrets": [{"source": "s"}]}, secrets=secrets)
    assert refused == ["unsupported external secret s"]
    assert refusals({"secrets": ["s"], "scale": 0}, secrets=secrets) == []
    swarm = {"LocalNodeState": "active"}
    assert refusals({"secrets": ["s"]}, secrets=secrets, swarm=swarm) == []


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("entrypoint: [/run.sh], volumes: ['./run.sh:/run.sh']", 'exec: "/run.sh": permission'),
        ("entrypoint: [/run.sh], configs: [{source: c, target: /run.sh, mode: 493}]", None),
        ("entrypoint: [/c], configs: [c]", None),
        ("entrypoint: [/opt/run], volumes: ['./opt:/opt']", None),
        ("entrypoint: [./run]", None),
        ("entrypoint: [gone], pull_policy: daily", None),
        ("entrypoint: [gone], environment: {PATH: /opt}, volumes: ['./opt:/opt']", None),
        ("entrypoint: [sleep]", None),
        ("user: '1000:1000', group_add: ['5']", None),
        ("entrypoint: [gone], init: true", None),
    ],
)
def test_programs_that_are_mounted(
    keys: str, words: str | None, docker_engine: Engine, tmp_path: Path,
    run_preflight: Callable[..., Any],
) -> None:  # fmt: skip
    (tmp_path / "run.sh").write_text("#!/bin/sh\n")
    one = Project(docker_engine, tmp_path, run_preflight)
    one.write(keys, "configs: {c: {content: x}}\n")
    failures = one.failures("--only", "settings")
    assert (words or "") in str(failures.get("settings", {}).get("error"))
    assert ("settings" in failures) == (words is not None)


def test_an_image_without_a_valid_name_is_left_to_its_rule(
    docker_engine: Engine, tmp_path: Path, run_preflight: Callable[..., Any]
) -> None:
    one = Project(docker_engine, tmp_path, run_preflight)
    one.write("user: app", image="My App:latest")
    assert list(one.failures()) == ["image-name"]


def test_namespaces_of_containers_that_do_not_run() -> None:
    rows = [{"Id": "f00", "Names": ["/vpn"], "State": state} for state in ("exited", "running")]
    service = {"network_mode": "container:vpn", "pid": "container:vpn"}
    assert refusals(service, containers=rows[:1]) == [
        "cannot join network of a non running container: f00",
        "container f00 is not running",
    ]
    assert refusals(service, containers=rows[1:]) == []
    own = {"vpn": {"image": "x", "container_name": "vpn"}}
    assert refusals(service, containers=rows[:1], others=own) == []


def test_networks_that_network_mode_names() -> None:
    there = [{"Name": "proxy", "Id": "f00"}]
    assert refusals({"network_mode": "proxy"}, there) == []
    assert refusals({"network_mode": "proxies"}, there) == ["network proxies not found"]
    networks = {"n": {"name": "proxies"}}
    assert refusals({"network_mode": "proxies"}, networks=networks) == []


def test_log_options_that_the_engine_adds_may_complete_those_of_the_file() -> None:
    given = {"logging": {"driver": "json-file", "options": {"compress": "true"}}}
    assert refusals(given, default_log_driver="json-file") == []
    words = "compress cannot be true when max-file is less than 2 or max-size is not set"
    assert refusals(given, default_log_driver="local") == [words]
    given["logging"]["options"]["max-file"] = "1"
    assert refusals(given, default_log_driver="json-file") == [words]


def test_storage_options_depend_on_the_file_system() -> None:
    def of(file_system: str, driver: str = "overlay2") -> list[str]:
        status = [["Backing Filesystem", file_system]]
        return refusals({"storage_opt": {"size": "1g"}}, storage=(driver, status))

    assert of("extfs") == [
        "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"
    ]
    assert of("xfs") == of("extfs", "btrfs") == []


def network_refusals(settings: Any, networks: Any, existing: Any = ()) -> list[str]:
    service = {"networks": {"n": settings}}
    return refusals(service, existing, networks={"n": networks})


def test_fixed_addresses_and_subnets() -> None:
    pool = {"ipam": {"config": [{"subnet": "172.99.0.0/16"}]}}
    assert network_refusals({"ipv4_address": "172.99.0.9"}, pool) == []
    assert network_refusals({"ipv4_address": "172.98.0.9"}, pool) == [
        "invalid address 172.98.0.9: It does not belong to any of this network's subnets"
    ]
    assert "user configured subnets" in network_refusals({"ipv4_address": "172.99.0.9"}, {})[0]
    assert network_refusals({}, {"ipam": {"config": [{"subnet": "1.2.3.0/33"}]}}) == [
        "invalid subnet 1.2.3.0/33"
    ]
    there = {"Name": "shop_n", "Labels": {"com.docker.compose.network": "n"}, "IPAM": {
        "Config": [{"Subnet": "172.99.0.0/16"}]}}  # fmt: skip
    assert network_refusals({"ipv4_address": "172.99.0.9"}, {}, [there]) == []
    assert not refusals(
        {"networks": {"n": {"ipv4_address": "172.99.0.9"}}}, version="28.2.2", networks={"n": {}}
    )
    changed = {"ipam": {"config": [{"subnet": "172.98.0.0/16"}]}}
    assert network_refusals({"ipv4_address": "172.98.0.9"}, changed, [there]) == []


def test_subnets_with_bits_of_hosts_are_refused_from_25_on() -> None:
    pool = {"ipam": {"config": [{"subnet": "172.99.0.1/16", "gateway": "172.99.0.1"}]}}
    service = {"networks": {"n": {}}}
    assert refusals(service, networks={"n": pool}) == []
    assert refusals(service, version="28.2.2", networks={"n": pool}) == [
        "invalid subnet 172.99.0.1/16: it should be 172.99.0.0/16"
    ]
    pool["ipam"]["config"][0] = {"subnet": "172.99.0.0/16", "gateway": "172.98.0.1"}
    plugin = {"ipam": {**pool["ipam"], "driver": "acme/ipam"}}
    assert refusals(service, version="28.2.2", networks={"n": plugin}) == []
    outside = "parent subnet 172.99.0.0/16 doesn't contain this address"
    assert refusals(service, version="28.2.2", networks={"n": pool}) == [
        f"invalid gateway 172.98.0.1: {outside}"
    ]


def test_addresses_that_others_have() -> None:
    row = {"Name": "lan", "IPAM": {"Config": [{"Subnet": "172.99.0.0/16"}]}}
    networks = {"n": {"external": True, "name": "lan"}}
    other = {
        "Labels": {"com.docker.compose.project": "dns"},
        "NetworkSettings": {"Networks": {"lan": {"IPAddress": "172.99.0.9"}}},
    }
    for address, refused in (("172.99.0.9", True), ("172.99.0.1", True), ("172.99.0.8", False)):
        service = {"networks": {"n": {"ipv4_address": address}}}
        words = refusals(service, [row], containers=[other], networks=networks)
        assert words == ["Address already in use"] * refused
    gateway = {"networks": {"n": {"ipv4_address": "172.99.0.1"}}}
    assert refusals(gateway, [row], version="28.2.2", networks=networks) == []
    assert refusals(gateway, [{**row, "Driver": "ipvlan"}], networks=networks) == []
    other["Labels"] = {"com.docker.compose.project": "shop"}
    assert not refusals(
        {"networks": {"n": {"ipv4_address": "172.99.0.9"}}}, [row], containers=[other],
        networks=networks,
    )  # fmt: skip


def test_the_gateway_is_taken_from_the_range_of_addresses() -> None:
    networks = {"n": {"ipam": {"config": [{"subnet": "10.98.0.0/16", "ip_range": "10.98.5.0/24"}]}}}
    assert not refusals({"networks": {"n": {"ipv4_address": "10.98.0.1"}}}, networks=networks)


def test_a_port_may_be_published_on_the_gateway_of_a_network_of_the_project() -> None:
    networks = {"n": {"ipam": {"config": [{"subnet": "10.98.0.0/24"}]}}}
    service = {"ports": [{"published": "80", "host_ip": "10.98.0.1"}]}
    assert refusals(service, networks=networks) == []
    assert "cannot assign requested address" in refusals(service)[0]


def test_options_of_tmpfs_volumes_that_only_some_kernels_know() -> None:
    def volume_refusals(options: str) -> list[str]:
        volumes = {"v": {"driver_opts": {"type": "tmpfs", "device": "tmpfs", "o": options}}}
        mounts = [{"type": "volume", "source": "v", "target": "/v"}]
        return refusals({"volumes": mounts}, volumes=volumes)

    assert volume_refusals("size=1m,huge=never,inode64,noswap,context=system_u") == []
    assert len(volume_refusals("size=much")) == 1


def test_an_address_that_a_finished_service_had() -> None:
    networks = {"n": {"ipam": {"config": [{"subnet": "172.99.0.0/16"}]}}}
    own = {"networks": {"n": {"ipv4_address": "172.99.0.9"}}}
    services = {"api": {**own, "depends_on": {"migrate": {}}}, "migrate": own}
    for condition in ("service_started", "service_completed_successfully"):
        services["api"]["depends_on"]["migrate"] = {"condition": condition}
        given = {"image": "x", **services["api"]}
        refused = refusals(given, networks=networks, others={"migrate": services["migrate"]})
        assert refused == ["Address already in use"] * (condition == "service_started")


def test_networks_of_another_origin() -> None:
    taken = {"Name": "shop_n", "Labels": {}}
    words = 'label com.docker.compose.network set to "" (expected: "n")'
    [refused] = network_refusals({}, {}, [taken])
    assert refused == f"network shop_n was found but has incorrect {words}"
    assert network_refusals({}, {"external": True, "name": "shop_n"}, [taken]) == []


def test_parents_of_macvlan_networks() -> None:
    refused = network_refusals({}, {"driver": "macvlan", "driver_opts": {"parent": "pf9"}})
    assert refused == ["invalid subinterface vlan name pf9, example formatting is eth0.10"]
    assert network_refusals({}, {"driver": "macvlan", "driver_opts": {"parent": "lo"}}) == []
    assert network_refusals({}, {"driver": "macvlan"}) == []


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        ({}, None),
        ({"driver": "nfs", "driver_opts": {"share": "x"}}, None),
        ({"driver_opts": {"type": "tmpfs", "device": "tmpfs"}}, None),
        ({"driver_opts": {"type": "none", "o": "bind", "device": "/"}}, None),
        ({"name": "my data"}, 'create my data: "my data" includes invalid characters for a local'),
        ({"driver_opts": {"typ": "x"}}, 'create shop_v: invalid option: "typ"'),
        ({"driver_opts": {"type": "nfs"}}, 'create shop_v: missing required option: "device"'),
        (
            {"driver_opts": {"type": "none", "o": "bind", "device": "/gone"}},
            "failed to mount local volume: mount /gone:/var/lib/docker/volumes/shop_v/_data",
        ),
    ],
)
def test_volumes(volume: dict[str, Any], words: str | None) -> None:
    mounts = [{"type": "volume", "source": "v", "target": "/data"}]
    found = refusals({"volumes": mounts}, volumes={"v": volume})
    assert [text[: len(words or "")] for text in found] == ([words] if words else [])


def test_an_existing_volume_is_judged_as_it_is() -> None:
    mounts = [{"type": "volume", "source": "v", "target": "/data"}]
    volumes = {"v": {"driver_opts": {"type": "none", "o": "bind", "device": "/gone"}}}
    row = {"Name": "shop_v", "Driver": "local", "Options": None}
    assert refusals({"volumes": mounts}, [row], volumes=volumes) == []
    row["Options"] = {"type": "none", "o": "bind", "device": "/away"}
    [refused] = refusals({"volumes": mounts}, [row], volumes=volumes)
    assert refused.startswith("failed to mount local volume: mount /away:")
