"""A signaling client that speaks nothing but the protos."""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from pysfu.v1 import signaling_pb2, signaling_pb2_grpc
from pysfu.v1.signaling_pb2 import SessionRequest, SessionResponse

OFFERS = Path(__file__).parent / "offers"
PATIENCE = 5.0


def recorded(name: str) -> str:
    """A recorded offer."""
    return (OFFERS / f"{name}.sdp").read_bytes().decode()


class SignalingClient:
    """One stream. `seen` keeps every response in order."""

    def __init__(self, channel: grpc.aio.Channel, bearer: str) -> None:
        stub: Any = signaling_pb2_grpc.SignalingServiceStub(channel)
        self.call = stub.Session(metadata=(("authorization", f"Bearer {bearer}"),))
        self.seen: list[SessionResponse] = []
        self.joined = signaling_pb2.Joined()
        self._next = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.call.cancel()

    async def send(self, **message: Any) -> None:
        await self.call.write(SessionRequest(**message))

    async def join(self, **join: Any) -> None:
        join.setdefault("auto_subscribe", True)
        await self.send(request_id=1, join=signaling_pb2.Join(**join))
        first = await self.read()
        assert first.WhichOneof("message") in ("joined", "left"), first
        self.joined = first.joined

    async def read(self) -> SessionResponse:
        """The next response that no `until` has passed."""
        if self._next == len(self.seen):
            response = await asyncio.wait_for(self.call.read(), PATIENCE)
            if not isinstance(response, SessionResponse):
                raise EOFError(await self.call.code())
            self.seen.append(response)
        self._next += 1
        return self.seen[self._next - 1]

    async def until(self, kind: str) -> Any:
        """The next message of one kind, passing over others."""
        while True:
            response = await self.read()
            if response.WhichOneof("message") == kind:
                return getattr(response, kind)

    async def until_participant(self, identity: str, met: Any = lambda participant: True) -> Any:
        """The next update of a participant that meets the condition."""
        while True:
            for participant in (await self.until("participants_changed")).participants:
                if participant.identity == identity and met(participant):
                    return participant

    async def offer(self, name_or_sdp: str, offer_id: int = 7) -> Any:
        """Sends an offer, returns the answer."""
        sdp = name_or_sdp if name_or_sdp.startswith("v=0") else recorded(name_or_sdp)
        await self.send(request_id=2, offer=signaling_pb2.SessionDescription(sdp=sdp, id=offer_id))
        return await self.until("answer")
