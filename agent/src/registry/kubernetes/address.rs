//! Addresses of endpoints that were made by hand.

use std::net::IpAddr;

use super::super::{findings::Findings, report::Code};

/// Reads the address of an endpoint. As in the API server it must not be one that means something
/// else on each node, so that nobody reaches a node's own services by an endpoint.
///
/// Source: <https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoints-v1/>.
pub(super) fn check(text: &str, path: &str, found: &mut Findings<'_>) -> Option<IpAddr> {
    let Ok(address) = text.parse::<IpAddr>() else {
        found.add(Code::EndpointAddress, path, format!("`{text}` is not an IP address"));
        return None;
    };
    let address = address.to_canonical();
    if is_special(address) {
        let message =
            format!("{address} is unspecified, loopback or link-local: it cannot be an endpoint");
        found.add(Code::EndpointAddress, path, message);
        return None;
    }
    Some(address)
}

fn is_special(address: IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.octets().starts_with(&[224, 0, 0]),
        // ff02::/16 for any flags: multicast on the link.
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.segments()[0] & 0xff0f == 0xff02,
    };
    is_link_local || address.is_unspecified() || address.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::registry::{findings::Findings, report::ObjectRef};

    #[track_caller]
    fn read(text: &str, expected: Option<&str>) {
        let object = ObjectRef { kind: "A".into(), namespace: "v".into(), name: "n".into() };
        let mut found = Findings::new(&object, Vec::new());
        let got = check(text, "at", &mut found).map(|it| it.to_string());
        assert_eq!(got.as_deref(), expected, "{text}");
        assert_eq!(found.refuse(), expected.is_none(), "{text}");
    }

    #[test]
    fn addresses() {
        read("198.35.26.96", Some("198.35.26.96"));
        read("10.0.0.1", Some("10.0.0.1"));
        read("2001:db8::1", Some("2001:db8::1"));
        read("::ffff:192.0.2.1", Some("192.0.2.1"));
        for bad in [
            "",
            "example.com",
            "192.0.2.1/32",
            "0.0.0.0",
            "127.0.0.1",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "224.0.0.251",
            "::",
            "::1",
            "fe80::1",
            "ff02::fb",
            "ff12::1",
        ] {
            read(bad, None);
        }
    }
}
