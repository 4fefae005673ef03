"""Clusters of real nodes in network namespaces, small: what participants notice when something goes wrong.

`make bench-cluster` measures the same, larger and longer, and holds it against the goals. Here only what no busy
machine may excuse is asked for: nobody is lost, nobody is told of who is not there, everyone has everything in the
end.
"""

import pytest

from bench.cluster.lab.programs import Programs
from bench.cluster.scenarios import audience, beyond, bus, drain, failover, partition, paths, restart, spanning

pytestmark = [pytest.mark.usefixtures("paths"), pytest.mark.timeout(180)]


def tell(_: str) -> None:
    """Nobody watches."""


async def test_a_room_spans_nodes_in_three_regions_with_losses(built: Programs) -> None:
    found = await spanning.run(built, seconds=3)
    assert found["missing"] == []
    # Paths lose 1 to 3 % each way.
    assert found["lost"] < 0.005


async def test_media_goes_around_a_path_that_is_cut_and_nobody_leaves(built: Programs) -> None:
    found = await paths.run(built, tell=tell, cuts=[("a", "c")])
    assert found["left"] == []
    assert found["rejoins"] == 0
    assert found["reroute_ms"]["max"] < 3_500, found


async def test_who_joins_beyond_a_cut_path_is_seen_and_heard_and_nobody_leaves_when_it_is_well(built: Programs) -> None:
    found = await beyond.run(built, tell=tell)
    assert found["first_ms"] < 6_000, found
    assert found["joined_ms"] < 3_000, found
    assert (found["gone"], found["silent"], found["rejoins"]) == ([], [], 0)


async def test_who_was_on_a_node_that_is_killed_comes_back(built: Programs) -> None:
    found = await failover.run(built, tell=tell, victims=20)
    assert found["victims"] == 20
    assert found["missing"] == [], found
    assert (found["returned"], found["ghosts"]) == (1.0, 0), found
    # It did happen.
    assert found["gap_ms"]["p50"] > 100


@pytest.mark.parametrize("far", [False, True], ids=["near", "far"])
async def test_a_drained_node_loses_nobody(built: Programs, far: bool) -> None:
    found = await drain.run(built, tell=tell, rooms=6, far=far)
    assert found["participants"] > 0
    assert found["missing"] == []
    assert (found["left"], found["dropped"], found["rejoined"]) == (0, 0, 0), found
    assert found["moved"] >= found["participants"]


async def test_the_bus_is_away_for_ten_seconds_and_nobody_notices(built: Programs) -> None:
    found = await bus.run(built, tell=tell, seconds=10)
    assert found["packets_lost"] == 0
    assert found["joins"] > 5
    assert found["joins_failed"] == 0, found["failures"]
    assert found["refused"] == ["UNAVAILABLE"]
    assert (found["left"], found["rejoins"]) == ([], 0)
    assert found["normal_s"] < 10


async def test_split_brains_leave_no_ghosts_and_delete_nothing(built: Programs) -> None:
    found = await partition.run(built, tell=tell, runs=3, longest=6.0)
    assert (found["ghosts"], found["deleted"], found["not_healed"]) == ([], [], [])


async def test_a_node_is_restarted_and_serves_again(built: Programs) -> None:
    found = await restart.run(built, tell=tell)
    assert found["exit"] == 0


async def test_clocks_may_be_an_hour_off(built: Programs) -> None:
    found = await restart.clock(built, tell=tell)
    assert found["missing"] == []


async def test_one_publisher_has_viewers_at_three_nodes(built: Programs) -> None:
    found = await audience.run(built, tell=tell, steps=(4,), seconds=2)
    (step,) = found["steps"]
    assert step["viewers"] == 12
    assert step["loss"] < 0.01
    assert step["delivered_pps"] > 600
