"""Names that people read: questions, metrics and peers."""

PEERS = {"engine": "pysfu, simulated", "pysfu": "pysfu, browsers", "janus": "Janus, browsers"}

# By the beginning of a scenario's name: title, and what happens.
QUESTIONS = {
    "q1": (
        "Capacity that varies (RFC 8867 5.1 to 5.3)",
        "A gallery of eight cameras over 1, 2.5, 0.6 and 1 Mb/s, two of them over one link, and one whose feedback "
        "meets congestion. Rates and times are those of the estimate; use counts media, repair and parity.",
    ),
    "q2": (
        "Starts, falls and rises",
        "One camera with three layers: starts at 0.5, 3 and 10 Mb/s; 10, 1 and 10 Mb/s; 30 s at 0.25 Mb/s.",
    ),
    "q3": (
        "Loss without congestion, a step of delay",
        "A gallery on 3 Mb/s that loses 2 to 20 % of all packets, either way, at round trips of 50 to 300 ms; and "
        "50 ms of delay that come at once.",
    ),
    "q4": (
        "Bursts of loss",
        "A camera with and without forward error correction, a voice with and without redundancy (RFC 2198).",
    ),
    "q5": ("Cellular networks", "Six cameras over 100 s of a trace; a new one with each seed."),
    "q6": (
        "One room",
        "VP8 and H.264 simulcast, VP9 and AV1 in layers, and a publisher who loses 10 % on its way up; ten receivers "
        "from 0.15 to 5 Mb/s. Utility is held against the best choice of layers that fits.",
    ),
    "q7": ("Joins and lost pictures", "200 join within 10 s, then each asks for a keyframe every second."),
    "q8": (
        "Competing flows (RFC 8867 5.4 to 5.8)",
        "Galleries that share a link with each other, with other round trips, and with TCP; one that pauses.",
    ),
}

METRICS = {
    "use": "use of capacity",
    "steady_use": "use while it is steady",
    "queue_p95": "queueing delay, p95",
    "queue_p99": "queueing delay, p99",
    "fall": "under a lower capacity after",
    "rise": "90 % of a higher capacity after",
    "steady_spread": "swing of a steady estimate",
    "freeze": "time frozen",
    "longest_freeze": "longest freeze",
    "freeze_share": "share of time frozen",
    "freeze_share_rtx": "the same with retransmission alone",
    "freeze_against_rtx": "time frozen against retransmission alone",
    "frame_loss": "pictures sent and never shown",
    "frame_loss_rtx": "the same with retransmission alone",
    "frame_delay_p50": "from capture to display, p50",
    "frame_delay_p95": "from capture to display, p95",
    "concealment": "audio made up",
    "redundancy": "redundancy",
    "padding": "padding",
    "first_frame": "first picture after",
    "first_frame_p50": "first picture after, p50",
    "first_frame_p95": "first picture after, p95",
    "top_layer": "best layer that fits after",
    "top_layer_again": "best layer again after",
    "dip": "dip of the estimate",
    "utility": "utility of the best choice",
    "utility_least": "utility, worst receiver",
    "healthy_change": "change through another's loss",
    "switch_down": "layer down after",
    "switch_up": "layer up after",
    "switch_freeze": "frozen while switching",
    "vanished_layer": "vanished layer replaced after",
    "keyframes_per_s": "keyframes",
    "keyframes_per_s_joining": "keyframes while joining",
    "fps_share": "pictures shown of those taken",
    "jain": "Jain's index",
    "share": "share beside TCP",
    "resume": "back after a pause after",
    "vmaf": "VMAF",
    "ssim": "SSIM",
}
