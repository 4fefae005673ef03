//! The few messages of LiveKit's protocol (`livekit_rtc.proto`, `livekit_models.proto`) that a load engine needs,
//! with the fields that it needs. Others are skipped when read (protobuf's unknown fields).

use prost::{Enumeration, Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub(super) struct SignalRequest {
    #[prost(oneof = "Request", tags = "1, 2, 4, 7, 8, 16")]
    pub(super) message: Option<Request>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Request {
    #[prost(message, tag = "1")]
    Offer(SessionDescription),
    #[prost(message, tag = "2")]
    Answer(SessionDescription),
    #[prost(message, tag = "4")]
    AddTrack(AddTrack),
    #[prost(message, tag = "7")]
    TrackSetting(UpdateTrackSettings),
    #[prost(message, tag = "8")]
    Leave(Leave),
    #[prost(message, tag = "16")]
    Ping(Ping),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SignalResponse {
    #[prost(oneof = "Response", tags = "1, 2, 3, 4, 5, 6, 8, 19, 20, 22, 25")]
    pub(super) message: Option<Response>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Response {
    #[prost(message, tag = "1")]
    Join(JoinResponse),
    #[prost(message, tag = "2")]
    Answer(SessionDescription),
    #[prost(message, tag = "3")]
    Offer(SessionDescription),
    #[prost(message, tag = "4")]
    Trickle(Trickle),
    #[prost(message, tag = "5")]
    Update(ParticipantUpdate),
    #[prost(message, tag = "6")]
    TrackPublished(TrackPublished),
    #[prost(message, tag = "8")]
    Leave(Leave),
    #[prost(message, tag = "19")]
    Reconnect(ReconnectResponse),
    #[prost(message, tag = "20")]
    Pong(Pong),
    #[prost(message, tag = "22")]
    RequestResponse(RequestResponse),
    #[prost(message, tag = "25")]
    MediaSectionsRequirement(MediaSectionsRequirement),
}

/// The query parameter `join_request` of protocol 1, base64url.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WrappedJoinRequest {
    /// 0: the request is not compressed; 1: gzip (RFC 1952).
    #[prost(int32, tag = "1")]
    pub(super) compression: i32,
    /// An encoded [`JoinRequest`].
    #[prost(bytes = "vec", tag = "2")]
    pub(super) join_request: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct JoinRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) client_info: Option<ClientInfo>,
    #[prost(message, optional, tag = "2")]
    pub(super) connection_settings: Option<ConnectionSettings>,
    #[prost(message, repeated, tag = "5")]
    pub(super) add_track_requests: Vec<AddTrack>,
    #[prost(message, optional, tag = "6")]
    pub(super) publisher_offer: Option<SessionDescription>,
    /// Resumes the session of the participant below.
    #[prost(bool, tag = "7")]
    pub(super) reconnect: bool,
    #[prost(string, tag = "9")]
    pub(super) participant_sid: String,
}

/// The session goes on.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ReconnectResponse {
    #[prost(message, optional, tag = "3")]
    pub(super) server_info: Option<ServerInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ServerInfo {
    #[prost(string, tag = "5")]
    pub(super) node_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ClientInfo {
    #[prost(string, tag = "2")]
    pub(super) version: String,
    #[prost(int32, tag = "3")]
    pub(super) protocol: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ConnectionSettings {
    #[prost(bool, tag = "1")]
    pub(super) auto_subscribe: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SessionDescription {
    #[prost(string, tag = "1")]
    pub(super) r#type: String,
    #[prost(string, tag = "2")]
    pub(super) sdp: String,
    /// Of the offer; its answer has the same.
    #[prost(uint32, tag = "3")]
    pub(super) id: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub(super) enum Target {
    Publisher = 0,
    Subscriber = 1,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Trickle {
    /// JSON of an RTCIceCandidateInit.
    #[prost(string, tag = "1")]
    pub(super) candidate_init: String,
    #[prost(enumeration = "Target", tag = "2")]
    pub(super) target: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub(super) enum TrackType {
    Audio = 0,
    Video = 1,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub(super) enum TrackSource {
    Unknown = 0,
    Camera = 1,
    Microphone = 2,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AddTrack {
    #[prost(string, tag = "1")]
    pub(super) cid: String,
    #[prost(enumeration = "TrackType", tag = "3")]
    pub(super) r#type: i32,
    #[prost(uint32, tag = "4")]
    pub(super) width: u32,
    #[prost(uint32, tag = "5")]
    pub(super) height: u32,
    #[prost(enumeration = "TrackSource", tag = "8")]
    pub(super) source: i32,
    #[prost(message, repeated, tag = "9")]
    pub(super) layers: Vec<VideoLayer>,
    #[prost(message, repeated, tag = "10")]
    pub(super) simulcast_codecs: Vec<SimulcastCodec>,
    #[prost(bool, tag = "13")]
    pub(super) disable_red: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct VideoLayer {
    /// 0 low, 1 medium, 2 high.
    #[prost(int32, tag = "1")]
    pub(super) quality: i32,
    #[prost(uint32, tag = "2")]
    pub(super) width: u32,
    #[prost(uint32, tag = "3")]
    pub(super) height: u32,
    /// Bits per second.
    #[prost(uint32, tag = "4")]
    pub(super) bitrate: u32,
    #[prost(int32, tag = "6")]
    pub(super) spatial_layer: i32,
    #[prost(string, tag = "7")]
    pub(super) rid: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SimulcastCodec {
    #[prost(string, tag = "1")]
    pub(super) codec: String,
    #[prost(string, tag = "2")]
    pub(super) cid: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct JoinResponse {
    #[prost(message, optional, tag = "2")]
    pub(super) participant: Option<Participant>,
    #[prost(message, repeated, tag = "3")]
    pub(super) other_participants: Vec<Participant>,
    #[prost(bool, tag = "6")]
    pub(super) subscriber_primary: bool,
    /// Seconds without a pong after which the connection is lost; 0: never.
    #[prost(int32, tag = "10")]
    pub(super) ping_timeout: i32,
    /// Seconds; 0: the client need not ping.
    #[prost(int32, tag = "11")]
    pub(super) ping_interval: i32,
    #[prost(message, optional, tag = "12")]
    pub(super) server_info: Option<ServerInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Participant {
    #[prost(string, tag = "1")]
    pub(super) sid: String,
    #[prost(string, tag = "2")]
    pub(super) identity: String,
    #[prost(enumeration = "ParticipantState", tag = "3")]
    pub(super) state: i32,
    #[prost(message, repeated, tag = "4")]
    pub(super) tracks: Vec<Track>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub(super) enum ParticipantState {
    Joining = 0,
    Joined = 1,
    Active = 2,
    Disconnected = 3,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Track {
    #[prost(string, tag = "1")]
    pub(super) sid: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ParticipantUpdate {
    #[prost(message, repeated, tag = "1")]
    pub(super) participants: Vec<Participant>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TrackPublished {
    #[prost(string, tag = "1")]
    pub(super) cid: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct UpdateTrackSettings {
    #[prost(string, repeated, tag = "1")]
    pub(super) track_sids: Vec<String>,
    #[prost(bool, tag = "3")]
    pub(super) disabled: bool,
    /// As in [`VideoLayer::quality`]; what counts when no size is given.
    #[prost(int32, tag = "4")]
    pub(super) quality: i32,
    #[prost(uint32, tag = "5")]
    pub(super) width: u32,
    #[prost(uint32, tag = "6")]
    pub(super) height: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Leave {
    #[prost(bool, tag = "1")]
    pub(super) can_reconnect: bool,
    /// 1: the client leaves on its own.
    #[prost(int32, tag = "2")]
    pub(super) reason: i32,
    #[prost(enumeration = "LeaveAction", tag = "3")]
    pub(super) action: i32,
}

/// Answers a [`Ping`].
#[derive(Clone, PartialEq, Message)]
pub(super) struct Pong {}

/// What a participant is to do who is told to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub(super) enum LeaveAction {
    Disconnect = 0,
    /// Connect again, and go on with the session.
    Resume = 1,
    /// Join anew.
    Reconnect = 2,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Ping {
    /// ms since 1970.
    #[prost(int64, tag = "1")]
    pub(super) timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RequestResponse {
    /// 0: it was granted.
    #[prost(int32, tag = "2")]
    pub(super) reason: i32,
    #[prost(string, tag = "3")]
    pub(super) message: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MediaSectionsRequirement {
    #[prost(uint32, tag = "1")]
    pub(super) audio: u32,
    #[prost(uint32, tag = "2")]
    pub(super) video: u32,
}
