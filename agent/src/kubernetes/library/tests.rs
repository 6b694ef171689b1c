//! Events of all sources to what others see.

use kube::{core::ApiResource, runtime::watcher::Event};
use serde_json::{Value, json};

use super::{Changed, Fetched, Library, Source};

const NOTHING: Changed = Changed { definitions: false, pods: false, registry: false };
const REGISTRY: Changed = Changed { registry: true, ..NOTHING };

fn source(name: &str) -> Source {
    let all = Source::always(true).chain(Source::custom_kinds().map(Source::Objects));
    let mut all = all.chain([Source::PodsOf("shop".into())]);
    all.find(|it| it.to_string() == name).unwrap_or_else(|| panic!("no source {name}"))
}

fn resource(source: &Source) -> ApiResource {
    source.resource().unwrap_or_else(|| ApiResource {
        group: "networking.istio.io".into(),
        version: "v1".into(),
        api_version: "networking.istio.io/v1".into(),
        kind: source.to_string(),
        plural: "all".into(),
    })
}

impl Library {
    fn take(&mut self, name: &str, event: Event<Value>) -> Changed {
        let source = source(name);
        let object = |value: Value| serde_json::from_value::<Fetched>(value).expect("an object");
        let event = match event {
            Event::Apply(value) => Event::Apply(object(value)),
            Event::Delete(value) => Event::Delete(object(value)),
            Event::InitApply(value) => Event::InitApply(object(value)),
            Event::Init => Event::Init,
            Event::InitDone => Event::InitDone,
        };
        self.apply(&source, &resource(&source), event)
    }

    fn list(&mut self, name: &str, items: impl IntoIterator<Item = Value>) {
        self.take(name, Event::Init);
        for item in items {
            self.take(name, Event::InitApply(item));
        }
        self.take(name, Event::InitDone);
    }

    fn declared_names(&self) -> Vec<String> {
        self.declared().iter().map(|read| read.object.to_string()).collect()
    }
}

fn object(name: &str, rest: &Value) -> Value {
    let mut object = json!({"metadata": {"name": name, "namespace": "shop", "uid": name}});
    for (key, value) in rest.as_object().expect("fields") {
        object[key] = value.clone();
    }
    object
}

fn entry(name: &str, is_selecting: bool) -> Value {
    let mut spec = json!({
        "hosts": ["a.example"], "resolution": "STATIC",
        "ports": [{"number": 443, "name": "tls", "protocol": "TLS"}],
    });
    if is_selecting {
        spec["workloadSelector"] = json!({"labels": {"app": "web"}});
    }
    object(name, &json!({"spec": spec}))
}

fn service(name: &str, address: &str) -> Value {
    object(name, &json!({"spec": {"clusterIP": address, "ports": [{"port": 80}]}}))
}

fn slice(service: &str, address: &str) -> Value {
    let mut slice = object(
        &format!("{service}-1"),
        &json!({"addressType": "IPv4", "endpoints": [{"addresses": [address]}], "ports": [{"name": "", "port": 80}]}),
    );
    slice["metadata"]["labels"] = json!({"kubernetes.io/service-name": service});
    slice
}

#[test]
fn half_a_list_declares_nothing() {
    let mut library = Library::default();
    library.take("ServiceEntry", Event::Init);
    library.take("ServiceEntry", Event::InitApply(entry("a", false)));
    assert!(library.declared().is_empty());
    assert_eq!(library.take("ServiceEntry", Event::InitDone), REGISTRY);
    assert_eq!(library.declared_names(), ["ServiceEntry/shop/a"]);
    assert_eq!(library.take("ServiceEntry", Event::Apply(entry("a", false))), NOTHING);
    let gone = library.take("ServiceEntry", Event::Delete(entry("a", false)));
    assert_eq!(gone, REGISTRY);
    library.list("ServiceEntry", [entry("b", false)]);
    library.forget(&source("ServiceEntry"));
    assert!(library.declared().is_empty());
}

#[test]
fn slices_of_services_with_an_address_are_nobodys_business() {
    let mut library = Library::default();
    library.list("Service", [service("plain", "10.96.0.1"), service("headless", "None")]);
    library.list("EndpointSlice", [slice("plain", "10.0.0.1"), slice("headless", "10.0.0.1")]);
    let names = library.declared_names();
    assert!(names.contains(&"EndpointSlice/shop/headless-1".to_owned()), "{names:?}");
    assert!(!names.contains(&"EndpointSlice/shop/plain-1".to_owned()), "{names:?}");
    for (service, expected) in [("plain", NOTHING), ("headless", REGISTRY)] {
        let moved = library.take("EndpointSlice", Event::Apply(slice(service, "10.0.0.2")));
        assert_eq!(moved, expected, "{service}");
        let gone = library.take("EndpointSlice", Event::Delete(slice(service, "10.0.0.2")));
        assert_eq!(gone, expected, "{service}");
    }
}

#[test]
fn pods_take_labels_over_from_their_namespaces() {
    let mut library = Library::default();
    library.list("pods of this node", [object("p", &json!({}))]);
    assert!(!library.pods()["p"].is_ambient);
    let namespace =
        json!({"metadata": {"name": "shop", "labels": {"istio.io/dataplane-mode": "ambient"}}});
    let changed = library.take("Namespace", Event::Apply(namespace));
    assert!(changed.pods && changed.registry);
    assert!(library.pods()["p"].is_ambient);
}

#[test]
fn a_pod_that_has_ended_is_gone() {
    let mut library = Library::default();
    library.list("pods of this node", [object("p", &json!({}))]);
    let ended = object("p", &json!({"status": {"phase": "Failed"}}));
    let changed = library.take("pods of this node", Event::Apply(ended));
    assert_eq!(changed, Changed { pods: true, ..NOTHING });
    assert!(library.pods().is_empty());
}

/// A pod that is somebody's endpoint is declared once, by the list of its namespace.
#[test]
fn remarks_about_pods_of_the_node_are_made_once() {
    let mut pod = object("p", &json!({}));
    pod["metadata"]["annotations"] = json!({"traffic.sidecar.istio.io/excludeOutboundPorts": "22"});
    let mut library = Library::default();
    library.list("pods of this node", [pod.clone()]);
    let declared = library.declared();
    assert!(declared.len() == 1 && declared[0].content.is_none(), "{declared:?}");
    library.list("ServiceEntry", [entry("a", true)]);
    assert_eq!(library.selecting().len(), 1);
    library.list("pods of shop", [pod]);
    let names = library.declared_names();
    assert_eq!(names.iter().filter(|name| *name == "Pod/shop/p").count(), 1, "{names:?}");
    assert!(library.declared().iter().all(|read| read.content.is_some()));
}

#[test]
fn definitions_are_known_by_name() {
    let mut library = Library::default();
    assert!(library.definitions().is_none());
    let definition = json!({"metadata": {"name": "serviceentries.networking.istio.io"}});
    library.list("customresourcedefinitions", [definition]);
    let names: Vec<&str> = library.definitions().expect("listed").collect();
    assert_eq!(names, ["serviceentries.networking.istio.io"]);
}
