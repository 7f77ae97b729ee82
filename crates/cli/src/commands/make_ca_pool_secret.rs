//! `podcert make-ca-pool-secret`: makes a CA and stores it as a pool, in the Secret a signing
//! controller mounts.
//!
//! The Secret has meshtool's shape (type Opaque, one key `pool`), so either program can read what
//! the other made. It is only ever created: an existing Secret holds keys that certificates in use
//! were signed with, and is left alone.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use jiff::{SignedDuration, Span, SpanRelativeTo};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use podcert_authority::{CaId, CaOptions, Pool};
use podcert_pki::KeyType;
use podcert_runtime::{Clock, SharedClock};
use serde::Serialize;

use crate::kubeconfig;
use crate::output::{self, Format};

/// Make a CA pool and store it as a Secret for a signing controller.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Make a new certificate authority and store it, with its signing key, as a CA \
        pool in a Secret (key `pool`), the one a signing controller mounts.\n\n\
        The Secret is created, never replaced: an existing one is left alone and is an error.",
    after_long_help = "EXAMPLES\n  \
        podcert make-ca-pool-secret --namespace mesh-controller --name spiffe-ca-pool --ca-id 1\n  \
        podcert make-ca-pool-secret --namespace mesh-controller --name spiffe-ca-pool --ca-id 1 \\\n      \
        --dry-run --output yaml > secret.yaml   # holds the private key: keep it private\n\n\
        EXIT CODES\n  0  created (or printed)\n  1  not created; the message says why\n  2  wrong usage"
)]
pub(crate) struct Args {
    /// Kubeconfig of the cluster [default: $KUBECONFIG, then ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<String>,

    /// What the pool calls its first CA, such as "1"
    #[arg(long, value_name = "ID")]
    pub(crate) ca_id: String,

    /// Namespace of the Secret
    #[arg(long)]
    pub(crate) namespace: String,

    /// Name of the Secret
    #[arg(long)]
    pub(crate) name: String,

    /// Key of the CA: RSA2048, RSA3072, RSA4096, ECDSAP256, ECDSAP384, ECDSAP521 or ED25519
    #[arg(long, value_name = "TYPE", default_value = "ECDSAP256")]
    pub(crate) key_type: KeyType,

    /// How long the CA is valid, such as 365d, 8760h or "1 year"
    #[arg(long, default_value = "365d", value_parser = lifetime)]
    pub(crate) lifetime: Duration,

    /// Common name of the CA [default: the Secret's name]; part of the key's identifier is added,
    /// so that no two CAs have the same name
    #[arg(long, value_name = "COMMON NAME")]
    pub(crate) subject: Option<String>,

    /// Make the pool and print the Secret, private key included; create nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// How to print the result [default: text; with --dry-run: yaml]
    #[arg(long, value_enum)]
    pub(crate) output: Option<Format>,
}

/// Makes the pool and creates the Secret, or prints it.
pub(crate) async fn run(args: Args, clock: SharedClock) -> Result<ExitCode> {
    let (secret, made) = make(&args, clock.as_ref())?;
    if args.dry_run {
        output::object(args.output.unwrap_or(Format::Yaml), &secret)?;
        return Ok(ExitCode::SUCCESS);
    }
    let client = kubeconfig::client(args.kubeconfig.as_deref(), clock).await?;
    create(&client, &secret).await?;
    match args.output.unwrap_or(Format::Text) {
        Format::Text => output::text(&made.to_string())?,
        structured => output::object(structured, &made)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the Secret of `args` in memory, and what may be told of it.
pub(crate) fn make(args: &Args, clock: &dyn Clock) -> Result<(Secret, Made)> {
    named("--ca-id", &args.ca_id)?;
    named("--namespace", &args.namespace)?;
    named("--name", &args.name)?;
    let id = CaId::new(&args.ca_id);
    let options = CaOptions {
        common_name: args.subject.clone().unwrap_or_else(|| args.name.clone()),
        key_type: args.key_type,
        lifetime: args.lifetime,
        ..CaOptions::new(id)
    };
    let pool = Pool::generate(&options, clock.now()).context("cannot make the CA")?;
    let ca = pool.cas().first().context("the new pool has no CA")?;
    let made = Made {
        namespace: args.namespace.clone(),
        name: args.name.clone(),
        ca_id: args.ca_id.clone(),
        subject: ca.root().subject().to_string(),
        key_type: args.key_type.to_string(),
        not_after: ca.root().not_after().to_string(),
    };
    let secret = Secret {
        metadata: ObjectMeta {
            namespace: Some(args.namespace.clone()),
            name: Some(args.name.clone()),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(BTreeMap::from([(
            POOL_KEY.to_owned(),
            ByteString(pool.to_json().to_vec()),
        )])),
        ..Secret::default()
    };
    Ok((secret, made))
}

/// Creates the Secret.
///
/// # Errors
/// When it exists already (nothing was changed then), or the API server does not take it.
pub(crate) async fn create(client: &kube::Client, secret: &Secret) -> Result<()> {
    let namespace = secret.metadata.namespace.as_deref().unwrap_or_default();
    let name = secret.metadata.name.as_deref().unwrap_or_default();
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    match api.create(&PostParams::default(), secret).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => bail!(
            "secret {namespace}/{name} exists already and was left as it is: \
             it may hold the keys of a CA in use; choose another --name, or delete it first"
        ),
        Err(error) => Err(error)
            .with_context(|| format!("while uploading pool state to secret {namespace}/{name}")),
    }
}

/// What was made, without the key.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Made {
    namespace: String,
    name: String,
    ca_id: String,
    subject: String,
    key_type: String,
    not_after: String,
}

impl Made {
    /// The CA's name and how long it is valid.
    pub(crate) fn subject(&self) -> String {
        format!(
            "CA {:?}, {}, {}, until {}",
            self.ca_id, self.subject, self.key_type, self.not_after
        )
    }
}

impl std::fmt::Display for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "secret {}/{} created: {}",
            self.namespace,
            self.name,
            self.subject()
        )
    }
}

/// The key of the Secret's data that holds the pool, as meshtool has it.
pub(crate) const POOL_KEY: &str = "pool";

fn named(flag: &str, value: &str) -> Result<()> {
    if value.is_empty() {
        bail!("{flag} must not be empty");
    }
    Ok(())
}

/// A duration with a day being 24 hours: `365d`, `8760h`, `1 year`.
fn lifetime(text: &str) -> Result<Duration, String> {
    let span: Span = text
        .parse()
        .map_err(|error| format!("{error}; try 365d or 8760h"))?;
    // A year is counted from a fixed date, so that the same words always mean the same time.
    let start = jiff::civil::date(2026, 1, 1);
    let duration: SignedDuration = span
        .to_duration(SpanRelativeTo::from(start))
        .map_err(|error| error.to_string())?;
    let duration = Duration::try_from(duration).map_err(|_| "must not be negative".to_owned())?;
    if duration < SHORTEST {
        return Err("must be at least 2 hours: leaves live for an hour or more".to_owned());
    }
    Ok(duration)
}

const SHORTEST: Duration = Duration::from_secs(2 * 3600);
