"""A lab: who is in it, where, and how they reach each other."""

import asyncio
import contextlib
import os
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.cluster.lab import namespaces
from bench.cluster.lab.bus import Bus
from bench.cluster.lab.mesh import Member, Mesh, Route
from bench.cluster.lab.namespaces import Namespace
from bench.cluster.lab.nodes import CLUSTER_PORT, HTTP_PORT, Node
from bench.cluster.lab.operate import Calls, Operator, operator
from bench.cluster.lab.processes import LabError
from bench.cluster.lab.programs import Programs
from bench.cluster.lab.wait import until
from control_plane.cluster import certs
from tests.e2e.harness.ports import Numbers

OPERATOR = "operator"
"""This process: it reaches everyone without delay."""
BUS = "bus"
PREFIX = 24
_subnets = Numbers("lab-subnets")


@dataclass(frozen=True)
class Plan:
    """What a lab is made of.

    `nodes` and `clients` are names; `regions` says where each is (a client: at the node of its name's region).
    `paths` are those between two regions, both ways alike; inside one there is no delay. The bus is in `bus_region`.
    """

    regions: Mapping[str, str]
    """Node name to region."""
    paths: Mapping[frozenset[str], Route] = field(default_factory=dict)
    clients: Sequence[str] = ()
    """Regions that have clients, each in a namespace of its own."""
    bus: bool = True
    bus_region: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of every node."""
    per_node: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    environments: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By node: variables of its process."""
    seed: int = 1


def clients_of(region: str) -> str:
    """The name of the clients' place in a region."""
    return f"clients-{region}"


class Lab:
    """An async context manager: everything runs at the beginning, nothing is left at the end, also after a failure.

    Without the right to make namespaces all are on addresses of the loopback: `mesh` is None and `why` tells.
    """

    def __init__(self, plan: Plan, programs: Programs) -> None:
        self.plan, self.programs = plan, programs
        self.why = namespaces.refusal()
        self.nodes: dict[str, Node] = {}
        self.mesh: Mesh | None = None
        self.bus: Bus | None = None
        self.places: dict[str, tuple[str, Namespace | None]] = {}
        """Address and namespace of everyone."""
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._build()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def net(self) -> Mesh:
        """The emulated paths. Raises LabError where there are none."""
        if self.mesh is None:
            raise LabError(f"paths cannot be emulated: {self.why}")
        return self.mesh

    async def _build(self) -> None:
        plan = self.plan
        names = [OPERATOR, *([BUS] if plan.bus else []), *plan.regions, *map(clients_of, plan.clients)]
        # RFC 2544 keeps 198.18.0.0/15 for measurements; several labs may run at a time.
        subnet = _subnet()
        self._stack.callback(_subnets.give_back, subnet)
        base = f"198.18.{subnet}" if not self.why else f"127.18.{subnet}"
        for place, name in enumerate(names, start=1):
            space = None if self.why or name == OPERATOR else Namespace(name)
            if space:
                self._stack.callback(space.close)
            self.places[name] = (f"{base}.{place}", space)
        if not self.why:
            members = [Member(name, address, space) for name, (address, space) in self.places.items()]
            device = f"lab{zlib.crc32(base.encode()) % 2**32:08x}"
            mesh = Mesh(self.programs.netem, members, prefix=PREFIX, device=device, seed=plan.seed)
            self.mesh = await self._stack.enter_async_context(mesh)
            for a, b in combinations(names, 2):
                route = plan.paths.get(frozenset({self._region(a), self._region(b)}))
                if route and OPERATOR not in (a, b):
                    await self.mesh.route(a, b, route)
        settings: dict[str, str] = {}
        if plan.bus:
            address, space = self.places[BUS]
            self.bus = Bus(address, namespace=space)
            self._stack.push_async_callback(self.bus.close)
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="pysfu-lab-certs-")))
            await self.bus.start()
            certificates = make_certificates(folder, list(plan.regions))
            settings["nats"] = self.bus.url
        else:
            certificates = {}
        for name, region in plan.regions.items():
            address, space = self.places[name]
            own = {
                **settings,
                **certificates.get(name, {}),
                **({"cluster_host": address, "cluster_address": f"{address}:{CLUSTER_PORT}"} if plan.bus else {}),
                **(
                    {
                        "region": region,
                        "relay_ip": address,
                        "node_id": name,
                        "public_url": f"http://{address}:{HTTP_PORT}",
                    }
                    if plan.bus
                    else {}
                ),
                **plan.settings,
                **plan.per_node.get(name, {}),
            }
            node = Node(
                name, address, region=region, namespace=space, settings=own, environment=plan.environments.get(name)
            )
            self.nodes[name] = node
            self._stack.push_async_callback(node.close)
        # All at once: most of a start is Python reading its modules.
        await asyncio.gather(*(node.start() for node in self.nodes.values()))
        if plan.bus:
            await self.acquainted()

    async def acquainted(self, seconds: float = 20.0, calls: Calls | None = None) -> None:
        """Until every node that runs knows of all the others that do, reaches them, and knows of no more.

        How the calls to them go is told to `calls`. Raises TimeoutError, and grpc.aio.AioRpcError of a call that fails.
        """
        running = {name: node for name, node in self.nodes.items() if node.is_running}
        for node in running.values():
            async with operator(node, calls) as asked:

                async def knows(asked: Operator = asked) -> bool:
                    nodes = await asked.nodes()
                    suspected = [node for node in nodes.values() if node.state == node.STATE_SUSPECTED]
                    return set(nodes) == set(running) and not suspected

                await until(knows, seconds)

    def _region(self, name: str) -> str:
        if name == BUS:
            return self.plan.bus_region or next(iter(self.plan.regions.values()))
        return self.plan.regions.get(name, name.removeprefix("clients-"))


def _subnet() -> int:
    """One that no other lab of this machine has. Raises LabError."""
    for number in range(256):
        subnet = (os.getpid() + number) % 256
        if _subnets.take(subnet):
            return subnet
    raise LabError("too many labs run at a time")


def make_certificates(folder: Path, nodes: Sequence[str]) -> dict[str, dict[str, str]]:
    """Of a development CA, as `pysfu cluster certs` makes them: settings of each node."""
    certs.make(nodes, folder)
    return {
        name: {
            "cluster_ca": str(folder / "ca.pem"),
            "cluster_cert": str(folder / f"{name}.pem"),
            "cluster_key": str(folder / f"{name}.key"),
        }
        for name in nodes
    }
