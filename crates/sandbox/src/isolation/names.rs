//! What a pod's `/etc/hosts`, `/etc/resolv.conf` and `/etc/hostname` say. There is no DNS server: names are in the first
//! file, which follows the Services.

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

use super::Run;
use crate::pod_map::{PodMap, Services};
use crate::state_dir::write_private;

/// Where they are on the machine.
pub(super) fn folder(run: &Run) -> PathBuf {
    run.folder.join("etc")
}

/// Writes what stays as it is.
pub(super) fn write_fixed(folder: &Path, map: &PodMap) -> io::Result<()> {
    let namespace = &map.pod.namespace;
    let resolver = format!(
        "# No name server: the names of Services are in /etc/hosts.\n\
         search {namespace}.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
    );
    write_private(&folder.join("resolv.conf"), resolver.as_bytes())?;
    write_private(
        &folder.join("hostname"),
        format!("{}\n", map.pod.name).as_bytes(),
    )
}

/// Writes the names of Services.
pub(super) fn write_hosts(folder: &Path, map: &PodMap, services: &Services) -> io::Result<()> {
    write_private(&folder.join("hosts"), hosts(map, services).as_bytes())
}

fn hosts(map: &PodMap, services: &Services) -> String {
    let mut text = format!(
        "# Written by the sandbox; follows the Services.\n\
         127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{} {}\n",
        map.address, map.pod.name
    );
    for (name, addresses) in &services.addresses {
        let near = name
            .strip_suffix(&map.pod.namespace)
            .and_then(|rest| rest.strip_suffix('.'))
            .filter(|rest| !rest.contains('.'));
        for address in addresses {
            let names = format!("{name}.svc.cluster.local {name}.svc {name}");
            let near = near.map(|near| format!(" {near}")).unwrap_or_default();
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{address} {names}{near}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod_map::{PodName, RunAs};
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    #[test]
    fn short_names_are_those_of_the_pods_namespace() {
        let map = PodMap {
            pod: PodName {
                namespace: "demo".into(),
                name: "web-1".into(),
                uid: "u".into(),
            },
            address: Ipv4Addr::new(10, 0, 0, 1),
            run_as: RunAs::default(),
            mounts: Vec::new(),
            listen_dir: "/l".into(),
            services_file: "/s".into(),
        };
        let services = Services {
            addresses: BTreeMap::from([
                ("web.demo".into(), vec![Ipv4Addr::new(10, 96, 0, 1)]),
                ("web.other-demo".into(), vec![Ipv4Addr::new(10, 96, 0, 2)]),
                ("gone.demo".into(), Vec::new()),
            ]),
            ..Services::default()
        };
        let text = hosts(&map, &services);
        let lines: Vec<&str> = text.lines().skip(3).collect();
        assert_eq!(
            lines,
            [
                "10.0.0.1 web-1",
                "10.96.0.1 web.demo.svc.cluster.local web.demo.svc web.demo web",
                "10.96.0.2 web.other-demo.svc.cluster.local web.other-demo.svc web.other-demo",
            ]
        );
    }
}
