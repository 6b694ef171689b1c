//! Names and addresses as plain text and numbers: what covers what.

use std::net::IpAddr;

use super::super::world::Labels;

/// In lower case, without the dot at the end.
pub(crate) fn plain(name: &str) -> String {
    let name = name.to_lowercase();
    name.strip_suffix('.').map(str::to_owned).unwrap_or(name)
}

pub(crate) fn is_wildcard(host: &str) -> bool {
    host.starts_with('*')
}

/// Whether a host of the registry covers a name that was asked for.
pub(crate) fn covers(host: &str, name: &str) -> bool {
    match host.strip_prefix('*') {
        Some(suffix) => name.len() > suffix.len() && name.ends_with(suffix),
        None => host == name,
    }
}

/// Whether every name that `narrow` covers is covered by `wide`.
pub(crate) fn is_subset(narrow: &str, wide: &str) -> bool {
    if wide == "*" {
        return true;
    }
    match (narrow.strip_prefix('*'), wide.strip_prefix('*')) {
        (Some(narrow), Some(wide)) => narrow.ends_with(wide),
        (None, Some(_)) => covers(wide, narrow),
        (Some(_), None) => false,
        (None, None) => narrow == wide,
    }
}

/// Whether all of `wanted` are among `labels`.
pub(crate) fn selects(wanted: &Labels, labels: &Labels) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// An address as a number, and whether it is IPv6. A mapped one is IPv4.
pub(crate) fn number(text: &str) -> Option<(bool, u128)> {
    match text.parse::<IpAddr>().ok()? {
        IpAddr::V4(v4) => Some((false, u128::from(u32::from(v4)))),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => Some((false, u128::from(u32::from(v4)))),
            None => Some((true, u128::from(v6))),
        },
    }
}

/// The length of a prefix that covers `ip`, counted so that a single address has 128.
pub(crate) fn prefix_over(prefix: &str, ip: &str) -> Option<u32> {
    let (base, length) = match prefix.split_once('/') {
        Some((base, length)) => (base, Some(length.parse::<u32>().ok()?)),
        None => (prefix, None),
    };
    let (is_v6, base) = number(base)?;
    let (ip_is_v6, ip) = number(ip)?;
    if is_v6 != ip_is_v6 {
        return None;
    }
    let width = if is_v6 { 128 } else { 32 };
    let length = length.unwrap_or(width);
    let free = width - length;
    let same = free >= 128 || (base >> free) == (ip >> free);
    same.then_some(128 - free)
}

pub(crate) fn is_loopback(ip: &str) -> bool {
    prefix_over("127.0.0.0/8", ip).is_some() || prefix_over("::1", ip).is_some()
}

/// Addresses that no answer may open, whatever name they are said to have.
pub(crate) fn is_guarded(ip: &str) -> bool {
    let never = [
        "0.0.0.0",
        "::",
        "127.0.0.0/8",
        "::1",
        "169.254.0.0/16",
        "fe80::/10",
        "224.0.0.0/4",
        "ff00::/8",
        "255.255.255.255",
    ];
    never.iter().chain(&super::CLUSTER).any(|it| prefix_over(it, ip).is_some())
}

/// `address:port`, brackets around IPv6.
pub(crate) fn socket(ip: &str, port: u16) -> String {
    match ip.parse::<IpAddr>().map(|it| it.to_canonical()) {
        Ok(IpAddr::V6(v6)) => format!("[{v6}]:{port}"),
        Ok(IpAddr::V4(v4)) => format!("{v4}:{port}"),
        Err(_) => format!("{ip}:{port}"),
    }
}
