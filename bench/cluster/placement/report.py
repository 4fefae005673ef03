"""The report page of placement: goals, then how the day went."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any, Final

import numpy as np

from bench.cluster.placement.figures import ORDINARY, Figure
from bench.cluster.placement.simulation import REGIONS, STEP, Result, Scenario
from bench.common import svg
from bench.common.style import STYLE
from bench.common.svg import Axis, Line

Day = tuple[Result, Sequence[Figure]]

THEME: Final = """
:root{--fails:#c2620c;--near:#4f5bd5;--others:#b6bdc9}
@media(prefers-color-scheme:dark){:root{--fails:#f59e4b;--near:#8f9bff;--others:#566072}}
main{max-width:1180px}section>p{margin:0 0 14px;max-width:88ch;color:var(--faint)}
.line.s-fails{stroke:var(--fails)}.line.s-near{stroke:var(--near)}.line.s-others{stroke:var(--others);stroke-width:1.3}
.bar.s-near{fill:var(--near)}
i.s-fails{background:var(--fails)}i.s-near{background:var(--near)}i.s-others{background:var(--others)}
td .faint{font-size:12.5px}.pair+.pair{margin-top:22px}
"""
HOURS: Final = Axis("hour (UTC)", 0.0, 24.0, ticks=(0, 3, 6, 9, 12, 15, 18, 21, 24))


def render(about: Mapping[str, Any], scenario: Scenario, day: Day, beside: Day) -> str:
    """The page. `beside`: the same day placed by name alone."""
    body = "\n".join((_head(about), _goals(day, beside), _load(scenario, day[0]), _moves(day, beside, scenario)))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>pysfu: placement</title>\n<style>{STYLE}{THEME}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _head(about: Mapping[str, Any]) -> str:
    changed = " with changes" if about["dirty"] else ""
    quick = '<p class="warning">A quick run of a smaller cluster.</p>' if about["quick"] else ""
    return (
        f"<header><h1>Placement</h1><p>A day of {about['rooms']:,} rooms with {about['participants']:,} participants "
        f"on {about['nodes']:,} nodes in {len(REGIONS)} regions, simulated through the costs that nodes place by. Each "
        "region works in its own daytime; one of them dies at its busiest and is back an hour later. "
        "<code>make bench-placement</code></p>"
        f'<p class="faint">Nodes for {about["capacity"]} participants each, seed {about["seed"]}. '
        f"Commit {escape(about['commit'][:12])}{changed}, {escape(about['date'])}.</p>{quick}</header>"
    )


def _goals(day: Day, beside: Day) -> str:
    others = {figure.name: figure for figure in beside[1]}
    judged = [figure for figure in day[1] if figure.goal is not None]
    rows = "".join(
        f"<tr><td>{escape(figure.what)}<div class='faint'><code>{figure.name}</code></div></td>"
        f'<td class="number">{_goal(figure)}</td><td class="number">{_value(figure)}</td>'
        f'<td class="number faint">{_plain(others[figure.name])}</td></tr>'
        for figure in day[1]
    )
    met = sum(figure.met is True for figure in judged)
    return (
        f"<section><h2>Goals <small>{met} of {len(judged)} met</small></h2>"
        "<p>Beside it the same day by name alone: everybody goes to the node that holds the room, the first one to the "
        "nearest region's node of the room's name.</p>"
        '<table><thead><tr><th>What</th><th class="number">Goal</th><th class="number">Measured</th>'
        f'<th class="number">By name</th></tr></thead><tbody>{rows}</tbody></table></section>'
    )


def _goal(figure: Figure) -> str:
    if figure.goal is None:
        return ""
    if not figure.percent:
        return escape(figure.goal.text(figure.unit))
    least, most = figure.goal.least, figure.goal.most
    return f"≥ {100 * least:g} %" if least is not None else f"≤ {100 * (most or 0):g} %"


def _plain(figure: Figure) -> str:
    if not math.isfinite(figure.value):
        return "never"
    if figure.percent:
        return f"{100 * figure.value:.2f} %"
    digits = 0 if figure.value == round(figure.value) else 2
    return f"{figure.value:,.{digits}f}{' ' + escape(figure.unit) if figure.unit else ''}"


def _value(figure: Figure) -> str:
    if figure.met is None:
        return _plain(figure)
    return f'<span class="{"met" if figure.met else "missed"}">{_plain(figure)}</span>'


def _load(scenario: Scenario, result: Result) -> str:
    """How full regions are, and how evenly."""
    fails = scenario.fails[0] if scenario.fails else ""
    near = [name for name in sorted(result.fled, key=lambda name: -result.fled[name])[:2] if name != fails]
    used = np.array(result.used)
    names = sorted(REGIONS, key=lambda name: (name == fails, name in near))
    series = []
    for name in names:
        values = used[:, list(REGIONS).index(name)]
        colour = "s-fails" if name == fails else "s-near" if name in near else "s-others"
        # It is not drawn while it is away.
        series += [Line(colour, part, marks=False) for part in _parts(result.hours, values)]
    legend = _legend([("s-fails", f"{fails}, which fails"), ("s-near", " and ".join(near)), ("s-others", "others")])
    shares = Axis("used", 0.0, 1.0, ticks=(0, 0.25, 0.5, 0.75, 1.0))
    first = _figure(
        svg.lines(HOURS, shares, series, limits=[(0.9, "full: nobody is sent there")], name="used share by region"),
        "Mean used share of each region's nodes.",
    )
    top = 3.0
    balance = [Line("s-pysfu", part, marks=False) for part in _parts(result.hours, result.imbalance)]
    second = _figure(
        svg.lines(
            HOURS, Axis("p99 over mean", 1.0, top), balance, limits=[(2.0, "goal of the median")], name="balance"
        ),
        "The fullest 1 % of nodes over the mean of their region; the worst busy region.",
    )
    return (
        "<section><h2>Load <small>by region and by node</small></h2>"
        "<p>Balance is not meant to be perfect: a room of hundreds fills the nodes that it is on rather than being "
        "spread thinly over all.</p>"
        f"{legend}<div class='pair'>{first}{second}</div></section>"
    )


def _moves(day: Day, beside: Day, scenario: Scenario) -> str:
    """Who is served from elsewhere, who had to move and who was refused."""
    result, other = day[0], beside[0]
    top = min(1.0, max(*result.away, *other.away) * 1.1)
    away = [
        Line("s-others", [(h, v, "") for h, v in zip(other.hours, other.away, strict=True)], marks=False),
        Line("s-pysfu", [(h, v, "") for h, v in zip(result.hours, result.away, strict=True)], marks=False),
    ]
    first = _figure(
        svg.lines(
            HOURS, Axis("share", 0.0, top), away, limits=[(ORDINARY, "goal without a failure")], name="served elsewhere"
        ),
        "Of those who are placed: who is served from another region than their own.",
    )
    most = max(1, *result.moves, *result.refusals, *result.again)
    counts = Axis("in five minutes", 1.0, 10.0 ** math.ceil(math.log10(most)), logarithmic=True)
    second = _figure(
        svg.lines(
            HOURS,
            counts,
            [
                Line("s-near", _floor(result, result.again), marks=False),
                Line("s-janus", _floor(result, result.refusals), marks=False),
                Line("s-pysfu", _floor(result, result.moves), marks=False),
            ],
            name="moves and refusals",
        ),
        "Participants moved and refused, and placements made again; 1 and less are drawn at the bottom. "
        "Nobody moves but those whose node failed.",
    )
    legends = (
        _legend([("s-pysfu", "placement"), ("s-others", "by name alone")]),
        _legend([("s-pysfu", "moved"), ("s-janus", "refused"), ("s-near", "placed again")]),
    )
    fled = _fled(result, scenario)
    return (
        "<section><h2>Where people are served <small>and what a region's failure does</small></h2>"
        f"<div class='pair'><div>{legends[0]}{first}</div><div>{legends[1]}{second}</div></div>{fled}</section>"
    )


def _fled(result: Result, scenario: Scenario) -> str:
    if scenario.fails is None or not result.fled:
        return ""
    rows = [
        (name, [("s-near", count / 1e3, f"{name}: {count:,}")])
        for name, count in sorted(result.fled.items(), key=lambda item: -item[1])
    ]
    chart = svg.bars(rows, "k", name="where they went")
    text = f"Where the {result.failed:,} participants of {scenario.fails[0]} went when it failed, thousands."
    return f"<h3>{escape(text)}</h3><div class='single'><figure>{chart}</figure></div>"


def _parts(hours: Sequence[float], values: Any) -> list[list[tuple[float, float, str]]]:
    """Runs of points that are numbers."""
    points = [(hour, float(value), "") for hour, value in zip(hours, values, strict=True) if math.isfinite(value)]
    if not points:
        return []
    parts = [[points[0]]]
    for before, point in pairwise(points):
        if point[0] - before[0] > 1.5 * STEP:
            parts.append([])
        parts[-1].append(point)
    return parts


def _floor(result: Result, counts: Sequence[int]) -> list[tuple[float, float, str]]:
    return [(hour, max(float(count), 1.0), "") for hour, count in zip(result.hours, counts, strict=True)]


def _figure(chart: str, caption: str) -> str:
    return f"<figure>{chart}<figcaption>{escape(caption)}</figcaption></figure>"


def _legend(items: Sequence[tuple[str, str]]) -> str:
    spans = "".join(f'<span><i class="{colour}"></i>{escape(text)}</span>' for colour, text in items)
    return f'<div class="legend">{spans}</div>'
