//! Telling the addresses that the registry gives a name: how a question becomes its own answer.

use super::Question;
use crate::{
    abi::{BackendKey, BackendValue, RuleKey, Workload},
    bytes::{Bytes, SLACK, Veil, kept},
    dns::{
        message::{CLASS_IN, HEADER, MESSAGE_BUFFER_BYTES, MessageBytes, edns, flag, record},
        name::Name,
    },
    id::SubjectId,
    limits::{EDNS_BYTES, MESSAGE_BYTES, NAME_BYTES, TOLD_ADDRESSES, TOLD_TTL_SECONDS},
    memory::Memory,
    redirect::Backends,
};

/// Longest message that [`tell`] writes: with the longest name, the longest addresses, and EDNS.
pub const TOLD_BYTES: usize =
    HEADER + NAME_BYTES + 4 + TOLD_ADDRESSES as usize * (FIXED + 16) + OPT_BYTES;
const _: () = assert!(TOLD_BYTES <= 512, "every client takes this much (RFC 1035 §4.2.1)");

/// Bytes of a record but for its data: a pointer to the name, type, class, TTL, length.
const FIXED: usize = 12;
/// A compressed name: the one of the question (RFC 1035 §4.1.4).
const POINTER: u16 = 0xc00c;
const _: () = assert!(POINTER & 0x3fff == 12 && HEADER == 12);
/// Bytes of an EDNS record without options (RFC 6891 §6.1.2).
const OPT_BYTES: usize = 11;

/// How to turn a query into its answer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Telling {
    /// Whose name it is.
    pub pattern: SubjectId,
    /// Target that lists the addresses; never 0.
    pub target: u32,
    /// Of them those of this type are told: none, if it is neither A nor AAAA.
    pub query_type: u16,
    pub name: Name,
    /// Flags word of the answer.
    pub flags: u16,
}

/// Whether a question about a granted name is answered in place: the policy has addresses for it, and
/// the question is for addresses, or for records that may bring others (RFC 9460 §7.3). Such a name
/// has no others. What else there is of the name only the resolver knows.
#[inline(always)]
pub(super) fn telling<M: Memory>(
    workload: &Workload,
    pattern: SubjectId,
    question: &Question,
    memory: &M,
) -> Option<Telling> {
    let kind = question.query_type;
    if !matches!(kind, record::A | record::AAAA | record::SVCB | record::HTTPS) {
        return None;
    }
    let rule = memory.rule(&RuleKey::answer(workload.policy, pattern))?;
    Some(Telling {
        pattern,
        target: rule.target,
        query_type: kind,
        name: question.name,
        // The registry is where the address comes from, and nobody who might know better was asked.
        flags: flag::RESPONSE
            | flag::AUTHORITATIVE
            | flag::RECURSION_AVAILABLE
            | (question.flags & (flag::RECURSION_DESIRED | flag::CHECKING_DISABLED)),
    })
}

/// Turns the query in `message` into its answer; returns its length in bytes. Question and
/// transaction stay as they are, so the name is spelt as the client did. What the query had after
/// its question is gone: its EDNS record is answered by one without options (RFC 6891 §6.1.1).
#[inline(always)]
pub fn tell<T: Backends + Veil>(
    telling: &Telling,
    message: &mut [u8; MESSAGE_BUFFER_BYTES],
    tables: &T,
) -> usize {
    let mut at = tables.veil(HEADER + telling.name.length + 4);
    let edns = Edns::read(&Bytes::new(message, MESSAGE_BYTES), at);
    let mut answers = 0;
    for index in 0..TOLD_ADDRESSES {
        let key = BackendKey { target: telling.target, index };
        let Some(BackendValue { address, .. }) = tables.backend(&key) else {
            break;
        };
        let kind = if address.is_v4() { record::A } else { record::AAAA };
        if kind != telling.query_type || edns.code != 0 {
            continue;
        }
        let [.., a, b, c, d] = address.octets();
        at = if kind == record::A {
            let data = put_words(message, at, fixed(kind, 4));
            put(message, data, [a, b, c, d])
        } else {
            let data = put_words(message, at, fixed(kind, 16));
            put(message, data, address.octets())
        };
        // Which of them were of the type tells the verifier the length.
        at = tables.veil(at);
        answers += 1;
    }
    if edns.records != 0 {
        at = tables.veil(edns.write(message, at));
    }
    put_words(message, FLAGS_AT, [telling.flags, 1, answers, 0, edns.records]);
    // Whoever takes sums reads whole words.
    put(message, at, [0; 4]);
    at
}

/// The EDNS record of an answer.
struct Edns {
    /// One if the query has one.
    records: u16,
    /// Extended response code.
    code: u8,
    flags: u16,
}

impl Edns {
    /// Reads that of a query whose question ends at `at`: after root name, type and size come
    /// extended code, version and flags.
    #[inline(always)]
    fn read(query: &MessageBytes<'_>, at: usize) -> Self {
        let records = query.u16(ADDITIONALS_AT).unwrap_or_default();
        let version = query.u8(at + 6).unwrap_or_default();
        let flags = query.u16(at + 7).unwrap_or_default();
        // RFC 6891 §6.1.3: the answer to another version is that we have version 0.
        let code = if records != 0 && version != 0 { edns::BAD_VERSION } else { 0 };
        // RFC 3225 §3.
        Self { records, code, flags: flags & edns::DNSSEC_OK }
    }

    /// Root name, type, size, extended code, version 0, flags, no options.
    #[inline(always)]
    fn write(&self, message: &mut [u8; MESSAGE_BUFFER_BYTES], at: usize) -> usize {
        let at = put(message, at, [0]);
        let at = put_words(message, at, [record::OPT, EDNS_BYTES]);
        let at = put(message, at, [self.code, 0]);
        put_words(message, at, [self.flags, 0])
    }
}

/// Offset of the flags word in a message, which the counts of its four sections follow.
const FLAGS_AT: usize = 2;
/// Offset of the number of additional records.
const ADDITIONALS_AT: usize = 10;

/// A record up to its data.
#[inline(always)]
const fn fixed(kind: u16, length: u16) -> [u16; FIXED / 2] {
    const HIGH: u16 = (TOLD_TTL_SECONDS >> 16) as u16;
    const LOW: u16 = (TOLD_TTL_SECONDS & 0xffff) as u16;
    [POINTER, kind, CLASS_IN, HIGH, LOW, length]
}

/// Writes words, in network order, as [`put`] does bytes.
#[inline(always)]
fn put_words<const N: usize>(
    message: &mut [u8; MESSAGE_BUFFER_BYTES],
    at: usize,
    words: [u16; N],
) -> usize {
    let mut end = at;
    for word in words {
        end = put(message, end, word.to_be_bytes());
    }
    end
}

/// Writes `K` bytes at `at`, which lies within [`MESSAGE_BYTES`]; returns where they end.
#[inline(always)]
fn put<const K: usize>(
    message: &mut [u8; MESSAGE_BUFFER_BYTES],
    at: usize,
    bytes: [u8; K],
) -> usize {
    const { assert!(K <= SLACK) };
    let start = at & kept(MESSAGE_BYTES - 1);
    if let Some(slot) = message.get_mut(start..start + K) {
        slot.copy_from_slice(&bytes);
    }
    at + K
}
