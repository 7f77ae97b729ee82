//! A pod's two network namespaces and what connects them.
//!
//! ```text
//! the pod's:     lo, eth0 = pod IP      10.0.0.0/8 via 169.254.1.1
//!                     │
//! process 1's:   lo, pod0 = 169.254.1.1     pod IP to pod0; every other 10.0.0.0/8 is local
//! ```
//!
//! Two, because the program may listen on `0.0.0.0:443` while process 1 listens on a Service's `10.96.0.7:443`. Beyond
//! 10.0.0.0/8 the pod has no route: it cannot reach the machine or the Internet.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;

use nix::sched::{CloneFlags, unshare};
use rustix::fd::AsFd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::netlink::{Kind, Netlink, Route, Table};
use super::{Error, Step};

/// A network namespace.
#[derive(Debug)]
pub(super) struct Namespace(File);

/// Connects this process' fresh network namespace with another fresh one, which it answers with: the pod's.
pub(super) fn create(address: Ipv4Addr) -> Result<Namespace, Error> {
    let ours = Namespace::current()?;
    unshare(CloneFlags::CLONE_NEWNET).step(|| "make a network namespace")?;
    let pods = Namespace::current()?;
    inside(&ours, address).step(|| "set up the pod's network (the kernel module veth makes it)")?;
    ours.enter()?;
    outside(address).step(|| "set up the other end of the pod's network")?;
    Ok(pods)
}

impl Namespace {
    /// Moves this thread into the namespace; children that it starts are in it too.
    pub(super) fn enter(&self) -> Result<(), Error> {
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(self.0.as_fd(), kind).step(|| "enter a network namespace")
    }

    fn current() -> Result<Self, Error> {
        let file = File::open("/proc/thread-self/ns/net");
        file.map(Self).step(|| "open a network namespace")
    }
}

fn inside(outside: &Namespace, address: Ipv4Addr) -> io::Result<()> {
    let netlink = Netlink::open()?;
    netlink.add_pair(POD_DEVICE, OUR_DEVICE, outside.0.as_fd())?;
    netlink.set_up(netlink.device("lo")?)?;
    let device = netlink.device(POD_DEVICE)?;
    netlink.add_address(device, address)?;
    netlink.set_up(device)?;
    let router = Route {
        to: ROUTER,
        prefix: 32,
        device,
        table: Table::Main,
        kind: Kind::Link,
        source: Some(address),
    };
    netlink.add_route(&router)?;
    netlink.add_route(&Route {
        to: CLUSTER.0,
        prefix: CLUSTER.1,
        kind: Kind::Via(ROUTER),
        ..router
    })
}

fn outside(address: Ipv4Addr) -> io::Result<()> {
    let netlink = Netlink::open()?;
    let lo = netlink.device("lo")?;
    netlink.set_up(lo)?;
    let device = netlink.device(OUR_DEVICE)?;
    netlink.add_address(device, ROUTER)?;
    netlink.set_up(device)?;
    let local = Route {
        to: CLUSTER.0,
        prefix: CLUSTER.1,
        device: lo,
        table: Table::Local,
        kind: Kind::Here,
        source: None,
    };
    netlink.add_route(&local)?;
    // In the same table, where the longer prefix wins.
    netlink.add_route(&Route {
        to: address,
        prefix: 32,
        device,
        kind: Kind::Link,
        source: Some(ROUTER),
        ..local
    })
}

/// Where pods and Services have their addresses.
const CLUSTER: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 0, 0, 0), 8);
const OUR_DEVICE: &str = "pod0";
const POD_DEVICE: &str = "eth0";
/// Who a pod's callers seem to be.
const ROUTER: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
