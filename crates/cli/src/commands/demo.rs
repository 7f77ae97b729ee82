//! `podcert demo`: the whole of podcert on this machine, in under a minute, told line by line.
//!
//! It starts a sandbox, makes two CA pools, runs `podcert controller` as a process of its own
//! against the sandbox's API, applies the example applications, lets them talk, restarts the
//! sandbox's kubelet so that every key and certificate is made anew while the clients keep
//! calling, and sums up. Nothing here is special-cased: the same commands, manifests and API as on
//! a cluster. [`crate::commands::stage`] holds what stands on the stage; [`requests`], [`clients`] and
//! [`cluster`] watch what happens on it; [`story`] prints it, or [`screen`] shows it live in a
//! terminal; [`summary`] sums up.

mod board;
mod clients;
mod cluster;
mod requests;
mod screen;
mod story;
mod summary;

use std::io::IsTerminal as _;
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use podcert_runtime::{ScaledClock, SharedClock};
use podcert_sandbox::{Images, Sandbox, Stream};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use self::clients::Clients;
use self::cluster::Cluster;
use self::requests::Requests;
use self::screen::Screen;
use self::story::Story;
use self::summary::Summary;
use crate::commands::INTERRUPTED;
use crate::commands::sandbox::Kept;
use crate::commands::stage::{self, Controller, Examples, controller_calls};
use crate::output::{Diverted, Format};

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

    /// Let the clock run so many times faster, so that certificates age while you watch
    #[arg(long, default_value = "1", value_name = "FACTOR", value_parser = crate::commands::sandbox::speed)]
    speed: NonZeroU32,

    /// Leave the sandbox running at the end, as `podcert sandbox up --name demo` would, until Ctrl-C
    #[arg(long)]
    keep: bool,

    /// Print lines in a terminal too, instead of the live screen
    #[arg(long)]
    plain: bool,

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
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let examples = Examples::load(Some(args.interval))?;
    let images = examples.images().fold(Images::new(), |images, image| {
        images.with(image, program.clone())
    });
    let (mut options, scaled) = stage::options(clock, args.speed, images);
    let clock = options.clock.clone();
    // Taken before anything is started: somebody may keep one already.
    let kept = args.keep.then(Kept::claim).transpose()?;
    if let Some(kept) = &kept {
        options.state_parent = Some(kept.folder().to_owned());
    }
    let story = Arc::new(Story::new(args.output));
    let live = args.output == Format::Text && !args.plain && is_screen();
    if !live {
        story.title(
            "podcert demo: pods, certificates and trust on this machine; no cluster, no root",
        );
    }
    let sandbox = Sandbox::start(options).await?;

    let show = Show {
        sandbox: &sandbox,
        examples: &examples,
        clock: &clock,
        scaled: scaled.as_ref(),
        story: &story,
    };
    let shown = show.run(live, args.output, kept.as_ref(), &shutdown).await;
    // Whatever happened above, everything that was started ends here.
    let ended = sandbox
        .shutdown()
        .await
        .context("the sandbox left something behind");
    drop(kept);
    let good = shown?;
    ended?;
    Ok(match good {
        Some(true) => ExitCode::SUCCESS,
        Some(false) => ExitCode::FAILURE,
        None => {
            story.line("stopped", "every process has ended, every file is gone");
            ExitCode::from(INTERRUPTED)
        }
    })
}

/// Whether standard output is a terminal that can show more than lines.
fn is_screen() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// What the acts need.
#[derive(Clone, Copy)]
struct Show<'a> {
    sandbox: &'a Sandbox,
    examples: &'a Examples,
    clock: &'a SharedClock,
    scaled: Option<&'a ScaledClock>,
    story: &'a Arc<Story>,
}

impl Show<'_> {
    /// Plays, sums up and, if the sandbox is kept, waits; answers whether all went well, or nothing
    /// if it was ended early.
    async fn run(
        self,
        live: bool,
        format: Format,
        kept: Option<&Kept>,
        shutdown: &CancellationToken,
    ) -> Result<Option<bool>> {
        let played = if live {
            self.play_live(shutdown).await?
        } else {
            self.play_until(shutdown).await?
        };
        let Some((summary, mut controller)) = played else {
            return Ok(None);
        };
        summary.print(self.story, format)?;
        if let Some(kept) = kept {
            kept.stay(self.sandbox, self.scaled, &mut controller, shutdown)
                .await?;
        }
        controller.stop().await?;
        Ok(Some(summary.is_success()))
    }

    /// Plays on the live screen.
    async fn play_live(
        self,
        shutdown: &CancellationToken,
    ) -> Result<Option<(Summary, Controller)>> {
        let stop = shutdown.child_token();
        let board = self.story.board().clone();
        let screen = Screen::open(board, self.clock.clone(), stop.clone())?;
        let logs = Diverted::to({
            let story = self.story.clone();
            move |line| story.line("log", line)
        });
        self.story.set_live(true);
        let played = self.play_until(&stop).await;
        self.story.set_live(false);
        drop(logs);
        screen.close().await?;
        played
    }

    /// Plays; nothing if `stop` ended it.
    async fn play_until(self, stop: &CancellationToken) -> Result<Option<(Summary, Controller)>> {
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(None),
            played = self.play() => played.map(Some),
        }
    }

    /// The acts, one after the other. Cancel safe: what it starts ends when it is dropped.
    async fn play(self) -> Result<(Summary, Controller)> {
        let Self {
            sandbox,
            examples,
            clock,
            scaled,
            story,
        } = self;
        story.act("an API server, a kubelet, a signing controller");
        if let Some(address) = sandbox.address() {
            story.line(
                "sandbox",
                &format!("Kubernetes API on https://{address}, for this demo alone"),
            );
        }
        let requests = Requests::watch(sandbox.admin(), story.clone());
        let clients = Clients::listen(sandbox.logs(), story.clone());
        let _cluster = Cluster::watch(&sandbox.admin(), story);

        let tell = |who: &str, what: &str| story.line(who, what);
        let mut controller = Controller::start(sandbox, clock, scaled, &tell, |_line| {}).await?;

        story.act("each pod gets its first certificate");
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
            story.act("everybody talks");
            sleep(PAUSE).await;
            story.act("the kubelet restarts: each key and certificate anew");
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
                story.act("everybody talks over new certificates");
                sleep(PAUSE).await;
            }
        }
        let stats = controller_calls(sandbox);
        if !problems.is_empty() {
            problems.extend(last_errors(sandbox));
        }
        controller.check()?;
        let summary = Summary::new(
            story,
            &requests,
            &clients,
            &sandbox.report(),
            stats,
            problems,
        );
        Ok((summary, controller))
    }
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
