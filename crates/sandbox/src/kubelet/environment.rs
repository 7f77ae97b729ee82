//! A container's environment, read when it starts: objects, single variables, the Services of its namespace.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::objects::Objects;
use super::plan::{EnvironmentPlan, Value, is_name};

/// Reads everything.
///
/// # Errors
/// The sentence of a container that cannot be made: `CreateContainerConfigError`.
pub(super) async fn read(
    client: &Client,
    objects: &mut Objects,
    plan: &EnvironmentPlan,
    pod: &Pod,
    address: &str,
) -> Result<BTreeMap<String, String>, String> {
    let namespace = pod.namespace().unwrap_or_default();
    let services = services(client, &namespace, plan.service_links).await?;
    let mut environment = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
    environment.insert("HOSTNAME".to_owned(), pod.name_any());
    let mut own = BTreeMap::new();
    for source in &plan.objects {
        let content = objects
            .read_present(
                client,
                &namespace,
                source.kind,
                &source.name,
                source.optional,
            )
            .await?;
        for (key, value) in content.iter() {
            let name = format!("{}{key}", source.prefix);
            if is_name(&name) {
                own.insert(name, text(value));
            }
        }
    }
    for (name, value) in &plan.variables {
        let value = match value {
            Value::Field(field) => field.value(pod, address),
            Value::Text(text) => expand(text, |name| own.get(name).or_else(|| services.get(name)))
                .ok_or_else(|| format!("variable {name:?} is {TOO_LONG}"))?,
            Value::Key {
                kind,
                name: object,
                key,
                optional,
            } => {
                let content = objects
                    .read_present(client, &namespace, *kind, object, *optional)
                    .await?;
                match content.get(key) {
                    Some(value) => text(value),
                    None if *optional => continue,
                    None => {
                        return Err(format!(
                            "couldn't find key {key} in {} {namespace}/{object}",
                            kind.name()
                        ));
                    }
                }
            }
        };
        own.insert(name.clone(), value);
    }
    environment.extend(services);
    environment.extend(own);
    match environment.iter().find(|(_, value)| value.contains('\0')) {
        Some((name, _)) => Err(format!("variable {name:?} holds a NUL character")),
        None => Ok(environment),
    }
}

/// `command` and `args` with the variables in them.
///
/// # Errors
/// One would be longer than a program can be given.
pub(super) fn words(
    words: &[String],
    environment: &BTreeMap<String, String>,
) -> Result<Vec<String>, String> {
    let words = words.iter();
    words
        .map(|word| {
            expand(word, |name| environment.get(name))
                .ok_or_else(|| format!("a word of command and args is {TOO_LONG}"))
        })
        .collect()
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

/// The variables about Services (`pkg/kubelet/envvars`): the API server's always, those of the namespace if wanted.
async fn services(
    client: &Client,
    namespace: &str,
    links: bool,
) -> Result<BTreeMap<String, String>, String> {
    let mut services = Vec::new();
    let failed = |error: kube::Error| format!("cannot read Services: {error}");
    if links {
        let own: Api<Service> = Api::namespaced(client.clone(), namespace);
        services = own
            .list(&ListParams::default())
            .await
            .map_err(failed)?
            .items;
    }
    if namespace != MASTER.0 || !links {
        let masters: Api<Service> = Api::namespaced(client.clone(), MASTER.0);
        services.extend(masters.get_opt(MASTER.1).await.map_err(failed)?);
    }
    let mut all: BTreeMap<_, _> = services.iter().flat_map(variables).collect();
    // A name, where a real kubelet gives an address: the API server's certificate holds names alone.
    if let Some(host) = all.get_mut("KUBERNETES_SERVICE_HOST") {
        *host = format!("{}.{}.svc", MASTER.1, MASTER.0);
    }
    Ok(all)
}

/// Docker's variables of one Service; none without an address.
fn variables(service: &Service) -> Vec<(String, String)> {
    let spec = service.spec.as_ref();
    let address = spec
        .and_then(|spec| spec.cluster_ip.as_deref())
        .filter(|address| !matches!(*address, "" | "None"));
    let ports = spec.and_then(|spec| spec.ports.as_deref());
    let (Some(address), Some([first, ..])) = (address, ports) else {
        return Vec::new();
    };
    let name = upper(&service.name_any());
    let mut all = vec![
        (format!("{name}_SERVICE_HOST"), address.to_owned()),
        (format!("{name}_SERVICE_PORT"), first.port.to_string()),
    ];
    for (index, port) in ports.into_iter().flatten().enumerate() {
        let number = port.port;
        if let Some(port_name) = &port.name {
            let variable = format!("{name}_SERVICE_PORT_{}", upper(port_name));
            all.push((variable, number.to_string()));
        }
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let low = protocol.to_lowercase();
        let url = format!("{low}://{address}:{number}");
        if index == 0 {
            all.push((format!("{name}_PORT"), url.clone()));
        }
        let prefix = format!("{name}_PORT_{number}_{protocol}");
        all.push((prefix.clone(), url));
        all.push((format!("{prefix}_PROTO"), low));
        all.push((format!("{prefix}_PORT"), number.to_string()));
        all.push((format!("{prefix}_ADDR"), address.to_owned()));
    }
    all
}

fn upper(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

/// Replaces `$(NAME)` by the variable's value; `None` when the result is longer than [`MAX_WORD`]. An unknown name
/// stays as it is and `$$` is one `$`, as in `third_party/forked/golang/expansion`.
fn expand<'a>(text: &str, value: impl Fn(&str) -> Option<&'a String>) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|a| a.split_once(')')) {
            match value(name) {
                Some(value) => out.push_str(value),
                None => out.extend(["$(", name, ")"]),
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
        // Looked at in each round: variables that name each other twice double with every line.
        if out.len() > MAX_WORD {
            return None;
        }
    }
    out.push_str(rest);
    (out.len() <= MAX_WORD).then_some(out)
}

/// The API server's Service.
const MASTER: (&str, &str) = ("default", "kubernetes");
/// What container runtimes set when the image does not.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The longest variable or argument that Linux passes to a program (`MAX_ARG_STRLEN`).
const MAX_WORD: usize = 128 * 1024;
const TOO_LONG: &str = "longer than the 131072 bytes that a program can be given";

#[cfg(test)]
mod tests;
