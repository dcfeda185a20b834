"""Asks one Ollama over its HTTP API, and reads what it answers.

Whatever listens there may be hostile: answers are bounded in size and time, nothing is followed
elsewhere. Sources: ollama's docs/api.md, api/types.go.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from preflight.facts.http_client import request
from preflight.facts.ollama.settings import Address, shown
from preflight.model.facts import Unknown, UnknownKind

MOST_BYTES = 8 * 2**20  # of one answer
MOST_NAME = 200  # characters of a model's or a version's name
_MOST_MODELS = 1000


class OllamaError(Exception):
    """Why Ollama did not answer as it does; `kind` as under `unknown` in a snapshot."""

    def __init__(self, reason: str, kind: UnknownKind) -> None:
        super().__init__(reason)
        self.kind: UnknownKind = kind


class Loaded(NamedTuple):
    """What a loaded model holds, in bytes: RAM alone, and with GPUs' memory."""

    memory: int | Unknown
    total: int | Unknown


class OllamaApi:
    """One Ollama. Every call takes `seconds` at most, and raises OllamaError and nothing else."""

    def __init__(self, address: Address, seconds: float) -> None:
        self._address = address
        self._seconds = seconds

    def version(self) -> str:
        """GET /api/version."""
        version = self._ask("GET", "/api/version").get("version")
        if not isinstance(version, str) or not _is_name(version):
            raise self._not_ollama("no version")
        return version

    def models(self) -> Mapping[str, int | Unknown]:
        """GET /api/tags: bytes on disk by name."""
        return {name: _size(one, "size") for name, one in self._list("/api/tags")}

    def loaded(self) -> Mapping[str, Loaded]:
        """GET /api/ps; nothing there just means that all are unloaded."""
        return {name: _held(one) for name, one in self._list("/api/ps")}

    def show(self, name: str) -> Mapping[str, Any]:
        """POST /api/show: model_info, which tells the model's shape."""
        info = self._ask("POST", "/api/show", {"model": name}).get("model_info")
        return info if isinstance(info, dict) else {}

    def _list(self, path: str) -> list[tuple[str, dict[str, Any]]]:
        listed = self._ask("GET", path).get("models", False)
        if listed is not None and not isinstance(listed, list):  # Go writes an empty one as null
            raise self._not_ollama(f"no list of models in {path}")
        entries = [one for one in (listed or ())[:_MOST_MODELS] if isinstance(one, dict)]
        named = [(one.get("name") or one.get("model"), one) for one in entries]
        return [(name, one) for name, one in named if isinstance(name, str) and _is_name(name)]

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            status, data = self._exchange(method, path, body)
        except Exception as fault:  # noqa: BLE001 - sockets, ssl, http, encodings: each its own
            raise self._explain(fault) from None
        if len(data) > MOST_BYTES:
            raise self._not_ollama(f"more than {MOST_BYTES // 2**20} MiB")
        if status in (401, 403):
            raise OllamaError(f"{self._address.url} refuses: status {status}", "permission")
        try:
            answer = json.loads(data, parse_int=_figure)
        except (ValueError, RecursionError):
            answer = None
        if status >= 500 or (status >= 400 and isinstance(answer, dict)):
            said = answer.get("error") if isinstance(answer, dict) else None
            words = f"{status} {shown(said) if isinstance(said, str) else ''}".strip()
            raise OllamaError(f"{self._address.url} answers {path} with the error {words}", "error")
        if status != 200 or not isinstance(answer, dict):
            web = "a web page" if b"<html" in data[:1000].lower() else "no JSON object"
            raise self._not_ollama(web if status == 200 else f"status {status}")
        return answer

    def _exchange(
        self, method: str, path: str, content: Mapping[str, Any] | None
    ) -> tuple[int, bytes]:
        prefix = self._address.path
        headers = {"Accept": "application/json", "Connection": "close"}
        body = None if content is None else json.dumps(content).encode("ascii")
        if body is not None:
            headers["Content-Type"] = "application/json"
        return request(
            self._address.url,
            (f"/{prefix}" if prefix else "") + path,
            timeout=self._seconds,
            max_bytes=MOST_BYTES,
            method=method,
            headers=headers,
            body=body,
        )

    def _explain(self, fault: Exception) -> OllamaError:
        import socket
        import ssl

        url = self._address.url
        if isinstance(fault, TimeoutError):
            return OllamaError(f"no answer from {url} within {self._seconds:.3g} s", "timeout")
        if isinstance(fault, ConnectionRefusedError):
            return OllamaError(f"nothing listens at {url}", "refused")
        if isinstance(fault, ssl.SSLError):
            return OllamaError(f"TLS with {url} fails: {shown(str(fault))}", "invalid")
        if isinstance(fault, socket.gaierror):
            return OllamaError(f"the host of {url} is not found", "unavailable")
        if isinstance(fault, OSError) and not isinstance(fault, ConnectionError):
            return OllamaError(f"{url}: {fault.strerror or fault}", "unavailable")
        return self._not_ollama("no HTTP")

    def _not_ollama(self, what: str) -> OllamaError:
        return OllamaError(f"{self._address.url} answers, but not as Ollama: {what}", "invalid")


def _figure(digits: str) -> int | None:
    """Read a whole number; one of more than 64 bits says nothing."""
    return int(digits) if len(digits) <= 20 else None


def figure(value: Any) -> int | None:
    """Return a figure that is one: zero is no measurement."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 < value < 2**63 else None


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MOST_NAME and text.isprintable()


def _size(entry: Mapping[str, Any], key: str) -> int | Unknown:
    return figure(entry.get(key)) or Unknown(f"Ollama does not say its {key}")


def _held(entry: Mapping[str, Any]) -> Loaded:
    total, graphics = _size(entry, "size"), entry.get("size_vram")
    if isinstance(total, Unknown):
        return Loaded(total, total)
    if graphics == 0:
        return Loaded(total, total)
    of_gpus = _size(entry, "size_vram")
    return Loaded(of_gpus if isinstance(of_gpus, Unknown) else max(0, total - of_gpus), total)
