//! LiveKit's signaling over WebSocket. Protocol 1: one connection, the client always offers, the join holds the first
//! offer. Protocol 0: one connection to publish (the client offers), one to subscribe (the server offers).

mod messages;
mod socket;

use std::collections::VecDeque;
use std::io::Read;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use flate2::Compression;
use flate2::bufread::GzEncoder;
use prost::Message as _;
use serde_json::Value;

use self::messages::{
    AddTrack, ClientInfo, ConnectionSettings, JoinRequest, JoinResponse, Leave, LeaveAction, Participant,
    ParticipantState, Ping, ReconnectResponse, Request, Response, SessionDescription, SimulcastCodec, Target,
    TrackSource, TrackType, UpdateTrackSettings, VideoLayer, WrappedJoinRequest,
};
use self::socket::Socket;
use super::sections::Sections;
use super::token::Credentials;
use super::transports::Transports;
use super::{End, Join, Orders, Others, Session, SignalingError, Subscribe, Timing, Wanted};
use crate::media::MediaHandle;
use crate::plan::{Codec, ConnectionId, ConnectionPlan, Kind, Local, Publication};
use crate::sdp::{Answering, Description, Receiving, answer};

/// The version of the protocol's messages that we speak; from 3 on, the subscriber's connection is the primary one.
const CLIENT_PROTOCOL: i32 = 16;
/// When the server does not say how often it wants to be pinged.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Tracks of a room that settings can be sent for.
const MAX_TRACKS: usize = 65_536;
/// How long a gateway may take to let a participant go on.
const RESUME_PATIENCE: Duration = Duration::from_secs(5);
const CLIENT_INITIATED: i32 = 1;
const GZIP: i32 = 1;

/// Which way connections are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `/rtc/v1`.
    Single,
    /// `/rtc`.
    Split,
}

#[derive(Clone)]
pub(super) struct LiveKit {
    /// Of gateways; at least one.
    addresses: Vec<String>,
    credentials: Credentials,
    layout: Layout,
}

impl LiveKit {
    pub(super) fn new(addresses: &[String], credentials: &Credentials, layout: Layout) -> Self {
        Self {
            addresses: addresses.to_vec(),
            credentials: credentials.clone(),
            layout,
        }
    }

    pub(super) async fn join(&self, media: &MediaHandle, join: Join) -> Result<Session, SignalingError> {
        let begun = Instant::now();
        let token = self.credentials.token(&join.identity, &join.room)?;
        let receives = join.subscribe != Subscribe::None;
        let mut client = Client::new(Transports::new(media), join, self.layout);
        let path = match self.layout {
            Layout::Single => {
                let (local, receiving) = (client.open_publisher().await?, client.receiving());
                let mut sections = Sections::new(receiving);
                let offer = sections.offer(&local);
                client.publisher = Some((Side::new(local), sections));
                format!("/rtc/v1?join_request={}", client.join_request(receives, offer))
            }
            Layout::Split => format!("/rtc?protocol={CLIENT_PROTOCOL}&auto_subscribe={}", u8::from(receives)),
        };
        let mut socket = Socket::connect(self.gateway(client.gateway), &format!("{path}&access_token={token}")).await?;
        let mut timing = Timing::default();
        while !client.is_complete() {
            let response = socket.next().await?;
            let Some(response) = response else {
                return Err(SignalingError::Refused("the server closed the WebSocket".to_owned()));
            };
            client.handle(response, false).await?;
            if client.joined && timing.joined == 0.0 {
                timing.joined = begun.elapsed().as_secs_f64();
            }
            socket.send_all(&mut client.outgoing).await?;
        }
        timing.answered = begun.elapsed().as_secs_f64();
        let sides = [
            client.subscriber.as_ref(),
            client.publisher.as_ref().map(|(side, _)| side),
        ];
        let sides: Vec<&Side> = sides.into_iter().flatten().collect();
        timing.opened = sides.first().map_or(0.0, |side| (side.opened - begun).as_secs_f64());
        let connections = sides.iter().map(|side| side.local.id).collect();
        let (session, orders) = Session::new(connections, timing);
        std::mem::swap(&mut *orders.others.borrow_mut(), &mut *client.others.borrow_mut());
        client.others = Others::clone(&orders.others);
        tokio::task::spawn_local(attend(self.clone(), client, socket, orders));
        Ok(session)
    }

    fn gateway(&self, number: usize) -> &str {
        self.addresses
            .get(number % self.addresses.len().max(1))
            .map_or("", String::as_str)
    }

    /// Goes on by another gateway, as clients do whose connection is lost: media flows meanwhile, if it can.
    async fn resume(&self, client: &mut Client) -> Result<Socket, SignalingError> {
        let token = self.credentials.token(&client.join.identity, &client.join.room)?;
        let path = match self.layout {
            Layout::Single => format!("/rtc/v1?join_request={}", client.resume_request()),
            Layout::Split => format!("/rtc?protocol={CLIENT_PROTOCOL}&reconnect=1&sid={}", client.sid),
        };
        let mut last = SignalingError::Unreachable("no gateway".to_owned());
        for _ in &self.addresses {
            client.gateway += 1;
            match Socket::connect(self.gateway(client.gateway), &format!("{path}&access_token={token}")).await {
                Ok(mut socket) => match socket.next().await? {
                    Some(Response::Reconnect(response)) => {
                        client.on_resumed(response).await?;
                        socket.send_all(&mut client.outgoing).await?;
                        return Ok(socket);
                    }
                    _ => return Err(SignalingError::Refused("the session is gone".to_owned())),
                },
                Err(SignalingError::Unreachable(error)) => last = SignalingError::Unreachable(error),
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }
}

/// Why a conversation is over.
enum Over {
    /// The participant left.
    Left,
    /// The connection was lost, or the server wants another one for the same session.
    Lost,
    Told(End),
}

/// Lives as long as the session.
async fn attend(server: LiveKit, mut client: Client, mut socket: Socket, mut orders: Orders) {
    loop {
        let over = converse(&mut client, &mut socket, &mut orders).await;
        match over {
            Over::Left => break,
            Over::Told(end) => {
                orders.end(end);
                break;
            }
            Over::Lost => {
                let resumed = tokio::time::timeout(RESUME_PATIENCE, server.resume(&mut client)).await;
                let Ok(Ok(other)) = resumed else {
                    orders.end(End::Broken);
                    break;
                };
                socket.close().await;
                socket = other;
                orders.resumed();
            }
        }
    }
    socket.close().await;
}

async fn converse(client: &mut Client, socket: &mut Socket, orders: &mut Orders) -> Over {
    let mut ping = tokio::time::interval(client.ping_interval);
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            response = socket.next() => match response {
                Ok(Some(response)) => {
                    heard = Instant::now();
                    // What cannot be answered ends the session: the counts of the scenario show it.
                    if client.handle(response, true).await.is_err() {
                        return Over::Told(End::Broken);
                    }
                    if let Some(action) = client.left {
                        return match action {
                            LeaveAction::Resume => Over::Lost,
                            LeaveAction::Reconnect => Over::Told(End::Rejoin),
                            LeaveAction::Disconnect => Over::Told(End::Dismissed),
                        };
                    }
                }
                _ => return Over::Lost,
            },
            order = orders.recv() => match order {
                Some(wanted) => {
                    client.wanted = wanted;
                    client.update_settings(client.tracks.clone());
                }
                None => {
                    client.tell(Request::Leave(Leave { reason: CLIENT_INITIATED, ..Leave::default() }));
                    let _ = socket.send_all(&mut client.outgoing).await;
                    return Over::Left;
                }
            },
            _ = ping.tick() => {
                if client.ping_timeout.is_some_and(|timeout| heard.elapsed() > timeout) {
                    return Over::Lost;
                }
                client.tell(Request::Ping(Ping { timestamp: now_ms() }));
            }
        }
        if socket.send_all(&mut client.outgoing).await.is_err() {
            return Over::Lost;
        }
    }
}

/// One transport, from this side and (once it has described itself) from the server's.
struct Side {
    opened: Instant,
    local: Local,
    remote: Option<Description>,
    /// What it replaces once the server has answered.
    replaces: Option<ConnectionId>,
}

impl Side {
    fn new(local: Local) -> Self {
        Self {
            opened: Instant::now(),
            local,
            remote: None,
            replaces: None,
        }
    }
}

/// A participant: takes the server's messages, leaves its own in `outgoing`.
struct Client {
    transports: Transports,
    join: Join,
    layout: Layout,
    /// Of protocol 1: the only one.
    publisher: Option<(Side, Sections)>,
    /// Of protocol 0.
    subscriber: Option<Side>,
    joined: bool,
    left: Option<LeaveAction>,
    /// The one it is connected to.
    gateway: usize,
    /// The server offers to the subscriber at once, not with the first track.
    subscriber_primary: bool,
    ping_interval: Duration,
    ping_timeout: Option<Duration>,
    sid: String,
    /// That serves the session.
    node: String,
    others: Others,
    /// Other participants' tracks.
    tracks: Vec<String>,
    /// Tracks that the server has not registered yet: they must be before they are offered.
    unpublished: Vec<String>,
    wanted: Wanted,
    outgoing: VecDeque<Request>,
}

impl Client {
    fn new(transports: Transports, join: Join, layout: Layout) -> Self {
        let unpublished = join.publish.iter().map(|publication| publication.cid.clone()).collect();
        Self {
            gateway: join.gateway,
            transports,
            join,
            layout,
            publisher: None,
            subscriber: None,
            joined: false,
            left: None,
            subscriber_primary: false,
            ping_interval: PING_INTERVAL,
            ping_timeout: None,
            sid: String::new(),
            node: String::new(),
            others: Others::default(),
            tracks: Vec::new(),
            unpublished,
            wanted: Wanted::default(),
            outgoing: VecDeque::new(),
        }
    }

    fn tell(&mut self, request: Request) {
        self.outgoing.push_back(request);
    }

    fn receiving(&self) -> Receiving {
        match self.join.subscribe {
            Subscribe::All(receiving) => receiving,
            Subscribe::None => Receiving::default(),
        }
    }

    async fn open_publisher(&mut self) -> Result<Local, SignalingError> {
        Ok(self.transports.open(self.plan(self.join.publish.clone())).await?)
    }

    fn plan(&self, publications: Vec<Publication>) -> ConnectionPlan {
        ConnectionPlan {
            participant: self.join.index,
            publications,
            cipher: self.join.cipher,
        }
    }

    fn join_request(&self, receives: bool, (id, sdp): (u32, String)) -> String {
        let request = JoinRequest {
            client_info: Some(client_info()),
            connection_settings: Some(ConnectionSettings {
                auto_subscribe: receives,
            }),
            add_track_requests: self.join.publish.iter().map(add_track).collect(),
            publisher_offer: Some(description("offer", sdp, id)),
            ..JoinRequest::default()
        };
        wrap(&request)
    }

    fn resume_request(&self) -> String {
        wrap(&JoinRequest {
            client_info: Some(client_info()),
            reconnect: true,
            participant_sid: self.sid.clone(),
            ..JoinRequest::default()
        })
    }

    /// Everything that the join asked for is negotiated.
    fn is_complete(&self) -> bool {
        let described = |side: &Side| side.remote.is_some();
        let publisher = self.publisher.as_ref().is_some_and(|(side, _)| described(side));
        match self.layout {
            Layout::Single => self.joined && publisher,
            Layout::Split => {
                let subscribes = self.subscriber_primary || !self.tracks.is_empty();
                let publishes = !self.join.publish.is_empty();
                self.joined
                    && (publisher || !publishes)
                    && (!subscribes || self.subscriber.as_ref().is_some_and(described))
            }
        }
    }

    /// `later`: the join is over, a refused request does not end it.
    async fn handle(&mut self, response: Response, later: bool) -> Result<(), SignalingError> {
        match response {
            Response::Join(joined) => self.on_join(joined),
            Response::Answer(description) => self.on_answer(&description)?,
            Response::Offer(description) => self.on_offer(&description).await?,
            Response::Trickle(trickle) => {
                let subscriber = trickle.target == Target::Subscriber as i32;
                self.on_candidate(&trickle.candidate_init, subscriber)?;
            }
            Response::Update(update) => self.learn(&update.participants),
            Response::TrackPublished(published) => {
                self.unpublished.retain(|cid| *cid != published.cid);
                if self.layout == Layout::Split && self.unpublished.is_empty() && self.publisher.is_none() {
                    let local = self.open_publisher().await?;
                    let mut sections = Sections::new(Receiving::default());
                    let offer = sections.offer(&local);
                    self.publisher = Some((Side::new(local), sections));
                    self.offer(offer);
                }
            }
            Response::MediaSectionsRequirement(more) => {
                if let Some((side, sections)) = &mut self.publisher
                    && sections.require(more.audio, more.video)?
                {
                    let offer = sections.offer(&side.local);
                    self.offer(offer);
                }
            }
            Response::RequestResponse(refused) if refused.reason != 0 && !later => {
                return Err(SignalingError::Refused(refused.message));
            }
            Response::RequestResponse(_) => {}
            Response::Leave(leave) if !later => {
                return Err(SignalingError::Refused(format!(
                    "disconnected, reason {}",
                    leave.reason
                )));
            }
            Response::Leave(leave) => self.left = Some(leave.action()),
            Response::Pong(_) | Response::Reconnect(_) => {}
        }
        Ok(())
    }

    fn on_join(&mut self, joined: JoinResponse) {
        self.joined = true;
        self.subscriber_primary = self.layout == Layout::Split && joined.subscriber_primary;
        if let Ok(seconds @ 1..) = u64::try_from(joined.ping_interval) {
            self.ping_interval = Duration::from_secs(seconds);
        }
        if let Ok(seconds @ 1..) = u64::try_from(joined.ping_timeout) {
            self.ping_timeout = Some(Duration::from_secs(seconds));
        }
        self.node = joined.server_info.map(|info| info.node_id).unwrap_or_default();
        self.sid = joined
            .participant
            .map(|participant| participant.sid)
            .unwrap_or_default();
        if self.layout == Layout::Split {
            let requests: Vec<_> = self.join.publish.iter().map(add_track).collect();
            self.outgoing.extend(requests.into_iter().map(Request::AddTrack));
        }
        self.learn(&joined.other_participants);
    }

    /// Another node serves the session: media comes over a new transport (in browsers: ICE restart and DTLS anew).
    async fn on_resumed(&mut self, response: ReconnectResponse) -> Result<(), SignalingError> {
        let node = response.server_info.map(|info| info.node_id).unwrap_or_default();
        let moved = node != self.node;
        self.node = node;
        self.left = None;
        // The server tells of everyone again.
        self.others.borrow_mut().clear();
        let plan = self.plan(self.join.publish.clone());
        if let Some((side, sections)) = &mut self.publisher {
            sections.forget();
            if moved {
                let mut local = self.transports.open(plan).await?;
                // As browsers offer it: who is in front of its path now knows best when to begin.
                local.passive = true;
                let old = std::mem::replace(&mut side.local, local).id;
                side.replaces = side.replaces.or(Some(old));
                let offer = sections.offer(&side.local);
                self.offer(offer);
            }
        }
        Ok(())
    }

    fn on_answer(&mut self, answered: &SessionDescription) -> Result<(), SignalingError> {
        let Some((side, sections)) = &mut self.publisher else {
            return Err(SignalingError::Protocol("an answer to no offer".to_owned()));
        };
        side.remote = Some(Description::parse(&answered.sdp)?);
        apply(&self.transports, side)?;
        if let Some(old) = side.replaces.take() {
            // Browsers, too, take nothing from the old transport once the answer brings another fingerprint.
            self.transports.replace(old, side.local.id);
        }
        if sections.answered() {
            let offer = sections.offer(&side.local);
            self.offer(offer);
        }
        Ok(())
    }

    async fn on_offer(&mut self, offered: &SessionDescription) -> Result<(), SignalingError> {
        let side = match &mut self.subscriber {
            Some(side) => side,
            None => {
                let local = self.transports.open(self.plan(Vec::new())).await?;
                self.subscriber.insert(Side::new(local))
            }
        };
        let description = Description::parse(&offered.sdp)?;
        // The data section is taken, too: with nothing published yet there is no other to set the transport up with.
        let sdp = answer(&side.local, &description, |_| Answering::Receive);
        side.remote = Some(description);
        apply(&self.transports, side)?;
        self.tell(Request::Answer(self::description("answer", sdp, offered.id)));
        Ok(())
    }

    fn on_candidate(&mut self, init: &str, subscriber: bool) -> Result<(), SignalingError> {
        let init: Value = serde_json::from_str(init)
            .map_err(|error| SignalingError::Protocol(format!("a trickled candidate: {error}")))?;
        let side = match subscriber {
            true => self.subscriber.as_mut(),
            false => self.publisher.as_mut().map(|(side, _)| side),
        };
        let Some((side, candidate)) = side.zip(init["candidate"].as_str()) else {
            return Ok(());
        };
        let news = side
            .remote
            .as_mut()
            .is_some_and(|remote| remote.add_candidate(candidate));
        if news { apply(&self.transports, side) } else { Ok(()) }
    }

    /// Settings are wanted for new tracks as for those that are known.
    fn learn(&mut self, participants: &[Participant]) {
        for participant in participants.iter().filter(|participant| participant.sid != self.sid) {
            let mut others = self.others.borrow_mut();
            if participant.state() == ParticipantState::Disconnected {
                others.remove(&participant.sid);
            } else if others.len() < MAX_TRACKS {
                others.insert(participant.sid.clone(), participant.identity.clone());
            }
        }
        let all = participants
            .iter()
            .filter(|participant| participant.sid != self.sid)
            .flat_map(|participant| &participant.tracks);
        let mut new = Vec::new();
        for track in all {
            if !self.tracks.contains(&track.sid) && self.tracks.len() < MAX_TRACKS {
                self.tracks.push(track.sid.clone());
                new.push(track.sid.clone());
            }
        }
        if self.join.paused || self.wanted != Wanted::default() {
            self.update_settings(new);
        }
    }

    fn update_settings(&mut self, track_sids: Vec<String>) {
        if track_sids.is_empty() || self.join.subscribe == Subscribe::None {
            return;
        }
        self.tell(Request::TrackSetting(UpdateTrackSettings {
            track_sids,
            disabled: self.join.paused,
            quality: 2,
            width: self.wanted.width,
            height: self.wanted.height,
        }));
    }

    fn offer(&mut self, (id, sdp): (u32, String)) {
        self.tell(Request::Offer(description("offer", sdp, id)));
    }
}

/// ICE begins with the first candidate, which may come after the description (trickle ICE, RFC 8838).
fn apply(transports: &Transports, side: &Side) -> Result<(), SignalingError> {
    if let Some(remote) = side.remote.as_ref().filter(|remote| !remote.candidates.is_empty()) {
        transports.set_remote(side.local.id, remote.remote(&side.local)?);
    }
    Ok(())
}

fn client_info() -> ClientInfo {
    ClientInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: CLIENT_PROTOCOL,
    }
}

/// As the value of a parameter in a query.
fn wrap(request: &JoinRequest) -> String {
    let wrapped = WrappedJoinRequest {
        compression: GZIP,
        join_request: gzip(&request.encode_to_vec()),
    };
    // RFC 4648 section 5; the padding would have to be escaped in a query.
    URL_SAFE.encode(wrapped.encode_to_vec()).replace('=', "%3D")
}

/// An offer of many sections is longer than a URL may be for many servers, but has little in it.
fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(content, Compression::default());
    let mut compressed = Vec::new();
    // Neither reading from a slice nor writing to a vector fails.
    let _ = encoder.read_to_end(&mut compressed);
    compressed
}

fn description(kind: &str, sdp: String, id: u32) -> SessionDescription {
    SessionDescription {
        r#type: kind.to_owned(),
        sdp,
        id,
    }
}

fn add_track(publication: &Publication) -> AddTrack {
    let (kind, source) = match publication.codec.kind() {
        Kind::Audio => (TrackType::Audio, TrackSource::Microphone),
        Kind::Video => (TrackType::Video, TrackSource::Camera),
    };
    let codec = match publication.codec {
        Codec::Opus => None,
        Codec::Vp8 => Some("vp8"),
        Codec::H264 => Some("h264"),
    };
    let best = publication.layers.last();
    let layers = publication.layers.iter().zip(0..).map(|(layer, index)| VideoLayer {
        // A single layer is the high one.
        quality: if publication.layers.len() == 1 { 2 } else { index },
        width: layer.width,
        height: layer.height,
        bitrate: layer.bitrate,
        spatial_layer: index,
        rid: layer.rid.clone().unwrap_or_default(),
    });
    AddTrack {
        cid: publication.cid.clone(),
        r#type: kind.into(),
        width: best.map_or(0, |layer| layer.width),
        height: best.map_or(0, |layer| layer.height),
        source: source.into(),
        layers: if codec.is_some() { layers.collect() } else { Vec::new() },
        simulcast_codecs: codec
            .map(|codec| SimulcastCodec {
                codec: codec.to_owned(),
                cid: publication.cid.clone(),
            })
            .into_iter()
            .collect(),
        disable_red: true,
    }
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |time| time.as_millis() as i64)
}
