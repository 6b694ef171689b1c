//! Making the connection to the destination: over all its addresses, both families in turn.

use std::{io, net::SocketAddr, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use proxy_header::{ProxiedAddress, ProxyHeader, Tlv};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{
    policy::Way,
    refusal::Cause,
    route::{Passage, Route},
};
use crate::config::gateway::ProxyProtocol;

/// Head start of one address before the next is tried beside it (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Both ends of the client's connection, for who wants to be told.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub client: SocketAddr,
    pub gateway: SocketAddr,
}

/// Connects along a route. `own_ports` are those that the gateway listens at.
pub async fn connect(
    route: &Route,
    ends: Ends,
    within: Duration,
    own_ports: &[u16],
) -> Result<(TcpStream, Passage), Cause> {
    let ways = in_turn(&route.ways);
    let connected = timeout(within, first(&ways)).await;
    let (mut stream, way) = connected.ok().flatten().ok_or(Cause::Unreachable)?;
    let is_itself = || -> io::Result<bool> {
        Ok(own_ports.contains(&way.to.port()) && stream.local_addr()?.ip() == way.to.ip())
    };
    if is_itself().map_err(|_| Cause::Unreachable)? {
        return Err(Cause::Itself);
    }
    // What is small shall not wait for what comes after it. It works without.
    drop(stream.set_nodelay(true));
    if route.through == Some(ProxyProtocol::V2) {
        let header = proxy_header(ends, &route.wanted.host.to_string());
        stream.write_all(&header).await.map_err(|_| Cause::Unreachable)?;
    }
    let passage = Passage { wanted: route.wanted.clone(), way, through: route.through };
    Ok((stream, passage))
}

/// The first that takes the connection; none if none does.
async fn first(ways: &[Way]) -> Option<(TcpStream, Way)> {
    let mut left = ways.iter();
    let mut attempts = FuturesUnordered::new();
    loop {
        match left.next() {
            Some(way) => attempts.push(async move {
                let result = TcpStream::connect(way.to).await;
                (result, *way)
            }),
            None if attempts.is_empty() => return None,
            None => {}
        }
        let is_last = left.len() == 0;
        let ended = tokio::select! {
            ended = attempts.next() => ended,
            () = sleep(HEAD_START), if !is_last => None,
        };
        match ended {
            Some((Ok(stream), way)) => return Some((stream, way)),
            Some((Err(error), way)) => tracing::debug!(to = %way.to, %error, "connect"),
            None => {}
        }
    }
}

/// Families in turn, beginning with that of the first (RFC 8305 §4), else as they came.
fn in_turn(ways: &[Way]) -> Vec<Way> {
    let is_v4 = |way: &Way| way.to.is_ipv4();
    let lead = ways.first().is_some_and(is_v4);
    let (one, other): (Vec<Way>, Vec<Way>) = ways.iter().partition(|way| is_v4(way) == lead);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut order = Vec::with_capacity(ways.len());
    while order.len() < ways.len() {
        order.extend(one.next());
        order.extend(other.next());
    }
    order
}

/// Version 2 of the PROXY protocol: who the client is, and the host that it asks for.
///
/// Source: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>
fn proxy_header(ends: Ends, host: &str) -> Vec<u8> {
    let canonical = |it: SocketAddr| SocketAddr::new(it.ip().to_canonical(), it.port());
    let (client, gateway) = (canonical(ends.client), canonical(ends.gateway));
    let mut header = ProxyHeader::with_address(ProxiedAddress::stream(client, gateway));
    header.append_tlv(Tlv::Authority(host.into()));
    let mut bytes = Vec::new();
    // It fails on what does not fit into the lengths of the header, and both parts are short.
    if header.encode_v2(&mut bytes).is_err() {
        bytes.clear();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proxy_header::{ParseConfig, ProxyHeader};
    use tokio::net::TcpListener;

    use super::{Ends, first, in_turn, proxy_header};
    use crate::gateway::policy::Way;

    fn way(to: &str) -> Way {
        Way { dialled: None, to: to.parse().expect("an address") }
    }

    #[test]
    fn families_take_turns() {
        let ways = ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1", "[2001:db8::1]:1"].map(way);
        let order: Vec<String> = in_turn(&ways).iter().map(|it| it.to.to_string()).collect();
        assert_eq!(order, ["192.0.2.1:1", "[2001:db8::1]:1", "192.0.2.2:1", "192.0.2.3:1"]);
    }

    #[test]
    fn an_upstream_gateway_is_told_client_and_host() {
        let address = |text: &str| -> SocketAddr { text.parse().expect("an address") };
        for (client, gateway) in
            [("10.0.0.9:4000", "10.0.0.1:8443"), ("[2001:db8::9]:4000", "[2001:db8::1]:8443")]
        {
            let ends = Ends { client: address(client), gateway: address(gateway) };
            let bytes = proxy_header(ends, "www.example.com");
            let (header, length) =
                ProxyHeader::parse(&bytes, ParseConfig::default()).expect("a header");
            assert_eq!(length, bytes.len());
            let told = header.proxied_address().expect("addresses");
            assert_eq!((told.source, told.destination), (ends.client, ends.gateway));
            assert_eq!(header.authority(), Some("www.example.com"));
        }
    }

    #[tokio::test]
    async fn an_address_that_refuses_hides_none_behind_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let closed = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let open = listener.local_addr().expect("its address");
        let shut = closed.local_addr().expect("its address");
        drop(closed);
        let ways = [shut, open].map(|to| Way { dialled: None, to });
        let (_, way) = first(&ways).await.expect("one takes it");
        assert_eq!(way.to, open);
        assert!(first(&ways[..1]).await.is_none());
    }
}
