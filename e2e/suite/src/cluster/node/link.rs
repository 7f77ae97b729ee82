//! The line between a node's network and this machine: a pair of devices and a subnet of two addresses.
//!
//! The API server listens on this machine's end, so that pods reach it; the kubelet's address is the other.
//! Nothing else leads out of the node: no route, no address translation, and this machine forwards nothing.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Result, bail};

use super::space::Space;
use crate::cluster::process::Lock;

/// The subnet of one node, its own until this is dropped.
#[derive(Debug)]
pub(crate) struct Link {
    number: u8,
    _lock: Lock,
}

impl Link {
    /// Chooses one that no cluster and no route of this machine has.
    pub(super) fn reserve(locks: &Path) -> Result<Self> {
        let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
        for number in 0..=u8::MAX {
            if is_routed(&routes, outside(number)) {
                continue;
            }
            if let Some(lock) = Lock::try_take(&locks.join(format!("port-link-{number}")))? {
                return Ok(Self {
                    number,
                    _lock: lock,
                });
            }
        }
        bail!(
            "every subnet of {}/16 is in use on this machine",
            outside(0)
        )
    }

    /// This machine's end: where the API server listens.
    pub(crate) fn outside(&self) -> Ipv4Addr {
        outside(self.number)
    }

    /// The node's end: the kubelet's address.
    pub(crate) fn inside(&self) -> Ipv4Addr {
        inside(self.number)
    }

    /// Lays it. It goes with the node's network.
    pub(super) async fn lay(&self, space: &Space, ip: &Path) -> Result<()> {
        let device = format!("podcert-e2e{}", self.number);
        let init = space.init().to_string();
        let (here, there) = (
            format!("{}/30", self.outside()),
            format!("{}/30", self.inside()),
        );
        let gateway = self.outside().to_string();
        for words in [
            &[
                "link", "add", &device, "type", "veth", "peer", "name", NODES, "netns", &init,
            ][..],
            &["address", "add", &here, "dev", &device],
            &["link", "set", &device, "up"],
        ] {
            super::space::run(tokio::process::Command::new(ip).args(words)).await?;
        }
        for words in [
            &["link", "set", "lo", "up"][..],
            &["address", "add", &there, "dev", NODES],
            &["link", "set", NODES, "up"],
            &["route", "add", "default", "via", &gateway],
        ] {
            super::space::run(&mut space.command(ip, words)?).await?;
        }
        Ok(())
    }
}

/// Subnets of four addresses in a range of private use.
fn outside(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, number, 1)
}

fn inside(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, number, 2)
}

/// Whether a route but the default one leads to the address, as the kernel's table says it.
fn is_routed(routes: &str, address: Ipv4Addr) -> bool {
    let number = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
    routes.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let destination = fields.next().and_then(number);
        let mask = fields.nth(5).and_then(number);
        match (destination, mask) {
            (Some(destination), Some(mask)) if mask != 0 => {
                u32::from(address) & mask == destination & mask
            }
            _ => false,
        }
    })
}

/// The node's only device beside `lo` and those of its pods.
const NODES: &str = "eth0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_that_a_route_leads_to_is_not_taken() {
        // The kernel writes addresses as they lie in the memory of a little-endian machine.
        let routes = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
                      eth0 00000000 0100000A 0003 0 0 0 00000000 0 0 0\n\
                      vpn0 0000630A 00000000 0001 0 0 0 00FEFFFF 0 0 0\n";
        assert!(is_routed(routes, outside(0)));
        assert!(is_routed(routes, outside(1)));
        assert!(!is_routed(routes, outside(2)));
        assert!(!is_routed("", outside(0)));
    }

    #[test]
    fn two_nodes_share_no_subnet() {
        let locks = tempfile::tempdir().unwrap();
        let one = Link::reserve(locks.path()).unwrap();
        let two = Link::reserve(locks.path()).unwrap();
        assert_ne!(one.outside(), two.outside());
        assert_ne!(one.outside(), one.inside());
    }
}
