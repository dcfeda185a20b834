"""Placement constraints against a node; test_swarm_real has the scheduler itself say it too."""

from __future__ import annotations

import re

import pytest

from preflight.facts.swarm.cluster import Node, parse_nodes
from preflight.facts.swarm.constraints import ConstraintError, meets, parse

ROW = {
    "ID": "9j68exjopxe7wfl6yuxml7a7j",
    "Spec": {"Role": "worker", "Availability": "active", "Labels": {"Disk": "SSD", "zone.a": "1"}},
    "Description": {
        "Hostname": "w1.example.com",
        "Platform": {"OS": "linux", "Architecture": "x86_64"},
        "Engine": {"Labels": {"storage": "fast"}},
        "Resources": {"NanoCPUs": 2_000_000_000, "MemoryBytes": 1024},
    },
    "Status": {"State": "ready", "Addr": "10.0.7.9"},
}


@pytest.fixture
def node() -> Node:
    (node,) = parse_nodes([ROW])
    return node


@pytest.mark.parametrize(
    ("written", "met"),
    [
        ("node.role==worker", True),
        ("node.role == WORKER", True),
        ("NODE.Role!=worker", False),
        ("node.role!=manager", True),
        ("node.hostname==W1.example.com", True),
        ("node.hostname==w1", False),
        ("node.id==9J68EXJOPXE7WFL6YUXML7A7J", True),
        ("node.labels.Disk==ssd", True),
        ("node.labels.disk==ssd", False),  # names of labels don't fold case
        ("node.labels.disk!=ssd", True),  # nor is a label there that has another name
        ("Node.Labels.Disk==ssd", True),
        ("node.labels.zone.a==1", True),
        ("node.labels.==ssd", False),
        ("engine.labels.storage==Fast", True),
        ("engine.labels.none!=x", True),
        ("node.platform.os==Linux", True),
        ("node.platform.arch==x86_64", True),
        ("node.platform.arch==amd64", False),
        ("node.ip==10.0.7.9", True),
        ("node.ip!=10.0.7.9", False),
        ("node.ip==10.0.7.0/24", True),
        ("node.ip!=10.0.7.0/24", False),
        ("node.ip!=10.0.8.0/24", True),
        ("node.ip!=nonsense", False),
        ("node.colour!=red", False),  # no such key: nothing meets it
    ],
)
def test_a_node_meets_a_constraint_as_in_swarmkit(node: Node, written: str, met: bool) -> None:
    assert meets(node, [parse(written)]) is met


def test_all_constraints_must_be_met(node: Node) -> None:
    assert meets(node, map(parse, ["node.role==worker", "node.labels.Disk==ssd"]))
    assert not meets(node, map(parse, ["node.role==worker", "node.labels.Disk==hdd"]))
    assert meets(node, [])


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("node.role=worker", "constraint expected one operator from ==, !="),
        ("", "constraint expected one operator from ==, !="),
        ("n==1", "key 'n' is invalid"),
        ("node role==worker", "key 'node role' is invalid"),
        ("node.labels.a==", "value '' is invalid"),
        ("node.labels.a==ä", "value 'ä' is invalid"),
        ("node.labels.a==~x", "value '~x' is invalid"),
        ("node.role==worker!=x", "value 'worker!=x' is invalid"),
    ],
)
def test_what_swarm_refuses_is_refused_in_its_words(written: str, said: str) -> None:
    with pytest.raises(ConstraintError, match=f"^{re.escape(said)}$"):
        parse(written)
