//! A `Pod`, as an endpoint of entries that select it.

use std::{collections::BTreeMap, net::IpAddr};

use serde_yaml::Value;

use super::super::{findings::Checked, header::Header, meta::Meta};

/// A pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pod {
    pub header: Header,
    /// Empty until it has one.
    pub addresses: Vec<IpAddr>,
    pub is_ready: bool,
    /// Its TCP container ports by name; the first of a name counts.
    pub ports: BTreeMap<String, u16>,
}

impl Pod {
    /// Checks a document whose metadata were read; `W-POD-EXCLUSION` for annotations
    /// `traffic.sidecar.istio.io/exclude*`.
    pub fn check(_meta: &Meta, _document: &Value) -> Checked<Self> {
        todo!()
    }
}
