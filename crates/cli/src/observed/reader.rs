//! Objects, read once.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use http::Request as HttpRequest;
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::PodCertificateRequest as Whole;
use k8s_openapi::api::events::v1::Event;
use kube::Client;
use podcert_diagnosis::{NotShown, Request, Shown};
use podcert_resources::event::REPORTING_CONTROLLER;
use podcert_resources::{
    ApiVersion, CERTIFICATES_GROUP, ClusterTrustBundle, PodCertificateRequest,
};
use podcert_runtime::{Clock as _, ServerClock, SharedClock};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::kubeconfig;

/// Reads a cluster.
pub(crate) struct Reader {
    client: Client,
    clock: Arc<ServerClock>,
}

/// Requests, in the version that is served.
pub(crate) struct Requests {
    /// That version; nothing if none is served.
    pub(crate) version: Option<ApiVersion>,
    /// All of them.
    pub(crate) all: Shown<Vec<Request>>,
    /// Those not answered as a controller reads them, by UID.
    pub(crate) open: HashMap<String, PodCertificateRequest>,
}

impl Reader {
    /// Connects as the kubeconfig says.
    ///
    /// # Errors
    /// When it cannot be used.
    pub(crate) async fn connect(kubeconfig: Option<&str>, clock: SharedClock) -> Result<Self> {
        let connection = kubeconfig::connection(kubeconfig, clock).await?;
        Ok(Self {
            client: connection.client().clone(),
            clock: Arc::clone(connection.server_clock()),
        })
    }

    /// The API server's time, once it has answered something.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The namespace of names without one.
    pub(crate) fn default_namespace(&self) -> &str {
        self.client.default_namespace()
    }

    /// The object at `path`; nothing if there is none.
    ///
    /// # Errors
    /// When the server does not answer, or with something else.
    pub(crate) async fn object<T: DeserializeOwned>(
        &self,
        path: &str,
        what: &str,
    ) -> Result<Shown<Option<T>>> {
        match self.get(path).await {
            Ok(object) => Ok(Ok(Some(object))),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Ok(None)),
            Err(error) => Ok(Err(not_shown(error, what)?)),
        }
    }

    /// All objects of the collection at `path` that `selectors` (a query) selects. An API that is not
    /// served has none.
    ///
    /// # Errors
    /// When the server does not answer, or with something else.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        selectors: &str,
        what: &str,
    ) -> Result<Shown<Vec<T>>> {
        match self.pages(path, selectors).await {
            Ok(objects) => Ok(Ok(objects)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Ok(Vec::new())),
            Err(error) => Ok(Err(not_shown(error, what)?)),
        }
    }

    /// Requests of one namespace, or of all.
    ///
    /// # Errors
    /// When the server does not answer, or with something else.
    pub(crate) async fn requests(&self, namespace: Option<&str>) -> Result<Requests> {
        let what = match namespace {
            Some(namespace) => format!("PodCertificateRequests in namespace {namespace}"),
            None => "PodCertificateRequests".to_owned(),
        };
        let plural = "podcertificaterequests";
        let (version, objects) = match self.certificates::<Value>(namespace, plural, &what).await? {
            Some((version, objects)) => (Some(version), objects),
            None => (None, Ok(Vec::new())),
        };
        let objects = match objects {
            Ok(objects) => objects,
            Err(not_shown) => {
                return Ok(Requests {
                    version,
                    all: Err(not_shown),
                    open: HashMap::new(),
                });
            }
        };
        let mut all = Vec::with_capacity(objects.len());
        let mut open = HashMap::new();
        for object in objects {
            let lean = PodCertificateRequest::deserialize(&object).with_context(|| what.clone())?;
            let whole = Whole::deserialize(object).with_context(|| what.clone())?;
            if lean.settled().is_none()
                && let Some(uid) = lean.metadata.uid.clone()
            {
                open.insert(uid, lean);
            }
            all.push(Request::from(whole));
        }
        Ok(Requests {
            version,
            all: Ok(all),
            open,
        })
    }

    /// All ClusterTrustBundles.
    ///
    /// # Errors
    /// When the server does not answer, or with something else.
    pub(crate) async fn bundles(&self) -> Result<Shown<Vec<ClusterTrustBundle>>> {
        let found = self
            .certificates(None, "clustertrustbundles", "ClusterTrustBundles")
            .await?;
        Ok(found.map_or_else(|| Ok(Vec::new()), |(_, bundles)| bundles))
    }

    /// All objects of a kind of certificates.k8s.io, in the first version that is served of v1 and v1beta1;
    /// nothing if none is.
    ///
    /// # Errors
    /// When the server does not answer, or with something else.
    pub(crate) async fn certificates<T: DeserializeOwned>(
        &self,
        namespace: Option<&str>,
        plural: &str,
        what: &str,
    ) -> Result<Option<(ApiVersion, Shown<Vec<T>>)>> {
        for version in [ApiVersion::V1, ApiVersion::V1Beta1] {
            let group = format!("/apis/{CERTIFICATES_GROUP}/{}", version.as_str());
            let path = match namespace {
                Some(namespace) => format!("{group}/namespaces/{namespace}/{plural}"),
                None => format!("{group}/{plural}"),
            };
            return match self.pages(&path, "").await {
                Ok(objects) => Ok(Some((version, Ok(objects)))),
                Err(kube::Error::Api(status)) if status.code == 404 => continue,
                Err(error) => {
                    let not_shown = not_shown(error, what)?;
                    // Rights are looked at before it is known whether there is such a path.
                    if !self.serves(&group, plural).await {
                        continue;
                    }
                    Ok(Some((version, Err(not_shown))))
                }
            };
        }
        Ok(None)
    }

    /// Whether the API server serves this in that version, as anybody who is logged in may ask; yes if it does
    /// not say.
    async fn serves(&self, group: &str, plural: &str) -> bool {
        #[derive(Deserialize)]
        struct Resources {
            resources: Vec<Resource>,
        }
        #[derive(Deserialize)]
        struct Resource {
            name: String,
        }
        match self.get::<Resources>(group).await {
            Ok(served) => served.resources.iter().any(|one| one.name == plural),
            Err(kube::Error::Api(status)) => status.code != 404,
            Err(_) => true,
        }
    }

    /// Events about the object of this UID.
    ///
    /// # Errors
    /// When the server does not answer, or with something else.
    pub(crate) async fn events_about(
        &self,
        namespace: &str,
        uid: &str,
    ) -> Result<Shown<Vec<Event>>> {
        let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
        let selector = format!("fieldSelector=regarding.uid%3D{uid}");
        let what = format!("Events in namespace {namespace}");
        self.list(&path, &selector, &what).await
    }

    /// All Events that podcert's controllers wrote.
    ///
    /// # Errors
    /// When the server does not answer, or with something else.
    pub(crate) async fn events_of_podcert(&self) -> Result<Shown<Vec<Event>>> {
        let who = REPORTING_CONTROLLER.replace('/', "%2F");
        let selector = format!("fieldSelector=reportingController%3D{who}");
        self.list("/apis/events.k8s.io/v1/events", &selector, "Events")
            .await
    }

    async fn pages<T: DeserializeOwned>(
        &self,
        path: &str,
        selectors: &str,
    ) -> Result<Vec<T>, kube::Error> {
        #[derive(Deserialize)]
        #[serde(bound = "T: DeserializeOwned")]
        struct List<T> {
            #[serde(default)]
            metadata: Metadata,
            items: Vec<T>,
        }
        #[derive(Default, Deserialize)]
        struct Metadata {
            #[serde(rename = "continue")]
            next: Option<String>,
        }
        let mut objects = Vec::new();
        let mut next = String::new();
        loop {
            let mut query = format!("{path}?limit={PAGE}");
            if !selectors.is_empty() {
                let _ = write!(query, "&{selectors}");
            }
            if !next.is_empty() {
                let token: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
                let _ = write!(query, "&continue={token}");
            }
            let list: List<T> = self.get(&query).await?;
            objects.extend(list.items);
            match list.metadata.next.filter(|next| !next.is_empty()) {
                Some(token) => next = token,
                None => return Ok(objects),
            }
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, kube::Error> {
        let request = HttpRequest::get(path).body(Vec::new());
        self.client
            .request(request.map_err(kube::Error::HttpError)?)
            .await
    }
}

/// Whether `text` is the name of an object, as Kubernetes has them, so that nothing else gets into a URL.
pub(crate) fn is_name(text: &str) -> bool {
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.');
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(allowed)
}

/// # Errors
/// The error, if it is none of rights.
fn not_shown(error: kube::Error, what: &str) -> Result<NotShown> {
    match error {
        kube::Error::Api(status) if status.code == 403 => Ok(NotShown {
            what: what.to_owned(),
            why: status.message,
        }),
        kube::Error::Api(status) if status.code == 401 => Err(anyhow!(
            "the API server does not know who asks ({}): the kubeconfig's credentials are not valid",
            status.message
        )),
        error => Err(error).with_context(|| format!("cannot look at {what}")),
    }
}

const PAGE: u32 = 500;
