//! `Core`: the handle of `io`, with Python's types.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use engine::Config;
use engine::command::{
    Command, DataChannel, ExtensionIds, Fingerprint, IceCredentials, OpenDataChannel, Publish, Redirect,
    RestoreDataChannels, SendData, Sound, Subscribe, View, Wanted,
};
use engine::ids::{GroupId, LinkId, PeerId, Ssrc, SubscriptionId, TrackId, WorkerId};
use io::Settings;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::convert::{self, CodecRow, FecRow, PayloadRow, SsrcRow, invalid};
use crate::errors;

/// Stream, label, ordered, most retransmissions, longest life in milliseconds.
type ChannelRow = (u16, String, bool, Option<u32>, Option<u32>);

#[pyclass(module = "pysfu._core", frozen)]
pub(crate) struct Core {
    inner: io::Core,
}

#[pymethods]
impl Core {
    #[new]
    #[pyo3(signature = (*, workers, bind, port, external_ips = Vec::new(), limits = None))]
    fn new(
        py: Python<'_>,
        workers: usize,
        bind: Vec<String>,
        port: u16,
        external_ips: Vec<String>,
        limits: Option<HashMap<String, u64>>,
    ) -> PyResult<Self> {
        let mut engine = Config::default();
        for (name, value) in limits.unwrap_or_default() {
            convert::set_limit(&mut engine, &name, value)?;
        }
        let settings = Settings {
            workers,
            bind: addresses(&bind)?,
            port,
            external_ips: addresses(&external_ips)?,
            engine,
        };
        let inner = py.detach(|| io::Core::start(&settings)).map_err(errors::start)?;
        Ok(Self { inner })
    }

    #[getter]
    fn fingerprint(&self) -> String {
        let hex: Vec<_> = self
            .inner
            .fingerprint()
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect();
        hex.join(":")
    }

    #[getter]
    fn worker_count(&self) -> usize {
        self.inner.worker_count()
    }

    #[getter]
    fn srtp_backend(&self) -> &'static str {
        srtp_backend()
    }

    fn candidates(&self, peer: u64) -> PyResult<Vec<(String, u16)>> {
        let found = self.inner.candidates(PeerId(peer)).map_err(errors::command)?;
        Ok(found
            .iter()
            .map(|address| (address.ip().to_string(), address.port()))
            .collect())
    }

    fn fileno(&self) -> i32 {
        self.inner.event_fd()
    }

    #[pyo3(signature = (limit = 4096))]
    fn poll_events(&self, py: Python<'_>, limit: usize) -> PyResult<Vec<Py<PyAny>>> {
        let reports = self.inner.poll_events(limit);
        reports.into_iter().map(|report| convert::report(py, report)).collect()
    }

    #[pyo3(signature = (*, ice_ufrag, ice_pwd, worker = None))]
    fn add_peer(&self, ice_ufrag: String, ice_pwd: String, worker: Option<u8>) -> PyResult<u64> {
        let peer = self
            .inner
            .add_peer(credentials(ice_ufrag, ice_pwd)?, worker.map(WorkerId))
            .map_err(errors::command)?;
        Ok(peer.0)
    }

    fn remove_peer(&self, peer: u64) -> PyResult<()> {
        self.inner.remove_peer(PeerId(peer)).map_err(errors::command)
    }

    #[pyo3(signature = (peer, *, ice_ufrag, ice_pwd, fingerprints))]
    fn set_remote(&self, peer: u64, ice_ufrag: String, ice_pwd: String, fingerprints: Vec<Vec<u8>>) -> PyResult<()> {
        let fingerprint = |bytes: &Vec<u8>| match <[u8; 32]>::try_from(bytes.as_slice()) {
            Ok(digest) => Ok(Fingerprint(digest)),
            Err(_) => Err(invalid(format!(
                "a SHA-256 fingerprint has 32 bytes, not {}",
                bytes.len()
            ))),
        };
        let fingerprints = fingerprints.iter().map(fingerprint).collect::<PyResult<_>>()?;
        let ice = credentials(ice_ufrag, ice_pwd)?;
        self.command(peer, |peer| Command::SetRemote {
            peer,
            ice,
            fingerprints,
        })
    }

    #[pyo3(signature = (peer, *, ice_ufrag, ice_pwd, remote_ufrag, remote_pwd))]
    fn restart_ice(
        &self,
        peer: u64,
        ice_ufrag: String,
        ice_pwd: String,
        remote_ufrag: String,
        remote_pwd: String,
    ) -> PyResult<()> {
        let local = credentials(ice_ufrag, ice_pwd)?;
        let remote = credentials(remote_ufrag, remote_pwd)?;
        self.command(peer, |peer| Command::RestartIce { peer, local, remote })
    }

    fn set_extensions(&self, peer: u64, ids: HashMap<String, u8>) -> PyResult<()> {
        let mut negotiated = ExtensionIds::default();
        for (name, id) in ids {
            convert::set_extension(&mut negotiated, &name, id)?;
        }
        self.command(peer, |peer| Command::SetExtensions { peer, ids: negotiated })
    }

    #[pyo3(signature = (peer, *, transport_cc, remb))]
    fn set_feedback(&self, peer: u64, transport_cc: bool, remb: bool) -> PyResult<()> {
        self.command(peer, |peer| Command::SetFeedback {
            peer,
            transport_cc,
            remb,
        })
    }

    #[allow(clippy::too_many_arguments)] // keyword arguments of the Python signature
    #[pyo3(signature = (
        peer, *, kind, mid, codecs, rids = Vec::new(), ssrcs = Vec::new(), group = None, encrypted = false,
        fec = convert::NO_FEC
    ))]
    fn publish(
        &self,
        peer: u64,
        kind: &str,
        mid: &str,
        codecs: Vec<CodecRow>,
        rids: Vec<String>,
        ssrcs: Vec<SsrcRow>,
        group: Option<u64>,
        encrypted: bool,
        fec: FecRow,
    ) -> PyResult<u64> {
        let publish = Publish {
            track: TrackId(0),
            peer: PeerId(peer),
            kind: convert::kind(kind)?,
            mid: convert::mid(mid)?,
            codecs: convert::codecs(&codecs)?,
            rids: convert::rids(&rids)?,
            ssrcs: convert::ssrcs(&ssrcs),
            sound: Sound {
                group: group.map(GroupId),
                encrypted,
            },
            fec: convert::fec(fec)?,
        };
        Ok(self.inner.publish(publish).map_err(errors::command)?.0)
    }

    #[pyo3(signature = (track, *, mid, codecs, rids = Vec::new(), ssrcs = Vec::new(), fec = convert::NO_FEC))]
    fn update_publish(
        &self,
        track: u64,
        mid: &str,
        codecs: Vec<CodecRow>,
        rids: Vec<String>,
        ssrcs: Vec<SsrcRow>,
        fec: FecRow,
    ) -> PyResult<()> {
        let publish = Publish {
            track: TrackId(track),
            peer: PeerId(0),
            // The kind of a track does not change; the engine keeps the one it has.
            kind: engine::command::MediaKind::Audio,
            mid: convert::mid(mid)?,
            codecs: convert::codecs(&codecs)?,
            rids: convert::rids(&rids)?,
            ssrcs: convert::ssrcs(&ssrcs),
            sound: Sound::default(),
            fec: convert::fec(fec)?,
        };
        self.inner.update_publish(publish).map_err(errors::command)
    }

    #[pyo3(signature = (track, *, source, sizes = Vec::new()))]
    fn describe(&self, track: u64, source: &str, sizes: Vec<(u16, u16)>) -> PyResult<()> {
        let description = convert::description(source, &sizes)?;
        self.inner
            .describe(TrackId(track), description)
            .map_err(errors::command)
    }

    fn set_speaker(&self, track: u64, rank: Option<u8>) -> PyResult<()> {
        self.inner.set_speaker(TrackId(track), rank).map_err(errors::command)
    }

    fn unpublish(&self, track: u64) -> PyResult<()> {
        self.inner.unpublish(TrackId(track)).map_err(errors::command)
    }

    fn set_muted(&self, track: u64, muted: bool) -> PyResult<()> {
        self.inner.set_muted(TrackId(track), muted).map_err(errors::command)
    }

    #[allow(clippy::too_many_arguments)] // keyword arguments of the Python signature
    #[pyo3(signature = (
        peer, track, *, mid, ssrc, rtx_ssrc, payloads, red = None, paused = false, max_spatial = 255, max_temporal = 255,
        fec = convert::NO_FEC, fec_ssrc = None
    ))]
    fn subscribe(
        &self,
        peer: u64,
        track: u64,
        mid: &str,
        ssrc: u32,
        rtx_ssrc: Option<u32>,
        payloads: Vec<PayloadRow>,
        red: Option<u8>,
        paused: bool,
        max_spatial: u8,
        max_temporal: u8,
        fec: FecRow,
        fec_ssrc: Option<u32>,
    ) -> PyResult<u64> {
        let kind = self.inner.kind(TrackId(track)).map_err(errors::command)?;
        let subscribe = Subscribe {
            subscription: SubscriptionId(0),
            peer: PeerId(peer),
            track: TrackId(track),
            home: WorkerId(0),
            kind,
            mid: convert::mid(mid)?,
            ssrc: Ssrc(ssrc),
            rtx_ssrc: rtx_ssrc.map(Ssrc),
            payloads: convert::payloads(&payloads)?,
            red: red.map(convert::pt).transpose()?,
            fec: convert::fec(fec)?,
            fec_ssrc: fec_ssrc.map(Ssrc),
            wanted: Wanted {
                paused,
                max_spatial,
                max_temporal,
            },
        };
        Ok(self.inner.subscribe(subscribe).map_err(errors::command)?.0)
    }

    #[pyo3(signature = (subscription, track, *, payloads))]
    fn redirect(&self, subscription: u64, track: u64, payloads: Vec<PayloadRow>) -> PyResult<()> {
        let redirect = Redirect {
            subscription: SubscriptionId(subscription),
            peer: PeerId(0),
            track: TrackId(track),
            home: WorkerId(0),
            payloads: convert::payloads(&payloads)?,
        };
        self.inner.redirect(redirect).map_err(errors::command)
    }

    #[pyo3(signature = (subscription, *, paused, max_spatial, max_temporal))]
    fn set_wanted(&self, subscription: u64, paused: bool, max_spatial: u8, max_temporal: u8) -> PyResult<()> {
        let wanted = Wanted {
            paused,
            max_spatial,
            max_temporal,
        };
        self.inner
            .set_wanted(SubscriptionId(subscription), wanted)
            .map_err(errors::command)
    }

    #[pyo3(signature = (subscription, *, width = 0, height = 0, priority = 0))]
    fn set_view(&self, subscription: u64, width: u16, height: u16, priority: i8) -> PyResult<()> {
        let view = View {
            width,
            height,
            priority,
        };
        self.inner
            .set_view(SubscriptionId(subscription), view)
            .map_err(errors::command)
    }

    fn unsubscribe(&self, subscription: u64) -> PyResult<()> {
        self.inner
            .unsubscribe(SubscriptionId(subscription))
            .map_err(errors::command)
    }

    #[pyo3(signature = (peer, *, label, ordered, max_retransmits))]
    fn open_data_channel(&self, peer: u64, label: String, ordered: bool, max_retransmits: Option<u16>) -> PyResult<()> {
        self.command(peer, |peer| {
            Command::OpenDataChannel(OpenDataChannel {
                peer,
                label,
                ordered,
                max_retransmits,
            })
        })
    }

    fn begin_dtls(&self, peer: u64) -> PyResult<()> {
        self.command(peer, |peer| Command::BeginDtls { peer })
    }

    fn restore_data_channels(&self, peer: u64, channels: Vec<ChannelRow>) -> PyResult<()> {
        let rows = channels.into_iter();
        let channels = rows.map(|(stream, label, ordered, max_retransmits, max_lifetime)| DataChannel {
            stream,
            label,
            ordered,
            max_retransmits,
            max_lifetime,
        });
        let channels = channels.collect();
        self.command(peer, |peer| {
            Command::RestoreDataChannels(RestoreDataChannels { peer, channels })
        })
    }

    #[pyo3(signature = (peers, *, label, payload, binary))]
    fn send_data(&self, peers: Vec<u64>, label: String, payload: &[u8], binary: bool) -> PyResult<()> {
        let data = SendData {
            peers: peers.into_iter().map(PeerId).collect(),
            label,
            binary,
            payload: Arc::from(payload),
        };
        self.inner.send_data(data).map_err(errors::command)
    }

    fn worker_of(&self, track: u64) -> PyResult<u8> {
        Ok(self.inner.home(TrackId(track)).map_err(errors::command)?.0)
    }

    fn worker_addresses(&self, worker: u8) -> PyResult<Vec<(String, u16)>> {
        let found = self.inner.addresses(WorkerId(worker)).map_err(errors::command)?;
        Ok(found
            .iter()
            .map(|address| (address.ip().to_string(), address.port()))
            .collect())
    }

    fn new_link(&self) -> u32 {
        self.inner.new_link().0
    }

    #[pyo3(signature = (link, *, worker, theirs, send, receive, remote = None))]
    fn add_link(
        &self,
        link: u32,
        worker: u8,
        theirs: u32,
        send: &[u8],
        receive: &[u8],
        remote: Option<(String, u16)>,
    ) -> PyResult<()> {
        let keys = (convert::keys(send)?, convert::keys(receive)?);
        let remote = remote.map(|(ip, port)| match ip.parse() {
            Ok(ip) => Ok(SocketAddr::new(ip, port)),
            Err(_) => Err(invalid(format!("{ip:?} is no IP address"))),
        });
        self.inner
            .add_link(LinkId(link), WorkerId(worker), theirs, keys, remote.transpose()?)
            .map_err(errors::command)
    }

    #[pyo3(signature = (link, *, send = None, receive = None))]
    fn rotate_link(&self, link: u32, send: Option<&[u8]>, receive: Option<&[u8]>) -> PyResult<()> {
        let keys = |octets: Option<&[u8]>| octets.map(convert::keys).transpose();
        self.inner
            .rotate_link(LinkId(link), keys(send)?, keys(receive)?)
            .map_err(errors::command)
    }

    fn remove_link(&self, link: u32) -> PyResult<()> {
        self.inner.remove_link(LinkId(link)).map_err(errors::command)
    }

    #[pyo3(signature = (link, theirs, *, kind, group = None, track = None))]
    fn mirror(&self, link: u32, theirs: u64, kind: &str, group: Option<u64>, track: Option<u64>) -> PyResult<u64> {
        let (group, track) = (group.map(GroupId), track.map(TrackId));
        self.inner
            .mirror(LinkId(link), TrackId(theirs), convert::kind(kind)?, group, track)
            .map(|track| track.0)
            .map_err(errors::command)
    }

    fn unmirror(&self, track: u64) -> PyResult<()> {
        self.inner.unmirror(TrackId(track)).map_err(errors::command)
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (engine, io) = self.inner.stats();
        let tables = PyDict::new(py);
        let mut bytes = Vec::new();
        macro_rules! table {
            ($name:literal, $rows:expr) => {
                bytes.clear();
                $rows.iter().for_each(|row| row.to_bytes(&mut bytes));
                tables.set_item($name, PyBytes::new(py, &bytes))?;
            };
        }
        table!("workers", engine.workers);
        table!("peers", engine.peers);
        table!("downlinks", engine.downlinks);
        table!("layers", engine.layers);
        table!("subscriptions", engine.subscriptions);
        table!("links", engine.links);
        table!("io", io);
        Ok(tables)
    }

    fn shutdown(&self, py: Python<'_>) {
        py.detach(|| self.inner.shutdown());
    }
}

impl Core {
    fn command(&self, peer: u64, make: impl FnOnce(PeerId) -> Command) -> PyResult<()> {
        let peer = PeerId(peer);
        self.inner.command(peer, make(peer)).map_err(errors::command)
    }
}

fn addresses(texts: &[String]) -> PyResult<Vec<IpAddr>> {
    let parse = |text: &String| text.parse().map_err(|_| invalid(format!("{text:?} is no IP address")));
    texts.iter().map(parse).collect()
}

/// RFC 8839 section 5.4: 4 to 256 and 22 to 256 characters of `ice-char`.
fn credentials(ufrag: String, pwd: String) -> PyResult<IceCredentials> {
    let is_ice = |text: &str| {
        text.bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/'))
    };
    if !(4..=256).contains(&ufrag.len()) || !is_ice(&ufrag) {
        return Err(invalid("an ICE user fragment has 4 to 256 letters, digits, + and /"));
    }
    if !(22..=256).contains(&pwd.len()) || !is_ice(&pwd) {
        return Err(invalid("an ICE password has 22 to 256 letters, digits, + and /"));
    }
    Ok(IceCredentials { ufrag, pwd })
}

fn srtp_backend() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("vaes") && is_x86_feature_detected!("vpclmulqdq") {
            return "aws-lc (VAES)";
        }
        if is_x86_feature_detected!("aes") {
            return "aws-lc (AES-NI)";
        }
    }
    "aws-lc"
}
