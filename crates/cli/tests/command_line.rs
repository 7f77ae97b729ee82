//! The `podcert` command as its users run it: exit codes, output for scripts, and a demo that is
//! interrupted.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use podcert_authority::Pool;
use podcert_pki::KeyType;
use podcert_runtime::SystemClock;
use podcert_sandbox::pod_map::{PodMap, PodName, RunAs};
use podcert_sandbox::{Images, Options, Sandbox, User};
use serde_json::Value;

fn podcert(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podcert"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    podcert(arguments).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

const COMMANDS: [&str; 9] = [
    "demo",
    "controller",
    "make-ca-pool-secret",
    "demo-server",
    "https-client",
    "inspect",
    "install",
    "verify",
    "sandbox",
];

#[test]
fn every_command_explains_itself() {
    let top = run(&["--help"]);
    assert_eq!(top.status.code(), Some(0));
    for command in COMMANDS {
        assert!(stdout(&top).contains(command), "{command} is not in --help");
        let help = run(&[command, "--help"]);
        assert_eq!(help.status.code(), Some(0));
        assert!(
            stdout(&help).to_lowercase().contains("exit codes"),
            "{command} --help"
        );
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [
        &[][..],
        &["sign"],
        &["controller", "--no-such-flag"],
        &["controller", "--in-cluster=maybe"],
        &["make-ca-pool-secret", "--ca-id=1"],
        &[
            "make-ca-pool-secret",
            "--ca-id=1",
            "--namespace=n",
            "--name=m",
            "--key-type=DSA",
        ],
        &[
            "make-ca-pool-secret",
            "--ca-id=1",
            "--namespace=n",
            "--name=m",
            "--lifetime=1h",
        ],
        &[
            "https-client",
            "--fetch-url=http://plain",
            "--server-trust-bundle=x",
        ],
    ] {
        let output = run(arguments);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(
            output.stdout.is_empty(),
            "{arguments:?} wrote to standard output"
        );
    }
}

#[test]
fn what_cannot_be_done_is_exit_code_1_with_a_sentence() {
    let output = run(&[
        "make-ca-pool-secret",
        "--ca-id=1",
        "--namespace=n",
        "--name=m",
        "--kubeconfig=/does/not/exist",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("/does/not/exist"),
        "{}",
        stderr(&output)
    );

    let output = run(&[
        "controller",
        "--enable-spiffe-signer=true",
        "--spiffe-ca-pool=/p",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("--spiffe-trust-domain must be set"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_manifest_cannot_run_commands_with_the_callers_rights() {
    let folder = tempfile::tempdir().unwrap();
    let map = folder.path().join("map.json");
    let text = serde_json::to_string(&PodMap {
        pod: PodName {
            namespace: "n".to_owned(),
            name: "p".to_owned(),
            uid: "u".to_owned(),
        },
        address: Ipv4Addr::new(10, 0, 0, 1),
        run_as: RunAs::default(),
        mounts: Vec::new(),
        listen_dir: folder.path().to_owned(),
        services_file: folder.path().join("services.json"),
    });
    std::fs::write(&map, text.unwrap()).unwrap();
    let mut child = podcert(&["sandbox", "exec-pod", "--map", map.to_str().unwrap(), "--"])
        .args([
            "/meshtool",
            "make-ca-pool-secret",
            "--ca-id=1",
            "--namespace=n",
            "--name=m",
        ])
        .arg("--dry-run")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // While it is open the process knows that its sandbox lives.
    let _guard = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("a sandbox pod runs only"),
        "{}",
        stderr(&output)
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn a_dry_run_prints_a_pool_that_loads() {
    // Single dashes, as Go has them.
    let arguments = [
        "make-ca-pool-secret",
        "-ca-id",
        "blue",
        "-namespace=mesh",
        "--name=pool",
        "--dry-run",
    ];
    let json = run(&[&arguments[..], &["--output=json", "--key-type=ED25519"]].concat());
    assert_eq!(json.status.code(), Some(0), "{}", stderr(&json));
    let secret: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(secret["kind"], "Secret");
    assert_eq!(secret["apiVersion"], "v1");
    assert_eq!(secret["type"], "Opaque");
    assert_eq!(secret["metadata"]["namespace"], "mesh");
    let secret: Secret = serde_json::from_value(secret).unwrap();
    let pool = Pool::from_json(&secret.data.unwrap()["pool"].0).unwrap();
    assert_eq!(pool.cas()[0].id().as_str(), "blue");
    assert_eq!(
        pool.cas()[0].root().public_key().unwrap().key_type(),
        KeyType::Ed25519
    );
    let subject = pool.cas()[0].root().subject().to_string();
    assert!(subject.starts_with("CN=pool "), "{subject}");

    let named = run(&[
        &arguments[..],
        &["--output=json", "--subject=Mesh", "--lifetime=48h"],
    ]
    .concat());
    let secret: Secret = serde_json::from_slice(&named.stdout).unwrap();
    let pool = Pool::from_json(&secret.data.unwrap()["pool"].0).unwrap();
    let root = pool.cas()[0].root();
    assert!(root.subject().to_string().starts_with("CN=Mesh "));
    let left = root
        .not_after()
        .duration_since(jiff::Timestamp::UNIX_EPOCH)
        .as_hours()
        - root
            .not_before()
            .duration_since(jiff::Timestamp::UNIX_EPOCH)
            .as_hours();
    assert!((48..=49).contains(&left), "{left} hours");

    let yaml = run(&arguments);
    let secret: Secret = serde_saphyr::from_str(stdout(&yaml)).unwrap();
    Pool::from_json(&secret.data.unwrap()["pool"].0).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_secret_is_created_once_and_never_replaced() {
    let mut options = Options::new(Arc::new(SystemClock), Images::new());
    options.seed = Some(1);
    let sandbox = Sandbox::start(options).await.unwrap();
    let kubeconfig = sandbox.kubeconfig(&User::admin()).unwrap();
    let arguments = [
        "make-ca-pool-secret".to_owned(),
        format!("--kubeconfig={}", kubeconfig.display()),
        "--namespace=default".to_owned(),
        "--name=pool".to_owned(),
        "--ca-id=1".to_owned(),
        "--output=json".to_owned(),
    ];
    let make = || {
        let arguments = arguments.clone();
        tokio::task::spawn_blocking(move || {
            run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
        })
    };
    let secrets: Api<Secret> = Api::namespaced(sandbox.admin(), "default");

    let first = make().await.unwrap();
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    let made: Value = serde_json::from_slice(&first.stdout).unwrap();
    assert_eq!(made["caId"], "1");
    let stored = secrets.get("pool").await.unwrap();
    let pool = stored.data.as_ref().unwrap()["pool"].0.clone();
    Pool::from_json(&pool).unwrap();
    assert!(
        !stdout(&first).contains("SigningKey"),
        "the key was printed"
    );

    let second = make().await.unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(
        stderr(&second).contains("exists already"),
        "{}",
        stderr(&second)
    );
    assert_eq!(secrets.get("pool").await.unwrap(), stored);
    sandbox.shutdown().await.unwrap();
}

/// The processes that run below `folder` or know of it by their arguments.
fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(folder))
        .collect()
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    for (signal, after, code) in [
        // While it starts, and while pods run.
        (
            rustix::process::Signal::INT,
            Duration::from_millis(30),
            Some(130),
        ),
        (
            rustix::process::Signal::INT,
            Duration::from_millis(1500),
            Some(130),
        ),
        (
            rustix::process::Signal::TERM,
            Duration::from_millis(900),
            Some(130),
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut demo = podcert(&["demo"])
            .env("TMPDIR", folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(after);
        let pid = rustix::process::Pid::from_child(&demo);
        rustix::process::kill_process(pid, signal).unwrap();
        let status = demo.wait().unwrap();
        if after > Duration::from_millis(100) {
            assert_eq!(status.code(), code, "{signal:?} after {after:?}");
        }
        assert_eq!(processes_of(folder.path()), Vec::<String>::new());
        let left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .flatten()
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Not even the demo's own death leaves processes; its folder then stays, which nobody can help.
#[test]
fn a_killed_demo_leaves_no_process_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = podcert(&["demo"])
        .env("TMPDIR", folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // Until pods run.
    for _ in 0..600 {
        if processes_of(folder.path()).len() > 3 {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(
        processes_of(folder.path()).len() > 3,
        "the demo runs no pods"
    );
    demo.kill().unwrap();
    demo.wait().unwrap();
    for _ in 0..200 {
        if processes_of(folder.path()).is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("left behind: {:?}", processes_of(folder.path()));
}

/// With `--keep` the demo ends when its sandbox is asked to, and well.
#[test]
fn a_kept_demo_is_a_sandbox_until_it_is_told_to_end() {
    let home = tempfile::tempdir_in("/tmp").unwrap();
    let podcert = |arguments: &[&str]| {
        let mut command = podcert(arguments);
        command.env("XDG_RUNTIME_DIR", home.path());
        command
    };
    let demo = podcert(&["demo", "--keep", "--interval=200ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = || {
        podcert(&["sandbox", "status", "--name=demo", "--output=json"])
            .output()
            .unwrap()
    };
    let mut told = status();
    for _ in 0..1200 {
        if told.status.code() == Some(0) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
        told = status();
    }
    let told: Value = serde_json::from_str(stdout(&told)).unwrap();
    assert_eq!(told["podsRunning"], 8, "{told}");
    let second = podcert(&["demo", "--keep"]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(
        stderr(&second).contains("podcert sandbox down --name demo"),
        "{}",
        stderr(&second)
    );
    let down = podcert(&["sandbox", "down", "--name=demo"])
        .output()
        .unwrap();
    assert_eq!(down.status.code(), Some(0), "{}", stderr(&down));
    let demo = demo.wait_with_output().unwrap();
    assert_eq!(demo.status.code(), Some(0), "{}", stdout(&demo));
    assert!(
        stdout(&demo).contains("failures      0"),
        "{}",
        stdout(&demo)
    );
    assert_eq!(processes_of(home.path()), Vec::<String>::new());
}

#[test]
fn an_error_holds_nothing_that_a_terminal_would_obey() {
    let output = run(&["status", "--kubeconfig=/nowhere/\u{9b}31m\u{202e}"]);
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(told.starts_with("error: "), "{told:?}");
    assert!(told.contains("/nowhere/"), "{told:?}");
    let hidden = told.find(['\u{9b}', '\u{202e}', '\u{1b}']);
    assert_eq!(hidden, None, "{told:?}");
}
