"""An external signaling tier: an aiortc peer connection driven by nothing but the gRPC protos."""

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import count
from types import TracebackType
from typing import Any, Self

import grpc
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack

from pysfu.v1 import models_pb2, signaling_pb2, signaling_pb2_grpc


class Session:
    """One client session over `SignalingService.Session`. An async context manager."""

    def __init__(self, address: str, token: str, **join: Any) -> None:
        self._address = address
        self._token = token
        self._join = signaling_pb2.Join(**join)
        self._ids = count(1)
        self._outgoing: asyncio.Queue[signaling_pb2.SessionRequest | None] = asyncio.Queue()
        self._arrived = asyncio.Condition()
        self.responses: list[signaling_pb2.SessionResponse] = []
        self.status: grpc.StatusCode | None = None
        self.details: str | None = None

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(self._address)
        stub = signaling_pb2_grpc.SignalingServiceStub(self._channel)
        self._stream = stub.Session(self._requests(), metadata=[("authorization", f"Bearer {self._token}")])
        await self.send(join=self._join)
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._outgoing.put(None)
        self._stream.cancel()
        await asyncio.wait([self._reader])
        await self._channel.close()

    async def send(self, **message: Any) -> int:
        """Sends one request, named by its field; returns its id."""
        request_id = next(self._ids)
        await self._outgoing.put(signaling_pb2.SessionRequest(request_id=request_id, **message))
        return request_id

    async def wait(
        self, field: str, where: Callable[[Any], bool] = lambda _: True, within: float = 10, skip: int = 0
    ) -> Any:
        """The first response of this kind that fits, already here or to come; `skip` leaves out earlier ones."""

        def find() -> Any:
            found = [
                getattr(response, field)
                for response in self.responses
                if response.WhichOneof("message") == field and where(getattr(response, field))
            ]
            return found[skip] if len(found) > skip else None

        async with asyncio.timeout(within), self._arrived:
            while (found := find()) is None:
                if self._reader.done():
                    raise AssertionError(f"the session ended: {self.status} {self.details}; waited for {field}")
                await self._arrived.wait()
            return found

    async def ended(self, within: float = 10) -> None:
        await asyncio.wait_for(asyncio.shield(self._reader), within)

    async def _requests(self) -> AsyncIterator[signaling_pb2.SessionRequest]:
        while (request := await self._outgoing.get()) is not None:
            yield request

    async def _read(self) -> None:
        try:
            async for response in self._stream:
                async with self._arrived:
                    self.responses.append(response)
                    self._arrived.notify_all()
            self.status = await self._stream.code()
        except grpc.aio.AioRpcError as error:
            self.status, self.details = error.code(), error.details()
        except asyncio.CancelledError:
            self.status = grpc.StatusCode.CANCELLED
        async with self._arrived:
            self._arrived.notify_all()


class Peer:
    """An aiortc peer connection whose offers and answers go through a `Session`."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.received: dict[str, MediaStreamTrack] = {}
        self._arrived = asyncio.Condition()
        self.tracks_of_mids: dict[str, str] = {}
        self.connection.on("track", self._on_track)

    async def publish(self, track: MediaStreamTrack, source: "models_pb2.TrackSource.ValueType") -> str:
        """Announces and adds a track; the next `negotiate` sends it. Returns the track id."""
        kind = models_pb2.MEDIA_KIND_AUDIO if track.kind == "audio" else models_pb2.MEDIA_KIND_VIDEO
        add = signaling_pb2.AddTrack(cid=track.id, kind=kind, source=source, name=f"{track.kind} of aiortc")
        await self.session.send(add_track=add)
        published = await self.session.wait("track_published", lambda message: message.cid == track.id)
        self.connection.addTrack(track)
        return str(published.track.id)

    async def negotiate(self) -> None:
        """One offer, one answer."""
        await self.connection.setLocalDescription(await self.connection.createOffer())
        answers = sum(r.WhichOneof("message") == "answer" for r in self.session.responses)
        offer = signaling_pb2.SessionDescription(sdp=self.connection.localDescription.sdp, id=answers + 1)
        await self.session.send(offer=offer)
        answer = await self.session.wait("answer", skip=answers)
        assert answer.id == offer.id
        self.tracks_of_mids = dict(answer.mid_to_track_id)
        await self.connection.setRemoteDescription(RTCSessionDescription(answer.sdp, "answer"))

    async def media(self, track_id: str, within: float = 10) -> MediaStreamTrack:
        """The received track; negotiates further sections when the server asks for them."""
        async with asyncio.timeout(within):
            while track_id not in self.tracks_of_mids.values():
                seen = sum(r.WhichOneof("message") == "media_sections_required" for r in self.session.responses)
                required = await self.session.wait("media_sections_required", skip=max(0, seen - 1))
                for _ in range(required.audio):
                    self.connection.addTransceiver("audio", direction="recvonly")
                for _ in range(required.video):
                    self.connection.addTransceiver("video", direction="recvonly")
                await self.negotiate()
        mid = next(mid for mid, track in self.tracks_of_mids.items() if track == track_id)
        transceiver = next(t for t in self.connection.getTransceivers() if t.mid == mid)
        return transceiver.receiver.track

    async def close(self) -> None:
        await self.connection.close()

    def _on_track(self, track: MediaStreamTrack) -> None:
        self.received[track.id] = track
