//! On which ports the processes of a network namespace listen, read from `/proc/…/net/tcp` and `tcp6`: proc(5).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The ports that can be reached at `address`, which are those of sockets that listen there or everywhere.
pub(super) fn ports(tables: &[String], address: Ipv4Addr) -> BTreeSet<u16> {
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    lines
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (local, state) = (fields.nth(1)?, fields.nth(1)?);
            let (host, port) = local.split_once(':')?;
            let host = host_of(host)?;
            let reachable = host.is_unspecified() || host == IpAddr::V4(address);
            (state == LISTEN && reachable).then_some(())?;
            u16::from_str_radix(port, 16).ok()
        })
        .collect()
}

/// An address as groups of eight hexadecimal digits, each of them in the machine's byte order.
fn host_of(hex: &str) -> Option<IpAddr> {
    let mut octets = [0; 16];
    let (digits, rest) = hex.as_bytes().as_chunks::<8>();
    if !rest.is_empty() {
        return None;
    }
    let (words, _) = octets.as_chunks_mut::<4>();
    for (word, digits) in words.iter_mut().zip(digits) {
        let number = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        *word = number.to_ne_bytes();
    }
    match digits.len() {
        1 => {
            let [word, ..] = octets.as_chunks::<4>().0 else {
                return None;
            };
            Some(Ipv4Addr::from(*word).into())
        }
        4 => Some(Ipv6Addr::from(octets).to_canonical()),
        _ => None,
    }
}

const LISTEN: &str = "0A";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn only_listeners_that_others_reach_count() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue\n";
        let v4 = [
            "0: 00000000:0050 00000000:0000 0A 0",
            "1: 0100007F:1F90 00000000:0000 0A 0",
            "2: 0500000A:01BB 00000000:0000 0A 0",
            "3: 0500000A:01BC 0100000A:A0B0 01 0",
            "4: nonsense",
        ];
        let v6 = [
            "0: 00000000000000000000000000000000:1F91 0:0 0A 0",
            "1: 00000000000000000000000001000000:1F92 0:0 0A 0",
            "2: 0000000000000000FFFF00000500000A:1F93 0:0 0A 0",
        ];
        let tables = [
            head.to_owned() + &v4.join("\n"),
            head.to_owned() + &v6.join("\n"),
        ];
        let ports = ports(&tables, Ipv4Addr::new(10, 0, 0, 5));
        assert_eq!(ports, BTreeSet::from([80, 443, 8081, 8083]));
    }
}
