//! What a container's probes ask, and how often.

use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, ExecAction, HTTPGetAction, HTTPHeader, Probe, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Verdict;

/// The three probes of a container.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProbesPlan {
    pub(crate) startup: Option<ProbePlan>,
    pub(crate) liveness: Option<ProbePlan>,
    pub(crate) readiness: Option<ProbePlan>,
}

/// One probe.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ProbePlan {
    pub(crate) action: Action,
    pub(crate) initial_delay: Duration,
    pub(crate) period: Duration,
    pub(crate) timeout: Duration,
    pub(crate) success_threshold: u32,
    pub(crate) failure_threshold: u32,
    /// What the container gets to end when this probe has failed, if not the pod's grace period.
    pub(crate) grace: Option<Duration>,
}

/// What a probe does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Action {
    Exec(Vec<String>),
    Http {
        tls: bool,
        port: u16,
        path: String,
        headers: Vec<(String, String)>,
    },
    Tcp(u16),
}

pub(super) fn parse(
    container: &Container,
    at: &dyn Fn(&str) -> String,
    v: &mut Verdict,
) -> ProbesPlan {
    let ports = container.ports.as_deref().unwrap_or_default();
    let mut probe = |name: &str, probe: Option<&Probe>| {
        let parsed = parse_probe(probe?, ports);
        parsed
            .map_err(|sentence| v.refuse(format!("{}: {sentence}", at(name))))
            .ok()
    };
    ProbesPlan {
        startup: probe("startupProbe", container.startup_probe.as_ref()),
        liveness: probe("livenessProbe", container.liveness_probe.as_ref()),
        readiness: probe("readinessProbe", container.readiness_probe.as_ref()),
    }
}

fn parse_probe(probe: &Probe, ports: &[ContainerPort]) -> Result<ProbePlan, String> {
    let Probe {
        exec,
        failure_threshold,
        grpc,
        http_get,
        initial_delay_seconds,
        period_seconds,
        success_threshold,
        tcp_socket,
        termination_grace_period_seconds,
        timeout_seconds,
    } = probe;
    if grpc.is_some() {
        return Err("no grpc probes are made; httpGet, tcpSocket and exec are".to_owned());
    }
    let action = match (exec, http_get, tcp_socket) {
        (Some(ExecAction { command }), None, None) => {
            let command = command.clone().unwrap_or_default();
            if command.is_empty() {
                return Err("exec.command is missing".to_owned());
            }
            Action::Exec(command)
        }
        (None, Some(http), None) => parse_http(http, ports)?,
        (None, None, Some(TCPSocketAction { host, port })) => {
            no_host(host.as_deref())?;
            Action::Tcp(number(port, ports)?)
        }
        _ => return Err("exactly one of exec, httpGet and tcpSocket must be set".to_owned()),
    };
    let seconds = |value: Option<i32>, default: u64| {
        let value = value.and_then(|value| u64::try_from(value).ok());
        Duration::from_secs(value.filter(|value| *value > 0).unwrap_or(default))
    };
    let times = |value: Option<i32>, default: u32| {
        let value = value.and_then(|value| u32::try_from(value).ok());
        value.filter(|value| *value > 0).unwrap_or(default)
    };
    Ok(ProbePlan {
        action,
        initial_delay: seconds(*initial_delay_seconds, 0),
        period: seconds(*period_seconds, 10),
        timeout: seconds(*timeout_seconds, 1),
        success_threshold: times(*success_threshold, 1),
        failure_threshold: times(*failure_threshold, 3),
        grace: termination_grace_period_seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map(Duration::from_secs),
    })
}

fn parse_http(http: &HTTPGetAction, ports: &[ContainerPort]) -> Result<Action, String> {
    let HTTPGetAction {
        host,
        http_headers,
        path,
        port,
        protocol,
        scheme,
    } = http;
    no_host(host.as_deref())?;
    if let Some(protocol) = protocol {
        return Err(format!(
            "protocol {protocol:?}: probes speak the default, HTTP/1.1, alone"
        ));
    }
    let tls = match scheme.as_deref() {
        None | Some("" | "HTTP") => false,
        Some("HTTPS") => true,
        Some(other) => return Err(format!("scheme {other:?} is neither HTTP nor HTTPS")),
    };
    let path = path.clone().unwrap_or_default();
    let headers = http_headers.iter().flatten();
    Ok(Action::Http {
        tls,
        port: number(port, ports)?,
        path: match path.strip_prefix('/') {
            Some(_) => path,
            None => format!("/{path}"),
        },
        headers: headers
            .map(|HTTPHeader { name, value }| (name.clone(), value.clone()))
            .collect(),
    })
}

fn no_host(host: Option<&str>) -> Result<(), String> {
    match host {
        None | Some("") => Ok(()),
        Some(host) => Err(format!("host {host:?}: probes reach the pod itself alone")),
    }
}

/// A port by its number, or by the name that the container gives it.
fn number(port: &IntOrString, ports: &[ContainerPort]) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => ports
            .iter()
            .find(|port| port.name.as_ref() == Some(name))
            .map(|port| port.container_port),
    };
    let valid = number.and_then(|number| u16::try_from(number).ok());
    valid
        .filter(|number| *number > 0)
        .ok_or_else(|| match port {
            IntOrString::Int(number) => format!("port {number} is none"),
            IntOrString::String(name) => format!("the container has no port {name:?}"),
        })
}
