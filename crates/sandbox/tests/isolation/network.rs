//! How pods reach each other and the API server, and that nobody else reaches them.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use kube::Api;

use super::tools::{Cluster, pod, service};

/// Two servers on port 80 behind a Service, and clients of all kinds.
pub(crate) async fn reach() {
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

/// A program finds the API server and its token as every client in a cluster does.
pub(crate) async fn api_server() {
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

/// A port that is open in two pods is open nowhere else.
pub(crate) async fn machine() {
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
