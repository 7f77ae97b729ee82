use std::collections::BTreeMap;

use serde_json::json;

use super::{expand, variables, words};

fn expanded(text: &str, environment: &[(&str, &str)]) -> Option<String> {
    let environment: BTreeMap<String, String> = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    expand(text, |name| environment.get(name))
}

#[test]
fn variables_are_expanded_as_kubernetes_does() {
    for (text, expected) in [
        ("--id=$(BOTH)", "--id=demo/web-1"),
        ("$$(BOTH)", "$(BOTH)"),
        ("$(X", "$(X"),
        ("5$", "5$"),
        ("$(NOT_THERE)", "$(NOT_THERE)"),
        ("", ""),
    ] {
        let found = expanded(text, &[("BOTH", "demo/web-1")]);
        assert_eq!(found.as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn what_doubles_itself_is_stopped_before_it_is_large() {
    let mut environment = BTreeMap::from([("V0".to_owned(), "lol".to_owned())]);
    let mut last = 0;
    for n in 1..24 {
        let text = format!("$(V{0})$(V{0})", n - 1);
        let Some(value) = expand(&text, |name| environment.get(name)) else {
            break;
        };
        environment.insert(format!("V{n}"), value);
        last = n;
    }
    assert_eq!(last, 15);
    let environment = BTreeMap::from([("BIG".to_owned(), "x".repeat(100_000))]);
    let refused = words(&["$(BIG)".repeat(1000)], &environment).unwrap_err();
    assert!(refused.contains("131072"), "{refused}");
}

#[test]
fn a_service_is_told_as_docker_told_links() {
    let service = serde_json::from_value(json!({
        "metadata": {"name": "my-web"},
        "spec": {"clusterIP": "10.96.0.7", "ports": [
            {"name": "https", "port": 443, "protocol": "TCP"},
            {"port": 80},
        ]},
    }))
    .unwrap();
    let found: BTreeMap<String, String> = variables(&service).into_iter().collect();
    for (name, value) in [
        ("MY_WEB_SERVICE_HOST", "10.96.0.7"),
        ("MY_WEB_SERVICE_PORT", "443"),
        ("MY_WEB_SERVICE_PORT_HTTPS", "443"),
        ("MY_WEB_PORT", "tcp://10.96.0.7:443"),
        ("MY_WEB_PORT_80_TCP", "tcp://10.96.0.7:80"),
        ("MY_WEB_PORT_443_TCP_PROTO", "tcp"),
        ("MY_WEB_PORT_443_TCP_PORT", "443"),
        ("MY_WEB_PORT_443_TCP_ADDR", "10.96.0.7"),
    ] {
        assert_eq!(found.get(name).map(String::as_str), Some(value), "{name}");
    }
    let headless = json!({"spec": {"clusterIP": "None", "ports": [{"port": 80}]}});
    assert!(variables(&serde_json::from_value(headless).unwrap()).is_empty());
}
