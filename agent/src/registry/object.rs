//! One document to one object of the registry: which kinds are read, and what is said of others.

use std::sync::Arc;

use serde_yaml::Value;

use super::{
    governed::Governed,
    meta::Meta,
    report::{Code, ObjectRef, Report, Severity},
    service_entry::ServiceEntry,
};

/// A document that was looked at.
#[derive(Clone, Debug)]
pub struct Read {
    pub object: ObjectRef,
    /// None if it is invalid, or declares and changes nothing.
    pub content: Option<Content>,
    pub reports: Vec<Report>,
}

/// What an object adds to the registry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Content {
    ServiceEntry(Arc<ServiceEntry>),
    Governed(Arc<Governed>),
}

impl Read {
    /// Whether the object breaks a rule, so that it is ignored whole.
    pub fn is_invalid(&self) -> bool {
        self.reports.iter().any(|report| report.severity == Severity::Error)
    }
}

const ISTIO: &str = "networking.istio.io";
const ISTIO_VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha3"];

/// Groups and kinds that declare or change destinations, and are not read yet.
const UNREAD: [(&str, &[&str]); 8] = [
    (
        ISTIO,
        &[
            "VirtualService",
            "DestinationRule",
            "Gateway",
            "Sidecar",
            "WorkloadEntry",
            "WorkloadGroup",
            "EnvoyFilter",
        ],
    ),
    (
        "networking.gloo.solo.io",
        &["ExternalService", "ExternalEndpoint", "VirtualGateway", "RouteTable"],
    ),
    ("admin.gloo.solo.io", &["Workspace", "WorkspaceSettings"]),
    ("istio.alibabacloud.com", &["ASMEgressTrafficPolicy"]),
    ("", &["Service", "Endpoints", "Namespace"]),
    ("discovery.k8s.io", &["EndpointSlice"]),
    ("policy.linkerd.io", &["EgressNetwork"]),
    ("policy.networking.k8s.io", &["AdminNetworkPolicy", "ClusterNetworkPolicy"]),
];

/// Looks at one document.
pub fn read(document: &Value) -> Read {
    let meta = match Meta::read(document) {
        Ok(meta) => meta,
        Err(report) => {
            return Read { object: report.object.clone(), content: None, reports: vec![*report] };
        }
    };
    if meta.object.kind == "ServiceEntry" {
        return service_entry(&meta, document);
    }
    let governed = Governed::read(&meta, document);
    let is_unread = UNREAD
        .iter()
        .any(|(group, kinds)| *group == meta.group() && kinds.contains(&meta.object.kind.as_str()));
    let report = if is_unread {
        let effect = if governed.is_some() {
            "declared flows that it would change are denied"
        } else {
            "it opens nothing"
        };
        let message = format!("this version does not read {} yet: {effect}", meta.object.kind);
        Report::new(Code::Kind, &meta.object, "kind", message)
    } else {
        let message = format!("{} {} declares no destinations", meta.api_version, meta.object.kind);
        Report::new(Code::KindForeign, &meta.object, "kind", message)
    };
    Read {
        object: meta.object,
        content: governed.map(|governed| Content::Governed(Arc::new(governed))),
        reports: vec![report],
    }
}

fn service_entry(meta: &Meta, document: &Value) -> Read {
    if meta.group() != ISTIO || !ISTIO_VERSIONS.contains(&meta.version()) {
        let message = format!("`{}` is not {ISTIO}/v1, /v1beta1 or /v1alpha3", meta.api_version);
        return Read {
            object: meta.object.clone(),
            content: None,
            reports: vec![Report::new(Code::ApiVersion, &meta.object, "apiVersion", message)],
        };
    }
    let checked = ServiceEntry::check(meta, document);
    Read {
        object: meta.object.clone(),
        content: checked.entry.map(|entry| Content::ServiceEntry(Arc::new(entry))),
        reports: checked.reports,
    }
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
        check(&object("networking.istio.io/v1", "VirtualService"), Some("U-KIND"), false);
        check(&object("networking.istio.io/v1", "Gateway"), Some("U-KIND"), false);
        check(&object("networking.gloo.solo.io/v2", "ExternalService"), Some("U-KIND"), false);
        check(&object("v1", "Service"), Some("U-KIND"), false);
        check(&object("apps/v1", "Deployment"), Some("I-KIND-FOREIGN"), false);
        check("{kind: ServiceEntry}", Some("E-OBJECT"), false);
        check("text", Some("E-OBJECT"), false);
    }
}
