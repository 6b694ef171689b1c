//! Telling the addresses that the registry gives a name: how a question becomes its own answer.

use super::Question;
use crate::{
    abi::{BackendKey, RuleKey, Workload},
    bytes::{Bytes, SLACK, kept},
    dns::{
        message::{CLASS_IN, HEADER, MESSAGE_BUFFER_BYTES, MessageBytes, edns, flag, record},
        name::Name,
    },
    id::SubjectId,
    limits::{EDNS_BYTES, MESSAGE_BYTES, NAME_BYTES, TOLD_ADDRESSES, TOLD_TTL_SECONDS},
    memory::Memory,
};

/// Longest message that [`tell`] writes: with the longest name, the longest addresses, and EDNS.
pub const TOLD_BYTES: usize =
    HEADER + NAME_BYTES + 4 + TOLD_ADDRESSES as usize * (FIXED + 16) + OPT_BYTES;
const _: () = assert!(TOLD_BYTES <= 512, "every client takes this much (RFC 1035 §4.2.1)");

/// Bytes of a record but for its data: a pointer to the name, type, class, TTL, length.
const FIXED: usize = 12;
/// A compressed name: the one of the question (RFC 1035 §4.1.4).
const POINTER: u16 = 0xc000 | HEADER as u16;
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
pub fn tell<M: Memory>(
    telling: &Telling,
    message: &mut [u8; MESSAGE_BUFFER_BYTES],
    memory: &M,
) -> usize {
    let mut at = memory.veil(HEADER + telling.name.length + 4);
    let edns = Edns::read(&Bytes::new(message, MESSAGE_BYTES), at);
    let mut answers = 0;
    for index in 0..TOLD_ADDRESSES {
        let key = BackendKey { target: telling.target, index };
        let Some(address) = memory.backend(&key) else {
            break;
        };
        let kind = if address.is_v4() { record::A } else { record::AAAA };
        if kind != telling.query_type || edns.code != 0 {
            continue;
        }
        let [.., a, b, c, d] = address.octets();
        at = if kind == record::A {
            put(message, at, fixed(kind, 4));
            put(message, at + FIXED, [a, b, c, d])
        } else {
            put(message, at, fixed(kind, 16));
            put(message, at + FIXED, address.octets())
        };
        // Which of them were of the type tells the verifier the length.
        at = memory.veil(at);
        answers += 1;
    }
    if edns.records != 0 {
        put(message, at, edns.record());
        at = memory.veil(at + OPT_BYTES);
    }
    let counts = [telling.flags, 1, answers, 0, edns.records];
    for (index, word) in counts.into_iter().enumerate() {
        put(message, 2 + 2 * index, word.to_be_bytes());
    }
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
    fn record(&self) -> [u8; OPT_BYTES] {
        let [[a, b], [c, d], [e, f]] = [record::OPT, EDNS_BYTES, self.flags].map(u16::to_be_bytes);
        [0, a, b, c, d, self.code, 0, e, f, 0, 0]
    }
}

/// Offset of the number of additional records.
const ADDITIONALS_AT: usize = 10;

#[inline(always)]
#[expect(clippy::many_single_char_names, reason = "bytes of words")]
const fn fixed(kind: u16, length: u16) -> [u8; FIXED] {
    let [[n, o], [t, u], [c, d], [l, m]] =
        [POINTER.to_be_bytes(), kind.to_be_bytes(), CLASS_IN.to_be_bytes(), length.to_be_bytes()];
    let [w, x, y, z] = TOLD_TTL_SECONDS.to_be_bytes();
    [n, o, t, u, c, d, w, x, y, z, l, m]
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
