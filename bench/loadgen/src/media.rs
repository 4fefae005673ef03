//! The media plane: one thread that owns every connection's socket, ICE, DTLS, SRTP and RTCP.
//! Signaling and scenarios, on another thread, talk to it through a [`MediaHandle`].

mod connection;
mod driver;
mod dtls;
mod hearing;
mod ice;
mod receive;
mod recording;
mod send;
mod socket;
mod stamp;
mod totals;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::sync::oneshot;

use crate::plan::{Codec, ConnectionId, ConnectionPlan, Kind, Local, Remote};
use connection::Milestone;
use driver::{Driver, Request};
pub use recording::RecordingError;
use recording::{Recording, Replayed};
use socket::Waker;

#[derive(Clone, Debug)]
pub struct MediaOptions {
    /// Address that sockets are bound to and that candidates show.
    pub address: IpAddr,
    /// One received packet of so many, per stream, is authenticated, decrypted and its latency taken. A prime avoids
    /// hitting the same place in every frame. 0: only the first.
    pub sample_every: u32,
    /// How often a receiver sends transport-wide feedback; zero: never.
    pub feedback_interval: Duration,
    /// Share of received video packets that a receiver treats as lost, retransmissions among them.
    pub receive_loss: f64,
    /// Share of packets that a sender loses on their way, retransmissions among them.
    pub send_loss: f64,
    /// UDP_GRO on receiving sockets. Off in headline figures.
    pub receive_gro: bool,
    /// Latency from the kernel's receive timestamps (SO_TIMESTAMPNS) in place of the time of the read.
    pub kernel_timestamps: bool,
    /// Run the media thread on this CPU.
    pub cpu: Option<usize>,
    /// Asked of the kernel for each socket, bytes: what a stalled read leaves waiting must fit.
    pub receive_buffer: u32,
    /// What [`Source::Recorded`] and [`Source::Live`] replay: of each kind of media, those of one codec.
    pub recordings: Vec<Recordings>,
}

/// Files of `python -m bench.record`: those of one codec.
#[derive(Clone, Debug)]
pub struct Recordings {
    pub folder: PathBuf,
    pub codec: Codec,
    /// One per layer of simulcast, or the one for a single layer.
    pub simulcast: bool,
}

impl Default for MediaOptions {
    fn default() -> Self {
        Self {
            address: IpAddr::from([127, 0, 0, 1]),
            sample_every: 101,
            feedback_interval: Duration::from_millis(100),
            receive_loss: 0.0,
            send_loss: 0.0,
            receive_gro: false,
            kernel_timestamps: false,
            cpu: None,
            receive_buffer: 4 * 1024 * 1024,
            recordings: Vec::new(),
        }
    }
}

/// Of simulcast, at most.
pub const LAYERS: usize = 3;

/// What every publication of a kind sends from now on.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    Silence,
    /// Frames of `packets_per_frame` packets of `payload` bytes each, `frames_per_second` of them; a keyframe first and then every
    /// `keyframe_interval`. Every layer sends the same. The payload begins as the codec's does, so that servers can read it.
    Synthetic {
        packets_per_frame: u32,
        payload: u32,
        frames_per_second: f64,
        keyframe_interval: Duration,
    },
    /// Frames recorded by a real encoder, one recording per layer, lowest first, replayed at `speed` times their pace.
    Recorded {
        speed: f64,
    },
    /// Recorded frames as if they were encoded now: all layers send the same frame at the same time, and a keyframe when one
    /// is asked for. Frame `n` of the recording is due `n` intervals, and any multiple of its length, after 1970.
    Live,
}

/// Where a connection is, for the scenarios.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Seconds since `open`.
    pub ice_connected: Option<f64>,
    pub dtls_connected: Option<f64>,
    pub first_media: Option<f64>,
    pub failed: bool,
}

/// Sums over all connections since the last [`MediaHandle::take`].
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    pub seconds: f64,
    pub published: KindCounts,
    pub received_audio: KindCounts,
    pub received_video: KindCounts,
    /// Retransmissions received (RFC 4588), not in the above, and those of them that filled a hole.
    pub received_rtx: u64,
    pub repaired: u64,
    /// Holes in the sequence numbers of a stream that nothing has filled yet; one that is filled later is taken off then.
    pub lost_audio: u64,
    pub lost_video: u64,
    pub duplicates: u64,
    /// Of payload types that were not negotiated, or before the keys.
    pub unexpected: u64,
    pub nacks_sent: u64,
    pub plis_sent: u64,
    pub plis_received: u64,
    pub feedback_sent: u64,
    /// Of the sampled packets.
    pub authenticated: u64,
    pub authentication_failed: u64,
    /// Streams (connection, SSRC) that received something.
    pub streams: u64,
    /// Of the packets whose latency was taken, by layer of simulcast, lowest first.
    pub sampled_layers: [u64; LAYERS],
    /// Milliseconds from the publisher's send call to arrival, of the sampled packets; null when there were none.
    pub latency_ms: Latency,
    /// CPU seconds that the media thread used.
    pub media_cpu_seconds: f64,
    /// CPU seconds that the whole process used.
    pub process_cpu_seconds: f64,
    /// Datagrams that the kernel dropped because a socket of the load engine was full (a server's own are not among them).
    pub receive_buffer_errors: u64,
    /// Packets that the publisher wanted to send later than 5 ms after their time: the load engine is the bottleneck.
    pub sent_late: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct KindCounts {
    pub packets: u64,
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    pub samples: u64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// What a participant received of one kind since [`MediaHandle::listen`].
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Silence {
    pub packets: u64,
    /// Streams of which something came within the last second.
    pub streams: u32,
    /// The longest time without any packet, and when it began (ms since 1970).
    pub gap_ms: f64,
    pub gap_at_ms: f64,
    /// Since the last packet.
    pub silent_ms: f64,
    /// The longest time without a packet of one of the streams that are there.
    pub stream_gap_ms: f64,
}

/// What a participant received, over all the connections that it has had.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Heard {
    pub audio: Silence,
    pub video: Silence,
}

#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    #[error("the media thread has ended: {0}")]
    Ended(String),
    #[error("connection {0:?} is not open")]
    Unknown(ConnectionId),
    #[error("cannot open a socket: {0}")]
    Socket(#[from] std::io::Error),
    #[error(transparent)]
    Recording(#[from] RecordingError),
}

/// Cheap to clone; every call is a message to the media thread, which ends when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct MediaHandle {
    requests: Sender<Request>,
    waker: Arc<Waker>,
}

impl MediaHandle {
    pub fn start(options: MediaOptions) -> Result<Self, MediaError> {
        let mut recordings = Replayed::default();
        for files in &options.recordings {
            match files.codec.kind() {
                Kind::Audio => recordings.audio = files.read()?,
                Kind::Video => recordings.video = files.read()?,
            }
        }
        let (requests, receiver) = channel();
        let waker = Arc::new(Waker::new()?);
        let driver = Driver::new(options, receiver, Arc::clone(&waker), recordings)?;
        std::thread::Builder::new()
            .name("media".to_owned())
            .spawn(move || driver.run())?;
        Ok(Self { requests, waker })
    }

    /// Opens a socket and makes ICE credentials.
    pub async fn open(&self, plan: ConnectionPlan) -> Result<Local, MediaError> {
        let (reply, answer) = oneshot::channel();
        self.request(Request::Open(plan, reply));
        answer.await.map_err(|_| ended())?
    }

    /// The server's answer or offer; the first starts ICE (or, with fixed keys, media), later ones change formats.
    pub fn set_remote(&self, connection: ConnectionId, remote: Remote) {
        self.request(Request::SetRemote(connection, remote));
    }

    /// Closes `old`; `new`, which has the same publications, goes on with its streams once it is connected.
    pub fn replace(&self, old: ConnectionId, new: ConnectionId) {
        self.request(Request::Replace(old, new));
    }

    pub fn close(&self, connection: ConnectionId) {
        self.request(Request::Close(connection));
    }

    /// Until DTLS is done (with fixed keys: at once), or the connection has failed: [`Progress::failed`] tells.
    pub async fn connected(&self, connection: ConnectionId) -> Result<Progress, MediaError> {
        self.wait(connection, Milestone::Connected).await
    }

    /// Until a media packet that authenticates has come, or the connection has failed.
    pub async fn first_media(&self, connection: ConnectionId) -> Result<Progress, MediaError> {
        self.wait(connection, Milestone::FirstMedia).await
    }

    pub fn set_source(&self, kind: Kind, source: Source) {
        self.request(Request::SetSource(kind, source));
    }

    /// The counts since the last call.
    pub async fn take(&self) -> Result<Counts, MediaError> {
        let (reply, answer) = oneshot::channel();
        self.request(Request::Take(reply));
        answer.await.map_err(|_| ended())
    }

    /// What everyone heard since it began to be counted, by index of the participant; `anew`: it is counted from now on.
    pub async fn listen(&self, anew: bool) -> Result<Vec<Heard>, MediaError> {
        let (reply, answer) = oneshot::channel();
        self.request(Request::Listen(anew, reply));
        answer.await.map_err(|_| ended())
    }

    async fn wait(&self, connection: ConnectionId, milestone: Milestone) -> Result<Progress, MediaError> {
        let (reply, answer) = oneshot::channel();
        self.request(Request::Wait(connection, milestone, reply));
        answer.await.map_err(|_| MediaError::Unknown(connection))
    }

    /// A thread that has ended is told by the answer that does not come.
    fn request(&self, request: Request) {
        let _ = self.requests.send(request);
        self.waker.wake();
    }
}

impl Drop for MediaHandle {
    fn drop(&mut self) {
        // The thread looks whether this was the last handle.
        let (last, _) = channel();
        drop(std::mem::replace(&mut self.requests, last));
        self.waker.wake();
    }
}

fn ended() -> MediaError {
    MediaError::Ended("it does not answer".to_owned())
}

impl Recordings {
    /// Whether all the files are there.
    pub fn exist(&self) -> bool {
        self.paths().all(|path| path.is_file())
    }

    fn read(&self) -> Result<Vec<Recording>, RecordingError> {
        self.paths().map(|path| Recording::read(&path, self.codec)).collect()
    }

    /// Lowest layer first.
    fn paths(&self) -> impl Iterator<Item = PathBuf> {
        let names: &[&str] = match (self.codec, self.simulcast) {
            (Codec::Opus, _) => &["opus"],
            (Codec::Vp8, true) => &["vp8-0", "vp8-1", "vp8-2"],
            (Codec::Vp8, false) => &["vp8-single"],
            (Codec::H264, true) => &["h264-0", "h264-1", "h264-2"],
            (Codec::H264, false) => &["h264-single"],
        };
        names.iter().map(|name| self.folder.join(format!("{name}.ivf")))
    }
}

/// ns since 1970.
fn wall_clock() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_nanos() as u64)
}
