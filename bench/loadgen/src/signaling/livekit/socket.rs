//! LiveKit's messages over a WebSocket.

use std::collections::VecDeque;

use futures_util::{SinkExt, StreamExt};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::messages::{Request, Response, SignalRequest, SignalResponse};
use crate::signaling::SignalingError;

/// Messages in binary WebSocket frames.
pub(super) struct Socket {
    inner: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    pub(super) async fn connect(address: &str, path: &str) -> Result<Self, SignalingError> {
        match tokio_tungstenite::connect_async(format!("ws://{address}{path}")).await {
            Ok((inner, _)) => Ok(Self { inner }),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
                let body = response.body().as_deref().unwrap_or_default();
                let text = String::from_utf8_lossy(&body[..body.len().min(500)]).into_owned();
                Err(SignalingError::Refused(format!("{} {text}", response.status())))
            }
            Err(error) => Err(SignalingError::Unreachable(format!("{address}: {error}"))),
        }
    }

    /// The next message that means something to us; `None`: the socket was closed.
    pub(super) async fn next(&mut self) -> Result<Option<Response>, SignalingError> {
        loop {
            let frame = match self.inner.next().await {
                None | Some(Ok(Message::Close(_))) => return Ok(None),
                Some(Ok(Message::Binary(frame))) => frame,
                Some(Ok(_)) => continue,
                Some(Err(error)) => return Err(SignalingError::Unreachable(error.to_string())),
            };
            let response =
                SignalResponse::decode(frame).map_err(|error| SignalingError::Protocol(error.to_string()))?;
            if response.message.is_some() {
                return Ok(response.message);
            }
        }
    }

    pub(super) async fn send_all(&mut self, requests: &mut VecDeque<Request>) -> Result<(), SignalingError> {
        while let Some(request) = requests.pop_front() {
            let request = SignalRequest { message: Some(request) };
            let sent = self.inner.send(Message::binary(request.encode_to_vec())).await;
            sent.map_err(|error| SignalingError::Unreachable(error.to_string()))?;
        }
        Ok(())
    }

    /// The server sees why: it was meant.
    pub(super) async fn close(&mut self) {
        let _ = self.inner.close(None).await;
    }
}
