//! Names, sizes and the version of everything that lives in bpffs: one constant each.

/// Version of the map layouts; names the pin directory, so two layouts never mix.
///
/// Raise it with every change of a key, a value or an event in [`crate::abi`].
pub const ABI_VERSION: u32 = 3;

/// Map and program names as they appear in bpffs.
pub mod map {
    pub const WORKLOADS_BY_CGROUP: &str = "WORKLOADS_BY_CGROUP";
    pub const WORKLOADS_BY_IFINDEX: &str = "WORKLOADS_BY_IFINDEX";
    pub const NAMES_SHORT: &str = "NAMES_SHORT";
    pub const NAMES_LONG: &str = "NAMES_LONG";
    pub const PREFIXES: &str = "PREFIXES";
    pub const RULES: &str = "RULES";
    pub const TARGETS: &str = "TARGETS";
    pub const BACKENDS: &str = "BACKENDS";
    pub const RESOLVERS: &str = "RESOLVERS";
    pub const FACTS: &str = "FACTS";
    pub const QUERIES: &str = "QUERIES";
    pub const STREAMS: &str = "STREAMS";
    pub const FLOWS: &str = "FLOWS";
    pub const QUOTA: &str = "QUOTA";
    pub const WILDCARDS: &str = "WILDCARDS";
    pub const COUNTERS: &str = "COUNTERS";
    pub const PASSED: &str = "PASSED";
    pub const EVENTS: &str = "EVENTS";
    pub const SETTINGS: &str = "SETTINGS";
    pub const REDIRECTED: &str = "REDIRECTED";
    pub const PEERS: &str = "PEERS";
    pub const ACCEPTED: &str = "ACCEPTED";
    pub const HANDOVERS: &str = "HANDOVERS";

    /// Every pinned map.
    pub const ALL: [&str; 23] = [
        WORKLOADS_BY_CGROUP,
        WORKLOADS_BY_IFINDEX,
        NAMES_SHORT,
        NAMES_LONG,
        PREFIXES,
        RULES,
        TARGETS,
        BACKENDS,
        RESOLVERS,
        FACTS,
        QUERIES,
        STREAMS,
        FLOWS,
        QUOTA,
        WILDCARDS,
        COUNTERS,
        PASSED,
        EVENTS,
        SETTINGS,
        REDIRECTED,
        PEERS,
        ACCEPTED,
        HANDOVERS,
    ];
}

/// Program names, which are also the names of their functions in the kernel object.
pub mod program {
    pub const CONNECT4: &str = "exeat_connect4";
    pub const CONNECT6: &str = "exeat_connect6";
    pub const SENDMSG4: &str = "exeat_sendmsg4";
    pub const SENDMSG6: &str = "exeat_sendmsg6";
    pub const RECVMSG4: &str = "exeat_recvmsg4";
    pub const RECVMSG6: &str = "exeat_recvmsg6";
    pub const GETPEERNAME4: &str = "exeat_getpeername4";
    pub const GETPEERNAME6: &str = "exeat_getpeername6";
    pub const CONNECTIONS: &str = "exeat_connections";
    pub const GETSOCKOPT: &str = "exeat_getsockopt";
    pub const SOCK_CREATE: &str = "exeat_sock_create";
    pub const EGRESS: &str = "exeat_egress";
    pub const INGRESS: &str = "exeat_ingress";
    pub const FROM_POD: &str = "exeat_from_pod";
    pub const TO_POD: &str = "exeat_to_pod";
}

pub const WORKLOADS_ENTRIES: usize = 1024;
pub const NAMES_SHORT_ENTRIES: usize = 65_536;
pub const NAMES_LONG_ENTRIES: usize = 4_096;
pub const PREFIXES_ENTRIES: usize = 65_536;
/// Twenty views of ten thousand hosts each fit. Takes memory as it fills.
pub const RULES_ENTRIES: usize = 524_288;
/// Twice what the compiler fills: while tables change, old and new targets are there together.
/// Takes memory as it fills.
pub const TARGETS_ENTRIES: usize = 65_536;
/// As above.
pub const BACKENDS_ENTRIES: usize = 131_072;
pub const RESOLVERS_ENTRIES: usize = 64;
pub const FACTS_ENTRIES: usize = 131_072;
pub const QUERIES_ENTRIES: usize = 65_536;
/// TCP connections to resolvers; the one that was silent longest gives way, and is reset when it goes on.
pub const STREAMS_ENTRIES: usize = 16_384;
pub const FLOWS_ENTRIES: usize = 131_072;
/// Takes memory as it fills.
pub const HANDOVERS_ENTRIES: usize = 65_536;
pub const COUNTERS_ENTRIES: usize = 16_384;
pub const PASSED_ENTRIES: usize = 1024;
pub const EVENTS_BYTES: usize = 1 << 20;

/// Facts one workload may hold at a time; the next address it learns is refused and counted.
pub const FACTS_PER_WORKLOAD: u32 = 4_096;
/// Flows of one workload that are remembered at a time; those beyond are judged packet by packet.
pub const FLOWS_PER_WORKLOAD: u32 = 8_192;
/// Queries of one workload that may wait for their answers; the next one is dropped and counted.
pub const QUERIES_PER_WORKLOAD: u32 = 1_024;
/// Seconds of its rate that a workload which was quiet may ask for at once, below wildcards.
pub const WILDCARD_BURST_SECONDS: u64 = 10;
/// Connections of one workload that may wait for its proxy to accept them; the next one is refused.
pub const HANDOVERS_PER_WORKLOAD: u32 = 4_096;
/// Destinations that one datagram socket without a peer may be redirected from at a time.
pub const PEER_SLOTS: usize = 8;
/// Names remembered for one (workload, address) pair.
pub const FACT_SLOTS: usize = 8;
/// Source addresses a workload may be bound to.
pub const WORKLOAD_ADDRESSES: usize = 4;
/// Depths at which workload cgroups may sit below the root of the cgroup2 tree.
pub const CGROUP_DEPTHS: usize = 4;

/// Record types that [`crate::abi::Settings`] can tell apart: those with a number below this. Everything
/// that is in use lies below (RFC 6895 §3.1); the words of the set are masked, so a power of two.
pub const QUERY_TYPES: usize = 512;

/// Longest domain name on the wire, with its length bytes and the root byte (RFC 1035 §2.3.4).
pub const NAME_BYTES: usize = 255;
/// Names up to this many wire bytes live in the table with the short key.
pub const NAME_SHORT_BYTES: usize = 64;
/// Size of a buffer or key that holds any name; a power of two, so an index can be masked.
pub const NAME_BUFFER_BYTES: usize = 256;

/// Longest host name of a target in text form, rounded up (253 bytes, RFC 1035 §2.3.4).
pub const TARGET_HOST_BYTES: usize = 256;

/// Bytes of a frame that are loaded to find its addresses and ports: Ethernet 14, IPv4 with all
/// options 60 or IPv6 40 with extension headers, TCP 20.
pub const HEADER_BYTES: usize = 256;
/// Largest DNS message the kernel reads; larger ones are dropped and counted.
pub const MESSAGE_BYTES: usize = 4_096;
/// Largest answer that is copied to user space; larger ones are learned, not copied.
pub const MESSAGE_COPY_BYTES: usize = 1_232;
/// UDP payload a client may announce by EDNS; larger values are lowered to this, so that answers
/// fit one packet (DNS flag day 2020).
pub const EDNS_BYTES: u16 = 1_232;

/// Addresses that a question for a name is answered with in place, at most. With the longest name
/// the message still fits 512 bytes, which every client takes (RFC 1035 §4.2.1).
pub const TOLD_ADDRESSES: u32 = 8;
/// TTL of such an answer: as that of Istio's DNS proxy. A change of the registry is in force at
/// once, and a client that keeps an address which is nobody's any more is denied.
pub const TOLD_TTL_SECONDS: u32 = 30;

/// Steps of the walk over an answer: one a label of an owner, one a record.
pub const ANSWER_STEPS: usize = 256;
/// Records of one answer that may matter: more than fit a message of [`EDNS_BYTES`]; a power of two.
pub const ANSWER_RECORDS: usize = 128;
/// Addresses learned from one answer by the kernel; a power of two.
pub const ANSWER_ADDRESSES: usize = 128;
/// Names on the chain of one answer: the question and its aliases; a power of two.
pub const ANSWER_CHAIN: usize = 16;
/// HTTPS and SVCB records of one answer whose hints are looked at; a power of two.
pub const ANSWER_SERVICES: usize = 8;
/// Steps of the pass along the chain: one a record and a name that it is compared with.
pub const FOLLOW_STEPS: usize = 160;
/// Steps of the comparison of two names: one a pointer, a label, or eight more bytes of a label.
pub const NAME_STEPS: usize = 144;
/// Steps through the parameters of one service: one a parameter or an address.
pub const HINT_STEPS: usize = 64;
/// IPv6 extension headers that are followed; a longer chain is refused.
pub const EXTENSION_HEADERS: usize = 4;

/// Seconds after which a flow entry without packets is collected.
pub const FLOW_IDLE_TCP_SECONDS: u32 = 24 * 3600;
/// As above, once a FIN or RST was seen.
pub const FLOW_IDLE_CLOSING_SECONDS: u32 = 60;
/// As above, for UDP and ICMP.
pub const FLOW_IDLE_DATAGRAM_SECONDS: u32 = 180;
/// Seconds after which a connection that nobody accepted is collected: connecting takes 127 seconds at most
/// with what Linux has by default (`tcp_syn_retries`), and the socket itself clears it away.
pub const HANDOVER_SECONDS: u32 = 600;
/// Questions that one TCP segment may carry, as resolvers that ask for both families write them; with
/// more of them the connection is reset.
pub const SEGMENT_QUESTIONS: usize = 2;
/// Seconds for which a query is remembered.
pub const QUERY_SECONDS: u32 = 15;
/// Bytes of a denied packet that an ICMP error quotes. The socket is found by the IP header and eight
/// bytes (RFC 792); this is room for extension headers.
pub const QUOTE_BYTES: usize = 128;
/// Replies to denied packets that one workload gets a second, resets and ICMP errors together; the
/// rest is dropped in silence. As many as Linux sends of its own (`net.ipv4.icmp_msgs_per_sec`).
pub const REPLIES_PER_SECOND: u32 = 1_000;
/// Resets that go on to the remote end of one TCP flow which is not allowed any more.
pub const RESETS_PER_FLOW: u8 = 4;
/// Denial events one workload may emit a second; the rest is only counted.
pub const EVENTS_PER_SECOND: u32 = 200;
