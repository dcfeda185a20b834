"""What registries say of the images that Compose will pull: measured with `--online` only.

Asks as docker does: its credentials go to the registry, or to the token server that the registry
names, and nowhere else. Every answer is bounded in bytes and time. Where a registry can't be
reached from here, or isn't one, the image is unknown: the engine may have another way to it.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urljoin, urlsplit, urlunsplit

from preflight.facts.collect.context import Engine, MeasurementContext
from preflight.facts.compose.project import Project
from preflight.facts.engine.api import LazyValue, parse_json_or_none
from preflight.facts.engine.endpoint import read_docker_config_file
from preflight.facts.http_client import HttpResponse, find_proxy, send_request
from preflight.facts.images import (
    DEFAULT_REGISTRY,
    ImageReference,
    find_registry_authorization,
    get_registry_config_key,
    list_built_images,
    list_engine_images,
    parse_image_reference,
)
from preflight.facts.nested_values import get_nested_list, get_nested_value, get_nested_whole_number
from preflight.model.facts import Measured, NotMeasuredError, Unknown, Value, read_or_unknown

_REGISTRY_IMAGES_FACT_PATH = ("registry", "images")
_DOCKER_HUB_HOST = "registry-1.docker.io"
_MAX_IMAGES_LOOKED_UP = 200
_MAX_REGISTRY_THREADS = 16
_MAX_REDIRECTS = 5
_MAX_REGISTRY_ANSWER_BYTES = 4 * 2**20
_MAX_REQUEST_SECONDS = 5.0
_SECONDS_RESERVED_FOR_RESULTS = 0.5  # for what is left to do when the registries had their time
_ACCEPTED_MEDIA_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_IMAGE_MANIFEST_MEDIA_TYPES = _ACCEPTED_MEDIA_TYPES[2:]  # without those of indexes
_LOOPBACK_REGISTRY_PATTERN = re.compile(r"(localhost|127(\.\d+){3}|\[::1\])(:\d+)?")
_COMPATIBLE_ARCHITECTURES = {"amd64": ("386",), "arm64": ("arm",)}
"""The architectures that Docker takes in place of one. Source: containerd/platforms."""
_ACCESS_DENIED_MESSAGE = "repository does not exist or may require 'docker login'"
_REGISTRY_ERROR_PATTERN = re.compile(r'"errors"\s*:')


class ImageToPull(NamedTuple):
    """An image that will be pulled, by the name in the file, and the platform if one is asked.

    `similar_stage` is a stage of the Dockerfile with nearly the name of a base image.
    """

    text: str
    reference: ImageReference
    services: tuple[str, ...]
    platform: str
    is_base: bool
    similar_stage: str | None


class RegistryImageAnswer(NamedTuple):
    """What a registry says of an image; `error` is what Docker will say, or None if it pulls it."""

    exists: bool | Unknown
    error: str | None = None
    platforms: list[str] | Unknown | None = None
    platform_matches: bool | Unknown | None = None
    size: int | Unknown | None = None


class RegistryRequestSettings(NamedTuple):
    """What docker asks registries with; `deadline` is the end of all requests."""

    engine: Engine | Unknown
    environ: Mapping[str, str]
    config: Mapping[str, Any]  # docker's config.json
    logins: dict[str, LazyValue[str]]  # by registry; helpers are asked once
    deadline: float


def measure_registry(
    context: MeasurementContext, project: Project, environ: Mapping[str, str] = os.environ
) -> Iterator[Measured]:
    """Yield the facts of each image that isn't there yet."""
    engine, deadline = context.engine_or_unknown(), context.deadline - _SECONDS_RESERVED_FOR_RESULTS
    access = RegistryRequestSettings(
        engine, environ, read_docker_config_file(environ), {}, deadline
    )
    wanted = list_images_to_pull(context, project, environ)
    pool = ThreadPoolExecutor(_MAX_REGISTRY_THREADS)
    answers = [pool.submit(ask_registry, image, access) for image in wanted[:_MAX_IMAGES_LOOKED_UP]]
    wait(answers, max(0.0, deadline - time.monotonic()))
    pool.shutdown(wait=False, cancel_futures=True)
    for number, image in enumerate(wanted):  # in the order of the file
        reason = (
            f"the project has more than {_MAX_IMAGES_LOOKED_UP} images; the others aren't checked"
        )
        answer = RegistryImageAnswer(Unknown(reason, "unsupported"))
        if number < _MAX_IMAGES_LOOKED_UP:
            late = Unknown(f"{image.reference.registry} didn't answer in time", "timeout")
            is_done = answers[number].done() and not answers[number].cancelled()
            answer = answers[number].result() if is_done else RegistryImageAnswer(late)
        facts: dict[str, Value] = {**answer._asdict(), "services": list(image.services)}
        facts["similar_stage"] = image.similar_stage
        source = f"HEAD of its manifest at {image.reference.registry}"
        for name, value in facts.items():
            yield Measured((*_REGISTRY_IMAGES_FACT_PATH, image.text, name), value, source)
    yield Measured(_REGISTRY_IMAGES_FACT_PATH, {}, "the images that will be pulled")


def list_images_to_pull(
    context: MeasurementContext, project: Project, environ: Mapping[str, str]
) -> list[ImageToPull]:
    """Return the images that `up` pulls: of services, and of the stages that it must build."""
    present, built = read_or_unknown(list_engine_images, context), list_built_images(project)
    named: list[tuple[str, str, bool, str | None]] = []
    for name, service in project.services.items():
        policy = service.get("pull_policy")
        if service.get("image") and not service.get("build") and policy not in ("never", "build"):
            named.append((str(service["image"]), name, False, None))
    if any(service.get("build") for service in project.services.values()):
        from preflight.facts.builds.build_facts import list_images_needed_by_builds

        named += [
            (image, name, True, stage)
            for name, image, stage in list_images_needed_by_builds(context, project, environ)
        ]
    wanted: dict[str, ImageToPull] = {}
    for text, service_name, is_base, stage in named:
        try:
            reference = parse_image_reference(text)
        except ValueError:
            continue  # another rule says so
        service = project.services[service_name]
        policy, platform = service.get("pull_policy"), str(service.get("platform") or "")
        is_there = not isinstance(present, Unknown) and reference.full_reference in present
        if reference.full_reference in built or (is_there and (is_base or policy != "always")):
            continue
        others = wanted[text].services if text in wanted else ()
        services = (*others, service_name)
        wanted[text] = ImageToPull(text, reference, services, platform, is_base, stage)
    return list(wanted.values())


def ask_registry(image: ImageToPull, access: RegistryRequestSettings) -> RegistryImageAnswer:
    """Return what the registry says of an image; what it doesn't say is unknown."""
    registry, engine = image.reference.registry, access.engine
    try:
        is_elsewhere = isinstance(engine, Engine) and not engine.api.endpoint.is_local
        if is_elsewhere and _LOOPBACK_REGISTRY_PATTERN.fullmatch(registry):
            raise NotMeasuredError(f"only the engine's machine can reach {registry}")
        return _RepositoryClient(image, access).ask_about_image()
    except NotMeasuredError as error:
        unknown = error.unknown
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        unknown = Unknown(f"{registry} can't be reached: {reason}", "unavailable")
    except Exception as error:  # noqa: BLE001 - whatever an answer leads to is a reason
        unknown = Unknown(
            f"{registry} returned an unexpected response ({type(error).__name__})", "invalid"
        )
    return RegistryImageAnswer(unknown)


class _RepositoryClient:
    """The requests about one repository, with the token that the registry asked for."""

    def __init__(self, image: ImageToPull, access: RegistryRequestSettings) -> None:
        self._image, self._access = image, access
        self._registry = image.reference.registry
        self._base = self._authorization = ""
        self._was_challenged = False

    def ask_about_image(self) -> RegistryImageAnswer:
        image, reference = self._image, self._image.reference
        self._detect_scheme()
        target = f"manifests/{reference.digest or reference.tag}"
        response = self._request("HEAD", target, _ACCEPTED_MEDIA_TYPES)
        if response.status == 200:
            media_type = response.headers.get("content-type", "").partition(";")[0]
            if media_type.strip().lower() not in _ACCEPTED_MEDIA_TYPES:
                raise NotMeasuredError(f"{self._registry} doesn't respond like a registry")
            try:
                return self._inspect_manifest(target)
            except (NotMeasuredError, OSError, AttributeError) as error:
                unknown = Unknown(f"{self._registry}: {error}", "invalid")
                return RegistryImageAnswer(True, None, unknown, unknown, unknown)
        mirrors = self._read_engine_registry_config("Mirrors")
        if mirrors and self._registry == DEFAULT_REGISTRY:
            raise NotMeasuredError(
                f"the engine pulls images through the mirror {mirrors[0]}, not from Docker Hub"
            )
        if response.status == 429:
            limit = "toomanyrequests: You have reached your pull rate limit"
            raise NotMeasuredError(f"{self._registry}: {limit}")
        if response.status in (401, 403) and self._was_challenged:
            name = image.text if image.is_base else image.text.partition("@")[0].rpartition(":")[0]
            refusal = f"pull access denied for {name or image.text}, {_ACCESS_DENIED_MESSAGE}"
            return RegistryImageAnswer(False, refusal)
        if response.status == 404:
            body = self._request("GET", target, _ACCEPTED_MEDIA_TYPES).body.decode(
                "utf-8", "replace"
            )
            if _REGISTRY_ERROR_PATTERN.search(body):  # else it may be any web server
                refusal = f"manifest for {image.text} not found: manifest unknown: manifest unknown"
                if image.is_base:
                    refusal = f"failed to create LLB definition: {image.text}: not found"
                return RegistryImageAnswer(False, refusal)
        raise NotMeasuredError(f"{self._registry} returned status {response.status}")

    def _detect_scheme(self) -> None:
        """Find out whether the registry speaks HTTPS, or HTTP where docker tries that too."""
        configs = self._read_engine_registry_config("IndexConfigs")
        own = configs.get(self._registry) if isinstance(configs, Mapping) else None
        is_loopback = _LOOPBACK_REGISTRY_PATTERN.fullmatch(self._registry)
        is_insecure = get_nested_value(own, "Secure") is False or is_loopback is not None
        host = _DOCKER_HUB_HOST if self._registry == DEFAULT_REGISTRY else self._registry
        for scheme in ("https", "http"):
            self._base = f"{scheme}://{host}/v2/"
            try:
                self._send("GET", self._base, {})
                return
            except OSError:
                if scheme == "http" or not is_insecure:
                    raise

    def _inspect_manifest(self, target: str) -> RegistryImageAnswer:
        """Read the platforms and the size."""
        engine, wanted = self._access.engine, self._image.platform
        wanted = wanted or self._access.environ.get("DOCKER_DEFAULT_PLATFORM", "")
        if not wanted and isinstance(engine, Engine):
            wanted = "/".join(str(engine.version.get(key) or "") for key in ("Os", "Arch"))
        manifest = self._get_json(target, _ACCEPTED_MEDIA_TYPES)
        entries = [entry for entry in get_nested_list(manifest, "manifests") if entry]
        if not entries:  # without an index Docker pulls it whatever its platform is
            digest = get_nested_value(manifest, "config.digest")
            config = self._get_json(f"blobs/{digest}", ()) if isinstance(digest, str) else {}
            own = _format_platform({**config, "variant": None})
            return RegistryImageAnswer(
                True, None, [own] if own else None, None, _sum_layer_sizes(manifest)
            )
        platforms = {_format_platform(entry.get("platform")): entry for entry in entries}
        platforms.pop("unknown/unknown", None)  # attestations
        names = sorted(filter(None, platforms))
        if wanted.strip("/") == "" or not names:
            unknown = Unknown("the engine's platform is unknown")
            return RegistryImageAnswer(True, None, names, unknown, unknown)
        chosen = next((own for own in platforms if is_accepted_platform(own, wanted)), None)
        if chosen is None:
            error = f"no matching manifest for {wanted} in the manifest list entries"
            return RegistryImageAnswer(True, error, names, False)
        target = f"manifests/{platforms[chosen].get('digest')}"
        size = _sum_layer_sizes(self._get_json(target, _IMAGE_MANIFEST_MEDIA_TYPES))
        return RegistryImageAnswer(True, None, names, True, size)

    def _read_engine_registry_config(self, key: str) -> Any:
        if isinstance(self._access.engine, Unknown):
            return None
        return get_nested_value(self._access.engine.info, f"RegistryConfig.{key}")

    def _request(self, method: str, target: str, accept: Iterable[str]) -> HttpResponse:
        """Send a request about the repository; gets a token first if the registry wants one."""
        url = f"{self._base}{self._image.reference.path}/{quote(target, safe='/:')}"
        headers = {"Accept": ", ".join(accept)} if accept else {}
        response = self._follow_redirects(method, url, headers)
        if response.status == 401 and not self._authorization:
            self._authorization = self._get_authorization(
                response.headers.get("www-authenticate", "")
            )
            if self._authorization:
                response = self._follow_redirects(method, url, headers)
        return response

    def _get_json(self, target: str, accept: Iterable[str]) -> dict[str, Any]:
        """GET an object; raises NotMeasuredError for anything else."""
        response = self._request("GET", target, accept)
        if response.status != 200:
            raise NotMeasuredError(f"GET {target} returned status {response.status}")
        return _parse_json_object(response)

    def _follow_redirects(self, method: str, url: str, headers: Mapping[str, str]) -> HttpResponse:
        """Send a request, and follow redirects; to another host without credentials."""
        authorization = self._authorization
        for _ in range(_MAX_REDIRECTS):
            own = {"Authorization": authorization} if authorization else {}
            response = self._send(method, url, {**headers, **own})
            location = response.headers.get("location")
            if response.status not in (301, 302, 303, 307, 308) or not location:
                return response
            target = urljoin(url, location)
            if urlsplit(target).scheme not in {"https", urlsplit(url).scheme}:
                raise NotMeasuredError(
                    f"{self._registry} redirects to plain HTTP or another protocol"
                )
            if urlsplit(target).netloc != urlsplit(url).netloc:
                authorization = ""
            url = target
        raise NotMeasuredError(f"{self._registry} redirects too many times")

    def _send(self, method: str, url: str, headers: Mapping[str, str]) -> HttpResponse:
        """Send one request; raises OSError, NotMeasuredError for an answer that is too large."""
        parts = urlsplit(url)
        response = send_request(
            url,
            urlunsplit(("", "", parts.path or "/", parts.query, "")),
            timeout=self._seconds_left(),
            max_bytes=_MAX_REGISTRY_ANSWER_BYTES,
            method=method,
            headers=headers,
            proxy=find_proxy(parts.scheme, parts.hostname or ""),
        )
        if len(response.body) > _MAX_REGISTRY_ANSWER_BYTES:
            raise NotMeasuredError(f"{parts.netloc} returned more than 4 MiB")
        return response

    def _seconds_left(self) -> float:
        seconds = min(_MAX_REQUEST_SECONDS, self._access.deadline - time.monotonic())
        if seconds <= 0:
            raise NotMeasuredError("no time was left to query the registry")
        return seconds

    def _get_authorization(self, challenge: str) -> str:
        """Return the Authorization header that a challenge asks for, nothing without a login."""
        scheme, _, rest = challenge.partition(" ")
        self._was_challenged = scheme.lower() in ("basic", "bearer")
        reference, access, login = self._image.reference, self._access, ""
        if self._was_challenged:
            own = LazyValue(
                lambda: find_registry_authorization(
                    reference, access.config, access.environ, self._seconds_left()
                )
            )
            login = access.logins.setdefault(get_registry_config_key(reference), own)()
        if scheme.lower() != "bearer":
            return login
        fields = dict(re.findall(r'([a-zA-Z]+)="([^"]*)"', rest))
        realm = fields.get("realm", "")
        is_secure = urlsplit(self._base).scheme == "https"
        if urlsplit(realm).scheme not in (("https",) if is_secure else ("https", "http")):
            raise NotMeasuredError(f"{self._registry} doesn't name a usable token server")
        scope = fields.get("scope") or f"repository:{self._image.reference.path}:pull"
        query = urlencode({"service": fields.get("service", ""), "scope": scope})
        url = f"{realm}{'&' if '?' in realm else '?'}{query}"
        headers = {"Authorization": login} if login else {}
        response = self._send("GET", url, headers)  # a redirect would take credentials elsewhere
        if response.status in (401, 403):
            return ""
        answer = _parse_json_object(response) if response.status == 200 else {}
        token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str) or re.search(r"[\r\n]", token):
            raise NotMeasuredError(f"{urlsplit(realm).netloc} didn't return a token")
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


def _sum_layer_sizes(manifest: Mapping[str, Any]) -> int | Unknown:
    """Return the bytes of an image's layers as they are sent, which is less than they take."""
    layers = get_nested_list(manifest, "layers")
    sizes = [get_nested_whole_number(layer, "size") for layer in layers]
    known = [size for size in sizes if size is not None]
    return (
        sum(known)
        if len(known) == len(layers)
        else Unknown("the registry reports no size for a layer", "invalid")
    )


def _parse_json_object(response: HttpResponse) -> dict[str, Any]:
    answer = parse_json_or_none(response.body)
    if not isinstance(answer, dict):
        raise NotMeasuredError("the response isn't a JSON object")
    return answer
