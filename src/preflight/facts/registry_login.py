"""Docker's login to a registry: in its config.json, or with a helper."""

import base64
import json
import subprocess
from collections.abc import Mapping
from typing import Any

from preflight.facts.http_client import make_basic_authorization
from preflight.facts.images import ImageReference, find_credential_helper, get_registry_config_key
from preflight.facts.nested_values import get_nested_object, get_nested_text, get_nested_value
from preflight.model.facts import NotMeasuredError
from preflight.processes import find_program

_MAX_HELPER_SECONDS = 5.0
_IDENTITY_TOKEN_USER = "<token>"  # the helper's secret is an identity token then


class RegistryError(NotMeasuredError):
    """Why docker's login to a registry, or the registry's answer, can't be used."""


def find_login(
    reference: ImageReference, config: Mapping[str, Any], environ: Mapping[str, str], seconds: float
) -> str:
    """Return the Authorization header of docker's login to a registry, or "" without a login.

    Raises RegistryError.
    """
    key, helper = get_registry_config_key(reference), find_credential_helper(reference, config)
    if helper is not None:
        answer = _ask_credential_helper(helper, key, environ, seconds)
        user, password = get_nested_text(answer, "Username"), get_nested_text(answer, "Secret")
        if user == _IDENTITY_TOKEN_USER:
            reason = f"{helper} returned an identity token, which only Docker itself can use"
            raise RegistryError(reason)
        return make_basic_authorization(user, password) if user and password else ""
    entry = get_nested_object(config, "auths").get(key)
    if get_nested_value(entry, "identitytoken"):
        raise RegistryError(f"Docker is logged in to {reference.registry} with an identity token")
    user, password = get_nested_text(entry, "username"), get_nested_text(entry, "password")
    if (encoded := get_nested_text(entry, "auth")) is not None:
        try:
            user, _, password = base64.b64decode(encoded).decode().partition(":")
        except ValueError:
            raise RegistryError("an entry in Docker's config.json isn't valid Base64") from None
        password = password.strip("\0")
    return make_basic_authorization(user, password) if user and password else ""


def _ask_credential_helper(
    helper: str, key: str, environ: Mapping[str, str], seconds: float
) -> Any:
    """Run `docker-credential-… get`, None without a login: docker/docker-credential-helpers."""
    program = find_program(helper, environ)
    if program is None:
        raise RegistryError(f'exec: "{helper}": executable file not found in $PATH')
    try:
        done = subprocess.run(
            [program, "get"],
            input=key.encode(),
            capture_output=True,
            timeout=min(seconds, _MAX_HELPER_SECONDS),
            env=dict(environ),
            check=False,
        )
        return json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired, RecursionError):
        raise RegistryError(f"{helper} didn't respond") from None
