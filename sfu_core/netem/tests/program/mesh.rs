//! Three namespaces, each pair joined by a link of its own. Needs root, and says so where it is not there.

use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::{Program, is_root};
use crate::tun::Namespace;

const PATIENCE: Duration = Duration::from_secs(10);
/// Nothing that comes takes so long.
const NOTHING: Duration = Duration::from_millis(300);

fn address(place: usize) -> String {
    format!("10.98.0.{}", place + 1)
}

/// Sends to a member and says how long it took to come, if it did.
fn crossing(from: &UdpSocket, to: &UdpSocket, within: Duration) -> Option<Duration> {
    let began = Instant::now();
    from.send_to(b"hello", to.local_addr().unwrap()).unwrap();
    to.set_read_timeout(Some(within)).unwrap();
    let mut buffer = [0; 100];
    let (length, sender) = to.recv_from(&mut buffer).ok()?;
    assert_eq!((&buffer[..length], sender), (&b"hello"[..], from.local_addr().unwrap()));
    Some(began.elapsed())
}

#[test]
fn every_pair_has_a_path_of_its_own() {
    if !is_root() {
        eprintln!("skipped: namespaces need root");
        return;
    }
    let spaces: Vec<Namespace> = ["ma", "mb", "mc"].into_iter().map(Namespace::new).collect();
    let members: Vec<String> = spaces
        .iter()
        .enumerate()
        .map(|(place, space)| format!("--at={}={}/24", space.0, address(place)))
        .collect();
    let mut arguments = vec!["mesh", "--report-ms", "0"];
    arguments.extend(members.iter().map(String::as_str));
    let mut program = Program::start(&arguments);
    let first = program.line_with("links");
    assert_eq!(first["links"][1]["between"][0], spaces[0].0.as_str());
    assert_eq!(first["links"][1]["between"][1], spaces[2].0.as_str());
    let sockets: Vec<UdpSocket> = spaces
        .iter()
        .enumerate()
        .map(|(place, space)| space.run(|| UdpSocket::bind(format!("{}:7000", address(place))).unwrap()))
        .collect();
    let mut tell = |command: &str| {
        program.tell(command);
        assert_eq!(program.line_with("changed")["changed"], 1);
    };

    // From the first to the third and back; the others have no delay.
    tell(r#"{"link": 1, "up": {"delay_ms": 60}, "down": {"delay_ms": 120}}"#);
    for (from, to, least) in [(0, 2, 60), (2, 0, 120), (0, 1, 0), (1, 2, 0), (2, 1, 0)] {
        let taken = crossing(&sockets[from], &sockets[to], PATIENCE).unwrap().as_millis();
        assert!((least..least + 40).contains(&taken), "{from} to {to}: {taken} ms");
    }

    // Cut one way: the other way and the other pairs know nothing of it.
    tell(r#"{"link": 1, "up": {"loss": {"independent": 1}}}"#);
    assert_eq!(crossing(&sockets[0], &sockets[2], NOTHING), None);
    for (from, to) in [(2, 0), (0, 1), (1, 2)] {
        assert!(crossing(&sockets[from], &sockets[to], PATIENCE).is_some());
    }
    tell(r#"{"link": 1, "up": {"loss": "none"}}"#);
    assert!(crossing(&sockets[0], &sockets[2], PATIENCE).is_some());

    let reports = program.end();
    assert_eq!(reports.len(), 3);
    assert_eq!(reports[1]["up"]["lost"], 1);
}

#[test]
fn what_comes_soon_after_waits_to_pass_with_what_follows() {
    if !is_root() {
        eprintln!("skipped: namespaces need root");
        return;
    }
    let spaces: Vec<Namespace> = ["mg", "mh"].into_iter().map(Namespace::new).collect();
    let address = |place: usize| format!("10.98.1.{}", place + 1);
    let members: Vec<String> = spaces
        .iter()
        .enumerate()
        .map(|(place, space)| format!("--at={}={}/24", space.0, address(place)))
        .collect();
    let mut arguments = vec!["mesh", "--report-ms", "0", "--gather-us", "200000"];
    arguments.extend(members.iter().map(String::as_str));
    let program = Program::start(&arguments);
    program.line_with("links");
    let sockets: Vec<UdpSocket> = spaces
        .iter()
        .enumerate()
        .map(|(place, space)| space.run(|| UdpSocket::bind(format!("{}:7000", address(place))).unwrap()))
        .collect();
    // The kernel speaks of itself on new devices.
    crossing(&sockets[0], &sockets[1], PATIENCE).unwrap();

    let began = Instant::now();
    for _ in 0..5 {
        crossing(&sockets[0], &sockets[1], PATIENCE).unwrap();
    }
    let taken = began.elapsed().as_millis();
    // The first waits for what is left of the time before, which may be nothing.
    assert!((800..2_000).contains(&taken), "{taken} ms");
    program.end();
}

#[test]
fn two_of_a_name_are_refused() {
    for members in [
        ["--at=-=10.98.0.1/24", "--at=-=10.98.0.2/24"],
        ["--at=-=10.98.0.1/24", "--at=1=10.98.0.1/24"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_pysfu-netem"))
            .arg("mesh")
            .args(members)
            .output()
            .unwrap();
        assert!(!output.status.success());
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("need to differ"), "{error}");
    }
}
