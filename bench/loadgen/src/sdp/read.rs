//! A server's description.

use std::net::{IpAddr, SocketAddr};

use super::write::URIS;
use crate::plan::{Extensions, Kind, Local, ReceiveFormat, Remote, Security, SendFormat};

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SdpError {
    #[error("the server's description has no {0}")]
    Missing(&'static str),
    #[error("the server's description has a line that cannot be read: {0:?}")]
    Line(String),
    #[error("the server refused to take the track {0:?}")]
    Refused(String),
    #[error("the server wants to be the DTLS client; the load engine always is")]
    Role,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    pub payload_type: u8,
    /// As in `a=rtpmap`: "VP8/90000".
    pub encoding: String,
    /// As in `a=fmtp`.
    pub parameters: String,
    pub rtx_of: Option<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// `None`: neither audio nor video.
    pub kind: Option<Kind>,
    pub mid: String,
    pub protocol: String,
    pub refused: bool,
    /// `sendrecv` when it says nothing.
    pub direction: String,
    pub formats: Vec<Format>,
    pub extensions: Vec<(u8, String)>,
    /// As in the m-line, for sections that are not RTP.
    fmt: String,
}

impl Section {
    /// What follows the protocol in the m-line.
    pub(super) fn raw_formats(&self, formats: &[String]) -> String {
        if self.kind.is_some() {
            formats.join(" ")
        } else {
            self.fmt.clone()
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    pub ufrag: String,
    pub pwd: String,
    pub fingerprint: Option<[u8; 32]>,
    pub setup: String,
    pub candidates: Vec<SocketAddr>,
    pub sections: Vec<Section>,
}

impl Description {
    /// Transport attributes are those of the first section that has them: everything is bundled.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        let mut all = Self::default();
        for line in text.lines() {
            let bad = || SdpError::Line(line.to_owned());
            if let Some(media) = line.strip_prefix("m=") {
                all.sections.push(media_line(media).ok_or_else(bad)?);
                continue;
            }
            let Some(attribute) = line.strip_prefix("a=") else {
                continue;
            };
            let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
            let value = value.trim();
            match name {
                "ice-ufrag" if all.ufrag.is_empty() => all.ufrag = value.to_owned(),
                "ice-pwd" if all.pwd.is_empty() => all.pwd = value.to_owned(),
                "setup" if all.setup.is_empty() => all.setup = value.to_owned(),
                "fingerprint" if all.fingerprint.is_none() => all.fingerprint = fingerprint(value),
                "candidate" => {
                    let candidate = candidate(value).filter(|candidate| !all.candidates.contains(candidate));
                    all.candidates.extend(candidate);
                }
                _ => {
                    if let Some(section) = all.sections.last_mut() {
                        section.attribute(name, value).ok_or_else(bad)?;
                    }
                }
            }
        }
        Ok(all)
    }

    /// A trickled one, as in the attribute, with or without its name. True: it is new and of use.
    pub fn add_candidate(&mut self, text: &str) -> bool {
        let new = candidate(text.strip_prefix("candidate:").unwrap_or(text))
            .filter(|candidate| !self.candidates.contains(candidate));
        self.candidates.extend(new);
        new.is_some()
    }

    /// The remote side of a connection whose offer or answer had these publications in its first sections.
    pub fn remote(&self, local: &Local) -> Result<Remote, SdpError> {
        if self.ufrag.is_empty() || self.pwd.is_empty() {
            return Err(SdpError::Missing("ICE credentials"));
        }
        if self.setup == "active" && !local.passive {
            return Err(SdpError::Role);
        }
        let mut send = Vec::new();
        for (publication, section) in local.publications.iter().zip(&self.sections) {
            let refused = || SdpError::Refused(publication.cid.clone());
            if section.refused || section.direction == "inactive" {
                return Err(refused());
            }
            let name = match publication.codec {
                crate::plan::Codec::Opus => "opus/",
                crate::plan::Codec::Vp8 => "vp8/",
                crate::plan::Codec::H264 => "h264/",
            };
            let format = section
                .formats
                .iter()
                .find(|format| format.encoding.to_ascii_lowercase().starts_with(name))
                .ok_or_else(refused)?;
            let rtx = section
                .formats
                .iter()
                .find(|rtx| rtx.rtx_of == Some(format.payload_type));
            send.push(SendFormat {
                cid: publication.cid.clone(),
                mid: section.mid.clone(),
                payload_type: format.payload_type,
                rtx_payload_type: rtx.map(|format| format.payload_type),
            });
        }
        let mut receive: Vec<ReceiveFormat> = Vec::new();
        let mut extensions = Extensions::default();
        for section in self.sections.iter().filter(|section| !section.refused) {
            let Some(kind) = section.kind else { continue };
            for (id, uri) in &section.extensions {
                let slots = [
                    &mut extensions.mid,
                    &mut extensions.rid,
                    &mut extensions.repaired_rid,
                    &mut extensions.transport_cc,
                    &mut extensions.audio_level,
                    &mut extensions.abs_send_time,
                ];
                for (slot, known) in slots.into_iter().zip(URIS) {
                    if uri == known {
                        *slot = Some(*id);
                    }
                }
            }
            for format in &section.formats {
                let known = receive.iter().any(|known| known.payload_type == format.payload_type);
                if !known {
                    receive.push(ReceiveFormat {
                        payload_type: format.payload_type,
                        kind,
                        rtx_of: format.rtx_of,
                    });
                }
            }
        }
        let v4 = local.candidate.is_ipv4();
        let of_family = self
            .candidates
            .iter()
            .copied()
            .filter(|candidate| candidate.is_ipv4() == v4)
            .collect();
        Ok(Remote {
            security: Security::Negotiated {
                ufrag: self.ufrag.clone(),
                pwd: self.pwd.clone(),
                fingerprint: self.fingerprint.ok_or(SdpError::Missing("SHA-256 fingerprint"))?,
                begins: self.setup == "active",
            },
            candidates: of_family,
            receive,
            send,
            extensions,
        })
    }
}

impl Section {
    fn attribute(&mut self, name: &str, value: &str) -> Option<()> {
        match name {
            "mid" => self.mid = value.to_owned(),
            "sendrecv" | "sendonly" | "recvonly" | "inactive" => self.direction = name.to_owned(),
            "extmap" => {
                let (id, rest) = value.split_once(' ')?;
                let id = id.split('/').next()?.parse().ok()?;
                self.extensions.push((id, rest.split(' ').next()?.to_owned()));
            }
            "rtpmap" => {
                let (payload_type, encoding) = value.split_once(' ')?;
                self.format(payload_type)?.encoding = encoding.to_owned();
            }
            "fmtp" => {
                let (payload_type, parameters) = value.split_once(' ')?;
                let format = self.format(payload_type)?;
                format.parameters = parameters.to_owned();
                format.rtx_of = parameters.strip_prefix("apt=").and_then(|apt| apt.trim().parse().ok());
            }
            _ => {}
        }
        Some(())
    }

    fn format(&mut self, payload_type: &str) -> Option<&mut Format> {
        let payload_type: u8 = payload_type.parse().ok()?;
        self.formats
            .iter_mut()
            .find(|format| format.payload_type == payload_type)
    }
}

fn media_line(line: &str) -> Option<Section> {
    let mut words = line.split(' ');
    let kind = match words.next()? {
        "audio" => Some(Kind::Audio),
        "video" => Some(Kind::Video),
        _ => None,
    };
    let port: u16 = words.next()?.parse().ok()?;
    let protocol = words.next()?.to_owned();
    let rest: Vec<&str> = words.collect();
    let formats = match kind {
        None => Vec::new(),
        Some(_) => rest
            .iter()
            .map(|payload_type| {
                Some(Format {
                    payload_type: payload_type.parse().ok()?,
                    encoding: String::new(),
                    parameters: String::new(),
                    rtx_of: None,
                })
            })
            .collect::<Option<_>>()?,
    };
    Some(Section {
        kind,
        protocol,
        // Port 0 with `bundle-only` is bundled, not refused (RFC 9143 section 6); servers at hand do not answer so.
        refused: port == 0,
        direction: "sendrecv".to_owned(),
        formats,
        fmt: rest.join(" "),
        ..Section::default()
    })
}

/// UDP candidates of RTP (RFC 8839 section 5.1); addresses that are names are left out.
fn candidate(value: &str) -> Option<SocketAddr> {
    let words: Vec<&str> = value.split(' ').collect();
    let [_, component, protocol, _, address, port, ..] = words[..] else {
        return None;
    };
    if component != "1" || !protocol.eq_ignore_ascii_case("udp") {
        return None;
    }
    let address: IpAddr = address.parse().ok()?;
    Some(SocketAddr::new(address, port.parse().ok()?))
}

fn fingerprint(value: &str) -> Option<[u8; 32]> {
    let (algorithm, digits) = value.split_once(' ')?;
    if !algorithm.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let bytes: Option<Vec<u8>> = digits
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::super::write::{Answering, Receiving, answer, offer};
    use super::*;
    use crate::plan::{Codec, ConnectionId, Layer, Publication};

    fn local() -> Local {
        let layer = |rid: &str, ssrc| Layer {
            rid: Some(rid.to_owned()),
            ssrc,
            rtx_ssrc: Some(ssrc + 1),
            width: 640,
            height: 360,
            bitrate: 1,
        };
        Local {
            id: ConnectionId(0),
            ufrag: "ufrag".to_owned(),
            pwd: "password".to_owned(),
            fingerprint: [0xab; 32],
            passive: false,
            candidate: "127.0.0.1:4000".parse().unwrap(),
            publications: vec![Publication {
                cid: "camera".to_owned(),
                codec: Codec::Vp8,
                layers: vec![layer("q", 10), layer("h", 20)],
            }],
        }
    }

    #[test]
    fn reads_what_it_writes() {
        let text = offer(&local(), Receiving { audio: 1, video: 2 });
        let description = Description::parse(&text).unwrap();
        assert_eq!(
            (description.ufrag.as_str(), description.pwd.as_str()),
            ("ufrag", "password")
        );
        assert_eq!(description.fingerprint, Some([0xab; 32]));
        assert_eq!(description.candidates, ["127.0.0.1:4000".parse().unwrap()]);
        let shape: Vec<_> = description
            .sections
            .iter()
            .map(|section| {
                (
                    section.kind,
                    section.mid.as_str(),
                    section.direction.as_str(),
                    section.formats.len(),
                )
            })
            .collect();
        assert_eq!(
            shape,
            [
                (Some(Kind::Video), "0", "sendonly", 2),
                (Some(Kind::Audio), "1", "recvonly", 1),
                (Some(Kind::Video), "2", "recvonly", 4),
                (Some(Kind::Video), "3", "recvonly", 4)
            ]
        );
        assert!(text.contains("a=simulcast:send q;h\r\n"));
        assert_eq!(description.remote(&local()), Err(SdpError::Role));
    }

    #[test]
    fn an_answer_tells_what_is_sent_and_received() {
        let text = offer(&local(), Receiving { audio: 1, video: 0 }).replace("setup:active", "setup:passive");
        let remote = Description::parse(&text).unwrap().remote(&local()).unwrap();
        assert_eq!(
            remote.send,
            [SendFormat {
                cid: "camera".to_owned(),
                mid: "0".to_owned(),
                payload_type: 96,
                rtx_payload_type: Some(97)
            }]
        );
        assert_eq!(remote.extensions.transport_cc, Some(4));
        assert_eq!(remote.receive.len(), 3);
    }

    #[test]
    fn answers_take_the_numbers_of_the_offer() {
        let text = "v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\ns=-\r\nt=0 0\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\n\
                    m=audio 9 UDP/TLS/RTP/SAVPF 100\r\na=mid:a\r\na=rtpmap:100 opus/48000/2\r\na=sendonly\r\n\
                    m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:d\r\n";
        let description = Description::parse(text).unwrap();
        let answer = answer(&local(), &description, |section| match section.kind {
            Some(_) => Answering::Receive,
            None => Answering::Refuse,
        });
        assert!(answer.contains("m=audio 9 UDP/TLS/RTP/SAVPF 100\r\n"));
        assert!(answer.contains("a=rtpmap:100 opus/48000/2\r\n"));
        assert!(answer.contains("m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n"));
        assert!(answer.contains("a=group:BUNDLE a\r\n"));
    }

    #[test]
    fn bad_lines_are_named() {
        assert_eq!(
            Description::parse("m=audio x y\r\n"),
            Err(SdpError::Line("m=audio x y".to_owned()))
        );
        let none = Description::parse("v=0\r\n").unwrap();
        assert_eq!(none.remote(&local()), Err(SdpError::Missing("ICE credentials")));
    }
}
