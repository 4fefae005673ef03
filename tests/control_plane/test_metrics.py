"""What Prometheus sees: distributions of the moment without labels of rooms or people, each explained."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric

from control_plane.cluster.cascade.cascade import Cascade
from control_plane.cluster.cluster import Cluster
from control_plane.cluster.link_figures import LinkFigures, LinkMeter
from control_plane.cluster.load import Capacity, Load
from control_plane.cluster.metrics import LINK_COUNTS, cascade, cluster, links
from control_plane.cluster.moving.kept import Kept
from control_plane.cluster.registry import NODE_STATES, NodeInfo
from control_plane.measure import FreezeCounts, deliveries, freeze_counts
from control_plane.metrics import GAUGES, downlinks, shares, videos
from pysfu.stats import DTYPES, FEEDBACK, LIMITED_BY, PAUSE_REASONS, name_of
from tests.control_plane.recording import Snapshot, rows

NODES = [
    NodeInfo("a", 1, "a:1"),
    NodeInfo("b", 1, "b:1", draining=True),
    NodeInfo("c", 1, "c:1"),
    NodeInfo("d", 1, "d:1", protocol=0, draining=True),
]
SEEN = SimpleNamespace(
    registry=SimpleNamespace(nodes=lambda: NODES, is_suspected=lambda node: node == "c", sees=True),
    is_connected=True,
    directory=SimpleNamespace(records=lambda: [1, 2]),
    through=SimpleNamespace(calls=3),
    moving=SimpleNamespace(kept=Kept()),
    keeping=SimpleNamespace(untold=1),
)
CASCADE = SimpleNamespace(
    peers={
        "b": SimpleNamespace(id="b", is_open=True, streams=1, dropped_events=0, round_trip=0.08, third="d"),
        "c": SimpleNamespace(id="c", is_open=False, streams=3, dropped_events=5, round_trip=None, third=None),
    },
    mirrors=SimpleNamespace(
        all=lambda: [
            SimpleNamespace(handle=1, route=("b",)),
            SimpleNamespace(handle=2, route=("c", "b")),
            SimpleNamespace(handle=None, route=()),
        ]
    ),
)
DOCUMENT = Path(__file__).parents[2] / "docs/metrics.md"


def _text_name(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def samples(metrics: Any) -> dict[str, float]:
    """As the text format names them."""

    class Once:
        def collect(self) -> list[Metric]:
            return list(metrics)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Once())
    lines = generate_latest(registry).decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_paths_are_counted_by_what_limits_them() -> None:
    by_delay = {"peer": 1, "feedback": 1, "limited_by": 2, "estimate_bps": 400e3, "allocated_bps": 1, "desired_bps": 2}
    by_remb = {"peer": 2, "feedback": 3, "limited_by": 4, "estimate_bps": 2e6, "rtt_ms": 40, "loss": 0.03}
    silent = {"peer": 3, "estimate_bps": 9e9}
    found = samples(downlinks(rows("downlinks", by_delay, by_remb, silent)))
    assert found['pysfu_downlinks{feedback="transport-wide",limited_by="delay"}'] == 1
    assert found['pysfu_downlinks{feedback="remb",limited_by="receiver"}'] == 1
    assert sum(value for name, value in found.items() if name.startswith("pysfu_downlinks{")) == 2
    estimates = [found[f'pysfu_downlink_estimate_bps_bucket{{le="{le}"}}'] for le in ("300000", "600000", "+Inf")]
    assert estimates == [0, 1, 2]
    assert found['pysfu_downlink_allocated_ratio_bucket{le="0.5"}'] == 2
    assert found['pysfu_downlink_loss_ratio_bucket{le="0.02"}'] == 1
    # A round trip that is not known is none of no time.
    assert found['pysfu_downlink_rtt_seconds_bucket{le="+Inf"}'] == 1


def test_videos_are_counted_by_layer_and_reason() -> None:
    found = samples(
        videos(
            rows(
                "subscriptions",
                {"is_video": 1, "spatial": 2, "target_spatial": 2},
                {"is_video": 1, "spatial": 7, "target_spatial": 0, "frozen_ms": 300},
                {"is_video": 1, "spatial": -1, "target_spatial": -1, "pause_reason": 2},
                {"is_video": 1, "spatial": -1, "target_spatial": -1, "pause_reason": 1},
                {"is_video": 0, "spatial": 0},
            )
        )
    )
    assert [found[f'pysfu_videos{{spatial="{layer}"}}'] for layer in ("0", "1", "2", "3+")] == [0, 0, 1, 1]
    assert found['pysfu_videos_paused{reason="bandwidth"}'] == found['pysfu_videos_paused{reason="asked"}'] == 1
    assert (found["pysfu_videos_switching"], found["pysfu_videos_frozen"]) == (1, 1)


def test_no_metric_grows_with_the_people() -> None:
    def crowd(people: int) -> list[dict[str, int]]:
        return [{"peer": n, "feedback": 1 + n % 3, "limited_by": 1 + n % 5} for n in range(people)]

    one, other = (samples(downlinks(rows("downlinks", *crowd(people)))) for people in (2, 5_000))
    assert one.keys() == other.keys()
    assert len(one) < 120


def test_every_metric_is_explained() -> None:
    text = DOCUMENT.read_text()
    explained = set(re.findall(r"^\| `(pysfu_\w+)`", text, re.MULTILINE))
    columns = [name for table in ("workers", "io") for name in DTYPES[table].names or () if name != "worker"]
    told = {f"pysfu_{name}" if name in GAUGES else f"pysfu_{name}_total" for name in columns}
    told |= {metric.name for metric in [*downlinks(rows("downlinks")), *videos(rows("subscriptions"))]}
    told |= {metric.name for metric in [*shares({"cpu": 0.5}), *cluster(cast("Cluster", SEEN))]}
    told |= {metric.name for metric in links(rows("links"), {}) if metric.type == "gauge"}
    told |= {f"pysfu_link_{name}_total" for name in LINK_COUNTS}
    told |= {_text_name(metric) for metric in cascade(cast("Cascade", CASCADE))}
    told |= {"pysfu_build_info", "pysfu_rooms", "pysfu_participants", "pysfu_draining"}
    assert told == explained


@pytest.mark.parametrize(
    ("capacity", "load", "expected"),
    [
        pytest.param(Capacity(200), Load(0.5, 9e4, 8e8), {"cpu": 0.5, "participants": 0.25}, id="what is not known"),
        pytest.param(
            Capacity(200, 100_000, 1_000_000_000),
            Load(0.5, 90_000, 8e8),
            {"cpu": 0.5, "participants": 0.25, "packets": 0.9, "egress": 0.8},
            id="all is known",
        ),
        pytest.param(Capacity(0), Load(), {"cpu": 0.0, "participants": 50.0}, id="takes nobody"),
    ],
)
def test_a_node_is_as_full_as_its_scarcest_part(capacity: Capacity, load: Load, expected: dict[str, float]) -> None:
    found = capacity.shares(load, participants=50)
    assert found == expected
    told = samples(shares(found))
    assert told["pysfu_node_used_ratio"] == max(expected.values())
    assert told['pysfu_node_load_ratio{resource="cpu"}'] == load.cpu


def test_nodes_are_counted_by_state() -> None:
    found = samples(cluster(cast("Cluster", SEEN)))
    states = {state: found[f'pysfu_cluster_nodes{{state="{state}"}}'] for state in NODE_STATES}
    assert states == {"ready": 1, "draining": 1, "suspected": 1, "refused": 1}
    assert found["pysfu_cluster_connected"] == 1
    assert found["pysfu_cluster_rooms_held"] == 2
    assert found["pysfu_cluster_passing_on"] == 3


def test_streams_and_ways_are_told() -> None:
    found = samples(cascade(cast("Cascade", CASCADE)))
    assert [found[f'pysfu_cascade_streams{{node="{node}"}}'] for node in "bc"] == [1, 0]
    assert found['pysfu_cascade_streams_opened_total{node="c"}'] == 3
    assert found['pysfu_cascade_dropped_total{node="c"}'] == 5
    assert found['pysfu_cascade_around{node="b",third="d"}'] == 1
    assert not any(name.startswith('pysfu_cascade_around{node="c"') for name in found)
    assert found['pysfu_cascade_rtt_seconds{node="b"}'] == 0.08
    assert 'pysfu_cascade_rtt_seconds{node="c"}' not in found
    tracks = ("pysfu_cascade_tracks", "pysfu_cascade_tracks_missing", "pysfu_cascade_tracks_relayed")
    assert [found[name] for name in tracks] == [3, 1, 1]


TWO_NODES = {11: "b", 12: "b", 13: "c"}
LINKS = (
    {"link": 11, "alive": 1, "rtt_ms": 80.0, "loss": 0.1, "media_sent": 100, "bytes_sent": 1_000, "mirrors": 2},
    {"link": 12, "alive": 0, "rtt_ms": 90.0, "loss": 0.5, "media_sent": 300, "bytes_sent": 5_000, "mirrors": 1},
    {"link": 13, "alive": 1, "bytes_sent": 10, "refused": 4},
)


def test_links_are_told_by_the_node_to_which_they_lead() -> None:
    found = samples(links(rows("links", *LINKS), TWO_NODES))
    assert [found[f'pysfu_links{{node="{node}"}}'] for node in "bc"] == [2, 1]
    assert [found[f'pysfu_links_alive{{node="{node}"}}'] for node in "bc"] == [1, 1]
    assert found['pysfu_link_mirrors{node="b"}'] == 3
    assert found['pysfu_link_rtt_seconds{node="b"}'] == 0.08
    assert found['pysfu_link_loss_ratio{node="b"}'] == pytest.approx(0.4)
    assert found['pysfu_link_bytes_sent_total{node="b"}'] == 6_000
    assert found['pysfu_link_refused_total{node="c"}'] == 4
    columns = {name for name in DTYPES["links"].names or () if name not in ("link", "worker")}
    assert columns == {*LINK_COUNTS, "alive", "mirrors", "rtt_ms", "loss", "burst"}, "what is new is told, too"


def test_rates_of_links_are_since_they_were_last_asked_for() -> None:
    now = 0.0
    snapshot = Snapshot()
    snapshot.links = rows("links", *LINKS)
    meter = LinkMeter(lambda: snapshot, lambda: now)
    streams = {"b": 70.0, "c": 140.0, "d": 20.0}
    now = 1.0
    first = meter.measure(TWO_NODES, streams)
    # What was sent before nobody looked has no rate; who has no link that knows has its stream's round trip.
    assert (first["b"].rtt_ms, first["b"].bps) == (80.0, 0.0)
    assert first["b"].loss == pytest.approx(0.4)
    assert (first["c"], first["d"]) == (LinkFigures(140.0), LinkFigures(20.0))
    snapshot.links = rows("links", *({**row, "bytes_sent": row["bytes_sent"] + 500} for row in LINKS))
    now = 1.2
    assert meter.measure(TWO_NODES, streams) == first, "asked too soon"
    now = 3.0
    assert meter.measure(TWO_NODES, streams)["b"].bps == 2 * 500 * 8 / 2
    # A link that is made anew begins at zero.
    snapshot.links = rows("links", LINKS[2])
    now = 4.0
    again = meter.measure({13: "c"}, {})
    assert again == {"c": LinkFigures(0.0, 0.0, 0.0)}


def test_a_delivery_is_what_happened_since_the_last_round() -> None:
    snapshot = Snapshot()
    empty = rows("subscriptions")
    video = {"peer": 5, "is_video": 1, "layer": 0}
    asked, starved = (video | {"subscription": n, "pause_reason": reason} for n, reason in ((3, 1), (4, 2)))
    snapshot.downlinks = rows("downlinks", {"peer": 5, "feedback": 1, "estimate_bps": 1e6, "desired_bps": 3e6})
    snapshot.subscriptions = rows("subscriptions", video | {"subscription": 2, "freeze_ms": 9_000.0}, asked, starved)
    first = deliveries(snapshot, freeze_counts(empty), 2.0)[5]
    # What is new has no past; what was asked to be paused is not missed.
    assert (first.wanted_bps, first.estimate_bps, first.frozen, first.paused) == (3e6, 1e6, 0.0, 0.5)
    before = freeze_counts(snapshot.subscriptions)
    snapshot.subscriptions = rows("subscriptions", video | {"subscription": 2, "freeze_ms": 9_500.0}, asked, starved)
    assert deliveries(snapshot, before, 2.0)[5].frozen == 0.125
    assert deliveries(Snapshot(), FreezeCounts(before.key[:0], before.freeze_ms[:0]), 2.0) == {}


def test_names_of_the_core_values() -> None:
    assert [name_of(FEEDBACK, 2), name_of(LIMITED_BY, 3), name_of(PAUSE_REASONS, 2)] == ["rfc8888", "loss", "bandwidth"]
    assert name_of(LIMITED_BY, 99) == "unknown"
