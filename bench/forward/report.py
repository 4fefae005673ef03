"""The report page: one file of HTML with its style and plots inside."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from bench.common import svg
from bench.common.stats import histogram, median, slope
from bench.common.style import STYLE
from bench.common.svg import Axis, Line
from bench.forward.goals import AUDIO_KB, VIDEO_KB
from bench.forward.plan import Media

Result = Mapping[str, Any]

NAMES = {
    "pysfu": "pysfu",
    "janus": "Janus",
    "gso+crypto": "ceiling (crypto, GSO)",
    "crypto": "ceiling (crypto)",
    "gso": "ceiling (GSO)",
    "plain": "ceiling (neither)",
}
COLOURS = {"pysfu": "s-pysfu", "janus": "s-janus"}
# Losses below are drawn here: a logarithm has no 0.
LEAST_LOSS = 0.01
BINS = 30


def render(result: Result) -> str:
    """The page of a result, as `results.summarise` made it, with its goals."""
    sections = [
        _head(result),
        _tiles(result),
        _goals(result["goals"]),
        _throughput(result, "video"),
        _throughput(result, "audio"),
        _costs(result),
        _memory(result),
        _joins(result),
        _workers(result),
        _foot(result),
    ]
    body = "\n".join(section for section in sections if section)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>pysfu: forwarding, side by side</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _head(result: Result) -> str:
    machine = result["machine"]
    about = (
        f"{machine['cpu']}, {machine['cpus']} CPUs{' (virtual)' if machine['virtual'] else ''}, "
        f"Linux {machine['kernel']}. "
        f"Server on one CPU, load engine on another, loopback. Medians of {result['rounds']} "
        f"round{'s' if result['rounds'] != 1 else ''}; one more came first and was dropped."
    )
    changed = " with changes" if result["dirty"] else ""
    warnings = []
    if result["plan"] != "full":
        warnings.append("A quick run: it proves that everything works together, its figures mean nothing.")
    if result["forced"]:
        warnings.append("Measured with --force, while something else used the CPUs.")
    if result["disturbed_rounds"]:
        rounds = ", ".join(map(str, result["disturbed_rounds"]))
        warnings.append(f"Something else used the CPUs before these rounds: {rounds}.")
    warnings += [f"Failed: {failure.splitlines()[0]}" for failure in result["failures"]]
    notes = "".join(f'<p class="warning">{escape(text)}</p>' for text in warnings)
    return (
        f"<header><h1>Forwarding, side by side</h1><p>{escape(about)}</p>"
        f'<p class="faint">Commit {escape(result["commit"][:12])}{changed}, {escape(result["date"])}, '
        f"{result['minutes']:.0f} minutes. <code>make bench-forward</code></p>{notes}</header>"
    )


def _tiles(result: Result) -> str:
    tiles = []
    for media in ("video", "audio"):
        row = result[media]
        latency = row["latency_ms"] or {}
        ceiling = _text(row["ceiling_cpu_us_per_packet"], "{:.2f} µs")
        beside = f"{_text(row['ratio_to_ceiling'], '{:.2f}')} × the ceiling's {ceiling}"
        tiles += [
            (f"{media}: CPU per packet", _text(row["cpu_us_per_packet"], "{:.2f} µs"), beside),
            (
                f"{media}: saturation of a core",
                _text(row["saturation_pps"], "{:,.0f}/s", scale=1),
                f"{_text(row['ratio_of_saturations'], '{:.2f}')} × the ceiling's",
            ),
            (
                f"{media}: latency at half of it",
                _text(latency.get("p50"), "{:.2f} ms"),
                f"p99 {_text(latency.get('p99'), '{:.2f}')}, p99.9 {_text(latency.get('p999'), '{:.2f}')} ms",
            ),
        ]
    cells = "".join(
        f'<div class="tile"><span>{escape(label)}</span><strong>{value}</strong><small>{note}</small></div>'
        for label, value, note in tiles
    )
    return f'<section class="tiles">{cells}</section>'


def _goals(goals: Sequence[Mapping[str, Any]]) -> str:
    marks = {True: ("met", "met"), False: ("missed", "missed"), None: ("open", "not shown")}
    rows = []
    for goal in goals:
        kind, text = marks[goal["met"]]
        note = f'<div class="faint">{escape(goal["note"])}</div>' if goal["note"] else ""
        rows.append(
            f"<tr><td>{escape(goal['what'])}{note}</td><td>{escape(goal['goal'])}</td>"
            f'<td class="number">{escape(goal["measured"])}</td><td><span class="{kind}">{text}</span></td></tr>'
        )
    met = sum(goal["met"] is True for goal in goals)
    return (
        f"<section><h2>Goals <small>{met} of {len(goals)} met</small></h2><table><thead><tr><th>What</th><th>Goal</th>"
        f'<th class="number">Measured</th><th></th></tr></thead><tbody>{"".join(rows)}</tbody></table></section>'
    )


def _throughput(result: Result, media: Media) -> str:
    curves = {name: binned(points) for name, points in result["curves"].get(media, {}).items()}
    if not any(curves.values()):
        return ""
    highest = max(point["offered_pps"] for points in curves.values() for point in points)
    x = Axis("packets per second offered", 0.0, highest * 1.02)
    loss = Axis("lost", LEAST_LOSS, 100.0, logarithmic=True, unit=" %")
    slowest = max(point["p99"] for points in curves.values() for point in points)
    latency = Axis("latency", 0.01, 10.0 ** _magnitude(slowest), logarithmic=True, unit=" ms")
    losses, latencies = [], []
    for name, points in curves.items():
        label, colour = NAMES[name], _colour(name)
        losses.append(
            Line(
                colour,
                [
                    (
                        point["offered_pps"],
                        100 * point["loss"],
                        f"{label}: {point['offered_pps']:,.0f}/s offered, {point['loss']:.3%} lost",
                    )
                    for point in points
                ],
            )
        )
        for quantile, text, dashed in (("p50", "p50", True), ("p99", "p99", False)):
            marks = [
                (
                    point["offered_pps"],
                    point[quantile],
                    f"{label}: {text} {point[quantile]:.2f} ms at {point['offered_pps']:,.0f}/s",
                )
                for point in points
                if point[quantile] > 0
            ]
            latencies.append(Line(colour, marks, dashed=dashed, marks=not dashed))
    legend = _legend([(_colour(name), NAMES[name]) for name in curves])
    title = f"{media.capitalize()}: throughput against loss and latency"
    return (
        f"<section><h2>{title} <small>{escape(result[media]['shape'])}</small></h2>{legend}<div class='pair'>"
        f"<figure>{svg.lines(x, loss, losses, limits=[(0.1, 'limit: 0.1 %')], name=title)}"
        f"<figcaption>Loss; {LEAST_LOSS} % and below are drawn at the bottom.</figcaption></figure>"
        f"<figure>{svg.lines(x, latency, latencies, name=title)}"
        "<figcaption>From sending to the kernel's receipt: p99, and dashed p50.</figcaption></figure></div></section>"
    )


def binned(points: Iterable[Mapping[str, Any]], width: float = 0.025) -> list[dict[str, float]]:
    """Medians of points whose offered rates are within `width` of the first one's, by rate.

    The dropped round's searches are used only where there are no others.
    """
    groups: list[list[Mapping[str, Any]]] = []
    for point in sorted(points, key=lambda point: float(point["offered_pps"])):
        if groups and point["offered_pps"] <= groups[-1][0]["offered_pps"] * (1 + width):
            groups[-1].append(point)
        else:
            groups.append([point])
    kept = [[point for point in group if point["round"] > 0] or group for group in groups]
    names = ("offered_pps", "delivered_pps", "loss", "p50", "p99", "p999")
    return [{name: median(point[name] for point in group) or 0.0 for name in names} for group in kept]


def _costs(result: Result) -> str:
    figures = []
    for media in ("video", "audio"):
        mine = result[media]
        rows = [("pysfu", mine["parts"], mine["process_us_per_packet"])]
        rows += [
            (NAMES[name], row["compare"]["parts"], row["compare"]["process_us_per_packet"])
            for name, row in result["ceiling"].get(media, {}).items()
        ]
        at = f"at {_text(mine['at_pps'], '{:,.0f}')} packets/s"
        for name, peer in result["peers"].items():
            if media in peer and peer[media]["parts"]:
                rows.append((f"{NAMES[name]} *", peer[media]["parts"], peer[media]["process_us_per_packet"]))
                at += f"; * at {_text(peer[media]['at_pps'], '{:,.0f}')}"
        stacks = [
            (
                label,
                [
                    (f"p-{part}", parts[part], f"{label}: {text} {parts[part]:.2f} µs")
                    for part, text in (("user", "user"), ("system", "system"), ("rest", "interrupts and others"))
                    if parts[part] is not None
                ],
            )
            for label, parts, _ in rows
            if parts
        ]
        if stacks:
            chart = svg.bars(stacks, "µs", name=f"CPU per packet, {media}")
            figures.append(f"<figure>{chart}<figcaption>{media.capitalize()}, {at}.</figcaption></figure>")
    if not figures:
        return ""
    legend = _legend([("p-user", "user"), ("p-system", "system"), ("p-rest", "interrupts outside of the process")])
    return (
        "<section><h2>CPU per packet, by part <small>of the server's CPU, per delivered packet</small></h2>"
        f"{legend}<div class='pair'>{''.join(figures)}</div>{_functions(result)}</section>"
    )


def _functions(result: Result) -> str:
    """Instructions by function, of callgrind, when they were counted."""
    functions = result.get("instructions")
    if not functions:
        return ""
    rows = "".join(
        f'<tr><td><code>{escape(row["name"])}</code></td><td class="number">{row["instructions"]:,.1f}</td></tr>'
        for row in functions
    )
    return (
        "<h3>Instructions per forwarded packet, by function</h3><table><thead><tr><th>Function</th>"
        f'<th class="number">Instructions</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _memory(result: Result) -> str:
    """What each medium's subscriptions add to a server without any, which is where its line begins."""
    series, legend, highest, most = [], [], 0.0, 0.0
    for media, colour, limit in (("video", "s-pysfu", VIDEO_KB), ("audio", "s-audio", AUDIO_KB)):
        report = result["memory"].get(media)
        if not report or len(report["points"]) < 2:
            continue
        points = [(float(point["subscriptions"]), float(point["pss_kb"])) for point in report["points"]]
        per, base = slope(points)
        last = points[-1][0]
        series.append(Line("limit", [(0.0, 0.0, ""), (last, limit * last / 1024, "")], marks=False))
        series.append(Line(colour, [(0.0, 0.0, ""), (last, per * last / 1024, "")], dashed=True, marks=False))
        marks = [
            (x, (y - base) / 1024, f"{x:,.0f} {media} subscriptions: {y / 1024:,.1f} MB in all") for x, y in points
        ]
        series.append(Line(colour, marks))
        legend.append((colour, f"{media}: {per:.1f} KB per subscription"))
        highest = max(highest, limit * last / 1024, *(y for _, y, _ in marks))
        most = max(most, last)
    if not series:
        return ""
    legend.append(("limit", f"goals: {VIDEO_KB:g} and {AUDIO_KB:g} KB"))
    x, y = Axis("subscriptions", 0.0, most * 1.03), Axis("added to the process", 0.0, highest * 1.1, unit=" MB")
    chart = svg.lines(x, y, series, name="Memory by subscriptions")
    return (
        f"<section><h2>Memory <small>of the server's process, rings filled</small></h2>{_legend(legend)}"
        f"<figure class='single'>{chart}</figure></section>"
    )


def _joins(result: Result) -> str:
    figures = []
    for report, limits in (
        (result["joins"], [(150.0, "goal for p50")]),
        (result["join_storm"], []),
    ):
        values = report.get("first_media_each_ms")
        if not values:
            continue
        bins = histogram(values, BINS)
        quantiles = report["first_media_ms"]
        notes = [(quantiles[name], f"{name} {quantiles[name]:.0f} ms") for name in ("p50", "p99")]
        longest = max(bins[-1][1], *(value for value, _ in limits)) if limits else bins[-1][1]
        x = Axis("from the beginning of signaling to first media", 0.0, longest * 1.02, unit=" ms")
        chart = svg.columns(x, bins, limits=limits, notes=notes, name="Join times")
        rpc = f", RPC p99 {report['rpc_ms']['p99']:.0f} ms" if report["rpc_ms"] else ""
        figures.append(
            f"<figure>{chart}<figcaption>{report['joins']:,.0f} joins at {report['rate']:g} per second "
            f"in {report['seconds']:.1f} s, "
            f"{report['failed']} failed; p99 {quantiles['p99']:.0f} ms{rpc}; "
            f"server {report['server_cpu_seconds']:.1f} s of CPU, load engine {report['load_cpu_seconds']:.1f} s."
            "</figcaption></figure>"
        )
    if not figures:
        return ""
    return (
        "<section><h2>Joins <small>into one room, until the first video packet</small></h2>"
        f"<div class='pair'>{''.join(figures)}</div></section>"
    )


def _workers(result: Result) -> str:
    if not result["workers"]:
        return ""
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="number">{_text(row["process_us_per_packet"], "{:.2f} µs")}</td>'
        f'<td class="number">{_text(row["over_one"], "{:.2f} ×")}</td>'
        f'<td class="number">{_text(row["least_share_of_a_worker"], "{:.0%}")}</td></tr>'
        for name, row in result["workers"].items()
    )
    return (
        "<section><h2>Workers <small>CPU of the process per packet, video</small></h2><table><thead><tr>"
        '<th>Workers</th><th class="number">Per packet</th><th class="number">Against one</th>'
        '<th class="number">Packets of the lesser one</th>'
        f"</tr></thead><tbody>{rows}</tbody></table></section>"
    )


def _foot(result: Result) -> str:
    video, audio = result["video"], result["audio"]
    at = f"{_text(video['at_pps'], '{:,.0f}')} (video) and {_text(audio['at_pps'], '{:,.0f}')} packets/s (audio)"
    text = (
        "The ceiling is a bare relay on the same kernel that only copies, encrypts and sends: video is held against it "
        f"with UDP GSO and crypto, audio against it without GSO. CPU per packet is compared at the same load: {at}. "
        f"The load engine spends {_text(video['load_us_per_packet'], '{:.2f}')} µs on a received packet of video."
    )
    return f'<footer class="faint">{escape(text)} How it is measured: docs/performance.md.</footer>'


def _legend(entries: Sequence[tuple[str, str]]) -> str:
    items = "".join(f'<span><i class="{colour}"></i>{escape(label)}</span>' for colour, label in entries)
    return f'<div class="legend">{items}</div>'


def _colour(name: str) -> str:
    return COLOURS.get(name, "s-ceiling")


def _text(value: float | None, form: str, *, scale: float = 1.0) -> str:
    return form.format(value / scale) if value is not None else "–"


def _magnitude(value: float) -> int:
    """The power of ten at or above `value`, at least 10."""
    power = 1
    while 10**power < value and power < 6:
        power += 1
    return power
