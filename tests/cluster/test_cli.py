"""`pysfu cluster`, `pysfu node` and the settings of a cluster's node, and what wrong ones are told."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from control_plane.cluster import certs
from control_plane.config import ConfigError, load
from tests.e2e.harness.cluster import DevCluster, free_base
from tests.e2e.harness.ports import free_port


async def pysfu(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    pipe = asyncio.subprocess.PIPE
    paths = os.pathsep.join(path for path in sys.path if path)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pysfu", *arguments),
        stdout=pipe,
        stderr=pipe,
        env={**os.environ, "PYTHONPATH": paths, **environment},
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    certs.make(["a", "b"], tmp_path)
    return tmp_path


def files(folder: Path, node: str = "a") -> dict[str, object]:
    return {
        "dev": True,
        "nats": ["nats://127.0.0.1:4222"],
        "cluster_ca": folder / "ca.pem",
        "cluster_cert": folder / f"{node}.pem",
        "cluster_key": folder / f"{node}.key",
    }


def test_a_node_announces_what_others_reach(folder: Path) -> None:
    settings = load(files(folder))
    assert settings.announced_ip() == "127.0.0.1"
    assert settings.cluster_bind() == "127.0.0.1:7891"
    assert settings.announced_cluster_address() == "127.0.0.1:7891"
    assert settings.announced_url() == "http://localhost:7880"
    told = load(files(folder) | {"external_ips": ["192.0.2.1"], "cluster_host": "::", "public_url": "https://x"})
    assert (told.announced_cluster_address(), told.cluster_bind()) == ("192.0.2.1:7891", "[::]:7891")
    assert told.announced_url() == "https://x"
    assert load(files(folder) | {"relay_ip": "2001:db8::1"}).announced_cluster_address() == "[2001:db8::1]:7891"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"cluster_key": None}, "cluster_key: needed with nats"),
        ({"cluster_ca": Path("/nonexistent")}, "cluster_ca: no file /nonexistent"),
        ({"nats": ["127.0.0.1"]}, "nats: '127.0.0.1' does not begin with nats://"),
        ({"nats_credentials": Path("/nonexistent")}, "nats_credentials: no file"),
        ({"node_id": "Not An Id"}, "'Not An Id' is no node id"),
        ({"cluster_address": "host"}, "cluster_address: 'host' is not host:port"),
        ({"relay_ip": "nowhere"}, "'nowhere' is no IP address"),
        ({"fan_out": 0}, "fan_out: "),
        ({"dev": False, "keys": {"k": "s" * 32}}, "relay_ip: needed in a cluster"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_faults_are_named(folder: Path, change: dict[str, object], named: str) -> None:
    given = {name: value for name, value in (files(folder) | change).items() if value is not None}
    with pytest.raises(ConfigError) as refused:
        load(given)
    assert named in str(refused.value)


async def test_certificates_are_made(tmp_path: Path) -> None:
    code, out, _ = await pysfu("cluster", "certs", "one", "two", "--out", str(tmp_path / "certs"))
    assert code == 0
    assert "one, two" in out
    made = tmp_path / "certs"
    assert certs.load(made / "ca.pem", made / "two.pem", made / "two.key").node == "two"
    code, _, err = await pysfu("cluster", "certs", "ONE", "--out", str(tmp_path / "certs"))
    assert (code, "is no node id" in err) == (1, True)
    code, _, err = await pysfu("cluster", "certs", "one", "--out", "/proc/nowhere")
    assert (code, err.startswith("pysfu: /proc/nowhere")) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--cluster-key", "b.key"], "is not the key of"),
        (["--cluster-cert", "b.pem", "--cluster-key", "b.key", "--node-id", "a"], "node_id: 'a' is not the node of"),
        (["--cluster-ca", "other/ca.pem"], "was not signed by"),
    ],
    ids=["key", "identity", "authority"],
)
async def test_a_node_with_a_wrong_certificate_does_not_start(folder: Path, arguments: list[str], named: str) -> None:
    certs.make(["x"], folder / "other")
    given = {"--cluster-ca": "ca.pem", "--cluster-cert": "a.pem", "--cluster-key": "a.key", "--nats": "nats://x:1"}
    given |= dict(zip(arguments[::2], arguments[1::2], strict=True))
    line = [part for name, value in given.items() for part in (name, str(folder / value) if "." in value else value)]
    line = [part.replace(f"{folder}/nats:/", "nats:/") for part in line]
    ports = [part for name in ("--http-port", "--grpc-port") for part in (name, str(free_port()))]
    code, _, err = await pysfu("serve", "--dev", "--workers", "1", "--udp-port", "0", *ports, *line)
    assert code == 1, err
    assert named in err.splitlines()[-1], err
    assert "Traceback" not in err


async def test_a_taken_port_is_named() -> None:
    base = free_base(2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", base + 110))
        taken.listen()
        code, _, err = await pysfu("cluster", "dev", "--http-port", str(base))
    assert (code, err) == (
        1,
        f"pysfu: port {base + 110}, for gRPC of node-2, is taken: choose others with --http-port\n",
    )


async def test_a_missing_nats_server_is_named() -> None:
    code, _, err = await pysfu("cluster", "dev", "--http-port", str(free_base(2)), PATH="/nonexistent")
    assert (code, err) == (1, "pysfu: nats-server is not installed: apt-get install nats-server\n")


async def test_ports_that_there_are_not_are_named() -> None:
    code, _, err = await pysfu("cluster", "dev", "--nodes", "4", "--http-port", "65500")
    assert (code, "leaves no room for 4 nodes" in err) == (1, True)


async def test_a_cluster_of_one_machine_runs_and_ends() -> None:
    async with DevCluster(2, "--region", "eu", "--region", "us") as cluster:
        assert [line.partition(":")[0] for line in cluster.said[:2]] == ["node-1 (eu)", "node-2 (us)"]
        listed = await cluster.pysfu(0, "node", "list")
        assert [line.split()[:3] for line in listed.splitlines()[1:]] == [
            ["node-1", "eu", "ready"],
            ["node-2", "us", "ready"],
        ]
        await cluster.pysfu(0, "room", "create", "demo")
        where = await cluster.pysfu(1, "room", "where", "demo")
        assert where.split()[1:] == ["epoch", "1", "node-1"]
        pids = [cluster.pid(node) for node in range(2)]
        assert cluster.process is not None
    for pid in pids:
        assert not runs(pid)


async def test_a_node_that_ends_ends_the_others() -> None:
    cluster = DevCluster(2)
    await cluster.__aenter__()
    pids = [cluster.pid(node) for node in range(2)]
    os.kill(pids[1], signal.SIGKILL)
    assert cluster.process is not None
    assert await asyncio.wait_for(cluster.process.wait(), 30) == 1
    assert cluster.process.stdout is not None
    assert b"node-2 has ended with -9" in await cluster.process.stdout.read()
    assert not runs(pids[0])
    cluster.cleanup()
