//! `ServiceEntry` manifests for tests, written where they are used.

use serde_json::{Value, json};

/// A manifest under construction. Exported to all namespaces until told otherwise.
#[derive(Clone, Debug)]
pub struct Entry {
    namespace: String,
    name: String,
    hosts: Vec<String>,
    addresses: Vec<String>,
    ports: Vec<Value>,
    export_to: String,
}

impl Entry {
    pub fn new(namespace: &str, name: &str, host: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            hosts: vec![host.to_owned()],
            addresses: Vec::new(),
            ports: Vec::new(),
            export_to: "*".to_owned(),
        }
    }

    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.hosts.push(host.to_owned());
        self
    }

    #[must_use]
    pub fn address(mut self, address: &str) -> Self {
        self.addresses.push(address.to_owned());
        self
    }

    #[must_use]
    pub fn port(mut self, number: u16, protocol: &str) -> Self {
        let name = format!("{}-{number}", protocol.to_ascii_lowercase());
        self.ports.push(json!({ "number": number, "name": name, "protocol": protocol }));
        self
    }

    /// Visible to its own namespace only.
    #[must_use]
    pub fn private(mut self) -> Self {
        ".".clone_into(&mut self.export_to);
        self
    }

    /// The manifest. JSON is YAML, and needs no care for quoting.
    pub fn manifest(&self) -> String {
        let wildcard = self.hosts.iter().any(|host| host.starts_with('*'));
        let by_name = self.addresses.is_empty() && !wildcard;
        let mut spec = json!({
            "hosts": self.hosts,
            "ports": self.ports,
            "location": "MESH_EXTERNAL",
            "resolution": if by_name { "DNS" } else { "NONE" },
            "exportTo": [self.export_to],
        });
        if !self.addresses.is_empty() {
            spec["addresses"] = json!(self.addresses);
        }
        let manifest = json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": { "name": self.name, "namespace": self.namespace },
            "spec": spec,
        });
        format!("{manifest:#}\n")
    }

    /// The name of its file in the registry folder.
    pub fn file(&self) -> String {
        format!("{}-{}.yaml", self.namespace, self.name)
    }
}
