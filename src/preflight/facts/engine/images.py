"""The images that an engine has: what it reports of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from preflight.facts.engine.api import EngineApi, NotFoundError
from preflight.model.facts import Unknown


def inspect_image(api: EngineApi, reference: str) -> Mapping[str, Any] | Unknown:
    """GET /images/NAME/json; an Unknown where the engine hasn't the image. Raises EngineError."""
    if not reference:
        return Unknown("the service names no image")
    try:
        return api.get_object(f"/images/{quote(reference, safe='/:@', errors='replace')}/json")
    except NotFoundError:
        return Unknown(f"the image {reference} isn't here yet")
