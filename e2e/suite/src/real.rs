//! A real kube-apiserver as the cases see it.
//!
//! Users are played by impersonation: the administrator's credential may impersonate anyone, and
//! what comes after authentication (authorization, admission, rules) sees the impersonated user.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use jiff::Timestamp;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use podcert_cases::{Server, User};

/// A server that is already there.
#[derive(Debug)]
pub(crate) struct Real {
    config: Config,
    etcd: Config,
}

impl Real {
    /// A server by an administrator's kubeconfig, and its etcd by a file of the same form.
    pub(crate) async fn connect(kubeconfig: &Path, etcd: &Path) -> Result<Arc<Self>> {
        let read = async |file: &Path| {
            let text = Kubeconfig::read_from(file)
                .with_context(|| format!("kubeconfig {}", file.display()))?;
            let options = KubeConfigOptions::default();
            anyhow::Ok(Config::from_custom_kubeconfig(text, &options).await?)
        };
        Ok(Arc::new(Self {
            config: read(kubeconfig).await?,
            etcd: read(etcd).await?,
        }))
    }

    /// etcd's JSON gateway: one call.
    async fn etcd(&self, call: &str, body: String) -> Result<serde_json::Value> {
        let request = http::Request::post(call).body(Body::from(body.into_bytes()))?;
        let answer = Client::try_from(self.etcd.clone())?.send(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect_bytes().await?;
        if !status.is_success() {
            bail!("etcd {call}: {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(serde_json::from_slice(&body)?)
    }

    async fn try_compact(&self) -> Result<()> {
        let answer = self
            .etcd("/v3/kv/range", r#"{"key":"AA=="}"#.into())
            .await?;
        let revision = answer["header"]["revision"]
            .as_str()
            .context("etcd names no revision")?
            .to_owned();
        let body = format!(r#"{{"revision":"{revision}","physical":true}}"#);
        match self.etcd("/v3/kv/compaction", body).await {
            // Another case, or the API server itself, was faster.
            Err(error) if error.to_string().contains(COMPACTED) => {}
            compacted => {
                compacted?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Server for Real {
    #[allow(
        clippy::expect_used,
        reason = "the administrator's client was made the same way"
    )]
    fn client(&self, user: &User) -> Client {
        let mut config = speaking_for(self.config.clone(), user);
        // A case is about the first answer, also where that is a 429, 503 or 504.
        config.default_retry = false;
        Client::try_from(config).expect("the configuration makes a client")
    }

    fn now(&self) -> Timestamp {
        #[allow(clippy::disallowed_methods, reason = "a real server has the real time")]
        Timestamp::now()
    }

    #[allow(clippy::panic, reason = "a case reports by panic")]
    async fn compact(&self) {
        if let Err(error) = self.try_compact().await {
            panic!("etcd cannot be compacted: {error:#}");
        }
    }
}

/// The administrator's configuration, for requests as `user`.
pub(crate) fn speaking_for(mut config: Config, user: &User) -> Config {
    if *user != User::admin() {
        config.auth_info.impersonate = Some(user.name.clone());
        config.auth_info.impersonate_groups = Some(user.groups.clone());
    }
    config
}

/// What etcd says to whoever wants to compact what is compacted.
const COMPACTED: &str = "required revision has been compacted";
