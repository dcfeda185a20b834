"""What the facts say of images, against what the real Compose and Docker do."""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from compose_projects import compose_program
from engines import IMAGE, Engine
from preflight.facts import images, start_blockers
from preflight.facts.collect.context import MeasurementContext
from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.compose.load import load_project
from preflight.facts.engine.api import LazyValue
from preflight.facts.engine.endpoint import EngineError, read_docker_config_file
from preflight.facts.images import normalize_image_name, parse_image_reference
from preflight.model.facts import Unknown


class Service:
    """A project with one service, its environment and an engine."""

    def __init__(self, folder: Path, url: str | None, text: str, config: object = None) -> None:
        self.file, self.url = folder / "compose.yaml", url
        self.file.write_text(f"services:\n  web:\n    network_mode: none\n    {text}\n")
        self.environ = {"PATH": str(Path(compose_program()).parent), "DOCKER_CONFIG": str(folder)}
        if config is not None:
            (folder / "config.json").write_text(json.dumps(config))

    def facts(self) -> dict[str, Any]:
        options = MeasurementOptions(compose_files=(str(self.file),), docker_host=self.url)
        context = MeasurementContext(options)
        if self.url is None:
            context.engine = LazyValue(refuse)
        project = load_project(options, self.environ)
        assert project is not None
        measured = start_blockers.measure_start_blockers(
            context, project, Path("/nowhere"), self.environ
        )
        top = ("start", "services", "web", "image")
        return {fact.path[4]: fact.value for fact in measured if fact.path[:4] == top}

    def up(self) -> str:
        done = subprocess.run(
            [compose_program(), "-f", str(self.file), "up", "--no-start"],
            env={**self.environ, "DOCKER_HOST": str(self.url)},
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        subprocess.run(
            [compose_program(), "-f", str(self.file), "down"],
            env={**self.environ, "DOCKER_HOST": str(self.url)}, capture_output=True,
        )  # fmt: skip
        return "" if done.returncode == 0 else done.stdout + done.stderr


def refuse() -> Any:
    raise EngineError("connection refused", "refused")


@pytest.mark.parametrize("name", ["My App:latest", "a b", "a:-1", "a//b"])
def test_an_invalid_name_is_refused_in_these_words(
    name: str, docker_engine: Engine, tmp_path: Path
) -> None:
    service = Service(tmp_path, docker_engine.url, f"image: {name!r}")
    facts = service.facts()
    assert facts["invalid"] in service.up()
    assert facts["present"] is None


def test_an_image_that_is_never_pulled(docker_engine: Engine, tmp_path: Path) -> None:
    service = Service(tmp_path, docker_engine.url, "image: gone:1\n    pull_policy: never")
    assert service.facts() == {
        "name": "gone:1", "pull_policy": "never", "invalid": None, "present": False,
        "helper_missing": None, "platform": None, "platform_runs": None,
    }  # fmt: skip
    assert "No such image" in service.up()
    service = Service(tmp_path, docker_engine.url, f"image: {IMAGE}\n    pull_policy: never")
    facts = service.facts()
    assert facts["present"] is True
    assert facts["platform_runs"] is True
    assert facts["platform"].startswith("linux/")
    assert "No command specified" in service.up(), "it gets as far as the container"


def foreign_image(architecture: str) -> bytes:
    """Return an archive for `docker load`: an empty image, foreign:1, for an architecture."""
    layer = b"\0" * 10240
    config = {
        "architecture": architecture, "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer).hexdigest()}"]},
    }  # fmt: skip
    manifest = [{"Config": "c.json", "RepoTags": ["foreign:1"], "Layers": ["l.tar"]}]
    files = {"c.json": json.dumps(config).encode(), "l.tar": layer}
    files["manifest.json"] = json.dumps(manifest).encode()
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return output.getvalue()


def test_an_image_for_another_platform(docker_engine: Engine, tmp_path: Path) -> None:
    subprocess.run(
        ["docker", "-H", docker_engine.url, "load"],
        input=foreign_image("s390x"), capture_output=True, check=True,
    )  # fmt: skip
    facts = Service(tmp_path, docker_engine.url, "image: docker.io/library/foreign:1").facts()
    docker_engine.docker("rmi", "foreign:1")
    assert facts["platform"] == "linux/s390x"
    assert facts["platform_runs"] is False, "there is no QEMU at /nowhere"


CONFIG = {"credsStore": "gone", "credHelpers": {"ghcr.io": "", "quay.io": "other"}}


def test_a_credential_helper_that_is_missing(docker_engine: Engine, tmp_path: Path) -> None:
    service = Service(tmp_path, docker_engine.url, "image: localhost:1/a:1", CONFIG)
    assert service.facts()["helper_missing"] == "docker-credential-gone"
    assert 'exec: "docker-credential-gone": executable file not found in $PATH' in service.up()
    (tmp_path / "docker-credential-gone").write_text("#!/bin/sh\n")
    (tmp_path / "docker-credential-gone").chmod(0o755)
    service.environ["PATH"] += f":{tmp_path}"
    assert service.facts()["helper_missing"] is None


@pytest.mark.parametrize(
    ("text", "helper"),
    [
        (f"image: {IMAGE}", None),
        (f"image: {IMAGE}\n    pull_policy: always", "docker-credential-gone"),
        ("image: gone:1\n    pull_policy: never", None),
        ("image: gone:1\n    build: .", None),
        ("image: gone:1\n    pull_policy: always\n  job:\n    image: gone:1\n    build: .", None),
        ("image: ghcr.io/a/b", "docker-credential-gone"),
        ("image: quay.io/a/b", "docker-credential-other"),
    ],
)
def test_when_a_credential_helper_is_asked(
    text: str, helper: str | None, docker_engine: Engine, tmp_path: Path
) -> None:
    assert Service(tmp_path, docker_engine.url, text, CONFIG).facts()["helper_missing"] == helper


def test_an_image_that_another_service_builds_is_not_pulled(
    docker_engine: Engine, tmp_path: Path
) -> None:
    text = "image: web:1\n    pull_policy: never\n  job:\n    image: web:1\n    build: ."
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nCMD true\n")
    service = Service(tmp_path, docker_engine.url, text)
    assert service.facts()["pull_policy"] == "build"
    assert service.up() == ""
    docker_engine.docker("rmi", "web:1")


@pytest.mark.parametrize("config", ["{", "[]", '{"credsStore": 1, "credHelpers": []}', "[" * 9999])
def test_a_broken_config_names_no_helper(config: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config)
    read = read_docker_config_file({"DOCKER_CONFIG": str(tmp_path)})
    reference = images.parse_image_reference("a")
    assert images.find_credential_helper(reference, read) is None


def test_without_an_engine_what_it_has_is_unknown(tmp_path: Path) -> None:
    facts = Service(tmp_path, None, "image: a:1", CONFIG).facts()
    assert facts["invalid"] is None
    unknown = Unknown("connection refused", "refused")
    assert {facts[name] for name in ("present", "platform", "helper_missing")} == {unknown}


DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("postgres", "docker.io/library/postgres:latest"),
        ("docker.io/postgres:16", "docker.io/library/postgres:16"),
        ("index.docker.io/a/b", "docker.io/a/b:latest"),
        ("a/b__c-d.e", "docker.io/a/b__c-d.e:latest"),
        ("localhost/a", "localhost/a:latest"),
        ("localhost:5000/a/b:1.0_x-y", "localhost:5000/a/b:1.0_x-y"),
        ("[::1]:5000/a", "[::1]:5000/a:latest"),
        ("ghcr.io/a/b:1@" + DIGEST, "ghcr.io/a/b@" + DIGEST),
        ("Registry/a", "Registry/a:latest"),
    ],
)
def test_valid_references(text: str, name: str) -> None:
    assert parse_image_reference(text).full_reference == name


INVALID = {
    "My App:latest": "repository name (library/My App) must be lowercase",
    "Postgres": "invalid reference format: repository name (library/Postgres) must be lowercase",
    "": "invalid reference format",
    "a b": "invalid reference format",
    "a:": "invalid reference format",
    ":16": "invalid reference format",
    "a:-1": "invalid reference format",
    "a//b": "invalid reference format",
    "a/-b": "invalid reference format",
    "http://a/b": "invalid reference format",
    "a:" + "1" * 129: "invalid reference format",
    "a@sha256:123": "invalid reference format",
    "a@" + DIGEST[:-2]: "invalid checksum digest length",
    "a" * 256: "must not be more than 255 characters",
    "0123456789abcdef" * 4: "cannot specify 64-byte hexadecimal strings",
}


@pytest.mark.parametrize("text", INVALID, ids=range(len(INVALID)))
def test_invalid_references(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(INVALID[text])):
        parse_image_reference(text)


def test_names_are_compared_in_full() -> None:
    assert normalize_image_name("localhost/postgres:16") == normalize_image_name("postgres:16")
    assert normalize_image_name("<none>:<none>") == "<none>:<none>"
