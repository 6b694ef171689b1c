//! What of a message's head goes on: all but what is between two neighbours (RFC 9110 §7.6.1).

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, VIA,
};

/// Fields about one connection, whether `Connection` names them or not.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Name of this gateway in `Via` (RFC 9110 §7.6.3).
const VIA_HERE: HeaderValue = HeaderValue::from_static("1.1 exeat");

/// Takes off what is not to go on to the destination. Says whether the client asks for a
/// WebSocket, the only upgrade that goes on: what follows it is no HTTP request.
pub(super) fn of_request(headers: &mut HeaderMap) -> bool {
    let is_websocket = names(headers, UPGRADE).any(|it| it.eq_ignore_ascii_case("websocket"))
        && names(headers, UPGRADE).count() == 1
        && names(headers, CONNECTION).any(|it| it.eq_ignore_ascii_case("upgrade"));
    let takes_trailers = names(headers, TE).any(|it| it.eq_ignore_ascii_case("trailers"));
    strip(headers);
    // The client has been told to go on, when its body was asked for.
    headers.remove(EXPECT);
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.append(CONNECTION, HeaderValue::from_static("te"));
    }
    if is_websocket {
        upgrade(headers);
    }
    headers.append(VIA, VIA_HERE);
    is_websocket
}

/// Takes off what is not to go on to the client. `is_upgraded`: both have agreed on a WebSocket.
pub(super) fn of_response(headers: &mut HeaderMap, is_upgraded: bool) {
    strip(headers);
    if is_upgraded {
        upgrade(headers);
    }
    headers.append(VIA, VIA_HERE);
}

fn upgrade(headers: &mut HeaderMap) {
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.append(CONNECTION, HeaderValue::from_static("upgrade"));
}

fn strip(headers: &mut HeaderMap) {
    // With both, the length of the body would be told twice, and differently (RFC 9112 §6.3).
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    let named: Vec<HeaderName> = names(headers, CONNECTION)
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        // What a message cannot do without is not an option of the connection.
        .filter(|name| ![CONTENT_LENGTH, TRAILER, hyper::header::HOST].contains(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// The members of a list (RFC 9110 §5.6.1).
fn names(headers: &HeaderMap, field: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(field).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderMap, HeaderName, HeaderValue};

    use super::{of_request, of_response};

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&str, &str)| {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            (name, HeaderValue::from_str(value).expect("a value"))
        };
        fields.iter().map(field).collect()
    }

    #[test]
    fn what_is_between_neighbours_stays_there() {
        let mut headers = map(&[
            ("connection", "close, X-Mine, content-length"),
            ("connection", "keep-alive"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic eA=="),
            ("te", "gzip, trailers"),
            ("expect", "100-continue"),
            ("upgrade", "h2c"),
            ("content-length", "3"),
            ("accept", "*/*"),
            ("authorization", "Bearer x"),
        ]);
        assert!(!of_request(&mut headers));
        let left = map(&[
            ("content-length", "3"),
            ("accept", "*/*"),
            ("authorization", "Bearer x"),
            ("te", "trailers"),
            ("connection", "te"),
            ("via", "1.1 exeat"),
        ]);
        assert_eq!(headers, left);
    }

    #[test]
    fn a_body_has_one_length() {
        let mut headers = map(&[("content-length", "3"), ("transfer-encoding", "chunked")]);
        of_request(&mut headers);
        assert_eq!(headers, map(&[("via", "1.1 exeat")]));
    }

    #[test]
    fn of_upgrades_only_a_websocket_goes_on() {
        for (upgrade, expected) in [("websocket", true), ("h2c", false), ("h2c, websocket", false)]
        {
            let mut headers = map(&[("connection", "Upgrade"), ("upgrade", upgrade)]);
            assert_eq!(of_request(&mut headers), expected, "{upgrade}");
            assert_eq!(headers.contains_key("upgrade"), expected, "{upgrade}");
        }
        let mut headers = map(&[("connection", "upgrade"), ("upgrade", "h2c")]);
        of_response(&mut headers, false);
        assert_eq!(headers, map(&[("via", "1.1 exeat")]));
    }
}
