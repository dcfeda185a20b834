"""What registries say of the images that Compose will pull: measured with `--online` only.

Asks as docker does: its credentials go to the registry, or to the token server that the registry
names, and nowhere else. Every answer is bounded in bytes and time. Where a registry can't be
reached from here, or isn't one, the image is unknown: the engine may have another way to it.
"""

import json
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urljoin, urlsplit, urlunsplit

from preflight.facts.collect.context import Engine, MeasureContext
from preflight.facts.compose.project import Project, get_nested_value
from preflight.facts.engine.api import count_or_none, list_or_empty
from preflight.facts.engine.endpoint import read_docker_file
from preflight.facts.http_client import HttpResponse, find_proxy, send_request
from preflight.facts.images import (
    DEFAULT_REGISTRY,
    ImageReference,
    get_registry_config_key,
    list_built_images,
    list_images,
    parse_image_reference,
)
from preflight.facts.registry_login import Credentials, RegistryError, find_credentials
from preflight.model.facts import Measured, Unknown, Value

_IMAGES_PATH = ("registry", "images")
_DOCKER_HUB_HOST = "registry-1.docker.io"
_MAX_IMAGES = 200
_MAX_THREADS = 16
_MAX_REDIRECTS = 5
_MAX_ANSWER_BYTES = 4 * 2**20
_MAX_REQUEST_SECONDS = 5.0
_RESERVED_SECONDS = 0.5  # for what is left to do when the registries had their time
_INDEX_MEDIA_TYPES = ("application/vnd.oci.image.index.v1+json",
          "application/vnd.docker.distribution.manifest.list.v2+json")  # fmt: skip
_MANIFEST_MEDIA_TYPES = ("application/vnd.oci.image.manifest.v1+json",
             "application/vnd.docker.distribution.manifest.v2+json")  # fmt: skip
_LOOPBACK_PATTERN = re.compile(r"(localhost|127(\.\d+){3}|\[::1\])(:\d+)?")
_COMPATIBLE_ARCHITECTURES = {"amd64": ("386",), "arm64": ("arm",)}
"""The architectures that Docker takes in place of one. Source: containerd/platforms."""
_ACCESS_DENIED_MESSAGE = "repository does not exist or may require 'docker login'"
_REGISTRY_ERROR_PATTERN = re.compile(r'"errors"\s*:')


class WantedImage(NamedTuple):
    """An image that will be pulled, by the name in the file, and the platform if one is asked.

    `similar_stage` is a stage of the Dockerfile with nearly the name of a base image.
    """

    text: str
    reference: ImageReference
    services: tuple[str, ...]
    platform: str
    is_base: bool
    similar_stage: str | None


class ImageAnswer(NamedTuple):
    """What a registry says of an image; `error` is what Docker will say, or None if it pulls it."""

    exists: bool | Unknown
    error: str | None = None
    platforms: list[str] | Unknown | None = None
    platform_matches: bool | Unknown | None = None
    size: int | Unknown | None = None


def measure(
    context: MeasureContext, project: Project, environ: Mapping[str, str] = os.environ
) -> Iterator[Measured]:
    """Yield the facts of each image that isn't there yet."""
    engine = context.engine_or_unknown()
    wanted = list_wanted_images(context, project, engine, environ)
    client = RegistryClient(engine, environ, context.deadline - _RESERVED_SECONDS)
    pool = ThreadPoolExecutor(_MAX_THREADS)
    answers = [pool.submit(client.ask_about_image, image) for image in wanted[:_MAX_IMAGES]]
    wait(answers, max(0.0, context.deadline - _RESERVED_SECONDS - time.monotonic()))
    pool.shutdown(wait=False, cancel_futures=True)
    for image, answer in zip(wanted, answers, strict=False):  # in the order of the file
        late = Unknown(f"{image.reference.registry} didn't answer in time", "timeout")
        is_done = answer.done() and not answer.cancelled()
        yield from _image_answer_facts(image, answer.result() if is_done else ImageAnswer(late))
    for image in wanted[_MAX_IMAGES:]:
        unknown = Unknown(
            f"more than {_MAX_IMAGES} images; the others aren't checked", "unsupported"
        )
        yield from _image_answer_facts(image, ImageAnswer(unknown))
    yield Measured(_IMAGES_PATH, {}, "the images that will be pulled")


def _image_answer_facts(image: WantedImage, answer: ImageAnswer) -> Iterator[Measured]:
    source = f"HEAD of its manifest at {image.reference.registry}"
    facts: dict[str, Value] = {**answer._asdict(), "services": list(image.services)}
    facts["similar_stage"] = image.similar_stage
    for name, value in facts.items():
        yield Measured((*_IMAGES_PATH, image.text, name), value, source)


def list_wanted_images(
    context: MeasureContext,
    project: Project,
    engine: Engine | Unknown,
    environ: Mapping[str, str],
) -> list[WantedImage]:
    """Return the images that `up` pulls: of services, and of the stages that it must build."""
    present, built = list_images(engine), list_built_images(project)
    named: list[tuple[str, str, bool, str | None]] = []
    for name, service in project.services.items():
        policy = service.get("pull_policy")
        if service.get("image") and not service.get("build") and policy not in ("never", "build"):
            named.append((str(service["image"]), name, False, None))
    if any(service.get("build") for service in project.services.values()):
        from preflight.facts.builds.facts import list_base_images

        named += [
            (image, name, True, stage)
            for name, image, stage in list_base_images(context, project, environ)
        ]
    wanted: dict[str, WantedImage] = {}
    for text, service_name, is_base, stage in named:
        try:
            reference = parse_image_reference(text)
        except ValueError:
            continue  # another rule says so
        service = project.services[service_name]
        policy, platform = service.get("pull_policy"), str(service.get("platform") or "")
        is_there = not isinstance(present, Unknown) and reference.name in present
        if reference.name in built or (is_there and (is_base or policy != "always")):
            continue
        others = wanted[text].services if text in wanted else ()
        services = (*others, service_name)
        wanted[text] = WantedImage(text, reference, services, platform, is_base, stage)
    return list(wanted.values())


class RegistryClient:
    """Asks registries; `deadline` is the end of all requests, by time.monotonic."""

    def __init__(
        self, engine: Engine | Unknown, environ: Mapping[str, str], deadline: float
    ) -> None:
        self._engine, self._environ, self._deadline = engine, environ, deadline
        self._config = read_docker_file(environ)
        self._lock = threading.Lock()
        self._credentials: dict[str, Credentials | None] = {}

    def ask_about_image(self, image: WantedImage) -> ImageAnswer:
        """Return what the registry says of an image; what it doesn't say is unknown."""
        registry = image.reference.registry
        try:
            engine = self._engine
            is_elsewhere = isinstance(engine, Engine) and not engine.api.endpoint.is_local
            if is_elsewhere and _LOOPBACK_PATTERN.fullmatch(registry):
                raise RegistryError(f"{registry} is an address of the engine's own machine")
            return self._ask_registry(image)
        except RegistryError as error:
            unknown = Unknown(str(error), "unavailable")
        except OSError as error:
            reason = error.strerror or str(error) or type(error).__name__
            unknown = Unknown(f"{registry}: {reason}", "unavailable")
        except Exception as error:  # noqa: BLE001 - whatever an answer leads to is a reason
            unknown = Unknown(f"{registry}: {type(error).__name__}", "invalid")
        return ImageAnswer(unknown)

    def _ask_registry(self, image: WantedImage) -> ImageAnswer:
        session = self._open_session(image.reference)
        target = f"manifests/{image.reference.digest or image.reference.tag}"
        response = session.request("HEAD", target, (*_INDEX_MEDIA_TYPES, *_MANIFEST_MEDIA_TYPES))
        if response.status == 200:
            if _get_content_type(response) not in (*_INDEX_MEDIA_TYPES, *_MANIFEST_MEDIA_TYPES):
                raise RegistryError(f"{image.reference.registry} doesn't respond like a registry")
            return self._inspect_manifest(session, target, image)
        mirrors = self._read_engine_config("Mirrors")
        if mirrors and image.reference.registry == DEFAULT_REGISTRY:
            raise RegistryError(f"the engine pulls through the mirror {mirrors[0]}")
        if response.status == 429:
            limit = "toomanyrequests: You have reached your pull rate limit"
            raise RegistryError(f"{image.reference.registry}: {limit}")
        if response.status in (401, 403) and session.was_challenged:
            name = image.text if image.is_base else image.text.partition("@")[0].rpartition(":")[0]
            return ImageAnswer(
                False, f"pull access denied for {name or image.text}, {_ACCESS_DENIED_MESSAGE}"
            )
        if response.status == 404 and self._is_registry(session, target):
            error = f"manifest for {image.text} not found: manifest unknown: manifest unknown"
            base_error = f"failed to create LLB definition: {image.text}: not found"
            return ImageAnswer(False, base_error if image.is_base else error)
        raise RegistryError(f"{image.reference.registry} answers with status {response.status}")

    def _is_registry(self, session: "RegistrySession", target: str) -> bool:
        """Return whether what says that a manifest isn't there is a registry."""
        answer = session.request("GET", target, (*_INDEX_MEDIA_TYPES, *_MANIFEST_MEDIA_TYPES))
        return bool(_REGISTRY_ERROR_PATTERN.search(answer.body.decode("utf-8", "replace")))

    def _inspect_manifest(
        self, session: "RegistrySession", target: str, image: WantedImage
    ) -> ImageAnswer:
        """Read the platforms and the size; an answer without them leaves these unknown."""
        wanted = image.platform or self._environ.get("DOCKER_DEFAULT_PLATFORM", "")
        if not wanted and isinstance(self._engine, Engine):
            wanted = "/".join(str(self._engine.version.get(key) or "") for key in ("Os", "Arch"))
        try:
            manifest = session.get_json(target, (*_INDEX_MEDIA_TYPES, *_MANIFEST_MEDIA_TYPES))
            entries = [entry for entry in list_or_empty(manifest.get("manifests")) if entry]
            if not entries:
                return self._inspect_single_manifest(session, manifest)
            platforms = {_format_platform(entry.get("platform")): entry for entry in entries}
            platforms.pop("unknown/unknown", None)  # attestations
            chosen = next((own for own in platforms if is_accepted_platform(own, wanted)), None)
            names = sorted(filter(None, platforms))
            if wanted.strip("/") == "" or not names:
                unknown = Unknown("the engine's platform isn't known")
                return ImageAnswer(True, None, names, unknown, unknown)
            if chosen is None:
                error = f"no matching manifest for {wanted} in the manifest list entries"
                return ImageAnswer(True, error, names, False)
            digest = str(platforms[chosen].get("digest"))
            size = _sum_sizes(session.get_json(f"manifests/{digest}", _MANIFEST_MEDIA_TYPES))
            return ImageAnswer(True, None, names, True, size)
        except (RegistryError, OSError, AttributeError) as error:
            unknown = Unknown(f"{image.reference.registry}: {error}", "invalid")
            return ImageAnswer(True, None, unknown, unknown, unknown)

    def _inspect_single_manifest(
        self, session: "RegistrySession", manifest: Mapping[str, Any]
    ) -> ImageAnswer:
        """Read a manifest without an index: Docker pulls it whatever its platform is."""
        size = _sum_sizes(manifest)
        digest = get_nested_value(manifest, "config.digest")
        config = session.get_json(f"blobs/{digest}", ()) if isinstance(digest, str) else {}
        platform = _format_platform({**config, "variant": None})
        return ImageAnswer(True, None, [platform] if platform else None, None, size)

    def _open_session(self, reference: ImageReference) -> "RegistrySession":
        host = _DOCKER_HUB_HOST if reference.registry == DEFAULT_REGISTRY else reference.registry
        is_insecure = self._is_insecure(reference.registry)
        for scheme in ("https", "http") if is_insecure else ("https",):
            session = RegistrySession(f"{scheme}://{host}/v2/", reference, self)
            try:
                session.send("GET", session.base, {})
            except OSError:
                if scheme == "https" and is_insecure:
                    continue  # docker tries HTTP then
                raise
            return session
        raise RegistryError(f"{reference.registry} can't be reached")

    def _is_insecure(self, registry: str) -> bool:
        """Return whether docker also speaks plain HTTP with a registry."""
        configs = self._read_engine_config("IndexConfigs")
        own = configs.get(registry) if isinstance(configs, Mapping) else None
        return get_nested_value(own, "Secure") is False or bool(
            _LOOPBACK_PATTERN.fullmatch(registry)
        )

    def _read_engine_config(self, key: str) -> Any:
        if isinstance(self._engine, Unknown):
            return None
        return get_nested_value(self._engine.info, f"RegistryConfig.{key}")

    def credentials(self, reference: ImageReference) -> Credentials | None:
        """Return docker's credentials for a registry, or None if it has none."""
        key = get_registry_config_key(reference)
        with self._lock:
            if key not in self._credentials:
                self._credentials[key] = find_credentials(
                    reference, self._config, self._environ, self.compute_seconds_left()
                )
            return self._credentials[key]

    def compute_seconds_left(self) -> float:
        """Return the seconds that a request may take; raises RegistryError if there are none."""
        seconds = min(_MAX_REQUEST_SECONDS, self._deadline - time.monotonic())
        if seconds <= 0:
            raise RegistryError("there was no time left to ask the registry")
        return seconds


class RegistrySession:
    """The requests about one repository, with the token that the registry asked for."""

    def __init__(self, base: str, reference: ImageReference, client: RegistryClient) -> None:
        self.base, self._reference, self._client = base, reference, client
        self._authorization = ""
        self.was_challenged = False

    def request(self, method: str, target: str, accept: Iterable[str]) -> HttpResponse:
        """Send a request about the repository; gets a token first if the registry wants one."""
        url = f"{self.base}{self._reference.path}/{quote(target, safe='/:')}"
        headers = {"Accept": ", ".join(accept)} if accept else {}
        response = self._follow_redirects(method, url, headers)
        if response.status == 401 and not self._authorization:
            self._authorization = self._authorize(response.headers.get("www-authenticate", ""))
            if self._authorization:
                response = self._follow_redirects(method, url, headers)
        return response

    def get_json(self, target: str, accept: Iterable[str]) -> dict[str, Any]:
        """GET an object; raises RegistryError for anything else."""
        response = self.request("GET", target, accept)
        if response.status != 200:
            raise RegistryError(f"GET {target} answers with status {response.status}")
        return _parse_object(response)

    def _follow_redirects(self, method: str, url: str, headers: Mapping[str, str]) -> HttpResponse:
        """Send a request, and follow redirects; to another host without credentials."""
        authorization = self._authorization
        for _ in range(_MAX_REDIRECTS):
            own = {"Authorization": authorization} if authorization else {}
            response = self.send(method, url, {**headers, **own})
            location = response.headers.get("location")
            if response.status not in (301, 302, 303, 307, 308) or not location:
                return response
            target = urljoin(url, location)
            if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
                raise RegistryError(f"{self._reference.registry} redirects to plain HTTP")
            if urlsplit(target).netloc != urlsplit(url).netloc:
                authorization = ""
            url = target
        raise RegistryError(f"{self._reference.registry} redirects too many times")

    def send(self, method: str, url: str, headers: Mapping[str, str]) -> HttpResponse:
        """Send one request; raises OSError, RegistryError for an answer that is too large."""
        parts = urlsplit(url)
        response = send_request(
            url,
            urlunsplit(("", "", parts.path or "/", parts.query, "")),
            timeout=self._client.compute_seconds_left(),
            max_bytes=_MAX_ANSWER_BYTES,
            method=method,
            headers=headers,
            proxy=find_proxy(parts.scheme, parts.hostname or ""),
        )
        if len(response.body) > _MAX_ANSWER_BYTES:
            raise RegistryError(f"{parts.netloc} returned more than 4 MiB")
        return response

    def _authorize(self, challenge: str) -> str:
        """Return the Authorization header that a challenge asks for, nothing without a login."""
        scheme, _, rest = challenge.partition(" ")
        self.was_challenged = scheme.lower() in ("basic", "bearer")
        credentials = self._client.credentials(self._reference) if self.was_challenged else None
        if scheme.lower() == "basic":
            return credentials.basic_header if credentials else ""
        if scheme.lower() != "bearer":
            return ""
        fields = dict(re.findall(r'([a-zA-Z]+)="([^"]*)"', rest))
        realm = fields.get("realm", "")
        is_secure = urlsplit(self.base).scheme == "https"
        if urlsplit(realm).scheme not in (("https",) if is_secure else ("https", "http")):
            raise RegistryError(f"{self._reference.registry} names no usable token server")
        scope = fields.get("scope") or f"repository:{self._reference.path}:pull"
        query = urlencode({"service": fields.get("service", ""), "scope": scope})
        url = f"{realm}{'&' if '?' in realm else '?'}{query}"
        headers = {"Authorization": credentials.basic_header} if credentials else {}
        response = self.send("GET", url, headers)  # a redirect would take credentials elsewhere
        if response.status in (401, 403):
            return ""
        answer = _parse_object(response) if response.status == 200 else {}
        token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str) or re.search(r"[\r\n]", token):
            raise RegistryError(f"{urlsplit(realm).netloc} returns no token")
        return f"Bearer {token}"


def is_accepted_platform(platform: str, wanted: str) -> bool:
    """Return whether Docker takes an image for `platform` where it wants another."""
    system, _, rest = platform.partition("/")
    wanted_system, _, wanted_rest = wanted.partition("/")
    architecture, wanted_architecture = rest.partition("/")[0], wanted_rest.partition("/")[0]
    also = _COMPATIBLE_ARCHITECTURES.get(wanted_architecture, ())
    return system == wanted_system and architecture in (wanted_architecture, *also)


def _format_platform(platform: Any) -> str:
    if not isinstance(platform, Mapping):
        return ""
    keys = ("os", "architecture", "variant")
    return "/".join(str(platform[key]) for key in keys if isinstance(platform.get(key), str))


def _sum_sizes(manifest: Mapping[str, Any]) -> int | Unknown:
    """Return the bytes of an image's layers as they are sent, which is less than they take."""
    layers = list_or_empty(manifest.get("layers"))
    sizes = [count_or_none(get_nested_value(layer, "size")) for layer in layers]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(layers) else Unknown("a layer has no size", "invalid")


def _get_content_type(response: HttpResponse) -> str:
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()


def _parse_object(response: HttpResponse) -> dict[str, Any]:
    try:
        answer = json.loads(response.body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise RegistryError("the answer isn't a JSON object")
    return answer
