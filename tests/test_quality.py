"""The quality side-by-side: what is made of samples, the page, and a quick run of the engine's part."""

import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench.quality import report
from bench.quality.goals import GOALS, at_least, at_most, goal_of
from bench.quality.rows import Sample, Series, interval, quantile, reduce

ROOT = Path(__file__).parents[1]
ABOUT = {
    "engine": {
        "commit": "0123456789abcdef",
        "dirty": False,
        "date": "2026-01-01T00:00:00+00:00",
        "minutes": 1.5,
        "seeds": 10,
        "quick": False,
    }
}
KEYS = {"scenario", "peer", "metric", "unit", "goal", "median", "interval", "worst", "seeds", "pass"}
# Tags without an end.
VOID = {"meta", "br", "line", "circle", "path", "rect"}


def sample(value: float, seed: int = 1, **more: str) -> Sample:
    told: dict[str, Any] = {"scenario": "q2-10-1-10", "variant": "", "peer": "engine", "metric": "top_layer_again"}
    return Sample(**(told | more), unit="s", seed=seed, value=value)


def test_rows_are_medians_judged_by_the_goal() -> None:
    samples = [sample(value, seed) for seed, value in enumerate([1.0, 2.0, 3.0, 4.0, 9.0], 1)]
    (row,) = reduce(samples)
    # The goal is that of the 95th percentile.
    assert (row.median, row.judged, row.met, row.worst, row.seeds) == (3.0, 9.0, False, 9.0, 5)
    assert row.as_json() == {
        "scenario": "q2-10-1-10",
        "peer": "engine",
        "metric": "top_layer_again",
        "unit": "s",
        "goal": "≤ 5 s (p95)",
        "median": 3.0,
        "interval": [1.0, 9.0],
        "worst": 9.0,
        "seeds": 5,
        "pass": False,
    }


def test_what_never_came_is_null_and_fails() -> None:
    (row,) = reduce([sample(math.inf)])
    told = row.as_json()
    assert (told["median"], told["interval"], told["pass"]) == (None, [None, None], False)
    json.dumps(told, allow_nan=False)


def test_variants_and_peers_have_rows_of_their_own_and_other_metrics_no_goal() -> None:
    rows = reduce([sample(1.0), sample(2.0, variant="rtx"), sample(3.0, peer="janus"), sample(4.0, metric="other")])
    assert [(row.variant, row.peer, row.met) for row in rows] == [
        ("", "engine", True),
        ("rtx", "engine", None),
        ("", "janus", True),
        ("", "engine", None),
    ]
    assert rows[1].as_json()["scenario"] == "q2-10-1-10 (rtx)"


@pytest.mark.parametrize(
    ("count", "low", "high"), [(1, 0, 0), (2, 0, 1), (5, 0, 4), (6, 0, 5), (10, 1, 8), (20, 5, 14), (100, 39, 60)]
)
def test_intervals_are_binomial_ranks(count: int, low: int, high: int) -> None:
    assert interval(range(count)) == (low, high)
    if count >= 6:
        inside = sum(math.comb(count, below) for below in range(low + 1, high + 1)) / 2**count
        assert inside >= 0.95


def test_quantiles() -> None:
    assert [quantile([3.0, 1.0, 2.0], share) for share in (0.0, 0.5, 0.95)] == [1.0, 2.0, 3.0]


def test_goals() -> None:
    assert at_most(80).holds(80)
    assert not at_most(80).holds(80.1)
    assert at_least(85).text("%") == "≥ 85 %"
    # The special one stands before the general one.
    assert goal_of("q3-20pct-50ms", "", "use") == at_least(60)
    assert goal_of("q3-10pct-50ms", "", "use") == at_least(85)
    assert goal_of("q8-rtts", "", "jain") == at_least(0.85)
    assert goal_of("q1-5.1-50ms", "no jitter", "use") is None
    assert len({(pattern, variant, metric) for pattern, variant, metric, _ in GOALS}) == len(GOALS)


class Balance(HTMLParser):
    """Every tag that begins ends."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def check_page(page: str) -> None:
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    # Nothing is fetched from elsewhere.
    assert not re.search(r"(?:src|href)=[\"'](?!#)|@import|url\(", page)


def test_page_shows_peers_side_by_side() -> None:
    samples = [sample(1.0), sample(7.0, peer="pysfu"), sample(math.inf, peer="janus"), sample(3.0, metric="freeze")]
    times = [index / 10 for index in range(1, 1_001)]
    names = [("capacity", "bit/s", math.nan), ("estimate", "bit/s", 1e6), ("queue", "ms", 5.0), ("layer", "", 2.0)]
    series = [
        Series("q2-10-1-10", "", peer, 1, name, unit, times, [value] * 1_000)
        for peer in ("engine", "janus")
        for name, unit, value in names
    ]
    page = report.render(reduce(samples), series, ABOUT)
    check_page(page)
    assert "pysfu, simulated" in page
    assert "Janus, browsers" in page
    assert '<span class="met">1.00 s</span>' in page
    assert '<span class="missed">never</span>' in page
    assert page.count("<svg") == 6


@pytest.mark.timeout(900)  # The first builds the simulator.
def test_quick_run_of_the_engine(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.quality", "--quick", "--engine-only", "--debug", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "quality.json").read_text())
    rows = [row for row in rows if row["peer"] == "engine"]
    assert all(set(row) == KEYS for row in rows)
    assert {row["scenario"][:2] for row in rows} == {f"q{number}" for number in range(1, 9)}
    for row in rows:
        assert row["seeds"] == 1
        assert row["pass"] in {True, False, None}
        assert (row["pass"] is None) == (row["goal"] == "")
    page = (tmp_path / "quality.html").read_text()
    check_page(page)
    assert "a quick run" in page
