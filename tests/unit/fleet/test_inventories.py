"""What stands in an inventory or in ansible.cfg: whatever it is, it keeps no other host from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from farm import Farm, Host
from preflight.cli.fleet import file_name

Run = Callable[..., "subprocess.CompletedProcess[str]"]

HERE = f"{os.path.dirname(sys.executable)}:/usr/local/bin:/usr/bin:/bin"
"""A PATH on which a host has preflight of this version already."""
NAMES = (
    "a/../../b", "..", ".hidden", "[red]x[/red]", "new\nline", "esc\x1b[31m", "<b>&\"'", "-i",
    "::error::x", "a b", "Web", "web", "web~1", "ü", "x" * 300,
)  # fmt: skip


@pytest.fixture(scope="module")
def node(farm: Farm) -> Host:
    return farm.start("node", {"PATH": HERE})


def common(farm: Farm, node: Host) -> dict[str, Any]:
    """Return what every name of that one machine has in an inventory."""
    told = dict(row.split("=", 1) for row in farm.vars())
    return {**told, "ansible_host": "127.0.0.1", "ansible_port": node.port}


def script(folder: Path, hosts: dict[str, dict[str, Any]], all_: dict[str, Any]) -> str:
    """Write a script that is an inventory, which may name hosts as it likes; return its name."""
    dynamic = {"all": {"hosts": list(hosts), "vars": all_}, "_meta": {"hostvars": hosts}}
    (folder / "hosts.json").write_text(json.dumps(dynamic))
    (folder / "inventory").write_text('#!/bin/sh\ncat "$(dirname "$0")/hosts.json"\n')
    (folder / "inventory").chmod(0o755)
    return "./inventory"


def told(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Return by host its verdict of the only rule, or why there is none."""
    assert done.stdout, done.stderr
    hosts = json.loads(done.stdout)["hosts"]
    return {
        name: one["results"][0]["verdict"] if "results" in one else one["unreachable"]
        for name, one in hosts.items()
    }


def fleet(run: Run, folder: Path, inventory: str, *more: str) -> subprocess.CompletedProcess[str]:
    return run(
        "fleet", "-i", inventory, "--only", "process-memory", *more, "-f", "json", cwd=folder
    )


def test_hosts_of_any_name_are_judged_and_saved_each_in_a_file_of_its_own(
    run_preflight: Run, farm: Farm, node: Host, tmp_path: Path
) -> None:
    inventory = script(tmp_path, {name: {} for name in NAMES}, common(farm, node))
    done = fleet(run_preflight, tmp_path, inventory, "--forks", "8", "--save", "out/saved")
    assert told(done) == dict.fromkeys(NAMES, "pass")
    saved = [path.name for path in (tmp_path / "out/saved").iterdir()]
    assert len({name.lower() for name in saved}) == len(NAMES)
    assert not any(name.startswith(".") for name in saved)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["saved"]
    again = run_preflight("check", "--facts", "out/saved", "--only", "process-memory", "-f", "json",
                          cwd=tmp_path)  # fmt: skip
    assert set(told(again).values()) == {"pass"}
    assert json.loads(again.stdout)["summary"]["hosts"] == len(NAMES)
    text = run_preflight("diff", "out/saved", "out/saved", cwd=tmp_path)
    assert text.returncode == 0


def test_a_file_has_the_same_name_whichever_hosts_there_are() -> None:
    assert [file_name(name) for name in ("web-1", "db.example.org", "10.0.0.1", "fe80::1")] == [
        "web-1", "db.example.org", "10.0.0.1", "fe80%3A%3A1",
    ]  # fmt: skip
    assert len({file_name(name).lower() for name in NAMES}) == len(NAMES)
    assert all(0 < len(file_name(name).encode()) <= 250 for name in (*NAMES, "", "ü" * 300))


@pytest.mark.parametrize(
    "wrong",
    [
        {"ansible_host": "{{ nowhere }}"},
        {"ansible_become": "{{ nowhere }}"},
        {"ansible_connection": "nonsense"},
        {"ansible_port": "abc"},
        {"preflight_path": "{{ nowhere }}"},
        {"preflight_vars": "{{ nowhere }}"},
        {"preflight_vars": {"system_overhead": "{{ nowhere }}"}},
        {"preflight_chdir": "/nowhere"},
    ],
    ids=str,
)
def test_a_host_with_vars_that_cannot_be_used_hides_no_other(
    run_preflight: Run, farm: Farm, node: Host, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    hosts: dict[str, dict[str, Any]] = {"bad": wrong, "good": {}}  # the bad one is the first
    done = fleet(run_preflight, tmp_path, script(tmp_path, hosts, common(farm, node)))
    assert done.returncode == 3
    assert list(told(done)) == ["bad", "good"]
    assert told(done)["good"] == "pass"
    (value,) = wrong.values()
    assert any(word in told(done)["bad"] for word in ("nowhere", str(value)))


def test_thresholds_are_what_ansible_makes_of_them_and_the_command_line_wins(
    run_preflight: Run, farm: Farm, node: Host, tmp_path: Path
) -> None:
    (tmp_path / "preflight.yaml").write_text(
        "version: 1\nname: mine\nvars: {least: 1kB}\nrules:\n"
        "- {id: ram, title: RAM, fact: host.memory.total, require: {at_least: '${least}'}}\n"
    )
    hosts: dict[str, dict[str, Any]] = {
        "plain": {},
        "strict": {"size": 900, "preflight_vars": {"least": "{{ size * 10 }}TB"}},
    }
    inventory = script(tmp_path, hosts, common(farm, node))
    done = run_preflight("fleet", "-i", inventory, "-f", "json", cwd=tmp_path)
    assert (done.returncode, told(done)) == (1, {"plain": "pass", "strict": "fail"})
    asked = json.loads(done.stdout)["hosts"]["strict"]["results"][0]["expected"]
    assert asked == {"at_least": 9000e12}
    wins = run_preflight("fleet", "-i", inventory, "--set", "least=1kB", "-f", "json", cwd=tmp_path)
    assert (wins.returncode, told(wins)) == (0, {"plain": "pass", "strict": "pass"})
    hosts["strict"]["preflight_vars"] = {"leats": 1}
    inventory = script(tmp_path, hosts, common(farm, node))
    wrong = run_preflight("fleet", "-i", inventory, "-f", "json", cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "strict" in wrong.stderr
    assert "did you mean 'least'" in wrong.stderr


@pytest.mark.parametrize(
    "config",
    ["no_log=True", "any_errors_fatal=True", "strategy=free", "stdout_callback=json",
     "verbosity=2", "force_color=1", "fact_caching=memory", "pipelining=False"],
)  # fmt: skip
def test_whatever_ansible_cfg_says(
    run_preflight: Run, farm: Farm, node: Host, tmp_path: Path, config: str
) -> None:
    (tmp_path / "ansible.cfg").write_text(f"[defaults]\n{config}\n")
    hosts: dict[str, dict[str, Any]] = {
        "snakeless": {"ansible_python_interpreter": "/opt/none/python3"}, "good": {},
    }  # fmt: skip
    done = fleet(run_preflight, tmp_path, script(tmp_path, hosts, common(farm, node)))
    assert list(told(done)) == ["snakeless", "good"]
    assert told(done)["good"] == "pass"
    assert told(done)["snakeless"].startswith("no Python at /opt/none/python3")


def test_a_long_name_of_the_folder_for_temporary_files(
    run_preflight: Run, farm: Farm, node: Host, tmp_path: Path
) -> None:
    place = tmp_path / ("t" * 100)  # longer than the path of a socket may be
    place.mkdir()
    inventory = script(tmp_path, {"node": {}}, common(farm, node))
    done = run_preflight("fleet", "-i", inventory, "--only", "process-memory", "-f", "json",
                         cwd=tmp_path, env={"TMPDIR": str(place)})  # fmt: skip
    assert told(done) == {"node": "pass"}
