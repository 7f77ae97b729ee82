//! Logs of pods: what the source is asked for, and what becomes of its answers.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

mod common;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams};
use kube::{Client, ResourceExt as _};
use podcert_apiserver::{PodLogQuery, PodLogSource, User};

use crate::common::{builder, pod, post, refusal};

/// Answers every question with two pieces, and remembers it.
#[derive(Debug, Default)]
struct Source {
    asked: Mutex<Vec<PodLogQuery>>,
}

impl PodLogSource for Source {
    fn open(
        &self,
        query: PodLogQuery,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Bytes>, String>> {
        let previous = query.previous;
        self.asked.lock().unwrap().push(query);
        Box::pin(async move {
            if previous {
                return Err("previous terminated container \"main\" in pod \"p\" not found".into());
            }
            let pieces = ["one\n", "", "two\n"].map(|piece| Bytes::from_static(piece.as_bytes()));
            Ok(stream::iter(pieces).boxed())
        })
    }
}

async fn on_node(client: &Client) -> Pod {
    let mut pod = pod("p");
    pod.spec.as_mut().unwrap().node_name = Some("node".into());
    let pods = Api::<Pod>::default_namespaced(client.clone());
    pods.create(&post(), &pod).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_source_gets_the_question_and_its_pieces_are_the_answer() {
    let source = Arc::new(Source::default());
    let api = builder().pod_logs(source.clone()).build();
    let client = Client::new(api.as_user(User::admin()), "default");
    let pod = on_node(&client).await;
    let pods = Api::<Pod>::default_namespaced(client);
    let options = LogParams {
        follow: true,
        tail_lines: Some(3),
        since_seconds: Some(60),
        timestamps: true,
        limit_bytes: Some(7),
        ..LogParams::default()
    };
    assert_eq!(pods.logs("p", &options).await.unwrap(), "one\ntwo\n");
    let asked = source.asked.lock().unwrap()[0].clone();
    assert_eq!(asked.namespace, "default");
    assert_eq!(asked.pod, "p");
    assert_eq!(Some(asked.uid), pod.uid());
    assert_eq!(asked.container, "main");
    assert!(asked.follow && asked.timestamps && !asked.previous);
    assert_eq!((asked.tail_lines, asked.limit_bytes), (Some(3), Some(7)));
    let since = asked.since.unwrap();
    let ago = common::start() - since;
    assert_eq!(ago.get_seconds(), 60, "{since}");
}

#[tokio::test]
async fn what_the_source_refuses_is_told_in_its_words() {
    let api = builder().pod_logs(Arc::new(Source::default())).build();
    let client = Client::new(api.as_user(User::admin()), "default");
    on_node(&client).await;
    let pods = Api::<Pod>::default_namespaced(client);
    let options = LogParams {
        previous: true,
        ..LogParams::default()
    };
    let status = refusal(pods.logs("p", &options).await);
    assert_eq!((status.code, status.reason.as_str()), (400, "BadRequest"));
    assert_eq!(
        status.message,
        "previous terminated container \"main\" in pod \"p\" not found"
    );
}

#[tokio::test]
async fn without_a_source_the_server_says_so() {
    let (_, client) = common::world();
    on_node(&client).await;
    let pods = Api::<Pod>::default_namespaced(client);
    let status = refusal(pods.logs("p", &LogParams::default()).await);
    assert_eq!(
        (status.code, status.reason.as_str()),
        (501, "NotImplemented")
    );
}
