//! The DNS messages of a lookup: what is asked, and what is answered.

use std::net::IpAddr;

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RData, Record, RecordType, rdata},
};

use super::Lookup;

/// Any transaction number.
const TRANSACTION: u16 = 1;

/// A question and its answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub query: Message,
    pub answer: Message,
}

impl Lookup {
    /// As clients do: both families are asked for, IPv4 first, and each has an answer of its own.
    pub fn exchanges(&self) -> [Exchange; 2] {
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) =
            self.answers.iter().map(IpAddr::to_canonical).partition(IpAddr::is_ipv4);
        [(RecordType::A, v4), (RecordType::AAAA, v6)].map(|(kind, addresses)| Exchange {
            query: self.query(kind),
            answer: self.answer(kind, &addresses),
        })
    }

    fn query(&self, kind: RecordType) -> Message {
        let mut message = Message::new(TRANSACTION, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(self.name.clone(), kind));
        message
    }

    /// What the resolver says: the aliases in order, then the addresses of the last of them.
    fn answer(&self, kind: RecordType, addresses: &[IpAddr]) -> Message {
        let mut message = Message::new(TRANSACTION, MessageType::Response, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.metadata.recursion_available = true;
        message.add_query(Query::query(self.name.clone(), kind));
        let mut owner: &Name = &self.name;
        for alias in &self.cname {
            let data = RData::CNAME(rdata::CNAME(alias.clone()));
            message.add_answer(Record::from_rdata(owner.clone(), self.ttl, data));
            owner = alias;
        }
        for address in addresses {
            let data = match address {
                IpAddr::V4(address) => RData::A(rdata::A(*address)),
                IpAddr::V6(address) => RData::AAAA(rdata::AAAA(*address)),
            };
            message.add_answer(Record::from_rdata(owner.clone(), self.ttl, data));
        }
        message
    }
}
