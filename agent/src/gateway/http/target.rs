//! Where a request is to go: its host and port, from what it says of them (RFC 9112 §3.2).

use hyper::{
    Method, Uri, Version,
    header::{HOST, HeaderMap, HeaderValue},
    http::{request::Parts, uri::PathAndQuery},
};

use crate::gateway::{host::Host, refusal::Cause, route::Wanted};

/// A request's destination, and how it is written for the server there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Target {
    pub(super) wanted: Wanted,
    /// The host as the client wrote it: the only one that goes on.
    pub(super) host: HeaderValue,
    pub(super) uri: Uri,
}

/// Reads the destination of a request. `port` counts where the client names none.
pub(super) fn target(request: &Parts, port: u16) -> Result<Target, Cause> {
    let Parts { method, uri, version, headers, .. } = request;
    if method == Method::CONNECT {
        return Err(Cause::NotOffered);
    }
    if *version > Version::HTTP_11 {
        return Err(Cause::Malformed);
    }
    let header = host_header(headers)?;
    let authority = match (uri.scheme_str(), uri.authority()) {
        (None, None) => header.ok_or(Cause::NoName)?,
        // The target counts, and the header is made to agree with it (RFC 9112 §3.2.2).
        (Some("http"), Some(authority)) => authority.as_str(),
        (Some("https"), Some(_)) => return Err(Cause::NotOffered),
        _ => return Err(Cause::Malformed),
    };
    let wanted = wanted(authority, port)?;
    let host = HeaderValue::from_str(authority).map_err(|_| Cause::Malformed)?;
    Ok(Target { wanted, host, uri: origin(method, uri)? })
}

/// The one Host header; a request with two has no destination (RFC 9112 §3.2).
fn host_header(headers: &HeaderMap) -> Result<Option<&str>, Cause> {
    let mut all = headers.get_all(HOST).iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(one), None) => match one.to_str() {
            Ok("") => Ok(None),
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(Cause::Malformed),
        },
        (Some(_), Some(_)) => Err(Cause::Malformed),
    }
}

/// `host` or `host:port`, and nothing beside them.
fn wanted(authority: &str, default: u16) -> Result<Wanted, Cause> {
    let after_bracket = authority.rfind(']').map_or(0, |at| at + 1);
    let colon = authority.get(after_bracket..).and_then(|rest| rest.find(':'));
    let (host, port) = match colon.and_then(|at| authority.split_at_checked(after_bracket + at)) {
        None => (authority, default),
        Some((host, port)) => {
            let digits = port.strip_prefix(':').unwrap_or_default();
            let is_number = digits.bytes().all(|it| it.is_ascii_digit());
            // RFC 3986 §3.2.3: an empty port is the default one.
            let port = if digits.is_empty() { Some(default) } else { digits.parse().ok() };
            (host, port.filter(|it| *it != 0 && is_number).ok_or(Cause::Malformed)?)
        }
    };
    let host = Host::parse(host).ok_or(Cause::Malformed)?;
    Ok(Wanted { host, port })
}

/// The target as an origin server is given it (RFC 9112 §3.2.1, §3.2.4).
fn origin(method: &Method, uri: &Uri) -> Result<Uri, Cause> {
    let is_about_server = method == Method::OPTIONS
        && uri.authority().is_some()
        && uri.path_and_query().is_none_or(|it| it.as_str().is_empty() || it.as_str() == "/");
    let path = if is_about_server {
        PathAndQuery::from_static("*")
    } else {
        uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"))
    };
    let mut parts = hyper::http::uri::Parts::default();
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(|_| Cause::Malformed)
}

#[cfg(test)]
mod tests {
    use hyper::{Request, header::HOST};
    use proptest::prelude::*;

    use super::target;
    use crate::gateway::refusal::Cause;

    /// `host port uri` of a request, or why there is none.
    #[expect(clippy::unwrap_in_result, reason = "a test stops at what it did not expect")]
    fn read(method: &str, uri: &str, hosts: &[&str]) -> Result<String, Cause> {
        let mut request = Request::builder().method(method).uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let target = target(&parts, 80)?;
        let host = target.host.to_str().expect("text").to_owned();
        let wanted = target.wanted;
        Ok(format!("{} {} {host} {}", wanted.host, wanted.port, target.uri))
    }

    #[test]
    fn every_form_of_a_target() {
        for (method, uri, hosts, expected) in [
            (
                "GET",
                "/a?b=c",
                &["www.example.com"][..],
                "www.example.com 80 www.example.com /a?b=c",
            ),
            ("GET", "/", &["WWW.example.com:8080"], "www.example.com 8080 WWW.example.com:8080 /"),
            ("GET", "/", &["www.example.com:"], "www.example.com 80 www.example.com: /"),
            ("GET", "/", &["[2001:db8::1]:81"], "[2001:db8::1] 81 [2001:db8::1]:81 /"),
            ("GET", "/", &["192.0.2.1"], "192.0.2.1 80 192.0.2.1 /"),
            ("OPTIONS", "*", &["a.example.com"], "a.example.com 80 a.example.com *"),
            // The target counts, whatever the header says.
            (
                "GET",
                "http://b.example.com/x",
                &["a.example.com"],
                "b.example.com 80 b.example.com /x",
            ),
            ("GET", "http://b.example.com:81", &[], "b.example.com 81 b.example.com:81 /"),
        ] {
            assert_eq!(read(method, uri, hosts).as_deref(), Ok(expected), "{uri} {hosts:?}");
        }
    }

    #[test]
    fn what_has_no_one_destination() {
        for (method, uri, hosts, expected) in [
            ("GET", "/", &[][..], Cause::NoName),
            ("GET", "/", &[""], Cause::NoName),
            ("GET", "/", &["a.example.com", "b.example.com"], Cause::Malformed),
            ("GET", "/", &["a.example.com", "a.example.com"], Cause::Malformed),
            ("GET", "http://b.example.com/", &["a.example.com", "b.example.com"], Cause::Malformed),
            ("GET", "/", &["user@a.example.com"], Cause::Malformed),
            ("GET", "http://user@b.example.com/", &[], Cause::Malformed),
            ("GET", "/", &["a.example.com:80:81"], Cause::Malformed),
            ("GET", "/", &["a.example.com:+80"], Cause::Malformed),
            ("GET", "/", &["a.example.com:0"], Cause::Malformed),
            ("GET", "/", &["a.example.com:65536"], Cause::Malformed),
            ("GET", "/", &["a.example.com b.example.com"], Cause::Malformed),
            ("GET", "/", &["a.example.com/b"], Cause::Malformed),
            ("GET", "/", &["2001:db8::1"], Cause::Malformed),
            ("CONNECT", "a.example.com:443", &["a.example.com"], Cause::NotOffered),
            ("GET", "https://a.example.com/", &["a.example.com"], Cause::NotOffered),
            ("GET", "ftp://a.example.com/", &["a.example.com"], Cause::Malformed),
        ] {
            assert_eq!(read(method, uri, hosts), Err(expected), "{method} {uri} {hosts:?}");
        }
    }

    proptest! {
        #[test]
        fn what_goes_on_names_what_was_judged(host in "[ -~]{0,40}") {
            if let Ok(read) = read("GET", "/", &[&host]) {
                let again = read.split(' ').nth(2).expect("the host that goes on").to_owned();
                prop_assert_eq!(again, host);
            }
        }
    }
}
