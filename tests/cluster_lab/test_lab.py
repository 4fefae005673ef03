"""The lab itself, with nodes that know nothing of each other: who reaches whom, what is heard, what is left."""

import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path

import pytest

from bench.cluster.lab import namespaces
from bench.cluster.lab.clients import Clients, Meeting, heard
from bench.cluster.lab.mesh import Route
from bench.cluster.lab.nodes import get
from bench.cluster.lab.processes import Child, LabError
from bench.cluster.lab.programs import Programs
from bench.cluster.lab.wait import until
from bench.cluster.lab.world import Lab, Plan, clients_of

ALONE = Plan(regions={"a": "here"}, clients=["here"], bus=False)


def test_namespaces_are_used_where_this_is_root() -> None:
    assert os.geteuid() != 0 or namespaces.refusal() == ""


@pytest.mark.usefixtures("paths")
async def test_paths_have_delays_and_can_be_cut_one_way(built: Programs) -> None:
    plan = Plan(
        regions={"a": "near", "b": "far"},
        paths={frozenset({"near", "far"}): Route(delay_ms=50)},
        clients=["near"],
        bus=False,
    )
    async with Lab(plan, built) as lab:
        space = lab.places[clients_of("near")][1]
        taken = {}
        for node in lab.nodes.values():
            begun = time.monotonic()
            assert (await get(space, node.address, 7880, "/readyz"))[0] == 200
            taken[node.name] = time.monotonic() - begun
        # A connection takes a round trip, the answer another.
        assert taken["a"] < 0.1
        assert 0.2 <= taken["b"] < 0.4
        await lab.net.cut("b", clients_of("near"), one_way=True)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(get(space, lab.nodes["b"].address, 7880, "/readyz"), 0.5)
        await lab.net.heal("b", clients_of("near"))
        assert (await get(space, lab.nodes["b"].address, 7880, "/readyz"))[0] == 200
    # What was lost was the other way.
    assert lab.net.totals["b", clients_of("near")]["up"]["lost"] > 0
    assert lab.net.totals["b", clients_of("near")]["down"]["lost"] == 0


async def test_who_is_thrown_out_comes_back_and_tells_how_long_it_heard_nothing(built: Programs) -> None:
    async with Lab(ALONE, built) as lab:
        node = lab.nodes["a"]
        async with Clients(lab, "here", Meeting("back", rooms=range(2), cameras=1), [node]) as clients:
            await clients.until(heard)
            await clients.report()
            await asyncio.sleep(1)
            quiet = await clients.report()
            assert [(one.present, one.audio.streams, one.video.streams) for one in quiet.participants] == [
                (True, 1, 0),
                (True, 1, 1),
            ] * 2
            assert all(one.audio.gap_ms < 500 and 20 < one.audio.packets < 80 for one in quiet.participants)
            assert all(one.video.packets > 20 for one in quiet.participants[1::2])
            assert quiet.counts["lost_audio"] == quiet.counts["lost_video"] == 0
            await node.kill()
            await asyncio.sleep(1)
            gone = await clients.report()
            assert not any(one.present for one in gone.participants)
            assert all(one.audio.streams == 0 and one.audio.silent_ms > 900 for one in gone.participants)
            await node.start()
            await clients.until(heard)
            back = await clients.report()
            assert all(one.present and one.rejoins == 1 and one.failures > 0 for one in back.participants)
            assert all((one.away_ms or 0) > 1_000 for one in back.participants)


async def test_nothing_is_left_after_a_failure(built: Programs) -> None:
    before = leftovers()

    async def fail() -> None:
        async with Lab(ALONE, built) as lab, Clients(lab, "here", Meeting("left"), [lab.nodes["a"]]):
            assert leftovers() != before
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert leftovers() == before
    # A node that does not start takes the rest with it.
    with pytest.raises(LabError, match="udp_port"):
        async with Lab(Plan(regions={"a": "x", "b": "y"}, bus=False, per_node={"b": {"udp_port": "-1"}}), built):
            pass
    assert leftovers() == before


async def test_children_end_with_the_lab_even_when_it_is_killed(built: Programs, tmp_path: Path) -> None:
    script = tmp_path / "lab.py"
    script.write_text(
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from bench.cluster.lab.programs import Programs\n"
        "from bench.cluster.lab.world import Lab, Plan\n"
        "async def main():\n"
        f"    programs = Programs(load=Path({str(built.load)!r}), netem=Path({str(built.netem)!r}))\n"
        "    async with Lab(Plan(regions={'a': 'x'}, bus=False), programs) as lab:\n"
        "        print(lab.nodes['a'].pid, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    lab = Child("victim", [sys.executable, script], pipes=True)
    await lab.start()
    try:
        assert lab.process is not None
        assert lab.process.stdout is not None
        pid = int(await asyncio.wait_for(lab.process.stdout.readline(), 30))
        assert not has_ended(pid)
        lab.process.kill()
        await lab.process.wait()
        await until(lambda: has_ended(pid))
    finally:
        await lab.close()


def has_ended(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    return True


def leftovers() -> set[str]:
    """Processes and devices of labs."""
    devices = {name for name in os.listdir("/sys/class/net") if name.startswith("lab")}
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    spaces = {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_namespace(fd)}
    return devices | set(children) | spaces


def _is_namespace(fd: str) -> bool:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/self/fd/{fd}").startswith("net:")
    return False
