"""A fake engine with containers; the test sets what it lists, inspects and samples."""

from __future__ import annotations

import json
import re
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

GIB = 2**30
NOW = "2026-11-23T18:00:00.5Z"
VERSION = {"Version": "28.2.2", "ApiVersion": "1.50", "Os": "linux", "Arch": "amd64"}
INFO = {"SystemTime": NOW, "MemTotal": 8 * GIB, "Containers": 3, "KernelVersion": "of-a-vm"}
LABEL = "com.docker.compose"


def listed_container(name: str, project: str = "shop", **labels: str) -> dict[str, Any]:
    all_labels = {f"{LABEL}.project": project, f"{LABEL}.service": "api"}
    all_labels.update({f"{LABEL}.{key}": value for key, value in labels.items()})
    return {"Id": f"id-{name}", "Names": [f"/{name}"], "State": "running", "Labels": all_labels}


def inspected_container(**changed: Any) -> dict[str, Any]:
    """Return the inspection of a running container; State__Pid=7 sets a nested value."""
    answer: dict[str, Any] = {
        "RestartCount": 0,
        "State": {
            "Status": "running",
            "OOMKilled": False,
            "Pid": 7,
            "ExitCode": 0,
            "StartedAt": "2026-11-23T17:00:00Z",
        },
        "HostConfig": {
            "Memory": 0,
            "NanoCpus": 0,
            "LogConfig": {"Type": "json-file", "Config": {}},
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        },
        "Config": {"Env": ["A=1"], "Image": "shop/api"},
    }
    for key, value in changed.items():
        *parents, last = key.split("__")
        node = answer
        for part in parents:
            node = node[part]
        node[last] = value
    return answer


def stats_sample(usage: int, limit: int = 8 * GIB, **stats: int) -> dict[str, Any]:
    memory = {"usage": usage, "limit": limit, **({"stats": stats} if stats else {})}
    return {"memory_stats": memory}


class FakeEngine:
    """Answers by path; `asked` are the requested paths in order, without the API version."""

    def __init__(self, socket_file: Path) -> None:
        self.url = f"unix://{socket_file}"
        self.asked: list[str] = []
        self.version: Any = VERSION
        self.info: Any = INFO
        self.rows: Any = [listed_container("web")]
        self.inspections: dict[str, Any] = {"id-web": inspected_container()}
        self.samples: dict[str, Any] = {}
        self.events: Any = []
        self.hang = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(socket_file))
        self._listener.listen(64)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self.hang.set()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve_connection, args=(connection,), daemon=True).start()

    def _serve_connection(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            request = connection.recv(65536)
            path = re.sub(r"^/v[0-9.]+", "", request.split()[1].decode())
            self.asked.append(path)
            status, answer = self._answer(path)
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(data)}\r\n\r\n"
            connection.sendall(head.encode() + data)

    def _answer(self, path: str) -> tuple[int, Any]:
        name, _, _ = path.partition("?")
        parts = name.strip("/").split("/")
        if name in ("/version", "/info"):
            return 200, self.version if name == "/version" else self.info
        if name == "/containers/json":
            return 200, self.rows(path) if callable(self.rows) else self.rows
        if name == "/events":
            if self.events is None:
                self.hang.wait(30)
            return 200, b"\n".join(json.dumps(event).encode() for event in self.events or ())
        answer = (self.samples if parts[-1] == "stats" else self.inspections).get(parts[1])
        if isinstance(answer, int):
            return answer, {"message": "no"}
        return (404, {"message": "gone"}) if answer is None else (200, answer)
