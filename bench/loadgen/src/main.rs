//! `pysfu-load`: load for SFUs, with thousands of WebRTC participants on one core.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use engine::event::SrtpProfile;
use pysfu_load::media::{MediaHandle, MediaOptions, Recordings};
use pysfu_load::plan::Codec;
use pysfu_load::scenario::call::{Shape, Tracks};
use pysfu_load::scenario::fanout::{self, Traffic};
use pysfu_load::scenario::standard::{self, Choices, Letter, Standard};
use pysfu_load::scenario::{ScenarioError, joins, memory};
use pysfu_load::server::Watched;
use pysfu_load::signaling::Server;
use serde_json::Value;

#[derive(Parser)]
#[command(
    name = "pysfu-load",
    version,
    about = "Load for SFUs: thousands of WebRTC participants on one core"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Publishers to receivers at given rates, or up to saturation
    Fanout(Fanout),
    /// Join times at a rate of joins
    Joins(Joins),
    /// Memory of the server per subscription
    Memory(Memory),
    /// One of the standard scenarios, with recorded media where they are there
    Scenario(Scenario),
}

#[derive(Clone, Copy, ValueEnum)]
enum Cipher {
    /// AEAD_AES_128_GCM
    Gcm,
    /// AES128_CM_HMAC_SHA1_80
    Cm,
}

#[derive(Clone, Copy, ValueEnum)]
enum Media {
    Vp8,
    H264,
    Opus,
}

#[derive(Clone, Copy, ValueEnum)]
enum Video {
    Vp8,
    H264,
}

/// What every command takes.
#[derive(Args, Clone)]
struct Common {
    /// pysfu://HOST:PORT (gRPC), livekit+ws://HOST:PORT?protocol=1 (or 0), whip+http://HOST:PORT, janus+ws://HOST:PORT or
    /// relay://HOST:PORT; the first three take KEY:SECRET@ before the host, those of `pysfu serve --dev` if not given
    #[arg(long, value_name = "URL")]
    server: String,
    #[arg(long, default_value = "load")]
    room: String,
    /// The only SRTP profile that is offered
    #[arg(long, value_enum, default_value = "gcm")]
    cipher: Cipher,
    /// Address of the load engine's sockets
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    /// CPU of the media thread
    #[arg(long)]
    cpu: Option<usize>,
    /// Process of the server, on this machine, whose CPU and memory are told
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// The CPU that the server has to itself
    #[arg(long, value_name = "CPU")]
    server_cpu: Option<usize>,
    /// One received packet of so many is authenticated and its latency taken; 0: only the first of a stream
    #[arg(long, default_value_t = 101, value_name = "PACKETS")]
    sample: u32,
    /// Latency up to the kernel's receive timestamp, not to the read
    #[arg(long)]
    kernel_timestamps: bool,
    /// UDP_GRO on receiving sockets
    #[arg(long)]
    receive_gro: bool,
    /// SO_RCVBUF of each socket
    #[arg(long, default_value_t = MediaOptions::default().receive_buffer, value_name = "BYTES")]
    receive_buffer: u32,
    /// Share of video packets, retransmissions among them, that receivers treat as lost: 0 to 1
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    receive_loss: f64,
    /// What `make recordings` made
    #[arg(long, default_value = "target/load", value_name = "FOLDER")]
    recordings: PathBuf,
    /// Write the report here, not to standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Args, Clone)]
struct Fanout {
    #[command(flatten)]
    common: Common,
    #[arg(long, default_value_t = 1)]
    publishers: u32,
    #[arg(long, default_value_t = 100)]
    subscribers: u32,
    /// Everyone publishes and receives all others; there are no further subscribers
    #[arg(long)]
    mesh: bool,
    /// Synthetic video: bytes of a packet's payload x packets of a frame
    #[arg(long, value_name = "BYTESxPACKETS", default_value = "1150x5")]
    video: String,
    /// Synthetic audio of so many bytes of payload, not video
    #[arg(long, value_name = "BYTES", conflicts_with = "video")]
    audio: Option<u32>,
    /// Recorded media
    #[arg(long, value_enum, value_name = "CODEC", conflicts_with_all = ["video", "audio"])]
    recorded: Option<Media>,
    /// Frames (audio: packets) per second of each publisher, one step each; of recorded media, times its own pace (default:
    /// 30; of recorded media, 1)
    #[arg(long, value_delimiter = ',', value_name = "RATES")]
    steps: Vec<f64>,
    /// Seconds before each measurement
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Look for the highest rate with at most 0.1 % loss
    #[arg(long)]
    search_saturation: bool,
}

#[derive(Args, Clone)]
struct Joins {
    #[command(flatten)]
    common: Common,
    /// Joins per second
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    #[arg(long, default_value_t = 200)]
    count: u32,
    /// Seconds that everyone stays; without it, to the end
    #[arg(long)]
    stay: Option<f64>,
}

#[derive(Args, Clone)]
struct Memory {
    #[command(flatten)]
    common: Common,
    #[arg(long, value_enum, default_value = "vp8")]
    kind: Media,
    #[arg(long, default_value_t = 50)]
    viewers: u32,
    /// Publishers at each point
    #[arg(long, value_delimiter = ',', default_value = "2,8,14,20")]
    publishers: Vec<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "verbatim")]
enum Name {
    /// Audio of everyone to everyone: 30
    A,
    /// One camera at 720p, at 1 and 2.5 Mb/s, to many: 100
    B,
    /// Simulcast cameras of everyone to everyone, who all want another layer every 5 s: 10
    C,
    /// B to viewers who hold: 3000
    D,
    /// B to viewers who lose 2 %: 100
    E,
    /// Viewers of a camera who come, 200 a second, and go after 2 s: 2000
    F,
}

#[derive(Args, Clone)]
struct Scenario {
    #[arg(value_enum, value_name = "NAME")]
    name: Name,
    #[command(flatten)]
    common: Common,
    /// Participants (A, C), viewers (B, D, E) or joins (F), not as many as said above
    #[arg(long)]
    size: Option<u32>,
    /// Of each measurement (default: 10; of C, 15)
    #[arg(long)]
    seconds: Option<f64>,
    /// Of the camera
    #[arg(long, value_enum, default_value = "vp8")]
    codec: Video,
    /// Synthetic media also where recordings are there
    #[arg(long)]
    synthetic: bool,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    #[error("{0}")]
    Usage(String),
    #[error("cannot write the report: {0}")]
    Write(#[from] std::io::Error),
    #[error("cannot write the report: {0}")]
    Json(#[from] serde_json::Error),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("pysfu-load: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let (json, report) = local.block_on(&runtime, async {
        match command {
            Command::Fanout(fanout) => Ok::<_, Failure>((fanout.common.json.clone(), run_fanout(fanout).await?)),
            Command::Joins(joins) => Ok((joins.common.json.clone(), run_joins(joins).await?)),
            Command::Memory(memory) => Ok((memory.common.json.clone(), run_memory(memory).await?)),
            Command::Scenario(scenario) => Ok((scenario.common.json.clone(), run_scenario(scenario).await?)),
        }
    })?;
    let text = serde_json::to_string_pretty(&report)?;
    match json {
        Some(path) => std::fs::write(path, text + "\n")?,
        None => println!("{text}"),
    }
    Ok(())
}

impl Common {
    fn server(&self) -> Result<Server, Failure> {
        self.server
            .parse()
            .map_err(|error| Failure::Scenario(ScenarioError::Signaling(error)))
    }

    fn cipher(&self) -> SrtpProfile {
        match self.cipher {
            Cipher::Gcm => SrtpProfile::AeadAes128Gcm,
            Cipher::Cm => SrtpProfile::Aes128CmHmacSha1_80,
        }
    }

    fn media(&self, recordings: Option<Recordings>) -> Result<MediaHandle, Failure> {
        let options = MediaOptions {
            address: self.address,
            sample_every: self.sample,
            receive_loss: self.receive_loss,
            receive_gro: self.receive_gro,
            receive_buffer: self.receive_buffer,
            kernel_timestamps: self.kernel_timestamps,
            cpu: self.cpu,
            recordings,
            ..MediaOptions::default()
        };
        MediaHandle::start(options).map_err(|error| Failure::Scenario(ScenarioError::Media(error)))
    }

    fn recordings(&self, codec: Codec, simulcast: bool) -> Recordings {
        Recordings {
            folder: self.recordings.clone(),
            codec,
            simulcast,
        }
    }

    fn watched(&self) -> Option<Watched> {
        let cpu = self.server_cpu;
        self.server_pid.map(|pid| Watched { pid, cpu })
    }

    fn shape(&self, codec: Codec) -> Shape {
        Shape {
            room: self.room.clone(),
            tracks: Tracks {
                codec,
                simulcast: false,
            },
            publishers: 1,
            subscribers: 0,
            mesh: false,
            paused: false,
            cipher: self.cipher(),
        }
    }
}

async fn run_fanout(options: Fanout) -> Result<Value, Failure> {
    let common = &options.common;
    let (codec, traffic) = match (options.recorded, options.audio) {
        (Some(recorded), _) => (recorded.codec(), Traffic::Recorded),
        (None, Some(payload)) => (
            Codec::Opus,
            Traffic::Synthetic {
                payload,
                packets_per_frame: 1,
            },
        ),
        (None, None) => {
            let wrong = || Failure::Usage(format!("--video {:?} is not BYTESxPACKETS", options.video));
            let (payload, packets) = options.video.split_once('x').ok_or_else(wrong)?;
            let traffic = Traffic::Synthetic {
                payload: payload.parse().map_err(|_| wrong())?,
                packets_per_frame: packets.parse().map_err(|_| wrong())?,
            };
            (Codec::Vp8, traffic)
        }
    };
    let shape = Shape {
        publishers: options.publishers,
        subscribers: if options.mesh { 0 } else { options.subscribers },
        mesh: options.mesh,
        ..common.shape(codec)
    };
    let recordings = (traffic == Traffic::Recorded).then(|| common.recordings(codec, false));
    let steps = match (options.steps.is_empty(), traffic) {
        (false, _) => options.steps,
        (true, Traffic::Recorded) => vec![1.0],
        (true, Traffic::Synthetic { .. }) => vec![30.0],
    };
    let plan = fanout::Plan {
        shape,
        traffic,
        steps,
        warmup: Duration::from_secs_f64(options.warmup),
        time: Duration::from_secs_f64(options.seconds),
        search: options.search_saturation,
        watched: common.watched(),
        switch_every: None,
    };
    let media = common.media(recordings)?;
    let report = fanout::run(&common.server()?, &common.server, media, plan).await?;
    Ok(serde_json::to_value(report)?)
}

impl Media {
    fn codec(self) -> Codec {
        match self {
            Self::Vp8 => Codec::Vp8,
            Self::H264 => Codec::H264,
            Self::Opus => Codec::Opus,
        }
    }
}

async fn run_joins(options: Joins) -> Result<Value, Failure> {
    let common = &options.common;
    let plan = joins::Plan {
        shape: common.shape(Codec::Vp8),
        source: joins::camera(),
        rate: options.rate,
        count: options.count,
        stay: options.stay.map(Duration::from_secs_f64),
        watched: common.watched(),
    };
    let report = joins::run(&common.server()?, &common.server, common.media(None)?, plan).await?;
    Ok(serde_json::to_value(report)?)
}

async fn run_memory(options: Memory) -> Result<Value, Failure> {
    let common = &options.common;
    let watched = common
        .watched()
        .ok_or_else(|| Failure::Usage("memory needs --server-pid".to_owned()))?;
    let plan = memory::Plan {
        shape: Shape {
            publishers: options.publishers.iter().copied().max().unwrap_or(1),
            subscribers: options.viewers,
            ..common.shape(options.kind.codec())
        },
        publishers: options.publishers,
        watched,
    };
    let report = memory::run(&common.server()?, &common.server, common.media(None)?, plan).await?;
    Ok(serde_json::to_value(report)?)
}

async fn run_scenario(options: Scenario) -> Result<Value, Failure> {
    let letter = match options.name {
        Name::A => Letter::A,
        Name::B => Letter::B,
        Name::C => Letter::C,
        Name::D => Letter::D,
        Name::E => Letter::E,
        Name::F => Letter::F,
    };
    let mut common = options.common;
    if common.receive_loss == 0.0 {
        common.receive_loss = letter.receive_loss();
    }
    let codec = match options.codec {
        Video::Vp8 => Codec::Vp8,
        Video::H264 => Codec::H264,
    };
    let recordings = common.recordings(letter.codec(codec), letter.simulcast());
    let recorded = !options.synthetic && recordings.exist();
    let choices = Choices {
        room: common.room.clone(),
        cipher: common.cipher(),
        codec,
        recorded,
        size: options.size,
        time: options.seconds.map(Duration::from_secs_f64),
        watched: common.watched(),
    };
    let media = common.media(recorded.then_some(recordings))?;
    let server = common.server()?;
    Ok(match standard::plan(letter, choices) {
        Standard::Fanout(plan) => serde_json::to_value(fanout::run(&server, &common.server, media, plan).await?)?,
        Standard::Joins(plan) => serde_json::to_value(joins::run(&server, &common.server, media, plan).await?)?,
    })
}

/// A socket per participant: as many files as the system allows.
fn raise_file_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` outlives both calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}
