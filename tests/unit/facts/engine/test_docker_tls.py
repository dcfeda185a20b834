"""A real dockerd that asks for certificates, over TCP: what the CLI can reach, we can."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from engines import Engine

Run = Callable[..., "subprocess.CompletedProcess[str]"]


class Guarded(NamedTuple):
    """A dockerd behind TLS: its address, and the folder of a client's certificates."""

    url: str
    certificates: Path


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def make_certificates(folder: Path) -> None:
    """Make a CA, and one pair for both sides, issued for 127.0.0.1."""
    new = ("-newkey", "rsa:2048", "-nodes")
    openssl(folder, "req", "-x509", *new, "-days", "2", "-subj", "/CN=ca", "-keyout", "ca.key",
            "-out", "ca.pem")  # fmt: skip
    openssl(folder, "req", *new, "-subj", "/CN=engine", "-keyout", "key.pem", "-out", "csr.pem")
    (folder / "ext").write_text(
        "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n"
    )
    openssl(folder, "x509", "-req", "-in", "csr.pem", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", "2", "-extfile", "ext", "-out", "cert.pem")  # fmt: skip


@pytest.fixture
def guarded(own_dockerd: Callable[..., Engine], tmp_path: Path) -> Guarded:
    """Start a dockerd with --tlsverify."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    make_certificates(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    own_dockerd(
        options=("-H", url, "--tlsverify", f"--tlscacert={folder}/ca.pem",
                 f"--tlscert={folder}/cert.pem", f"--tlskey={folder}/key.pem"),
    )  # fmt: skip
    return Guarded(url, folder)


def engine_facts(run: Run, **environ: str) -> dict[str, Any]:
    done = run("facts", "-f", "json", env=environ)
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)["facts"]["docker"]
    return facts


def cli(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *arguments], env={**os.environ, **environ}, capture_output=True, text=True
    )


def test_with_its_certificates_a_guarded_engine_is_reached(
    guarded: Guarded, run_preflight: Run, clean_environment: Path
) -> None:
    environ = {
        "DOCKER_HOST": guarded.url,
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": str(guarded.certificates),
    }
    told = cli("info", "--format", "{{json .}}", **environ)
    facts = engine_facts(run_preflight, **environ)
    assert facts["reachable"] is True
    assert facts["memory"]["total"] == json.loads(told.stdout)["MemTotal"]
    assert facts["disk"]["root"] == json.loads(told.stdout)["DockerRootDir"]
    assert facts["native"] is False  # it may be anywhere behind that port
    proxied = engine_facts(
        run_preflight, **environ, HTTPS_PROXY="http://127.0.0.1:9", HTTP_PROXY="http://127.0.0.1:9"
    )
    assert proxied["reachable"] is True


def test_a_context_made_by_the_cli_brings_its_certificates(
    guarded: Guarded, run_preflight: Run, clean_environment: Path
) -> None:
    files = (f"{name}={guarded.certificates}/{name}.pem" for name in ("ca", "cert", "key"))
    made = cli("context", "create", "safe", "--docker", f"host={guarded.url},{','.join(files)}")
    assert made.returncode == 0, made.stderr
    assert cli("version", DOCKER_CONTEXT="safe").returncode == 0
    facts = engine_facts(run_preflight, DOCKER_CONTEXT="safe")
    assert (facts["reachable"], facts["context"]) == (True, "safe")


def test_what_keeps_a_guarded_engine_closed_is_named(
    guarded: Guarded, run_preflight: Run, clean_environment: Path, tmp_path: Path
) -> None:
    plain = engine_facts(run_preflight, DOCKER_HOST=guarded.url)["problem"]
    assert plain["kind"] == "invalid"
    assert plain["reason"].startswith(f"{guarded.url} accepts only TLS")
    assert "DOCKER_TLS_VERIFY" in plain["reason"]

    without_a_pair = tmp_path / "ca only"
    without_a_pair.mkdir()
    shutil.copy(guarded.certificates / "ca.pem", without_a_pair)
    other_ca = tmp_path / "other"
    other_ca.mkdir()
    make_certificates(other_ca)
    for folder, said in (
        (without_a_pair, "requires a certificate that it trusts"),
        (other_ca, "certificate"),
    ):
        environ = {
            "DOCKER_HOST": guarded.url,
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": str(folder),
        }
        problem = engine_facts(run_preflight, **environ)["problem"]
        assert problem["kind"] == "invalid"
        assert problem["reason"].startswith(f"TLS with {guarded.url} fails: ")
        assert said in problem["reason"]
        assert cli("version", **environ).returncode != 0
