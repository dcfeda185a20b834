"""Programs that an image doesn't have, and those that may be mounted where a link leads."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from preflight.facts.user_and_program_refusals import find_user_and_program_refusals


@pytest.mark.parametrize(
    ("service", "is_refused"),
    [
        ({"command": ["/bin/gone"]}, True),
        ({"command": ["/bin/gone"], "init": True}, False),
        ({"command": ["/bin/gone"], "volumes": [{"target": "/opt"}]}, True),
        ({"command": ["/bin/gone"], "volumes": [{"target": "/usr/bin/gone"}]}, False),
        ({"command": ["/bin/gone"], "volumes": [{"target": "/usr"}]}, False),
        ({"command": ["/usr/bin/gone"], "volumes": [{"target": "/bin/"}]}, False),
        ({"command": ["gone"], "volumes": [{"target": "/usr/bin/gone"}]}, False),
        ({"command": ["dangling"]}, False),
        ({"command": ["there"]}, False),
    ],
)
def test_programs_behind_links(service: dict[str, Any], is_refused: bool, tmp_path: Path) -> None:
    folder = tmp_path / "usr/bin"
    folder.mkdir(parents=True)
    (tmp_path / "bin").symlink_to("usr/bin")
    (folder / "dangling").symlink_to("/data/program")
    (folder / "there").touch(mode=0o755)
    image = {"GraphDriver": {"Data": {"UpperDir": str(tmp_path)}}, "Config": {}}
    engine: Any = SimpleNamespace(visibility=SimpleNamespace(path_hidden=lambda _: None))
    assert bool([*find_user_and_program_refusals(service, image, engine)]) is is_refused
