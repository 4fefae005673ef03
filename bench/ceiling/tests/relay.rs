//! The relay as it is used: a process, participants on loopback sockets.
#![allow(clippy::unwrap_used, reason = "a failing helper is a failing test")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

#[path = "../src/cipher.rs"]
mod cipher;

use cipher::{Cipher, TAG, header_len};

const PATIENCE: Duration = Duration::from_secs(10);
const HEADER: usize = 12;

struct Relay {
    process: Child,
    control: SocketAddr,
}

impl Relay {
    fn start(options: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_pysfu-ceiling"))
            .args(["--listen", "127.0.0.1:0"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let control = line.trim().strip_prefix("listening on ").unwrap().parse().unwrap();
        Self { process, control }
    }

    fn ask(&self, line: &str) -> (BufReader<TcpStream>, serde_json::Value) {
        let mut stream = BufReader::new(TcpStream::connect(self.control).unwrap());
        writeln!(stream.get_mut(), "{line}").unwrap();
        let mut answer = String::new();
        stream.read_line(&mut answer).unwrap();
        (stream, serde_json::from_str(&answer).unwrap())
    }

    /// `key` fills key and salt of both directions.
    fn join(&self, publishes: bool, receives: bool, key: u8) -> Participant {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let hex = |count: usize| format!("{key:02x}").repeat(count);
        let (key, salt) = (hex(16), hex(12));
        let (control, answer) = self.ask(&format!(
            r#"{{"publishes":{publishes},"receives":{receives},"address":"{}","send_key":"{key}","send_salt":"{salt}","receive_key":"{key}","receive_salt":"{salt}"}}"#,
            socket.local_addr().unwrap(),
        ));
        socket.connect(answer["address"].as_str().unwrap()).unwrap();
        Participant { socket, control }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Participant {
    socket: UdpSocket,
    control: BufReader<TcpStream>,
}

impl Participant {
    fn receive(&self) -> Vec<u8> {
        let mut datagram = vec![0; 2_048];
        let len = self.socket.recv(&mut datagram).unwrap();
        datagram.truncate(len);
        datagram
    }

    /// Sends `sent` until all of `viewers` have had it, then takes what else of it waits there: the relay learns of
    /// participants in its own time.
    fn until_heard<'a>(&self, sent: &[u8], viewers: impl Iterator<Item = &'a Participant> + Clone) {
        let mut datagram = [0; 2_048];
        let within = |viewer: &Participant, time| viewer.socket.set_read_timeout(Some(time)).unwrap();
        viewers
            .clone()
            .for_each(|viewer| within(viewer, Duration::from_millis(20)));
        for viewer in viewers.clone() {
            let heard = (0..500).any(|_| {
                self.socket.send(sent).unwrap();
                viewer.socket.recv(&mut datagram).is_ok()
            });
            assert!(heard, "nothing came through");
        }
        for viewer in viewers {
            while viewer.socket.recv(&mut datagram).is_ok() {}
            within(viewer, PATIENCE);
        }
    }
}

fn packet(ssrc: u32, seq: u16, payload: usize) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend(seq.to_be_bytes());
    packet.extend([0, 0, 0, 9]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..payload).map(|place| (place as u16 ^ seq) as u8));
    packet
}

#[test]
fn frames_reach_everyone_else_whole_and_in_order() {
    for gso in ["on", "off"] {
        let relay = Relay::start(&["--crypto", "none", "--gso", gso]);
        let publisher = relay.join(true, true, 0);
        let viewers = [relay.join(false, true, 0), relay.join(false, true, 0)];
        let silent = relay.join(false, false, 0);
        publisher.until_heard(&packet(7, 0, 10), viewers.iter());
        // Equal ones, a shorter one that may end a segmented message, and longer ones that may not join it.
        let frame: Vec<_> = [1_000, 1_000, 1_000, 400, 1_000, 30, 1_200]
            .into_iter()
            .zip(1..)
            .map(|(payload, seq)| packet(7, seq, payload))
            .collect();
        for sent in &frame {
            publisher.socket.send(sent).unwrap();
        }
        // Not of a publisher, not RTP, RTCP: none of it is passed on.
        viewers[0].socket.send(&packet(8, 1, 100)).unwrap();
        publisher.socket.send(b"hello").unwrap();
        publisher.socket.send(&[0x80, 200, 0, 1, 0, 0, 0, 7]).unwrap();
        let end = packet(7, 100, 1);
        publisher.socket.send(&end).unwrap();
        for viewer in &viewers {
            for sent in frame.iter().chain([&end]) {
                assert_eq!(&viewer.receive(), sent, "GSO {gso}");
            }
        }
        // Nothing to the publisher itself, nor to those who do not receive.
        for nobody in [&publisher, &silent] {
            nobody.socket.set_nonblocking(true).unwrap();
            assert!(nobody.socket.recv(&mut [0; 10]).is_err(), "GSO {gso}");
        }
    }
}

#[test]
fn everyone_has_a_key_and_numbers_turn_over() {
    let relay = Relay::start(&["--crypto", "gcm"]);
    let publisher = relay.join(true, false, 1);
    let viewers = [(relay.join(false, true, 2), 2), (relay.join(false, true, 3), 3)];
    let cipher = |key: u8| Cipher::new(&[key; 16], &[key; 12]).unwrap();
    let ours = cipher(1);
    let sealed = |index: u64| {
        let plain = packet(7, index as u16, 200);
        let mut out = vec![0; plain.len() + TAG];
        ours.seal(&plain, HEADER, index, &mut out).unwrap();
        out
    };
    let first = 65_530;
    publisher.until_heard(&sealed(first), viewers.iter().map(|(viewer, _)| viewer));
    for index in first + 1..first + 20 {
        let mut forged = sealed(index);
        forged[HEADER + 5] ^= 1;
        publisher.socket.send(&forged).unwrap();
        publisher.socket.send(&sealed(index)).unwrap();
        for (viewer, key) in &viewers {
            let mut got = viewer.receive();
            let header = header_len(&got).unwrap();
            let len = cipher(*key).open(&mut got, header, index).unwrap();
            assert_eq!(
                got[..len],
                packet(7, index as u16, 200),
                "the forged one must not come: index {index}"
            );
        }
    }
}

#[test]
fn who_leaves_gets_no_more_and_a_bad_announcement_harms_nobody() {
    let relay = Relay::start(&["--crypto", "gcm"]);
    let (_, refused) = relay.ask(r#"{"publishes":true,"receives":true,"address":"127.0.0.1:9","send_key":"zz"}"#);
    assert!(refused["error"].as_str().unwrap().starts_with("send key"), "{refused}");
    let (_, refused) = relay.ask(&"x".repeat(10_000));
    assert!(
        refused["error"].as_str().unwrap().starts_with("not an announcement"),
        "{refused}"
    );
    drop(relay);

    let relay = Relay::start(&["--crypto", "none"]);
    let publisher = relay.join(true, false, 0);
    let (stays, leaves) = (relay.join(false, true, 0), relay.join(false, true, 0));
    publisher.until_heard(&packet(7, 1, 10), [&stays, &leaves].into_iter());
    drop(leaves.control);
    // The relay looks for changes when it is idle or every 64 turns: it forgets within a bounded number of packets.
    leaves.socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let forgotten = (3..503).any(|seq| {
        publisher.socket.send(&packet(7, seq, 10)).unwrap();
        leaves.socket.recv(&mut [0; 2_048]).is_err()
    });
    assert!(forgotten, "packets still come");
}
