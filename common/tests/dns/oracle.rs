//! What hickory-proto reads in questions and answers, and a conversation in which the parser must agree with it.
//! The fuzzer feeds it; so do the property tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use exeat_common::{
    abi::{FactKey, FactValue},
    dns::{Answer, Asked, NameBuffer, Room, Transport},
    id::SubjectId,
    limits::{MESSAGE_BYTES, QUERY_SECONDS},
};
use hickory_proto::{
    op::Query,
    rr::Name,
    serialize::binary::{BinDecodable as _, BinDecoder},
};

use crate::{
    exchange::{DEEP, PORT, SITE, WILD, get_over, put_over, world},
    support::{RESOLVER, WORKLOAD, World, workload},
};

/// Length of the header, where the question begins (RFC 1035 §4.1.1).
const HEADER: usize = 12;
/// Types and class (RFC 1035 §3.2.2, RFC 3596 §2.1, RFC 9460 §14.1).
const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const SVCB: u16 = 64;
const HTTPS: u16 = 65;
const IN: u16 = 1;
/// Keys of the parameters that hint at addresses (RFC 9460 §14.3.2).
const IPV4_HINT: u16 = 4;
const IPV6_HINT: u16 = 6;

/// A name in lower case, label by label.
type Labels = Vec<Vec<u8>>;

/// The question of a message.
struct Asks {
    transaction: u16,
    name: Labels,
    query_type: u16,
    /// Where it ends.
    end: usize,
}

fn labels(name: &Name) -> Labels {
    name.iter().map(<[u8]>::to_ascii_lowercase).collect()
}

/// Bytes of a name on the wire.
fn wire_length(name: &Labels) -> usize {
    name.iter().map(|label| label.len() + 1).sum::<usize>() + 1
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Reads on from `at`; pointers lead into the whole message.
fn decoder(bytes: &[u8], at: usize) -> Option<BinDecoder<'_>> {
    bytes.get(at..)?;
    Some(BinDecoder::new(bytes).clone(u16::try_from(at).ok()?))
}

fn asks(bytes: &[u8]) -> Option<Asks> {
    let mut decoder = decoder(bytes, HEADER)?;
    let query = Query::read(&mut decoder).ok()?;
    Some(Asks {
        transaction: word(bytes, 0)?,
        name: labels(query.name()),
        query_type: query.query_type().into(),
        end: decoder.index(),
    })
}

/// A record of the answer section, as far as it matters here.
enum Said {
    Address(IpAddr),
    Alias(Labels),
    /// A service at a target, the root for the owner itself, and the addresses it hints at.
    Service(Labels, Vec<IpAddr>),
    Other,
}

/// A record and its owner; none if that is no name, which the parser sees only where it compares it.
type Record = (Option<Labels>, Said);

/// The records of the answer section up to the first that cannot be read.
fn records(bytes: &[u8], start: usize) -> Vec<Record> {
    let mut at = start;
    let count = word(bytes, 6).unwrap_or_default();
    let mut records = Vec::new();
    for _ in 0..count {
        let Some((record, end)) = record(bytes, at) else { break };
        records.push(record);
        at = end;
    }
    records
}

/// The record at `at`, and where it ends.
fn record(bytes: &[u8], at: usize) -> Option<(Record, usize)> {
    let owner = Name::read(&mut decoder(bytes, at)?).ok().map(|name| labels(&name));
    let fixed = end_of_name(bytes, at)?;
    let (kind, class) = (word(bytes, fixed)?, word(bytes, fixed + 2)?);
    let length = usize::from(word(bytes, fixed + 8)?);
    let start = fixed + 10;
    let data = bytes.get(start..start + length)?;
    let said = match (kind, class) {
        (A, IN) => {
            <[u8; 4]>::try_from(data).map(|it| Said::Address(Ipv4Addr::from(it).into())).ok()
        }
        (AAAA, IN) => {
            <[u8; 16]>::try_from(data).map(|it| Said::Address(Ipv6Addr::from(it).into())).ok()
        }
        (CNAME, IN) => {
            let mut cursor = decoder(bytes, start)?;
            let target = Name::read(&mut cursor).ok();
            target.filter(|_| cursor.index() == start + length).map(|it| Said::Alias(labels(&it)))
        }
        (HTTPS | SVCB, IN) => service(data),
        _ => None,
    };
    Some(((owner, said.unwrap_or(Said::Other)), start + length))
}

/// Steps over a name that may be none where it leads.
fn end_of_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            first @ 1..=63 => at += 1 + usize::from(first),
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

/// The data of a service record: a priority, a target that is not compressed, and parameters.
fn service(data: &[u8]) -> Option<Said> {
    let (priority, rest) = data.split_first_chunk()?;
    if u16::from_be_bytes(*priority) == 0 {
        return None;
    }
    let mut cursor = BinDecoder::new(rest);
    let target = Name::read(&mut cursor).ok()?;
    let end = end_of_name(rest, 0).filter(|end| *end == wire_length(&labels(&target)))?;
    let mut rest = rest.get(end..)?;
    let (mut hints, mut last) = (Vec::new(), None);
    while !rest.is_empty() {
        let (key, tail) = rest.split_first_chunk()?;
        let (length, tail) = tail.split_first_chunk()?;
        let (key, length) = (u16::from_be_bytes(*key), u16::from_be_bytes(*length));
        let (value, tail) = tail.split_at_checked(length.into())?;
        if last.is_some_and(|last| last >= key) {
            return None;
        }
        match key {
            IPV4_HINT => hints.extend(all(value, |it: [u8; 4]| Ipv4Addr::from(it).into())?),
            IPV6_HINT => hints.extend(all(value, |it: [u8; 16]| Ipv6Addr::from(it).into())?),
            _ => {}
        }
        last = Some(key);
        rest = tail;
    }
    Some(Said::Service(labels(&target), hints))
}

/// The addresses of a hint, of which there is at least one.
fn all<const N: usize>(value: &[u8], read: impl Fn([u8; N]) -> IpAddr) -> Option<Vec<IpAddr>> {
    let (chunks, rest) = value.as_chunks();
    (rest.is_empty() && !chunks.is_empty()).then(|| chunks.iter().map(|it| read(*it)).collect())
}

/// The addresses that an answer may teach for the name asked.
fn teachable(records: &[Record], question: &Labels) -> BTreeSet<IpAddr> {
    let mut chain = BTreeSet::from([question.clone()]);
    // However the aliases are ordered, each round follows one more of the chain.
    for _ in 0..records.len() {
        for (owner, said) in records {
            if let (Some(owner), Said::Alias(target)) = (owner, said)
                && chain.contains(owner)
            {
                chain.insert(target.clone());
            }
        }
    }
    let of_chain = records
        .iter()
        .filter(|(owner, _)| owner.as_ref().is_some_and(|owner| chain.contains(owner)));
    let addresses = of_chain.flat_map(|(_, said)| match said {
        Said::Address(address) => vec![*address],
        Said::Service(target, hints) if target.is_empty() || chain.contains(target) => {
            hints.clone()
        }
        Said::Service(..) | Said::Alias(_) | Said::Other => Vec::new(),
    });
    addresses.map(|address| address.to_canonical()).collect()
}

/// The pattern that the addresses in an answer belong to: that of the question, or of what a search
/// list completed.
fn subject(records: &[Record], question: &Labels) -> SubjectId {
    let (pattern, is_asked) = meaning(question);
    if pattern.is_some() || !is_asked {
        return pattern;
    }
    let own = records.iter().find_map(|(owner, said)| {
        let Said::Alias(target) = said else { return None };
        (owner.as_ref() == Some(question)).then_some(target)
    });
    let meant = own.filter(|target| {
        question.strip_prefix(&target[..]).is_some_and(|suffix| meaning(&suffix.to_vec()).1)
    });
    meant.map_or(SubjectId::NONE, |target| meaning(target).0)
}

/// What the tables of [`world`] say of a name: its most specific pattern, and whether it may be
/// asked for.
fn meaning(name: &Labels) -> (SubjectId, bool) {
    let is = |text: &str| name.iter().map(Vec::as_slice).eq(text.split('.').map(str::as_bytes));
    let is_below = |text: &str| {
        let suffix: Vec<&[u8]> = text.split('.').map(str::as_bytes).collect();
        let start = name.len().checked_sub(suffix.len()).filter(|start| *start > 0);
        start.and_then(|start| name.get(start..)).is_some_and(|end| end.iter().eq(suffix))
    };
    if is("www.example.com") {
        (SITE, true)
    } else if is_below("deep.wild.example") {
        (DEEP, false)
    } else if is_below("wild.example") {
        (WILD, true)
    } else {
        (SubjectId::NONE, is("cluster.local") || is_below("cluster.local"))
    }
}

/// Whether no public name may have this address.
fn is_guarded(address: IpAddr) -> bool {
    address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || match address {
            IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        }
}

/// A question that is not answered yet.
struct Open {
    name: Labels,
    /// [`World::later`] when it was asked.
    asked: u32,
}

type Facts = BTreeMap<FactKey, FactValue>;

/// One pod and its resolver, with everything that was said so far.
pub(crate) struct Conversation {
    world: World,
    open: BTreeMap<(u16, u8), Open>,
    // Used again and again, as in the kernel.
    buffer: NameBuffer,
    room: Room,
}

impl Conversation {
    pub(crate) fn new() -> Self {
        Self { world: world(), open: BTreeMap::new(), buffer: NameBuffer::new(), room: Room::new() }
    }

    pub(crate) fn wait(&mut self, seconds: u32) {
        self.world.later += seconds;
    }

    /// The pod asks. What is understood must be what hickory reads, and be granted or refused for
    /// what it is.
    pub(crate) fn ask(&mut self, transport: Transport, bytes: &[u8]) {
        let before = self.world.queries.borrow().clone();
        let asked = put_over(transport, &self.world, &workload(), bytes, &mut self.buffer);
        let theirs = asks(bytes);
        let understood = || theirs.as_ref().expect("hickory reads what is understood");
        match asked {
            Asked::Pass { .. } => {
                let asks = understood();
                assert!(meaning(&asks.name).1, "let through: {:?}", asks.name);
                self.check_name(&asks.name);
                let queries = self.world.queries.borrow();
                let key = |transaction| (transaction, transport.protocol());
                let mut remembered = queries
                    .iter()
                    .filter(|(it, _)| (it.transaction, it.protocol) == key(asks.transaction));
                let (_, query) = remembered.next().expect("a query that passes is remembered");
                assert_eq!(usize::from(query.name_length), wire_length(&asks.name));
                assert_eq!(query.query_type, asks.query_type);
                assert_eq!(query.pattern, meaning(&asks.name).0);
                let open = Open { name: asks.name.clone(), asked: self.world.later };
                self.open.insert(key(asks.transaction), open);
            }
            Asked::Refuse(refusal) => {
                let asks = understood();
                assert!(!meaning(&asks.name).1, "refused: {:?}", asks.name);
                assert_eq!(refusal.query_type, asks.query_type);
                assert_eq!(refusal.name.length, wire_length(&asks.name));
                self.check_name(&asks.name);
            }
            Asked::Drop(_) => {}
        }
        if !matches!(asked, Asked::Pass { .. }) {
            assert_eq!(*self.world.queries.borrow(), before, "remembered, and not let through");
        }
    }

    /// The name in the buffer, which events report, is the one in the question.
    fn check_name(&self, name: &Labels) {
        let mut key = self.buffer.key().iter().copied();
        for label in name {
            assert_eq!(key.next().map(usize::from), Some(label.len()));
            assert!(label.iter().copied().eq(key.by_ref().take(label.len())), "{name:?}");
        }
        assert!(key.all(|byte| byte == 0), "{name:?} and more");
    }

    /// The pod is answered, by its resolver or by somebody else. Whatever is learned must be in
    /// the answer, for the name that was asked.
    pub(crate) fn hear(&mut self, transport: Transport, from_resolver: bool, bytes: &[u8]) {
        let resolver = if from_resolver { RESOLVER } else { "192.0.2.54" };
        let before = self.world.facts.borrow().clone();
        let answer = get_over(transport, &self.world, (resolver, PORT), bytes, &mut self.room);
        let after = self.world.facts.borrow().clone();
        let taught = taught(&before, &after);
        let key = word(bytes, 0).filter(|_| bytes.len() >= HEADER && from_resolver);
        let key = key.map(|it| (it, transport.protocol()));
        let open = key.and_then(|it| self.open.remove(&it));
        if !matches!(answer, Answer::Pass(_)) {
            assert!(taught.is_empty(), "{answer:?}, and taught {taught:?}");
        }
        if matches!(answer, Answer::Drop(_)) {
            return;
        }
        let open = open.expect("what passes or is deferred was asked for");
        assert!(self.world.later - open.asked <= QUERY_SECONDS, "an answer that came too late");
        let Some(asks) = asks(bytes) else {
            // The class of the question is not looked at, so it may be missing where there is
            // nothing to learn behind it.
            assert!(taught.is_empty(), "hickory reads no question there");
            return;
        };
        assert_eq!(asks.name, open.name);
        let Answer::Pass(heard) = answer else {
            // It is still awaited.
            self.open.extend(key.map(|key| (key, open)));
            return;
        };
        let records = records(bytes, asks.end);
        let pattern = subject(&records, &asks.name);
        let is_known = pattern.is_some() && heard.pattern == pattern;
        assert!(taught.is_empty() || is_known, "{heard:?} for {:?}", asks.name);
        let teachable = teachable(&records, &asks.name);
        for (key, value) in taught {
            assert_eq!(key.workload, WORKLOAD);
            let address = IpAddr::from(Ipv6Addr::from(key.address.octets())).to_canonical();
            assert!(!is_guarded(address), "{address} is never public");
            let slots = before.get(&key).map(|it| it.slots).unwrap_or_default();
            let changed = value.slots.iter().filter(|slot| !slots.contains(slot));
            for slot in changed {
                assert_eq!(exeat_common::abi::Fact::unpack(*slot).pattern, pattern);
            }
            assert!(teachable.contains(&address), "{address} from {bytes:02x?}");
        }
    }
}

/// Facts that are new or have changed.
fn taught(before: &Facts, after: &Facts) -> Facts {
    let changed = after.iter().filter(|(key, value)| before.get(key) != Some(value));
    changed.map(|(key, value)| (*key, *value)).collect()
}

/// What a step of a script does, by the lowest bits of its first byte; two bytes of length and a
/// message follow. The upper half are seconds that pass before.
mod step {
    pub(super) const HEAR: u8 = 1;
    pub(super) const TCP: u8 = 2;
    pub(super) const STRANGER: u8 = 4;
}

/// A step of a script.
pub(crate) fn ask(bytes: &[u8]) -> Vec<u8> {
    written(0, bytes)
}

/// A step of a script.
pub(crate) fn hear(bytes: &[u8]) -> Vec<u8> {
    written(step::HEAR, bytes)
}

/// The same step over TCP.
pub(crate) fn over_tcp(mut script: Vec<u8>) -> Vec<u8> {
    script[0] |= step::TCP;
    script
}

fn written(first: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a message fits its length");
    [&[first][..], &length.to_be_bytes(), bytes].concat()
}

/// Plays a script: any bytes are one.
///
/// # Panics
///
/// Where the parser and hickory do not agree.
pub(crate) fn play(script: &[u8]) {
    let mut conversation = Conversation::new();
    let mut rest = script;
    while let [first, high, low, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(MESSAGE_BYTES);
        let (message, tail) = tail.split_at(length.min(tail.len()));
        rest = tail;
        conversation.wait(u32::from(first >> 4));
        let transport = if first & step::TCP == 0 { Transport::Udp } else { Transport::Tcp };
        if first & step::HEAR == 0 {
            conversation.ask(transport, message);
        } else {
            conversation.hear(transport, first & step::STRANGER == 0, message);
        }
    }
}
