//! Makes the schemas of all types served out of k8s-openapi's, for tests and for the file that the
//! server reads:
//!
//! ```text
//! PODCERT_WRITE_SCHEMAS=1 cargo test -p podcert-apiserver schema
//! ```

use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use k8s_openapi::api::{
    apps, authentication, authorization, autoscaling, certificates, coordination, core, events,
    rbac,
};
use k8s_openapi::apimachinery::pkg::apis::meta;
use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value};

/// What the file is to hold.
fn generate() -> Map<String, Value> {
    let mut settings = SchemaSettings::openapi3();
    // Siblings of references are kept here and wrapped when read, as Kubernetes has them.
    settings.transforms.clear();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    for add in SERVED {
        add(&mut generator);
    }
    generator.take_definitions(false)
}

#[test]
fn the_definitions_are_those_of_the_types() {
    let generated = generate();
    if std::env::var_os("PODCERT_WRITE_SCHEMAS").is_some() {
        write(&generated);
        return;
    }
    let read = super::definitions();
    let names = |definitions: &Map<String, Value>| definitions.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&read), names(&generated), "{STALE}");
    for (name, schema) in &generated {
        assert_eq!(read.get(name), Some(schema), "{name}: {STALE}");
    }
}

fn write(definitions: &Map<String, Value>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/schema/definitions.json.gz");
    let file = std::fs::File::create(path).unwrap();
    let mut encoder = GzEncoder::new(file, Compression::best());
    serde_json::to_writer(&mut encoder, definitions).unwrap();
    encoder.finish().unwrap();
}

const STALE: &str = "run it again with PODCERT_WRITE_SCHEMAS=1";

/// Every type that is served or that requests are made of.
const SERVED: &[fn(&mut SchemaGenerator)] = &[
    add::<apps::v1::DaemonSet>,
    add::<apps::v1::Deployment>,
    add::<apps::v1::ReplicaSet>,
    add::<authentication::v1::SelfSubjectReview>,
    add::<authentication::v1::TokenRequest>,
    add::<authentication::v1::TokenReview>,
    add::<authorization::v1::SelfSubjectAccessReview>,
    add::<authorization::v1::SelfSubjectRulesReview>,
    add::<authorization::v1::SubjectAccessReview>,
    add::<autoscaling::v1::Scale>,
    add::<certificates::v1::ClusterTrustBundle>,
    add::<certificates::v1::PodCertificateRequest>,
    add::<certificates::v1beta1::ClusterTrustBundle>,
    add::<certificates::v1beta1::PodCertificateRequest>,
    add::<coordination::v1::Lease>,
    add::<core::v1::Binding>,
    add::<core::v1::ConfigMap>,
    add::<core::v1::Event>,
    add::<core::v1::Namespace>,
    add::<core::v1::Node>,
    add::<core::v1::Pod>,
    add::<core::v1::Secret>,
    add::<core::v1::Service>,
    add::<core::v1::ServiceAccount>,
    add::<events::v1::Event>,
    add::<meta::v1::DeleteOptions>,
    add::<rbac::v1::ClusterRole>,
    add::<rbac::v1::ClusterRoleBinding>,
    add::<rbac::v1::Role>,
    add::<rbac::v1::RoleBinding>,
];

fn add<T: JsonSchema>(generator: &mut SchemaGenerator) {
    generator.subschema_for::<T>();
}
