//! Objects, read once.
//!
//! Lists hold what many people may write, so an object that cannot be read is left out and counted
//! ([`Reader::unread`]), and hides nothing but itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::Request as HttpRequest;
use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::certificates::v1::PodCertificateRequest as Whole;
use k8s_openapi::api::events::v1::Event;
use kube::Client;
use podcert_diagnosis::cluster::{Question, Rights};
use podcert_diagnosis::{NotShown, Request, Shown, Unread};
use podcert_resources::event::REPORTING_CONTROLLER;
use podcert_resources::{
    ApiVersion, CERTIFICATES_GROUP, ClusterTrustBundle, PodCertificateRequest,
};
use podcert_runtime::{Clock as _, ServerClock, SharedClock};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde_json::Value;

use super::pages::{self, Failed};
use crate::kubeconfig;

/// Reads a cluster.
pub(crate) struct Reader {
    client: Client,
    clock: Arc<ServerClock>,
    unread: Mutex<Vec<Unread>>,
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
            unread: Mutex::default(),
        })
    }

    /// What could not be read of the lists so far, and was left out.
    pub(crate) fn unread(&self) -> Vec<Unread> {
        let unread = self.unread.lock();
        unread.unwrap_or_else(PoisonError::into_inner).clone()
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
            Err(error) if error.code() == Some(404) => Ok(Ok(None)),
            Err(Failed::Unreadable(error)) => Ok(Err(NotShown {
                what: what.to_owned(),
                why: format!("podcert cannot read it: {error}"),
            })),
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
            Ok(objects) => Ok(Ok(self.read(objects, what))),
            Err(error) if error.code() == Some(404) => Ok(Ok(Vec::new())),
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
        for Both { lean, whole } in self.read(objects, &what) {
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
                Ok(objects) => Ok(Some((version, Ok(self.read(objects, what))))),
                Err(error) if error.code() == Some(404) => continue,
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
            Err(error) => error.code() != Some(404),
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

    /// Which of these the API server answers with yes.
    ///
    /// # Errors
    /// When the server does not answer, or with something else.
    pub(crate) async fn rights(&self, questions: Vec<Question>) -> Result<Shown<Rights>> {
        let what = "whether pods that say they are controllers may sign";
        // A name of two questions is asked about once.
        let mut asked: BTreeMap<(String, String), &Question> = BTreeMap::new();
        for question in &questions {
            let names = question.names().into_iter();
            asked.extend(names.map(|name| ((question.user(), name), question)));
        }
        let answers: Result<HashMap<(String, String), bool>, Failed> = stream::iter(asked)
            .map(async |(key, question)| {
                let may = self.may_sign(&key.0, &question.groups(), &key.1).await?;
                Ok((key, may))
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await;
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) => {
                let mut not_shown = not_shown(error, what)?;
                not_shown.why.push_str("; so they are taken at their word");
                return Ok(Err(not_shown));
            }
        };
        let judged = questions.into_iter().map(|question| {
            let user = question.user();
            let mut names = question.names().into_iter();
            let may = names.any(|name| answers.get(&(user.clone(), name)) == Some(&true));
            (question, may)
        });
        Ok(Ok(judged.collect()))
    }

    async fn may_sign(&self, user: &str, groups: &[String], name: &str) -> Result<bool, Failed> {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.to_owned()),
                groups: Some(groups.to_vec()),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(CERTIFICATES_GROUP.to_owned()),
                    resource: Some("signers".to_owned()),
                    verb: Some("sign".to_owned()),
                    name: Some(name.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let body = serde_json::to_vec(&review).map_err(Failed::Unreadable)?;
        let request = HttpRequest::post("/apis/authorization.k8s.io/v1/subjectaccessreviews")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body);
        let answer: SubjectAccessReview = self.answer(request).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    async fn pages(&self, path: &str, selectors: &str) -> Result<Vec<Value>, Failed> {
        pages::all(path, selectors, async |query| self.get(&query).await).await
    }

    /// Those of `objects` that can be read.
    fn read<T: DeserializeOwned>(&self, objects: Vec<Value>, what: &str) -> Vec<T> {
        let (objects, unread) = pages::read(objects, what);
        if let Some(new) = unread {
            let unread = self.unread.lock();
            let mut unread = unread.unwrap_or_else(PoisonError::into_inner);
            match unread.iter_mut().find(|known| known.what == new.what) {
                // Listed again.
                Some(known) => *known = new,
                None => unread.push(new),
            }
        }
        objects
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failed> {
        self.answer(HttpRequest::get(path).body(Vec::new())).await
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        request: Result<HttpRequest<Vec<u8>>, http::Error>,
    ) -> Result<T, Failed> {
        let request = request.map_err(kube::Error::HttpError)?;
        // Read here: what the client cannot read, it logs whole.
        let text = self.client.request_text(request).await?;
        serde_json::from_str(&text).map_err(Failed::Unreadable)
    }
}

/// A request as a controller reads it, and whole.
struct Both {
    lean: PodCertificateRequest,
    whole: Whole,
}

impl<'de> Deserialize<'de> for Both {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Value::deserialize(deserializer)?;
        Ok(Self {
            lean: PodCertificateRequest::deserialize(&object).map_err(D::Error::custom)?,
            whole: Whole::deserialize(object).map_err(D::Error::custom)?,
        })
    }
}

/// Whether `text` is the name of an object, as Kubernetes has them, so that nothing else gets into a URL.
pub(crate) fn is_name(text: &str) -> bool {
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.');
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(allowed)
}

/// # Errors
/// The error, if it is none of rights.
fn not_shown(error: Failed, what: &str) -> Result<NotShown> {
    match error {
        Failed::Kube(kube::Error::Api(status)) if status.code == 403 => Ok(NotShown {
            what: what.to_owned(),
            why: status.message,
        }),
        Failed::Kube(kube::Error::Api(status)) if status.code == 401 => Err(anyhow!(
            "the API server does not know who asks ({}): the kubeconfig's credentials are not valid",
            status.message
        )),
        error => Err(error).with_context(|| format!("cannot look at {what}")),
    }
}

/// Questions side by side.
const AT_ONCE: usize = 8;
