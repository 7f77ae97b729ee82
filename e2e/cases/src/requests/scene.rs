//! A created request whose status is about to be written.

use jiff::{SignedDuration, Timestamp};
use rcgen::KeyPair;
use serde_json::{Value, json};

use super::{Cause, invalid};
use crate::material::{Ca, KeyType, ca, date, key, leaf, request};
use crate::{Answer, Case, World};

/// A created request, its key, and a CA that answers it.
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) created: Value,
    pub(super) key: KeyPair,
    pub(super) ca: Ca,
    /// The server's time when the scene began, in whole seconds.
    pub(super) begin: Timestamp,
}

impl Scene {
    pub(super) async fn begin(world: World) -> Self {
        Self::begin_with_key(world, key(KeyType::P256)).await
    }

    /// A scene whose request is a changed one.
    pub(super) async fn begin_with(world: World, change: fn(&mut Value)) -> Self {
        let key = key(KeyType::P256);
        Self::begin_with_key_form(world, key, |object, _| change(object)).await
    }

    /// A scene whose request is for this key.
    pub(super) async fn begin_with_key(world: World, key: KeyPair) -> Self {
        Self::begin_with_key_form(world, key, |_, _| {}).await
    }

    /// A scene whose request is for this key and changed so.
    pub(super) async fn begin_with_key_form(
        world: World,
        key: KeyPair,
        change: impl Fn(&mut Value, &KeyPair) + Send,
    ) -> Self {
        let mut object = request(&world, "a", &key);
        change(&mut object, &key);
        let created = world
            .admin()
            .post(&world.requests(), &object)
            .await
            .created();
        let begin = Timestamp::from_second(world.now().as_second()).expect("a date of today");
        Self {
            world,
            created,
            key,
            ca: ca("root"),
            begin,
        }
    }

    /// The path of the request's status.
    pub(super) fn path(&self) -> String {
        format!("{}/a/status", self.world.requests())
    }

    /// The path of the request.
    pub(super) fn object_path(&self) -> String {
        format!("{}/a", self.world.requests())
    }

    /// So many seconds after the beginning.
    pub(super) fn after(&self, seconds: i64) -> Timestamp {
        self.begin + SignedDuration::from_secs(seconds)
    }

    /// That as the API shows it.
    pub(super) fn date(&self, seconds: i64) -> String {
        date(self.after(seconds))
    }

    /// A condition of this type that is true.
    pub(super) fn condition(&self, kind: &str) -> Value {
        json!({
            "type": kind, "status": "True", "reason": "Because", "message": "so it is",
            "lastTransitionTime": self.date(0),
        })
    }

    /// The status of a certificate valid for a day from two minutes ago.
    pub(super) fn issued(&self) -> Value {
        self.issued_between(-120, 86_400 - 120)
    }

    /// The status of a certificate valid from and until so many seconds after the beginning.
    pub(super) fn issued_between(&self, from: i64, until: i64) -> Value {
        json!({
            "conditions": [self.condition("Issued")],
            "certificateChain": self.leaf(&self.key, from, until, &["web.ns.svc"]),
            "notBefore": self.date(from),
            "beginRefreshAt": self.date(i64::midpoint(from, until)),
            "notAfter": self.date(until),
        })
    }

    /// A leaf for `key` as [`Scene::issued`] dates it, with these SANs.
    pub(super) fn leaf_for(&self, key: &KeyPair, sans: &[&str]) -> String {
        self.leaf(key, -120, 86_400 - 120, sans)
    }

    fn leaf(&self, key: &KeyPair, from: i64, until: i64, sans: &[&str]) -> String {
        leaf(&self.ca, key, self.after(from), self.after(until), sans)
    }

    /// What a signer sends: no spec, and of the metadata only what names the object and its state.
    pub(super) fn body(&self, status: &Value) -> Value {
        let metadata = &self.created["metadata"];
        json!({
            "apiVersion": self.world.certificates_api(),
            "kind": "PodCertificateRequest",
            "metadata": {
                "name": metadata["name"], "namespace": metadata["namespace"],
                "uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"],
            },
            "status": status,
        })
    }

    /// PUTs a status.
    pub(super) async fn put(&self, status: Value) -> Answer {
        self.world
            .admin()
            .put(&self.path(), &self.body(&status))
            .await
    }

    /// PUTs a status that must be taken; the object becomes the scene's.
    pub(super) async fn write(&mut self, status: Value) {
        self.created = self.put(status).await.ok();
    }

    /// The object as it is now.
    pub(super) async fn read(&self) -> Value {
        self.world.admin().get(&self.object_path()).await.ok()
    }
}

/// A case about a created request.
pub(super) fn case<F, R>(name: &'static str, run: F) -> Case
where
    F: Fn(Scene) -> R + Send + Sync + Copy + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    Case::new(name, move |world: World| async move {
        run(Scene::begin(world).await).await;
    })
}

/// A case: the status of an issued certificate, changed, is refused with exactly these causes.
pub(super) fn refused(
    name: &'static str,
    change: fn(&Scene, &mut Value),
    causes: &'static [Cause],
) -> Case {
    Case::new(name, move |world: World| async move {
        let scene = Scene::begin(world).await;
        let mut status = scene.issued();
        change(&scene, &mut status);
        invalid(&scene.put(status).await, causes);
        assert_eq!(
            scene.read().await,
            scene.created,
            "a refusal changes nothing"
        );
    })
}

/// A case: the status of an issued certificate, changed, is stored as it is.
pub(super) fn accepted(name: &'static str, change: fn(&Scene, &mut Value)) -> Case {
    Case::new(name, move |world: World| async move {
        let scene = Scene::begin(world).await;
        let mut status = scene.issued();
        change(&scene, &mut status);
        let after = scene.put(status.clone()).await.ok();
        assert_eq!(after["status"], status);
        assert_eq!(scene.read().await, after);
    })
}
