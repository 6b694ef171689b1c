//! The protocol of a port, as Kubernetes writes it.

use exeat_common::flow::protocol;

use super::super::{findings::Findings, report::Code};

/// Reads `protocol`; empty is TCP. A port that is neither TCP nor UDP is reported, and left out.
///
/// Source: <https://kubernetes.io/docs/reference/networking/service-protocols/>.
pub(super) fn check(text: &str, path: &str, found: &mut Findings<'_>) -> Option<u8> {
    match text {
        "" | "TCP" => return Some(protocol::TCP),
        "UDP" => return Some(protocol::UDP),
        "SCTP" => {
            let message = "SCTP is not carried here: the port is left out";
            found.add(Code::PortTransport, path, message);
        }
        other => {
            let message = format!("`{other}` is not one of TCP, UDP, SCTP");
            found.add(Code::PortProtocol, path, message);
        }
    }
    None
}
