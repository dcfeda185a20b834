"""Carries one GET to a container engine, and back no more of the response than asked for.

Sockets and TCP go over the standard library: importing the docker SDK takes longer than all the
rest of a check. The SDK has what the standard library lacks: SSH, Windows' named pipes and proxies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from preflight.facts.engine.endpoint import Endpoint, Tls
from preflight.facts.http_client import request

if TYPE_CHECKING:
    import ssl

# path, seconds, maximum of bytes -> status, body (cut one byte beyond the maximum)
Get: TypeAlias = Callable[[str, float, int], tuple[int, bytes]]


def open_transport(endpoint: Endpoint) -> Get:
    """Return the way to an endpoint; a GET raises what the libraries raise, OSError and others."""
    scheme = urlsplit(endpoint.url).scheme
    if scheme in ("npipe", "ssh") or (not endpoint.local and _goes_through_proxy(endpoint)):
        return _sdk_transport(endpoint)
    context = None if endpoint.tls is None else _tls_context(endpoint.tls)

    def get(path: str, timeout: float, max_bytes: int) -> tuple[int, bytes]:
        path, headers = endpoint.base + path, {"Host": "docker"}
        limits: dict[str, Any] = {"timeout": timeout, "max_bytes": max_bytes}
        return request(endpoint.url, path, headers=headers, tls=context, **limits)

    return get


def _goes_through_proxy(endpoint: Endpoint) -> bool:
    """Whether the docker CLI would use a proxy, as Go's ProxyFromEnvironment says."""
    from urllib.request import getproxies, proxy_bypass

    kind = "https" if endpoint.tls is not None else "http"
    return kind in getproxies() and not proxy_bypass(urlsplit(endpoint.url).hostname or "")


def _tls_context(tls: Tls) -> ssl.SSLContext:
    import ssl

    context = ssl.create_default_context(cafile=tls.ca)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert and tls.key:
        context.load_cert_chain(tls.cert, tls.key)
    return context


def _sdk_transport(endpoint: Endpoint) -> Get:
    import docker

    tls: Any = False
    url = endpoint.url
    if endpoint.tls is not None and url.startswith("tcp"):
        ca, cert, key, verify = endpoint.tls
        pair = (cert, key) if cert and key else None
        tls = docker.tls.TLSConfig(client_cert=pair, ca_cert=ca, verify=verify)
        url = "https://" + url.split("://", 1)[1]
    client = docker.APIClient(base_url=url, version="1.24", tls=tls)

    def get(path: str, timeout: float, max_bytes: int) -> tuple[int, bytes]:
        response = client.get(
            client.base_url.rstrip("/") + path, timeout=timeout, stream=True, allow_redirects=False
        )
        body = bytearray()
        for chunk in response.iter_content(2**16):
            body += chunk
            if len(body) > max_bytes:
                break
        response.close()
        return response.status_code, bytes(body)

    return get
