//! `podcert demo`: the whole of podcert on this machine, in under a minute, told line by line.
//!
//! It starts a sandbox, makes two CA pools, runs `podcert controller` as a process of its own
//! against the sandbox's API, applies the example applications, lets them talk, restarts the
//! sandbox's kubelet so that every key and certificate is made anew while the clients keep
//! calling, and sums up. Nothing here is special-cased: the same commands, manifests and API as on
//! a cluster. [`crate::commands::stage`] holds what stands on the stage, [`requests`] and [`clients`] watch what happens on it,
//! [`story`] prints.

mod clients;
mod requests;
mod story;
mod summary;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use podcert_runtime::SharedClock;
use podcert_sandbox::{Images, Options, Sandbox, Stream};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use self::clients::Clients;
use self::requests::Requests;
use self::story::Story;
use self::summary::Summary;
use crate::commands::stage::{Controller, Examples, controller_calls};
use crate::output::Format;

/// Watch pods get certificates and talk over them: no cluster, no root.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Watch pods get certificates and talk to each other over them, on this machine, \
        without a cluster, Docker or root.\n\n\
        Starts an embedded Kubernetes API, a kubelet that plays certificate projections, the \
        podcert controller, and two example applications as processes: a TLS client with its \
        server, and SPIFFE clients with servers that verify them. Then the kubelet is restarted, \
        which replaces every key and certificate, while the clients keep calling. Ends by itself \
        in under a minute; Ctrl-C at any point leaves nothing behind.",
    after_long_help = "EXIT CODES\n  0  every client talked all the way through\n  \
        1  something failed; the summary says what\n  2  wrong usage\n  130  stopped by Ctrl-C"
)]
pub(crate) struct Args {
    /// How often each client calls, such as 500ms (the examples say every 10 s, too slow to watch)
    #[arg(long, default_value = "500ms", value_name = "DURATION")]
    interval: jiff::SignedDuration,

    /// Print the summary in this format; with json or yaml the story goes to standard error
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
}

/// Runs the demo to its end, or until `shutdown`.
///
/// # Errors
/// When the stage cannot be built. What fails on it is in the summary and the exit code.
pub(crate) async fn run(
    args: Args,
    clock: SharedClock,
    shutdown: CancellationToken,
) -> Result<ExitCode> {
    let story = Arc::new(Story::new(args.output));
    story.title("podcert demo: pods, certificates and trust on this machine; no cluster, no root");

    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let examples = Examples::load(Some(args.interval))?;
    let images = examples.images().fold(Images::new(), |images, image| {
        images.with(image, program.clone())
    });
    let sandbox = Sandbox::start(Options::new(clock.clone(), images)).await?;

    let played = tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(None),
        played = play(&sandbox, &examples, &clock, &story) => played.map(Some),
    };
    // Whatever happened above, everything that was started ends here.
    let ended = sandbox
        .shutdown()
        .await
        .context("the sandbox left something behind");
    let Some(summary) = played? else {
        ended?;
        story.line("stopped", "every process has ended, every file is gone");
        return Ok(ExitCode::from(INTERRUPTED));
    };
    ended?;
    summary.print(&story, args.output)?;
    Ok(if summary.is_success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The acts, one after the other. Cancel safe: what it starts ends when it is dropped.
async fn play(
    sandbox: &Sandbox,
    examples: &Examples,
    clock: &SharedClock,
    story: &Arc<Story>,
) -> Result<Summary> {
    if let Some(address) = sandbox.address() {
        story.line(
            "sandbox",
            &format!("Kubernetes API on https://{address}, for this demo alone"),
        );
    }
    let requests = Requests::watch(sandbox.admin(), story.clone());
    let clients = Clients::listen(sandbox.logs(), story.clone());

    let tell = |who: &str, what: &str| story.line(who, what);
    let mut controller = Controller::start(sandbox, clock, None, &tell, |_line| {}).await?;

    for manifest in examples.manifests() {
        story.line("apply", &manifest.to_string());
        sandbox
            .apply(manifest.yaml())
            .await
            .with_context(|| format!("applying {manifest}"))?;
    }
    let goal = Goal {
        certificates: examples.credentials(),
        clients: examples.clients(),
    };
    let mut problems = Vec::new();

    let settled = || requests.issued() >= goal.certificates && clients.settled(goal.clients);
    if !reached(settled, &mut controller).await? {
        problems.push(goal.unmet("at the start", &requests, &clients));
    } else {
        sleep(PAUSE).await;
        story.line(
            "kubelet",
            "restarted: it knows no key, so each one and its certificate are made anew",
        );
        let first = requests.issued();
        clients.new_chapter();
        sandbox.restart_kubelet().await;
        let renewed =
            || requests.issued() >= first + goal.certificates && clients.settled(goal.clients);
        if !reached(renewed, &mut controller).await? {
            problems.push(goal.unmet("after the kubelet restart", &requests, &clients));
        } else {
            sleep(PAUSE).await;
        }
    }
    let stats = controller_calls(sandbox);
    if !problems.is_empty() {
        problems.extend(last_errors(sandbox));
    }
    controller.stop().await?;
    Ok(Summary::new(
        story,
        &requests,
        &clients,
        &sandbox.report(),
        stats,
        problems,
    ))
}

/// What the pods' programs complained of last.
fn last_errors(sandbox: &Sandbox) -> impl Iterator<Item = String> {
    let lines = sandbox.logs().lines().into_iter().rev();
    let errors = lines
        .filter(|line| line.stream == Stream::Stderr)
        .take(COMPLAINTS);
    errors.map(|line| format!("{}/{} said: {}", line.namespace, line.pod, line.text))
}

/// What the examples need to be well.
#[derive(Clone, Copy, Debug)]
struct Goal {
    certificates: usize,
    clients: usize,
}

impl Goal {
    fn unmet(self, when: &str, requests: &Requests, clients: &Clients) -> String {
        format!(
            "{when}, after {} s: {} requests answered (each of the {} projections needs one), \
             {} of {} clients have talked over the newest certificates",
            ACT.as_secs(),
            requests.issued(),
            self.certificates,
            clients.count_current(),
            self.clients,
        )
    }
}

/// Whether `condition` came true before the act's time was over.
async fn reached(condition: impl Fn() -> bool, controller: &mut Controller) -> Result<bool> {
    let end = Instant::now() + ACT;
    let wait = async {
        while !condition() {
            controller.check()?;
            sleep(LOOK).await;
        }
        Ok(true)
    };
    timeout_at(end, wait).await.unwrap_or(Ok(false))
}

/// How long each half may take at the most: with the start and the pauses under a minute.
const ACT: Duration = Duration::from_secs(20);
/// Time to watch the clients before the next thing happens.
const PAUSE: Duration = Duration::from_secs(3);
const COMPLAINTS: usize = 10;
const LOOK: Duration = Duration::from_millis(50);
/// What a shell answers for a program ended by SIGINT.
const INTERRUPTED: u8 = 130;
