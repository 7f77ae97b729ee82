//! Which pods are controllers.
//!
//! Labels, command lines and Leases are written by whoever may write in their namespace, so a pod that says
//! that it is a controller need not be one. What nobody gives themselves is the right to sign: a controller
//! is a pod whose service account has it for a signer that the pod says it answers for.
//!
//! ```text
//!   pods that say so ─▶ questions ─▶ SubjectAccessReviews ─▶ Rights ─▶ Judged: controllers, and the others
//! ```

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use podcert_resources::lease::Held;
use podcert_resources::signers;

use super::{Finding, has_ended};
use crate::NotShown;

/// The Lease of a replica, as other replicas read it.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Its namespace.
    pub namespace: String,
    /// Its name, which is the pod's.
    pub name: String,
    /// The application that its label names.
    pub application: String,
    /// Since when it is held and for how long, if it says so.
    pub held: Option<Held>,
}

/// A pod that says that it is a controller.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// It.
    pub pod: Pod,
    /// What its command line says; nothing if that cannot be read.
    pub configured: Option<Configured>,
}

/// What the command line of a controller's pod says.
#[derive(Clone, Debug, Default)]
pub struct Configured {
    /// The signers it answers for.
    pub signers: Vec<String>,
    /// The application whose work it shares.
    pub application: Option<String>,
}

/// Whether a service account may sign for a signer.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Question {
    /// The account's namespace.
    pub namespace: String,
    /// The account.
    pub account: String,
    /// The signer.
    pub signer: String,
}

impl Question {
    /// The account as a user.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.account)
    }

    /// The groups which that user is in.
    pub fn groups(&self) -> Vec<String> {
        vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{}", self.namespace),
            "system:authenticated".to_owned(),
        ]
    }

    /// The names of `signers` that the right may be for: one yes is enough. The API server asks for both when
    /// somebody signs; RBAC compares names as they are.
    pub fn names(&self) -> Vec<String> {
        let domain = self.signer.split_once('/').map(|(domain, _)| domain);
        let all = domain.map(|domain| format!("{domain}/*"));
        std::iter::once(self.signer.clone()).chain(all).collect()
    }
}

/// Who may sign, as far as the API server was asked.
#[derive(Clone, Debug, Default)]
pub struct Rights(BTreeMap<Question, bool>);

impl FromIterator<(Question, bool)> for Rights {
    fn from_iter<I: IntoIterator<Item = (Question, bool)>>(answers: I) -> Self {
        Self(answers.into_iter().collect())
    }
}

/// What is to be asked about `candidates`, each thing once and at most [`MOST_QUESTIONS`].
pub fn questions(candidates: &[Candidate]) -> Vec<Question> {
    let all: BTreeSet<Question> = candidates.iter().flat_map(Candidate::questions).collect();
    in_turns(all, MOST_QUESTIONS, |question| &question.namespace).0
}

impl Candidate {
    fn questions(&self) -> Vec<Question> {
        let spec = self.pod.spec.as_ref();
        let account = spec.and_then(|spec| spec.service_account_name.as_deref());
        let signers: Vec<&str> = match &self.configured {
            Some(configured) => configured.signers.iter().map(String::as_str).collect(),
            // What it answers for is not known; to be a controller it may sign for one of these.
            None => vec![signers::SERVICE_DNS, signers::SPIFFE, signers::POD_IDENTITY],
        };
        let question = |signer: &str| Question {
            namespace: self.pod.metadata.namespace.clone().unwrap_or_default(),
            account: account
                .filter(|account| !account.is_empty())
                .unwrap_or("default")
                .to_owned(),
            signer: signer.to_owned(),
        };
        signers.into_iter().map(question).collect()
    }
}

/// The first `most` of `items`, one of each namespace in turn, and how many are left: somebody with many
/// in one namespace keeps nobody of another out.
pub fn in_turns<T>(
    items: impl IntoIterator<Item = T>,
    most: usize,
    namespace: impl Fn(&T) -> &str,
) -> (Vec<T>, usize) {
    let mut turns: BTreeMap<String, usize> = BTreeMap::new();
    let mut items: Vec<(usize, T)> = items
        .into_iter()
        .map(|item| {
            let turn = turns.entry(namespace(&item).to_owned()).or_default();
            *turn += 1;
            (*turn, item)
        })
        .collect();
    items.sort_by_key(|(turn, _)| *turn);
    let left_out = items.len().saturating_sub(most);
    items.truncate(most);
    (items.into_iter().map(|(_, item)| item).collect(), left_out)
}

/// Pods that say that they are controllers, by what they may.
#[derive(Debug, Default)]
pub struct Judged<'a> {
    /// Those that are.
    pub controllers: Vec<Controller<'a>>,
    /// Those that may not sign.
    pub powerless: Vec<&'a Pod>,
    /// Those about which nobody was asked: there are too many.
    pub unasked: Vec<&'a Pod>,
}

/// A pod that is a controller.
#[derive(Debug)]
pub struct Controller<'a> {
    /// It.
    pub pod: &'a Pod,
    /// What its command line says, without the signers it may not sign for; nothing if that cannot be read.
    pub configured: Option<Configured>,
}

impl<'a> Judged<'a> {
    /// `candidates` by `rights`; if these are hidden, all are what they say.
    pub fn new(candidates: &'a [Candidate], rights: Option<&Rights>) -> Self {
        let mut judged = Self::default();
        for candidate in candidates {
            let pod = &candidate.pod;
            let mut configured = candidate.configured.clone();
            let Some(Rights(rights)) = rights else {
                judged.controllers.push(Controller { pod, configured });
                continue;
            };
            let questions = candidate.questions();
            let allowed: Vec<String> = questions
                .iter()
                .filter(|question| rights.get(question) == Some(&true))
                .map(|question| question.signer.clone())
                .collect();
            if !allowed.is_empty() {
                if let Some(configured) = &mut configured {
                    configured.signers = allowed;
                }
                judged.controllers.push(Controller { pod, configured });
            } else if questions.iter().all(|one| rights.contains_key(one)) {
                judged.powerless.push(pod);
            } else {
                judged.unasked.push(pod);
            }
        }
        judged
    }

    /// The controller whose pod is called so.
    pub(super) fn controller(&self, namespace: &str, name: &str) -> Option<&Controller<'a>> {
        let mut all = self.controllers.iter();
        all.find(|controller| is(controller.pod, namespace, name))
    }

    /// Whether a pod that is called so says that it is a controller, and is not known to be one.
    pub(super) fn is_none(&self, namespace: &str, name: &str) -> bool {
        let mut others = self.powerless.iter().chain(&self.unasked);
        others.any(|pod| is(pod, namespace, name))
    }

    /// One finding for all that may not sign. Of what they say it repeats nothing.
    pub(super) fn finding(&self) -> Option<Finding> {
        let pods: Vec<String> = self
            .powerless
            .iter()
            .filter(|pod| !has_ended(pod))
            .map(|pod| full_name(pod))
            .collect();
        let names = pods.iter().take(NAMED).cloned().collect::<Vec<_>>();
        let more = match pods.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        (!pods.is_empty()).then(|| {
            Finding::warning(
                format!(
                    "pods that say they are controllers and may not sign for any signer they name: {}{more}",
                    names.join(", ")
                ),
                "a controller of yours lacks its role (docs/operations.md, RBAC); if it is none of yours, \
                 somebody plays a controller, and nothing it says is taken for true here",
            )
        })
    }

    /// That there are some about which nobody was asked.
    pub(super) fn not_shown(&self) -> Option<NotShown> {
        let unasked = self.unasked.len();
        (unasked > 0).then(|| NotShown {
            what: format!("whether {unasked} more pods that say they are controllers may sign"),
            why: format!("at most {MOST_QUESTIONS} questions are asked; these pods are left out"),
        })
    }
}

fn is(pod: &Pod, namespace: &str, name: &str) -> bool {
    pod.metadata.namespace.as_deref() == Some(namespace)
        && pod.metadata.name.as_deref() == Some(name)
}

fn full_name(pod: &Pod) -> String {
    let metadata = &pod.metadata;
    format!(
        "{}/{}",
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default()
    )
}

/// Each is a request or two.
pub const MOST_QUESTIONS: usize = 50;
/// How many a person reads in one sentence.
const NAMED: usize = 5;

#[cfg(test)]
mod tests;
