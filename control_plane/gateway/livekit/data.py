"""Data packets of LiveKit's clients: the sender is set here, whatever the client wrote."""

from dataclasses import dataclass

from google.protobuf.message import DecodeError
from livekit.protocol import models as lm

from control_plane.gateway.livekit.from_livekit import DATA_LABELS, BadRequestError
from pysfu.v1 import models_pb2, signaling_pb2


@dataclass(slots=True)
class DataState:
    """`last_sequence`: of the newest reliable packet taken, so that what is sent again after a resume counts once."""

    last_sequence: int = 0


def relay(
    message: models_pb2.DataMessage, sender: models_pb2.Participant, state: DataState
) -> signaling_pb2.SendData | None:
    """The packet as the others get it; `None` when it was here before or its channel is not one of the protocol's.

    Raises BadRequestError.
    """
    if message.label not in DATA_LABELS:
        return None
    try:
        packet = lm.DataPacket.FromString(message.payload)
    except DecodeError as error:
        raise BadRequestError(f"a message on data channel {message.label} is no DataPacket") from error
    if packet.sequence:
        if packet.sequence <= state.last_sequence:
            return None
        state.last_sequence = packet.sequence
    packet.participant_sid, packet.participant_identity = sender.id, sender.identity
    identities, ids = list(packet.destination_identities), []
    if packet.HasField("user"):
        user = packet.user
        user.participant_sid, user.participant_identity = sender.id, sender.identity
        identities += user.destination_identities
        ids = list(user.destination_sids)
    if packet.WhichOneof("value") == "chat_message":
        packet.chat_message.generated = False
    return signaling_pb2.SendData(
        message=models_pb2.DataMessage(
            label=message.label,
            payload=packet.SerializeToString(),
            binary=True,
            reliable=message.label == "_reliable",
        ),
        destination_identities=dict.fromkeys(identities),
        destination_ids=ids,
    )
