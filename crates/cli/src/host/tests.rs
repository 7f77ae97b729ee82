use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::fixture::{Pods, within};
use super::*;

/// One byte there and one back.
async fn exchange(listener: &Listener, client: Stream) {
    let serve = async {
        let mut stream = listener.accept().await.unwrap();
        let byte = stream.read_u8().await.unwrap();
        stream.write_u8(byte + 1).await.unwrap();
    };
    let ask = async {
        let mut client = client;
        client.write_u8(1).await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), 2);
    };
    within(async { tokio::join!(serve, ask) }).await;
}

#[test]
fn listening_addresses_are_gos() {
    let parsed = |address| parse_address(address).unwrap();
    assert_eq!(parsed(""), ("", 443));
    assert_eq!(parsed(":8443"), ("", 8443));
    assert_eq!(parsed(":https"), ("", 443));
    assert_eq!(parsed("0.0.0.0:443"), ("0.0.0.0", 443));
    assert_eq!(parsed("[::1]:443"), ("::1", 443));
    assert_eq!(parsed("localhost:0"), ("localhost", 0));
    for bad in [
        "443",
        "host",
        "::1:443",
        "[::1:443",
        "host:",
        "host:x",
        "host:65536",
    ] {
        let error = parse_address(bad).unwrap_err().to_string();
        assert!(
            error.contains("expected <address>:<port>"),
            "{bad}: {error}"
        );
    }
}

#[tokio::test]
async fn on_the_real_host_an_address_is_what_it_says() {
    let host = Host::Real;
    assert_eq!(host.path(Path::new("/run/x")), Path::new("/run/x"));
    let listener = host.listen("127.0.0.1:0").await.unwrap();
    let port = listener
        .to_string()
        .rsplit_once(':')
        .unwrap()
        .1
        .parse()
        .unwrap();
    exchange(&listener, host.connect("localhost", port).await.unwrap()).await;
    drop(listener);
    let error = host.connect("127.0.0.1", port).await.unwrap_err();
    assert!(format!("{error:#}").contains("refused"), "{error:#}");
}

#[test]
fn in_a_pod_a_path_below_a_mount_leads_to_its_folder() {
    let pods = Pods::new();
    let host = pods.host("web");
    let volume = pods.map("web").mounts[0].host_path.clone();
    assert_eq!(
        host.path(Path::new("/run/tls-config/a.pem")),
        volume.join("a.pem")
    );
    assert_eq!(
        host.path(Path::new("/elsewhere/a.pem")),
        Path::new("/elsewhere/a.pem")
    );
    assert_eq!(host.optional_path(""), None);
    assert_eq!(
        host.optional_path("/run/tls-config/a"),
        Some(volume.join("a"))
    );
}

#[tokio::test]
async fn in_a_pod_a_port_is_a_private_socket() {
    let pods = Pods::new();
    let (web, client) = (pods.host("web"), pods.host("client"));
    let listener = web.listen("0.0.0.0:443").await.unwrap();
    let socket = pods.socket("web");
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    pods.serve("server.demo.svc", &["web"]);
    exchange(
        &listener,
        client.connect("server.demo.svc", 443).await.unwrap(),
    )
    .await;
    exchange(
        &listener,
        client.connect("SERVER.demo.svc.", 443).await.unwrap(),
    )
    .await;
    exchange(&listener, web.connect("127.0.0.1", 443).await.unwrap()).await;

    let error = web.listen(":443").await.unwrap_err();
    assert!(format!("{error:#}").contains("address in use"), "{error:#}");

    drop(listener);
    assert!(!socket.exists());
}

#[tokio::test]
async fn what_a_killed_process_left_is_replaced() {
    let pods = Pods::new();
    let web = pods.host("web");
    let socket = pods.socket("web");
    // Dropping a std listener closes it and leaves the file, as a kill does.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    fs::write(socket.with_extension("new"), "").unwrap();
    let listener = web.listen("0.0.0.0:443").await.unwrap();
    exchange(&listener, web.connect("localhost", 443).await.unwrap()).await;
}

#[tokio::test]
async fn pods_take_turns_and_one_that_is_gone_is_passed_over() {
    let pods = Pods::new();
    let client = pods.host("client");
    let a = pods.host("a").listen(":443").await.unwrap();
    let b = pods.host("b").listen(":443").await.unwrap();
    pods.serve("server.demo.svc", &["a", "gone", "b"]);
    let (mut at_a, mut at_b) = (0, 0);
    for _ in 0..6 {
        let _stream = client.connect("server.demo.svc", 443).await.unwrap();
        within(async {
            tokio::select! {
                _ = a.accept() => at_a += 1,
                _ = b.accept() => at_b += 1,
            }
        })
        .await;
    }
    assert_eq!(at_a + at_b, 6);
    assert!(at_a >= 2 && at_b >= 2, "{at_a} and {at_b}");
}

#[tokio::test]
async fn nothing_else_is_reachable_from_a_pod() {
    let pods = Pods::new();
    let client = pods.host("client");
    let error = async |name, port| format!("{:#}", client.connect(name, port).await.unwrap_err());
    assert_eq!(
        error("example.com", 443).await,
        "no Service of the sandbox is called example.com with port 443"
    );
    assert_eq!(
        error("server.demo.svc", 80).await,
        "no Service of the sandbox is called server.demo.svc with port 80"
    );
    assert_eq!(
        error("server.demo.svc", 443).await,
        "connection to server.demo.svc:443 refused: no pod of the Service is ready"
    );
    pods.serve("server.demo.svc", &["gone", "lost"]);
    let gone = error("server.demo.svc", 443).await;
    assert!(
        gone.starts_with("none of 2 pods at server.demo.svc:443 answers"),
        "{gone}"
    );
}

#[tokio::test]
async fn in_a_pod_short_names_and_addresses_lead_to_services() {
    let pods = Pods::new();
    let listener = pods.host("server").listen(":443").await.unwrap();
    let client = pods.host("client");
    for (service, host) in [("server.demo", "server"), ("10.96.0.7", "10.96.0.7")] {
        pods.serve(service, &["server"]);
        let stream = client.connect(host, 443).await.unwrap();
        exchange(&listener, stream).await;
        assert!(client.connect("other", 443).await.is_err());
    }
}
