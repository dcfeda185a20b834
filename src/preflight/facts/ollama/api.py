"""Asks one Ollama over its HTTP API, and reads what it answers.

Whatever listens there may be hostile: answers are bounded in size and time, and names are checked.
Sources: ollama's docs/api.md, api/types.go.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from preflight.facts.engine.responses import is_count
from preflight.facts.http_client import request
from preflight.facts.ollama.settings import Address, shorten
from preflight.model.facts import Unknown, UnknownKind

MAX_ANSWER_BYTES = 8 * 2**20  # of one answer
MAX_NAME_CHARS = 200  # of a model's or a version's name
MAX_MODELS = 1000


class OllamaError(Exception):
    """Why Ollama can't be used; `kind` as under `unknown` in a snapshot."""

    def __init__(self, reason: str, kind: UnknownKind) -> None:
        super().__init__(reason)
        self.kind: UnknownKind = kind


class OllamaApi:
    """One Ollama. Every call takes `seconds` at most, and raises OllamaError and nothing else."""

    def __init__(self, address: Address, seconds: float) -> None:
        self._address = address
        self._seconds = seconds

    def version(self) -> str:
        """GET /api/version."""
        version = self._request("/api/version").get("version")
        if not is_valid_name(version):
            raise self._not_ollama("no version")
        return str(version)

    def models(self) -> Mapping[str, int | Unknown]:
        """GET /api/tags: bytes on disk by name."""
        return {name: _read_size(model, "size") for name, model in self._models("/api/tags")}

    def loaded(self) -> Mapping[str, tuple[int | Unknown, int | Unknown]]:
        """GET /api/ps: bytes of RAM, and with the memory of GPUs, by name of a loaded model."""
        return {name: _parse_loaded(model) for name, model in self._models("/api/ps")}

    def model_info(self, name: str) -> Mapping[str, Any]:
        """POST /api/show: what describes the shape of a model."""
        info = self._request("/api/show", {"model": name}).get("model_info")
        return info if isinstance(info, dict) else {}

    def _models(self, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        models = self._request(path).get("models", False)
        if models is not None and not isinstance(models, list):  # Go writes an empty list as null
            raise self._not_ollama(f"no list of models in {path}")
        for model in (models or ())[:MAX_MODELS]:
            name = (model.get("name") or model.get("model")) if isinstance(model, dict) else None
            if is_valid_name(name):
                yield str(name), model

    def _request(self, path: str, content: Mapping[str, Any] | None = None) -> dict[str, Any]:
        prefix, url = self._address.path, self._address.url
        json_type = "application/json"
        try:
            status, data = request(
                url,
                (f"/{prefix}" if prefix else "") + path,
                timeout=self._seconds,
                max_bytes=MAX_ANSWER_BYTES,
                method="GET" if content is None else "POST",
                headers={"Accept": json_type, "Content-Type": json_type, "Connection": "close"},
                body=None if content is None else json.dumps(content).encode("ascii"),
            )
        except Exception as error:  # noqa: BLE001 - sockets, ssl, http, encodings: each its own
            raise self._describe_failure(error) from None
        if len(data) > MAX_ANSWER_BYTES:
            raise self._not_ollama(f"more than {MAX_ANSWER_BYTES // 2**20} MiB")
        if status in (401, 403):
            raise OllamaError(f"{url} refuses: status {status}", "permission")
        try:
            answer = json.loads(data, parse_int=_parse_integer)
        except (ValueError, RecursionError):
            answer = None
        if status >= 500 or (status >= 400 and isinstance(answer, dict)):
            message = answer.get("error") if isinstance(answer, dict) else None
            words = f"{status} {shorten(message) if isinstance(message, str) else ''}".strip()
            raise OllamaError(f"{url} answers {path} with the error {words}", "error")
        if status != 200 or not isinstance(answer, dict):
            body = "a web page" if b"<html" in data[:1000].lower() else "no JSON object"
            raise self._not_ollama(body if status == 200 else f"status {status}")
        return answer

    def _describe_failure(self, error: Exception) -> OllamaError:
        import socket
        import ssl

        url = self._address.url
        if isinstance(error, TimeoutError):
            return OllamaError(f"no answer from {url} within {self._seconds:.3g} s", "timeout")
        if isinstance(error, ConnectionRefusedError):
            return OllamaError(f"nothing listens at {url}", "refused")
        if isinstance(error, ssl.SSLError):
            return OllamaError(f"TLS with {url} fails: {shorten(str(error))}", "invalid")
        if isinstance(error, socket.gaierror):
            return OllamaError(f"the host of {url} is not found", "unavailable")
        if isinstance(error, OSError) and not isinstance(error, ConnectionError):
            return OllamaError(f"{url}: {error.strerror or error}", "unavailable")
        return self._not_ollama("no HTTP")

    def _not_ollama(self, reason: str) -> OllamaError:
        return OllamaError(f"{self._address.url} answers, but not as Ollama: {reason}", "invalid")


def _parse_integer(digits: str) -> int | None:
    """Read an integer of JSON, None for one of more than 64 bits."""
    return int(digits) if len(digits) <= 20 else None


def positive_or_none(value: Any) -> int | None:
    """Return the value if it is an integer that measures something: zero doesn't."""
    return value if is_count(value) and 0 < value < 2**63 else None


def is_valid_name(value: Any) -> bool:
    """Whether it can be the name of a model or a version."""
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME_CHARS and value.isprintable()


def _read_size(model: Mapping[str, Any], key: str) -> int | Unknown:
    return positive_or_none(model.get(key)) or Unknown(f"Ollama does not report its {key}")


def _parse_loaded(model: Mapping[str, Any]) -> tuple[int | Unknown, int | Unknown]:
    total, of_gpus = _read_size(model, "size"), _read_size(model, "size_vram")
    if isinstance(total, Unknown) or model.get("size_vram") == 0:
        return total, total
    return (of_gpus if isinstance(of_gpus, Unknown) else max(0, total - of_gpus)), total
