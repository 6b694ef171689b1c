//! What one object declares, in the form that all kinds share.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::SystemTime,
};

use ipnet::IpNet;

use crate::{
    policy::target::Backend,
    registry::{
        cidr,
        export_to::ExportTo,
        host::HostPattern,
        istio::{mesh::Cap, service_entry::Resolution},
        kubernetes::service::Service,
        labels::Labels,
        port::Protocol,
        report::ObjectRef,
    },
};

/// One object's hosts, addresses and ports. Its endpoints are found, its defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Declaration {
    pub entry: Arc<ObjectRef>,
    pub created: Option<SystemTime>,
    pub home: Home,
    pub audience: Audience,
    pub hosts: Vec<HostPattern>,
    /// Learned names count. They never do for Services of the cluster, which have addresses.
    pub by_name: bool,
    pub addresses: Vec<IpNet>,
    /// Addresses that stand for one host and lead nowhere by themselves.
    pub virtual_addresses: BTreeMap<HostPattern, Vec<IpAddr>>,
    pub ports: Vec<Port>,
    pub resolution: Resolution,
    /// Endpoints were declared, found or not.
    pub has_endpoints: bool,
    /// Internal addresses that names of its endpoints lead to, which are left out. Sorted.
    pub guarded: Vec<IpAddr>,
    pub likeness: Likeness,
    pub carrier: Carrier,
    /// The Kubernetes Service that it is.
    pub service: Option<Arc<Service>>,
    /// The name that its host stands for (`ExternalName`).
    pub alias_of: Option<HostPattern>,
}

/// What must take flows on, whoever sends them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Carrier {
    #[default]
    Nobody,
    /// A waypoint of an ambient mesh.
    Waypoint,
    /// A proxy that knows Gloo's `RouteTable` for the host.
    RouteTable,
}

/// What must be equal for two declarations with different ports to unite.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Likeness {
    pub labels: Labels,
    pub selector: Option<Labels>,
    pub export_to: Option<ExportTo>,
}

/// Within what declarations of one host unite; others hide each other.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Home {
    Namespace,
    /// Of Gloo, by name.
    Workspace(String),
    /// Gloo without workspaces.
    Mesh,
}

/// Who sees a declaration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Audience {
    /// `exportTo`, and the cap that the mesh sets by the labels of the namespace.
    Exported { to: ExportTo, cap: Cap },
    /// Namespaces of these Gloo workspaces.
    Workspaces(Vec<String>),
}

/// One port, with where its flows go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Port {
    pub number: u16,
    pub name: String,
    pub protocol: Protocol,
    /// Port of the destination, where flows are not sent to endpoints.
    pub target: Option<u16>,
    /// Usable endpoints.
    pub backends: Vec<Backend>,
    /// Among the endpoints is a unix socket.
    pub has_unix: bool,
    /// A headless Service: these are matched themselves. Sorted, because there may be many.
    pub instances: Vec<SocketAddr>,
    /// A proxy must begin TLS (Gloo's `clientsideTls`).
    pub originates_tls: bool,
    /// Gloo sends its flows through a gateway, which this agent cannot find.
    pub is_routed_in_gloo: bool,
}

impl Declaration {
    pub fn namespace(&self) -> &str {
        &self.entry.namespace
    }

    /// Every prefix it claims.
    pub fn nets(&self) -> impl Iterator<Item = IpNet> {
        let single = |ip: IpAddr| cidr::normalize(ip.into());
        let handed_out = self.virtual_addresses.values().flatten().map(move |ip| single(*ip));
        let instances = self.ports.iter().flat_map(|port| &port.instances);
        let instances = instances.map(move |it| single(it.ip()));
        self.addresses.iter().copied().chain(handed_out).chain(instances)
    }

    pub const fn is_kubernetes(&self) -> bool {
        self.service.is_some()
    }

    /// Oldest first; of one age by namespace and name.
    pub fn by_age(&self, other: &Self) -> Ordering {
        let key = |it: &Self| (it.created, Arc::clone(&it.entry));
        let (a, b) = (key(self), key(other));
        a.0.cmp(&b.0).then_with(|| a.1.namespace.cmp(&b.1.namespace)).then_with(|| a.1.cmp(&b.1))
    }

    /// Whether flows go to the address that was dialled, and not to endpoints.
    pub const fn is_direct(&self) -> bool {
        match self.resolution {
            Resolution::None | Resolution::DynamicDns => true,
            Resolution::Static => false,
            Resolution::Dns | Resolution::DnsRoundRobin => !self.has_endpoints,
        }
    }
}

impl Port {
    /// The key of rules: number and IP protocol number.
    pub const fn key(&self) -> (u16, u8) {
        (self.number, self.protocol.transport())
    }

    /// Whether both were declared alike.
    pub fn is_like(&self, other: &Self) -> bool {
        self.number == other.number
            && self.name == other.name
            && self.protocol == other.protocol
            && self.target == other.target
    }
}
