"""What lies under mounts: owners, filesystems and shares, against stat and mounts of our own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paths import TESTS
from preflight.facts.collect.context import Engine, MeasurementContext
from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.compose.project import Project
from preflight.facts.engine.api import LazyValue
from preflight.facts.engine.endpoint import EngineError
from preflight.facts.mounted_paths import is_network_filesystem, measure_mounted_paths
from preflight.model.facts import Facts, Measured, Unknown, build_facts

Run = Callable[..., "subprocess.CompletedProcess[str]"]
linux = pytest.mark.skipif(sys.platform != "linux", reason="mounts of Linux")
EVERYTHING = ("source", "type", "filesystem", "network", "writable", "owner", "group", "mode")
HIDDEN = Unknown("inside a container the files may not be the machine's")


def bind(source: Path | str, target: str = "/data", **more: Any) -> dict[str, Any]:
    return {"type": "bind", "source": str(source), "target": target, **more}


def measured(
    *mounts: dict[str, Any],
    targets: tuple[str, ...] = ("*",),
    root: str | None = None,
    hidden: Unknown | None = None,
    volumes: dict[str, Any] | None = None,
) -> Facts:
    """Measure the mounts of a service db; `root` is the folder of an engine that is reachable."""
    config = {"services": {"db": {"volumes": list(mounts)}}, "volumes": volumes or {}}
    context = MeasurementContext(MeasurementOptions())
    project = Project("shop", "/", ("compose.yaml",), "cli", config)
    context.project_or_unknown = lambda: project  # type: ignore[method-assign]
    visibility: Any = SimpleNamespace(path_hidden=lambda _: hidden)

    def get_engine() -> Engine:
        if root is None:
            raise EngineError("no socket")
        api: Any = SimpleNamespace()
        return Engine(api, {}, {"DockerRootDir": root}, "docker", visibility)

    context.engine = LazyValue(get_engine)
    context.find_visibility = LazyValue(lambda: visibility)
    service = ("compose", "services", "db")
    listed = [Measured((*service, "mounts"), [], "test"), Measured(service[:2], {}, "test")]
    paths = [(*service, "mounts", target, name) for target in targets for name in EVERYTHING]
    items = list(measure_mounted_paths(context, paths))
    facts = build_facts([*listed, *items], measured_at="", version="")
    assert build_facts([*items, *listed], measured_at="", version="") == facts  # in any order
    return facts


def get(facts: Facts, name: str, target: str = "/data") -> Any:
    return facts.get(("compose", "services", "db", "mounts", target, name))


def test_a_bind_mount_is_what_stat_says(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o750)
    if os.geteuid() == 0:
        os.chown(folder, 1000, 1001)
    facts = measured(bind(folder))
    done = subprocess.run(["stat", "-c", "%u %g %a", folder], capture_output=True, text=True)
    owner, group, mode = done.stdout.split()
    assert (get(facts, "owner"), get(facts, "group")) == (int(owner), int(group))
    assert get(facts, "mode") == mode == "750"
    assert (get(facts, "source"), get(facts, "type")) == (str(folder), "bind")
    assert get(facts, "writable") is True
    assert get(measured(bind(folder, read_only=True)), "writable") is False


def test_what_is_not_there_yet_has_no_owner_and_its_parents_filesystem(tmp_path: Path) -> None:
    facts = measured(bind(tmp_path / "a/b"))
    assert get(facts, "owner") is get(facts, "mode") is None
    assert get(facts, "filesystem") == get(measured(bind(tmp_path)), "filesystem")


def test_a_link_counts_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert get(measured(bind(tmp_path / "link")), "mode") == "700"


def test_only_mounts_that_rules_name_are_measured(tmp_path: Path) -> None:
    facts = measured(bind(tmp_path), bind(tmp_path, "/other"), targets=("/data", "/missing"))
    assert list(facts.values["compose"]["services"]["db"]["mounts"]) == ["/data"]
    assert get(facts, "type", "/missing") is None
    assert get(measured(bind(tmp_path), targets=("/missing",)), "owner", "/missing") is None


def test_a_snapshot_without_them_is_unknown() -> None:
    path = ("compose", "services", "db", "mounts")
    facts = build_facts([Measured(path, ["./a:/data"], "test")], measured_at="", version="")
    assert facts.get(path) == ["./a:/data"]
    assert isinstance(facts.get((*path, "/data", "owner")), Unknown)


def test_files_that_are_hidden_are_unknown(tmp_path: Path) -> None:
    facts = measured(bind(tmp_path), hidden=HIDDEN)
    for name in ("owner", "group", "mode", "filesystem", "network", "writable"):
        assert get(facts, name) == HIDDEN, name
    assert get(facts, "type") == "bind"


def volume(source: str = "named", **more: Any) -> dict[str, Any]:
    return {"type": "volume", "source": source, "target": "/data", **more}


@linux
def test_a_volume_lies_below_the_engines_folder(tmp_path: Path) -> None:
    facts = measured(volume(), root=str(tmp_path))
    assert get(facts, "filesystem") == get(measured(bind(tmp_path)), "filesystem")
    assert (get(facts, "network"), get(facts, "writable")) == (False, True)
    assert isinstance(get(facts, "owner"), Unknown)
    assert isinstance(get(measured(volume()), "filesystem"), Unknown)  # without an engine


@pytest.mark.parametrize(
    ("settings", "filesystem", "network"),
    [
        ({"driver_opts": {"type": "nfs", "o": "addr=10.0.0.1", "device": ":/x"}}, "nfs", True),
        ({"driver_opts": {"type": "tmpfs", "device": "tmpfs"}}, "tmpfs", False),
        ({"driver": "rclone"}, Unknown, Unknown),
    ],
)
def test_volumes_with_options(settings: dict[str, Any], filesystem: Any, network: Any) -> None:
    facts = measured(volume(), root="/", volumes={"named": settings})
    for name, expected in (("filesystem", filesystem), ("network", network)):
        value = get(facts, name)
        assert isinstance(value, Unknown) if expected is Unknown else value == expected


def test_a_tmpfs_is_one(tmp_path: Path) -> None:
    facts = measured({"type": "tmpfs", "target": "/data"})
    assert (get(facts, "filesystem"), get(facts, "network")) == ("tmpfs", False)
    assert isinstance(get(facts, "owner"), Unknown)


@pytest.mark.parametrize(
    ("name", "network"),
    [("nfs", True), ("nfs4", True), ("cifs", True), ("fuse.sshfs", True), ("ceph", True),
     ("ext4", False), ("xfs", False), ("9p", False), ("fuseblk", False), ("overlay", False),
     ("fuse.mergerfs", False), ("fuse.nas", None)],
)  # fmt: skip
def test_filesystems_of_networks(name: str, network: bool | None) -> None:
    value = is_network_filesystem(name)
    assert isinstance(value, Unknown) if network is None else value is network


RULES = """\
version: 1
name: mounts
rules:
  - {id: owner, title: O, fact: compose.services.db.mounts./data.owner, require: {equals: 0}}
  - {id: system, title: F, fact: compose.services.db.mounts./data.filesystem,
     require: {equals: tmpfs}}
  - {id: writable, title: W, fact: compose.services.db.mounts./data.writable,
     require: {equals: true}}
  - {id: each, title: E, for_each: compose.services.db.mounts, fact: network,
     require: {equals: false}}
  - {id: none, title: N, for_each: compose.services.web.mounts, fact: network,
     require: {equals: false}}
"""


def write_project(folder: Path, source: Path) -> None:
    (folder / "preflight.yaml").write_text(RULES)
    (folder / "compose.yaml").write_text(
        f"services: {{db: {{image: a, volumes: ['{source}:/data', '{folder}/other:/other']}},"
        " web: {image: b}}\n"
    )


@linux
@pytest.mark.parametrize(("options", "writable"), [("size=1m", "pass"), ("size=1m,ro", "fail")])
def test_a_mount_of_ones_own(
    tmp_path: Path, run_preflight: Run, options: str, writable: str
) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    (tmp_path / "data").mkdir()
    write_project(tmp_path, tmp_path / "data")
    mount = f"mount -t tmpfs -o {options} t {tmp_path}/data"
    prefix = ("unshare", "-m", "sh", "-c", f'set -e; {mount}; exec "$@"', "sh")
    done = run_preflight("check", "-f", "json", prefix=prefix, cwd=tmp_path)
    results = json.loads(done.stdout)["results"]
    assert {(row["id"], row["item"]): row["verdict"] for row in results} == {
        ("owner", None): "pass",
        ("system", None): "pass",
        ("writable", None): writable,
        ("each", "/data"): "pass",
        ("each", "/other"): "pass",
        ("none", None): "skip",
    }


@linux
def test_a_share_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip("needs root and FUSE")
    for name in ("hung", "project"):
        (tmp_path / name).mkdir()
    write_project(tmp_path / "project", tmp_path / "hung/data")
    program = str(Path(sys.executable).with_name("preflight"))
    args = [program, "check", "-f", "json", "--only", "owner,system,each", "--timeout", "30"]
    command = {"args": args, "cwd": str(tmp_path / "project"), "env": dict(os.environ)}
    done = subprocess.run(
        [sys.executable, str(TESTS / "support/hung_filesystem.py"), str(tmp_path / "hung")],
        input=json.dumps([command]), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ((code, seconds, output),) = json.loads(done.stdout)
    results = {(row["id"], row["item"]): row for row in json.loads(output)["results"]}
    assert code == 1
    assert seconds < 20  # by then it is over, without the time that --timeout gives
    assert results["owner", None]["verdict"] == "unknown"
    assert "did not answer" in results["owner", None]["message"]
    assert results["system", None]["actual"] == "fuse.nas"
    assert results["each", "/other"]["verdict"] == "pass"
