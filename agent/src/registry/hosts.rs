//! The list of hosts that an object declares.

use std::collections::BTreeSet;

use super::{
    findings::Findings,
    host::{HostPattern, InvalidHost},
    report::Code,
};

/// Reads the hosts at `path`, each once. Partial wildcards are reported and left out: the object
/// stands without them.
pub(super) fn check(list: &[String], path: &str, found: &mut Findings<'_>) -> Vec<HostPattern> {
    let mut hosts = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, text) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        match HostPattern::parse(text) {
            Ok(host) => {
                if host.is_wildcard() && host.labels() == 1 {
                    let message = format!("`{text}` declares a whole top-level domain");
                    found.add(Code::HostTldWildcard, path, message);
                }
                if seen.insert(host.clone()) {
                    hosts.push(host);
                }
            }
            Err(error) => {
                let code = match error {
                    InvalidHost::FullWildcard => Code::HostFullWildcard,
                    InvalidHost::PartialWildcard => Code::HostPartialWildcard,
                    InvalidHost::Empty
                    | InvalidHost::TooLong
                    | InvalidHost::Label(_)
                    | InvalidHost::StarInside
                    | InvalidHost::NumericTop => Code::HostSyntax,
                };
                found.add(code, path, format!("`{text}`: {error}"));
            }
        }
    }
    hosts
}
