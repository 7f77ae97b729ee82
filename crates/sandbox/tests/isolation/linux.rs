//! The tests, and what they start.

mod tools;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Pod, Service};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use libtest_mimic::{Arguments, Failed, Trial};
use podcert_sandbox::isolation;
use tokio::time::sleep;

use self::tools::{Cluster, needed, pod, service, tool};

pub(crate) fn main() -> ExitCode {
    let argv: Vec<_> = std::env::args_os().skip(1).collect();
    let words: Vec<_> = argv.iter().filter_map(|word| word.to_str()).collect();
    match words.as_slice() {
        ["sandbox", "exec-pod", "--isolated", file, rest @ ..] => {
            let (stage, argv) = match rest {
                ["--stage", stage, "--", ..] => (*stage, &argv[7..]),
                ["--stage", stage] => (*stage, [].as_slice()),
                _ => ("namespaces", [].as_slice()),
            };
            let stage = isolation::Stage::from_name(stage).unwrap();
            return isolation::play(Path::new(file), stage, argv);
        }
        ["sandbox", "exec-pod", "--map", file, "--", _, "get", host] => {
            return tools::get(Path::new(file), host);
        }
        ["a-sandbox-to-be-killed", parent] => return a_sandbox_to_be_killed(Path::new(parent)),
        ["a-refused-program"] => return a_refused_program(),
        _ => {}
    }
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    if needed(&["python3", "curl", "sh"]) {
        trials = vec![
            trial("pods_reach_each_other_by_names_and_addresses", reach),
            trial("a_pod_has_its_own_view_of_paths", paths),
            trial("a_pod_has_nothing_but_what_it_was_given", nothing_else),
            trial(
                "a_program_is_asked_to_end_and_its_children_end_with_it",
                ending,
            ),
            trial("a_pod_is_probed_from_inside", probes),
            trial("a_pod_reaches_the_api_server", api_server),
            trial("nothing_listens_on_the_machine", machine),
            Trial::test("no_process_outlives_a_sandbox_that_was_killed", || {
                orphans();
                Ok(())
            }),
            Trial::test("where_namespaces_are_refused_so_are_programs", || {
                refusal();
                Ok(())
            }),
        ];
        if rustix::process::geteuid().is_root() && needed(&["setpriv"]) {
            trials.push(Trial::test(
                "it_works_for_a_user_without_privileges",
                || {
                    unprivileged();
                    Ok(())
                },
            ));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial<F: Future<Output = ()> + 'static>(name: &str, test: fn() -> F) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failed::from)?;
        runtime.block_on(test());
        Ok(())
    })
}

/// Two servers on port 80 behind a Service, and clients of all kinds.
async fn reach() {
    let cluster = Cluster::start().await;
    let serve = "import http.server, socket
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = ('I am ' + socket.gethostname()).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(('', 80), Answer).serve_forever()";
    for name in ["web-1", "web-2"] {
        cluster
            .apply(&pod(name, "web", "python", &["python3", "-c", serve]))
            .await;
    }
    cluster.apply(&service("web", 80)).await;
    let services: Api<Service> = Api::default_namespaced(cluster.admin());
    let spec = services.get("web").await.unwrap().spec.unwrap();
    let cluster_ip = spec.cluster_ip.unwrap();
    cluster.until_endpoints("web.default.svc", 80, 2).await;
    let pod_ip = cluster.address("web-2").await;

    let ask = format!(
        "for host in web web.default web.default.svc.cluster.local {cluster_ip} {cluster_ip} {pod_ip}; do
           echo \"$host: $(curl --silent --max-time 10 http://$host/)\"
         done
         curl --silent --max-time 10 http://{cluster_ip}:81/; echo \"closed: $?\"
         curl --silent --max-time 10 http://192.0.2.1/; echo \"outside: $?\"
         exec sleep 1000"
    );
    cluster
        .apply(&pod("client", "client", "sh", &["sh", "-c", &ask]))
        .await;
    let answer = |host: &str| {
        let host = format!("{host}: ");
        let cluster = &cluster;
        async move { cluster.line("client", &host).await }
    };
    for host in ["web", "web.default", "web.default.svc.cluster.local"] {
        let answer = answer(host).await;
        assert!(answer.starts_with("I am web-"), "{host}: {answer:?}");
    }
    assert_eq!(answer(&pod_ip).await, "I am web-2");
    let both = cluster.lines("client", &format!("{cluster_ip}: "), 2).await;
    assert_ne!(both[0], both[1], "each pod has its turn");
    assert_eq!(answer("closed").await, "7", "refused, as curl numbers it");
    assert_eq!(answer("outside").await, "7", "no route, as curl numbers it");

    // A program that knows the sandbox, and needs no namespaces, reaches them just so.
    for (name, host) in [
        ("by-name", "web"),
        ("by-cluster-ip", &cluster_ip),
        ("by-pod-ip", &pod_ip),
    ] {
        cluster
            .apply(&pod(name, name, "podcert", &["podcert", "get", host]))
            .await;
        assert!(
            cluster
                .line(name, "got I am web-")
                .await
                .parse::<u8>()
                .is_ok()
        );
    }
    cluster.shutdown().await;
}

/// Volumes at paths that the machine has and has not.
async fn paths() {
    let cluster = Cluster::start().await;
    let script = r#"
        while [ ! -e /opt/there/not/a ] || [ ! -e /etc/app/b ] || [ ! -e /usr/share/c ]; do sleep 0.05; done
        echo "a: $(cat /opt/there/not/a)"
        echo "b: $(cat /etc/app/b)"
        echo "c: $(ls /usr/share)"
        echo "etc: $(cat /etc/app/../passwd | wc -l)"
        echo mine > /opt/there/not/written && echo "write: $(cat /opt/there/not/written)"
        touch /usr/bin/mine 2>/dev/null; echo "usr: $?"
        echo x > /tmp/mine && echo "tmp: $(ls /tmp)"
        echo "shm: $(ls /dev/shm)"
        echo "run: $(ls /run)"
        echo "state: $(ls -A $STATE 2>&1 | wc -l)"
        echo "hosts: $(grep -c '^10.* first$' /etc/hosts)"
        echo "resolv: $(grep ^search /etc/resolv.conf)"
        echo "name: $(cat /etc/hostname) $(uname -n)"
        exec sleep 1000"#;
    let state = cluster.state_dir().display().to_string();
    let text = |name: &str| {
        let mounts = "
    volumeMounts:
    - {name: a, mountPath: /opt/there/not}
    - {name: b, mountPath: /etc/app}
    - {name: c, mountPath: /usr/share}
  volumes: [{name: a, emptyDir: {}}, {name: b, emptyDir: {}}, {name: c, emptyDir: {}}]";
        pod(
            name,
            name,
            "sh",
            &["sh", "-c", &script.replace("$STATE", &state)],
        ) + mounts
    };
    for name in ["first", "second"] {
        cluster.apply(&text(name)).await;
    }
    for name in ["first", "second"] {
        for volume in ["a", "b", "c"] {
            let folder = cluster.volume(name, volume).await;
            fs::write(folder.join(volume), format!("{volume} of {name}")).unwrap();
        }
    }
    for name in ["first", "second"] {
        let line = |prefix: &'static str| cluster.line(name, prefix);
        assert_eq!(line("a: ").await, format!("a of {name}"));
        assert_eq!(line("b: ").await, format!("b of {name}"));
        assert_eq!(
            line("c: ").await,
            "c",
            "the volume covers the machine's folder"
        );
        assert_ne!(
            line("etc: ").await,
            "0",
            "the rest of /etc is the machine's"
        );
        assert_eq!(line("write: ").await, "mine");
        assert_eq!(
            line("usr: ").await,
            "1",
            "the machine's files cannot be changed"
        );
        assert_eq!(line("tmp: ").await, "mine", "/tmp is the pod's own");
        assert_eq!(line("shm: ").await, "");
        assert_eq!(line("run: ").await, "lock");
        assert!(
            ["0", "1"].contains(&line("state: ").await.as_str()),
            "not there, or empty"
        );
        let own = usize::from(name == "first");
        assert_eq!(line("hosts: ").await, own.to_string());
        let search = "search default.svc.cluster.local svc.cluster.local cluster.local";
        assert_eq!(line("resolv: ").await, search);
        assert_eq!(line("name: ").await, format!("{name} {name}"));
        let written = cluster.volume(name, "a").await.join("written");
        assert_eq!(fs::read_to_string(written).unwrap(), "mine\n");
    }
    cluster.shutdown().await;
}

/// What a program finds of the sandbox, of other processes and of privileges.
async fn nothing_else() {
    let cluster = Cluster::start().await;
    let script = r#"
        echo "env: $(env | cut -d= -f1 | sort | grep -v -e PWD -e SHLVL -e '^_$' | tr '\n' ' ')"
        echo "fds: $(ls /proc/self/fd | tr '\n' ' ')"
        grep -e CapEff -e CapPrm -e CapBnd -e CapAmb -e NoNewPrivs /proc/self/status
        echo "pids: $(ls /proc | grep -c '^[0-9]')"
        echo "root: $(ls /proc/1/root/ 2>&1 | wc -l)"
        cat /proc/1/environ 2>/dev/null && echo "environ: read" || echo "environ: refused"
        echo 1 2>/dev/null > /proc/sys/kernel/sysrq; echo "sys: $?"
        kill -9 1 2>/dev/null; echo "still here: yes"
        sleep 0.1
        exec sleep 1000"#;
    cluster
        .apply(&pod("nosy", "nosy", "sh", &["sh", "-c", script]))
        .await;
    let line = |prefix: &'static str| cluster.line("nosy", prefix);
    let names = line("env: ").await;
    let names: Vec<&str> = names
        .split(' ')
        .filter(|name| !name.is_empty() && !name.starts_with("KUBERNETES_"))
        .collect();
    assert_eq!(names, ["HOSTNAME", "PATH"]);
    assert_eq!(
        line("fds: ").await,
        "0 1 2 3 ",
        "the last is the list's own"
    );
    for set in ["CapEff:", "CapPrm:", "CapBnd:", "CapAmb:"] {
        assert_eq!(line(set).await.trim(), "0000000000000000", "{set}");
    }
    assert_eq!(line("NoNewPrivs:").await.trim(), "1");
    let processes: u32 = line("pids: ").await.parse().unwrap();
    assert!(processes <= 6, "only its own: {processes}");
    assert_eq!(line("root: ").await, "1", "only the complaint");
    assert_eq!(line("environ: ").await, "refused");
    assert_ne!(line("sys: ").await, "0");
    line("still here: ").await;
    cluster.shutdown().await;
}

/// SIGTERM reaches the program, its exit code comes back, and nothing is left of it.
async fn ending() {
    let cluster = Cluster::start().await;
    let mark = tools::mark();
    let script = format!(
        "trap 'echo bye; exit 7' TERM
         (setsid sleep {mark} &)
         echo ready: now
         while :; do sleep 0.05; done"
    );
    cluster
        .apply(&pod("polite", "polite", "sh", &["sh", "-c", &script]))
        .await;
    cluster.line("polite", "ready: ").await;
    tools::until("the child", || !tools::processes(&mark).is_empty()).await;
    let pods: Api<Pod> = Api::default_namespaced(cluster.admin());
    pods.delete("polite", &DeleteParams::default())
        .await
        .unwrap();
    cluster.line("polite", "bye").await;
    tools::until("the end of the child", || {
        tools::processes(&mark).is_empty()
    })
    .await;

    let script = "exit 3";
    cluster
        .apply(&pod("short", "short", "sh", &["sh", "-c", script]))
        .await;
    assert_eq!(cluster.exit_code("short").await, 3);
    let missing = ["no-such-program"];
    cluster.apply(&pod("lost", "lost", "sh", &missing)).await;
    assert_eq!(cluster.exit_code("lost").await, 128);
    cluster
        .line("lost", "podcert: cannot run no-such-program: ")
        .await;
    cluster.shutdown().await;
}

/// A program finds the API server and its token as every client in a cluster does.
async fn api_server() {
    let cluster = Cluster::start_with_door().await;
    let ask = "cd /var/run/secrets/kubernetes.io/serviceaccount
        curl --silent --max-time 20 --cacert ca.crt --header \"Authorization: Bearer $(cat token)\" \\
          https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/api/v1/namespaces/$(cat namespace)/secrets; echo
        echo \"by address: $(curl --silent --insecure --max-time 20 --output /dev/null --write-out %{http_code} \\
          https://10.96.0.1/api/v1/namespaces/default/secrets)\"
        exec sleep 1000";
    cluster
        .apply(&pod("client", "client", "sh", &["sh", "-c", ask]))
        .await;
    // Known for who it is; that account may not read them.
    let answer = cluster.line("client", "{").await;
    assert!(
        answer.contains("system:serviceaccount:default:default"),
        "{answer}"
    );
    assert_eq!(cluster.line("client", "by address: ").await, "401");
    cluster.shutdown().await;
}

/// Probes' commands run where the container's do; sources of volumes are read-only.
async fn probes() {
    let cluster = Cluster::start().await;
    let script = "mkdir /tmp/pods; cat /config/greeting; echo
         touch /config/mine 2>/dev/null; echo \"config: $?\"
         id -u | sed 's/^/user: /'; exec sleep 1000";
    let text = pod("probed", "probed", "sh", &["-c", script])
        .replace("command:", "args:")
        + "
    securityContext: {runAsUser: 4711, runAsNonRoot: true}
    readinessProbe: {exec: {command: [test, -e, /tmp/pods/sign]}, periodSeconds: 1, failureThreshold: 1}
    startupProbe: {exec: {command: [test, -d, /tmp/pods]}, periodSeconds: 1}
    volumeMounts: [{name: config, mountPath: /config}]
  volumes: [{name: config, configMap: {name: greetings}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: greetings}
data: {greeting: \"hello: you\"}";
    cluster.apply(&text).await;
    assert_eq!(cluster.line("probed", "hello: ").await, "you");
    assert_ne!(cluster.line("probed", "config: ").await, "0");
    assert_eq!(cluster.line("probed", "user: ").await, "4711");
    cluster.until_started("probed").await;
    assert!(!cluster.is_ready("probed").await, "there is no sign yet");
    let own = rustix::process::geteuid().as_raw();
    let sign = format!("mkdir -p /tmp/sign && test $(id -u) = {own} && test -e /proc/1/comm");
    let text = pod("signed", "signed", "sh", &["sh", "-c", "exec sleep 1000"])
        + &format!(
            "\n    readinessProbe: {{exec: {{command: [sh, -c, {sign:?}]}}, periodSeconds: 1}}"
        );
    cluster.apply(&text).await;
    for _ in 0..600 {
        if cluster.is_ready("signed").await {
            cluster.shutdown().await;
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("a probe's command does not see the pod");
}

/// A port that is open in two pods is open nowhere else.
async fn machine() {
    let cluster = Cluster::start().await;
    let port = 39_417;
    let port_text = port.to_string();
    for name in ["one", "two"] {
        let command = ["python3", "-m", "http.server", &port_text];
        cluster.apply(&pod(name, "both", "python", &command)).await;
    }
    cluster.apply(&service("both", port)).await;
    cluster.until_endpoints("both.default.svc", port, 2).await;
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        let table = fs::read_to_string(table).unwrap_or_default();
        assert!(!table.contains(&format!(":{port:04X} ")), "{table}");
    }
    let address: Ipv4Addr = cluster.address("one").await.parse().unwrap();
    assert!(
        std::net::TcpStream::connect_timeout(&(address, port).into(), Duration::from_millis(200))
            .is_err()
    );
    cluster.shutdown().await;
}

/// Plays a sandbox that is killed: prints a line once its pods run.
fn a_sandbox_to_be_killed(parent: &Path) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let cluster = Cluster::start_in(parent).await;
        let mark = parent.file_name().unwrap().to_str().unwrap().to_owned();
        let script = format!("trap '' TERM; (setsid sh -c 'sleep 1000; : {mark}' &) ; echo up: {mark}; while :; do sleep 1; done");
        for name in ["one", "two"] {
            cluster.apply(&pod(name, name, "sh", &["sh", "-c", &script])).await;
        }
        cluster.line("one", "up: ").await;
        cluster.line("two", "up: ").await;
        println!("up");
        std::future::pending::<()>().await;
    });
    ExitCode::SUCCESS
}

fn orphans() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let mark = folder.path().file_name().unwrap().to_str().unwrap();
    let mut sandbox = Command::new(std::env::current_exe().unwrap())
        .arg("a-sandbox-to-be-killed")
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(sandbox.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "up");
    // The sandbox, and per pod two of ours and two of its.
    assert!(
        tools::processes(mark).len() >= 9,
        "{:#?}",
        tools::processes(mark)
    );
    sandbox.kill().unwrap();
    sandbox.wait().unwrap();
    for _ in 0..200 {
        if tools::processes(mark).is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("left behind: {:#?}", tools::processes(mark));
}

/// Plays a sandbox in a place where no user namespaces are to be had.
fn a_refused_program() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let cluster = Cluster::start().await;
        cluster
            .apply(&pod("foreign", "foreign", "sh", &["sh", "-c", "exit 0"]))
            .await;
        cluster
            .apply(&pod(
                "ours",
                "ours",
                "podcert",
                &["podcert", "get", "nobody"],
            ))
            .await;
        cluster.line("ours", "got no ").await;
        let events: Api<Event> = Api::default_namespaced(cluster.admin());
        for _ in 0..200 {
            let all = events.list(&ListParams::default()).await.unwrap();
            let of = |event: &Event| {
                let warns = event.type_.as_deref() == Some("Warning");
                warns && event.involved_object.name.as_deref() == Some("foreign")
            };
            if let Some(event) = all.into_iter().find(of) {
                println!("refused: {}", event.message.unwrap_or_default());
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        cluster.shutdown().await;
    });
    ExitCode::SUCCESS
}

fn refusal() {
    if !needed(&["unshare"]) {
        return;
    }
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" a-refused-program";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let refused = text.lines().find_map(|line| line.strip_prefix("refused: "));
    let refused = refused.unwrap_or_else(|| panic!("{text}\n{errors}"));
    for words in [
        "/sh cannot be run as a pod: cannot make namespaces",
        "user.max_user_namespaces",
    ] {
        assert!(refused.contains(words), "{refused}");
    }
}

/// The same tests as user nobody.
fn unprivileged() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.path(), open.clone()).unwrap();
    let copy: PathBuf = folder.path().join("isolation");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    fs::set_permissions(&copy, open).unwrap();
    let status = Command::new(tool("setpriv").unwrap())
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&copy)
        .arg("a_pod")
        .arg("--test-threads=1")
        .current_dir("/")
        .env_remove("HOME")
        .env_remove("XDG_RUNTIME_DIR")
        .status()
        .unwrap();
    assert!(status.success());
    let status = Command::new(tool("setpriv").unwrap())
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&copy)
        .arg("pods_reach")
        .current_dir("/")
        .env_remove("HOME")
        .env_remove("XDG_RUNTIME_DIR")
        .status()
        .unwrap();
    assert!(status.success());
}
