//! Random worlds: small and dense, so that objects meet. Knows the rules of validity, because a
//! world of refused objects shows little, and none of what validity means for a flow.

mod cluster;
mod entries;
mod flows;
mod routing;

use super::{
    dice::Dice,
    manifest::{Body, Meta, Object},
    world::{Agent, Labels, Mesh, Selector, Visibility, VisibilityPolicy, VisibilityRule, World},
};

/// Namespaces of clients and of most objects; the last is the root of the mesh.
const NAMESPACES: [&str; 4] = ["team-a", "team-b", "platform", "istio-system"];
const EXACT_HOSTS: [&str; 6] = [
    "example.com",
    "api.example.com",
    "www.example.com",
    "v1.api.example.com",
    "db.internal.test",
    "cart.internal.test",
];
const WILDCARDS: [&str; 3] = ["*.example.com", "*.api.example.com", "*.internal.test"];
/// Hosts of Gloo's services: who owns a host that Istio's entries have as well is left open.
const GLOO_HOSTS: [&str; 5] = [
    "gloo.example.com",
    "mesh.api.example.com",
    "gloo.internal.test",
    "*.gloo.internal.test",
    "www.example.com",
];
/// What clients ask for, beside the exact hosts.
const OTHER_NAMES: [&str; 4] =
    ["new.example.com", "v2.api.example.com", "cache.internal.test", "elsewhere.example.net"];
const PORTS: [u16; 4] = [80, 443, 5432, 9000];
/// Single addresses of entries, and prefixes around some of them.
const ADDRESSES: [&str; 4] = ["198.51.100.5", "198.51.100.6", "203.0.113.7", "2001:db8:5::1"];
const PREFIXES: [&str; 5] =
    ["198.51.100.0/24", "198.51.100.99/24", "198.51.0.0/16", "203.0.113.0/28", "2001:db8:5::/64"];
/// Virtual addresses that Istio gave.
const VIRTUAL: [&str; 3] = ["240.240.0.1", "240.240.0.2", "240.240.0.3"];
const ENDPOINT_IPS: [&str; 4] = ["203.0.113.71", "203.0.113.72", "203.0.113.73", "203.0.113.74"];
const ENDPOINT_NAMES: [&str; 4] = ["one.up.test", "two.up.test", "gone.up.test", "api.example.com"];
const GATEWAYS: [&str; 3] = ["egress", "edge", "istio-asm-gw"];

/// A world under construction.
struct Draft {
    dice: Dice,
    objects: Vec<Object>,
}

/// The world of a seed.
pub(crate) fn world(seed: u64) -> World {
    let mut draft = Draft { dice: Dice::new(seed), objects: Vec::new() };
    let mesh = draft.mesh();
    let agent = draft.agent();
    draft.namespaces(mesh.is_some());
    if draft.dice.percent(85) {
        draft.gateways();
    }
    let count = draft.dice.below(13).max(draft.dice.below(13));
    for _ in 0..count {
        match draft.dice.below(100) {
            0..=40 => draft.service_entry(),
            41..=54 => draft.virtual_service(),
            55..=62 => draft.destination_rule(),
            63..=69 => draft.sidecar(),
            70..=76 => draft.external_service(),
            77..=84 => draft.kubernetes_service(),
            85..=90 => draft.egress_policy(),
            91..=95 => draft.workloads(),
            _ => draft.broken(),
        }
    }
    let mode = match draft.dice.below(10) {
        0..=7 => "REGISTRY_ONLY",
        8 => "ALLOW_ANY",
        _ => "ALLOW_ANY_DYNAMIC_DNS",
    };
    let mut world = World {
        title: format!("seed {seed}"),
        mode: mode.to_owned(),
        mesh,
        agent,
        resolve: draft.resolved(),
        reject: Vec::new(),
        registry: std::mem::take(&mut draft.objects),
        expect: Vec::new(),
    };
    Draft::refusals(&mut world);
    world.expect = draft.flows(&world);
    world
}

impl Draft {
    fn mesh(&mut self) -> Option<Mesh> {
        if self.dice.percent(80) {
            return None;
        }
        let mut mesh = Mesh::default();
        if self.dice.percent(40) {
            mesh.default_service_export_to = vec![self.dice.word(&[".", "*"])];
        }
        if self.dice.percent(30) {
            mesh.default_virtual_service_export_to = vec![".".to_owned()];
        }
        if self.dice.percent(20) {
            mesh.root_namespace = Some("platform".to_owned());
        }
        if self.dice.percent(40) {
            let on = Selector { match_labels: labels(&[("mesh", "on")]) };
            mesh.discovery_selectors = vec![on];
        }
        if self.dice.percent(40) {
            mesh.service_entry_visibility = Some(self.visibility());
        }
        Some(mesh)
    }

    fn visibility(&mut self) -> Visibility {
        let mut policies = Vec::new();
        for role in self.dice.some(&["core", "team"], 1, 2) {
            let rule = VisibilityRule {
                namespace_selector: Selector { match_labels: labels(&[("role", &role)]) },
            };
            policies.push(VisibilityPolicy {
                visibility: self.dice.word(&["NONE", "NAMESPACE", "PUBLIC"]),
                matching_rules: vec![rule],
            });
        }
        Visibility {
            apply_to_sidecars: self.dice.percent(80),
            default_visibility: self.dice.word(&["NAMESPACE", "PUBLIC"]),
            policies,
        }
    }

    fn agent(&mut self) -> Agent {
        let mut rarely = |percent, word: &str| self.dice.percent(percent).then(|| word.to_owned());
        Agent {
            matching: rarely(15, "istio-compat"),
            external_name: rarely(30, "alias"),
            scope: rarely(20, "external"),
            gateway_transport: rarely(30, "mtls"),
            sidecar_may_relax: self.dice.percent(20).then_some(false),
        }
    }

    /// Namespace objects: with their labels they steer discovery, visibility and waypoints.
    fn namespaces(&mut self, matter: bool) {
        if !matter && self.dice.percent(85) {
            return;
        }
        for name in NAMESPACES {
            let mut labels = Labels::new();
            if self.dice.percent(75) {
                labels.insert("mesh".to_owned(), "on".to_owned());
            }
            if self.dice.percent(60) {
                labels.insert("role".to_owned(), self.dice.word(&["core", "team"]));
            }
            if self.dice.percent(8) {
                labels.insert("istio.io/use-waypoint".to_owned(), "waypoint".to_owned());
            }
            let meta = Meta { name: name.to_owned(), labels, ..Meta::default() };
            let body = Body::Namespace(super::manifest::Namespace::default());
            self.objects.push(Object { api_version: "v1".to_owned(), meta, body });
        }
    }

    fn resolved(&mut self) -> std::collections::BTreeMap<String, Vec<String>> {
        let mut resolved = std::collections::BTreeMap::new();
        let mut put = |name: &str, ips: &[&str]| {
            let ips = ips.iter().map(|it| (*it).to_owned()).collect();
            resolved.insert(name.to_owned(), ips);
        };
        put("one.up.test", &["203.0.113.81"]);
        put("two.up.test", &["203.0.113.82", "203.0.113.83"]);
        for (index, host) in EXACT_HOSTS.iter().enumerate() {
            if self.dice.percent(80) {
                put(host, &[&format!("192.0.2.{}", 10 + index)]);
            }
        }
        resolved
    }

    /// A name and a time of its own for an object, and mostly a namespace among the usual.
    fn meta(&mut self, kind: &str, namespaces: &[&str]) -> Meta {
        let index = self.objects.len();
        Meta {
            name: format!("{kind}-{index}"),
            namespace: self.dice.word(namespaces),
            creation_timestamp: Some(self.moment(index)),
            ..Meta::default()
        }
    }

    /// Another second for every object.
    fn moment(&mut self, index: usize) -> String {
        format!("2026-01-{:02}T00:00:{index:02}Z", 1 + self.dice.below(28))
    }

    fn add(&mut self, api_version: &str, meta: Meta, body: Body) {
        self.objects.push(Object { api_version: api_version.to_owned(), meta, body });
    }

    fn istio(&mut self, meta: Meta, body: Body) {
        let version = self.dice.pick(&["v1", "v1beta1", "v1alpha3"]);
        self.add(&format!("networking.istio.io/{version}"), meta, body);
    }

    /// `exportTo`, mostly as it is by default.
    fn export_to(&mut self, namespace: &str) -> Vec<String> {
        let other = self.dice.word(&NAMESPACES);
        match self.dice.below(20) {
            0..=12 => Vec::new(),
            13..=14 => vec!["*".to_owned()],
            15..=16 => vec![".".to_owned()],
            17..=18 => vec![other],
            _ if other == namespace => Vec::new(),
            _ => vec![".".to_owned(), other],
        }
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
