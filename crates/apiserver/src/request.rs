//! From a method, a path and a query to what is asked for.
//!
//! The paths of the Kubernetes API are regular, so they are taken apart by hand:
//!
//! ```text
//! /api/v1/...                                     core group
//! /apis/{group}/{version}/...                     every other group
//!     {plural}[/{name}[/status]]
//!     namespaces/{namespace}/{plural}[/{name}[/status]]
//! ```

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use http::Method;
use percent_encoding::percent_decode_str;

use crate::field::FieldError;
use crate::kinds::{self, Feature, Kind};
use crate::reviews::{REVIEWS, Review};
use crate::selectors::{FieldSelector, LabelSelector, Selection};
use crate::status::Failure;
use crate::versions::Versions;

/// What a request does, in RBAC's words.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Verb {
    /// POST to a collection.
    Create,
    /// DELETE of one object.
    Delete,
    /// DELETE of a collection.
    DeleteCollection,
    /// GET of one object, and of discovery documents.
    Get,
    /// GET of a collection.
    List,
    /// PATCH of one object.
    Patch,
    /// PUT of one object.
    Update,
    /// GET of a collection with `watch=true`.
    Watch,
}

impl Verb {
    /// The verb as RBAC spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Get => "get",
            Self::List => "list",
            Self::Patch => "patch",
            Self::Update => "update",
            Self::Watch => "watch",
        }
    }

    /// Whether the verb changes objects.
    pub fn is_write(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which part of an object a request addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    Main,
    /// The node that a pod is to be on.
    Binding,
    /// The log of a pod.
    Log,
    /// The scale of a workload, seen as one type for all of them.
    Scale,
    Status,
    /// Tokens of a service account.
    Token,
}

/// A request for resources.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) verb: Verb,
    pub(crate) kind: &'static Kind,
    /// Empty for cluster-scoped kinds and for requests across all namespaces.
    pub(crate) namespace: String,
    /// Empty for collections, and for a binding that names its pod itself.
    pub(crate) name: String,
    pub(crate) part: Part,
}

impl Target {
    /// `pods`, or `pods/status`.
    pub(crate) fn resource(&self) -> &'static str {
        match self.part {
            Part::Main => self.kind.plural,
            Part::Binding => "pods/binding",
            Part::Log => "pods/log",
            Part::Scale => self.kind.plural_scale,
            Part::Status => self.kind.plural_status,
            Part::Token => "serviceaccounts/token",
        }
    }
}

/// What a path leads to.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// A document that is no resource: discovery, version, health.
    Document(Vec<String>),
    Resource(Target),
    /// A question about the caller.
    Review(&'static Review),
}

/// The path as its owner wrote it: decoded as a whole, so that an encoded slash is one, as upstream.
pub(crate) fn decoded(path: &str) -> Result<Cow<'_, str>, Failure> {
    percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| Failure::bad_request("the path is not UTF-8"))
}

/// What stands between the slashes of a decoded path; nothing if two follow each other inside it. Who
/// authorizes a request and who serves it read the path by this, or they would read two.
pub(crate) fn segments(path: &str) -> Option<Vec<&str>> {
    match path.trim_matches('/') {
        "" => Some(Vec::new()),
        path => path
            .split('/')
            .map(|segment| Some(segment).filter(|segment| !segment.is_empty()))
            .collect(),
    }
}

/// Takes a method and path apart.
pub(crate) fn route(
    method: &Method,
    path: &str,
    query: &Query,
    versions: Versions,
) -> Result<Route, Failure> {
    let path = decoded(path)?;
    let segments = segments(&path).ok_or_else(Failure::no_such_page)?;
    let (group, version, rest) = match segments.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        _ => {
            return Ok(Route::Document(
                segments.iter().map(ToString::to_string).collect(),
            ));
        }
    };
    if let [plural] = rest
        && let Some(review) = Review::find(group, version, plural)
    {
        return match *method {
            Method::POST => Ok(Route::Review(review)),
            _ => Err(Failure::method_not_allowed()),
        };
    }
    if !kinds::serves(group, version, versions) {
        return Err(no_such_version(group));
    }
    let (namespace, rest) = match rest {
        // `/namespaces/{name}` and `/namespaces/{name}/status` are the namespace itself.
        ["namespaces", namespace, plural, rest @ ..]
            if !(group.is_empty() && *plural == "status" && rest.is_empty()) =>
        {
            (*namespace, [&[*plural], rest].concat())
        }
        rest => ("", rest.to_vec()),
    };
    let (plural, name, part) = match rest.as_slice() {
        // As it was before pods had subresources.
        ["bindings"] if group.is_empty() && !namespace.is_empty() => ("pods", "", Part::Binding),
        [plural] => (*plural, "", Part::Main),
        [plural, name] => (*plural, *name, Part::Main),
        [plural, name, "binding"] => (*plural, *name, Part::Binding),
        [plural, name, "log"] => (*plural, *name, Part::Log),
        [plural, name, "scale"] => (*plural, *name, Part::Scale),
        [plural, name, "status"] => (*plural, *name, Part::Status),
        [plural, name, "token"] => (*plural, *name, Part::Token),
        [
            "pods",
            _,
            part @ ("attach" | "exec" | "portforward" | "proxy"),
            ..,
        ] => {
            return Err(Failure::new(
                404,
                "NotFound",
                format!("the server has no {part} of pods: nobody behind it serves that"),
            ));
        }
        _ => return Err(Failure::no_such_resource()),
    };
    let kind = kinds::find(group, version, plural)
        .filter(|kind| versions.include(kind))
        .ok_or_else(Failure::no_such_resource)?;
    let across_namespaces = kind.is_namespaced() && namespace.is_empty();
    let has_part = match part {
        Part::Main => true,
        Part::Binding | Part::Log => kind.id == kinds::PODS,
        Part::Scale => kind.has(Feature::Scale),
        Part::Status => kind.has(Feature::Status),
        Part::Token => kind.id == kinds::SERVICE_ACCOUNTS,
    };
    if !has_part
        || (across_namespaces && !name.is_empty())
        || (!kind.is_namespaced() && !namespace.is_empty())
    {
        return Err(Failure::no_such_resource());
    }
    let verb = match (method, name.is_empty()) {
        (&Method::POST, false) if part == Part::Token => Verb::Create,
        (&Method::POST, _) if part == Part::Binding && !across_namespaces => Verb::Create,
        (&Method::GET, false) if part == Part::Log => Verb::Get,
        _ if matches!(part, Part::Binding | Part::Log | Part::Token) => {
            return Err(Failure::method_not_allowed());
        }
        (&Method::GET, true) if query.watch => Verb::Watch,
        (&Method::GET, true) => Verb::List,
        (&Method::GET, false) => Verb::Get,
        (&Method::POST, true) if !across_namespaces => Verb::Create,
        (&Method::PUT, false) => Verb::Update,
        (&Method::PATCH, false) => Verb::Patch,
        (&Method::DELETE, true) if !across_namespaces => Verb::DeleteCollection,
        (&Method::DELETE, false) if part == Part::Main => Verb::Delete,
        _ => return Err(Failure::method_not_allowed()),
    };
    Ok(Route::Resource(Target {
        verb,
        kind,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        part,
    }))
}

/// What stands under no served version: of a served group it is a resource that is missing, else
/// a page.
pub(crate) fn no_such_version(group: &str) -> Failure {
    let is_served = kinds::KINDS.iter().any(|kind| kind.group == group)
        || REVIEWS.iter().any(|review| review.group == group);
    if is_served {
        Failure::no_such_resource()
    } else {
        Failure::no_such_page()
    }
}

/// The query parameters this server knows; the others are ignored, as unknown ones are upstream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pub(crate) watch: bool,
    pub(crate) bookmarks: bool,
    pub(crate) send_initial_events: Option<bool>,
    pub(crate) dry_run: DryRun,
    dry_run_values: Vec<String>,
    field_validation: String,
    /// Whether `force` is given: it is for apply only.
    pub(crate) force: Option<bool>,
    pub(crate) limit: usize,
    pub(crate) continue_token: String,
    pub(crate) resource_version: String,
    pub(crate) version_match: String,
    pub(crate) timeout: Option<Duration>,
    /// For deletions; not read elsewhere, so not checked elsewhere.
    pub(crate) grace_period: Option<String>,
    pub(crate) propagation_policy: Option<String>,
    /// Who applies; without meaning here, but apply asks for it.
    pub(crate) field_manager: String,
    /// What tables carry beside their cells.
    pub(crate) include_object: String,
    label_selector: String,
    field_selector: String,
}

/// Whether a write takes effect.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum DryRun {
    #[default]
    No,
    Yes,
}

/// What becomes of fields that an object's type does not have. They are dropped in any case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FieldValidation {
    Ignore,
    Strict,
    Warn,
}

impl Query {
    pub(crate) fn parse(query: &str) -> Result<Self, Failure> {
        let mut parsed = Self::default();
        let mut given = HashSet::new();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            // Of a parameter given twice the first counts, for authorizers too; one is a list.
            if key != "dryRun" && !given.insert(key.clone()) {
                continue;
            }
            match key.as_ref() {
                "watch" => parsed.watch = flag(&value),
                "allowWatchBookmarks" => parsed.bookmarks = flag(&value),
                "sendInitialEvents" => parsed.send_initial_events = Some(flag(&value)),
                "dryRun" => {
                    parsed.dry_run = DryRun::Yes;
                    parsed.dry_run_values.push(value.into_owned());
                }
                "fieldValidation" => parsed.field_validation = value.into_owned(),
                "force" => parsed.force = Some(flag(&value)),
                // A negative limit is none.
                "limit" => parsed.limit = usize::try_from(number(&value)?).unwrap_or(0),
                "continue" => parsed.continue_token = value.into_owned(),
                "resourceVersion" => parsed.resource_version = value.into_owned(),
                "resourceVersionMatch" => parsed.version_match = value.into_owned(),
                "labelSelector" => parsed.label_selector = value.into_owned(),
                "fieldSelector" => parsed.field_selector = value.into_owned(),
                "timeoutSeconds" => {
                    // Zero means what absence means: the server chooses.
                    let seconds = u64::try_from(number(&value)?).unwrap_or(0);
                    parsed.timeout = (seconds > 0).then(|| Duration::from_secs(seconds));
                }
                "gracePeriodSeconds" => parsed.grace_period = Some(value.into_owned()),
                "fieldManager" => parsed.field_manager = value.into_owned(),
                "includeObject" => parsed.include_object = value.into_owned(),
                "propagationPolicy" => parsed.propagation_policy = Some(value.into_owned()),
                _ => {}
            }
        }
        Ok(parsed)
    }

    /// The objects selected among those of the target's kind.
    pub(crate) fn selection(&self, target: &Target) -> Result<Selection, Failure> {
        Ok(Selection {
            namespace: target.namespace.clone(),
            labels: LabelSelector::parse(&self.label_selector)?,
            fields: FieldSelector::parse(&self.field_selector, target.kind)?,
        })
    }

    /// The resource version asked for; `None` when the client leaves it to the server.
    pub(crate) fn revision(&self, target: &Target) -> Result<Option<u64>, Failure> {
        let version = &self.resource_version;
        if version.is_empty() {
            return Ok(None);
        }
        version.parse().map(Some).map_err(|_| {
            let error =
                FieldError::invalid("resourceVersion", version, go_parse_error("Uint", version));
            match target.verb {
                Verb::List => Failure::bad_request(format!("invalid resource version: {error}")),
                _ => Failure::new(500, "", error.to_string()),
            }
        })
    }

    /// Refuses options of a write that it does not have.
    pub(crate) fn check_write(&self, options: &str) -> Result<(), Failure> {
        let mut errors = dry_run_errors(&self.dry_run_values);
        let known = ["", "Ignore", "Strict", "Warn"];
        if options != "DeleteOptions" && !known.contains(&self.field_validation.as_str()) {
            errors.push(FieldError::not_supported(
                "fieldValidation",
                &self.field_validation,
                &known,
            ));
        }
        refuse_options(options, &errors)
    }

    /// Refuses what only apply may be told.
    pub(crate) fn refuse_force(&self) -> Result<(), Failure> {
        if self.force.is_none() {
            return Ok(());
        }
        let why = "may not be specified for non-apply patch";
        refuse_options("PatchOptions", &[FieldError::forbidden("force", why)])
    }

    /// What to do about unknown fields.
    pub(crate) fn field_validation(&self) -> FieldValidation {
        match self.field_validation.as_str() {
            "Strict" => FieldValidation::Strict,
            "Ignore" => FieldValidation::Ignore,
            _ => FieldValidation::Warn,
        }
    }
}

/// `dryRun` has one value, which may be given several times.
pub(crate) fn dry_run_errors(values: &[String]) -> Vec<FieldError> {
    if values.iter().all(|value| value == "All") {
        return Vec::new();
    }
    let shown: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    let shown = format!("[{}]", shown.join(","));
    vec![FieldError::not_supported_raw("dryRun", shown, &["All"])]
}

/// Refuses options with errors; `kind` is `ListOptions`, `CreateOptions` and so on.
pub(crate) fn refuse_options(kind: &str, errors: &[FieldError]) -> Result<(), Failure> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Failure::invalid_as("meta.k8s.io", kind, "", errors))
}

/// Go's `conversion.Convert_Slice_string_To_bool`: everything but `false` and `0` is true.
pub(crate) fn flag(value: &str) -> bool {
    !(value.eq_ignore_ascii_case("false") || value == "0")
}

pub(crate) fn number(value: &str) -> Result<i64, Failure> {
    value
        .parse()
        .map_err(|_| Failure::bad_request(go_parse_error("Int", value)))
}

/// What Go's `strconv` says about a text that is no number.
pub(crate) fn go_parse_error(kind: &str, value: &str) -> String {
    format!("strconv.Parse{kind}: parsing {value:?}: invalid syntax")
}
