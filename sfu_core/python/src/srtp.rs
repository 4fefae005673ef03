//! `Srtp`: the engine's packet protection for Python, one context per direction.

use std::sync::{Mutex, PoisonError};

use engine::srtp::{MAX_RTCP_OVERHEAD, MAX_RTP_OVERHEAD, SrtpReceiver, SrtpSender};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use wire::rtp::Header;

use crate::convert;
use crate::errors::SrtpError;

#[pyclass(module = "pysfu._core", frozen)]
pub(crate) struct Srtp {
    contexts: Mutex<Contexts>,
}

struct Contexts {
    sender: SrtpSender,
    receiver: SrtpReceiver,
}

#[pymethods]
impl Srtp {
    #[new]
    fn new(profile: &str, key: &[u8], salt: &[u8]) -> PyResult<Self> {
        let profile = convert::profile(profile)?;
        let contexts = Contexts {
            sender: SrtpSender::new(profile, key, salt).map_err(failed)?,
            receiver: SrtpReceiver::new(profile, key, salt).map_err(failed)?,
        };
        Ok(Self {
            contexts: Mutex::new(contexts),
        })
    }

    fn protect_rtp<'py>(&self, py: Python<'py>, packet: &[u8], rollover: u32) -> PyResult<Bound<'py, PyBytes>> {
        let header = header(packet)?;
        let index = u64::from(rollover) << 16 | u64::from(header.sequence);
        let mut buffer = with_room(packet, MAX_RTP_OVERHEAD);
        let len = self.with(|contexts| {
            contexts
                .sender
                .protect_rtp(&mut buffer, header.len, packet.len(), index)
        })?;
        Ok(PyBytes::new(py, &buffer[..len]))
    }

    fn unprotect_rtp<'py>(&self, py: Python<'py>, packet: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let header = header(packet)?;
        let mut buffer = packet.to_vec();
        let opened = self.with(|contexts| contexts.receiver.unprotect_rtp(&mut buffer, header.len))?;
        Ok(PyBytes::new(py, &buffer[..opened.len]))
    }

    fn protect_rtcp<'py>(&self, py: Python<'py>, packet: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let mut buffer = with_room(packet, MAX_RTCP_OVERHEAD);
        let len = self.with(|contexts| contexts.sender.protect_rtcp(&mut buffer, packet.len()))?;
        Ok(PyBytes::new(py, &buffer[..len]))
    }

    fn unprotect_rtcp<'py>(&self, py: Python<'py>, packet: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let mut buffer = packet.to_vec();
        let len = self.with(|contexts| contexts.receiver.unprotect_rtcp(&mut buffer))?;
        Ok(PyBytes::new(py, &buffer[..len]))
    }
}

impl Srtp {
    fn with<T>(&self, act: impl FnOnce(&mut Contexts) -> Result<T, engine::srtp::SrtpError>) -> PyResult<T> {
        let mut contexts = self.contexts.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut contexts).map_err(failed)
    }
}

fn header(packet: &[u8]) -> PyResult<Header> {
    Header::parse(packet).map_err(|error| SrtpError::new_err(error.to_string()))
}

fn with_room(packet: &[u8], room: usize) -> Vec<u8> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + room, 0);
    buffer
}

fn failed(error: engine::srtp::SrtpError) -> PyErr {
    SrtpError::new_err(error.to_string())
}
