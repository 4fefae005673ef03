//! `pysfu-load`: load for SFUs, with thousands of WebRTC participants on one core.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use engine::event::SrtpProfile;
use pysfu_load::media::{MediaHandle, MediaOptions, Source};
use pysfu_load::plan::Codec;
use pysfu_load::scenario::call::{Shape, Tracks};
use pysfu_load::scenario::fanout::{self, Traffic};
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
    /// One of the standard scenarios: A audio mesh, B 720p to many, C simulcast with layer switches, D held viewers,
    /// E B with 2 % loss at the receivers, F churn
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
enum Recorded {
    Vp8,
    H264,
    Opus,
}

/// What every command takes.
#[derive(Args, Clone)]
struct Common {
    /// pysfu://host:port, janus+ws://host:port or relay://host:port
    #[arg(long)]
    server: String,
    #[arg(long, default_value = "load")]
    room: String,
    #[arg(long, value_enum, default_value = "gcm")]
    cipher: Cipher,
    /// Address of the load engine's sockets
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    /// CPU of the media thread
    #[arg(long)]
    cpu: Option<usize>,
    /// Process of the server, on this machine, whose CPU and memory are told
    #[arg(long)]
    server_pid: Option<u32>,
    /// The CPU that the server has to itself
    #[arg(long)]
    server_cpu: Option<usize>,
    /// One received packet of so many is authenticated and its latency taken; 0: only the first of a stream
    #[arg(long, default_value_t = 101)]
    sample: u32,
    /// Latency up to the kernel's receive timestamp, not to the read
    #[arg(long)]
    kernel_timestamps: bool,
    /// UDP_GRO on receiving sockets
    #[arg(long)]
    receive_gro: bool,
    /// Share of video packets that receivers treat as lost
    #[arg(long, default_value_t = 0.0)]
    receive_loss: f64,
    /// Folder of `python -m bench.record`
    #[arg(long)]
    recordings: Option<PathBuf>,
    /// Write the report here, not to standard output
    #[arg(long)]
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
    #[arg(long, value_name = "BYTES")]
    audio: Option<u32>,
    /// Recorded media
    #[arg(long, value_enum)]
    recorded: Option<Recorded>,
    /// Frames (audio: packets) per second of each publisher; of recorded media, times its own pace
    #[arg(long, value_delimiter = ',', default_value = "30")]
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
    kind: Recorded,
    #[arg(long, default_value_t = 50)]
    viewers: u32,
    /// Publishers at each point
    #[arg(long, value_delimiter = ',', default_value = "2,8,14,20")]
    publishers: Vec<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "verbatim")]
enum Letter {
    A,
    B,
    C,
    D,
    E,
    F,
}

#[derive(Args, Clone)]
struct Scenario {
    #[arg(value_enum)]
    letter: Letter,
    #[command(flatten)]
    common: Common,
    /// Participants (A, C), viewers (B, D, E) or joins (F)
    #[arg(long)]
    size: Option<u32>,
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
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

    fn media(&self) -> Result<MediaHandle, Failure> {
        let options = MediaOptions {
            address: self.address,
            sample_every: self.sample,
            receive_loss: self.receive_loss,
            receive_gro: self.receive_gro,
            kernel_timestamps: self.kernel_timestamps,
            cpu: self.cpu,
            recordings: self.recordings.clone(),
            ..MediaOptions::default()
        };
        MediaHandle::start(options).map_err(|error| Failure::Scenario(ScenarioError::Media(error)))
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
        (Some(recorded), _) => (codec(recorded), Traffic::Recorded),
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
    if traffic == Traffic::Recorded && common.recordings.is_none() {
        return Err(Failure::Usage("--recorded needs --recordings FOLDER".to_owned()));
    }
    let shape = Shape {
        publishers: options.publishers,
        subscribers: if options.mesh { 0 } else { options.subscribers },
        mesh: options.mesh,
        ..common.shape(codec)
    };
    let plan = fanout::Plan {
        shape,
        traffic,
        steps: options.steps,
        warmup: Duration::from_secs_f64(options.warmup),
        time: Duration::from_secs_f64(options.seconds),
        search: options.search_saturation,
        watched: common.watched(),
        switch_every: None,
    };
    let report = fanout::run(&common.server()?, &common.server, common.media()?, plan).await?;
    Ok(serde_json::to_value(report)?)
}

fn codec(recorded: Recorded) -> Codec {
    match recorded {
        Recorded::Vp8 => Codec::Vp8,
        Recorded::H264 => Codec::H264,
        Recorded::Opus => Codec::Opus,
    }
}

/// 30 frames a second of five packets: 1.4 Mb/s.
fn camera() -> Source {
    Source::Synthetic {
        packets_per_frame: 5,
        payload: 1_150,
        frames_per_second: 30.0,
        keyframe_interval: Duration::from_secs(3),
    }
}

async fn run_joins(options: Joins) -> Result<Value, Failure> {
    let common = &options.common;
    let plan = joins::Plan {
        shape: common.shape(Codec::Vp8),
        source: camera(),
        rate: options.rate,
        count: options.count,
        stay: options.stay.map(Duration::from_secs_f64),
        watched: common.watched(),
    };
    let report = joins::run(&common.server()?, &common.server, common.media()?, plan).await?;
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
            ..common.shape(codec(options.kind))
        },
        publishers: options.publishers,
        watched,
    };
    let report = memory::run(&common.server()?, &common.server, common.media()?, plan).await?;
    Ok(serde_json::to_value(report)?)
}

async fn run_scenario(options: Scenario) -> Result<Value, Failure> {
    let mut common = options.common.clone();
    let size = |default| options.size.unwrap_or(default);
    let recorded = common.recordings.is_some();
    let video = |rate| match recorded {
        true => (Traffic::Recorded, 1.0),
        false => {
            let traffic = Traffic::Synthetic {
                payload: 1_150,
                packets_per_frame: 5,
            };
            (traffic, rate)
        }
    };
    if options.letter == Letter::F {
        let joins = Joins {
            common,
            rate: 200.0,
            count: size(2_000),
            stay: Some(2.0),
        };
        return run_joins(joins).await;
    }
    let (shape, (traffic, rate), switch_every) = match options.letter {
        Letter::A => {
            let shape = Shape {
                publishers: size(30),
                mesh: true,
                ..common.shape(Codec::Opus)
            };
            let traffic = Traffic::Synthetic {
                payload: 120,
                packets_per_frame: 1,
            };
            (shape, (traffic, 50.0), None)
        }
        Letter::C => {
            let mut shape = Shape {
                publishers: size(10),
                mesh: true,
                ..common.shape(Codec::Vp8)
            };
            shape.tracks.simulcast = true;
            (shape, video(30.0), Some(Duration::from_secs(5)))
        }
        letter => {
            if letter == Letter::E {
                common.receive_loss = 0.02;
            }
            let held = letter == Letter::D;
            let shape = Shape {
                subscribers: size(if held { 3_000 } else { 100 }),
                paused: held,
                ..common.shape(Codec::Vp8)
            };
            // 2.5 Mb/s, or as recorded.
            (shape, video(54.0), None)
        }
    };
    let plan = fanout::Plan {
        shape,
        traffic,
        steps: vec![rate],
        warmup: Duration::from_secs(2),
        time: Duration::from_secs_f64(options.seconds),
        search: false,
        watched: common.watched(),
        switch_every,
    };
    let report = fanout::run(&common.server()?, &common.server, common.media()?, plan).await?;
    Ok(serde_json::to_value(report)?)
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
