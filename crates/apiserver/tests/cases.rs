//! The behaviour cases that the real kube-apiservers pass, on this server: each a test of its own
//! with a server of its own, in virtual time. The server plays 1.37, so what holds for 1.37 must
//! hold here.

use std::process::ExitCode;
use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;
use libtest_mimic::{Arguments, Trial};
use podcert_apiserver::{ApiServer, Versions};
use podcert_cases::{ApiVersion, Case, Policies, Release, Server, Target, User, World};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for api in [ApiVersion::V1, ApiVersion::V1beta1] {
        let target = Target {
            release: Release::V1_37,
            api,
            policies: Policies::Unknown,
        };
        for case in podcert_cases::all() {
            if case.holds_for(target) {
                let name = format!("{}/{}", api.as_str(), case.name);
                trials.push(Trial::test(name, move || {
                    run(&case, target);
                    Ok(())
                }));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn run(case: &Case, target: Target) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let server = Arc::new(Embedded::new(target.api));
        let world = World::create(server, target, "case".into()).await;
        case.run(world).await;
    });
}

#[derive(Debug)]
struct Embedded {
    api: ApiServer,
    begin: tokio::time::Instant,
}

impl Embedded {
    fn new(api: ApiVersion) -> Self {
        let begin = tokio::time::Instant::now();
        Self {
            api: ApiServer::builder()
                .rbac()
                .seed(1)
                .certificates(match api {
                    ApiVersion::V1 => Versions::V1,
                    ApiVersion::V1beta1 => Versions::Both,
                })
                .clock(Arc::new(move || now(begin)))
                .build(),
            begin,
        }
    }
}

fn now(begin: tokio::time::Instant) -> Timestamp {
    let start: Timestamp = "2026-11-21T12:00:00Z".parse().expect("a date");
    start + (tokio::time::Instant::now() - begin)
}

#[async_trait::async_trait]
impl Server for Embedded {
    fn client(&self, user: &User) -> Client {
        let mut embedded = podcert_apiserver::User::new(&user.name);
        if user.groups.iter().any(|group| group == UNAUTHENTICATED) {
            embedded.groups.clear();
        }
        embedded.groups.splice(0..0, user.groups.iter().cloned());
        Client::new(self.api.as_user(embedded), "default")
    }

    fn now(&self) -> Timestamp {
        now(self.begin)
    }

    async fn compact(&self) {
        self.api.faults().compact();
    }
}

const UNAUTHENTICATED: &str = "system:unauthenticated";
