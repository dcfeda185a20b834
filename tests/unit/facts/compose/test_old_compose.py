"""Features that an older Compose doesn't know, asked of the real Compose 2.24.7."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compose_projects import compose_program, old_compose_program

pytestmark = pytest.mark.nightly

FILE = """name: shop
services:
  api:
    image: Shop
    {}
{}"""
NEWER = {
    "gpus": ("gpus: [{count: 1}]", ""),
    "post_start": ("post_start: [{command: 'true'}]", ""),
    "pre_stop": ("pre_stop: [{command: 'true'}]", ""),
    "label_file": ("label_file: [labels]", ""),
    "provider": ("provider: {type: x}", ""),
    "models": ("models: [m]", "models: {m: {model: x}}\n"),
    "env_file.format": ("env_file: [{path: labels, format: raw}]", ""),
    "build.entitlements": ("build: {context: ., entitlements: [network.host]}", ""),
}
OLDER = {
    "env_file.required": ("env_file: [{path: gone, required: false}]", ""),
    "build.ulimits": ("build: {context: ., ulimits: {nofile: 5}}", ""),
    "develop": ("develop: {watch: [{path: ., action: rebuild}]}", ""),
    "configs.content": ("configs: [c]", "configs: {c: {content: x}}\n"),
    "attach": ("attach: false", ""),
}


@pytest.mark.parametrize("feature", [*NEWER, *OLDER])
def test_what_an_old_compose_refuses_needs_a_newer_one(
    feature: str, tmp_path: Path, run_preflight: Callable[..., Any]
) -> None:
    program = old_compose_program()
    (tmp_path / "labels").write_text("A=b\n")
    (tmp_path / "compose.yaml").write_text(FILE.format(*(NEWER | OLDER)[feature]))
    codes = [
        subprocess.run([path, "config", "-q"], cwd=tmp_path, capture_output=True).returncode
        for path in (program, compose_program())
    ]
    assert [bool(code) for code in codes] == [feature in NEWER, False]
    done = run_preflight(
        "check", "-r", "general", "-f", "json", "--docker-host", "unix:///gone",
        cwd=tmp_path, env={"PATH": os.path.dirname(program)},
    )  # fmt: skip
    results = json.loads(done.stdout)["results"]
    verdicts = {result["id"]: result for result in results if result["verdict"] == "fail"}
    assert ("compose-version" in verdicts) == (feature in NEWER)
    assert "image-name" in verdicts  # the rest is judged all the same
    if feature in NEWER:
        assert done.returncode == 1
        assert feature in verdicts["compose-version"]["error"]
