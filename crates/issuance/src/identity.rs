//! Is the request about the pod that really is there?
//!
//! `NodeRestriction` compares the requests of nodes with live objects, those of other creators it
//! does not. Comparing again keeps a principal that may create requests, and is no node, from naming a
//! pod that does not exist, another node's pod, or a pod with another service account; and a node
//! from changing the annotations kubelet copies out of the pod. A mismatch waits: the watches behind
//! the facts lag by moments, while a denial would last for the pod's life.

use crate::{
    AnnotationsDigest, Facts, ObservedUid, PodFacts, Policy, Request, Wait, WaitReason, Wake,
};

/// The live pod of a request, once everything the request says about it is found true.
pub(crate) fn verify<'a>(
    request: &Request,
    policy: &Policy,
    facts: &'a dyn Facts,
) -> Result<&'a PodFacts, Wait> {
    let pod = verify_pod(request, facts)?;
    verify_node(request, facts)?;
    verify_service_account(request, facts)?;
    verify_projection(request, policy, pod)?;
    Ok(pod)
}

fn verify_pod<'a>(request: &Request, facts: &'a dyn Facts) -> Result<&'a PodFacts, Wait> {
    let Request {
        namespace,
        pod_name,
        pod_uid,
        node_name,
        service_account_name,
        ..
    } = request;
    let wait = |reason, message| Err(Wait::new(reason, Wake::Pod, message));
    let Some(pod) = facts.pod(namespace, pod_name) else {
        return wait(
            WaitReason::PodNotFound,
            format!("pod {namespace}/{pod_name} does not exist, or did not yet when last seen"),
        );
    };
    if pod.uid != *pod_uid {
        return wait(
            WaitReason::PodReplaced,
            format!(
                "the request is for pod {namespace}/{pod_name} with UID {pod_uid}, but the pod of \
                 that name has UID {}: it was replaced, or the replacement is not seen yet",
                pod.uid
            ),
        );
    }
    match pod.node_name.as_deref() {
        Some(bound_to) if bound_to == node_name => {}
        Some(bound_to) => {
            return wait(
                WaitReason::PodNodeMismatch,
                format!(
                    "the request says pod {namespace}/{pod_name} runs on node {node_name}, but it \
                     is bound to node {bound_to}"
                ),
            );
        }
        None => {
            return wait(
                WaitReason::PodNodeMismatch,
                format!(
                    "the request says pod {namespace}/{pod_name} runs on node {node_name}, but it \
                     was bound to none when last seen"
                ),
            );
        }
    }
    if pod.service_account_name != *service_account_name {
        return wait(
            WaitReason::PodServiceAccountMismatch,
            format!(
                "the request says pod {namespace}/{pod_name} runs as service account \
                 {service_account_name}, but it runs as {}",
                pod.service_account_name
            ),
        );
    }
    Ok(pod)
}

fn verify_node(request: &Request, facts: &dyn Facts) -> Result<(), Wait> {
    let Request {
        node_name,
        node_uid,
        ..
    } = request;
    match facts.node_uid(node_name) {
        ObservedUid::Unknown => Ok(()),
        ObservedUid::Uid(uid) if uid == node_uid => Ok(()),
        ObservedUid::Uid(uid) => Err(Wait::new(
            WaitReason::NodeReplaced,
            Wake::Node,
            format!(
                "the request is from node {node_name} with UID {node_uid}, but the node of that \
                 name has UID {uid}: it was replaced, or the replacement is not seen yet"
            ),
        )),
        ObservedUid::Absent => Err(Wait::new(
            WaitReason::NodeNotFound,
            Wake::Node,
            format!("node {node_name} does not exist, or did not yet when last seen"),
        )),
    }
}

fn verify_service_account(request: &Request, facts: &dyn Facts) -> Result<(), Wait> {
    let Request {
        namespace,
        service_account_name: name,
        service_account_uid,
        ..
    } = request;
    match facts.service_account_uid(namespace, name) {
        ObservedUid::Unknown => Ok(()),
        ObservedUid::Uid(uid) if uid == service_account_uid => Ok(()),
        ObservedUid::Uid(uid) => Err(Wait::new(
            WaitReason::ServiceAccountReplaced,
            Wake::ServiceAccount,
            format!(
                "the request is for service account {namespace}/{name} with UID \
                 {service_account_uid}, but the one of that name has UID {uid}: it was replaced, or \
                 the replacement is not seen yet"
            ),
        )),
        ObservedUid::Absent => Err(Wait::new(
            WaitReason::ServiceAccountNotFound,
            Wake::ServiceAccount,
            format!(
                "service account {namespace}/{name} does not exist, or did not yet when last seen"
            ),
        )),
    }
}

fn verify_projection(request: &Request, policy: &Policy, pod: &PodFacts) -> Result<(), Wait> {
    let Request {
        namespace,
        pod_name,
        signer,
        annotations,
        ..
    } = request;
    let mut of_signer = pod
        .projections
        .iter()
        .filter(|found| found.signer == *signer)
        .peekable();
    if of_signer.peek().is_none() {
        if policy.serves_unprojected(namespace, &request.service_account_name) {
            return Ok(());
        }
        return Err(Wait::new(
            WaitReason::NoProjection,
            Wake::Pod,
            format!(
                "pod {namespace}/{pod_name} mounts no podCertificate projection of signer {signer}, \
                 and the configuration does not except its service account {}",
                request.service_account_name
            ),
        ));
    }
    let asked = AnnotationsDigest::of(annotations);
    if of_signer.any(|projection| projection.annotations == asked) {
        return Ok(());
    }
    Err(Wait::new(
        WaitReason::AnnotationsMismatch,
        Wake::Pod,
        format!(
            "the request's unverifiedUserAnnotations are not the userAnnotations of any \
             podCertificate projection of signer {signer} in pod {namespace}/{pod_name}"
        ),
    ))
}
