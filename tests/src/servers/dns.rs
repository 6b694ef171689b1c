//! A DNS server whose zone is set while it runs, and which counts the questions it got by
//! name: so "the question never left the node" is shown where it would have arrived.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::{A, AAAA, CNAME};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use super::ServerThread;
use crate::netns::NetNs;

const TCP_IDLE: Duration = Duration::from_secs(5);
const TCP_RESPONSES: usize = 16;
/// Aliases followed for one question.
const LONGEST_CHAIN: usize = 8;

/// What the server says to a question about a name that nobody set.
#[derive(Clone, Copy, Debug)]
pub enum Unknown {
    NxDomain,
    /// Answers any name with this address, as a resolver does that nobody should trust.
    Address(IpAddr),
}

#[derive(Debug)]
pub struct DnsServer {
    zone: Arc<Mutex<Zone>>,
    _thread: ServerThread,
}

/// Addresses for the n-th name under a suffix.
type Numbered = Box<dyn Fn(u32) -> Vec<IpAddr> + Send>;

struct Zone {
    answers: BTreeMap<String, Answer>,
    numbered: BTreeMap<String, Numbered>,
    unknown: Unknown,
    asked: BTreeMap<String, u64>,
    /// Whether records are written in the reverse of their usual order.
    upside_down: bool,
    /// Whether nothing is answered.
    silent: bool,
    /// The EDNS size in the latest question that had one.
    edns_bytes: Option<u16>,
}

#[derive(Clone, Debug, Default)]
struct Answer {
    addresses: Vec<IpAddr>,
    alias: Option<String>,
    /// Records of another name, put into the same answer.
    stray: Vec<(String, IpAddr)>,
    ttl: u32,
}

impl DnsServer {
    /// Serves UDP and TCP on `addresses`.
    pub fn start(netns: &NetNs, addresses: &[SocketAddr], unknown: Unknown) -> Result<Self> {
        let zone = Arc::new(Mutex::new(Zone {
            answers: BTreeMap::new(),
            numbered: BTreeMap::new(),
            unknown,
            asked: BTreeMap::new(),
            upside_down: false,
            silent: false,
            edns_bytes: None,
        }));
        let (handler, addresses) = (Handler(Arc::clone(&zone)), addresses.to_vec());
        let thread = ServerThread::start(netns, "dns", move || async move {
            let mut server = Server::new(handler);
            for address in addresses {
                let udp = UdpSocket::bind(address).await;
                server.register_socket(udp.with_context(|| format!("bind UDP {address}"))?);
                let tcp = TcpListener::bind(address).await;
                let tcp = tcp.with_context(|| format!("bind TCP {address}"))?;
                server.register_listener(tcp, TCP_IDLE, TCP_RESPONSES);
            }
            let mut tasks = JoinSet::new();
            tasks.spawn(async move {
                if let Err(error) = server.block_until_done().await {
                    eprintln!("exeat-tests: the DNS server ended: {error}");
                }
            });
            Ok(tasks)
        })?;
        Ok(Self { zone, _thread: thread })
    }

    /// Answers `name` with these addresses from here on.
    pub fn set(&self, name: &str, addresses: &[IpAddr], ttl: u32) {
        let answer = Answer { addresses: addresses.to_vec(), ttl, ..Answer::default() };
        self.zone().answers.insert(canonical(name), answer);
    }

    /// Answers `name` with a CNAME to `target`, and with what `target` has.
    pub fn alias(&self, name: &str, target: &str, ttl: u32) {
        let answer = Answer { alias: Some(canonical(target)), ttl, ..Answer::default() };
        self.zone().answers.insert(canonical(name), answer);
    }

    /// Adds a record of `other` to each answer about `name`: a forged extra.
    pub fn stray(&self, name: &str, other: &str, address: IpAddr) {
        let mut zone = self.zone();
        let answer = zone.answers.entry(canonical(name)).or_default();
        answer.stray.push((canonical(other), address));
    }

    /// Answers `n<number>.<suffix>` with the addresses of that number.
    pub fn numbered(&self, suffix: &str, addresses: impl Fn(u32) -> Vec<IpAddr> + Send + 'static) {
        self.zone().numbered.insert(canonical(suffix), Box::new(addresses));
    }

    /// Writes the records of each answer in the reverse order from here on: the aliases last.
    pub fn turn_upside_down(&self) {
        self.zone().upside_down = true;
    }

    /// Knows nothing of `name` from here on.
    pub fn forget(&self, name: &str) {
        self.zone().answers.remove(&canonical(name));
    }

    /// Counts questions and answers none of them, until told otherwise.
    pub fn set_silent(&self, is_silent: bool) {
        self.zone().silent = is_silent;
    }

    /// The EDNS size that the latest question with one offered, in bytes.
    pub fn edns_bytes(&self) -> Option<u16> {
        self.zone().edns_bytes
    }

    /// How many questions about `name` arrived here, of any type.
    pub fn asked(&self, name: &str) -> u64 {
        self.zone().asked.get(&canonical(name)).copied().unwrap_or(0)
    }

    /// Every name that was asked about, in lower case and without the trailing dot.
    pub fn names_asked(&self) -> Vec<String> {
        self.zone().asked.keys().cloned().collect()
    }

    pub fn asked_total(&self) -> u64 {
        self.zone().asked.values().sum()
    }

    fn zone(&self) -> MutexGuard<'_, Zone> {
        self.zone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Zone {
    /// The records for a question, or nothing when the name is unknown here.
    fn look_up(&self, name: &str, kind: RecordType) -> Result<Option<Vec<Record>>> {
        let mut records = Vec::new();
        let mut current = name.to_owned();
        for _ in 0..LONGEST_CHAIN {
            let Some(answer) = self.answer(&current) else {
                // A dangling alias still is an answer.
                return Ok((!records.is_empty()).then_some(records));
            };
            let owner = Name::from_ascii(format!("{current}."))?;
            for (stray, address) in &answer.stray {
                records.push(address_record(Name::from_ascii(format!("{stray}."))?, *address, 60));
            }
            for address in answer.addresses {
                if kind == address_kind(address) {
                    records.push(address_record(owner.clone(), address, answer.ttl));
                }
            }
            let Some(target) = answer.alias else {
                return Ok(Some(records));
            };
            let target_name = Name::from_ascii(format!("{target}."))?;
            let data = RData::CNAME(CNAME(target_name));
            records.push(Record::from_rdata(owner, answer.ttl, data));
            current = target;
        }
        Ok(Some(records))
    }

    fn answer(&self, name: &str) -> Option<Answer> {
        if let Some(answer) = self.answers.get(name) {
            return Some(answer.clone());
        }
        let number = |label: &str| label.strip_prefix('n').and_then(|rest| rest.parse().ok());
        if let Some((label, suffix)) = name.split_once('.')
            && let Some(addresses) = self.numbered.get(suffix)
            && let Some(number) = number(label)
        {
            return Some(Answer { addresses: addresses(number), ttl: 60, ..Answer::default() });
        }
        match self.unknown {
            Unknown::NxDomain => None,
            Unknown::Address(address) => {
                Some(Answer { addresses: vec![address], ttl: 60, ..Answer::default() })
            }
        }
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Zone")
            .field("answers", &self.answers)
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}

struct Handler(Arc<Mutex<Zone>>);

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = true;
        metadata.recursion_available = true;
        let records = match request.request_info() {
            Ok(info) => {
                let name = canonical(&info.query.name().to_string());
                let mut zone = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                *zone.asked.entry(name.clone()).or_default() += 1;
                if let Some(edns) = &request.edns {
                    zone.edns_bytes = Some(edns.max_payload());
                }
                let mut found = zone.look_up(&name, info.query.query_type());
                if zone.silent {
                    return Header { metadata, counts: HeaderCounts::default() }.into();
                }
                if let Ok(Some(records)) = &mut found
                    && zone.upside_down
                {
                    records.reverse();
                }
                found
            }
            Err(error) => Err(error.into()),
        };
        let records = match records {
            Ok(Some(records)) => records,
            Ok(None) => {
                metadata.response_code = ResponseCode::NXDomain;
                Vec::new()
            }
            Err(_) => {
                metadata.response_code = ResponseCode::ServFail;
                Vec::new()
            }
        };
        let response = MessageResponseBuilder::from_message_request(request).build(
            metadata,
            &records,
            [],
            [],
            [],
        );
        match response_handle.send_response(response).await {
            Ok(info) => info,
            // The client went away; what was meant is what there is to report.
            Err(_) => Header { metadata, counts: HeaderCounts::default() }.into(),
        }
    }
}

fn address_kind(address: IpAddr) -> RecordType {
    if address.is_ipv4() { RecordType::A } else { RecordType::AAAA }
}

fn address_record(owner: Name, address: IpAddr, ttl: u32) -> Record {
    let data = match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    };
    Record::from_rdata(owner, ttl, data)
}

/// Lower case, without the trailing dot.
fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}
