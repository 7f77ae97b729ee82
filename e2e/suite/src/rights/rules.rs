//! The roles of `deploy/controller/rbac.yaml`, whole and without one right.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::cluster::checkout;

/// What one verb may be done to.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Pair {
    /// With its subresource.
    pub(super) resource: String,
    pub(super) verb: String,
}

/// The rules of the controller.
#[derive(Clone, Debug)]
pub(super) struct Roles {
    /// Of its ClusterRole.
    pub(super) cluster: Vec<Value>,
    /// Of its Role in its own namespace.
    pub(super) own: Vec<Value>,
}

impl Roles {
    /// Those that are shipped.
    ///
    /// # Errors
    /// When the file is not read, or has other roles than one of each kind.
    pub(super) fn read() -> Result<Self> {
        let path = checkout().join("deploy/controller/rbac.yaml");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text)?;
        let rules = |kind: &str| {
            let mut roles = documents.iter().filter(|document| document["kind"] == kind);
            let rules = roles.next().and_then(|role| role["rules"].as_array());
            let rules = rules.with_context(|| format!("no {kind}"))?;
            ensure!(roles.next().is_none(), "more than one {kind}");
            Ok(rules.clone())
        };
        Ok(Self {
            cluster: rules("ClusterRole")?,
            own: rules("Role")?,
        })
    }

    /// All they grant.
    pub(super) fn pairs(&self) -> BTreeSet<Pair> {
        let rules = self.cluster.iter().chain(&self.own);
        rules
            .flat_map(|rule| {
                texts(rule, "resources").into_iter().flat_map(|resource| {
                    texts(rule, "verbs").into_iter().map(move |verb| Pair {
                        resource: resource.clone(),
                        verb,
                    })
                })
            })
            .collect()
    }

    /// Without this one, each resource with a rule of its own.
    pub(super) fn without(&self, pair: &Pair) -> Self {
        let less = |rules: &[Value]| {
            let mut left = Vec::new();
            for rule in rules {
                for resource in texts(rule, "resources") {
                    let mut verbs = texts(rule, "verbs");
                    if resource == pair.resource {
                        verbs.retain(|verb| *verb != pair.verb);
                    }
                    if !verbs.is_empty() {
                        let mut rule = rule.clone();
                        rule["resources"] = json!([resource]);
                        rule["verbs"] = json!(verbs);
                        left.push(rule);
                    }
                }
            }
            left
        };
        Self {
            cluster: less(&self.cluster),
            own: less(&self.own),
        }
    }

    /// For signers of this domain instead of those that are shipped.
    pub(super) fn for_signers_of(mut self, domain: &str) -> Self {
        for rule in &mut self.cluster {
            if texts(rule, "resources") == ["signers"] {
                rule["resourceNames"] = json!([format!("{domain}/*")]);
            }
        }
        self
    }

    /// A right of each role, as `resourceAttributes` of a SubjectAccessReview.
    pub(super) fn samples(&self, namespace: &str) -> Vec<Value> {
        let first = |rules: &[Value], namespace: Option<&str>| {
            let rule = rules.first()?;
            Some(json!({
                "group": texts(rule, "apiGroups").pop()?,
                "resource": texts(rule, "resources").pop()?,
                "verb": texts(rule, "verbs").pop()?,
                "namespace": namespace,
            }))
        };
        // Neither one with a name, as those of signers, nor one with a subresource is the first.
        let samples = [
            first(&self.cluster, None),
            first(&self.own, Some(namespace)),
        ];
        samples.into_iter().flatten().collect()
    }
}

fn texts(rule: &Value, field: &str) -> Vec<String> {
    let list = rule[field].as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_right_is_taken_away_and_all_others_stay() {
        let roles = Roles::read().unwrap();
        let all = roles.pairs();
        assert!(all.len() > 20);
        for pair in &all {
            let mut less = roles.without(pair).pairs();
            assert!(less.insert(pair.clone()), "{pair:?}");
            assert_eq!(less, all);
        }
    }

    #[test]
    fn signers_get_the_domain_of_a_scene() {
        let pair = Pair {
            resource: "signers".into(),
            verb: "sign".into(),
        };
        let roles = Roles::read().unwrap().without(&pair);
        let roles = roles.for_signers_of("a.example");
        let signers: Vec<_> = roles
            .cluster
            .iter()
            .filter(|rule| rule["resources"] == json!(["signers"]))
            .collect();
        assert_eq!(signers.len(), 1);
        assert_eq!(signers[0]["resourceNames"], json!(["a.example/*"]));
        assert_eq!(signers[0]["verbs"], json!(["attest"]));
        assert_eq!(roles.samples("x").len(), 2);
    }
}
