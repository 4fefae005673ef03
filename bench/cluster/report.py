"""The report page: goals, then what participants noticed in each scenario. One file of HTML with its plots inside."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from bench.common import svg
from bench.common.style import STYLE
from bench.common.svg import Axis, Line

Result = Mapping[str, Any]
THEME = "section>p{margin:0 0 14px;max-width:88ch;color:var(--faint)}pre{white-space:pre-wrap;font-size:13px}"


def render(result: Result) -> str:
    """The page of a result as `__main__` writes it."""
    scenarios = result["scenarios"]
    sections = [
        _head(result),
        _goals(result["goals"]),
        _gaps(scenarios),
        _bus(scenarios.get("bus")),
        _partition(scenarios.get("partition")),
        _audience(scenarios.get("audience")),
        _others(scenarios),
    ]
    body = "\n".join(section for section in sections if section)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>pysfu: clusters</title>\n<style>{STYLE}{THEME}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _head(result: Result) -> str:
    about = result["machine"]
    changed = " with changes" if result["dirty"] else ""
    notes = [f"Failed: {name}: {text.splitlines()[0]}" for name, text in result["failures"].items()]
    if result["quick"]:
        notes.insert(0, "A quick run: it proves that everything works together.")
    warnings = "".join(f'<p class="warning">{escape(note)}</p>' for note in notes)
    return (
        "<header><h1>Clusters, when things go wrong</h1><p>Real nodes, NATS and clients on one machine, each in a "
        "network "
        "namespace of its own, joined by emulated paths of 140 to 250 ms round trip. All of them share "
        f"{about['cpus']} CPUs ({escape(about['cpu'])}{', virtual' if about['virtual'] else ''}): where hundreds "
        "come back at "
        "the same time, these are what limits.</p>"
        f'<p class="faint">Commit {escape(result["commit"][:12])}{changed}, {escape(result["date"])}, '
        f"{result['minutes']:.0f} minutes. <code>make bench-cluster</code></p>{warnings}</header>"
    )


def _goals(goals: Sequence[Mapping[str, Any]]) -> str:
    marks = {True: ("met", "met"), False: ("missed", "missed"), None: ("open", "not measured")}
    rows = "".join(
        f'<tr><td>{escape(goal["what"])}<div class="faint"><code>{escape(goal["key"])}</code></div></td>'
        f"<td>{escape(goal['goal'])}</td>"
        f'<td class="number">{escape(goal["measured"])}</td><td><span class="{marks[goal["met"]][0]}">'
        f"{marks[goal['met']][1]}</span></td></tr>"
        for goal in goals
    )
    met = sum(goal["met"] is True for goal in goals)
    return (
        f"<section><h2>Goals <small>{met} of {len(goals)} met</small></h2><table><thead><tr><th>What</th><th>Goal</th>"
        f'<th class="number">Measured</th><th></th></tr></thead><tbody>{rows}</tbody></table></section>'
    )


def _gaps(scenarios: Result) -> str:
    """How long participants heard nothing, as shares of them."""
    failover, drain, far = (scenarios.get(name) for name in ("failover", "drain", "drain_far"))
    parts = []
    if failover:
        text = (
            f"{failover['victims']} participants in calls of two were at a node that was killed (kill -9); "
            f"{100 * failover['returned']:.1f} % heard their partner again, the room was whole after "
            f"{failover['whole_s'] or '—'} s. Their partners heard nothing for "
            f"{_quantiles(failover['partners_gap_ms'])}."
        )
        plot = _shares([("s-pysfu", failover["each_ms"])], [(2_000.0, "p95"), (4_000.0, "p99")], "failover")
        parts.append(_figure(plot, f"Share of participants whose longest silence was shorter. {text}"))
    if drain:
        series = [("s-pysfu", drain["each_ms"]), *([("s-audio", far["each_ms"])] if far else [])]
        legend = '<div class="legend"><span><i class="s-pysfu"></i>to a node of the same region</span>'
        legend += '<span><i class="s-audio"></i>to one that is 140 ms away</span></div>'
        dropped = drain["dropped"] + (far["dropped"] if far else 0)
        moved = drain["moved"] + (far["moved"] if far else 0)
        text = f"Participants that moved when their node was drained: {moved}, {dropped} of them dropped."
        parts.append(_figure(legend + _shares(series, [(300.0, "goal, p95")], "drain"), text))
    if not parts:
        return ""
    return f'<section><h2>Killed, and drained</h2><div class="pair">{"".join(parts)}</div></section>'


def _shares(series: Sequence[tuple[str, Sequence[float]]], limits: Sequence[tuple[float, str]], name: str) -> str:
    """Shares of participants over how long they heard nothing; `limits` are drawn as lines of their own."""
    longest = max([*(max(values, default=0.0) for _, values in series), *(at for at, _ in limits)]) * 1.05
    lines = []
    for colour, values in series:
        ordered = sorted(values)
        points = [(at, (index + 1) / len(ordered), f"{at:.0f} ms") for index, at in enumerate(ordered)]
        lines.append(Line(colour, [(ordered[0], 0.0, ""), *points] if ordered else [], marks=False))
    lines += [Line("limit", [(at, 0.0, label), (at, 1.0, label)], dashed=True, marks=False) for at, label in limits]
    ticks = (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)
    return svg.lines(Axis("ms without audio", 0.0, longest), Axis("share", 0.0, 1.0, ticks=ticks), lines, name=name)


def _bus(bus: Result | None) -> str:
    if not bus:
        return ""
    return (
        f"<section><h2>The bus is away <small>{bus['seconds']:.0f} s</small></h2><p>Of {bus['packets']:,} packets "
        f"{bus['packets_lost']} were lost. {bus['joins'] - bus['joins_failed']} of {bus['joins']} joins on the "
        "room that "
        f"spans all nodes went on ({_quantiles(bus['join_ms'])}); rooms that nobody holds were refused with "
        f"{escape(', '.join(bus['refused']) or '—')}. All was normal {bus['normal_s']:.1f} s after its return. "
        f"The longest silence of a voice: {_quantiles(bus['gap_ms'])}.</p></section>"
    )


def _partition(partition: Result | None) -> str:
    if not partition:
        return ""
    healed = partition["healed_s"]
    longest = max([*healed, 1.0])
    points = [(float(index + 1), value, f"run {index + 1}: {value:.1f} s") for index, value in enumerate(healed)]
    x = Axis("seeded run", 0.0, max(2.0, len(healed) + 1.0))
    plot = svg.lines(x, Axis("s until all is well", 0.0, longest * 1.1), [Line("s-pysfu", points)], name="partitions")
    failed = partition.get("failed_calls", [])
    asked = [f"{one['what']} of {one['node']}: {one['status']} after {one['seconds']} s" for one in failed]
    worst = [*partition["ghosts"], *partition["deleted"], *partition["not_healed"]][:10] + asked
    notes = f"<pre>{escape(chr(10).join(worst))}</pre>" if worst else ""
    return (
        f"<section><h2>Split brain <small>{partition['runs']} seeded runs</small></h2><p>One node or more lose the "
        "bus and "
        f"the others for 0.5 to 7 s. Ghosts: {len(partition['ghosts'])}, deleted rooms: "
        f"{len(partition['deleted'])}, runs that "
        f"never healed: {len(partition['not_healed'])}; {partition['rejoins']} clients had to come back. "
        f"{_calls(partition)}</p>"
        f'<div class="single">{_figure(plot, "From the end of the partition until everyone has everything.")}</div>'
        f"{notes}</section>"
    )


def _calls(partition: Result) -> str:
    if "failed_calls" not in partition:
        return ""  # Measured before calls were told of.
    return (
        f"Of the operator's calls after it {len(partition['failed_calls'])} failed, the slowest took "
        f"{partition['slowest_call_ms']:,.0f} ms."
    )


def _audience(audience: Result | None) -> str:
    if not audience or not audience["steps"]:
        return ""
    steps = audience["steps"]
    most = max(step["viewers"] for step in steps) * 1.05
    loss = [(float(s["viewers"]), 100 * max(s["loss"], s["shortfall"]), f"{s['viewers']} viewers") for s in steps]
    rate = [(float(s["viewers"]), float(s["delivered_pps"]), f"{s['delivered_pps']:,} packets/s") for s in steps]
    x = Axis("viewers", 0.0, most)
    delivered = svg.lines(x, Axis("packets/s", 0.0, max(y for _, y, _ in rate) * 1.1), [Line("s-pysfu", rate)])
    lost = svg.lines(x, Axis("% lost", 0.0, max(1.0, *(y for _, y, _ in loss)) * 1.1), [Line("s-audio", loss)])
    return (
        f"<section><h2>One publisher, {audience['nodes']} nodes <small>{audience['most']} viewers on this "
        "machine</small></h2>"
        "<p>A camera and a microphone at one node, viewers at each. The load engine's share of the CPUs is as "
        "large as the "
        "nodes'.</p><div "
        f'class="pair">{_figure(delivered, "Delivered.")}{_figure(lost, "Lost, or not delivered.")}</div>'
        "</section>"
    )


def _others(scenarios: Result) -> str:
    rows = []
    if (links := scenarios.get("links")) and "relay.ratio_interval" in links:
        low, high = links["relay.ratio_interval"]
        rows.append(
            f"A packet over a link takes {links['relay.link_packet_us']:.2f} µs of CPU, one to a client "
            f"{links['relay.client_packet_us']:.2f} µs: {low:.2f} to {high:.2f} times as much (95 %)."
        )
    if spanning := scenarios.get("spanning"):
        rows.append(
            f"A room over {spanning['nodes']} nodes with losses of 1 to 5 % between them: whole "
            f"{spanning['whole_s']:.1f} s after "
            f"the last join, {100 * spanning['lost']:.3f} % of audio lost, longest silence of a voice "
            f"{_quantiles(spanning['gap_ms'])}."
        )
    if paths := scenarios.get("paths"):
        rows.append(
            f"Paths cut both ways: {_quantiles(paths['reroute_ms'])} without a voice from the other side; one way: "
            f"{_quantiles(paths['one_way_ms'])}."
        )
    if beyond := scenarios.get("beyond"):
        rows.append(
            f"Joins beyond a path that is cut: seen and heard {beyond['first_ms'] / 1e3:.1f} s after the cut, later "
            f"ones {beyond['joined_ms'] / 1e3:.1f} s after they were in; somebody lacked somebody "
            f"{len(beyond['gone'])} times once the path was well."
        )
    if mixed := scenarios.get("mixed"):
        rows.append(
            "A browser, the Python SDK and load clients at nodes in three regions, the path between the first two cut: "
            f"{_each(mixed['cut']['gap_ms'])} without some voice. The browser's node and gateway killed: "
            f"{mixed['kill']['gap_ms']['chromium']:.0f} ms."
        )
    if moving := scenarios.get("mixed_moving"):
        rows.append(
            "Browser and SDK at a node that is drained, that stops, and the next one killed; the longest silence of "
            f"any voice: {_each(moving['drain']['gap_ms'])}; {_each(moving['stop']['gap_ms'])}; "
            f"{_each(moving['kill']['gap_ms'])}."
        )
    if restart := scenarios.get("restart"):
        rows.append(
            f"A node of three restarted: it stopped in {restart['stop_s']:.1f} s, was known again after "
            f"{restart['known_s']:.1f} s, "
            f"{restart['rejoins']} participants had to join anew."
        )
    if clock := scenarios.get("clock"):
        rows.append(
            f"Clocks {clock['hours']} h ahead and behind: the room was whole after {clock['whole_s']:.1f} s, "
            f"{len(clock['missing'])} participants lacked something later."
        )
    if not rows:
        return ""
    return f"<section><h2>And</h2><ul>{''.join(f'<li>{escape(row)}</li>' for row in rows)}</ul></section>"


def _each(values: Mapping[str, float]) -> str:
    """Of the browser and the SDK."""
    return ", ".join(f"{who} {values[who]:.0f} ms" for who in ("chromium", "python"))


def _quantiles(values: Mapping[str, float] | None) -> str:
    return f"p50 {values['p50']:.0f}, p95 {values['p95']:.0f}, at most {values['max']:.0f} ms" if values else "—"


def _figure(plot: str, text: str) -> str:
    return f"<figure>{plot}<figcaption>{escape(text)}</figcaption></figure>"
