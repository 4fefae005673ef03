"""Which gateways clients are told of."""

from dataclasses import replace

import pytest

from control_plane.cluster.gateways import MOST, gateways
from control_plane.cluster.registry import NodeInfo
from control_plane.gateway.regions import socket_url

ME = NodeInfo("me", 1, "h:1", gateway="http://me", links={"near": 5.0, "far": 90.0})
NEAR = NodeInfo("near", 1, "h:1", gateway="http://near")
FAR = NodeInfo("far", 1, "h:1", gateway="http://far")
IDLE = NodeInfo("idle", 1, "h:1", gateway="http://idle", load={"cpu": 0.1})
BUSY = NodeInfo("busy", 1, "h:1", gateway="http://busy", load={"cpu": 0.6})


@pytest.mark.parametrize(
    ("me", "others", "suspected", "expected"),
    [
        (ME, [FAR, NEAR], "", ["me", "near", "far"]),
        (ME, [BUSY, FAR, IDLE], "", ["me", "far", "idle", "busy"]),
        (replace(ME, draining=True), [NEAR], "", ["near"]),
        (ME, [replace(NEAR, draining=True), FAR], "", ["me", "far"]),
        (ME, [replace(NEAR, leaving=True), FAR], "", ["me", "far"]),
        (ME, [NEAR, FAR], "near", ["me", "far"]),
        (ME, [replace(NEAR, gateway=""), FAR], "", ["me", "far"]),
        (replace(ME, gateway=""), [NEAR], "", ["near"]),
        (ME, [NEAR, replace(FAR, gateway="http://me")], "", ["me", "near"]),
    ],
)
def test_who_is_told_of(me: NodeInfo, others: list[NodeInfo], suspected: str, expected: list[str]) -> None:
    found = gateways(me, [me, *others], lambda node: node == suspected)
    assert [node.id for node in found] == expected


def test_not_all_of_many() -> None:
    many = [replace(NEAR, id=f"n{number}", gateway=f"http://{number}") for number in range(100)]
    assert len(gateways(ME, [ME, *many], lambda _: False)) == MOST


@pytest.mark.parametrize(
    ("url", "expected"),
    [("http://a:1", "ws://a:1"), ("https://a/x", "wss://a/x"), ("wss://a", "wss://a"), ("ws://http", "ws://http")],
)
def test_urls_are_those_of_websockets(url: str, expected: str) -> None:
    assert socket_url(url) == expected
