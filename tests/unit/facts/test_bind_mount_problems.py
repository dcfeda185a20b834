"""Bind mounts of the wrong type, and without permission: as the real engine and kernel have it."""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engines import Engine, require_programs
from preflight.facts.bind_mount_problems import compute_permission_bits
from refused_projects import Project

Run = Callable[..., "subprocess.CompletedProcess[str]"]
IMAGE = "pf-files:1"
HAND_OVER = "busybox mkdir -p /all/data; busybox chown 1000 /all/data"
FILES = {"etc/app/app.conf": "a=1",
         "etc/passwd": "root:x:0:0::/:/bin/sh\napp:x:1000:2000::/:/bin/sh\n",
         "etc/group": "app:x:2000:\nextra:x:3000:app\n"}  # fmt: skip


@pytest.fixture(scope="module")
def image(docker_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with files, a link to a folder, and a user that isn't root."""
    archive = tmp_path_factory.mktemp("image") / "image.tar"
    busybox = os.path.realpath(
        subprocess.run(["which", "busybox"], capture_output=True, text=True).stdout.strip()
    )
    with tarfile.open(archive, "w") as tar:
        tar.add(busybox, "bin/busybox")
        for name, target in {
            "bin/sh": "busybox",
            "bin/sleep": "busybox",
            "conf": "etc/app",
        }.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
        for name, text in FILES.items():
            row = tarfile.TarInfo(name)
            row.size = len(text)
            tar.addfile(row, io.BytesIO(text.encode()))
    docker_engine.docker("import", "--change", "USER app", str(archive), IMAGE)
    return IMAGE


@pytest.fixture
def project(
    docker_engine: Engine, image: str, tmp_path: Path, run_preflight: Run
) -> Iterator[Project]:
    tmp_path.chmod(0o755)
    one = Project(docker_engine, tmp_path, run_preflight)
    yield one
    one.down()


@pytest.mark.parametrize(
    ("source", "target", "refused"),
    [
        ("gone", "/etc/app/app.conf", True),
        ("folder", "/etc/app/app.conf", True),
        ("folder", "/conf/app.conf", True),
        ("file", "/etc/app", True),
        ("file", "/etc/app/app.conf", False),
        ("file", "/conf/other.conf", False),
        ("folder", "/etc/app", False),
        ("folder", "/new/folder", False),
    ],
)
def test_what_is_of_the_wrong_type_is_what_docker_refuses(
    source: str, target: str, refused: bool, project: Project
) -> None:
    (project.folder / "folder").mkdir()
    (project.folder / "file").write_text("b=2")
    project.write(f"user: root, volumes: ['./{source}:{target}']", image=IMAGE)
    failures = project.failures()
    done = project.up()
    assert set(failures) == ({"mounts-of-the-right-type"} if refused else set())
    assert (done.returncode != 0) is refused, done.stderr
    if refused:
        assert failures["mounts-of-the-right-type"]["error"] in " ".join(done.stderr.split())


def test_an_image_without_a_valid_name_leaves_its_mounts_decided(project: Project) -> None:
    (project.folder / "file").write_text("b=2")
    volumes = "volumes: ['./file:/etc/app/app.conf', './gone:/gone']"
    project.write(volumes, image=f"{IMAGE}:")
    assert set(project.failures()) == {"image-name"}


@pytest.mark.parametrize(
    ("user", "owner", "mode", "denied"),
    [
        ("'1000'", (0, 0), 0o755, True),
        ("", (0, 0), 0o755, True),
        ("nobody", (0, 0), 0o755, False),  # which the image hasn't: Docker refuses to start it
        ("app", (1000, 0), 0o755, False),
        ("app", (0, 2000), 0o775, False),
        ("app", (0, 3000), 0o770, False),
        ("'4000'", (0, 0), 0o775, False),  # without a row in passwd its group is root
        ("'4000:4000'", (0, 0), 0o775, True),
        ("root", (0, 0), 0o700, False),
        ("'1000'", (0, 0), 0o777, False),
    ],
)
def test_who_may_not_write_to_an_empty_folder_is_who_cannot(
    user: str, owner: tuple[int, int], mode: int, denied: bool, project: Project
) -> None:
    folder = project.folder / "data"
    folder.mkdir()
    os.chown(folder, *owner)
    folder.chmod(mode)
    key = f"user: {user}, " if user else ""
    project.write(f"{key}volumes: ['./data:/data']", image=IMAGE)
    failures = project.failures()
    if user == "nobody":
        refusal = "unable to find user nobody: no matching entries in passwd file"
        assert {rule: row["error"] for rule, row in failures.items()} == {"settings": refusal}
        return
    assert set(failures) == ({"mounts-permitted"} if denied else set())
    option = f"--user={user.strip(chr(39))}" if user else "--init=false"
    done = subprocess.run(
        ["docker", "run", "--rm", "--network=none", option, "-v", f"{folder}:/data", IMAGE,
         "sh", "-c", "echo x > /data/x"],
        env={**os.environ, "DOCKER_HOST": project.engine.url}, capture_output=True, text=True,
    )  # fmt: skip
    assert ("Permission denied" in done.stderr) is denied, done.stderr


def test_a_file_that_the_user_cannot_read(project: Project) -> None:
    secret = project.folder / "key.pem"
    secret.write_text("x")
    secret.chmod(0o600)
    project.write("user: '1000', volumes: ['./key.pem:/key.pem:ro']", image=IMAGE)
    (failure,) = project.failures().values()
    assert failure["id"] == "mounts-permitted"
    secret.chmod(0o644)
    assert project.failures() == {}


@pytest.mark.parametrize(
    ("keys", "rest", "denied"),
    [
        ("", f"user: root, command: [sh, -c, '{HAND_OVER}'], volumes: ['.:/all']", False),
        ("", "user: root, command: [busybox, 'true'], volumes: ['.:/all:ro']", True),
        ("", "user: '2000', command: [busybox, 'true'], volumes: ['./data:/data']", True),
        (
            "",
            "command: [busybox, 'true'], volumes: ['./data:/data']",
            True,
        ),  # the image's user isn't root
        ("post_start: [{command: [busybox, chown, '1000', /data], user: root}], ", "", False),
        ("post_start: [{command: [busybox, 'true']}], ", "", True),
    ],
)
def test_a_folder_that_root_may_hand_over_as_the_project_starts(
    keys: str, rest: str, denied: bool, project: Project
) -> None:
    waits = "depends_on: {init: {condition: service_completed_successfully}}, " if rest else ""
    init = f"  init: {{image: '{IMAGE}', network_mode: none, {rest}}}\n" if rest else ""
    project.write(
        f"user: '1000', {keys}{waits}volumes: ['./data:/data'], "
        "entrypoint: [sh, -c, 'until echo x > /data/x; do sleep 0.1; done; sleep 60']",
        init,
        image=IMAGE,
    )
    assert set(project.failures()) == ({"mounts-permitted"} if denied else set())
    if not denied:
        done = project.up()
        assert done.returncode == 0, done.stderr
        project.compose_run(
            "exec", "-T", "api", "sh", "-c", "until cat /data/x; do sleep 0.1; done"
        )
        assert (project.folder / "data" / "x").read_text() == "x\n"


def test_folders_that_are_not_there_yet_and_that_a_service_need_not_write_to(
    project: Project,
) -> None:
    for source, target, failed in (
        ("/run/user/1000/pf-gone", "/gone", False),
        ("./gone", "/gone", True),
        ("./gone", "/opt/airflow/plugins", False),
        ("./gone", "/docker-entrypoint-initdb.d", False),
        ("./gone", "/opt/app/plugins-data", True),
    ):
        project.write(f"user: '1000', volumes: ['{source}:{target}']")
        assert ("mounts-permitted" in project.failures("--only", "mounts-permitted")) == failed


def test_permissions_are_those_that_the_kernel_grants(tmp_path: Path) -> None:
    """Random modes and access lists, each tried by a process of that user."""
    require_programs("true")
    file = tmp_path / "file"
    file.write_text("x")
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_mode & 1 == 0:
            parent.chmod(parent.stat().st_mode | 0o011)
    generator = random.Random(17)
    for _ in range(60):
        os.chown(file, generator.choice([0, 5000]), generator.choice([0, 6000, 6001]))
        file.chmod(generator.randrange(0o1000))
        if generator.random() < 0.6:
            entries = [(1, 0), (2, 5000), (4, 0), (8, 6000), (16, 0), (32, 0)]
            data = struct.pack("<I", 2) + b"".join(
                struct.pack("<HHI", tag, generator.randrange(8), id_ or 0xFFFFFFFF)
                for tag, id_ in entries
            )
            os.setxattr(file, "system.posix_acl_access", data)
        else:
            try:
                os.removexattr(file, "system.posix_acl_access")
            except OSError:
                pass
        groups = frozenset(generator.sample([6000, 6001, 6002], 2))
        granted = access_of(file, 5000, groups)
        assert compute_permission_bits(str(file), file.stat(), 5000, groups) & 7 == granted
        assert granted & ~compute_permission_bits(str(file), file.stat(), 5000, None) == 0


def access_of(file: Path, uid: int, groups: frozenset[int]) -> int:
    """Return what a process of a user may do, tried in a fork."""
    pid = os.fork()
    if pid == 0:
        os.setgroups(sorted(groups))
        os.setgid(min(groups))
        os.setuid(uid)
        os._exit(sum(bit for bit in (4, 2, 1) if os.access(file, bit)))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
