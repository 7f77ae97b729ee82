//! What a program finds in its pod: paths, processes, privileges, and how it is ended and probed.

use std::fs;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use tokio::time::sleep;

use super::tools::{self, Cluster, pod};

/// Volumes at paths that the machine has and has not.
pub(crate) async fn paths() {
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
pub(crate) async fn nothing_else() {
    let cluster = Cluster::start().await;
    let script = r#"
        echo "env: $(env | cut -d= -f1 | sort | grep -v -e PWD -e SHLVL -e '^_$' | tr '\n' ' ')"
        echo "fds: $(ls /proc/self/fd | tr '\n' ' ')"
        grep -e CapEff -e CapPrm -e CapBnd -e CapAmb -e NoNewPrivs /proc/self/status
        echo "pids: $(ls /proc | grep -c '^[0-9]')"
        echo "session: $(cut -d' ' -f6 /proc/self/stat)"
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
    assert_ne!(
        line("session: ").await,
        "0",
        "not that of the sandbox's terminal"
    );
    assert_eq!(line("root: ").await, "1", "only the complaint");
    assert_eq!(line("environ: ").await, "refused");
    assert_ne!(line("sys: ").await, "0");
    line("still here: ").await;
    cluster.shutdown().await;
}

/// SIGTERM reaches the program, its exit code comes back, and nothing is left of it.
pub(crate) async fn ending() {
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

/// Probes' commands run where the container's do; sources of volumes are read-only.
pub(crate) async fn probes() {
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
