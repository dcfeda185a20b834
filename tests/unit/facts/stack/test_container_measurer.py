"""What differs between a container and the compose file."""

from __future__ import annotations

from typing import Any

import pytest

from container_engine import GIB, inspected_container
from preflight.facts.stack.container_measurer import InspectedContainer, compare_with_service
from preflight.facts.stack.containers import ListedContainer


def limits(**limits: Any) -> dict[str, Any]:
    return {"deploy": {"resources": {"limits": limits}}}


@pytest.mark.parametrize(
    ("service", "container", "said"),
    [
        ({"environment": {"A": "1"}}, {}, []),
        ({"environment": {"A": "2"}}, {}, ["variable A has another value than in the file"]),
        ({"environment": {"B": ""}}, {}, ["variable B is not set, the file sets it"]),
        ({"environment": {"B": None}}, {}, []),
        ({"environment": {}}, {}, []),
        (limits(memory=str(GIB)), {"HostConfig__Memory": GIB}, []),
        ({"mem_limit": str(GIB)}, {"HostConfig__Memory": GIB}, []),
        (limits(memory=str(GIB)), {"HostConfig__Memory": 512 * 2**20},
         ["memory limit 512 MiB, the file says 1 GiB"]),
        (limits(memory=str(GIB)), {}, ["memory limit none, the file says 1 GiB"]),
        ({}, {"HostConfig__Memory": GIB}, ["memory limit 1 GiB, the file says none"]),
        (limits(memory="0"), {}, []),
        (limits(memory=str(GIB)), {"HostConfig__Memory": None}, []),
        (limits(cpus="0.1"), {"HostConfig__NanoCpus": 100_000_001}, []),
        (limits(cpus=2), {"HostConfig__NanoCpus": 1_500_000_000},
         ["CPU limit 1.5, the file says 2"]),
        ({"cpus": 0.5}, {}, ["CPU limit none, the file says 0.5"]),
        ({"cpu_quota": 50000}, {"HostConfig__NanoCpus": 500_000_000}, []),
        ({"image": "shop/api:latest"}, {}, []),
        ({"image": "docker.io/shop/api"}, {}, []),
        ({"image": "shop/api:2"}, {}, ["image shop/api, the file says shop/api:2"]),
        ({"image": "ghcr.io/shop/api"}, {"Config__Image": "docker.io/shop/api"},
         ["image docker.io/shop/api, the file says ghcr.io/shop/api"]),
        ({"image": "phi"}, {"Config__Image": "docker.io/library/phi:latest"}, []),
        ({"image": "r:5000/phi"}, {"Config__Image": "r:5000/phi:latest"}, []),
        ({"image": "shop/api:1@sha256:aa"}, {}, []),
        ({"image": "shop/api"}, {"Config__Image": "sha256:aa"}, []),
        ({"image": None}, {}, []),
    ],
)  # fmt: skip
def test_drift(service: dict[str, Any], container: dict[str, Any], said: list[str]) -> None:
    listed = ListedContainer("id", "web", "api")
    inspected = InspectedContainer(listed, inspected_container(**container))
    assert list(compare_with_service(inspected, service)) == said
