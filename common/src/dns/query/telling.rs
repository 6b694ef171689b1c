//! Telling the addresses that the registry gives a name: how a question becomes its own answer.

use super::Question;
use crate::{
    abi::{BackendKey, RuleKey, Workload},
    bytes::{SLACK, kept},
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
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Telling {
    /// Whose name it is.
    pub pattern: SubjectId,
    /// Target that lists the addresses.
    pub target: u32,
    /// Of them those of this type are told: none, if it is neither A nor AAAA.
    pub query_type: u16,
    pub name: Name,
    /// Flags word of the answer.
    pub flags: u16,
    /// Whether the query has an EDNS record.
    pub has_edns: bool,
    /// Last word of the fixed part of the answer's EDNS record.
    pub edns_flags: u16,
    /// The version of EDNS is one we do not know.
    pub is_other_version: bool,
}

/// Whether a question about a granted name is answered in place: the policy has addresses for it, and
/// the question is for addresses, or for records that may bring others (RFC 9460 §7.3). Such a name
/// has no others. What else there is of the name only the resolver knows.
#[inline(always)]
pub(super) fn telling<M: Memory>(
    workload: &Workload,
    pattern: SubjectId,
    question: &Question,
    message: &MessageBytes<'_>,
    memory: &M,
) -> Option<Telling> {
    let kind = question.query_type;
    if !matches!(kind, record::A | record::AAAA | record::SVCB | record::HTTPS) {
        return None;
    }
    let rule = memory.rule(&RuleKey::answer(workload.policy, pattern))?;
    let has_edns = question.edns_size_at != 0;
    // The size is followed by extended code, version and flags.
    let code_and_version = message.u16(question.edns_size_at + 2).unwrap_or_default();
    let edns_flags = message.u16(question.edns_size_at + 4).unwrap_or_default();
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
        has_edns,
        // RFC 3225 §3.
        edns_flags: edns_flags & edns::DNSSEC_OK,
        is_other_version: has_edns && code_and_version & edns::VERSION != 0,
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
    let mut answers = 0;
    // RFC 6891 §6.1.3: to another version the answer is that we have version 0.
    let wanted = if telling.is_other_version { 0 } else { telling.query_type };
    for index in 0..TOLD_ADDRESSES {
        let key = BackendKey { target: telling.target, index };
        let Some(address) = memory.backend(&key) else {
            break;
        };
        let kind = if address.is_v4() { record::A } else { record::AAAA };
        if kind != wanted {
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
    if telling.has_edns {
        put(message, at, edns_record(telling));
        at += OPT_BYTES;
    }
    let counts = [telling.flags, 1, answers, 0, u16::from(telling.has_edns)];
    for (index, word) in counts.into_iter().enumerate() {
        put(message, 2 + 2 * index, word.to_be_bytes());
    }
    // Whoever takes sums reads whole words.
    put(message, at, [0; 4]);
    memory.veil(at)
}

#[inline(always)]
#[expect(clippy::many_single_char_names, reason = "bytes of words")]
const fn fixed(kind: u16, length: u16) -> [u8; FIXED] {
    let [[n, o], [t, u], [c, d], [l, m]] =
        [POINTER.to_be_bytes(), kind.to_be_bytes(), CLASS_IN.to_be_bytes(), length.to_be_bytes()];
    let [w, x, y, z] = TOLD_TTL_SECONDS.to_be_bytes();
    [n, o, t, u, c, d, w, x, y, z, l, m]
}

/// Root name, type, size, extended code, version 0, flags, no options.
#[inline(always)]
fn edns_record(telling: &Telling) -> [u8; OPT_BYTES] {
    let [[a, b], [c, d], [e, f]] = [record::OPT, EDNS_BYTES, telling.edns_flags].map(u16::to_be_bytes);
    let code = if telling.is_other_version { edns::BAD_VERSION } else { 0 };
    [0, a, b, c, d, code, 0, e, f, 0, 0]
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
