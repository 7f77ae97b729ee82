//! The rights that are missing, said once, at the start.
//!
//! ```text
//!   list (pure): what this configuration uses ─▶ ask: a SelfSubjectAccessReview each ─▶ words (pure) ─▶ log, Event
//! ```
//!
//! Without this, a missing right is found one by one: by a watch that never begins, by an answer that is
//! not written. Anybody who is known to the API server may ask what they may do (`system:basic-user`),
//! and an answer costs it no look into etcd. Nothing waits for it.
//!
//! An API server that has just started forbids everything until it has read its roles, this question
//! too: so a question that is refused is asked again for a while, and a right that is denied counts as
//! missing only when it is denied again some seconds later.
//!
//! It is asked at the start alone. A right granted later is found by whoever needs it, who tries again
//! all the time; one taken away later is told by whoever needed it. Those who are refused while this
//! is under way, or for what was said here, leave the telling to this ([`Rights::refused`],
//! [`Rights::tells_of`]), so that each thing is said once.

mod list;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};
use podcert_runtime::Backoff;
use tokio::time::{Instant, sleep};

use self::list::{Missing, Need};
use crate::reasons::RIGHTS_MISSING;
use crate::{Config, Context, pools::with_sources};

pub(crate) use self::list::{Right, all};

/// What is known of missing rights, for those who are refused. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Rights(Arc<Mutex<State>>);

#[derive(Debug)]
enum State {
    /// It is being asked; meanwhile these were refused.
    Asking(Vec<Refusal>),
    /// It was said that these verbs on these resources are missing.
    Said(BTreeMap<&'static str, Vec<&'static str>>),
}

/// The API server refused something that goes on without it.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// A right to what is missing, as [`Right::resource`] has it.
    pub(crate) resource: &'static str,
    /// What the API server said.
    pub(crate) why: String,
    /// What is lost, and what to do.
    pub(crate) lost: &'static str,
}

impl Refusal {
    fn warn(&self) {
        let Self {
            resource,
            why,
            lost,
        } = self;
        tracing::warn!(resource, why, "{lost}");
    }
}

impl Rights {
    /// It is being asked.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State::Asking(Vec::new()))))
    }

    /// Tells of `refusal`, now or when it is known that the report does not; nothing of what the report
    /// said.
    pub(crate) fn refused(&self, refusal: Refusal) {
        let tell = match &mut *self.state() {
            State::Asking(refused) => {
                refused.retain(|other| other.resource != refusal.resource);
                refused.push(refusal);
                return;
            }
            State::Said(said) => !said.contains_key(refusal.resource),
        };
        if tell {
            refusal.warn();
        }
    }

    /// Whether that something is forbidden about one of these resources is, or may be about to be, said
    /// by the report: whoever tries it again and again need not tell each time.
    pub(crate) fn tells_of(&self, resources: &[&str]) -> bool {
        match &*self.state() {
            State::Asking(_) => true,
            State::Said(said) => resources.iter().any(|resource| said.contains_key(resource)),
        }
    }

    /// A resource was listed: if that was not allowed at the start it was granted since, and what is
    /// forbidden from now on is something new.
    pub(crate) fn listed(&self, resource: &str) {
        if let State::Said(said) = &mut *self.state()
            && said
                .get(resource)
                .is_some_and(|verbs| verbs.contains(&"list"))
        {
            said.remove(resource);
        }
    }

    /// Everything is known: these are said to be missing.
    fn settle(&self, missing: &[Missing]) {
        let mut said = BTreeMap::<_, Vec<_>>::new();
        for Missing { right, verbs } in missing {
            said.entry(right.resource).or_default().extend(verbs);
        }
        let mut state = self.state();
        if let State::Asking(refused) = &*state {
            let unsaid = refused.iter().filter(|it| !said.contains_key(it.resource));
            unsaid.for_each(Refusal::warn);
        }
        *state = State::Said(said);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says once which of the rights in `wanted` are missing; ends at shutdown.
pub(crate) async fn report(context: Context, wanted: Vec<Right>) {
    tokio::select! {
        biased;
        () = context.shutdown.cancelled() => return,
        missing = find(&context, wanted) => match missing {
            Some(missing) => tell(&context, &missing),
            None => context.rights.settle(&[]),
        },
    }
    context.shutdown.cancelled().await;
}

/// What is missing, as soon as that is sure; nothing if the API server does not let us ask.
async fn find(context: &Context, wanted: Vec<Right>) -> Option<Vec<Missing>> {
    let wanted: Vec<Missing> = wanted.into_iter().map(Missing::all_of).collect();
    let mut failures: u32 = 0;
    let mut refused_since = None;
    loop {
        let why = match missing_twice(context, &wanted).await {
            Ok(missing) => return Some(missing),
            Err(Unanswered::Refused(why)) => {
                let now = Instant::now();
                let since = *refused_since.get_or_insert(now);
                if now - since >= REFUSED_FOR_GOOD {
                    tracing::info!(
                        why,
                        "the API server does not say which rights this controller has: a missing one \
                         shows when it is needed"
                    );
                    return None;
                }
                why
            }
            Err(Unanswered::Failed(why)) => {
                refused_since = None;
                why
            }
        };
        failures = failures.saturating_add(1);
        let wait = AGAIN.delay(failures, &context.jitter);
        tracing::debug!(why, retry_in = ?wait, "which rights are missing is not known yet");
        sleep(wait).await;
    }
}

/// Why a question has no answer.
enum Unanswered {
    /// It may not be asked.
    Refused(String),
    /// The API server did not answer, or is not able to.
    Failed(String),
}

/// What of `wanted` is denied now and again a little later.
async fn missing_twice(context: &Context, wanted: &[Missing]) -> Result<Vec<Missing>, Unanswered> {
    let missing = missing_of(context, wanted).await?;
    if missing.is_empty() {
        return Ok(missing);
    }
    sleep(CONFIRM).await;
    missing_of(context, &missing).await
}

async fn missing_of(context: &Context, wanted: &[Missing]) -> Result<Vec<Missing>, Unanswered> {
    let mut missing = Vec::new();
    for Missing { right, verbs } in wanted {
        let mut denied = Vec::new();
        for verb in verbs {
            if !is_allowed(context, right.questions(verb)).await? {
                denied.push(*verb);
            }
        }
        if !denied.is_empty() {
            missing.push(Missing {
                right: right.clone(),
                verbs: denied,
            });
        }
    }
    Ok(missing)
}

/// Whether one of `questions` is answered with yes.
async fn is_allowed(
    context: &Context,
    questions: impl IntoIterator<Item = ResourceAttributes>,
) -> Result<bool, Unanswered> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(context.connection.client().clone());
    for question in questions {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(question),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        match reviews.create(&PostParams::default(), &review).await {
            Ok(answer) => {
                if answer.status.is_some_and(|status| status.allowed) {
                    return Ok(true);
                }
            }
            Err(kube::Error::Api(status))
                if status.code != 429 && (400..500).contains(&status.code) =>
            {
                let why = format!("{} ({})", status.message, status.code);
                return Err(Unanswered::Refused(why));
            }
            Err(error) => return Err(Unanswered::Failed(with_sources(&error))),
        }
    }
    Ok(false)
}

/// The log and the Event of what is missing.
fn tell(context: &Context, missing: &[Missing]) {
    if missing.is_empty() {
        tracing::info!("no right is missing");
    }
    for missing in missing {
        let (right, verbs) = (&missing.right, missing.verbs.join(","));
        let (resource, name) = (right.resource, right.name());
        let rule = missing.rule();
        match right.need {
            Need::Required => tracing::error!(resource, name, verbs, rule, "{missing}"),
            Need::Optional => tracing::warn!(resource, name, verbs, rule, "{missing}"),
        }
    }
    context.rights.settle(missing);
    if let Some(note) = list::note(missing) {
        context.warn_own_pod(RIGHTS_MISSING, "ReviewRights", note);
    }
}

/// Until a right that was denied is asked for again. The roles of namespaces may be read later than
/// those of the cluster, which let us ask.
const CONFIRM: Duration = Duration::from_secs(5);
/// A server that starts lets nobody ask for a moment.
const REFUSED_FOR_GOOD: Duration = Duration::from_secs(60);
const AGAIN: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
