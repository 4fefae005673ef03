//! WHIP (RFC 9725) to publish, WHEP (draft-ietf-wish-whep) to play: an offer by POST, the answer in its response, the
//! session ends with DELETE on the resource that `Location` names. No trickling and no ICE restart. Neither protocol
//! has words for pausing and layers, or for one session that both publishes and plays.

use std::time::Instant;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::token::Credentials;
use super::transports::Transports;
use super::{Join, Session, SignalingError, Subscribe, Timing};
use crate::media::MediaHandle;
use crate::plan::ConnectionPlan;
use crate::sdp::{Description, Receiving, offer};

const SDP: &str = "application/sdp";
const MAX_ANSWER: usize = 256 * 1024;

pub(super) struct Whip {
    address: String,
    credentials: Credentials,
}

impl Whip {
    pub(super) fn new(address: &str, credentials: &Credentials) -> Self {
        Self {
            address: address.to_owned(),
            credentials: credentials.clone(),
        }
    }

    pub(super) async fn join(&self, media: &MediaHandle, join: Join) -> Result<Session, SignalingError> {
        let begun = Instant::now();
        let (protocol, receiving) = match (join.publish.is_empty(), join.subscribe) {
            (false, Subscribe::None) => ("whip", Receiving::default()),
            (true, Subscribe::All(receiving)) => ("whep", receiving),
            (false, Subscribe::All(_)) => {
                return Err(SignalingError::Unsupported("publishing and playing in one session"));
            }
            (true, Subscribe::None) => return Err(SignalingError::Unsupported("a session without media")),
        };
        if join.paused {
            return Err(SignalingError::Unsupported("pausing"));
        }
        let mut transports = Transports::new(media);
        let plan = ConnectionPlan {
            participant: join.index,
            publications: join.publish,
            cipher: join.cipher,
        };
        let local = transports.open(plan).await?;
        let token = self.credentials.token(&join.identity, &join.room)?;
        let path = format!("/{protocol}/{}", join.room);
        let body = offer(&local, receiving);
        let (status, resource, answer) = self.request(Method::POST, &path, &token, body).await?;
        if status != StatusCode::CREATED {
            return Err(SignalingError::Refused(format!("{status} {}", brief(&answer))));
        }
        let resource = resource.ok_or_else(|| SignalingError::Protocol("the answer has no Location".to_owned()))?;
        transports.set_remote(local.id, Description::parse(&answer)?.remote(&local)?);
        let answered = begun.elapsed().as_secs_f64();
        let timing = Timing {
            joined: answered,
            answered,
            ..Timing::default()
        };
        let (session, mut orders) = Session::new(vec![local.id], timing);
        let server = Self::new(&self.address, &self.credentials);
        tokio::task::spawn_local(async move {
            // WHEP has no layers.
            while orders.recv().await.is_some() {}
            drop(transports);
            let _ = server.request(Method::DELETE, &resource, &token, String::new()).await;
        });
        Ok(session)
    }

    /// On a connection of its own. Status, path of `Location`, body.
    async fn request(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: String,
    ) -> Result<(StatusCode, Option<String>, String), SignalingError> {
        let unreachable =
            |error: &dyn std::error::Error| SignalingError::Unreachable(format!("{}: {error}", self.address));
        let stream = TcpStream::connect(&self.address)
            .await
            .map_err(|error| unreachable(&error))?;
        stream.set_nodelay(true).map_err(|error| unreachable(&error))?;
        let (mut sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unreachable(&error))?;
        tokio::task::spawn_local(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.address)
            .header(AUTHORIZATION, format!("Bearer {token}"));
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, SDP);
        }
        let request = request
            .body(Full::<Bytes>::from(body))
            .map_err(|error| SignalingError::Protocol(error.to_string()))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| unreachable(&error))?;
        let (status, location) = (response.status(), location(&response));
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|error| SignalingError::Unreachable(format!("while the answer was read: {error}")))?;
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        Ok((status, location, text))
    }
}

/// `Location` is absolute or a path; the server is the one that was asked.
fn location<B>(response: &Response<B>) -> Option<String> {
    let uri: Uri = response.headers().get(LOCATION)?.to_str().ok()?.parse().ok()?;
    Some(uri.path_and_query()?.to_string())
}

/// The beginning of an error's text.
fn brief(text: &str) -> String {
    text.trim().chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        let of = |value: &str| location(&Response::builder().header(LOCATION, value).body(()).unwrap());
        assert_eq!(of("/whip/room/x?y=1").as_deref(), Some("/whip/room/x?y=1"));
        assert_eq!(of("http://host:1/whip/room/x").as_deref(), Some("/whip/room/x"));
        assert_eq!(location(&Response::new(())), None);
    }
}
