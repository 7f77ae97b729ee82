//! `podcert sandbox` as its users run it: started, asked, used, killed, ended.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// A machine of its own: sandboxes of other tests and of the developer are not seen.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        // Short: UNIX sockets lie below it.
        Self(tempfile::tempdir_in("/tmp").unwrap())
    }

    fn podcert(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_podcert"));
        command
            .args(arguments)
            .env_clear()
            .env("XDG_RUNTIME_DIR", self.0.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.podcert(arguments).output().unwrap()
    }

    /// What a command that must succeed prints as JSON.
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--output=json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The files that are left.
    fn files(&self) -> Vec<String> {
        let folder = self.0.path().join("podcert");
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for name in ["default", "other"] {
            // A test that failed half-way leaves nothing behind either.
            let _ = self.run(&["sandbox", "down", "--name", name]);
        }
    }
}

fn text(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8(both).unwrap()
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_sandbox_stays_runs_an_example_and_ends() {
    let home = Home::new();
    let nothing = home.run(&["sandbox", "status"]);
    assert_eq!(nothing.status.code(), Some(3), "{}", text(&nothing));
    let early = home.run(&["sandbox", "run", "service-dns-unauth-client"]);
    assert_eq!(early.status.code(), Some(1));
    assert!(
        text(&early).contains("podcert sandbox up"),
        "{}",
        text(&early)
    );

    let up = home.json(&["sandbox", "up", "--nodes=2"]);
    assert_eq!(up["nodes"].as_array().unwrap().len(), 2);
    let kubeconfig = Path::new(up["kubeconfig"].as_str().unwrap());
    assert_eq!(mode(kubeconfig), 0o600);
    assert_eq!(mode(Path::new(up["stateDir"].as_str().unwrap())), 0o700);
    assert_eq!(mode(&home.0.path().join("podcert")), 0o700);
    assert_eq!(mode(Path::new(up["log"].as_str().unwrap())), 0o600);

    let again = home.run(&["sandbox", "up"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        text(&again).contains("is running or starting already"),
        "{}",
        text(&again)
    );

    let env = home.run(&["sandbox", "env"]);
    let expected = format!(
        "export KUBECONFIG='{}'; unset PODCERT_CLOCK\n",
        kubeconfig.display()
    );
    assert_eq!(text(&env), expected);

    let pods = home.json(&["sandbox", "run", "service-dns-unauth-client"]);
    let pods = pods.as_array().unwrap();
    assert_eq!(pods.len(), 2);
    assert!(pods.iter().all(|pod| pod["ready"] == true), "{pods:?}");
    let status = home.json(&["sandbox", "status"]);
    assert_eq!(status["state"], "running");
    assert_eq!(status["requestsIssued"], 1, "{status}");
    assert_eq!(status["podsRunning"], 2, "{status}");
    assert_eq!(status["trustBundles"], 3, "{status}");

    // One beside it, with no signer: an API server and a kubelet.
    home.json(&["sandbox", "up", "--name=other", "--without-controller"]);
    let status = home.json(&["sandbox", "status", "--name=other"]);
    assert_eq!(status["trustBundles"], 0, "{status}");
    assert_eq!(status["others"][0], "default");

    for name in ["other", "default"] {
        let down = home.run(&["sandbox", "down", "--name", name]);
        assert_eq!(down.status.code(), Some(0), "{}", text(&down));
    }
    assert_eq!(home.files(), ["default.log", "other.log"]);
    let down = home.run(&["sandbox", "down"]);
    assert_eq!(down.status.code(), Some(0), "{}", text(&down));
}

#[test]
fn a_killed_sandbox_is_known_to_be_dead_and_swept() {
    let home = Home::new();
    let up = home.json(&["sandbox", "up", "--without-controller"]);
    let pid = up["pid"].as_u64().unwrap().to_string();
    let state = Path::new(up["stateDir"].as_str().unwrap()).to_owned();
    assert!(
        Command::new("kill")
            .args(["-9", &pid])
            .status()
            .unwrap()
            .success()
    );
    let mut status = home.run(&["sandbox", "status"]);
    for _ in 0..100 {
        if status.status.code() == Some(3) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
        status = home.run(&["sandbox", "status"]);
    }
    assert_eq!(status.status.code(), Some(3), "{}", text(&status));
    assert!(state.exists(), "who is killed takes nothing away");
    home.json(&["sandbox", "up", "--without-controller"]);
    assert!(!state.exists(), "the next one does");
}

#[test]
fn what_cannot_start_says_why() {
    let home = Home::new();
    let plan = home.0.path().join("plan.yaml");
    std::fs::write(&plan, "faults:\n- conflict: true\n  every: 0\n").unwrap();
    let plan = plan.to_str().unwrap();
    for (arguments, code, expected) in [
        (&["--faults", plan][..], 1, "fault 1: every 0 hits nothing"),
        (
            &["--faults", "/nowhere.yaml"],
            1,
            "cannot read /nowhere.yaml",
        ),
        (
            &["--image", "x=/etc/passwd"],
            1,
            "/etc/passwd is no program",
        ),
        (&["--image", "nginx"], 2, "NAME=PROGRAM"),
        (&["--speed", "0"], 2, "from 1 to 1000"),
        (&["--speed", "1001"], 2, "from 1 to 1000"),
        (&["--nodes", "0"], 2, "--nodes"),
        (&["--name", "A b"], 2, "lower-case letters"),
    ] {
        let output = home.run(&[&["sandbox", "up"], arguments].concat());
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        assert!(
            text(&output).contains(expected),
            "{expected}: {}",
            text(&output)
        );
        assert!(!text(&output).contains("panicked"), "{}", text(&output));
    }
    let unknown = home.run(&["sandbox", "run", "nothing"]);
    assert!(
        text(&unknown).contains("service-dns-spiffe-client"),
        "{}",
        text(&unknown)
    );
    // A folder that others can enter is no place for keys.
    use std::os::unix::fs::PermissionsExt as _;
    let folder = home.0.path().join("podcert");
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let refused = home.run(&["sandbox", "up"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused).contains("must be ours with mode 700"),
        "{}",
        text(&refused)
    );
    assert_eq!(home.files(), ["default.log"]);
}

#[test]
fn faults_and_a_faster_clock_are_played() {
    let home = Home::new();
    let plan = home.0.path().join("plan.yaml");
    std::fs::write(
        &plan,
        "faults:\n- name: first writes fail\n  match: {verb: update, resource: podcertificaterequests/status}\n  \
         next: 2\n  error: {code: 503, reason: ServiceUnavailable}\n",
    )
    .unwrap();
    let up = home.json(&[
        "sandbox",
        "up",
        "--speed=60",
        "--faults",
        plan.to_str().unwrap(),
    ]);
    assert_eq!(up["speed"], 60);
    let pods = home.json(&["sandbox", "run", "service-dns-unauth-client"]);
    assert!(
        pods.as_array()
            .unwrap()
            .iter()
            .all(|pod| pod["ready"] == true),
        "{pods}"
    );
    let log = std::fs::read_to_string(up["log"].as_str().unwrap()).unwrap();
    assert!(log.contains("first writes fail"), "{log}");
    let status = home.json(&["sandbox", "status"]);
    assert_eq!(status["requestsIssued"], 1, "{status}");

    // A shell that has this clock makes no CA for another cluster, whose dates would be wrong.
    let clock = up["clock"].as_str().unwrap();
    let make = |kubeconfig: &str| {
        home.podcert(&[
            "make-ca-pool-secret",
            "--ca-id=1",
            "--namespace=a",
            "--name=b",
        ])
        .args(["--dry-run", "--kubeconfig", kubeconfig])
        .env("PODCERT_CLOCK", clock)
        .output()
        .unwrap()
    };
    let elsewhere = make("/home/ann/.kube/config");
    assert_eq!(elsewhere.status.code(), Some(1), "{}", text(&elsewhere));
    assert!(text(&elsewhere).contains("unset PODCERT_CLOCK"));
    let here = make(up["kubeconfig"].as_str().unwrap());
    assert_eq!(here.status.code(), Some(0), "{}", text(&here));
}

/// The session of a process, and its terminal (0: none), as proc_pid_stat(5) has them.
fn session_and_terminal(pid: &str) -> (String, String) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after = stat.rsplit_once(')').unwrap().1.to_owned();
    let mut fields = after.split_whitespace().skip(3).map(str::to_owned);
    (fields.next().unwrap(), fields.next().unwrap())
}

#[test]
fn a_sandbox_leaves_the_session_it_was_started_in() {
    let home = Home::new();
    let up = home.json(&["sandbox", "up", "--without-controller"]);
    let pid = up["pid"].as_u64().unwrap().to_string();
    assert_eq!(session_and_terminal(&pid), (pid, "0".to_owned()));
}

#[test]
fn a_sandbox_that_runs_keeps_its_log_when_another_wants_its_name() {
    let home = Home::new();
    let up = home.json(&["sandbox", "up", "--without-controller"]);
    let log = Path::new(up["log"].as_str().unwrap());
    std::fs::write(log, "said so far\n").unwrap();
    // Past the look that `up` takes first, as two at the same moment are.
    let beside = home.0.path().join("beside");
    std::fs::write(&beside, "").unwrap();
    let late = home
        .podcert(&["sandbox", "up", "--foreground", "--announce"])
        .arg(&beside)
        .output()
        .unwrap();
    assert_eq!(late.status.code(), Some(1), "{}", text(&late));
    assert_eq!(std::fs::read_to_string(log).unwrap(), "said so far\n");
    assert!(beside.exists(), "it took the log before the name");
}
