"""The report page: goals met and missed, the engine beside browsers and peers, and how each scenario went."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from bench.common import svg
from bench.common.style import STYLE
from bench.common.svg import Axis, Line
from bench.quality.rows import Row, Series
from bench.quality.texts import METRICS, PEERS, QUESTIONS
from bench.quality.theme import THEME

# Points of a line: more cannot be told apart.
POINTS = 240
RATES = ("capacity", "estimate", "allocated", "sent")


def render(rows: Sequence[Row], series: Sequence[Series], about: Mapping[str, Mapping[str, Any]]) -> str:
    """The page. `about` is by part ("engine", "browser"): machine, commit, date, minutes, seeds, quick."""
    peers = [peer for peer in PEERS if any(row.peer == peer for row in rows)]
    sections = [_head(about), _summary(rows, peers)]
    for question, (title, text) in QUESTIONS.items():
        mine = [row for row in rows if row.scenario.startswith(f"{question}-")]
        if mine:
            drawn = [one for one in series if one.scenario.startswith(f"{question}-")]
            sections.append(_question(question, title, text, mine, drawn, peers))
    body = "\n".join(sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>pysfu: media quality</title>\n<style>{STYLE}{THEME}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _head(about: Mapping[str, Mapping[str, Any]]) -> str:
    lines, warnings = [], []
    names = {"engine": "Engine in simulated time", "browser": "Real browsers through an emulator"}
    for part, told in about.items():
        changed = " with changes" if told["dirty"] else ""
        seeds = f"{told['seeds']} seed{'s' if told['seeds'] != 1 else ''} per scenario"
        lines.append(
            f"{names[part]}: {seeds}, commit {told['commit'][:12]}{changed}, {told['date']}, {told['minutes']:.1f} min."
        )
        if told["quick"]:
            warnings.append(f"{names[part]}: a quick run. It proves that everything works, its figures mean nothing.")
    runs = "".join(f'<p class="faint">{escape(line)}</p>' for line in lines)
    notes = "".join(f'<p class="warning">{escape(text)}</p>' for text in warnings)
    return (
        "<header><h1>Media quality</h1><p>What subscribers get over bad networks: bandwidth estimation, layers, "
        "loss recovery, audio. Medians over seeds, each with the interval that holds it with 95 % probability. "
        f"<code>make bench-quality</code></p>{runs}{notes}</header>"
    )


def _summary(rows: Sequence[Row], peers: Sequence[str]) -> str:
    """How many goals are met, by question and peer."""
    head = "".join(f'<th class="number">{escape(PEERS[peer])}</th>' for peer in peers)
    body = []
    for question, (title, _) in QUESTIONS.items():
        cells = []
        for peer in peers:
            judged = [row for row in rows if row.scenario.startswith(f"{question}-") and row.peer == peer]
            judged = [row for row in judged if row.met is not None]
            cells.append(f'<td class="number">{_share(judged)}</td>')
        body.append(
            f'<tr><td><a href="#{question}">{question.upper()}</a></td><td>{escape(title)}</td>{"".join(cells)}</tr>'
        )
    met = [row for row in rows if row.met]
    all_judged = [row for row in rows if row.met is not None]
    return (
        f"<section><h2>Goals <small>{len(met)} of {len(all_judged)} met</small></h2><table><thead><tr><th></th>"
        f"<th>Question</th>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></section>"
    )


def _share(judged: Sequence[Row]) -> str:
    if not judged:
        return '<span class="open">–</span>'
    met = sum(row.met is True for row in judged)
    kind = "met" if met == len(judged) else "missed" if met == 0 else "partly"
    return f'<span class="{kind}">{met} of {len(judged)}</span>'


def _question(
    question: str, title: str, text: str, rows: Sequence[Row], series: Sequence[Series], peers: Sequence[str]
) -> str:
    present = [peer for peer in peers if any(row.peer == peer for row in rows)]
    head = "".join(f'<th class="number">{escape(PEERS[peer])}</th>' for peer in present)
    body = []
    named = ""
    for scenario, variant, metric in _cells(row for row in rows if row.met is not None):
        cells = {
            row.peer: row for row in rows if (row.scenario, row.variant, row.metric) == (scenario, variant, metric)
        }
        first = next(iter(cells.values()))
        name = _name(scenario, variant)
        # The goal of the table's own variant also stands where a peer was not judged.
        shown = "" if name == named else escape(name)
        named = name
        values = "".join(f'<td class="number">{_value(cells.get(peer))}</td>' for peer in present)
        rule = ' class="begins"' if shown else ""
        body.append(
            f"<tr{rule}><td><code>{shown}</code></td><td>{escape(METRICS.get(metric, metric))}</td>"
            f'<td class="goal">{escape(first.goal)}</td>{values}</tr>'
        )
    table = (
        f"<table><thead><tr><th>Scenario</th><th>Metric</th><th>Goal</th>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table>"
    )
    details = "".join(
        _scenario(scenario, rows, series, opened=index == 0) for index, scenario in enumerate(_scenarios(rows))
    )
    return (
        f'<section id="{question}"><h2>{question.upper()} <small>{escape(title)}</small></h2><p>{escape(text)}</p>'
        f"{table}{details}</section>"
    )


def _cells(rows: Iterable[Row]) -> list[tuple[str, str, str]]:
    return list(dict.fromkeys((row.scenario, row.variant, row.metric) for row in rows))


def _scenarios(rows: Iterable[Row]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row.scenario, row.variant) for row in rows))


def _name(scenario: str, variant: str) -> str:
    return f"{scenario} ({variant})" if variant else scenario


def _value(row: Row | None) -> str:
    if row is None:
        return '<span class="open">–</span>'
    kind = {True: "met", False: "missed", None: "plain"}[row.met]
    low, high = row.interval
    between = "" if low == high else f"<small>{_number(low)} … {_number(high)}</small>"
    unit = f" {row.unit}" if row.unit and math.isfinite(row.judged) else ""
    return f'{between}<span class="{kind}">{_number(row.judged)}{escape(unit)}</span>'


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "never"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    text = f"{value:.{digits}f}"
    return "0" if float(text) == 0 else text


def _scenario(scenario: tuple[str, str], rows: Sequence[Row], series: Sequence[Series], *, opened: bool) -> str:
    """What else was measured, and how the first seed went."""
    name = _name(*scenario)
    mine = [row for row in rows if (row.scenario, row.variant) == scenario]
    others = [row for row in mine if row.met is None]
    facts = "".join(
        f'<div class="fact"><span>{escape(METRICS.get(row.metric, row.metric))}'
        f"{_peer(row.peer, mine)}</span>{_value(row)}</div>"
        for row in others
    )
    drawn = [one for one in series if (one.scenario, one.variant) == scenario]
    figures = "".join(_figures(peer, drawn, several=len({one.peer for one in drawn}) > 1) for peer in PEERS)
    if not facts and not figures:
        return ""
    pill = _share([row for row in mine if row.met is not None])
    state = " open" if opened else ""
    return (
        f"<details{state}><summary><code>{escape(name)}</code> {pill}</summary>"
        f'<div class="facts">{facts}</div>{figures}</details>'
    )


def _peer(peer: str, rows: Sequence[Row]) -> str:
    return f", {escape(PEERS[peer])}" if len({row.peer for row in rows}) > 1 else ""


def _figures(peer: str, series: Sequence[Series], *, several: bool) -> str:
    mine = [one for one in series if one.peer == peer]
    if not mine:
        return ""
    end = max((one.times[-1] for one in mine if one.times), default=1.0)
    x = Axis("time", 0.0, end, unit=" s")
    rates = [one for one in mine if one.unit == "bit/s"]
    queues = [one for one in mine if one.unit == "ms"]
    layers = [one for one in mine if one.name.startswith("layer")]
    figures = []
    if rates:
        # What is not limited has no capacity to show; a burst may leave the plot.
        tops = [_quantile([value for value in one.values if math.isfinite(value)], 0.97) for one in rates]
        y = Axis("rate", 0.0, max(*tops, 1.0) * 1.15 / 1e6, unit=" M")
        figures.append(_figure(x, y, [_line(one, _colour(one), 1e-6) for one in rates], "Mbit/s"))
    if queues:
        y = Axis("wait", 0.0, max(max(one.values, default=0.0) for one in queues) * 1.1 or 1.0, unit=" ms")
        figures.append(_figure(x, y, [_line(one, "s-queue", 1.0) for one in queues], "longest wait in the queue"))
    if layers:
        y = Axis("layer", -1.2, 2.2, ticks=(-1, 0, 1, 2))
        lines = [_line(one, "s-layer", 1.0, steps=True) for one in layers]
        figures.append(_figure(x, y, lines, "spatial layer shown; −1: none"))
    names = [name for name in RATES if any(one.name.startswith(name) for one in rates)]
    items = "".join(f'<span><i class="s-{name}"></i>{name}</span>' for name in names)
    title = f"<strong>{escape(PEERS[peer])}</strong>" if several else ""
    return f'<div class="legend">{title}{items}</div><div class="triple">{"".join(figures)}</div>'


def _figure(x: Axis, y: Axis, lines: Sequence[Line], caption: str) -> str:
    return f"<figure>{svg.lines(x, y, lines, name=caption)}<figcaption>{escape(caption)}</figcaption></figure>"


def _colour(series: Series) -> str:
    return next((f"s-{name}" for name in RATES if series.name.startswith(name)), "s-sent")


def _line(series: Series, colour: str, scale: float, *, steps: bool = False) -> Line:
    """Means of as many points as a plot can show; steps keep their last value."""
    pairs = [
        (time, value * scale) for time, value in zip(series.times, series.values, strict=True) if math.isfinite(value)
    ]
    size = max(1, math.ceil(len(pairs) / POINTS))
    groups = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    points: list[tuple[float, float, str]] = []
    for group in groups:
        value = group[-1][1] if steps else sum(value for _, value in group) / len(group)
        if (steps or colour == "s-capacity") and points and points[-1][1] != value:
            points.append((group[-1][0], points[-1][1], ""))
        points.append((group[-1][0], value, ""))
    return Line(colour, points, marks=False)


def _quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[int(share * (len(ordered) - 1))] if ordered else 0.0
