"""From all rounds to what `bench/results/forward.json` tells. Pure: plain values in, plain values out.

CPU is in microseconds per delivered packet, of the server's CPU: everything but idle, interrupts included, less what
the CPU did before anything ran. `process` is the server's process alone.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bench.common.stats import median, quartiles
from bench.forward import plan
from bench.forward.measure import CONTESTANTS, RELAY, YARDSTICK, is_whole, most_missing, sustained
from bench.forward.plan import Media

Step = Mapping[str, Any]
Rounds = dict[int, Step]
# Busier than this it could not do more, whoever it is.
SATURATED = 0.92
# Share of the server's CPU that interrupts and others may take.
MOST_ELSEWHERE = 0.1
# A background above this share of a CPU disturbs a round.
DISTURBED = 0.02


def summarise(raw: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """`raw`: what Session.run gathered; `about`: machine, commit and time, taken over as they are."""
    background = {entry["round"]: entry["busy"] for entry in raw["background"]}
    result: dict[str, Any] = {
        **about,
        "plan": raw["plan"],
        "rounds": raw["rounds"],
        "disturbed_rounds": [turn for turn, busy in background.items() if turn and max(busy) > DISTURBED],
        "failures": list(raw["failures"]),
    }
    views = {media: _medium(raw, media, background) for media in CONTESTANTS}
    for media, contestants in views.items():
        result[media] = _headline(media, contestants)
    relays = {media: {name: row for name, row in rows.items() if name in RELAY} for media, rows in views.items()}
    result["ceiling"] = {media: {name: _public(row) for name, row in rows.items()} for media, rows in relays.items()}
    result["peers"] = _peers(views)
    result["memory"] = {media: _memory(report) for media, report in raw["memory"].items()}
    for media in CONTESTANTS:
        known = result["memory"].get(media)
        result[f"memory_kb_per_{media}_subscription"] = known["kb_per_subscription"] if known else None
    result["workers"] = _workers(raw["workers"])
    result["workers_2_over_1"] = result["workers"].get("two on two CPUs", {}).get("over_one")
    result["relay"] = {key.removeprefix("relay."): value for key, value in raw.get("relay", {}).items()}
    result["joins"] = _joins(raw["joins"])
    first_media = result["joins"].get("first_media_ms", {})
    result["join_ms"] = {"p50": first_media.get("p50"), "p99": first_media.get("p99")}
    result["join_storm"] = _joins(raw["storms"])
    result["curves"] = {media: _curves(raw, media) for media in CONTESTANTS}
    return result


def _medium(raw: Mapping[str, Any], media: Media, background: Mapping[int, Sequence[float]]) -> dict[str, Any]:
    """Each contestant's rounds, reduced."""
    rows = {}
    for name in CONTESTANTS[media]:
        runs = [run for run in raw["runs"] if run["media"] == media and run["server"] == name and run["round"] > 0]
        if runs:
            rows[name] = _row(runs, background)
    return rows


def _row(runs: Sequence[Mapping[str, Any]], background: Mapping[int, Sequence[float]]) -> dict[str, Any]:
    roles = sorted({step["role"] for run in runs for step in run["steps"]})
    by_role = {
        role: {run["round"]: step for run in runs for step in run["steps"] if step["role"] == role}
        for role in roles
        if role != "ladder"
    }
    row: dict[str, Any] = {role: _cost(steps, background) for role, steps in by_role.items()}
    if "half" in by_role:
        row["latency_ms"] = _latency(by_role["half"].values())
        row["saturation"] = _saturation([run["steps"] for run in runs])
    return row


def _cost(steps: Rounds, background: Mapping[int, Sequence[float]]) -> dict[str, Any]:
    """CPU per packet of the same step in all rounds; `each` is by round."""
    each = {turn: _cpu_us(step, background.get(turn, [0.0])[0]) for turn, step in steps.items()}
    parts = {
        part: median(step["server"][f"{part}_us"] for step in steps.values()) for part in ("process", "user", "system")
    }
    cpu, process = median(each.values()), parts["process"]
    loss = median(step["loss"] for step in steps.values())
    return {
        "pps": median(step["delivered_pps"] for step in steps.values()),
        "cpu_us_per_packet": cpu,
        "quartiles": quartiles(each.values()),
        "process_us_per_packet": process,
        "parts": {
            "user": parts["user"],
            "system": parts["system"],
            "rest": max(0.0, cpu - process) if cpu is not None and process is not None else None,
        },
        "loss": loss,
        "latency_ms": _latency(steps.values()),
        "load_us_per_packet": median(step["load_us_per_packet"] for step in steps.values()),
        "invalid": _invalid(list(steps.values())),
        "each": each,
    }


def _cpu_us(step: Step, background: float) -> float | None:
    cpu = step["server"]["cpu_us"]
    if cpu is None or step["delivered_pps"] <= 0:
        return None
    return max(0.0, float(cpu) - background * 1e6 / float(step["delivered_pps"]))


def _invalid(steps: Sequence[Step]) -> list[str]:
    """Why the medians of these steps say nothing; empty when they are good."""
    reasons = []
    if (loss := median(step["loss"] for step in steps)) is not None and loss > 0.001:
        reasons.append(f"loss of {loss:.2%}")
    if 2 * sum(step["shortfall"] > most_missing(step) for step in steps) > len(steps):
        reasons.append("a part of what was offered did not arrive")
    if (elsewhere := median(_elsewhere(step) for step in steps)) is not None and elsewhere > MOST_ELSEWHERE:
        reasons.append(f"{elsewhere:.0%} of the server's CPU went elsewhere")
    if 2 * sum(step["bottleneck"] == "load" for step in steps) > len(steps):
        reasons.append("the load engine was the bottleneck")
    if any(step["counts"]["authentication_failed"] for step in steps):
        reasons.append("packets that do not authenticate")
    return reasons


def _elsewhere(step: Step) -> float | None:
    """Share of the server's CPU that neither was idle nor served its process."""
    cpu, process = step["server"]["cpu_us"], step["server"]["process_us"]
    return float(cpu - process) * float(step["delivered_pps"]) / 1e6 if cpu is not None else None


def _latency(steps: Iterable[Step]) -> dict[str, float | None]:
    steps = [step for step in steps if step["latency_ms"]["samples"] > 0]
    return {quantile: median(step["latency_ms"][quantile] for step in steps) for quantile in ("p50", "p99", "p999")}


def _saturation(rounds: Sequence[Sequence[Step]]) -> dict[str, Any]:
    """The highest rate that was delivered whole, round by round, and who gave way at the next one."""
    found: list[float] = []
    limits: list[str] = []
    for steps in rounds:
        tried = sorted(steps, key=lambda step: float(step["offered_pps"]))
        whole = [step for step in tried if is_whole(step)]
        if not whole:
            continue
        found.append(sustained(whole[-1]))
        above = [step for step in tried if step["offered_pps"] > whole[-1]["offered_pps"]]
        limits.append(_limit(above[0]) if above else "nobody")
    return {
        "pps": median(found),
        "quartiles": quartiles(found),
        "each": found,
        "limited_by": max(sorted(set(limits)), key=limits.count) if limits else None,
    }


def _limit(step: Step) -> str:
    """Who gave way. Full receive buffers are counted for the whole host: a saturated server fills its own."""
    if step["load_busy"] > SATURATED:
        return "load"
    if step["server"]["busy"] > SATURATED:
        return "server"
    return "load" if step["bottleneck"] == "load" else "unknown"


def _headline(media: Media, rows: Mapping[str, Any]) -> dict[str, Any]:
    ours, ceiling = rows.get("pysfu", {}), rows.get(YARDSTICK[media], {})
    mine, yardstick = ours.get("compare", {}), ceiling.get("compare", {})
    ratios = _ratios(mine.get("each", {}), yardstick.get("each", {}))
    saturation, highest = ours.get("saturation", {}), ceiling.get("saturation", {})
    result = {
        "shape": _shape(media),
        "cpu_us_per_packet": mine.get("cpu_us_per_packet"),
        "cpu_us_quartiles": mine.get("quartiles"),
        "process_us_per_packet": mine.get("process_us_per_packet"),
        "parts": mine.get("parts"),
        "at_pps": mine.get("pps"),
        "ceiling_cpu_us_per_packet": yardstick.get("cpu_us_per_packet"),
        "ceiling_process_us_per_packet": yardstick.get("process_us_per_packet"),
        "ratio_to_ceiling": median(ratios),
        "ratio_quartiles": quartiles(ratios),
        "process_ratio_to_ceiling": _over(mine.get("process_us_per_packet"), yardstick.get("process_us_per_packet")),
        "saturation_pps": saturation.get("pps"),
        "saturation_quartiles": saturation.get("quartiles"),
        "saturation_limited_by": saturation.get("limited_by"),
        "ceiling_saturation_pps": highest.get("pps"),
        "ceiling_saturation_limited_by": highest.get("limited_by"),
        "ratio_of_saturations": _over(saturation.get("pps"), highest.get("pps")),
        "latency_ms": ours.get("latency_ms"),
        "ceiling_latency_ms": ceiling.get("latency_ms"),
        "loss": mine.get("loss"),
        "load_us_per_packet": mine.get("load_us_per_packet"),
        "invalid": [f"pysfu: {why}" for why in mine.get("invalid", ["not measured"])]
        + [f"ceiling: {why}" for why in yardstick.get("invalid", ["not measured"])],
    }
    if "natural" in ours:
        result["at_50_packets_per_second_each"] = _public(ours["natural"])
        result["ceiling_at_50_packets_per_second_each"] = _public(ceiling.get("natural", {}))
    return result


def _shape(media: Media) -> str:
    if media == "video":
        return (
            f"1 to {plan.VIDEO_SUBSCRIBERS}, {plan.VIDEO_PAYLOAD} bytes of payload, "
            f"frames of {plan.VIDEO_PACKETS} packets, AES-128-GCM"
        )
    people = plan.AUDIO_PARTICIPANTS
    return f"{people} to each other, {plan.AUDIO_PAYLOAD} bytes of payload, AES-128-GCM"


def _peers(views: Mapping[Media, Mapping[str, Any]]) -> dict[str, Any]:
    peers: dict[str, Any] = {}
    for media, rows in views.items():
        for name in rows.keys() - RELAY.keys() - {"pysfu"}:
            beside = rows[name].get(f"beside {name}", {})
            ours = rows.get("pysfu", {}).get(f"beside {name}", {})
            saturation = rows[name].get("saturation", {})
            peers.setdefault(name, {})[media] = {
                "cpu_us_per_packet": beside.get("cpu_us_per_packet"),
                "process_us_per_packet": beside.get("process_us_per_packet"),
                "parts": beside.get("parts"),
                "at_pps": beside.get("pps"),
                "our_cpu_us_per_packet": ours.get("cpu_us_per_packet"),
                "our_process_us_per_packet": ours.get("process_us_per_packet"),
                "ours_over_theirs": median(_ratios(ours.get("each", {}), beside.get("each", {}))),
                "saturation_pps": saturation.get("pps"),
                "saturation_limited_by": saturation.get("limited_by"),
                "latency_ms": rows[name].get("latency_ms"),
                "loss": beside.get("loss"),
                "invalid": beside.get("invalid", ["not measured"]),
            }
    return peers


def _public(value: Any) -> Any:
    """Without what only the reduction needs."""
    if isinstance(value, Mapping):
        return {key: _public(inner) for key, inner in value.items() if key != "each"}
    return value


def _ratios(mine: Mapping[int, float | None], theirs: Mapping[int, float | None]) -> list[float]:
    """Round by round, so that what slows a whole round cancels."""
    pairs = ((mine[turn], theirs[turn]) for turn in mine.keys() & theirs.keys())
    return [one / other for one, other in pairs if one is not None and other]


def _over(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def _memory(report: Mapping[str, Any]) -> dict[str, Any]:
    return {"kb_per_subscription": report["kb_per_subscription"], "points": report["points"]}


def _workers(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By variant: process CPU per packet, as a ratio to one worker of the same round, and how the work was split."""
    rows: dict[str, Any] = {}
    alone = {run["round"]: run["step"]["server"]["process_us"] for run in runs if run["variant"] == "one"}
    for variant in dict.fromkeys(run["variant"] for run in runs):
        mine = [run for run in runs if run["variant"] == variant]
        each = {run["round"]: run["step"]["server"]["process_us"] for run in mine}
        shares = [_least_share(run["packets_by_worker"]) for run in mine]
        rows[variant] = {
            "process_us_per_packet": median(each.values()),
            "over_one": median(_ratios(each, alone)) if variant != "one" else None,
            "least_share_of_a_worker": median(shares) if variant != "one" else None,
            "pps": median(run["step"]["delivered_pps"] for run in mine),
            "loss": median(run["step"]["loss"] for run in mine),
            "invalid": _invalid([run["step"] for run in mine]),
        }
    return rows


def _least_share(packets: Mapping[str, int]) -> float | None:
    total = sum(packets.values())
    return min(packets.values()) / total if total else None


def _joins(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Medians over repetitions; failures are added up."""
    if not reports:
        return {}

    def quantiles(name: str) -> dict[str, float | None] | None:
        present = [report[name] for report in reports if report.get(name)]
        return {key: median(one[key] for one in present) for key in present[0]} if present else None

    def middle(pick: Callable[[Mapping[str, Any]], float | None]) -> float | None:
        return median(pick(report) for report in reports)

    return {
        "rate": reports[0]["rate"],
        "repetitions": len(reports),
        "joins": middle(lambda report: report["joins"]),
        "seconds": middle(lambda report: report["seconds"]),
        "failed": sum(report["failed"] for report in reports),
        "failures": sorted({reason for report in reports for reason in report["failures"]}),
        "joined_ms": quantiles("joined_ms"),
        "connected_ms": quantiles("connected_ms"),
        "first_media_ms": quantiles("first_media_ms"),
        "rpc_ms": quantiles("rpc_ms"),
        "server_cpu_seconds": middle(lambda report: report["server_cpu_seconds"]),
        "load_cpu_seconds": middle(lambda report: report["load_cpu_seconds"]),
        "first_media_each_ms": [round(value, 1) for value in reports[-1]["first_media_each_ms"]],
    }


def _missing(step: Step) -> float:
    """Share of the packets that never came: holes, or what is missing beyond what may be on its way."""
    return max(float(step["loss"]), float(step["shortfall"]) - most_missing(step), 0.0)


def _rounded(value: float | None, digits: int) -> float | None:
    return round(value, digits) if value is not None else None


def _curves(raw: Mapping[str, Any], media: Media) -> dict[str, list[dict[str, Any]]]:
    """Every step of every server with a ladder: what plots are drawn from."""
    curves: dict[str, list[dict[str, Any]]] = {}
    for run in raw["runs"]:
        if run["media"] != media or all(step["role"] not in {"ladder", "search"} for step in run["steps"]):
            continue
        curves.setdefault(run["server"], []).extend(
            {
                "round": run["round"],
                "role": step["role"],
                "offered_pps": round(step["offered_pps"]),
                "delivered_pps": round(step["delivered_pps"]),
                "loss": round(_missing(step), 6),
                **{name: _rounded(step["latency_ms"][name], 3) for name in ("p50", "p99", "p999")},
                "cpu_us": _rounded(step["server"]["cpu_us"], 4),
                "process_us": _rounded(step["server"]["process_us"], 4),
                "load_busy": round(step["load_busy"], 4),
                "bottleneck": step["bottleneck"],
            }
            for step in run["steps"]
            if step["role"] != "first"
        )
    return {name: sorted(points, key=lambda point: float(point["offered_pps"])) for name, points in curves.items()}
