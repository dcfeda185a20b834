"""`--online`: registries are asked with it, and never without."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engines import Engine
from real_registry import running_registry

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_images_that_will_be_pulled(
    run_preflight: Run, docker_engine: Engine, tmp_path: Path
) -> None:
    with running_registry(tmp_path) as registry:
        registry.put_image("app", size=60 * 10**15)
        images = [f"{registry.address}/{name}" for name in ("app:1", "app:nope")]
        services = "".join(f"  s{i}: {{image: '{image}'}}\n" for i, image in enumerate(images))
        (tmp_path / "compose.yaml").write_text(f"services:\n{services}")

        def results(*options: str) -> list[tuple[Any, ...]]:
            arguments = ("check", "-r", "general", "--only", "online", "-f", "json", *options)
            done = run_preflight(*arguments, cwd=tmp_path, env={"DOCKER_HOST": docker_engine.url})
            keys = ("id", "item", "verdict")
            return [
                tuple(one.get(key) for key in keys) for one in json.loads(done.stdout)["results"]
            ]

        assert results("--online") == [
            ("image-exists", images[0], "pass"),
            ("image-exists", images[1], "fail"),
            ("image-exists-for-platform", None, "skip"),
            ("image-fits-disk", images[0], "fail"),
        ]
    assert {verdict for _, _, verdict in results()} == {"skip"}, "nothing is asked"
    assert [verdict for _, _, verdict in results("--online")][:2] == ["unknown", "unknown"]


def test_it_has_no_effect_on_a_snapshot(run_preflight: Run, tmp_path: Path) -> None:
    done = run_preflight("check", "--online", "--facts", "facts.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "--online has no effect with --facts" in done.stderr
