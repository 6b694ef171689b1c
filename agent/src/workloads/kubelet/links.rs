//! Veths of the node, and which network namespace the other end of each is in, as rtnetlink(7) tells
//! it: a dump, then every change. The kernel numbers the namespaces it knows of; the numbers are
//! asked for here too, so that a namespace can be found again in a link.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoKind, LinkAttribute, LinkExtentMask, LinkInfo, LinkMessage},
    nsid::{NsidAttribute, NsidMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::socket::{setsockopt, sockopt};

/// A veth by its end on the node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Veth {
    pub name: String,
    /// Of the network namespace of its other end.
    pub namespace: NsId,
}

/// The number by which this node's network namespace knows another one. Numbers are used again.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct NsId(pub i32);

/// Follows the links.
pub struct Links {
    news: Socket,
    asks: Socket,
    sequence: u32,
    veths: BTreeMap<u32, Veth>,
}

/// What is different since the last look.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LinkNews {
    pub is_changed: bool,
    /// Namespaces that are gone: their numbers stand for nothing now.
    pub gone: BTreeSet<NsId>,
    /// News were lost, and everything was read anew: any namespace may be gone.
    pub was_overrun: bool,
}

/// Multicast groups of rtnetlink (`include/uapi/linux/rtnetlink.h`).
const GROUP_LINK: u32 = 1;
const GROUP_NSID: u32 = 28;
/// Room for the news of some hundred pods that start together. The kernel doubles it.
const RECEIVE_BYTES: usize = 4 << 20;
/// More than the kernel puts into one datagram.
const DATAGRAM_BYTES: usize = 64 << 10;
/// A namespace that has no number yet.
const UNNUMBERED: i32 = -1;

impl Links {
    /// Subscribes, then reads what is there.
    pub fn open() -> io::Result<Self> {
        let mut news = Socket::new(NETLINK_ROUTE)?;
        // Beyond what is configured; without CAP_NET_ADMIN within it.
        setsockopt(&news, sockopt::RcvBufForce, &RECEIVE_BYTES)
            .or_else(|_| setsockopt(&news, sockopt::RcvBuf, &RECEIVE_BYTES))?;
        news.bind_auto()?;
        news.add_membership(GROUP_LINK)?;
        news.add_membership(GROUP_NSID)?;
        news.set_non_blocking(true)?;
        let mut asks = Socket::new(NETLINK_ROUTE)?;
        asks.bind_auto()?;
        asks.connect(&SocketAddr::new(0, 0))?;
        let mut links = Self { news, asks, sequence: 0, veths: BTreeMap::new() };
        links.look_again()?;
        Ok(links)
    }

    /// By the index of the end on the node.
    pub const fn veths(&self) -> &BTreeMap<u32, Veth> {
        &self.veths
    }

    /// Takes in all news that have come. After a loss of news everything is read anew.
    pub fn read(&mut self) -> io::Result<LinkNews> {
        let mut news = LinkNews::default();
        loop {
            let mut datagram = Vec::with_capacity(DATAGRAM_BYTES);
            match self.news.recv(&mut datagram, 0) {
                Ok(_) => {
                    for message in messages(&datagram) {
                        self.take_in(message, &mut news);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(news),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    news.was_overrun = true;
                    news.is_changed |= self.look_again()?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads all links anew; says whether anything is different.
    pub fn look_again(&mut self) -> io::Result<bool> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let replies = self.ask(RouteNetlinkMessage::GetLink(message), NLM_F_DUMP)?;
        let veths: BTreeMap<u32, Veth> = replies.iter().filter_map(veth_of).collect();
        let is_changed = veths != self.veths;
        self.veths = veths;
        Ok(is_changed)
    }

    /// The number of a network namespace, which it is given if it has none.
    pub fn number(&mut self, namespace: BorrowedFd<'_>) -> io::Result<NsId> {
        if let Some(number) = self.number_so_far(namespace)? {
            return Ok(number);
        }
        let wanted = [NsidAttribute::Id(UNNUMBERED)];
        let asked = self.ask(RouteNetlinkMessage::NewNsId(about(namespace, wanted)), NLM_F_ACK);
        // Somebody else may have numbered it in between.
        asked.map(drop).or_else(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
        })?;
        let none = || io::Error::new(io::ErrorKind::NotFound, "the namespace has no number");
        self.number_so_far(namespace)?.ok_or_else(none)
    }

    fn number_so_far(&mut self, namespace: BorrowedFd<'_>) -> io::Result<Option<NsId>> {
        let replies = self.ask(RouteNetlinkMessage::GetNsId(about(namespace, [])), 0)?;
        Ok(replies.iter().find_map(|reply| {
            let RouteNetlinkMessage::NewNsId(message) = reply else { return None };
            nsid_of(message)
        }))
    }

    fn take_in(&mut self, message: RouteNetlinkMessage, news: &mut LinkNews) {
        if let RouteNetlinkMessage::DelLink(message) = &message {
            // A port that leaves its bridge is told of in the same way, but for the family.
            let is_gone = u8::from(message.header.interface_family) == 0;
            if is_gone {
                news.is_changed |= self.veths.remove(&message.header.index).is_some();
            }
        } else if let RouteNetlinkMessage::DelNsId(message) = &message {
            news.gone.extend(nsid_of(message));
        } else if let Some((index, veth)) = veth_of(&message)
            && self.veths.get(&index) != Some(&veth)
        {
            self.veths.insert(index, veth);
            news.is_changed = true;
        }
    }

    /// Asks, and waits for the whole answer, which the kernel gives at once.
    fn ask(
        &mut self,
        question: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(question));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.asks.send(&bytes, 0)?;
        let mut replies = Vec::new();
        loop {
            let mut datagram = Vec::with_capacity(DATAGRAM_BYTES);
            self.asks.recv(&mut datagram, 0)?;
            for reply in all_messages(&datagram) {
                if reply.header.sequence_number != self.sequence {
                    continue;
                }
                if let NetlinkPayload::InnerMessage(inner) = reply.payload {
                    replies.push(inner);
                    if flags == 0 {
                        return Ok(replies);
                    }
                } else if let NetlinkPayload::Error(error) = reply.payload {
                    return if error.code.is_none() { Ok(replies) } else { Err(error.to_io()) };
                } else if let NetlinkPayload::Done(_) = reply.payload {
                    return Ok(replies);
                }
            }
        }
    }
}

impl AsFd for Links {
    /// Readable when there are news.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }
}

fn about<const N: usize>(namespace: BorrowedFd<'_>, more: [NsidAttribute; N]) -> NsidMessage {
    let mut message = NsidMessage::default();
    let number = namespace.as_raw_fd().cast_unsigned();
    message.attributes.push(NsidAttribute::Fd(number));
    message.attributes.extend(more);
    message
}

fn nsid_of(message: &NsidMessage) -> Option<NsId> {
    message.attributes.iter().find_map(|attribute| {
        let NsidAttribute::Id(number) = attribute else { return None };
        (*number >= 0).then_some(NsId(*number))
    })
}

/// A veth whose other end is in another namespace.
fn veth_of(message: &RouteNetlinkMessage) -> Option<(u32, Veth)> {
    let RouteNetlinkMessage::NewLink(message) = message else {
        return None;
    };
    let (mut name, mut namespace, mut is_veth) = (None, None, false);
    for attribute in &message.attributes {
        if let LinkAttribute::IfName(text) = attribute {
            name = Some(text.clone());
        } else if let LinkAttribute::LinkNetNsId(number) = attribute {
            namespace = (*number >= 0).then_some(NsId(*number));
        } else if let LinkAttribute::LinkInfo(infos) = attribute {
            is_veth = infos.iter().any(|it| matches!(it, LinkInfo::Kind(InfoKind::Veth)));
        }
    }
    let veth = Veth { name: name?, namespace: namespace? };
    is_veth.then_some((message.header.index, veth))
}

fn messages(datagram: &[u8]) -> impl Iterator<Item = RouteNetlinkMessage> {
    all_messages(datagram).into_iter().filter_map(|message| {
        let NetlinkPayload::InnerMessage(inner) = message.payload else { return None };
        Some(inner)
    })
}

/// All messages of a datagram, each on a boundary of four bytes. What cannot be read is left out:
/// links of kinds that this version does not know.
fn all_messages(datagram: &[u8]) -> Vec<NetlinkMessage<RouteNetlinkMessage>> {
    let mut messages = Vec::new();
    let mut rest = datagram;
    while let Some(length) = rest.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes)) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(bytes) = rest.get(..length).filter(|bytes| bytes.len() >= HEADER_BYTES) else {
            break;
        };
        match NetlinkMessage::deserialize(bytes) {
            Ok(message) => messages.push(message),
            Err(error) => tracing::debug!(%error, "a message of rtnetlink cannot be read"),
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    messages
}

const HEADER_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsFd as _};

    use super::{Links, all_messages};

    #[test]
    fn the_own_namespace_has_a_number_that_stays() {
        let mut links = Links::open().expect("rtnetlink");
        let own = File::open("/proc/thread-self/ns/net").expect("own namespace");
        // To number a namespace takes CAP_NET_ADMIN.
        match links.number(own.as_fd()) {
            Ok(number) => assert_eq!(links.number(own.as_fd()).expect("as before"), number),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
        }
        assert!(!links.look_again().expect("links"), "nothing has changed");
    }

    #[test]
    fn no_bytes_make_it_panic_or_go_round_for_ever() {
        for length in [0_u32, 1, 3, 15, 16, 17, 4096, u32::MAX] {
            let mut bytes = vec![0xa5; 64];
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(all_messages(&bytes).len() <= 4);
        }
        assert!(all_messages(&[1, 0]).is_empty());
    }
}
