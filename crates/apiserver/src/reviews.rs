//! Questions: SelfSubjectAccessReview, SelfSubjectRulesReview and SelfSubjectReview about oneself,
//! SubjectAccessReview about somebody, TokenReview about a token.
//!
//! They are resources that are only created and never kept: the answer is the object with its
//! status. `kubectl auth can-i` and `kubectl auth whoami` ask them. What they say is what the
//! server's [`Authorizer`] says to a request of that kind.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::field::FieldError;
use crate::object::{list, text};
use crate::schema::{schemas, type_name_of};
use crate::server::ApiServer;
use crate::status::Failure;
use crate::tokens;
use crate::user::{Attributes, Authorizer, Permission, User};
use crate::verbs::rfc3339;

/// One of the questions.
#[derive(Debug)]
pub(crate) struct Review {
    pub(crate) group: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) kind: &'static str,
    question: Question,
}

#[derive(Clone, Copy, Debug)]
enum Question {
    Access,
    AccessOfSomebody,
    Rules,
    Token,
    User,
}

/// All of them. Each is served as `v1`.
pub(crate) static REVIEWS: &[Review] = &[
    Review {
        group: "authentication.k8s.io",
        plural: "selfsubjectreviews",
        singular: "selfsubjectreview",
        kind: "SelfSubjectReview",
        question: Question::User,
    },
    Review {
        group: "authentication.k8s.io",
        plural: "tokenreviews",
        singular: "tokenreview",
        kind: "TokenReview",
        question: Question::Token,
    },
    Review {
        group: "authorization.k8s.io",
        plural: "selfsubjectaccessreviews",
        singular: "selfsubjectaccessreview",
        kind: "SelfSubjectAccessReview",
        question: Question::Access,
    },
    Review {
        group: "authorization.k8s.io",
        plural: "selfsubjectrulesreviews",
        singular: "selfsubjectrulesreview",
        kind: "SelfSubjectRulesReview",
        question: Question::Rules,
    },
    Review {
        group: "authorization.k8s.io",
        plural: "subjectaccessreviews",
        singular: "subjectaccessreview",
        kind: "SubjectAccessReview",
        question: Question::AccessOfSomebody,
    },
];

impl Review {
    /// The review served under this name, if any.
    pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        REVIEWS
            .iter()
            .find(|it| it.group == group && version == VERSION && it.plural == plural)
    }

    pub(crate) fn api_version(&self) -> String {
        format!("{}/{VERSION}", self.group)
    }

    /// The question in `body`, answered for `user`.
    pub(crate) fn answer(
        &self,
        server: &ApiServer,
        user: &User,
        body: &Bytes,
    ) -> Result<Value, Failure> {
        let authorizer = server.inner.authorizer.as_ref();
        let mut review = parse(body, self.kind, &self.api_version())?;
        let status = match self.question {
            Question::Access => self.access(&review, Some(user), authorizer)?,
            Question::AccessOfSomebody => {
                self.access(&review, subject(&review).as_ref(), authorizer)?
            }
            Question::Rules => {
                let namespace = text(&review, &["spec", "namespace"]);
                if namespace.is_empty() {
                    return Err(Failure::bad_request("no namespace on request"));
                }
                rules(user, authorizer, namespace)
            }
            Question::Token => token(server, &review)?,
            Question::User => json!({"userInfo": user_info(user)}),
        };
        if let Some(map) = review.as_object_mut() {
            map.insert("kind".into(), self.kind.into());
            map.insert("apiVersion".into(), self.api_version().into());
            map.insert("status".into(), status);
            match self.question {
                Question::User => {
                    let metadata = json!({"creationTimestamp": rfc3339(server.now())});
                    map.insert("metadata".into(), metadata);
                }
                Question::Rules => {
                    // The answer does not repeat the question.
                    map.insert("metadata".into(), json!({}));
                    map.insert("spec".into(), json!({}));
                }
                Question::Access | Question::AccessOfSomebody | Question::Token => {
                    map.entry("metadata").or_insert_with(|| json!({}));
                }
            }
        }
        Ok(review)
    }

    /// What `user` may do; nothing if the question names nobody.
    fn access(
        &self,
        review: &Value,
        user: Option<&User>,
        authorizer: &dyn Authorizer,
    ) -> Result<Value, Failure> {
        let part = |field: &str| {
            let part = review.pointer(&format!("/spec/{field}"));
            part.filter(|part| !part.is_null())
        };
        let (resource, path) = match (part("resourceAttributes"), part("nonResourceAttributes")) {
            (Some(resource), None) => (resource, &Value::Null),
            (None, Some(path)) => (&Value::Null, path),
            (_, path) => {
                let why =
                    "exactly one of nonResourceAttributes or resourceAttributes must be specified";
                let error = FieldError::invalid_raw("spec", path.unwrap_or(&Value::Null), why);
                return Err(Failure::invalid_as(self.group, self.kind, "", &[error]));
            }
        };
        let Some(user) = user else {
            let error = FieldError::required(
                "spec.user",
                "at least one of user or group must be specified",
            );
            return Err(Failure::invalid_as(self.group, self.kind, "", &[error]));
        };
        let selector = resource.get("fieldSelector").unwrap_or(&Value::Null);
        let fields: Vec<(String, String)> = list(selector, "requirements")
            .filter(|requirement| text(requirement, &["operator"]) == "In")
            .filter_map(|requirement| {
                let mut values = list(requirement, "values");
                match (values.next().and_then(Value::as_str), values.next()) {
                    (Some(value), None) => {
                        Some((text(requirement, &["key"]).to_owned(), value.to_owned()))
                    }
                    _ => None,
                }
            })
            .collect();
        let attributes = Attributes {
            verb: match text(resource, &["verb"]) {
                "" => text(path, &["verb"]),
                verb => verb,
            },
            group: text(resource, &["group"]),
            resource: text(resource, &["resource"]),
            subresource: text(resource, &["subresource"]),
            namespace: text(resource, &["namespace"]),
            name: text(resource, &["name"]),
            path: text(path, &["path"]),
            fields: &fields,
        };
        let mut status = Map::new();
        let permission = authorizer.authorize(user, &attributes);
        status.insert("allowed".into(), (permission == Permission::Allowed).into());
        if permission == Permission::Denied {
            let reason = authorizer.reason(user, &attributes);
            if !reason.is_empty() {
                status.insert("evaluationError".into(), reason.into());
            }
        }
        Ok(status.into())
    }
}

/// The object in a body, of a type that is never stored; absent kinds and versions are taken for
/// these.
pub(crate) fn parse(body: &Bytes, kind: &str, api_version: &str) -> Result<Value, Failure> {
    let unreadable = |why: String| {
        Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {why}"
        ))
    };
    let object: Value =
        serde_json::from_slice(body).map_err(|error| unreadable(error.to_string()))?;
    if !object.is_object() {
        return Err(unreadable(format!("a {kind} is an object")));
    }
    let (given, version) = (text(&object, &["kind"]), text(&object, &["apiVersion"]));
    if !matches!(given, "") && given != kind || !matches!(version, "") && version != api_version {
        return Err(Failure::bad_request(format!(
            "{given} in version {version:?} cannot be handled as a {kind}"
        )));
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    match schemas().misfit_of(&type_name_of(group, version, kind), &object) {
        None => Ok(object),
        Some(why) => Err(Failure::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {kind}: {why}"
        ))),
    }
}

/// Whom a SubjectAccessReview is about: who it says, in the groups that it says and no others.
fn subject(review: &Value) -> Option<User> {
    let spec = review.get("spec")?;
    let extra = spec.get("extra").and_then(Value::as_object);
    let user = User {
        name: text(spec, &["user"]).to_owned(),
        groups: words(spec.get("groups")),
        uid: Some(text(spec, &["uid"]).to_owned()).filter(|uid| !uid.is_empty()),
        extra: extra
            .into_iter()
            .flatten()
            .map(|(key, values)| (key.clone(), words(Some(values))))
            .collect(),
    };
    (!user.name.is_empty() || !user.groups.is_empty()).then_some(user)
}

fn words(values: Option<&Value>) -> Vec<String> {
    let values = values.and_then(Value::as_array).into_iter().flatten();
    values
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// The status of a TokenReview.
fn token(server: &ApiServer, review: &Value) -> Result<Value, Failure> {
    let token = text(review, &["spec", "token"]);
    if token.is_empty() {
        return Err(Failure::bad_request(
            "token is required for TokenReview in authentication",
        ));
    }
    let spec = review.get("spec").unwrap_or(&Value::Null);
    let audiences = list(spec, "audiences")
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let inner = &server.inner;
    Ok(tokens::review(
        &inner.store,
        &inner.tokens,
        server.now(),
        token,
        audiences,
    ))
}

fn rules(user: &User, authorizer: &dyn Authorizer, namespace: &str) -> Value {
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    let found = authorizer.rules(user, namespace);
    for rule in found.iter().flatten() {
        let words =
            |field: &str| -> Vec<&str> { list(rule, field).filter_map(Value::as_str).collect() };
        if rule.get("nonResourceURLs").is_some() {
            paths.push(json!({
                "verbs": words("verbs"),
                "nonResourceURLs": words("nonResourceURLs"),
            }));
        } else {
            let mut shown = json!({
                "verbs": words("verbs"),
                "apiGroups": words("apiGroups"),
                "resources": words("resources"),
            });
            let names = words("resourceNames");
            if let (false, Some(map)) = (names.is_empty(), shown.as_object_mut()) {
                map.insert("resourceNames".into(), json!(names));
            }
            resources.push(shown);
        }
    }
    json!({
        "resourceRules": resources,
        "nonResourceRules": paths,
        "incomplete": found.is_none(),
    })
}

pub(crate) fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if let Some(map) = info.as_object_mut() {
        if let Some(uid) = &user.uid {
            map.insert("uid".into(), uid.clone().into());
        }
        if !user.extra.is_empty() {
            map.insert("extra".into(), json!(user.extra));
        }
    }
    info
}

/// The version under which reviews are served.
pub(crate) const VERSION: &str = "v1";
