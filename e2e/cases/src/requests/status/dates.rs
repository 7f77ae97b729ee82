//! The dates of an issued certificate.
//!
//! The five minutes around the server's clock are probed from a distance: a real clock runs on.

use serde_json::Value;

use super::CHAIN;
use crate::requests::scene::{Scene, accepted, case, refused};
use crate::requests::{Cause, invalid};
use crate::{Case, World};

pub(super) fn cases() -> Vec<Case> {
    [presence(), agreement(), lifetime(), refresh()].concat()
}

fn presence() -> Vec<Case> {
    vec![
        refused(
            "status-dates/not-before-is-required",
            |_, status| status["notBefore"] = Value::Null,
            &[(NOT_BEFORE, CONSISTENT)],
        ),
        refused(
            "status-dates/not-after-is-required",
            |_, status| drop(status.as_object_mut().unwrap().remove("notAfter")),
            &[(NOT_AFTER, CONSISTENT)],
        ),
        refused(
            "status-dates/begin-refresh-at-is-required",
            |_, status| status["beginRefreshAt"] = Value::Null,
            &[(REFRESH, IN_RANGE)],
        ),
        refused(
            "status-dates/all-missing-are-told",
            |_, status| {
                for field in ["notBefore", "beginRefreshAt", "notAfter"] {
                    status[field] = Value::Null;
                }
            },
            &[
                (NOT_BEFORE, CONSISTENT),
                (REFRESH, IN_RANGE),
                (NOT_AFTER, CONSISTENT),
            ],
        ),
    ]
}

fn agreement() -> Vec<Case> {
    vec![
        told(
            "status-dates/not-before-is-the-leafs",
            |scene| {
                let mut status = scene.issued();
                status["notBefore"] = scene.date(-121).into();
                (status, scene.date(-121))
            },
            NOT_BEFORE,
            "must be set to the NotBefore time encoded in the leaf certificate",
        ),
        told(
            "status-dates/not-before-has-no-fraction",
            |scene| {
                let mut status = scene.issued();
                let date = scene.date(-120).replace('Z', ".5Z");
                status["notBefore"] = date.clone().into();
                (status, date)
            },
            NOT_BEFORE,
            "must be set to the NotBefore time encoded in the leaf certificate",
        ),
        told(
            "status-dates/not-after-is-the-leafs",
            |scene| {
                let mut status = scene.issued();
                status["notAfter"] = scene.date(86_281).into();
                (status, scene.date(86_281))
            },
            NOT_AFTER,
            "must be set to the NotAfter time encoded in the leaf certificate",
        ),
        told(
            "status-dates/not-after-has-no-fraction",
            |scene| {
                let mut status = scene.issued();
                let date = scene.date(86_280).replace('Z', ".001Z");
                status["notAfter"] = date.clone().into();
                (status, date)
            },
            NOT_AFTER,
            "must be set to the NotAfter time encoded in the leaf certificate",
        ),
        told(
            "status-dates/not-before-is-not-five-minutes-ago",
            |scene| (scene.issued_between(-300, 86_000), scene.date(-300)),
            NOT_BEFORE,
            NEAR,
        ),
        told(
            "status-dates/not-before-is-not-five-minutes-ahead",
            |scene| (scene.issued_between(320, 86_000), scene.date(320)),
            NOT_BEFORE,
            NEAR,
        ),
        told(
            "status-dates/not-before-is-not-an-hour-ago",
            |scene| (scene.issued_between(-3600, 80_000), scene.date(-3600)),
            NOT_BEFORE,
            NEAR,
        ),
        case(
            "status-dates/not-before-may-be-less-than-five-minutes-ago",
            |scene| async move {
                scene.put(scene.issued_between(-280, 80_000)).await.ok();
            },
        ),
        case(
            "status-dates/not-before-may-be-less-than-five-minutes-ahead",
            |scene| async move {
                scene.put(scene.issued_between(290, 80_000)).await.ok();
            },
        ),
        case("status-dates/zone-does-not-matter", |scene| async move {
            let mut status = scene.issued();
            let zoned = scene
                .after(-120)
                .to_zoned(jiff::tz::TimeZone::fixed(jiff::tz::offset(2)));
            status["notBefore"] = zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string().into();
            let after = scene.put(status).await.ok();
            assert_eq!(after["status"]["notBefore"], scene.date(-120));
        }),
        told(
            "status-dates/leaf-comes-before-the-clock",
            |scene| {
                let mut status = scene.issued();
                status["notBefore"] = scene.date(-7200).into();
                (status, scene.date(-7200))
            },
            NOT_BEFORE,
            "must be set to the NotBefore time encoded in the leaf certificate",
        ),
        told(
            "status-dates/not-before-is-told-before-not-after",
            |scene| {
                let mut status = scene.issued();
                status["notBefore"] = scene.date(0).into();
                status["notAfter"] = scene.date(0).into();
                (status, scene.date(0))
            },
            NOT_BEFORE,
            "must be set to the NotBefore time encoded in the leaf certificate",
        ),
        case(
            "status-dates/dates-come-before-further-certificates",
            |scene| async move {
                let mut status = scene.issued();
                status["notAfter"] = scene.date(0).into();
                let chain = status["certificateChain"].as_str().unwrap();
                status["certificateChain"] = format!("{chain}{}", scene.key.serialize_pem()).into();
                let why = "Invalid value: \"{}\": must be set to the NotAfter time encoded in the leaf certificate";
                invalid(&scene.put(status).await, &[(NOT_AFTER, why)]);
            },
        ),
    ]
}

fn lifetime() -> Vec<Case> {
    vec![
        case("status-lifetime/is-an-hour-at-least", |scene| async move {
            let answer = scene.put(scene.issued_between(0, 3599)).await;
            invalid(
                &answer,
                &[(
                    CHAIN,
                    "Invalid value: 3599000000000: leaf certificate lifetime must be >= 1 hour",
                )],
            );
        }),
        case("status-lifetime/is-not-negative", |scene| async move {
            let answer = scene.put(scene.issued_between(0, -60)).await;
            invalid(
                &answer,
                &[(
                    CHAIN,
                    "Invalid value: -60000000000: leaf certificate lifetime must be >= 1 hour",
                )],
            );
        }),
        case("status-lifetime/may-be-an-hour", |scene| async move {
            scene.put(scene.issued_between(0, 3600)).await.ok();
        }),
        case(
            "status-lifetime/is-the-default-day-at-most",
            |scene| async move {
                let answer = scene.put(scene.issued_between(0, 86_401)).await;
                invalid(
                    &answer,
                    &[(
                        CHAIN,
                        "Invalid value: 86401000000000: leaf certificate lifetime must be <= spec.maxExpirationSeconds (86400)",
                    )],
                );
            },
        ),
        case(
            "status-lifetime/may-be-the-default-day",
            |scene| async move {
                scene.put(scene.issued_between(0, 86_400)).await.ok();
            },
        ),
        Case::new(
            "status-lifetime/is-what-was-asked-at-most",
            |world: World| async move {
                let scene = Scene::begin_with(world, |object| {
                    object["spec"]["maxExpirationSeconds"] = 7200.into();
                })
                .await;
                let answer = scene.put(scene.issued_between(0, 7201)).await;
                invalid(
                    &answer,
                    &[(
                        CHAIN,
                        "Invalid value: 7201000000000: leaf certificate lifetime must be <= spec.maxExpirationSeconds (7200)",
                    )],
                );
                scene.put(scene.issued_between(0, 7200)).await.ok();
            },
        ),
        Case::new(
            "status-lifetime/may-be-91-days",
            |world: World| async move {
                let scene = Scene::begin_with(world, |object| {
                    object["spec"]["maxExpirationSeconds"] = 7_862_400.into();
                })
                .await;
                scene.put(scene.issued_between(0, 7_862_400)).await.ok();
            },
        ),
    ]
}

fn refresh() -> Vec<Case> {
    vec![
        told(
            "status-refresh/begins-ten-minutes-after-not-before",
            |scene| refreshed(scene, -120 + 599),
            REFRESH,
            "must be at least 10 minutes after status.notBefore",
        ),
        told(
            "status-refresh/begins-ten-minutes-before-not-after",
            |scene| refreshed(scene, 86_280 - 599),
            REFRESH,
            "must be at least 10 minutes before status.notAfter",
        ),
        told(
            "status-refresh/does-not-begin-before-not-before",
            |scene| refreshed(scene, -3600),
            REFRESH,
            "must be at least 10 minutes after status.notBefore",
        ),
        told(
            "status-refresh/does-not-begin-after-not-after",
            |scene| refreshed(scene, 100_000),
            REFRESH,
            "must be at least 10 minutes before status.notAfter",
        ),
        told(
            "status-refresh/bound-counts-fractions",
            |scene| {
                let mut status = scene.issued();
                let date = scene.date(86_280 - 600).replace('Z', ".5Z");
                status["beginRefreshAt"] = date.clone().into();
                (status, date)
            },
            REFRESH,
            "must be at least 10 minutes before status.notAfter",
        ),
        accepted(
            "status-refresh/may-begin-ten-minutes-after-not-before",
            |scene, status| {
                status["beginRefreshAt"] = scene.date(-120 + 600).into();
            },
        ),
        accepted(
            "status-refresh/may-begin-ten-minutes-before-not-after",
            |scene, status| {
                status["beginRefreshAt"] = scene.date(86_280 - 600).into();
            },
        ),
        case("status-refresh/is-cut-to-seconds", |scene| async move {
            let mut status = scene.issued();
            status["beginRefreshAt"] = scene.date(40_000).replace('Z', ".9Z").into();
            let after = scene.put(status).await.ok();
            assert_eq!(after["status"]["beginRefreshAt"], scene.date(40_000));
        }),
    ]
}

/// A proper status but for when to refresh, and that as a date.
fn refreshed(scene: &Scene, seconds: i64) -> (Value, String) {
    let mut status = scene.issued();
    let date = scene.date(seconds);
    status["beginRefreshAt"] = date.clone().into();
    (status, date)
}

/// A case: a status is refused for the one date that comes with it.
fn told(
    name: &'static str,
    make: fn(&Scene) -> (Value, String),
    field: &'static str,
    why: &'static str,
) -> Case {
    case(name, move |scene| async move {
        let (status, date) = make(&scene);
        let answer = scene.put(status).await;
        let causes: &[Cause] = &[(field, "Invalid value: {}")];
        invalid(&answer, causes);
        assert_eq!(
            answer.body["details"]["causes"][0]["message"],
            format!("Invalid value: {date:?}: {why}")
        );
    })
}

const NOT_BEFORE: &str = "status.notBefore";
const NOT_AFTER: &str = "status.notAfter";
const REFRESH: &str = "status.beginRefreshAt";
const CONSISTENT: &str =
    "Required value: must be present and consistent with the issued certificate";
const IN_RANGE: &str =
    "Required value: must be present and in the range [notbefore+10min, notafter-10min]";
const NEAR: &str = "must be set to within 5 minutes of kube-apiserver's current time";
