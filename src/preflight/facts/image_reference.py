"""References of images, as Docker reads them. Source: distribution/reference."""

from __future__ import annotations

import re
from typing import NamedTuple

DEFAULT_REGISTRY = "docker.io"
INVALID_REFERENCE = "invalid reference format"
_HOST_PART = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = rf"(?:{_HOST_PART}(?:\.{_HOST_PART})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_PATH_PART = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE_PATTERN = re.compile(
    rf"(?P<registry>{_DOMAIN})/(?P<path>{_PATH_PART}(?:/{_PATH_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?"
)
_MAX_NAME_CHARS = 255
_MAX_REFERENCE_CHARS = 1000
_DIGEST_CHARS = {"sha256": 64, "sha384": 96, "sha512": 128}


class ImageReference(NamedTuple):
    """The parts of a reference; without a tag and a digest the tag is `latest`."""

    registry: str
    path: str
    tag: str
    digest: str

    @property
    def name(self) -> str:
        """The whole reference, with what the short form leaves out."""
        end = f"@{self.digest}" if self.digest else f":{self.tag}"
        return f"{self.registry}/{self.path}{end}"


def parse_image_reference(text: str) -> ImageReference:
    """Read a reference such as `postgres:16`; raises ValueError with Docker's words."""
    if re.fullmatch("[0-9a-f]{64}", text):
        message = f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
        raise ValueError(message)
    first, slash, rest = text.partition("/")
    is_registry = first == "localhost" or "." in first or ":" in first or first != first.lower()
    registry, remainder = (first, rest) if slash and is_registry else (DEFAULT_REGISTRY, text)
    if registry == "index.docker.io":
        registry = DEFAULT_REGISTRY
    if registry == DEFAULT_REGISTRY and "/" not in remainder:
        remainder = f"library/{remainder}"
    name = re.split("[:@]", remainder, maxsplit=1)[0]
    if name != name.lower():
        raise ValueError(f"{INVALID_REFERENCE}: repository name ({name}) must be lowercase")
    is_short = len(text) <= _MAX_REFERENCE_CHARS
    match = _REFERENCE_PATTERN.fullmatch(f"{registry}/{remainder}") if is_short else None
    if match is None:
        raise ValueError(INVALID_REFERENCE)
    if len(f"{registry}/{match['path']}") > _MAX_NAME_CHARS:
        raise ValueError(f"repository name must not be more than {_MAX_NAME_CHARS} characters")
    digest = match["digest"] or ""
    algorithm, _, checksum = digest.partition(":")
    if digest and algorithm not in _DIGEST_CHARS:
        raise ValueError("unsupported digest algorithm")
    if digest and len(checksum) != _DIGEST_CHARS[algorithm]:
        raise ValueError("invalid checksum digest length")
    tag = match["tag"] or ("" if digest else "latest")
    return ImageReference(registry, match["path"], tag, digest)


def normalize_image_name(text: str) -> str:
    """Return a reference with what the short form leaves out; as it stands if it isn't valid."""
    try:
        return parse_image_reference(text.removeprefix("localhost/")).name
    except ValueError:
        return text
