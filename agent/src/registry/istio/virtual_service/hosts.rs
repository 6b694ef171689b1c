//! The hosts of a `VirtualService`, and which server names lie within them.

use std::{collections::BTreeSet, net::IpAddr};

use crate::registry::{
    findings::Findings,
    host::{HostPattern, InvalidHost},
    istio::names::complete,
    report::Code,
};

/// What `spec.hosts` says.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    /// As they are used: short names completed, each once.
    pub(super) completed: BTreeSet<HostPattern>,
    /// `*`
    pub(super) all: bool,
    /// As they were written, to compare by.
    written: BTreeSet<HostPattern>,
    /// What stands behind the star of partial wildcards, which are left out.
    partial: BTreeSet<String>,
}

/// How a server name stands to the hosts.
pub(super) enum Sni {
    Every,
    Within(HostPattern),
    /// Valid, but nothing here can be compared with it.
    Skipped,
}

impl Hosts {
    pub(super) fn check(
        list: &[String],
        namespace: &str,
        on_mesh: bool,
        found: &mut Findings<'_>,
    ) -> Self {
        let mut hosts = Self::default();
        let mut addresses = BTreeSet::new();
        for (index, text) in list.iter().enumerate() {
            let path = format!("spec.hosts[{index}]");
            if text == "*" {
                if on_mesh {
                    let message = "`*` would catch every host of the mesh; name the hosts, or use a gateway only";
                    found.add(Code::VirtualServiceHost, path, message);
                } else if list.len() > 1 {
                    let message = "`*` holds every other host of the list";
                    found.add(Code::VirtualServiceHost, path, message);
                }
                hosts.all = true;
            } else if let Ok(address) = text.parse::<IpAddr>() {
                if on_mesh {
                    let message =
                        format!("`{text}` is an address, which only routes of a gateway can have");
                    found.add(Code::VirtualServiceHost, path, message);
                } else if !addresses.insert(address) {
                    found.add(Code::VirtualServiceHost, path, format!("`{text}` stands twice"));
                }
            } else {
                hosts.add(text, namespace, path, found);
            }
        }
        hosts.overlaps(found);
        hosts
    }

    fn add(&mut self, text: &str, namespace: &str, path: String, found: &mut Findings<'_>) {
        match (HostPattern::parse(text), complete(text, namespace)) {
            (Ok(host), Ok(completed)) => {
                if self.written.contains(&host) {
                    found.add(Code::VirtualServiceHost, path, format!("`{text}` stands twice"));
                } else {
                    self.written.insert(host);
                    self.completed.insert(completed);
                }
            }
            (Err(error @ InvalidHost::PartialWildcard), _) => {
                found.add(Code::HostPartialWildcard, path, format!("`{text}`: {error}"));
                self.partial.insert(tail(text));
            }
            (Err(error), _) | (_, Err(error)) => {
                found.add(Code::VirtualServiceHost, path, format!("`{text}`: {error}"));
            }
        }
    }

    fn overlaps(&self, found: &mut Findings<'_>) {
        for host in &self.written {
            if let Some(wider) = host.covering().find(|wider| self.written.contains(wider)) {
                let message = format!("`{wider}` holds `{host}` already; hosts may not overlap");
                found.add(Code::VirtualServiceHost, "spec.hosts", message);
            }
        }
    }

    /// Checks a server name of a `tls` match.
    pub(super) fn sni(
        &self,
        text: &str,
        namespace: &str,
        path: String,
        found: &mut Findings<'_>,
    ) -> Sni {
        if text == "*" && self.all {
            return Sni::Every;
        }
        if text.parse::<IpAddr>().is_ok() {
            let message = format!("`{text}` is an address, and TLS clients send names only");
            found.add(Code::Ignored, path, message);
            return Sni::Skipped;
        }
        match HostPattern::parse(text) {
            // Completed, it may be too long; then it is compared as it stands.
            Ok(name) if self.covers(&name) => {
                return Sni::Within(complete(text, namespace).unwrap_or(name));
            }
            Ok(_) | Err(InvalidHost::PartialWildcard) if self.covers_partly(text) => {
                let message = format!("`{text}`: {}", InvalidHost::PartialWildcard);
                found.add(Code::HostPartialWildcard, path, message);
            }
            Ok(_) | Err(InvalidHost::PartialWildcard) => {
                let message = format!("`{text}` lies within none of the hosts of the object");
                found.add(Code::VirtualServiceSni, path, message);
            }
            Err(error) => {
                found.add(Code::VirtualServiceSni, path, format!("`{text}`: {error}"));
            }
        }
        Sni::Skipped
    }

    fn covers(&self, name: &HostPattern) -> bool {
        self.all
            || self.written.contains(name)
            || name.covering().any(|wider| self.written.contains(&wider))
    }

    /// Whether a name or partial wildcard lies within the hosts, one of the two being partial.
    fn covers_partly(&self, text: &str) -> bool {
        let rest = tail(text);
        let mut ends = rest.char_indices().map(|(at, _)| &rest[at..]);
        if self.all || ends.any(|end| self.partial.contains(end)) {
            return true;
        }
        // `*a.example.com` lies within `*.example.com`.
        let below = rest.split_once('.').map(|(_, parent)| format!("x.{parent}"));
        text.starts_with('*')
            && below
                .and_then(|name| HostPattern::parse(&name).ok())
                .is_some_and(|name| name.covering().any(|wider| self.written.contains(&wider)))
    }
}

/// A name without its star, in lower case and without the dot at its end.
fn tail(text: &str) -> String {
    let text = text.strip_prefix('*').unwrap_or(text);
    text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()
}
