//! From the bytes of DNS to words, by hickory: hostile input, so nothing here may panic.

use std::{net::IpAddr, time::Duration};

use hickory_proto::{
    op::Message,
    rr::Name,
    serialize::binary::{BinDecodable as _, DecodeError},
};

/// What an answer says about the name that was asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Without the dot at the end.
    pub name: String,
    pub addresses: Vec<(IpAddr, Duration)>,
}

/// Reads an answer. Every address in it is taken for the name in the question, whatever chain of
/// aliases lies between.
pub fn answer(message: &[u8]) -> Result<Answer, DecodeError> {
    let message = Message::from_vec(message)?;
    let name = message.queries.first().map(|query| text(query.name())).unwrap_or_default();
    let address = |record: &hickory_proto::rr::Record| {
        let ttl = Duration::from_secs(u64::from(record.ttl));
        record.data.ip_addr().map(|address| (address, ttl))
    };
    Ok(Answer { name, addresses: message.answers.iter().filter_map(address).collect() })
}

/// A wire name as text, without the dot at the end; bytes that are no letters are escaped.
pub fn name(wire: &[u8]) -> Result<String, DecodeError> {
    Name::from_bytes(wire).map(|name| text(&name))
}

fn text(name: &Name) -> String {
    let text = name.to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_lowercase()
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use hickory_proto::{
        op::{Message, MessageType, OpCode, Query},
        rr::{Name, RData, Record, RecordType, rdata},
    };
    use proptest::prelude::*;

    use super::{answer, name};

    #[test]
    fn addresses_behind_aliases_belong_to_the_question() {
        let asked = Name::from_ascii("WWW.example.com.").expect("a name");
        let alias = Name::from_ascii("cdn.example.net.").expect("a name");
        let mut message = Message::new(7, MessageType::Response, OpCode::Query);
        message.add_query(Query::query(asked.clone(), RecordType::A));
        let cname = RData::CNAME(rdata::CNAME(alias.clone()));
        message.add_answer(Record::from_rdata(asked, 60, cname));
        let a = RData::A(rdata::A(Ipv4Addr::new(192, 0, 2, 1)));
        message.add_answer(Record::from_rdata(alias, 30, a));
        let read = answer(&message.to_vec().expect("encodes")).expect("decodes");
        assert_eq!(read.name, "www.example.com");
        let address = Ipv4Addr::new(192, 0, 2, 1).into();
        assert_eq!(read.addresses, [(address, Duration::from_secs(30))]);
    }

    #[test]
    fn wire_names() {
        assert_eq!(name(b"\x03www\x07example\x00").expect("a name"), "www.example");
        assert_eq!(name(b"\x00").expect("the root"), "");
        assert!(name(b"\x05ab").is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = (answer(&bytes).is_ok(), name(&bytes).is_ok());
        }
    }
}
