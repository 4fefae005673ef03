"""`python -m bench.cluster.lab.sdk_participant URL TOKEN`: joins, publishes, stays, and answers lines of stdin.

`look` and `report` are answered with a line of JSON (`witness.Witnessed`); the first line is `{}`, once it is in.
"""

import asyncio
import contextlib
import json
import logging
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from livekit import rtc

from tests.e2e.harness.sdk import SdkParticipant

POLL_SECONDS = 0.03


@dataclass
class Flow:
    """One kind of media of one other; times in seconds of the steady clock."""

    at: float = field(default_factory=time.monotonic)
    longest: float = 0.0
    count: int = 0
    counts: dict[int, int] = field(default_factory=dict)

    def note(self, ssrc: int, count: int) -> None:
        before, now = self.counts.get(ssrc, 0), time.monotonic()
        if count == before:
            return
        # A stream that begins anew counts from the beginning.
        self.count += count - before if count > before else count
        self.counts[ssrc] = count
        self.longest = max(self.longest, now - self.at)
        self.at = now

    def told(self) -> dict[str, float]:
        silent = time.monotonic() - self.at
        gap = max(self.longest, silent)
        return {"count": self.count, "gap_ms": gap * 1e3, "silent_ms": silent * 1e3}


class Watch:
    """Looks at a room's statistics all the time."""

    def __init__(self, room: rtc.Room) -> None:
        self._room = room
        self._flows: dict[str, dict[str, Flow]] = {"audio": {}, "video": {}}
        self._left: list[str] = []
        self._events: list[str] = []
        room.on("participant_disconnected", lambda who: self._left.append(who.identity))
        room.on("reconnecting", lambda: self._events.append("reconnecting"))
        room.on("reconnected", lambda: self._events.append("reconnected"))
        room.on("disconnected", lambda _: self._events.append("disconnected"))

    async def run(self) -> None:
        while True:
            for who, participant in list(self._room.remote_participants.items()):
                for publication in list(participant.track_publications.values()):
                    if publication.track is not None:
                        # A track that goes away meanwhile has none.
                        with contextlib.suppress(Exception):
                            await asyncio.wait_for(self._look(who, publication.track), 1)
            await asyncio.sleep(POLL_SECONDS)

    def answer(self, order: str) -> dict[str, Any]:
        found: dict[str, Any] = {
            "connected": self._room.connection_state == rtc.ConnectionState.CONN_CONNECTED,
            "others": list(self._room.remote_participants),
            "left": list(self._left),
            "events": list(self._events),
            **{kind: {who: flow.told() for who, flow in flows.items()} for kind, flows in self._flows.items()},
        }
        if order == "report":
            self._left.clear()
            self._events.clear()
            for flows in self._flows.values():
                for flow in flows.values():
                    flow.longest = 0.0
        return found

    async def _look(self, who: str, track: Any) -> None:
        for entry in await track.get_stats():
            if entry.WhichOneof("stats") != "inbound_rtp":
                continue
            rtp = entry.inbound_rtp
            kind = rtp.stream.kind
            count = rtp.received.packets_received if kind == "audio" else rtp.inbound.frames_decoded
            self._flows[kind].setdefault(who, Flow()).note(rtp.stream.ssrc, count)


async def main(url: str, token: str) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    participant = SdkParticipant()
    watch = Watch(participant.room)
    await participant.room.connect(url, token)
    await participant.publish()
    watching = asyncio.create_task(watch.run())
    print("{}", flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while order := (await reader.readline()).decode().strip():
        print(json.dumps(watch.answer(order)), flush=True)
    watching.cancel()
    await participant.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
