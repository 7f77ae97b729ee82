//! The few words of rtnetlink that a pod's network needs: a pair of devices, addresses, routes. See rtnetlink(7).
//!
//! By hand, because these are five messages of fixed form, and a library for all of rtnetlink is large.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::netdevice::name_to_index;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

/// A connection to the network namespace in which it was opened.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

/// A route to be added.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) to: Ipv4Addr,
    pub(super) prefix: u8,
    pub(super) device: u32,
    pub(super) table: Table,
    pub(super) kind: Kind,
    /// The address that what goes this way comes from.
    pub(super) source: Option<Ipv4Addr>,
}

/// A routing table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Table {
    Main,
    /// The one that is looked at first.
    Local,
}

/// What happens to packets that take a route.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// They are for this machine, whatever their address.
    Here,
    /// They are for whoever is at the other end of the device.
    Link,
    /// They go to this router at the other end of the device.
    Via(Ipv4Addr),
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok(Self(socket))
    }

    /// The number of the device called `name`.
    pub(super) fn device(&self, name: &str) -> io::Result<u32> {
        Ok(name_to_index(&self.0, name)?)
    }

    /// Makes the device `name` here and its other end, `peer`, in the namespace `there`.
    pub(super) fn add_pair(&self, name: &str, peer: &str, there: BorrowedFd<'_>) -> io::Result<()> {
        let mut other = Message::body(&link(0, 0, 0));
        other.attribute(IFLA_IFNAME, &c_string(peer));
        other.attribute(IFLA_NET_NS_FD, &there.as_raw_fd().to_ne_bytes());
        let mut data = Message::default();
        data.attribute(VETH_INFO_PEER, &other.0);
        let mut info = Message::default();
        info.attribute(IFLA_INFO_KIND, &c_string("veth"));
        info.attribute(IFLA_INFO_DATA, &data.0);
        let mut message = Message::body(&link(0, 0, 0));
        message.attribute(IFLA_IFNAME, &c_string(name));
        message.attribute(IFLA_LINKINFO, &info.0);
        self.ask(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &message)
    }

    /// Switches the device on.
    pub(super) fn set_up(&self, device: u32) -> io::Result<()> {
        let message = Message::body(&link(device, IFF_UP, IFF_UP));
        self.ask(RTM_NEWLINK, 0, &message)
    }

    /// Gives the device an address, and no network around it.
    pub(super) fn add_address(&self, device: u32, address: Ipv4Addr) -> io::Result<()> {
        let [a, b, c, d] = device.to_ne_bytes();
        let mut message = Message::body(&[AF_INET, 32, 0, 0, a, b, c, d]);
        message.attribute(IFA_LOCAL, &address.octets());
        message.attribute(IFA_ADDRESS, &address.octets());
        self.ask(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &message)
    }

    pub(super) fn add_route(&self, route: &Route) -> io::Result<()> {
        let table = match route.table {
            Table::Main => RT_TABLE_MAIN,
            Table::Local => RT_TABLE_LOCAL,
        };
        let (scope, kind) = match route.kind {
            Kind::Here => (RT_SCOPE_HOST, RTN_LOCAL),
            Kind::Link => (RT_SCOPE_LINK, RTN_UNICAST),
            Kind::Via(_) => (RT_SCOPE_UNIVERSE, RTN_UNICAST),
        };
        let mut message = Message::body(&[
            AF_INET,
            route.prefix,
            0,
            0,
            table,
            RTPROT_STATIC,
            scope,
            kind,
            0,
            0,
            0,
            0,
        ]);
        message.attribute(RTA_DST, &route.to.octets());
        message.attribute(RTA_OIF, &route.device.to_ne_bytes());
        if let Kind::Via(router) = route.kind {
            message.attribute(RTA_GATEWAY, &router.octets());
        }
        if let Some(source) = route.source {
            message.attribute(RTA_PREFSRC, &source.octets());
        }
        self.ask(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &message)
    }

    /// Sends one request and waits for the kernel's answer to it.
    fn ask(&self, kind: u16, flags: u16, message: &Message) -> io::Result<()> {
        let length = HEADER + message.0.len();
        let mut bytes = Vec::with_capacity(length);
        bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(&message.0);
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(self.0.as_fd(), &bytes, SendFlags::empty(), &kernel)?;
        let mut answer = [0; 1024];
        let (received, _) = recv(self.0.as_fd(), answer.as_mut_slice(), RecvFlags::empty())?;
        let kind = answer.get(4..6).filter(|_| received >= HEADER + 4);
        let code = answer.get(HEADER..HEADER + 4);
        match (kind, code) {
            (Some(kind), Some(code)) if kind == NLMSG_ERROR.to_ne_bytes() => {
                let code = i32::from_ne_bytes(code.try_into().unwrap_or_default());
                match code {
                    0 => Ok(()),
                    code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
                }
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// What follows a message's header, or an attribute's value: padded to four bytes at every attribute.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn body(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// `struct ifinfomsg`.
fn link(device: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend(device.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(change.to_ne_bytes());
    bytes
}

fn c_string(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

const HEADER: usize = 16;
const AF_INET: u8 = 2;
const IFF_UP: u32 = 1;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RT_SCOPE_HOST: u8 = 254;
const RT_TABLE_MAIN: u8 = 254;
const RT_TABLE_LOCAL: u8 = 255;
