//! The declared destinations: an immutable value of checked objects. No IO but in [`load`].

pub mod asm;
pub mod cidr;
pub mod document;
pub mod endpoint;
pub mod export_to;
pub mod file;
pub mod findings;
pub mod gloo;
pub mod header;
pub mod host;
mod hosts;
pub mod istio;
pub mod kubernetes;
pub mod labels;
pub mod load;
pub mod meta;
mod nesting;
pub mod object;
pub mod port;
pub mod report;
pub mod shape;
#[cfg(test)]
mod testing;

use std::{collections::BTreeSet, sync::Arc};

use object::Content;

macro_rules! registry {
    ($($variant:ident($type:path) in $field:ident;)+) => {
        /// Everything that is declared and valid, by kind, each oldest first and then by namespace
        /// and name. The order of what it was made from plays no part.
        #[derive(Clone, Debug, Default, Eq, PartialEq)]
        pub struct Registry {
            $($field: Vec<Arc<$type>>,)+
        }

        impl Registry {
            pub fn new(contents: impl IntoIterator<Item = Content>) -> Self {
                let mut registry = Self::default();
                for content in contents {
                    match content {
                        $(Content::$variant(value) => registry.$field.push(value),)+
                    }
                }
                $(registry.$field.sort_by(|a, b| a.header.by_age(&b.header));)+
                registry
            }

            $(
                pub fn $field(&self) -> &[Arc<$type>] {
                    &self.$field
                }
            )+

            /// Whether all kinds but service entries are the same.
            pub fn differs_in_entries_only(&self, other: &Self) -> bool {
                let is_entries = |kind| kind == "service_entries";
                true $(&& (is_entries(stringify!($field)) || is_same(&self.$field, &other.$field)))+
            }

            /// Whether nothing is different. Objects that are kept are not looked into.
            pub fn is_same_as(&self, other: &Self) -> bool {
                true $(&& is_same(&self.$field, &other.$field))+
            }

            /// Every namespace that has an object.
            pub fn used_namespaces(&self) -> BTreeSet<&str> {
                let mut namespaces = BTreeSet::new();
                $(namespaces.extend(self.$field.iter().map(|it| it.header.namespace()));)+
                namespaces
            }
        }
    };
}

registry! {
    ServiceEntry(istio::service_entry::ServiceEntry) in service_entries;
    VirtualService(istio::virtual_service::VirtualService) in virtual_services;
    Gateway(istio::gateway::Gateway) in gateways;
    DestinationRule(istio::destination_rule::DestinationRule) in destination_rules;
    Sidecar(istio::sidecar::Sidecar) in sidecars;
    WorkloadEntry(istio::workload_entry::WorkloadEntry) in workload_entries;
    Mesh(istio::mesh::Mesh) in meshes;
    ExternalService(gloo::external_service::ExternalService) in external_services;
    ExternalEndpoint(gloo::external_endpoint::ExternalEndpoint) in external_endpoints;
    RouteTable(gloo::route_table::RouteTable) in route_tables;
    Workspace(gloo::workspace::Workspace) in workspaces;
    WorkspaceSettings(gloo::workspace::WorkspaceSettings) in workspace_settings;
    Service(kubernetes::service::Service) in services;
    Endpoints(kubernetes::endpoints::Endpoints) in endpoints;
    Pod(kubernetes::pod::Pod) in pods;
    Namespace(kubernetes::namespace::Namespace) in namespaces;
    EgressPolicy(asm::egress_policy::EgressPolicy) in egress_policies;
}

/// Compares without looking into what is shared.
fn is_same<T: PartialEq>(a: &[Arc<T>], b: &[Arc<T>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b) || a == b)
}
