//! The command line.

use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use engine::event::SrtpProfile;
use pysfu_load::media::MediaOptions;
use pysfu_load::plan::Codec;
use pysfu_load::scenario::standard::Letter;

/// Bytes of a synthetic payload, with which a packet still fits where 1,500 bytes do.
const MAX_PAYLOAD: u32 = 1_380;
const MAX_PACKETS: u32 = 1_000;
/// Rooms, and members of a room: SSRCs are made of both.
const MAX_NUMBER: u32 = 4_096;

#[derive(Parser)]
#[command(
    name = "pysfu-load",
    version,
    about = "Load for SFUs: thousands of WebRTC participants on one core"
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Publishers to receivers, at given rates or up to saturation
    Fanout(Fanout),
    /// Participants who join at a given rate: how long until they have media
    Joins(Joins),
    /// Many small rooms whose participants stay whatever happens: who heard nothing for how long
    Meet(Meet),
    /// The server's memory per subscription
    Memory(Memory),
    /// A live camera in three layers and a microphone, for receivers that are browsers
    Publish(Publish),
    /// One of the standard scenarios, with recorded media where they are there
    Scenario(Scenario),
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Cipher {
    /// AEAD_AES_128_GCM
    Gcm,
    /// AES128_CM_HMAC_SHA1_80
    Cm,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Media {
    Vp8,
    H264,
    Opus,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Video {
    Vp8,
    H264,
}

/// What every command takes.
#[derive(Args, Clone)]
pub(super) struct Common {
    /// pysfu://HOST:PORT (gRPC), livekit+ws://HOST:PORT?protocol=1 (or 0), whip+http://HOST:PORT, janus+ws://HOST:PORT or
    /// relay://HOST:PORT; the first three take KEY:SECRET@ before the host, those of `pysfu serve --dev` if not given
    #[arg(long, value_name = "URL")]
    pub(super) server: String,
    #[arg(long, default_value = "load")]
    pub(super) room: String,
    /// The only SRTP profile that is offered
    #[arg(long, value_enum, default_value = "gcm")]
    pub(super) cipher: Cipher,
    /// Address of the load engine's sockets
    #[arg(long, default_value = "127.0.0.1")]
    pub(super) address: IpAddr,
    /// CPU of the media thread
    #[arg(long)]
    pub(super) cpu: Option<usize>,
    /// Process of the server, on this machine, whose CPU and memory are told
    #[arg(long, value_name = "PID")]
    pub(super) server_pid: Option<u32>,
    /// The CPU that the server has to itself
    #[arg(long, value_name = "CPU")]
    pub(super) server_cpu: Option<usize>,
    /// One received packet of so many is authenticated and its latency taken; 0: only the first of a stream
    #[arg(long, default_value_t = 101, value_name = "PACKETS")]
    pub(super) sample: u32,
    /// Latency up to the kernel's receive timestamp, not to the read
    #[arg(long)]
    pub(super) kernel_timestamps: bool,
    /// UDP_GRO on receiving sockets
    #[arg(long)]
    pub(super) receive_gro: bool,
    /// SO_RCVBUF of each socket
    #[arg(long, default_value_t = MediaOptions::default().receive_buffer, value_name = "BYTES")]
    pub(super) receive_buffer: u32,
    /// Share of video packets, retransmissions among them, that receivers treat as lost: 0 to 1
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub(super) receive_loss: f64,
    /// Share of packets, retransmissions among them, that publishers lose on their way: 0 to 1
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub(super) send_loss: f64,
    /// What `make recordings` made
    #[arg(long, default_value = "target/load", value_name = "FOLDER")]
    pub(super) recordings: PathBuf,
    /// Write the report here, not to standard output
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
}

#[derive(Args, Clone)]
pub(super) struct Fanout {
    #[command(flatten)]
    pub(super) common: Common,
    #[arg(long, default_value_t = 1)]
    pub(super) publishers: u32,
    #[arg(long, default_value_t = 100)]
    pub(super) subscribers: u32,
    /// Everyone publishes and receives all others; there are no further subscribers
    #[arg(long)]
    pub(super) mesh: bool,
    /// Synthetic video: bytes of a packet's payload x packets of a frame
    #[arg(long, value_name = "BYTESxPACKETS", default_value = "1150x5", value_parser = frame)]
    pub(super) video: (u32, u32),
    /// Synthetic audio of so many bytes of payload, not video
    #[arg(long, value_name = "BYTES", conflicts_with = "video", value_parser = payload())]
    pub(super) audio: Option<u32>,
    /// Recorded media
    #[arg(long, value_enum, value_name = "CODEC", conflicts_with_all = ["video", "audio"])]
    pub(super) recorded: Option<Media>,
    /// Frames (audio: packets) per second of each publisher, one step each; of recorded media, times its own pace (default:
    /// 30; of recorded media, 1)
    #[arg(long, value_delimiter = ',', value_name = "RATES", value_parser = positive)]
    pub(super) steps: Vec<f64>,
    /// Seconds before each measurement
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    pub(super) warmup: f64,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 4.0, value_parser = positive)]
    pub(super) seconds: f64,
    /// Look for the highest rate with at most 0.1 % loss
    #[arg(long)]
    pub(super) search_saturation: bool,
}

#[derive(Args, Clone)]
pub(super) struct Joins {
    #[command(flatten)]
    pub(super) common: Common,
    /// Joins per second
    #[arg(long, default_value_t = 20.0, value_parser = positive)]
    pub(super) rate: f64,
    #[arg(long, default_value_t = 200)]
    pub(super) count: u32,
    /// Seconds that everyone stays; without it, to the end
    #[arg(long, value_parser = positive)]
    pub(super) stay: Option<f64>,
}

#[derive(Args, Clone)]
pub(super) struct Meet {
    #[command(flatten)]
    pub(super) common: Common,
    /// Numbers of rooms, called `ROOM-NUMBER`: from the first to before the second
    #[arg(long, default_value = "0..1", value_parser = range, value_name = "FROM..TO")]
    pub(super) rooms: Range<u32>,
    /// Numbers of participants in each of them; others may be those of another process
    #[arg(long, default_value = "0..2", value_parser = range, value_name = "FROM..TO")]
    pub(super) members: Range<u32>,
    /// Members of a room, of this process or not, that publish audio: those with the least numbers
    #[arg(long, default_value_t = 2)]
    pub(super) speakers: u32,
    /// And that publish video
    #[arg(long, default_value_t = 0)]
    pub(super) cameras: u32,
    /// Members of this process that only publish, and so give others nothing to wait for
    #[arg(long)]
    pub(super) publish_only: bool,
    /// Joins per second at the beginning
    #[arg(long, default_value_t = 50.0, value_parser = positive)]
    pub(super) rate: f64,
}

#[derive(Args, Clone)]
pub(super) struct Memory {
    #[command(flatten)]
    pub(super) common: Common,
    #[arg(long, value_enum, default_value = "vp8")]
    pub(super) kind: Media,
    #[arg(long, default_value_t = 50)]
    pub(super) viewers: u32,
    /// Publishers at each point
    #[arg(long, value_delimiter = ',', default_value = "2,8,14,20")]
    pub(super) publishers: Vec<u32>,
}

#[derive(Args, Clone)]
pub(super) struct Publish {
    #[command(flatten)]
    pub(super) common: Common,
    /// Tells publishers of one room apart: `publisher-INDEX`
    #[arg(long, default_value_t = 0)]
    pub(super) index: u32,
    /// How long; without it, until standard input ends
    #[arg(long, value_parser = positive)]
    pub(super) seconds: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "verbatim")]
pub(super) enum Name {
    /// Audio: 30 to each other
    A,
    /// One camera at 720p, at 1 and at 2.5 Mb/s, to 100 viewers
    B,
    /// Simulcast cameras: 10 to each other, who all want another layer every 5 s
    C,
    /// A camera to 3000 viewers who hold: nothing is sent to them
    D,
    /// B, but the viewers lose 2 %
    E,
    /// 2000 viewers of a camera who come, 200 a second, and go after 2 s
    F,
}

#[derive(Args, Clone)]
pub(super) struct Scenario {
    #[arg(value_enum, value_name = "NAME")]
    pub(super) name: Name,
    #[command(flatten)]
    pub(super) common: Common,
    /// Participants (A, C) or viewers, if not as many as said above
    #[arg(long)]
    pub(super) size: Option<u32>,
    /// Seconds of each measurement (default: 10; of C, 15)
    #[arg(long, value_parser = positive)]
    pub(super) seconds: Option<f64>,
    /// Codec of the cameras
    #[arg(long, value_enum, default_value = "vp8")]
    pub(super) codec: Video,
    /// Synthetic media, although recordings are there
    #[arg(long)]
    pub(super) synthetic: bool,
}

impl Media {
    pub(super) fn codec(self) -> Codec {
        match self {
            Self::Vp8 => Codec::Vp8,
            Self::H264 => Codec::H264,
            Self::Opus => Codec::Opus,
        }
    }
}

impl Video {
    pub(super) fn codec(self) -> Codec {
        match self {
            Self::Vp8 => Codec::Vp8,
            Self::H264 => Codec::H264,
        }
    }
}

impl Cipher {
    pub(super) fn profile(self) -> SrtpProfile {
        match self {
            Self::Gcm => SrtpProfile::AeadAes128Gcm,
            Self::Cm => SrtpProfile::Aes128CmHmacSha1_80,
        }
    }
}

impl Name {
    pub(super) fn letter(self) -> Letter {
        match self {
            Self::A => Letter::A,
            Self::B => Letter::B,
            Self::C => Letter::C,
            Self::D => Letter::D,
            Self::E => Letter::E,
            Self::F => Letter::F,
        }
    }
}

/// More than nothing, and so little that it is a time or a rate.
fn positive(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "no number".to_owned())?;
    match value > 0.0 && value <= 1e7 {
        true => Ok(value),
        false => Err("not above 0 and at most 10000000".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "no number".to_owned())?;
    match (0.0..=1.0).contains(&value) {
        true => Ok(value),
        false => Err("not from 0 to 1".to_owned()),
    }
}

/// `3..7`
fn range(text: &str) -> Result<Range<u32>, String> {
    let ends = text
        .split_once("..")
        .and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    ends.filter(|range: &Range<u32>| range.start < range.end && range.end <= MAX_NUMBER)
        .ok_or_else(|| format!("not FROM..TO with FROM < TO <= {MAX_NUMBER}"))
}

fn payload() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(MAX_PAYLOAD))
}

/// `1150x5`
fn frame(text: &str) -> Result<(u32, u32), String> {
    let numbers = text
        .split_once('x')
        .and_then(|(bytes, packets)| Some((bytes.parse().ok()?, packets.parse().ok()?)));
    match numbers {
        Some((bytes @ 1..=MAX_PAYLOAD, packets @ 1..=MAX_PACKETS)) => Ok((bytes, packets)),
        _ => Err(format!("not 1 to {MAX_PAYLOAD} bytes x 1 to {MAX_PACKETS} packets")),
    }
}
