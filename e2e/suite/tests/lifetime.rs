//! What `cluster up` starts ends with it, however it ends.
//!
//! The program is the real one; Go and what it builds are stand-ins: shell scripts that say what a
//! test wants and then sleep for a number of seconds that no other test uses, by which they are
//! found among all processes.
#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A machine of its own: cache, state, and the programs on the PATH.
struct Machine {
    folder: TempDir,
    nap: String,
}

impl Machine {
    /// With a Go of this release that builds programs that print a line and do this.
    fn new(release: &str, programs_do: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let machine = Self {
            folder: tempfile::tempdir().unwrap(),
            nap: format!("600.{}{number:03}", std::process::id()),
        };
        let program = programs_do.replace("NAP", &machine.nap);
        machine.put_go(&format!(
            "#!/bin/sh
if [ \"$1\" = env ]; then
  echo '{{\"GOVERSION\": \"{release}\", \"GOOS\": \"linux\", \"GOARCH\": \"amd64\"}}'
  exit
fi
while [ \"$1\" != -o ]; do shift; done
printf '#!/bin/sh\\n%s\\n' '{program}' > \"$2\"
chmod +x \"$2\"
"
        ));
        machine
    }

    fn put_go(&self, script: &str) {
        let go = self.path("bin").join("go");
        fs::create_dir_all(self.path("bin")).unwrap();
        fs::write(&go, script.replace("NAP", &self.nap)).unwrap();
        fs::set_permissions(&go, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_podcert-e2e"));
        command
            .arg("cluster")
            .args(words)
            .env("PODCERT_E2E_CACHE", self.path("cache"))
            .env("PODCERT_E2E_STATE", self.path("state"))
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", self.path("bin").display()),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Starts `up` and waits until a program or Go sleeps.
    fn up(&self) -> Child {
        let up = self.command(&["up"]).spawn().unwrap();
        until("something sleeps", || !self.sleepers().is_empty());
        up
    }

    fn sleepers(&self) -> Vec<i32> {
        processes(|words| words.contains(&self.nap))
    }

    fn supervisors(&self) -> Vec<i32> {
        let state = format!("PODCERT_E2E_STATE={}", self.path("state").display());
        let all = processes(|words| words.iter().any(|word| word == "supervise"));
        all.into_iter()
            .filter(|pid| words(&format!("/proc/{pid}/environ")).contains(&state))
            .collect()
    }

    fn until_nothing_is_left(&self) {
        until("every process is gone", || {
            self.sleepers().is_empty() && self.supervisors().is_empty()
        });
    }

    fn cluster(&self) -> PathBuf {
        self.path("state").join("clusters/1.37")
    }
}

/// Ends what a failed test left.
impl Drop for Machine {
    fn drop(&mut self) {
        for pid in self.supervisors().into_iter().chain(self.sleepers()) {
            signal(pid, Signal::KILL);
        }
    }
}

#[test]
fn a_killed_up_takes_everything_along() {
    let machine = Machine::new("go1.99.0", SLEEP);
    let mut up = machine.up();
    assert_eq!(machine.supervisors().len(), 1);
    up.kill().unwrap();
    up.wait().unwrap();
    machine.until_nothing_is_left();
    until("the folder is gone", || !machine.cluster().exists());
}

#[test]
fn an_interrupted_up_takes_everything_along() {
    let machine = Machine::new("go1.99.0", SLEEP);
    let mut up = machine.up();
    // As Ctrl-C does; SIGINT itself is ignored by what a script starts in the background.
    signal(i32::try_from(up.id()).unwrap(), Signal::TERM);
    assert!(!up.wait().unwrap().success());
    machine.until_nothing_is_left();
    until("the folder is gone", || !machine.cluster().exists());
}

#[test]
fn a_killed_supervisor_takes_the_parts_along_and_up_says_so() {
    let machine = Machine::new("go1.99.0", SLEEP);
    let up = machine.up();
    for pid in machine.supervisors() {
        signal(pid, Signal::KILL);
    }
    machine.until_nothing_is_left();
    let output = up.wait_with_output().unwrap();
    assert!(!output.status.success());
    let said = text(&output.stderr);
    assert!(said.contains("the supervisor ended early"), "{said}");

    let status = text(&machine.run(&["status"]).stdout);
    assert!(status.starts_with("1.37: dead"), "{status}");
    let down = text(&machine.run(&["down"]).stdout);
    assert!(down.contains("was dead already"), "{down}");
    assert!(!machine.cluster().exists());
}

#[test]
fn down_ends_an_up_that_is_under_way() {
    let machine = Machine::new("go1.99.0", SLEEP);
    let up = machine.up();
    let status = text(&machine.run(&["status"]).stdout);
    assert!(status.starts_with("1.37: starting"), "{status}");
    let second = machine.run(&["up"]);
    assert!(!second.status.success());
    assert!(text(&second.stderr).contains("is being started"));

    let down = machine.run(&["down", "--kubernetes", "1.37"]);
    assert!(down.status.success(), "{}", text(&down.stderr));
    assert!(machine.sleepers().is_empty() && machine.supervisors().is_empty());
    assert!(!machine.cluster().exists());
    assert!(!up.wait_with_output().unwrap().status.success());
}

#[test]
fn a_build_ends_with_the_up_that_wanted_it() {
    let machine = Machine::new("go1.99.0", SLEEP);
    machine.put_go(
        "#!/bin/sh
[ \"$1\" = env ] || exec sleep NAP
echo '{\"GOVERSION\": \"go1.99.0\", \"GOOS\": \"linux\", \"GOARCH\": \"amd64\"}'
",
    );
    let mut up = machine.up();
    up.kill().unwrap();
    up.wait().unwrap();
    machine.until_nothing_is_left();
}

#[test]
fn a_part_that_ends_early_is_told_with_the_end_of_its_log() {
    let machine = Machine::new("go1.99.0", "echo there is no disk; exit 3");
    let output = machine.run(&["up"]);
    assert!(!output.status.success());
    let said = text(&output.stderr);
    assert!(
        said.contains("etcd ended before it was ready (exit status: 3)"),
        "{said}"
    );
    assert!(said.contains("\n  there is no disk"), "{said}");
    machine.until_nothing_is_left();
    // Its logs stay to be read, until somebody removes or starts it again.
    assert!(machine.cluster().join("logs/etcd.log").exists());
    let down = machine.run(&["down"]);
    assert!(down.status.success(), "{}", text(&down.stderr));
    assert!(!machine.cluster().exists());
}

#[test]
fn what_is_built_is_built_once() {
    let machine = Machine::new("go1.99.0", "exit 3");
    assert!(text(&machine.run(&["up"]).stderr).contains("built kube-apiserver v1.37"));
    let again = text(&machine.run(&["up"]).stderr);
    assert!(!again.contains("built"), "{again}");
    let cached = fs::read_dir(machine.path("cache")).unwrap();
    let names: Vec<String> = cached
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "build.lock")
        .collect();
    assert_eq!(names.len(), 4, "{names:?}");
}

#[test]
fn a_go_that_is_missing_or_old_is_named_with_what_to_install() {
    let old = Machine::new("go1.19.8", SLEEP);
    let said = text(&old.run(&["up"]).stderr);
    assert!(
        said.contains("go1.19.8 is too old, 1.26.0 is needed: install Go"),
        "{said}"
    );

    let none = Machine::new("go1.99.0", SLEEP);
    let mut command = none.command(&["up"]);
    let output = command.env("PATH", "/nowhere").output().unwrap();
    let said = text(&output.stderr);
    assert!(said.contains("there is no `go` on the PATH"), "{said}");
    assert!(said.contains("install Go"), "{said}");
}

#[test]
fn a_build_that_fails_is_told_with_its_errors_and_leaves_nothing() {
    let machine = Machine::new("go1.99.0", SLEEP);
    machine.put_go(
        "#!/bin/sh
if [ \"$1\" = env ]; then
  echo '{\"GOVERSION\": \"go1.99.0\", \"GOOS\": \"linux\", \"GOARCH\": \"amd64\"}'
  exit
fi
echo internal/package >&2
echo 'main.go:3:2: undefined: nothing' >&2
exit 1
",
    );
    let output = machine.run(&["up"]);
    assert!(!output.status.success());
    let said = text(&output.stderr);
    assert!(said.contains("cannot build etcd v3"), "{said}");
    assert!(said.contains("undefined: nothing"), "{said}");
    let left: Vec<_> = fs::read_dir(machine.path("cache")).unwrap().collect();
    assert_eq!(left.len(), 1, "the lock alone: {left:?}");
    assert!(!machine.cluster().exists());
}

/// A node's namespaces end with whoever holds them, and with them what runs in there, whatever it started
/// and whoever its parent was.
#[test]
fn a_killed_node_takes_everything_along() {
    if !rustix::process::geteuid().is_root() {
        // Only root makes such namespaces; without it there are no nodes.
        return;
    }
    let machine = Machine::new("go1.99.0", SLEEP);
    let init = machine.path("init");
    let program = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_podcert-e2e"));
        command
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command.spawn().unwrap()
    };
    let mut space = program(&["node-space", init.to_str().unwrap()]);
    until("the node is there", || init.exists());
    let number = fs::read_to_string(&init).unwrap();
    // One in a session of its own, whose parent is gone, as a shim is.
    let script = format!("setsid sleep {0} & exec sleep {0}", machine.nap);
    let mut inside = program(&["node-enter", &number, "/bin/sh", "-c", &script]);
    until("both sleep", || machine.sleepers().len() == 2);
    space.kill().unwrap();
    space.wait().unwrap();
    machine.until_nothing_is_left();
    assert!(!inside.wait().unwrap().success());
}

/// Whoever ends what was started in a node ends it alone, by the signal that was sent.
#[test]
fn a_part_in_a_node_ends_by_sigterm_and_the_node_stays() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let machine = Machine::new("go1.99.0", SLEEP);
    let init = machine.path("init");
    let mut space = Command::new(env!("CARGO_BIN_EXE_podcert-e2e"))
        .args(["node-space", init.to_str().unwrap()])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    until("the node is there", || init.exists());
    let number = fs::read_to_string(&init).unwrap();
    let script = format!("exec sleep {}", machine.nap);
    let mut inside = Command::new(env!("CARGO_BIN_EXE_podcert-e2e"))
        .args(["node-enter", &number, "/bin/sh", "-c", &script])
        .spawn()
        .unwrap();
    until("it sleeps", || machine.sleepers().len() == 1);
    signal(i32::try_from(inside.id()).unwrap(), Signal::TERM);
    // As a shell says it: 128 and the signal.
    assert_eq!(inside.wait().unwrap().code(), Some(128 + 15));
    assert_eq!(space.try_wait().unwrap(), None);
    signal(i32::try_from(space.id()).unwrap(), Signal::TERM);
    assert!(space.wait().unwrap().success());
    machine.until_nothing_is_left();
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn processes(wanted: impl Fn(&[String]) -> bool) -> Vec<i32> {
    let all = fs::read_dir("/proc").unwrap();
    all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| wanted(&words(&format!("/proc/{pid}/cmdline"))))
        .collect()
}

/// Of a file that separates them by NUL; none where the process is gone or another's.
fn words(path: &str) -> Vec<String> {
    let mut bytes = Vec::new();
    if let Ok(mut file) = fs::File::open(Path::new(path)) {
        let _ = file.read_to_end(&mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.split('\0').map(str::to_owned).collect()
}

fn signal(pid: i32, signal: Signal) {
    // It may just have ended.
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a stand-in does: nothing, for long, findable.
const SLEEP: &str = "exec sleep NAP";
