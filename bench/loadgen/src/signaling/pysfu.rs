//! This project's own gRPC (`protos/pysfu/v1/signaling.proto`): one round trip with the offer in the join.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Sender, channel};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};

use self::proto::room_service_client::RoomServiceClient;
use self::proto::session_request::Message as Ask;
use self::proto::session_response::Message as Told;
use self::proto::signaling_service_client::SignalingServiceClient;
use super::sections::Sections;
use super::token::Credentials;
use super::transports::Transports;
use super::{End, Join, Orders, Session, SignalingError, Subscribe, Timing, Wanted};
use crate::media::MediaHandle;
use crate::plan::{Codec, ConnectionPlan, Kind, Local};
use crate::sdp::{Description, Receiving};

#[allow(clippy::all, unreachable_pub, reason = "generated")]
mod proto {
    tonic::include_proto!("pysfu.v1");
}

/// HTTP/2 connections that the participants share.
const CHANNELS: usize = 8;

pub(super) struct Pysfu {
    channels: Vec<Channel>,
    next: Cell<usize>,
    credentials: Credentials,
}

impl Pysfu {
    pub(super) async fn connect(address: &str, credentials: &Credentials) -> Result<Self, SignalingError> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| SignalingError::Url(error.to_string()))?
            .tcp_nodelay(true);
        let mut channels = Vec::new();
        for _ in 0..CHANNELS {
            let channel = endpoint.connect().await;
            channels
                .push(channel.map_err(|error| SignalingError::Unreachable(format!("{address}: {}", root(&error))))?);
        }
        Ok(Self {
            channels,
            next: Cell::new(0),
            credentials: credentials.clone(),
        })
    }

    fn channel(&self) -> Channel {
        let next = self.next.get();
        self.next.set((next + 1) % CHANNELS);
        self.channels[next].clone()
    }

    fn token(&self, identity: &str, room: &str) -> Result<MetadataValue<Ascii>, SignalingError> {
        format!("Bearer {}", self.credentials.token(identity, room)?)
            .parse()
            .map_err(|_| SignalingError::Protocol("the token is no header value".to_owned()))
    }

    pub(super) fn probe(&self, room: &str) -> Probe {
        Probe {
            channel: self.channel(),
            token: self.token("probe", room).ok(),
            room: room.to_owned(),
        }
    }

    pub(super) async fn join(&self, media: &MediaHandle, join: Join) -> Result<Session, SignalingError> {
        let begun = Instant::now();
        let plan = ConnectionPlan {
            participant: join.index,
            publications: join.publish.clone(),
            cipher: join.cipher,
        };
        let mut transports = Transports::new(media);
        let local = transports.open(plan).await?;
        let mut sections = Sections::new(match join.subscribe {
            Subscribe::None => Receiving::default(),
            Subscribe::All(receiving) => receiving,
        });
        let (asks, stream) = channel(64);
        let first = request(1, Ask::Join(message(&join, sections.offer(&local))));
        asks.send(first)
            .await
            .map_err(|_| SignalingError::Unreachable("the stream ended".to_owned()))?;
        let mut call = Request::new(ReceiverStream::new(stream));
        call.metadata_mut()
            .insert("authorization", self.token(&join.identity, &join.room)?);
        let refused =
            |status: tonic::Status| SignalingError::Refused(format!("{:?} {}", status.code(), status.message()));
        let mut answers = SignalingServiceClient::new(self.channel())
            .session(call)
            .await
            .map_err(refused)?
            .into_inner();
        let mut timing = Timing::default();
        loop {
            let told = answers.message().await.map_err(refused)?;
            let told = told.ok_or_else(|| SignalingError::Refused("the stream ended".to_owned()))?;
            match told.message {
                Some(Told::Joined(_)) => timing.joined = begun.elapsed().as_secs_f64(),
                Some(Told::Answer(answer)) => {
                    transports.set_remote(local.id, Description::parse(&answer.sdp)?.remote(&local)?);
                    timing.answered = begun.elapsed().as_secs_f64();
                    break;
                }
                Some(Told::RequestFailed(failed)) => return Err(SignalingError::Refused(failed.message)),
                Some(Told::Left(left)) => return Err(SignalingError::Refused(left.message)),
                _ => {}
            }
        }
        let (session, orders) = Session::new(vec![local.id], timing);
        let negotiation = Negotiation::begun(transports, local, sections);
        tokio::task::spawn_local(attend(negotiation, asks, answers, orders, join.paused));
        Ok(session)
    }
}

/// `GetRoom`, for how long the server takes to answer while it is busy.
#[derive(Clone, Debug)]
pub struct Probe {
    channel: Channel,
    token: Option<MetadataValue<Ascii>>,
    room: String,
}

impl Probe {
    /// How long one call took; a room that does not exist yet is an answer, too.
    pub async fn ask(&self) -> Duration {
        let mut call = Request::new(proto::GetRoomRequest {
            room: self.room.clone(),
        });
        if let Some(token) = &self.token {
            call.metadata_mut().insert("authorization", token.clone());
        }
        let begun = Instant::now();
        let _ = RoomServiceClient::new(self.channel.clone()).get_room(call).await;
        begun.elapsed()
    }
}

/// The error at the end of the chain: those above it say no more than that there was one.
fn root(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .last()
        .map_or_else(String::new, ToString::to_string)
}

fn request(id: u64, message: Ask) -> proto::SessionRequest {
    proto::SessionRequest {
        request_id: id,
        message: Some(message),
    }
}

fn message(join: &Join, offer: (u32, String)) -> proto::Join {
    let add_tracks = join.publish.iter().map(|publication| {
        let (kind, source) = match publication.codec.kind() {
            Kind::Audio => (proto::MediaKind::Audio, proto::TrackSource::Microphone),
            Kind::Video => (proto::MediaKind::Video, proto::TrackSource::Camera),
        };
        let layers = publication
            .layers
            .iter()
            .enumerate()
            .map(|(index, layer)| proto::VideoLayer {
                rid: layer.rid.clone().unwrap_or_default(),
                width: layer.width,
                height: layer.height,
                bitrate_bps: layer.bitrate,
                spatial: index as u32,
            });
        let best = publication.layers.last();
        proto::AddTrack {
            cid: publication.cid.clone(),
            kind: kind.into(),
            source: source.into(),
            width: best.map_or(0, |layer| layer.width),
            height: best.map_or(0, |layer| layer.height),
            layers: if publication.codec == Codec::Opus {
                Vec::new()
            } else {
                layers.collect()
            },
            disable_red: true,
            ..Default::default()
        }
    });
    proto::Join {
        room: join.room.clone(),
        auto_subscribe: join.subscribe != Subscribe::None,
        reserve_sections: true,
        offer: Some(description(offer)),
        add_tracks: add_tracks.collect(),
        client: concat!("pysfu-load ", env!("CARGO_PKG_VERSION")).to_owned(),
        ..Default::default()
    }
}

fn description((id, sdp): (u32, String)) -> proto::SessionDescription {
    proto::SessionDescription {
        sdp,
        id,
        ..Default::default()
    }
}

/// The connection and its offers, of which the first is answered.
struct Negotiation {
    transports: Transports,
    local: Local,
    sections: Sections,
}

impl Negotiation {
    fn begun(transports: Transports, local: Local, mut sections: Sections) -> Self {
        sections.answered();
        Self {
            transports,
            local,
            sections,
        }
    }

    /// The offer that is due after what the server told, if one is.
    fn handle(&mut self, told: &Told) -> Result<Option<(u32, String)>, SignalingError> {
        let due = match told {
            Told::Answer(answer) => {
                let remote = Description::parse(&answer.sdp)?.remote(&self.local)?;
                self.transports.set_remote(self.local.id, remote);
                self.sections.answered()
            }
            Told::MediaSectionsRequired(more) => self.sections.require(more.audio, more.video)?,
            _ => false,
        };
        Ok(due.then(|| self.sections.offer(&self.local)))
    }
}

/// Lives as long as the session: reads what the server tells, sends what is ordered.
async fn attend(
    mut negotiation: Negotiation,
    asks: Sender<proto::SessionRequest>,
    mut answers: Streaming<proto::SessionResponse>,
    mut orders: Orders,
    paused: bool,
) {
    let mut wanted = Wanted::default();
    let mut tracks: Vec<String> = Vec::new();
    let mut id = 2;
    loop {
        let changed = tokio::select! {
            told = answers.message() => match told {
                Ok(Some(told)) => match told.message {
                    Some(Told::TrackSubscribed(subscribed)) => {
                        tracks.push(subscribed.track_id.clone());
                        if !paused && wanted == Wanted::default() { Vec::new() } else { vec![subscribed.track_id] }
                    }
                    Some(Told::Left(left)) => {
                        orders.end(if left.can_rejoin { End::Rejoin } else { End::Dismissed });
                        break;
                    }
                    None => break,
                    Some(told) => {
                        let Ok(due) = negotiation.handle(&told) else { break };
                        if let Some(offer) = due {
                            id += 1;
                            let _ = asks.send(request(id, Ask::Offer(description(offer)))).await;
                        }
                        Vec::new()
                    }
                },
                _ => break,
            },
            order = orders.recv() => match order {
                Some(size) => {
                    wanted = size;
                    tracks.clone()
                }
                None => {
                    let _ = asks.send(request(id, Ask::Leave(proto::Leave {}))).await;
                    // Until the server has taken leave.
                    while let Ok(Some(_)) = answers.message().await {}
                    break;
                }
            },
        };
        if !changed.is_empty() {
            let settings = proto::UpdateTrackSettings {
                track_ids: changed,
                disabled: paused,
                width: wanted.width,
                height: wanted.height,
                ..Default::default()
            };
            id += 1;
            if asks
                .send(request(id, Ask::UpdateTrackSettings(settings)))
                .await
                .is_err()
            {
                break;
            }
        }
    }
}
