//! Which names, ports and addresses a registry opens to a gateway.

use std::net::IpAddr;

use exeat_common::reason::Reason;

use super::{Policy, Standing};
use crate::{
    config::Config,
    endpoints::Known,
    gateway::{
        host::HostName,
        refusal::{Cause, Refusal},
    },
    registry::{host::HostPattern, load::load, report::Code},
};

const CONFIG: &str = "\
mode: MODE
clusterCidrs: [10.96.0.0/12]
dns: {resolvers: [192.0.2.53]}
gateway: {namespace: istio-egress, listeners: [{address: \"0.0.0.0:8080\"}]}
";

/// What names of endpoints were resolved to.
fn known() -> Known {
    let addresses = ["10.96.0.7", "198.51.100.7", "169.254.169.254"].map(ip);
    Known::from([(HostPattern::parse("real.example.com").expect("a name"), addresses.to_vec())])
}

/// A policy over these `ServiceEntry` specs, in the gateway's own namespace.
pub(in crate::gateway) fn policy(mode: &str, specs: &[&str]) -> Policy {
    let (config, gateway) =
        Config::parse_gateway(&CONFIG.replace("MODE", mode)).expect("a configuration");
    let folder = tempfile::tempdir().expect("a folder");
    for (number, spec) in specs.iter().enumerate() {
        let text = if spec.contains("kind:") {
            (*spec).to_owned()
        } else {
            format!(
                "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
                 metadata: {{name: e{number}, namespace: istio-egress}}\nspec: {spec}\n"
            )
        };
        std::fs::write(folder.path().join(format!("{number}.yaml")), text).expect("written");
    }
    let loaded = load(&[folder.path().to_owned()], None);
    assert!(loaded.errors.is_empty(), "{:?}", loaded.errors);
    Policy::new(&loaded.registry, &config, &gateway, &known())
}

const WWW: &str =
    "{hosts: [www.example.com], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS}";
const WILD: &str = "{hosts: ['*.wild.example.com'], ports: [{number: 80, name: http, protocol: HTTP}], resolution: NONE}";
const BARE: &str = "{hosts: [bare.example.com], addresses: [203.0.113.0/28], ports: [{number: 80, name: http, protocol: HTTP}], resolution: NONE}";
const INNER: &str = "{hosts: [inner.example.com], addresses: [10.96.0.7], ports: [{number: 80, name: http, protocol: HTTP}], resolution: NONE}";
const FIXED: &str = "{hosts: [fixed.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: 198.51.100.1, ports: {http: 8080}, weight: 3}, {address: 198.51.100.2, weight: 1}]}";

fn name(text: &str) -> HostName {
    HostName::parse(text).expect("a name")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn standing(policy: &Policy, text: &str) -> Result<Standing, Cause> {
    policy.standing(&name(text)).map_err(|refusal| refusal.cause)
}

/// Where a flow for a name goes that has this address.
fn goes(policy: &Policy, host: Option<&str>, address: &str, port: u16) -> Result<String, Cause> {
    let standing = host.map(|it| standing(policy, it)).transpose()?;
    let leave = policy.address(standing, ip(address), port).map_err(|it: Refusal| it.cause)?;
    Ok(leave.ways.iter().map(|way| way.to.to_string()).collect::<Vec<_>>().join(" "))
}

const fn denied(reason: Reason) -> Result<String, Cause> {
    Err(Cause::Rule(reason))
}

#[test]
fn names_and_ports_are_those_of_the_registry() {
    let policy = policy("REGISTRY_ONLY", &[WWW, WILD]);
    let www = Some("www.example.com");
    assert_eq!(goes(&policy, www, "203.0.113.9", 443), Ok("203.0.113.9:443".to_owned()));
    assert_eq!(goes(&policy, www, "2001:db8::9", 443), Ok("[2001:db8::9]:443".to_owned()));
    assert_eq!(goes(&policy, www, "203.0.113.9", 80), denied(Reason::PortNotDeclared));
    let below = Some("a.b.wild.example.com");
    assert_eq!(goes(&policy, below, "203.0.113.9", 80), Ok("203.0.113.9:80".to_owned()));
    for other in ["wild.example.com", "example.com", "www.example.org", "xwww.example.com"] {
        assert_eq!(standing(&policy, other), Err(Cause::Rule(Reason::NameNotGranted)), "{other}");
    }
    assert_eq!(goes(&policy, None, "203.0.113.9", 443), denied(Reason::NotRegistered));
    let refusal = policy.standing(&name("api.example.com")).expect_err("not declared");
    assert_eq!(refusal.nearest.expect("one is near").pattern, "www.example.com");
}

#[test]
fn a_name_opens_no_internal_address_and_an_entry_does() {
    let policy = policy("REGISTRY_ONLY", &[WILD, BARE, INNER]);
    let below = Some("a.wild.example.com");
    for internal in [
        "10.96.0.7",
        "10.100.0.1",
        "169.254.169.254",
        "fe80::1",
        "127.0.0.1",
        "::1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::ffff:10.96.0.9",
    ] {
        let got = goes(&policy, below, internal, 80);
        // A declared address is open whatever name leads to it, as it is for every pod.
        let expected = if internal == "10.96.0.7" {
            Ok("10.96.0.7:80".to_owned())
        } else {
            denied(Reason::AddressGuarded)
        };
        assert_eq!(got, expected, "{internal}");
    }
    assert_eq!(goes(&policy, None, "10.96.0.7", 80), Ok("10.96.0.7:80".to_owned()));
    assert_eq!(goes(&policy, None, "10.96.0.7", 81), denied(Reason::PortNotDeclared));
    assert_eq!(goes(&policy, None, "10.96.0.8", 80), denied(Reason::NotRegistered));
    assert_eq!(goes(&policy, None, "203.0.113.5", 80), Ok("203.0.113.5:80".to_owned()));
    assert_eq!(goes(&policy, None, "203.0.113.16", 80), denied(Reason::NotRegistered));
}

#[test]
fn what_the_kernel_leaves_open_is_not_open_through_a_gateway() {
    // Loopback, the resolvers and the cluster's own addresses pass in the kernel for a pod.
    let policy = policy("REGISTRY_ONLY", &[WWW]);
    assert_eq!(goes(&policy, None, "127.0.0.1", 443), denied(Reason::AddressGuarded));
    assert_eq!(goes(&policy, None, "192.0.2.53", 53), denied(Reason::NotRegistered));
    assert_eq!(goes(&policy, None, "10.96.0.10", 443), denied(Reason::NotRegistered));
}

#[test]
fn allow_any_opens_what_is_outside() {
    let policy = policy("ALLOW_ANY", &[WWW]);
    assert_eq!(standing(&policy, "www.example.org"), Ok(Standing::Relaxed));
    assert_eq!(
        goes(&policy, Some("www.example.org"), "203.0.113.9", 81),
        Ok("203.0.113.9:81".to_owned())
    );
    for internal in ["10.96.0.1", "127.0.0.1", "169.254.169.254"] {
        assert_eq!(
            goes(&policy, Some("www.example.org"), internal, 80),
            denied(Reason::AddressGuarded)
        );
        assert_eq!(goes(&policy, None, internal, 80), denied(Reason::AddressGuarded));
    }
}

#[test]
fn endpoints_of_an_entry_take_its_flows() {
    let policy = policy("REGISTRY_ONLY", &[FIXED, WWW]);
    let fixed = standing(&policy, "fixed.example.com").expect("declared");
    let leave = policy.endpoints(fixed, 80).expect("endpoints");
    let first = |text: &str| leave.ways.iter().filter(|it| it.to.to_string() == text).count();
    assert_eq!((first("198.51.100.1:8080"), first("198.51.100.2:80"), leave.ways.len()), (3, 1, 4));
    assert_eq!(leave.entry.expect("who").name, "e0");
    assert!(policy.endpoints(fixed, 81).is_none());
    let www = standing(&policy, "www.example.com").expect("declared");
    assert!(policy.endpoints(www, 443).is_none(), "its addresses are those of the name");
    assert!(policy.by_name(www, 443).is_ok());
    assert_eq!(
        policy.by_name(www, 80).map_err(|it| it.cause),
        Err(Cause::Rule(Reason::PortNotDeclared))
    );
}

#[test]
fn names_of_endpoints_lead_where_they_were_resolved_to() {
    let named = "{hosts: [named.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS, endpoints: [{address: real.example.com, ports: {http: 8080}}]}";
    let ways = |spec: &str| {
        let policy = policy("REGISTRY_ONLY", &[spec]);
        let named = standing(&policy, "named.example.com").expect("declared");
        let leave = policy.endpoints(named, 80);
        leave.map(|it| it.ways.iter().map(|way| way.to.to_string()).collect::<Vec<_>>())
    };
    // Of three addresses two are internal, and nobody has written them down.
    assert_eq!(ways(named), Some(vec!["198.51.100.7:8080".to_owned()]));
    let declared = named.replace("endpoints: [", "endpoints: [{address: 10.96.0.7}, ");
    let all = ["10.96.0.7:80", "10.96.0.7:8080", "198.51.100.7:8080"].map(str::to_owned);
    assert_eq!(ways(&declared), Some(all.to_vec()));
    assert_eq!(ways(&named.replace("real.example.com", "other.example.com")), None);
}

#[test]
fn tls_that_would_have_to_begin_here_is_refused_and_not_sent_in_clear() {
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
        metadata: {name: d, namespace: istio-egress}\n\
        spec: {host: a.wild.example.com, trafficPolicy: {tls: {mode: SIMPLE}}}\n";
    let plain = "{hosts: [a.wild.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}";
    let name = Some("a.wild.example.com");
    let open = policy("REGISTRY_ONLY", &[plain]);
    assert_eq!(goes(&open, name, "203.0.113.9", 80), Ok("203.0.113.9:80".to_owned()));
    let bound = policy("REGISTRY_ONLY", &[plain, rule]);
    assert_eq!(goes(&bound, name, "203.0.113.9", 80), denied(Reason::Unsupported));
    let standing = standing(&bound, "a.wild.example.com").expect("declared");
    let refusal = bound.address(Some(standing), ip("203.0.113.9"), 80).expect_err("denied");
    assert_eq!(refusal.code.map(Code::as_str), Some("U-TLS-ORIGINATION"));
}

#[test]
fn routes_to_the_gateway_are_not_for_the_gateway() {
    let route = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
        metadata: {name: r, namespace: istio-egress}\n\
        spec: {hosts: [www.example.com], tls: [{match: [{port: 443, sniHosts: [www.example.com]}], route: [{destination: {host: egress.istio-egress.svc.cluster.local, port: {number: 443}}}]}]}\n";
    let policy = policy("REGISTRY_ONLY", &[WWW, route]);
    assert_eq!(
        goes(&policy, Some("www.example.com"), "203.0.113.9", 443),
        Ok("203.0.113.9:443".to_owned())
    );
}
