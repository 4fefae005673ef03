"""`RoomService`."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial, wraps
from typing import Any, TypeVar

import grpc

from control_plane.auth import Grants, Verifier
from control_plane.cluster.cluster import Cluster
from control_plane.data import check_message
from control_plane.errors import ControlError, InvalidArgumentError, UnavailableError
from control_plane.live_room import LiveRoom
from control_plane.node import Node
from control_plane.rooms import Participant, check_metadata, check_room_name, new_room, update_info
from control_plane.services.calls import Context, authenticate, refuse, unary
from control_plane.services.everywhere import events_everywhere, is_told_here, rooms_everywhere
from control_plane.services.relay import Relay, hops
from control_plane.session import Session
from pysfu.v1 import models_pb2, rooms_pb2, rooms_pb2_grpc

MAX_LISTED = 4_096

Request = TypeVar("Request")
Response = TypeVar("Response")


def relayed(
    method: Callable[["RoomService", Request, Context], Awaitable[Response]],
) -> Callable[["RoomService", Request, Context], Awaitable[Response]]:
    """For methods about a room, or a participant of it, that may be on another node: it is asked once."""

    @wraps(method)
    async def call(self: "RoomService", request: Request, context: Context) -> Response:
        channel = await self.where(request, context)
        if channel is None:
            return await method(self, request, context)
        stub = rooms_pb2_grpc.RoomServiceStub(channel)
        answer: Response = await self.relay.pass_on(context, getattr(stub, method.__name__), request)
        return answer

    return call


def relayed_read(
    method: Callable[["RoomService", Request, Context], Awaitable[Response]],
) -> Callable[["RoomService", Request, Context], Awaitable[Response]]:
    """For those that change nothing: when one node of the room does not answer, the next one may."""

    def there(channel: grpc.aio.Channel) -> Callable[..., Awaitable[Response]]:
        return getattr(rooms_pb2_grpc.RoomServiceStub(channel), method.__name__)  # type: ignore[no-any-return]

    @wraps(method)
    async def call(self: "RoomService", request: Request, context: Context) -> Response:
        self.check_token(context)
        answer: Response = await self.relay.read(context, request, partial(method, self, request, context), there)
        return answer

    return call


class RoomService(rooms_pb2_grpc.RoomServiceServicer):
    """Rooms and who is in them."""

    def __init__(self, node: Node, verifier: Verifier, cluster: Cluster | None = None) -> None:
        self._node = node
        self._verifier = verifier
        self._cluster = cluster
        self.relay = Relay(node, cluster)

    @unary
    async def CreateRoom(self, request: rooms_pb2.CreateRoomRequest, context: Context) -> models_pb2.Room:
        self._grants(context).require_room_create()
        timeout = request.empty_timeout_seconds if request.HasField("empty_timeout_seconds") else None
        await self._node.hold(new_room(request.name, request.metadata, request.max_participants, timeout))
        live = self._node.create_room(request.name, request.metadata, request.max_participants, timeout)
        return live.room.snapshot()

    @unary
    @relayed_read
    async def GetRoom(self, request: rooms_pb2.GetRoomRequest, context: Context) -> models_pb2.Room:
        self._grants(context).require_room_read(request.room)
        return self._node.room(request.room).room.snapshot()

    @unary
    async def ListRooms(self, request: rooms_pb2.ListRoomsRequest, context: Context) -> rooms_pb2.ListRoomsResponse:
        self._grants(context).require_room_list()
        if len(request.names) > MAX_LISTED:
            raise InvalidArgumentError(f"more than {MAX_LISTED} names")
        rooms = [live.room.snapshot() for live in self._node.rooms(request.names)]
        if self._cluster is not None:
            return await rooms_everywhere(self._cluster, context, request, rooms)
        return rooms_pb2.ListRoomsResponse(rooms=rooms)

    @unary
    @relayed
    async def EndRoom(self, request: rooms_pb2.EndRoomRequest, context: Context) -> rooms_pb2.EndRoomResponse:
        self._grants(context).require_room_create()
        self._node.end_room(self._node.room(request.room))
        return rooms_pb2.EndRoomResponse()

    @unary
    @relayed
    async def UpdateRoom(self, request: rooms_pb2.UpdateRoomRequest, context: Context) -> models_pb2.Room:
        live = self._administered(context, request.room)
        check_metadata(request.metadata)
        live.set_metadata(request.metadata)
        return live.room.snapshot()

    @unary
    @relayed_read
    async def ListParticipants(
        self, request: rooms_pb2.ListParticipantsRequest, context: Context
    ) -> rooms_pb2.ListParticipantsResponse:
        live = self._administered(context, request.room)
        participants = [participant.snapshot() for participant in live.room.participants.values()]
        return rooms_pb2.ListParticipantsResponse(participants=participants)

    @unary
    @relayed_read
    async def GetParticipant(
        self, request: rooms_pb2.GetParticipantRequest, context: Context
    ) -> models_pb2.Participant:
        return self._participant(context, request.room, request.identity).snapshot()

    @unary
    @relayed
    async def UpdateParticipant(
        self, request: rooms_pb2.UpdateParticipantRequest, context: Context
    ) -> models_pb2.Participant:
        session = self._session(context, request.room, request.identity)
        participant, live = session.participant, session.room
        name = request.name if request.HasField("name") else None
        metadata = request.metadata if request.HasField("metadata") else None
        update_info(participant.info, name, metadata, dict(request.attributes))
        if request.HasField("permission"):
            participant.info.permission.CopyFrom(request.permission)
            live.permission_changed(session)
        else:
            live.changed(participant)
        return participant.snapshot()

    @unary
    @relayed
    async def RemoveParticipant(
        self, request: rooms_pb2.RemoveParticipantRequest, context: Context
    ) -> rooms_pb2.RemoveParticipantResponse:
        session = self._session(context, request.room, request.identity)
        session.leave(models_pb2.DISCONNECT_REASON_PARTICIPANT_REMOVED, "removed from the room")
        return rooms_pb2.RemoveParticipantResponse()

    @unary
    @relayed
    async def MuteTrack(self, request: rooms_pb2.MuteTrackRequest, context: Context) -> models_pb2.Track:
        session = self._session(context, request.room, request.identity)
        track = session.participant.track(request.track_id)
        session.publications.mute(track, request.muted, by_server=True)
        return track.info

    @unary
    @relayed
    async def UpdateSubscriptions(
        self, request: rooms_pb2.UpdateSubscriptionsRequest, context: Context
    ) -> rooms_pb2.UpdateSubscriptionsResponse:
        session = self._session(context, request.room, request.identity)
        if len(request.track_ids) > MAX_LISTED:
            raise InvalidArgumentError(f"more than {MAX_LISTED} tracks")
        tracks = [session.room.known_track(track_id) for track_id in request.track_ids]
        for track in tracks:
            session.choose(track, request.subscribe)
        session.settle(0)
        return rooms_pb2.UpdateSubscriptionsResponse()

    @unary
    @relayed
    async def SendData(self, request: rooms_pb2.SendDataRequest, context: Context) -> rooms_pb2.SendDataResponse:
        live = self._administered(context, request.room)
        message = request.message
        check_message(message.label, message.payload)
        live.send_data(
            "", message.label, message.payload, message.binary, to_identities=list(request.destination_identities)
        )
        return rooms_pb2.SendDataResponse()

    async def WatchEvents(
        self, request: rooms_pb2.WatchEventsRequest, context: Context
    ) -> AsyncIterator[rooms_pb2.RoomEvent]:
        try:
            grants = self._grants(context)
            if request.room:
                check_room_name(request.room)
                grants.require_room_read(request.room)
            else:
                grants.require_room_list()
        except ControlError as error:
            await refuse(context, error)
        cluster = self._cluster
        accepts = is_told_here(cluster) if cluster is not None else None
        watcher = self._node.watch(request.room, accepts)
        try:
            await context.send_initial_metadata(())
            if cluster is None or hops(context):
                while (event := await watcher.get()) is not None:
                    yield event
            else:
                async for event in events_everywhere(cluster, context, request, watcher):
                    yield event
        except ControlError as error:
            await refuse(context, error)
        finally:
            self._node.unwatch(watcher)

    async def where(self, request: Any, context: Context) -> grpc.aio.Channel | None:
        """The node that the request is about; None for this one. Only for who has a valid token."""
        if self._cluster is None:
            return None
        self.check_token(context)
        # Who owns a room ends it: that it has ended is told by one node.
        owner = isinstance(request, rooms_pb2.EndRoomRequest)
        return await self.relay.target(context, request.room, getattr(request, "identity", ""), owner=owner)

    def check_token(self, context: Context) -> None:
        """Raises UnauthenticatedError."""
        authenticate(context, self._verifier)

    def _grants(self, context: Context) -> Grants:
        return authenticate(context, self._verifier).grants

    def _administered(self, context: Context, room: str) -> LiveRoom:
        self._grants(context).require_room_admin(room)
        return self._node.room(room)

    def _participant(self, context: Context, room: str, identity: str) -> Participant:
        return self._administered(context, room).room.participant(identity)

    def _session(self, context: Context, room: str, identity: str) -> Session:
        session = self._participant(context, room, identity).session
        if session is None:
            raise UnavailableError(f"participant {identity[:80]!r} is on another node")
        return session
