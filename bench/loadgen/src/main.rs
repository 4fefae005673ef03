//! `pysfu-load`: load for SFUs, with thousands of WebRTC participants on one core.

mod cli;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use pysfu_load::media::{MediaHandle, MediaOptions, Recordings};
use pysfu_load::plan::Codec;
use pysfu_load::scenario::call::{Shape, Tracks};
use pysfu_load::scenario::fanout::{self, Traffic};
use pysfu_load::scenario::standard::{self, Choices, Standard};
use pysfu_load::scenario::{ScenarioError, joins, meet, memory, publish};
use pysfu_load::server::Watched;
use pysfu_load::signaling::Server;
use serde_json::Value;

use cli::{Cli, Command, Common, Fanout, Joins, Meet, Memory, Publish, Scenario};

/// How long taking leave of a server may take.
const LEAVING: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    #[error("{0}")]
    Usage(String),
    #[error("cannot start: {0}")]
    Start(std::io::Error),
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Start)?;
    let local = tokio::task::LocalSet::new();
    let done = local.block_on(&runtime, async {
        match command {
            Command::Fanout(fanout) => Ok::<_, Failure>((fanout.common.json.clone(), run_fanout(fanout).await?)),
            Command::Joins(joins) => Ok((joins.common.json.clone(), run_joins(joins).await?)),
            Command::Meet(meet) => Ok((meet.common.json.clone(), run_meet(meet).await?)),
            Command::Memory(memory) => Ok((memory.common.json.clone(), run_memory(memory).await?)),
            Command::Publish(publish) => Ok((publish.common.json.clone(), run_publish(publish).await?)),
            Command::Scenario(scenario) => Ok((scenario.common.json.clone(), run_scenario(scenario).await?)),
        }
    });
    // Everyone's task says goodbye to the server.
    let _ = runtime.block_on(async { tokio::time::timeout(LEAVING, local).await });
    let (json, report) = done?;
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

    fn media(&self, recordings: Vec<Recordings>) -> Result<MediaHandle, Failure> {
        let options = MediaOptions {
            address: self.address,
            sample_every: self.sample,
            receive_loss: self.receive_loss,
            receive_gro: self.receive_gro,
            receive_buffer: self.receive_buffer,
            kernel_timestamps: self.kernel_timestamps,
            cpu: self.cpu,
            send_loss: self.send_loss,
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

    fn watched(&self) -> Result<Option<Watched>, Failure> {
        let cpu = self.server_cpu;
        match self.server_pid.map(|pid| Watched { pid, cpu }) {
            Some(watched) if !watched.is_there() => Err(Failure::Usage(format!(
                "--server-pid: there is no process {}",
                watched.pid
            ))),
            watched => Ok(watched),
        }
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
            cipher: self.cipher.profile(),
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
            let (payload, packets_per_frame) = options.video;
            let traffic = Traffic::Synthetic {
                payload,
                packets_per_frame,
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
        watched: common.watched()?,
        switch_every: None,
    };
    let media = common.media(recordings.into_iter().collect())?;
    let report = fanout::run(&common.server()?, &common.server, media, plan).await?;
    Ok(serde_json::to_value(report)?)
}

async fn run_joins(options: Joins) -> Result<Value, Failure> {
    let common = &options.common;
    let plan = joins::Plan {
        shape: common.shape(Codec::Vp8),
        source: joins::camera(),
        rate: options.rate,
        count: options.count,
        stay: options.stay.map(Duration::from_secs_f64),
        watched: common.watched()?,
    };
    let report = joins::run(&common.server()?, &common.server, common.media(Vec::new())?, plan).await?;
    Ok(serde_json::to_value(report)?)
}

async fn run_meet(options: Meet) -> Result<Value, Failure> {
    let common = &options.common;
    let plan = meet::Plan {
        room: common.room.clone(),
        rooms: options.rooms,
        members: options.members,
        speakers: options.speakers,
        cameras: options.cameras,
        publish_only: options.publish_only,
        rate: options.rate,
        cipher: common.cipher.profile(),
    };
    let report = meet::run(&common.server()?, common.media(Vec::new())?, plan).await?;
    Ok(serde_json::to_value(report)?)
}

async fn run_memory(options: Memory) -> Result<Value, Failure> {
    let common = &options.common;
    let watched = common
        .watched()?
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
    let report = memory::run(&common.server()?, &common.server, common.media(Vec::new())?, plan).await?;
    Ok(serde_json::to_value(report)?)
}

async fn run_publish(options: Publish) -> Result<Value, Failure> {
    let common = &options.common;
    let recordings = vec![
        common.recordings(Codec::Vp8, true),
        common.recordings(Codec::Opus, false),
    ];
    let plan = publish::Plan {
        room: common.room.clone(),
        index: options.index,
        time: options.seconds.map(Duration::from_secs_f64),
        cipher: common.cipher.profile(),
    };
    let counts = publish::run(&common.server()?, common.media(recordings)?, plan).await?;
    Ok(serde_json::to_value(counts)?)
}

async fn run_scenario(options: Scenario) -> Result<Value, Failure> {
    let letter = options.name.letter();
    let mut common = options.common;
    if common.receive_loss == 0.0 {
        common.receive_loss = letter.receive_loss();
    }
    let codec = options.codec.codec();
    let recordings = common.recordings(letter.codec(codec), letter.simulcast());
    let recorded = !options.synthetic && recordings.exist();
    let choices = Choices {
        room: common.room.clone(),
        cipher: common.cipher.profile(),
        codec,
        recorded,
        size: options.size,
        time: options.seconds.map(Duration::from_secs_f64),
        watched: common.watched()?,
    };
    let media = common.media(recorded.then_some(recordings).into_iter().collect())?;
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
