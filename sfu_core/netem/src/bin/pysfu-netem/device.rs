//! TUN devices in network namespaces.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::Failure;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub(crate) ip: Ipv4Addr,
    prefix: u32,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (ip, prefix) = text.split_once('/').ok_or("expected ADDRESS/PREFIX")?;
        let prefix = prefix.parse().ok().filter(|&prefix| (1..=32).contains(&prefix));
        Ok(Self {
            ip: ip.parse().map_err(|_| format!("{ip}: no IPv4 address"))?,
            prefix: prefix.ok_or("the prefix is 1 to 32")?,
        })
    }
}

/// What the devices of a run have in common.
pub(crate) struct Device<'a> {
    pub(crate) name: &'a str,
    pub(crate) mtu: u16,
}

impl Device<'_> {
    /// A device in the namespace, up and with its address. It goes away with the file. To be called by the only thread there is, as
    /// only this one changes its namespace for the time of the call.
    pub(crate) fn open(&self, namespace: &str, address: Address, default_route: bool) -> Result<File, Failure> {
        let home = File::open("/proc/thread-self/ns/net").map_err(Failure::io("/proc/thread-self/ns/net"))?;
        enter(namespace)?;
        let made = make(self, address, default_route)
            .map_err(|error| refused(format!("device {} in namespace {namespace}", self.name), error));
        // SAFETY: a descriptor of a namespace, open during the call.
        if unsafe { libc::setns(home.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
            return Err(refused("way back".to_owned(), io::Error::last_os_error()));
        }
        made
    }
}

fn enter(namespace: &str) -> Result<(), Failure> {
    let path = match namespace {
        "-" => return Ok(()),
        pid if pid.bytes().all(|byte| byte.is_ascii_digit()) => PathBuf::from(format!("/proc/{pid}/ns/net")),
        path if path.contains('/') => PathBuf::from(path),
        name => PathBuf::from(format!("/run/netns/{name}")),
    };
    let what = format!("namespace {}", path.display());
    let file = File::open(&path).map_err(|error| refused(what.clone(), error))?;
    // SAFETY: an open descriptor; one that is no namespace is refused by the kernel.
    if unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
        return Err(refused(what, io::Error::last_os_error()));
    }
    Ok(())
}

fn refused(what: String, error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::PermissionDenied {
        Failure::NotPermitted(what)
    } else {
        Failure::Io(what, error)
    }
}

fn make(like: &Device<'_>, address: Address, default_route: bool) -> io::Result<File> {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    let mut request = Request::new(like.name)?;
    request.0.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    request.call(device.as_raw_fd(), libc::TUNSETIFF)?;

    // SAFETY: takes plain numbers.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nothing else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let socket = socket.as_raw_fd();
    request.0.ifr_ifru.ifru_addr = name(address.ip);
    request.call(socket, libc::SIOCSIFADDR)?;
    request.0.ifr_ifru.ifru_netmask = name(Ipv4Addr::from(u32::MAX << (32 - address.prefix)));
    request.call(socket, libc::SIOCSIFNETMASK)?;
    request.0.ifr_ifru.ifru_mtu = like.mtu.into();
    request.call(socket, libc::SIOCSIFMTU)?;
    request.0.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    request.call(socket, libc::SIOCSIFFLAGS)?;
    if default_route {
        route(socket, &mut request)?;
    }
    Ok(device)
}

/// The default route leads through the device of the request.
fn route(socket: libc::c_int, request: &mut Request) -> io::Result<()> {
    // SAFETY: a plain C struct, for which zeroes are valid.
    let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
    route.rt_dst = name(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = name(Ipv4Addr::UNSPECIFIED);
    route.rt_flags = libc::RTF_UP;
    route.rt_dev = request.0.ifr_name.as_mut_ptr();
    // SAFETY: the structure is what this call takes; it and the name that it points to live until the call returns.
    if unsafe { libc::ioctl(socket, libc::SIOCADDRT, &raw const route) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What `ioctl` takes to speak of a device.
struct Request(libc::ifreq);

impl Request {
    fn new(name: &str) -> io::Result<Self> {
        // SAFETY: a plain C struct, for which zeroes are valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // One octet remains zero, as the end of the name.
        if name.is_empty() || name.len() >= request.ifr_name.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "name of the device"));
        }
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        Ok(Self(request))
    }

    fn call(&mut self, descriptor: libc::c_int, request: libc::Ioctl) -> io::Result<()> {
        // SAFETY: each request used here takes an `ifreq`, which lives until the call returns.
        if unsafe { libc::ioctl(descriptor, request, &raw mut self.0) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

fn name(ip: Ipv4Addr) -> libc::sockaddr {
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: u32::from(ip).to_be(),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: both are 16 bytes without padding, and any bytes are a valid `sockaddr`.
    unsafe { std::mem::transmute(address) }
}
