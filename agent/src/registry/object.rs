//! One document to one object of the registry: which kinds are read, and what is said of others.

use std::sync::Arc;

use serde_yaml::Value;

use super::{
    asm::egress_policy::EgressPolicy,
    findings::Checked,
    gloo::{
        external_endpoint::ExternalEndpoint,
        external_service::ExternalService,
        route_table::RouteTable,
        workspace::{Workspace, WorkspaceSettings},
    },
    istio::{
        destination_rule::DestinationRule, gateway::Gateway, mesh::Mesh,
        service_entry::ServiceEntry, sidecar::Sidecar, virtual_service::VirtualService,
        workload_entry::WorkloadEntry,
    },
    kubernetes::{endpoints::Endpoints, namespace::Namespace, pod::Pod, service::Service},
    meta::Meta,
    report::{Code, ObjectRef, Report},
};

/// A document that was looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Read {
    pub object: Arc<ObjectRef>,
    /// None if it is invalid, or declares and changes nothing.
    pub content: Option<Content>,
    pub reports: Vec<Report>,
}

impl Read {
    /// Whether the object breaks a rule, so that it is ignored whole.
    pub fn is_invalid(&self) -> bool {
        self.reports.iter().any(|report| report.code.refuses())
    }
}

const ISTIO: &str = "networking.istio.io";
const ISTIO_VERSIONS: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const GLOO: &str = "networking.gloo.solo.io";
const GLOO_ADMIN: &str = "admin.gloo.solo.io";
const GLOO_VERSIONS: &[&str] = &["v2"];
const ASM: &str = "istio.alibabacloud.com";
const ASM_VERSIONS: &[&str] = &["v1", "v1beta1"];
const CORE: &str = "";
const DISCOVERY: &str = "discovery.k8s.io";
const V1: &[&str] = &["v1"];

type Reader = fn(&Meta, &Value) -> Checked<Content>;

macro_rules! readers {
    ($($group:ident $versions:ident $kind:literal => $variant:ident($check:path);)+) => {
        /// What an object adds to the registry.
        #[derive(Clone, Debug, Eq, PartialEq)]
        pub enum Content {
            ServiceEntry(Arc<ServiceEntry>),
            VirtualService(Arc<VirtualService>),
            Gateway(Arc<Gateway>),
            DestinationRule(Arc<DestinationRule>),
            Sidecar(Arc<Sidecar>),
            WorkloadEntry(Arc<WorkloadEntry>),
            Mesh(Arc<Mesh>),
            ExternalService(Arc<ExternalService>),
            ExternalEndpoint(Arc<ExternalEndpoint>),
            RouteTable(Arc<RouteTable>),
            Workspace(Arc<Workspace>),
            WorkspaceSettings(Arc<WorkspaceSettings>),
            Service(Arc<Service>),
            Endpoints(Arc<Endpoints>),
            Pod(Arc<Pod>),
            Namespace(Arc<Namespace>),
            EgressPolicy(Arc<EgressPolicy>),
        }

        /// Group, versions and reader of every kind that is read.
        const READERS: &[(&str, &str, &[&str], Reader)] = &[
            $(($kind, $group, $versions, |meta, document| {
                let checked = $check(meta, document);
                Checked {
                    value: checked.value.map(|value| Content::$variant(Arc::new(value))),
                    reports: checked.reports,
                }
            }),)+
        ];
    };
}

readers! {
    ISTIO ISTIO_VERSIONS "ServiceEntry" => ServiceEntry(ServiceEntry::check);
    ISTIO ISTIO_VERSIONS "VirtualService" => VirtualService(VirtualService::check);
    ISTIO ISTIO_VERSIONS "Gateway" => Gateway(Gateway::check);
    ISTIO ISTIO_VERSIONS "DestinationRule" => DestinationRule(DestinationRule::check);
    ISTIO ISTIO_VERSIONS "Sidecar" => Sidecar(Sidecar::check);
    ISTIO ISTIO_VERSIONS "WorkloadEntry" => WorkloadEntry(WorkloadEntry::check);
    GLOO GLOO_VERSIONS "ExternalService" => ExternalService(ExternalService::check);
    GLOO GLOO_VERSIONS "ExternalEndpoint" => ExternalEndpoint(ExternalEndpoint::check);
    GLOO GLOO_VERSIONS "RouteTable" => RouteTable(RouteTable::check);
    GLOO_ADMIN GLOO_VERSIONS "Workspace" => Workspace(Workspace::check);
    GLOO_ADMIN GLOO_VERSIONS "WorkspaceSettings" => WorkspaceSettings(WorkspaceSettings::check);
    CORE V1 "Service" => Service(Service::check);
    CORE V1 "Endpoints" => Endpoints(Endpoints::check);
    DISCOVERY V1 "EndpointSlice" => Endpoints(Endpoints::check_slice);
    CORE V1 "Pod" => Pod(Pod::check);
    CORE V1 "Namespace" => Namespace(Namespace::check);
    ASM ASM_VERSIONS "ASMEgressTrafficPolicy" => EgressPolicy(EgressPolicy::check);
}

/// Kinds that declare or change destinations elsewhere, and are not read.
const UNREAD: &[(&str, &[&str])] = &[
    (ISTIO, &["WorkloadGroup", "EnvoyFilter", "ProxyConfig"]),
    (GLOO, &["VirtualGateway"]),
    ("policy.linkerd.io", &["EgressNetwork"]),
    ("policy.networking.k8s.io", &["AdminNetworkPolicy", "ClusterNetworkPolicy"]),
];

/// A kind that is read.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Kind {
    pub kind: &'static str,
    /// Empty for the core group.
    pub group: &'static str,
    /// The version to ask for first comes first.
    pub versions: &'static [&'static str],
}

/// Every kind that is read, but for the settings of a mesh: those are in a `ConfigMap`.
pub fn kinds() -> impl Iterator<Item = Kind> {
    READERS.iter().map(|(kind, group, versions, _)| Kind { kind, group, versions })
}

/// Looks at one document.
pub fn read(document: &Value) -> Read {
    let meta = match Meta::read(document) {
        Ok(meta) => meta,
        Err(report) => {
            return Read {
                object: Arc::new(report.object.clone()),
                content: None,
                reports: vec![*report],
            };
        }
    };
    let checked = if Mesh::is_in(&meta, document) {
        let checked = Mesh::check(&meta, document);
        Checked {
            value: checked.value.map(|mesh| Content::Mesh(Arc::new(mesh))),
            reports: checked.reports,
        }
    } else {
        match reader(&meta) {
            Ok(read) => read(&meta, document),
            Err(report) => Checked::refused(*report),
        }
    };
    Read { object: meta.object, content: checked.value, reports: checked.reports }
}

/// Finds the reader of an object, or says why it has none.
fn reader(meta: &Meta) -> Result<Reader, Box<Report>> {
    let kind = meta.object.kind.as_str();
    let of_kind = || READERS.iter().filter(|(it, ..)| *it == kind);
    let of_group = of_kind().find(|(_, group, ..)| *group == meta.group());
    if let Some((_, _, versions, read)) = of_group
        && versions.contains(&meta.version())
    {
        return Ok(*read);
    }
    // A wrong group is a slip as well, unless others have that kind too (Knative's Service …).
    let slip =
        of_group.or_else(|| of_kind().find(|(_, group, ..)| *group == ISTIO && kind != "Gateway"));
    if let Some((_, group, versions, _)) = slip {
        let expected: Vec<String> =
            versions.iter().map(|version| format!("{group}/{version}")).collect();
        let message = format!("`{}` is not {}", meta.api_version, expected.join(", "));
        return Err(Box::new(Report::new(Code::ApiVersion, &meta.object, "apiVersion", message)));
    }
    let is_unread =
        UNREAD.iter().any(|(group, kinds)| *group == meta.group() && kinds.contains(&kind));
    if is_unread {
        let message = format!("{kind} is not read: it opens nothing and changes nothing here");
        return Err(Box::new(Report::new(Code::Kind, &meta.object, "kind", message)));
    }
    let message = format!("{} {kind} declares no destinations", meta.api_version);
    Err(Box::new(Report::new(Code::KindForeign, &meta.object, "kind", message)))
}

#[cfg(test)]
mod tests {
    use super::{Content, read};

    #[track_caller]
    fn check(text: &str, code: Option<&str>, is_entry: bool) {
        let got = read(&serde_yaml::from_str(text).expect("YAML"));
        let codes: Vec<&str> = got.reports.iter().map(|it| it.code.as_str()).collect();
        assert_eq!(codes, code.into_iter().collect::<Vec<_>>(), "{text}");
        let entry = matches!(got.content, Some(Content::ServiceEntry(_)));
        assert_eq!(entry, is_entry, "{text}");
    }

    #[test]
    fn kinds() {
        let object = |version: &str, kind: &str| {
            format!(
                "{{apiVersion: {version}, kind: {kind}, metadata: {{name: x}}, spec: {{hosts: [a.example], ports: [{{number: 80, name: http, protocol: HTTP}}]}}}}"
            )
        };
        for version in ["v1", "v1beta1", "v1alpha3"] {
            check(&object(&format!("networking.istio.io/{version}"), "ServiceEntry"), None, true);
        }
        check(&object("networking.istio.io/v2", "ServiceEntry"), Some("E-API-VERSION"), false);
        check(&object("network.istio.io/v1", "ServiceEntry"), Some("E-API-VERSION"), false);
        check(&object("networking.istio.io/v1", "EnvoyFilter"), Some("U-KIND"), false);
        check(
            &object("networking.gloo.solo.io/v1", "ExternalService"),
            Some("E-API-VERSION"),
            false,
        );
        check(&object("gateway.networking.k8s.io/v1", "Gateway"), Some("I-KIND-FOREIGN"), false);
        check(&object("serving.knative.dev/v1", "Service"), Some("I-KIND-FOREIGN"), false);
        check(&object("apps/v1", "Deployment"), Some("I-KIND-FOREIGN"), false);
        check("{kind: ServiceEntry}", Some("E-OBJECT"), false);
        check("text", Some("E-OBJECT"), false);
    }
}
