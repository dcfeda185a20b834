"""A real registry on loopback, and images that are put into it over its API."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from engines import require_programs

INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
LOGIN = "user:pass"
_HASHED_LOGIN = "user:$2b$04$BF6QjcJPLccHVkp8wuMy2u22guHXYl56Equm0ZC2CZqMa6z8TSCBO"


class Registry:
    """A running registry; `address` is host and port."""

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"

    def put_image(
        self, name: str, architecture: str = "amd64", size: int = 3, tag: str = "1"
    ) -> str:
        """Put an image with one layer, which claims to have `size` bytes; returns its digest."""
        config = json.dumps({"os": "linux", "architecture": architecture, "rootfs": {}}).encode()
        manifest = {
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": self._put_blob(name, config, _CONFIG),
            "layers": [{**self._put_blob(name, b"abc", _LAYER), "size": size}],
        }  # fmt: skip
        return self._put_manifest(name, tag, manifest)

    def put_index(self, name: str, manifests: Mapping[str, str], tag: str = "1") -> None:
        """Put an index of manifests by architecture."""
        entries = [
            {"mediaType": MANIFEST, "digest": digest, "size": 100,
             "platform": {"os": "linux", "architecture": architecture}}
            for architecture, digest in manifests.items()
        ]  # fmt: skip
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        self._put_manifest(name, tag, index)

    def _put_blob(self, name: str, data: bytes, media_type: str) -> dict[str, Any]:
        digest = f"sha256:{sha256(data).hexdigest()}"
        with self._send("POST", f"/v2/{name}/blobs/uploads/") as answer:
            location = answer.headers["Location"]
        self._send("PUT", f"{location}&digest={digest}", data).close()
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def _put_manifest(self, name: str, tag: str, manifest: Mapping[str, Any]) -> str:
        data = json.dumps(manifest).encode()
        with self._send(
            "PUT", f"/v2/{name}/manifests/{tag}", data, manifest["mediaType"]
        ) as answer:
            return str(answer.headers["Docker-Content-Digest"])

    def _send(self, method: str, path: str, data: bytes = b"", kind: str = "") -> Any:
        url = path if path.startswith("http") else f"http://{self.address}{path}"
        headers = {"Content-Type": kind or "application/octet-stream"}
        request = urllib.request.Request(url, data, headers, method=method)
        return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            request, timeout=10
        )


@contextmanager
def running_registry(folder: Path, *, with_login: bool = False) -> Iterator[Registry]:
    """Run a registry that forgets everything when it ends."""
    require_programs("docker-registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = f"version: 0.1\nstorage: {{inmemory: {{}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
    if with_login:
        (folder / "htpasswd").write_text(f"{_HASHED_LOGIN}\n")
        text += f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n"
    (folder / "registry.yml").write_text(text)
    process = subprocess.Popen(
        ["docker-registry", "serve", folder / "registry.yml"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        ends = time.monotonic() + 30
        while time.monotonic() < ends:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield Registry(port)
    finally:
        process.terminate()
        process.wait(10)
