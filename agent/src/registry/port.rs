//! Ports of a declared service: number, name, protocol and target port.

use exeat_common::flow::protocol;

use super::{findings::Findings, report::Code};

/// A port as declared, after its number and protocol were checked.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ServicePort {
    /// 1 to 65535.
    pub number: u16,
    pub name: String,
    pub protocol: Protocol,
    /// 1 to 65535; absent means `number`.
    pub target: Option<u16>,
}

impl ServicePort {
    /// Whether flows go to another port than the one dialled.
    pub fn rewrites(&self) -> bool {
        self.target.is_some_and(|target| target != self.number)
    }
}

/// The protocol of a port, as Istio names them.
///
/// Source: <https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/>.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Protocol {
    Http,
    Http2,
    Grpc,
    GrpcWeb,
    HttpProxy,
    Https,
    Tls,
    Tcp,
    Mongo,
    Redis,
    Mysql,
    Udp,
    /// None was declared: a proxy looks at the first bytes.
    Sniffed,
}

/// How a port is matched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// By a learned name or a declared address.
    Http,
    /// By declared addresses if there are any, else by a learned name.
    Tls,
    /// As TLS; protocol-less ports count as this.
    Tcp,
    /// As TLS, over UDP.
    Udp,
}

impl Protocol {
    /// Reads a protocol in any case; an empty text is a sniffed port.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_uppercase().as_str() {
            "HTTP" => Self::Http,
            "HTTP2" => Self::Http2,
            "GRPC" => Self::Grpc,
            "GRPC-WEB" => Self::GrpcWeb,
            "HTTP_PROXY" => Self::HttpProxy,
            "HTTPS" => Self::Https,
            "TLS" => Self::Tls,
            "TCP" => Self::Tcp,
            "MONGO" => Self::Mongo,
            "REDIS" => Self::Redis,
            "MYSQL" => Self::Mysql,
            "UDP" => Self::Udp,
            "" => Self::Sniffed,
            _ => return None,
        })
    }

    pub const fn class(self) -> Class {
        match self {
            Self::Http | Self::Http2 | Self::Grpc | Self::GrpcWeb | Self::HttpProxy => Class::Http,
            Self::Https | Self::Tls => Class::Tls,
            Self::Tcp | Self::Mongo | Self::Redis | Self::Mysql | Self::Sniffed => Class::Tcp,
            Self::Udp => Class::Udp,
        }
    }

    /// The IP protocol number: UDP only when it says so, so HTTP never opens HTTP/3.
    pub const fn transport(self) -> u8 {
        match self.class() {
            Class::Udp => protocol::UDP,
            Class::Http | Class::Tls | Class::Tcp => protocol::TCP,
        }
    }
}

/// A number as it was written, if it is a port.
pub(super) fn in_range(number: i64) -> Option<u16> {
    u16::try_from(number).ok().filter(|number| *number != 0)
}

/// As [`in_range`]; a number that is no port is reported as `code`.
pub(super) fn check_number(
    number: i64,
    path: impl Into<String>,
    code: Code,
    found: &mut Findings<'_>,
) -> Option<u16> {
    let port = in_range(number);
    if port.is_none() {
        found.add(code, path, format!("{number} is not a port (1 to 65535)"));
    }
    port
}

#[cfg(test)]
mod tests {
    use exeat_common::flow::protocol;

    use super::{Class, Protocol};

    #[track_caller]
    fn check(text: &str, expected: Option<(Class, u8)>) {
        let got = Protocol::parse(text).map(|it| (it.class(), it.transport()));
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn protocols() {
        check("HTTP", Some((Class::Http, protocol::TCP)));
        check("http2", Some((Class::Http, protocol::TCP)));
        check("gRPC-Web", Some((Class::Http, protocol::TCP)));
        check("HTTPS", Some((Class::Tls, protocol::TCP)));
        check("tls", Some((Class::Tls, protocol::TCP)));
        check("Mongo", Some((Class::Tcp, protocol::TCP)));
        check("", Some((Class::Tcp, protocol::TCP)));
        check("udp", Some((Class::Udp, protocol::UDP)));
        check("WEBSOCKET", None);
        check("HTTP3", None);
        check(" TCP", None);
    }
}
