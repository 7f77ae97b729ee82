//! The API server in trouble: certificates come late, never twice, and nothing is given up.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use podcert_apiserver::{Effect, Matching, Occurrence, Verb};
use serde_json::json;

use crate::cluster::{CONTROLLER, Cluster, SPIFFE, Setup, delete};

#[tokio::test(start_paused = true)]
async fn errors_are_outlasted() {
    for (code, reason) in [
        (500, "InternalError"),
        (503, "ServiceUnavailable"),
        (429, "TooManyRequests"),
    ] {
        let cluster = Cluster::ready().await;
        let effect = Effect::error(code, reason, "not now");
        let fault = cluster.trouble_writing(Occurrence::Next(10), effect);
        let pod = cluster.pod("shop", "web").await;
        let asked = cluster.ask(&pod, SPIFFE).await;
        cluster.pass(5).await;
        assert_eq!(cluster.condition(&asked).await, None);
        cluster.pass(120).await;
        assert_eq!(fault.hits(), 10);
        assert!(cluster.is_issued(&asked).await, "{code}");
        assert_eq!(cluster.waiting(), 0);
        cluster.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_conflict_nothing_explains_is_tried_again() {
    let cluster = Cluster::ready().await;
    cluster.trouble_writing(Occurrence::Next(2), Effect::conflict());
    let pod = cluster.pod("shop", "web").await;
    let asked = cluster.ask(&pod, SPIFFE).await;
    cluster.pass(60).await;
    assert!(cluster.is_issued(&asked).await);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_somebody_else_touched_is_answered_in_its_new_version() {
    let cluster = Cluster::ready().await;
    let slow = Effect::delay(Duration::from_secs(2));
    cluster.trouble_writing(Occurrence::Next(1), slow);
    let pod = cluster.pod("shop", "web").await;
    let asked = cluster.ask(&pod, SPIFFE).await;
    cluster.pass(1).await;
    let label = json!({"metadata": {"labels": {"seen": "yes"}}});
    let requests = cluster.requests("shop");
    requests
        .patch(&asked.name, &PatchParams::default(), &Patch::Merge(label))
        .await
        .unwrap();
    cluster.pass(3).await;
    assert!(cluster.is_issued(&asked).await);
    let status = cluster
        .controller_stats()
        .of_resource("podcertificaterequests/status");
    assert_eq!(
        status.total(),
        2,
        "one that met the newer version, one that stood"
    );
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_got_lost_is_not_given_twice() {
    let cluster = Cluster::ready().await;
    cluster.trouble_writing(Occurrence::Next(1), Effect::lost_reply());
    let pod = cluster.pod("shop", "web").await;
    let asked = cluster.ask(&pod, SPIFFE).await;
    cluster.pass(1).await;
    let chain = cluster.chain(&asked).await;
    cluster.pass(300).await;
    assert_eq!(cluster.chain(&asked).await, chain);
    let status = cluster
        .controller_stats()
        .of_resource("podcertificaterequests/status");
    assert_eq!(
        status.total(),
        2,
        "the retry is refused, the watch says why"
    );
    assert_eq!(cluster.waiting(), 0);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_signer_that_may_not_sign_goes_on_trying_slowly_and_says_so() {
    let cluster = Cluster::ready().await;
    let effect = Effect::error(403, "Forbidden", "User is not permitted to \"sign\"");
    let fault = cluster.trouble_writing(Occurrence::Always, effect);
    let pod = cluster.pod("shop", "web").await;
    let asked = cluster.ask(&pod, SPIFFE).await;
    cluster.pass(600).await;
    assert_eq!(
        cluster.condition(&asked).await,
        None,
        "neither denied nor failed"
    );
    assert!((4..=20).contains(&fault.hits()), "{}", fault.hits());
    let events = cluster.events().await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(
        events[0].1.contains("not permitted to \"sign\""),
        "{events:?}"
    );
    fault.remove();
    cluster.pass(600).await;
    assert!(cluster.is_issued(&asked).await);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_forbids_while_it_starts_holds_nobody_up() {
    let cluster = Cluster::ready().await;
    let away = Effect::error(503, "ServiceUnavailable", "not now");
    let away = cluster.trouble_writing(Occurrence::Next(20), away);
    let pod = cluster.pod("shop", "web").await;
    let asked = cluster.ask(&pod, SPIFFE).await;
    while away.hits() < 20 {
        cluster.pass(1).await;
    }
    // Until it has read its roles, which takes it a second or two.
    let starting = Effect::error(403, "Forbidden", "cannot update resource");
    let starting = cluster.trouble_writing(Occurrence::Next(2), starting);
    while starting.hits() < 2 {
        cluster.pass(1).await;
    }
    cluster.pass(5).await;
    assert!(cluster.is_issued(&asked).await);
    assert_eq!(cluster.told("Forbidden").await, 0);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_deleted_while_it_is_answered_is_forgotten() {
    let cluster = Cluster::ready().await;
    cluster.trouble_writing(Occurrence::Next(1), Effect::delay(Duration::from_secs(2)));
    let pod = cluster.pod("shop", "web").await;
    let asked = cluster.ask(&pod, SPIFFE).await;
    cluster.pass(1).await;
    delete(&cluster.requests("shop"), &asked.name).await;
    cluster.pass(120).await;
    let status = cluster
        .controller_stats()
        .of_resource("podcertificaterequests/status");
    assert_eq!(status.total(), 1);
    assert_eq!(cluster.waiting(), 0);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn broken_watches_and_lost_history_are_recovered_from() {
    let cluster = Cluster::ready().await;
    let pod = cluster.pod("shop", "web").await;
    let waiting = cluster.pod("shop", "waiting").await;
    let waiting = cluster.ask(&waiting, crate::cluster::SERVICE_DNS).await;
    cluster.pass(1).await;
    assert_eq!(cluster.waiting(), 1);
    for _ in 0..3 {
        let mine = Matching::any().user(CONTROLLER);
        assert!(cluster.api.faults().drop_watches(&mine) >= 6);
        // While nobody watches, a request goes and another comes, and history is forgotten.
        let asked = cluster.ask(&pod, SPIFFE).await;
        let gone = cluster.ask(&pod, SPIFFE).await;
        delete(&cluster.requests("shop"), &gone.name).await;
        cluster.api.faults().compact();
        cluster.pass(60).await;
        assert!(cluster.is_issued(&asked).await);
    }
    // The deletion of the one that waits is missed, and noticed with the next list.
    cluster
        .api
        .faults()
        .drop_watches(&Matching::any().user(CONTROLLER));
    delete(&cluster.requests("shop"), &waiting.name).await;
    cluster.api.faults().compact();
    cluster.pass(60).await;
    assert_eq!(cluster.waiting(), 0);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_be_listed_makes_it_unready_in_words() {
    let setup = Setup::new();
    let lists = Matching::any()
        .user(CONTROLLER)
        .verb(Verb::List)
        .resource("podcertificaterequests");
    let effect = Effect::error(403, "Forbidden", "cannot list resource");
    let fault = setup.api.faults().inject(lists, Occurrence::Always, effect);
    let cluster = setup.start().await;
    cluster.pass(60).await;
    let report = cluster.health.report();
    assert!(report.contains("cannot list resource (403)"), "{report}");
    fault.remove();
    cluster
        .spiffe_pool
        .send_replace(Some(cluster.new_pool(&["1"])));
    cluster
        .service_dns_pool
        .send_replace(Some(cluster.new_pool(&["1"])));
    cluster.pass(60).await;
    assert!(cluster.health.is_ready(), "{}", cluster.health.report());
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn slow_answers_hold_up_no_more_than_their_own_slots() {
    let cluster = Setup {
        concurrency: 4,
        ..Setup::new()
    }
    .ready()
    .await;
    cluster.trouble_writing(Occurrence::Always, Effect::delay(Duration::from_secs(5)));
    let pod = cluster.pod("shop", "web").await;
    let mut asked = Vec::new();
    for _ in 0..20 {
        asked.push(cluster.ask(&pod, SPIFFE).await);
    }
    cluster.pass(26).await;
    for request in &asked {
        assert!(cluster.is_issued(request).await);
    }
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn through_random_trouble_every_request_is_answered_once() {
    let cluster = Cluster::ready().await;
    let faults = cluster.api.faults();
    let mine = || Matching::any().user(CONTROLLER);
    let broken = Effect::error(500, "InternalError", "by chance");
    faults.inject(mine(), Occurrence::Probability(0.2), broken);
    faults.inject(mine(), Occurrence::Probability(0.1), Effect::lost_reply());
    faults.inject(mine(), Occurrence::Probability(0.1), Effect::conflict());
    faults.inject(
        mine(),
        Occurrence::Probability(0.2),
        Effect::delay(Duration::from_secs(1)),
    );
    let mut asked = Vec::new();
    for index in 0..100 {
        let pod = cluster.pod("shop", &format!("web-{index}")).await;
        asked.push(cluster.ask(&pod, SPIFFE).await);
        if index % 10 == 0 {
            faults.drop_watches(&mine());
            faults.compact();
        }
        cluster.pass(1).await;
    }
    cluster.pass(600).await;
    for request in &asked {
        assert!(cluster.is_issued(request).await);
    }
    assert_eq!(cluster.waiting(), 0);
    cluster.stop().await;
}
