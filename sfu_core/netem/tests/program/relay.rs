//! The relay between real sockets.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::{Program, is_root};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(10);

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Answers what it gets, until it gets nothing for long.
fn echo() -> SocketAddr {
    let server = socket();
    let address = server.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2_000];
        while let Ok((length, from)) = server.recv_from(&mut buffer) {
            server.send_to(&buffer[..length], from).unwrap();
        }
    });
    address
}

/// A relay with a port for each server, and these ports.
fn relay(servers: &[SocketAddr], arguments: &[&str]) -> (Program, Vec<SocketAddr>) {
    let forwards: Vec<String> = servers
        .iter()
        .map(|server| format!("--forward=127.0.0.1:0={server}"))
        .collect();
    let all: Vec<&str> = ["relay"]
        .into_iter()
        .chain(forwards.iter().map(String::as_str))
        .chain(arguments.iter().copied())
        .collect();
    let program = Program::start(&all);
    let first = program.line_with("forwards");
    let ports = first["forwards"]
        .as_array()
        .unwrap()
        .iter()
        .map(|forward| forward["listen"].as_str().unwrap().parse().unwrap())
        .collect();
    (program, ports)
}

fn client(port: SocketAddr) -> UdpSocket {
    let client = socket();
    client.connect(port).unwrap();
    client
}

fn round_trip(client: &UdpSocket) -> Duration {
    let began = Instant::now();
    client.send(b"ping").unwrap();
    let mut buffer = [0; 100];
    let length = client.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"ping");
    began.elapsed()
}

fn count(report: &Value, direction: &str, counter: &str) -> u64 {
    report[direction][counter].as_u64().unwrap()
}

#[test]
fn delay_is_added_each_way_and_changed_at_run_time() {
    let mut arguments = vec!["--down", r#"{"delay_ms":40}"#, "--up", r#"{"delay_ms":25}"#];
    if is_root() {
        arguments.push("--realtime");
    }
    let (mut relay, ports) = relay(&[echo()], &arguments);
    let client = client(ports[0]);
    let shortest = |client: &UdpSocket| (0..5).map(|_| round_trip(client)).min().unwrap();
    let before = shortest(&client);
    assert!((65..85).contains(&before.as_millis()), "{before:?}");

    relay.tell(r#"{"down":{"add_delay_ms":50}}"#);
    assert_eq!(relay.line_with("changed")["changed"], 1);
    let after = shortest(&client);
    assert!((115..135).contains(&after.as_millis()), "{after:?}");

    relay.tell(r#"{"sideways":{"delay_ms":50}}"#);
    assert!(relay.line_with("error")["error"].as_str().unwrap().contains("sideways"));

    let [report] = relay.end().try_into().unwrap();
    assert_eq!(count(&report, "up", "delivered"), 10);
    assert_eq!(count(&report, "down", "delivered"), 10);
    // Loose, for machines with other work; it is tens of microseconds otherwise.
    assert!(report["late_us"]["p50"].as_f64().unwrap() < 2_000.0, "{report}");
}

#[test]
fn capacity_spaces_packets_and_a_script_changes_it() {
    let server = socket();
    let up = r#"{"capacity":1000000,"queue":{"ms":10000}}"#;
    let (mut relay, ports) = relay(&[server.local_addr().unwrap()], &["--up", up, "--report-ms", "20"]);
    let client = client(ports[0]);
    let mut buffer = [0; 2_000];
    // 100 packets of 1,250 bytes with headers: 10 ms each.
    let time = |buffer: &mut [u8]| {
        for _ in 0..100 {
            client.send(&[7; 1_222]).unwrap();
        }
        server.recv(buffer).unwrap();
        let first = Instant::now();
        for _ in 1..100 {
            server.recv(buffer).unwrap();
        }
        first.elapsed().as_secs_f64()
    };
    let taken = time(&mut buffer);
    assert!((taken / 0.99 - 1.0).abs() < 0.05, "{taken} s");
    // The queue was seen to be long in between.
    let mut waited = 0.0_f64;
    while let report = relay.line_with("up")
        && count(&report, "up", "delivered") < 100
    {
        waited = waited.max(report["up"]["queue_delay_ms"].as_f64().unwrap());
    }
    assert!((500.0..=1_000.0).contains(&waited), "{waited} ms");

    relay.tell(r#"{"up_script":[[0,{"capacity":4000000}],[3600,{"capacity":0}]]}"#);
    relay.line_with("changed");
    let taken = time(&mut buffer);
    assert!((taken / 0.2475 - 1.0).abs() < 0.2, "{taken} s");
}

#[test]
fn every_lost_packet_is_counted() {
    let server = socket();
    let up = r#"{"loss":{"gilbert_elliott":{"mean":0.2,"burst":3}},"duplicate":0.05}"#;
    let (relay, ports) = relay(&[server.local_addr().unwrap()], &["--up", up, "--seed", "3"]);
    let client = client(ports[0]);
    let reader = std::thread::spawn(move || {
        server.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut buffer = [0; 100];
        std::iter::from_fn(|| server.recv(&mut buffer).ok()).count() as u64
    });
    for chunk in 0..40 {
        for _ in 0..50 {
            client.send(&[chunk; 50]).unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let received = reader.join().unwrap();
    let [report] = relay.end().try_into().unwrap();
    let up = |counter| count(&report, "up", counter);
    assert_eq!(up("offered"), 2_000);
    assert_eq!(up("delivered"), received);
    assert_eq!(up("offered") + up("duplicated"), up("delivered") + up("lost"));
    assert!((250..550).contains(&up("lost")), "{report}");
}

#[test]
fn clients_have_links_of_their_own_where_asked() {
    for (share, links) in [("all", vec![0]), ("forward", vec![0, 1]), ("client", vec![0, 1, 2])] {
        let (relay, ports) = relay(&[echo(), echo()], &["--share", share, "--report-ms", "0"]);
        let clients = [client(ports[0]), client(ports[0]), client(ports[1])];
        let seen: Vec<u64> = clients
            .iter()
            .map(|client| {
                round_trip(client);
                relay.line_with("client")["link"].as_u64().unwrap()
            })
            .collect();
        let mut numbers = seen.clone();
        numbers.dedup();
        assert_eq!(numbers, links, "--share {share}");
        let reports = relay.end();
        assert_eq!(reports.len(), links.len());
        let delivered: u64 = reports.iter().map(|report| count(report, "down", "delivered")).sum();
        assert_eq!(delivered, 3);
    }
}

#[test]
fn an_idle_client_is_forgotten_and_may_come_back() {
    let (relay, ports) = relay(&[echo()], &["--idle-s", "1", "--share", "client", "--report-ms", "50"]);
    let client = client(ports[0]);
    round_trip(&client);
    let first = relay.line_with("client")["upstream"].clone();
    // Its link ends with a last report.
    while relay.line_with("final")["final"] != true {}
    round_trip(&client);
    assert_ne!(relay.line_with("client")["upstream"], first);
}

#[test]
fn more_clients_than_allowed_are_not_served() {
    let (_relay, ports) = relay(&[echo()], &["--clients", "1"]);
    round_trip(&client(ports[0]));
    let second = client(ports[0]);
    second.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    second.send(b"ping").unwrap();
    assert!(second.recv(&mut [0; 10]).is_err());
}

#[test]
fn profiles_and_mahimahi_traces_are_taken() {
    let trace = std::env::temp_dir().join(format!("pysfu-netem-{}.trace", std::process::id()));
    std::fs::write(&trace, "100\n").unwrap();
    let up = format!(r#"{{"capacity":{{"mahimahi":"{}"}}}}"#, trace.display());
    let (relay, ports) = relay(&[echo()], &["--profile", "loss-2pct-rtt-150ms", "--up", &up]);
    std::fs::remove_file(&trace).unwrap();
    let client = client(ports[0]);
    // The way back is the profile's and takes 75 ms; the way there waits for the next of opportunities 100 ms apart.
    let times: Vec<u128> = (0..3).map(|_| round_trip(&client).as_millis()).collect();
    assert!(times.iter().all(|time| (75..230).contains(time)), "{times:?} ms");
    // However late single packets are: two more opportunities have passed since the first answer.
    assert!((170..260).contains(&(times[1] + times[2])), "{times:?} ms");
    drop(relay);
}

#[test]
fn mistakes_are_told_and_end_the_program() {
    for (arguments, told) in [
        (vec!["--profile", "nowhere"], "no profile is called nowhere"),
        (vec!["--down", r#"{"delay":1}"#], "unknown field `delay`"),
        (vec!["--down", r#"{"duplicate":2}"#], "2 is no probability"),
        (vec!["--up", "/nowhere.json"], "/nowhere.json"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_pysfu-netem"))
            .args(["relay", "--forward", "127.0.0.1:0=127.0.0.1:9"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(!output.status.success());
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn profiles_are_listed() {
    let run = |arguments: &[&str]| {
        let program = env!("CARGO_BIN_EXE_pysfu-netem");
        let output = Command::new(program).arg("profiles").args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let names = run(&[]);
    assert!(names.lines().any(|name| name == "lte"), "{names}");
    let profile: Value = serde_json::from_str(&run(&["rfc8867-5.1"])).unwrap();
    assert_eq!(
        profile["down"]["script"][0],
        serde_json::json!([40.0, {"capacity": 2_500_000}])
    );
}
