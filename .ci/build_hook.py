"""Puts the bundled rule sets into the wheel precompiled, beside the YAML that they come from."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = Path(__file__).resolve().parents[1] / "src"


class PrecompiledSetsHook(BuildHookInterface):  # type: ignore[type-arg]
    """Makes them for each wheel; an editable install makes its own on first use."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the files and add them to the wheel."""
        if version == "editable":
            return
        sys.path.insert(0, str(SOURCES))
        from preflight.cli.precompiled_sets import precompile_shipped_sets

        self.folder = TemporaryDirectory()  # removed when the build ends
        for name, data in precompile_shipped_sets().items():
            file = Path(self.folder.name, name)
            file.write_bytes(data)
            build_data["force_include"][str(file)] = f"preflight/rulesets/{name}"
