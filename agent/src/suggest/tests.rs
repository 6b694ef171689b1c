//! Which records lead to which drafts.

use std::net::IpAddr;

use super::{Collector, Suggestions};
use crate::flows::record::{Destination, FlowRecord, RecordWorkload};

/// A denied flow of `shop/web`.
fn denied(reason: &str, name: Option<&str>, to: Option<(&str, u16, &str)>) -> FlowRecord {
    let ip = to.map(|(ip, ..)| ip.parse::<IpAddr>().expect("an address"));
    FlowRecord {
        verdict: "deny".into(),
        reason: reason.into(),
        workload: Some(RecordWorkload {
            namespace: "shop".into(),
            name: "web".into(),
            ..RecordWorkload::default()
        }),
        destination: Destination {
            ip,
            port: to.map_or(53, |(_, port, _)| port),
            protocol: to.map(|(_, _, protocol)| protocol.to_owned()),
            name: name.map(str::to_owned),
        },
        count: 1,
        ..FlowRecord::default()
    }
}

fn suggestions(records: &[FlowRecord]) -> Suggestions {
    let mut collector = Collector::default();
    for record in records {
        collector.add(record);
    }
    collector.finish()
}

fn yaml(suggestions: &Suggestions) -> Vec<String> {
    suggestions.entries.iter().map(|it| serde_yaml::to_string(&it.object).expect("YAML")).collect()
}

#[test]
fn a_refused_name_gets_the_port_that_most_have() {
    let found = suggestions(&[denied("name-not-granted", Some("WWW.example.org"), None)]);
    let [draft] = &found.entries[..] else { panic!("{found:?}") };
    assert!(draft.port_is_a_guess);
    assert_eq!(draft.workloads.iter().collect::<Vec<_>>(), ["shop/web"]);
    let expected = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: www.example.org
  namespace: shop
spec:
  hosts:
  - www.example.org
  ports:
  - number: 443
    name: tls-443
    protocol: TLS
  location: MESH_EXTERNAL
  resolution: NONE
  exportTo:
  - .
";
    assert_eq!(yaml(&found), [expected]);
}

#[test]
fn ports_that_were_tried_are_no_guess() {
    let name = Some("www.example.org");
    let mut would_be = denied("allow-any", name, Some(("203.0.113.9", 123, "udp")));
    (would_be.verdict, would_be.would_deny, would_be.count) = ("allow".into(), true, 4);
    let found = suggestions(&[
        denied("name-not-granted", name, None),
        denied("not-registered", name, Some(("203.0.113.9", 80, "tcp"))),
        would_be,
    ]);
    let [draft] = &found.entries[..] else { panic!("{found:?}") };
    assert!(!draft.port_is_a_guess);
    assert_eq!(draft.count, 6);
    let ports = draft.object.spec.ports.iter().map(|it| (it.number, it.protocol));
    assert_eq!(ports.collect::<Vec<_>>(), [(80, "HTTP"), (123, "UDP")]);
}

#[test]
fn an_address_without_a_name_is_declared_as_an_address() {
    let found = suggestions(&[
        denied("not-registered", None, Some(("::ffff:203.0.113.9", 443, "tcp"))),
        denied("not-registered", None, Some(("2001:db8::", 443, "tcp"))),
    ]);
    let spec = found.entries.iter().map(|it| &it.object.spec);
    let spec: Vec<_> =
        spec.map(|it| (&*it.hosts[0], it.addresses[0].to_string(), it.ports[0].protocol)).collect();
    assert_eq!(
        spec,
        [
            ("ip-203-0-113-9.invalid", "203.0.113.9".to_owned(), "TCP"),
            ("ip-2001-db8-0-0-0-0-0-0.invalid", "2001:db8::".to_owned(), "TCP"),
        ]
    );
}

#[test]
fn a_port_that_is_missing_belongs_into_its_entry() {
    let to = Some(("203.0.113.9", 8443, "tcp"));
    let mut record = denied("port-not-declared", Some("www.example.com"), to);
    record.entry = Some("ServiceEntry/shop/www".into());
    let found = suggestions(&[record.clone(), record]);
    assert!(found.entries.is_empty());
    let [missing] = &found.ports[..] else { panic!("{found:?}") };
    assert_eq!((&*missing.entry, missing.port, missing.count), ("ServiceEntry/shop/www", 8443, 2));
    assert_eq!(missing.destination, "www.example.com");
}

#[test]
fn what_no_entry_changes_is_only_counted() {
    let hostile = "evil.example\n---\nkind: ServiceEntry";
    let mut allowed = denied("registered", Some("www.example.com"), None);
    allowed.verdict = "allow".into();
    let mut stranger = denied("not-registered", None, Some(("203.0.113.9", 1, "tcp")));
    stranger.workload = None;
    let found = suggestions(&[
        allowed,
        stranger,
        denied("spoofed-source", None, Some(("203.0.113.9", 1, "tcp"))),
        denied("not-registered", None, Some(("203.0.113.9", 0, "icmp"))),
        denied("name-not-granted", Some(hostile), None),
        denied("name-not-granted", Some("*.example"), None),
    ]);
    assert!(found.entries.is_empty() && found.ports.is_empty(), "{found:?}");
    let others: Vec<_> = found.others.iter().map(|it| (&*it.reason, it.count)).collect();
    assert_eq!(others, [("not-registered", 2), ("spoofed-source", 1), ("name-not-granted", 2)]);
}
