"""Projects that an engine refuses: a row each, with the rule that says so before."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from compose_projects import compose_program
from engines import IMAGE, Engine

Run = Callable[..., "subprocess.CompletedProcess[str]"]


class Project:
    """A project in a folder of its own, checked and then started by the real Compose."""

    def __init__(self, engine: Engine, folder: Path, run: Run) -> None:
        self.engine, self.folder, self.run = engine, folder, run
        self.compose = compose_program()
        self.environ = {"PATH": f"{os.path.dirname(self.compose)}:{os.environ['PATH']}"}

    def write(self, service: str, rest: str = "", image: str = IMAGE) -> None:
        keys = "" if "network" in service else "network_mode: none, "
        api = f"{{image: '{image}', {keys}command: [sleep, '60'], {service}}}"
        (self.folder / "compose.yaml").write_text(
            f"name: pf-refused\nservices:\n  api: {api}\n{rest}"
        )

    def failures(self, *options: str) -> dict[str, dict[str, Any]]:
        """Return the results of `check` that aren't met or not known, by their rule."""
        done = self.run(
            "check", "-r", "general", "-f", "json", "--docker-host", self.engine.url, *options,
            cwd=self.folder, env=self.environ,
        )  # fmt: skip
        assert done.returncode in (0, 1, 3), done.stderr
        results = json.loads(done.stdout)["results"]
        return {one["id"]: one for one in results if one["verdict"] in ("fail", "unknown")}

    def up(self) -> subprocess.CompletedProcess[str]:
        return self.compose_run("up", "-d", "-t", "0")

    def down(self) -> None:
        self.compose_run("down", "-v", "-t", "0", "--remove-orphans")

    def compose_run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.compose, "-f", str(self.folder / "compose.yaml"), *arguments],
            env={**os.environ, "DOCKER_HOST": self.engine.url},
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip


class RefusedProject(NamedTuple):
    """Keys of the service `api` and of the file, and which engines refuse them.

    `before` are commands of docker that make what stands in the way.
    """

    rule: str
    service: str
    rest: str = ""
    before: tuple[str, ...] = ()
    engines: tuple[str, ...] = ("docker",)


BOTH = ("docker", "podman")
DB = f"  db: {{image: '{IMAGE}', network_mode: none, command: [sleep, '60']}}\n"
POOL = "networks: {{n: {{ipam: {{config: [{{subnet: {}}}]}}}}}}\n"
REFUSED_PROJECTS = {
    "memory limit of 5 MiB": RefusedProject("memory-limit-minimum", "mem_limit: 5m"),
    "memory limit without a unit": RefusedProject("memory-limit-minimum", "mem_limit: 512"),
    "memory reservation of 5 MiB": RefusedProject(
        "memory-reservation-minimum", "deploy: {resources: {reservations: {memory: 5m}}}"
    ),
    "memory reservation above the limit": RefusedProject(
        "memory-reservation-within-limit", "mem_limit: 64m, mem_reservation: 128m"
    ),
    "memory and swap below memory": RefusedProject(
        "memory-swap-limit", "mem_limit: 2g, memswap_limit: 1g", engines=BOTH
    ),
    "swap without a memory limit": RefusedProject("memory-swap-needs-limit", "memswap_limit: 1g"),
    "a thousandth of a CPU": RefusedProject("cpu-limit-minimum", "cpus: 0.001"),
    "more CPUs than there are": RefusedProject("cpu-limit-within-docker", "cpus: 4000"),
    "CPUs that aren't there": RefusedProject("cpuset", 'cpuset: "0,4000"', engines=BOTH),
    "no valid CPUs": RefusedProject("cpuset", "cpuset: all"),
    "a device that isn't there": RefusedProject("devices", "devices: [/dev/gone, /dev/null]"),
    "a name that is taken": RefusedProject(
        "container-name-free", "container_name: pf-taken", engines=BOTH,
        before=(f"create --name pf-taken {IMAGE} true",),
    ),
    "the name of a replica that is taken": RefusedProject(
        "container-name-free", "scale: 2", before=(f"create --name pf-refused-api-2 {IMAGE} true",),
    ),
    "processes of a container that isn't there": RefusedProject(
        "shared-containers", "pid: 'container:pf-gone'"
    ),
    "an external network": RefusedProject(
        "external-networks", "networks: [proxy]", "networks: {proxy: {external: true}}\n",
        engines=BOTH,
    ),
    "an external network of another name": RefusedProject(
        "external-networks", "networks: [proxy]",
        "networks: {proxy: {external: true, name: pf-gone}}\n",
    ),
    "an external volume": RefusedProject(
        "external-volumes", "volumes: ['data:/data']", "volumes: {data: {external: true}}\n",
        engines=BOTH,
    ),
    "a runtime": RefusedProject("runtime", "runtime: nvidia"),
    "GPUs": RefusedProject("gpus", "gpus: all"),
    "GPUs of a driver": RefusedProject(
        "gpus",
        "deploy: {resources: {reservations: {devices: [{driver: amd, capabilities: [gpu]}]}}}",
    ),
    "a logging driver": RefusedProject("log-driver", "logging: {driver: loki}", engines=BOTH),
    "a volume driver": RefusedProject(
        "volume-driver", "volumes: ['data:/data']", "volumes: {data: {driver: rexray}}\n",
        engines=BOTH,
    ),
    "a network driver": RefusedProject(
        "network-driver", "networks: [n]", "networks: {n: {driver: weave}}\n", engines=BOTH
    ),
    "an overlay network": RefusedProject(
        "overlay-needs-swarm", "networks: [n]", "networks: {n: {driver: overlay}}\n"
    ),
    "a subnet that another network has": RefusedProject(
        "subnets", "networks: [n]", POOL.format("10.77.0.0/16"),
        before=("network create --subnet 10.77.3.0/24 pf-pool",),
    ),
    "a kernel setting of the machine": RefusedProject(
        "sysctls", "sysctls: {vm.max_map_count: 262144}", engines=BOTH
    ),
    "a kernel setting of the host's network": RefusedProject(
        "sysctls", "network_mode: host, sysctls: {net.core.somaxconn: 1024}"
    ),
    "a kernel setting that this kernel doesn't have": RefusedProject(
        "sysctls", "sysctls: {net.ipv4.tcp_tw_recycle: 1}"
    ),
    "a kernel setting without its numbers": RefusedProject("sysctls", "sysctls: {kernel.sem: x}"),
    "CPUs in reverse order": RefusedProject("cpuset", 'cpuset: "1-0"'),
    "a capability that doesn't exist": RefusedProject("settings", "cap_add: [NET_ADMINS]"),
    "a program that the image doesn't have": RefusedProject("settings", "entrypoint: [gone]"),
    "a user that the image doesn't have": RefusedProject("settings", "user: gone"),
    "an address outside the network": RefusedProject(
        "settings", "networks: {n: {ipv4_address: 10.9.9.9}}", POOL.format("10.78.0.0/16")
    ),
    "a dependency without a health check": RefusedProject(
        "healthchecks", "depends_on: {db: {condition: service_healthy}}", DB
    ),
}  # fmt: skip

REFUSED_SETTINGS = {
    "cpu_quota: 500": "CPU cfs quota can not be less than 1ms (i.e. 1000)",
    "cpu_period: 2000000": "or larger than 1s (i.e. 1000000)",
    "cpus: 1, cpu_quota: 50000": "Nano CPUs and CPU Quota cannot both be set",
    "cpus: 1, cpu_period: 50000": "Nano CPUs and CPU Period cannot both be set",
    "mem_limit: 64m, mem_swappiness: 101": "Invalid value: 101, valid memory swappiness range",
    "cap_drop: [SYS_TIMES]": 'invalid CapDrop: unknown capability: "CAP_SYS_TIMES"',
    "isolation: hyperv": "Invalid isolation: \"hyperv\" - linux only supports 'default'",
    "stop_signal: SIGFOO": "Invalid signal: SIGFOO",
    "shm_size: -1": "SHM size can not be less than 0",
    "container_name: my app": "Invalid container name (my app), only [a-zA-Z0-9][a-zA-Z0-9_.-]",
    "restart: sometimes": "invalid restart policy 'sometimes'",
    "mac_address: zz": "address zz: invalid MAC address",
    "device_cgroup_rules: [c 81 rmw]": "invalid device cgroup rule format: 'c 81 rmw'",
    "security_opt: [seccomp]": 'invalid security-opt: "seccomp"',
    "security_opt: [foo=bar]": 'invalid --security-opt 2: "foo=bar"',
    "security_opt: ['seccomp:/gone.json']": "opening seccomp profile (/gone.json) failed",
    "security_opt: ['seccomp:/etc/hosts']": "compacting json for seccomp profile (/etc/hosts)",
    "working_dir: app": "the working directory 'app' is invalid, it needs to be an absolute path",
    "tmpfs: [data]": "invalid mount path: 'data' mount path must be absolute",
    "volumes: ['v:/data']": "invalid mount path: 'v:/data' mount path must be absolute",
    "volumes: ['./:/']": "invalid specification: destination can't be '/'",
    "logging: {driver: json-file, options: {max-sizes: 1m}}": "unknown log opt 'max-sizes' for",
    "logging: {driver: json-file, options: {max-size: 10x}}": "invalid size: '10x'",
    "logging: {driver: json-file, options: {max-file: '0'}}": "max-file cannot be less than 1",
    "ulimits: {nofile: {soft: 4096, hard: 1024}}": "error setting rlimit type 7: invalid argument",
    "ulimits: {nofile: 2000000000}": "error setting rlimit type 7: operation not permitted",
    "ulimits: {files: 1024}": "wrong rlimit value: RLIMIT_FILES",
    "devices: [/etc/hostname]": 'custom device "/etc/hostname": not a device node',
    "devices: [/dev/shm]": 'custom device "/dev/shm": not a device node',
    "devices: [nvidia.com/gpu=all]": 'could not select device driver "cdi" with capabilities: []',
    "healthcheck: {test: [CMD, 'true'], start_interval: 1s}": "require Docker Engine v25 or later",
    f"volumes: [{{type: image, source: '{IMAGE}', target: /y}}]": "require Docker Engine v28",
    "group_add: [gone]": "Unable to find group gone: no matching entries in group file",
    "user: '1000:gone'": "unable to find group gone: no matching entries in group file",
    "stop_signal: '0'": "Invalid signal: 0",
    f"hostname: {'a' * 65}": "sethostname: invalid argument",
    "ipc: privat": "Invalid IPC mode: privat",
    "security_opt: ['no-new-privileges:maybe']": 'invalid --security-opt 2: "no-new-privileges:',
    "healthcheck: {test: [CMD, 'true'], interval: 100us}": "Interval in Healthcheck cannot be less",
    "healthcheck: {test: [CMD, 'true'], timeout: -1s}": "Timeout in Healthcheck cannot be less",
    "restart: 'unless-stopped:3'": "maximum retry count cannot be used with restart policy",
    "restart: 'on-failure:-1'": "maximum retry count cannot be negative",
    "cap_add: [CAP_ALL]": 'invalid CapAdd: unknown capability: "CAP_ALL"',
    "blkio_config: {device_read_bps: [{path: /dev/gone, rate: 1mb}]}": "stat /dev/gone: no such",
    "storage_opt: {sizes: 1g}": "Unknown option sizes",
    "tmpfs: ['/x:sizes=1m']": 'invalid tmpfs option ["sizes" "1m"]',
    "tmpfs: ['/x:size=64mb']": 'error mounting "tmpfs" to rootfs at "/x"',
    "volumes: [{type: npipe, source: /a, target: /x}]": 'for type "npipe": mount type unknown',
    "volumes: [{type: tmpfs, source: /a, target: /x}]": 'for type "tmpfs": field Source must',
    "deploy: {resources: {reservations: {devices: [{capabilities: [tpu]}]}}}": 'driver "" with',
    "deploy: {resources: {reservations: {devices: [{driver: tpu, capabilities: [x]}]}}}": "[[x]]",
    "network_mode: backend": "network backend not found",
    "logging: {options: {max-size: 10x}}": "invalid size: '10x'",
    "logging: {driver: json-file, options: {mode: async}}": "logging mode not supported: async",
    "logging: {driver: json-file, options: {max-file: x}}": 'strconv.Atoi: parsing "x"',
    "logging: {driver: json-file, options: {compress: 'yes'}}": 'strconv.ParseBool: parsing "yes"',
    "logging: {driver: local, options: {tag: x}}": "unknown log opt 'tag' for log driver local",
    "logging: {driver: local, options: {max-size: 10x, max-file: '2'}}": "invalid size: '10x'",
    "logging: {driver: journald, options: {max-size: 1m}}": "unknown log opt 'max-size' for",
    "logging: {driver: syslog, options: {syslog-address: 'log:514'}}": "in form proto://address",
    "logging: {driver: syslog, options: {syslog-facility: app}}": "invalid syslog facility",
    "logging: {driver: syslog, options: {syslog-format: json}}": "Invalid syslog format",
    "logging: {driver: gelf}": "gelf-address is a required parameter",
    "logging: {driver: fluentd, options: {fluentd-async: 'yes'}}": 'ParseBool: parsing "yes"',
    "logging: {driver: local, options: {max-file: '1'}}": "compression cannot be enabled when max",
    "logging: {driver: local, options: {max-buffer-size: 1m}}": "only supported with",
    "logging: {driver: local, options: {mode: non-blocking, max-buffer-size: x}}": "invalid size",
    "logging: {driver: fluentd, options: {fluentd-adress: x}}": "unknown log opt 'fluentd-adress'",
    "logging: {driver: gelf, options: {gelf-address: 'udp://log'}}": "as proto://host:port",
    "logging: {driver: gelf, options: {gelf-address: udp://a:1, gelf-compression-type: x}}": "opt",
    "logging: {driver: awslogs}": "must specify a value for log opt 'awslogs-group'",
    "logging: {driver: logentries}": "Missing logentries token",
    "logging: {driver: splunk}": "splunk: splunk-url is expected",
    "user: '2147483648'": "uids and gids must be in range 0-2147483647",
    "entrypoint: [/bin]": 'exec: "/bin": permission denied',
    "networks: {n: {mac_address: '02:42:ac:11:65:43'}}": 'per network" requires API version 1.44',
    "networks: {n: {interface_name: eth7}}": "interface_name requires Docker Engine v28.1 or later",
    "ports: ['192.0.2.9:18099:80'], networks: [n]": "192.0.2.9:18099: bind: cannot assign",
    "extra_hosts: ['db:300.1.1.1'], networks: [n]": 'invalid IP address in add-host: "300.1.1.1"',
    "uts: host, hostname: x": "conflicting options: hostname and the UTS mode",
    "network_mode: host, mac_address: '02:42:ac:11:65:43'": "mac-address and the network mode",
    "deploy: {restart_policy: {condition: any, max_attempts: 3}}": "restart policy 'always'",
    "volumes: [{type: bind, source: /, target: /x, bind: {recursive: readonly}}]": "requires API",
    "mem_limit: 64m, mem_swappiness: -5": "Invalid value: -5, valid memory swappiness range",
    "read_only: true, configs: [{source: c, target: /x}]": "in read-only service",
    "volumes: ['./:/proc']": "cannot be mounted because it is not of type proc",
    "volumes: ['./:/proc/x']": "cannot be mounted because it is inside /proc",
    "volumes: ['./:/x:ro', './compose.yaml:/x/gone']": 'to rootfs at "/x/gone"',
    "entrypoint: [/bin/gone]": 'exec: "/bin/gone": stat /bin/gone: no such file or directory',
}
"""Keys of a service, and what Compose 2.40.3 or Docker 20.10 then says."""

REFUSED_ADDRESS = "networks: {n: {ipv4_address: 10.79.0.5}}"
NETWORK_ADDRESS = "networks: {n: {ipv4_address: 10.79.0.0}}"
SECOND_API = f"  b: {{image: '{IMAGE}', command: [sleep, '60'], {REFUSED_ADDRESS}}}\n"
B = DB.replace("db:", "b:")
VOLUME = "volumes: {{data: {{driver_opts: {{{}}}}}}}\n"
OPTIONS = "networks: {{n: {{driver_opts: {{com.docker.network.{}}}}}}}\n"
REFUSED_NETWORKS = {
    ("networks: [n]", POOL.format("10.81.0.0/16, gateway: 10.9.0.1")): "to allocate gateway",
    ("networks: [n]", POOL.format("10.82.0.0/16, gateway: first")): "invalid gateway address first",
    ("networks: [n]", POOL.format("10.83.0.0/16, aux_addresses: {a: 10.9.0.1}")): "auxiliary addr",
    ("networks: [n]", "networks: {n: {ipam: {config: [{gateway: 10.9.0.1}]}}}\n"): "Invalid subnet",
    ("networks: [n]", "networks: {n: {enable_ipv6: true}}\n"): "non-overlapping IPv6 address pool",
    ("networks: [n]", "networks: {n: {driver: host}}\n"): 'only one instance of "host" network is',
    ("networks: [n]", "networks: {n: {external: true, name: none}}\n"): "network-scoped alias is",
    ("networks: [n]", OPTIONS.format("bridge.name: shop-backend-net")): "numerical result out of",
    ("networks: [n]", OPTIONS.format("driver.mtu: auto")): "driver.mtu value: auto",
    (REFUSED_ADDRESS, SECOND_API + POOL.format("10.79.0.0/16")): "Address already in",
    (REFUSED_ADDRESS, POOL.format("10.79.0.0/16, gateway: 10.79.0.5")): "Address already in use",
    (NETWORK_ADDRESS, POOL.format("10.79.0.0/16")): "Address already in use",
    ("networks: [n]", OPTIONS.format("bridge.enable_icc: maybe")): "enable_icc value: maybe",
    ("networks: [n]", "networks: {n: {driver: macvlan, driver_opts: {macvlan_mode: x}}}\n"):
        "requested macvlan mode 'x' is not valid",
    ("networks: [n]", POOL.format("10.84.0.0/16}, {subnet: 10.85.0.0/16")): "multiple subnets",
    ("secrets: [s]", "secrets: {s: {driver: x, file: ./compose.yaml}}\n"): "does not support",
    ("ipc: 'service:b'", B.replace("network", "ipc: private, network")): "non-shareable IPC",
    ("network_mode: 'service:b'", B.replace("network", "scale: 0, network")): "cannot share",
    ("network_mode: 'service:b', hostname: x", B): "conflicting options: hostname and the network",
    ("network_mode: 'service:b', ports: ['8099:80']", B): "port publishing and the container type",
    ("network_mode: 'service:b', dns: [1.1.1.1]", B): "conflicting options: dns and the network",
    ("network_mode: 'service:b', expose: ['80']", B): "port exposing and the",
    ("network_mode: 'service:b', extra_hosts: ['a:1.1.1.1']", B): "host-to-IP mapping and",
    ("network_mode: 'service:b', links: [b]", B): "container type network can't be used with links",
    ("network_mode: host, links: [b]", B): "host type networking can't be used with links",
    ("volumes: ['data:/x']", VOLUME.format("type: none, o: bind, device: ./gone")):
        "flags: 0x1000: no such file or directory",
    ("volumes: ['data:/x']", VOLUME.format("type: none, o: bind, device: /etc/hostname")):
        "flags: 0x1000: not a directory",
    ("volumes: ['data:/x']", VOLUME.format("type: ext4, device: /dev/gone")): "no such file or",
    ("volumes: ['data:/x']", VOLUME.format("o: bind")): "missing required option",
    ("volumes: ['data:/x']", VOLUME.format("type: tmpfs, device: tmpfs, o: size=abc")):
        "data: size=abc: invalid argument",
}  # fmt: skip
"""Keys of a service, and of the file, and what Docker 20.10 then says."""

NOT_ASKED_HERE = {
    "mounts-of-the-right-type": "tests/unit/facts/test_bind_mount_problems.py",
    "mounts-permitted": "tests/unit/facts/test_bind_mount_problems.py",
    "docker-reachable": "tests/unit/facts/engine",
    "compose-version": "tests/unit/facts/compose/test_load.py",
    "compose-conflict": "tests/unit/facts/compose/test_load.py",
    "compose-variables": "tests/e2e/test_check_stack.py",
    "build-inputs": "tests/unit/facts/builds",
    "build-inputs-later": "tests/unit/facts/builds",
    "port-free": "tests/unit/facts/test_ports.py",
    "port-clash": "tests/unit/facts/test_start_blockers.py",
    "bind-mounts": "tests/unit/facts/test_start_blockers.py",
    "env-files": "tests/e2e/test_check_stack.py",
    "platform": "tests/unit/facts/test_start_blockers.py",
    "image-name": "tests/unit/facts/test_images.py",
    "image-present": "tests/unit/facts/test_images.py",
    "image-platform": "tests/unit/facts/test_images.py",
    "credential-helper": "tests/unit/facts/test_images.py",
    "image-exists": "tests/unit/facts/test_registry.py",
    "image-exists-for-platform": "tests/unit/facts/test_registry.py",
    "image-fits-disk": "tests/unit/facts/test_registry.py",
    "container-oom": "tests/e2e/test_check_stack.py",
    "cpu-limit-within-quota": "tests/unit/facts/test_service_refusals.py",
    "cpu-limit-supported": "no engine without CFS here: moby, daemon/daemon_unix.go",
    "privileged-ports": "tests/unit/facts/test_service_refusals.py; no rootless engine here",
}
"""By rule: the test that asks elsewhere, or why no engine here can be asked."""
