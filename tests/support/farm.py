"""Hosts for tests of a fleet: sshd processes on loopback, each with its own home and limits."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

CGROUP = Path("/sys/fs/cgroup/memory")
CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {farm}/key.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
UseDNS no
LogLevel ERROR
Subsystem sftp internal-sftp
SetEnv {env}
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Host(NamedTuple):
    """One sshd; its home is empty at first."""

    name: str
    port: int
    folder: Path
    process: subprocess.Popen[bytes]
    cgroup: Path | None

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def stop(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)


class Farm:
    """Starts hosts, writes inventories of them, and ends them all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hosts: dict[str, Host] = {}
        self.known = folder / "known_hosts"
        self.known.write_text("")
        self.key = folder / "key"
        _keygen(self.key)
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd drops its privileges

    def start(
        self,
        name: str,
        env: Mapping[str, str] | None = None,
        memory: int | None = None,
        cpus: set[int] | None = None,
    ) -> Host:
        """Start a host; the limits apply to everything that runs on it."""
        folder, port = self.folder / f"host-{len(self.hosts)}", free_port()
        (folder / "home").mkdir(parents=True)
        _keygen(folder / "host_key")
        variables = {"HOME": str(folder / "home"), **(env or {})}
        (folder / "sshd_config").write_text(
            CONFIG.format(
                port=port, folder=folder, farm=self.folder,
                env=" ".join(f'"{key}={value}"' for key, value in variables.items()),
            )
        )  # fmt: skip
        cgroup = None if memory is None else CGROUP / f"pf-{os.getpid()}-{len(self.hosts)}"
        if cgroup is not None:
            cgroup.mkdir()
            (cgroup / "memory.limit_in_bytes").write_text(str(memory))

        def apply_limits() -> None:
            if cgroup is not None:
                (cgroup / "cgroup.procs").write_text(str(os.getpid()))
            if cpus is not None:
                os.sched_setaffinity(0, cpus)

        process = subprocess.Popen(
            ["/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "sshd_config")],
            stdin=subprocess.DEVNULL, stderr=(folder / "log").open("wb"),
            preexec_fn=apply_limits, start_new_session=True,  # noqa: PLW1509 - no threads here
        )  # fmt: skip
        host = Host(name, port, folder, process, cgroup)
        self.hosts[name] = host
        self.trust(host)
        return host

    def trust(self, host: Host) -> None:
        """Add its key to the known hosts once it accepts connections."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", host.port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        key = (host.folder / "host_key.pub").read_text().split()
        with self.known.open("a") as file:
            file.write(f"[127.0.0.1]:{host.port} {key[0]} {key[1]}\n")

    def line(self, name: str, port: int, **more: str) -> str:
        """Return a host's line in an INI inventory."""
        variables = {"ansible_host": "127.0.0.1", "ansible_port": str(port), **more}
        return f"{name} " + " ".join(f"{key}={value}" for key, value in variables.items())

    def inventory(self, *lines: str) -> Path:
        """Write an INI inventory: all hosts, or these lines."""
        rows = lines or [self.line(host.name, host.port) for host in self.hosts.values()]
        file = self.folder / "hosts.ini"
        file.write_text("\n".join([*rows, "[all:vars]", *self.vars()]) + "\n")
        return file

    def vars(self) -> list[str]:
        """Return the variables of all hosts: the test's key and known hosts."""
        return [
            "ansible_user=root",
            f"ansible_ssh_private_key_file={self.key}",
            f"ansible_ssh_common_args=-o UserKnownHostsFile={self.known} -o ConnectTimeout=5",
            "ansible_python_interpreter=/usr/bin/python3",
        ]

    def end(self) -> None:
        """End every sshd and what it has started, by their own pids."""
        for host in self.hosts.values():
            host.go_on()
            for pid in _process_tree(host.process.pid):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            host.process.wait(10)
            if host.cgroup is not None:
                _remove_cgroup(host.cgroup)


def _keygen(path: Path) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "preflight test", "-f"]
    subprocess.run([*command, str(path)], check=True)


def _process_tree(pid: int) -> list[int]:
    """Return a process and its descendants, children first."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [*(descendant for child in children for descendant in _process_tree(int(child))), pid]


def _remove_cgroup(cgroup: Path) -> None:
    for _ in range(100):
        try:
            cgroup.rmdir()
            return
        except OSError:
            time.sleep(0.05)
