//! Two namespaces, joined by the emulator. Needs root, and says so where it is not there.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::{Program, is_root};

const PATIENCE: Duration = Duration::from_secs(10);

/// A namespace that goes away with the value.
pub(crate) struct Namespace(pub(crate) String);

impl Namespace {
    pub(crate) fn new(role: &str) -> Self {
        let name = format!("pysfu-netem-{role}-{}", std::process::id());
        ip(&["netns", "add", &name]);
        Self(name)
    }

    /// Runs on a thread that lives in the namespace; sockets stay there when they leave it.
    pub(crate) fn run<R: Send>(&self, body: impl FnOnce() -> R + Send) -> R {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let file = File::open(format!("/run/netns/{}", self.0)).unwrap();
                // SAFETY: an open descriptor of a namespace; only this thread changes.
                assert_eq!(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
                body()
            });
            thread.join().unwrap()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A failure leaves a name behind, and no test hangs on it.
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn ip(arguments: &[&str]) {
    assert!(
        Command::new("ip").args(arguments).status().unwrap().success(),
        "ip {arguments:?}"
    );
}

#[test]
fn namespaces_meet_over_the_emulated_link() {
    if !is_root() {
        eprintln!("skipped: namespaces need root");
        return;
    }
    let (client, server) = (Namespace::new("c"), Namespace::new("s"));
    let (down, up) = (r#"{"delay_ms":20,"capacity":4000000}"#, r#"{"delay_ms":30}"#);
    let program = Program::start(&[
        "tun",
        "--client",
        &client.0,
        "--server",
        &server.0,
        "--default-route",
        "--down",
        down,
        "--up",
        up,
    ]);
    assert_eq!(program.line_with("device")["server"], "10.99.0.2");

    // UDP there and back.
    let echo = server.run(|| UdpSocket::bind("10.99.0.2:7000").unwrap());
    // An address behind the server's: only the default route leads there.
    ip(&["-n", &server.0, "address", "add", "192.0.2.1/32", "dev", "netem0"]);
    let (near, far) = client.run(|| {
        let near = UdpSocket::bind("10.99.0.1:0").unwrap();
        near.connect("10.99.0.2:7000").unwrap();
        let far = UdpSocket::bind("10.99.0.1:0").unwrap();
        far.connect("192.0.2.1:7001").unwrap();
        (near, far)
    });
    let behind = server.run(|| UdpSocket::bind("192.0.2.1:7001").unwrap());
    let mut buffer = [0; 100];
    for (asks, answers) in [(&near, &echo), (&far, &behind)] {
        asks.set_read_timeout(Some(PATIENCE)).unwrap();
        answers.set_read_timeout(Some(PATIENCE)).unwrap();
        let began = Instant::now();
        asks.send(b"ping").unwrap();
        let (length, from) = answers.recv_from(&mut buffer).unwrap();
        answers.send_to(&buffer[..length], from).unwrap();
        asks.recv(&mut buffer).unwrap();
        let taken = began.elapsed().as_millis();
        assert!((50..80).contains(&taken), "{taken} ms");
    }

    // TCP of the kernel downwards: 500 kB at 4 Mb/s take a second, and a little for its headers and start.
    let listener = server.run(|| TcpListener::bind("10.99.0.2:7002").unwrap());
    let sender = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&[1; 500_000]).unwrap();
    });
    let began = Instant::now();
    let received = client.run(|| {
        let mut stream = TcpStream::connect("10.99.0.2:7002").unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        std::io::copy(&mut Read::by_ref(&mut stream), &mut std::io::sink()).unwrap()
    });
    sender.join().unwrap();
    let taken = began.elapsed().as_secs_f64();
    assert_eq!(received, 500_000);
    assert!((1.0..1.6).contains(&taken), "{taken} s");

    let [report] = program.end().try_into().unwrap();
    let bytes = report["down"]["delivered_bytes"].as_u64().unwrap();
    assert!((500_000..600_000).contains(&bytes), "{report}");
    // The devices went with the program.
    let links = Command::new("ip").args(["-n", &client.0, "link"]).output().unwrap();
    assert!(!String::from_utf8(links.stdout).unwrap().contains("netem0"));
}

#[test]
fn others_than_root_are_told_what_lacks() {
    if !is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    // A copy, as the folder of the build may be closed to others.
    let copy = std::env::temp_dir().join(format!("pysfu-netem-copy-{}", std::process::id()));
    std::fs::copy(env!("CARGO_BIN_EXE_pysfu-netem"), &copy).unwrap();
    std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).unwrap();
    let output = Command::new(&copy)
        .args(["tun", "--client", "-", "--server", "1"])
        .uid(65_534)
        .output();
    std::fs::remove_file(&copy).unwrap();
    let output = output.unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("not permitted") && error.contains("needs root"),
        "{error}"
    );
}

#[test]
fn unknown_namespaces_are_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_pysfu-netem"))
        .args(["tun", "--client", "pysfu-nowhere", "--server", "-"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("/run/netns/pysfu-nowhere")
    );
}
