//! Janus' videoroom plugin over WebSocket (subprotocol `janus-protocol`). A participant has a Janus session of its own,
//! with one handle to publish and one to subscribe, each with a transport of its own.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::transports::Transports;
use super::{Join, Session, SignalingError, Subscribe, Timing};
use crate::media::MediaHandle;
use crate::plan::{ConnectionPlan, Publication};
use crate::sdp::{Answering, Description, Receiving, answer, offer};

/// Janus forgets sessions that say nothing for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(25);
/// Messages put aside while another is waited for.
const MAX_ASIDE: usize = 256;

pub(super) struct Janus {
    address: String,
}

impl Janus {
    pub(super) fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
        }
    }

    pub(super) async fn join(&self, media: &MediaHandle, join: Join) -> Result<Session, SignalingError> {
        let begun = Instant::now();
        let mut link = Link::open(&self.address).await?;
        let room = room_number(&join.room);
        let mut transports = Transports::new(media);
        let mut connections = Vec::new();
        let mut timing = Timing::default();
        let plan = |publications: &[Publication]| ConnectionPlan {
            participant: join.index,
            publications: publications.to_vec(),
            cipher: join.cipher,
        };
        if !join.publish.is_empty() {
            let handle = link.attach().await?;
            link.create_room(handle, room).await?;
            timing.opened = begun.elapsed().as_secs_f64();
            let local = transports.open(plan(&join.publish)).await?;
            let body =
                json!({"request": "joinandconfigure", "ptype": "publisher", "room": room, "display": join.identity});
            // Our layers are the lowest first; without a word Janus takes the first for the highest.
            let sdp = offer(&local, Receiving::default());
            let jsep = json!({"type": "offer", "sdp": sdp, "rid_order": "lmh"});
            let sdp = link.negotiate(handle, body, Some(jsep)).await?;
            timing.joined = begun.elapsed().as_secs_f64();
            transports.set_remote(local.id, Description::parse(&sdp)?.remote(&local)?);
            connections.push(local.id);
        }
        if join.subscribe != Subscribe::None {
            let handle = link.attach().await?;
            let feeds = link.feeds(handle, room, &join.identity).await?;
            let streams: Vec<Value> = feeds.iter().map(|feed| json!({"feed": feed})).collect();
            let body = json!({"request": "join", "ptype": "subscriber", "room": room, "streams": streams});
            let sdp = link.negotiate(handle, body, None).await?;
            timing.joined = begun.elapsed().as_secs_f64();
            timing.opened = begun.elapsed().as_secs_f64();
            let local = transports.open(plan(&[])).await?;
            let description = Description::parse(&sdp)?;
            let jsep = json!({"type": "answer", "sdp": answer(&local, &description, |section| match section.kind {
                Some(_) => Answering::Receive,
                None => Answering::Refuse,
            })});
            transports.set_remote(local.id, description.remote(&local)?);
            link.start(handle, jsep, join.paused).await?;
            connections.insert(0, local.id);
        }
        timing.answered = begun.elapsed().as_secs_f64();
        let (session, mut orders) = Session::new(connections, timing);
        tokio::task::spawn_local(async move {
            let mut keep_alive = tokio::time::interval(KEEP_ALIVE);
            loop {
                tokio::select! {
                    // Layers of simulcast are not part of any comparison.
                    wanted = orders.recv() => {
                        if wanted.is_none() {
                            break;
                        }
                    }
                    _ = keep_alive.tick() => {
                        if link.keep_alive().await.is_err() {
                            break;
                        }
                    }
                    told = link.socket.next() => {
                        if !matches!(told, Some(Ok(_))) {
                            break;
                        }
                    }
                }
            }
            drop(transports);
        });
        Ok(session)
    }
}

/// Janus' rooms have numbers.
fn room_number(room: &str) -> u64 {
    let hash = room.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    1 + (hash >> 33)
}

/// One Janus session.
struct Link {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: u64,
    transaction: u64,
    aside: VecDeque<Value>,
}

impl Link {
    async fn open(address: &str) -> Result<Self, SignalingError> {
        let unreachable = |error: tokio_tungstenite::tungstenite::Error| SignalingError::Unreachable(error.to_string());
        let mut request = format!("ws://{address}").into_client_request().map_err(unreachable)?;
        request.headers_mut().insert(
            "Sec-WebSocket-Protocol",
            tonic::codegen::http::HeaderValue::from_static("janus-protocol"),
        );
        let (socket, _) = tokio_tungstenite::connect_async(request).await.map_err(unreachable)?;
        let mut link = Self {
            socket,
            session: 0,
            transaction: 0,
            aside: VecDeque::new(),
        };
        let answer = link.ask(json!({"janus": "create"})).await?;
        link.session = number(&answer["data"]["id"])?;
        Ok(link)
    }

    async fn attach(&mut self) -> Result<u64, SignalingError> {
        let request = json!({"janus": "attach", "plugin": "janus.plugin.videoroom"});
        let answer = self.ask(request).await?;
        number(&answer["data"]["id"])
    }

    /// The room may be there already.
    async fn create_room(&mut self, handle: u64, room: u64) -> Result<(), SignalingError> {
        let body = json!({
            "request": "create", "room": room, "publishers": 1_000, "audiocodec": "opus", "videocodec": "vp8,h264",
            "bitrate": 0, "notify_joining": false, "fir_freq": 0, "audiolevel_ext": true, "transport_wide_cc_ext": true
        });
        self.ask(json!({"janus": "message", "handle_id": handle, "body": body}))
            .await?;
        Ok(())
    }

    /// Ids of those who publish, except oneself.
    async fn feeds(&mut self, handle: u64, room: u64, identity: &str) -> Result<Vec<u64>, SignalingError> {
        let body = json!({"request": "listparticipants", "room": room});
        let answer = self
            .ask(json!({"janus": "message", "handle_id": handle, "body": body}))
            .await?;
        let list = answer["plugindata"]["data"]["participants"].as_array().cloned();
        let all = list.ok_or_else(|| SignalingError::Refused(answer.to_string()))?;
        let others = all
            .iter()
            .filter(|one| one["publisher"] == true && one["display"] != identity);
        others.map(|one| number(&one["id"])).collect()
    }

    /// Sends a request and waits for the event with a description.
    async fn negotiate(&mut self, handle: u64, body: Value, jsep: Option<Value>) -> Result<String, SignalingError> {
        let mut request = json!({"janus": "message", "handle_id": handle, "body": body});
        if let Some(jsep) = jsep {
            request["jsep"] = jsep;
        }
        self.ask(request).await?;
        let event = self
            .event(|event| event["sender"] == handle && (event["jsep"]["sdp"].is_string() || refusal(event).is_some()))
            .await?;
        Ok(event["jsep"]["sdp"].as_str().unwrap_or_default().to_owned())
    }

    async fn start(&mut self, handle: u64, jsep: Value, paused: bool) -> Result<(), SignalingError> {
        let body = json!({"request": "start"});
        self.ask(json!({"janus": "message", "handle_id": handle, "body": body, "jsep": jsep}))
            .await?;
        if paused {
            let body = json!({"request": "pause"});
            self.ask(json!({"janus": "message", "handle_id": handle, "body": body}))
                .await?;
        }
        Ok(())
    }

    async fn keep_alive(&mut self) -> Result<(), SignalingError> {
        self.send(json!({"janus": "keepalive"})).await?;
        Ok(())
    }

    async fn send(&mut self, mut request: Value) -> Result<String, SignalingError> {
        self.transaction += 1;
        let transaction = self.transaction.to_string();
        request["transaction"] = json!(transaction);
        if self.session != 0 {
            request["session_id"] = json!(self.session);
        }
        let message = Message::text(request.to_string());
        let sent = self.socket.send(message).await;
        sent.map_err(|error| SignalingError::Unreachable(error.to_string()))?;
        Ok(transaction)
    }

    /// Sends and waits for the answer: an acknowledgement where the result comes as an event.
    async fn ask(&mut self, request: Value) -> Result<Value, SignalingError> {
        let transaction = self.send(request).await?;
        // The event of the same transaction may overtake the acknowledgement.
        self.event(|event| event["transaction"] == transaction.as_str() && event["janus"] != "event")
            .await
    }

    /// The first message that fits, of those put aside or to come.
    async fn event(&mut self, fits: impl Fn(&Value) -> bool) -> Result<Value, SignalingError> {
        let known = self
            .aside
            .iter()
            .position(&fits)
            .and_then(|index| self.aside.remove(index));
        let event = match known {
            Some(event) => event,
            None => loop {
                let message = self.socket.next().await;
                let message = message.ok_or_else(|| SignalingError::Unreachable("the socket closed".to_owned()))?;
                let message = message.map_err(|error| SignalingError::Unreachable(error.to_string()))?;
                let Ok(text) = message.to_text() else { continue };
                let Ok(value) = serde_json::from_str::<Value>(text) else {
                    continue;
                };
                if fits(&value) {
                    break value;
                }
                self.aside.push_back(value);
                if self.aside.len() > MAX_ASIDE {
                    self.aside.pop_front();
                }
            },
        };
        if event["janus"] == "error" || refusal(&event).is_some() {
            return Err(SignalingError::Refused(event.to_string()));
        }
        Ok(event)
    }
}

/// The plugin's error code, unless it says that the room exists.
fn refusal(event: &Value) -> Option<u64> {
    const ROOM_EXISTS: u64 = 427;
    let code = event["plugindata"]["data"]["error_code"].as_u64();
    code.filter(|&code| code != ROOM_EXISTS)
}

fn number(value: &Value) -> Result<u64, SignalingError> {
    value
        .as_u64()
        .ok_or_else(|| SignalingError::Protocol(format!("{value} is no number")))
}
