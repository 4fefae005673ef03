//! DTLS-SRTP (RFC 5764), by OpenSSL: the only library at hand that lets the client choose its profile.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use engine::event::SrtpProfile;
use engine::srtp::{SrtpReceiver, SrtpSender, key_lengths};
use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{ErrorCode, Ssl, SslContext, SslMethod, SslStream, SslVerifyMode};
use openssl::x509::{X509, X509NameBuilder};

/// Bytes of a handshake datagram.
const MTU: u32 = 1_200;

#[derive(Debug, thiserror::Error)]
pub(super) enum DtlsError {
    #[error("OpenSSL: {0}")]
    Library(#[from] ErrorStack),
    #[error("the handshake failed: {0}")]
    Handshake(#[from] openssl::ssl::Error),
    #[error("the server has another certificate than it announced")]
    Fingerprint,
    #[error("the server chose no SRTP profile")]
    Profile,
    #[error("the negotiated keys do not fit: {0}")]
    Keys(#[from] engine::srtp::SrtpError),
}

/// What all connections of a process share: one certificate, one context per profile.
pub(super) struct Identity {
    certificate: X509,
    key: PKey<Private>,
    pub(super) fingerprint: [u8; 32],
    contexts: Vec<(SrtpProfile, SslContext)>,
}

impl Identity {
    pub(super) fn new() -> Result<Self, ErrorStack> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
        let mut name = X509NameBuilder::new()?;
        name.append_entry_by_nid(Nid::COMMONNAME, "pysfu-load")?;
        let name = name.build();
        let mut builder = X509::builder()?;
        builder.set_version(2)?;
        let serial = Asn1Integer::from_bn(BigNum::from_u32(1)?.as_ref())?;
        builder.set_serial_number(&serial)?;
        builder.set_subject_name(&name)?;
        builder.set_issuer_name(&name)?;
        builder.set_not_before(Asn1Time::days_from_now(0)?.as_ref())?;
        builder.set_not_after(Asn1Time::days_from_now(30)?.as_ref())?;
        builder.set_pubkey(&key)?;
        builder.sign(&key, MessageDigest::sha256())?;
        let certificate = builder.build();
        let digest = certificate.digest(MessageDigest::sha256())?;
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(&digest);
        Ok(Self {
            certificate,
            key,
            fingerprint,
            contexts: Vec::new(),
        })
    }

    fn context(&mut self, profile: SrtpProfile) -> Result<SslContext, ErrorStack> {
        if let Some((_, context)) = self.contexts.iter().find(|(known, _)| *known == profile) {
            return Ok(context.clone());
        }
        let mut builder = SslContext::builder(SslMethod::dtls())?;
        builder.set_tlsext_use_srtp(match profile {
            SrtpProfile::AeadAes128Gcm => "SRTP_AEAD_AES_128_GCM",
            SrtpProfile::AeadAes256Gcm => "SRTP_AEAD_AES_256_GCM",
            SrtpProfile::Aes128CmHmacSha1_80 => "SRTP_AES128_CM_SHA1_80",
        })?;
        builder.set_certificate(&self.certificate)?;
        builder.set_private_key(&self.key)?;
        // Certificates are self-signed: the fingerprint is what counts, checked when the handshake is done.
        builder.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
        let context = builder.build();
        self.contexts.push((profile, context.clone()));
        Ok(context)
    }
}

/// Keys of a finished handshake.
pub(super) struct Keys {
    pub(super) sender: SrtpSender,
    pub(super) receiver: SrtpReceiver,
}

/// One handshake.
pub(super) struct Dtls {
    stream: SslStream<Datagrams>,
    profile: SrtpProfile,
    fingerprint: [u8; 32],
    /// This side is the DTLS client.
    client: bool,
    done: bool,
}

#[derive(Default)]
struct Datagrams {
    incoming: VecDeque<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
}

impl Read for Datagrams {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let datagram = self.incoming.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        let len = datagram.len().min(out.len());
        out[..len].copy_from_slice(&datagram[..len]);
        Ok(len)
    }
}

impl Write for Datagrams {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.outgoing.push_back(datagram.to_vec());
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Dtls {
    /// `client`: this side begins.
    pub(super) fn new(
        identity: &mut Identity,
        profile: SrtpProfile,
        fingerprint: [u8; 32],
        client: bool,
    ) -> Result<Self, DtlsError> {
        let context = identity.context(profile)?;
        let mut ssl = Ssl::new(&context)?;
        if client {
            ssl.set_connect_state();
        } else {
            ssl.set_accept_state();
        }
        ssl.set_mtu(MTU)?;
        Ok(Self {
            stream: SslStream::new(ssl, Datagrams::default())?,
            profile,
            fingerprint,
            client,
            done: false,
        })
    }

    /// Goes on with the handshake: with a datagram, or to begin, or when time has passed (retransmission is OpenSSL's,
    /// after a second). Returns the keys once.
    pub(super) fn advance(&mut self, datagram: Option<&[u8]>) -> Result<Option<Keys>, DtlsError> {
        let io = self.stream.get_mut();
        io.incoming.extend(datagram.map(<[u8]>::to_vec));
        if self.done {
            // The server did not get our last flight: reading answers it.
            let _ = self.stream.ssl_read(&mut [0; 64]);
            return Ok(None);
        }
        match self.stream.do_handshake() {
            Ok(()) => {
                self.done = true;
                self.keys().map(Some)
            }
            Err(error) if error.code() == ErrorCode::WANT_READ => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn poll_datagram(&mut self) -> Option<Vec<u8>> {
        self.stream.get_mut().outgoing.pop_front()
    }

    /// The client's and the server's halves (RFC 5764 section 4.2).
    fn keys(&self) -> Result<Keys, DtlsError> {
        let ssl = self.stream.ssl();
        let certificate = ssl.peer_certificate().ok_or(DtlsError::Fingerprint)?;
        if *certificate.digest(MessageDigest::sha256())? != self.fingerprint {
            return Err(DtlsError::Fingerprint);
        }
        ssl.selected_srtp_profile().ok_or(DtlsError::Profile)?;
        let (key, salt) = key_lengths(self.profile);
        let mut material = vec![0; 2 * (key + salt)];
        ssl.export_keying_material(&mut material, "EXTRACTOR-dtls_srtp", None)?;
        let (client_key, rest) = material.split_at(key);
        let (server_key, rest) = rest.split_at(key);
        let (client_salt, server_salt) = rest.split_at(salt);
        let (ours, theirs) = if self.client {
            ((client_key, client_salt), (server_key, server_salt))
        } else {
            ((server_key, server_salt), (client_key, client_salt))
        };
        Ok(Keys {
            sender: SrtpSender::new(self.profile, ours.0, ours.1)?,
            receiver: SrtpReceiver::new(self.profile, theirs.0, theirs.1)?,
        })
    }
}
