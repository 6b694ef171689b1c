//! The rule of `exeat_common::dns::answer`, written down a second time over what hickory-proto reads.

use std::collections::BTreeSet;

use exeat_common::address::Address;
use hickory_proto::{
    op::Message,
    rr::{
        DNSClass, Name, RData, Record,
        rdata::svcb::{SVCB, SvcParamValue},
    },
};

/// Names reached from the question by aliases, whatever the order of the records.
pub(crate) fn chain(message: &Message) -> BTreeSet<Name> {
    let question = message.queries.first().expect("a question").name();
    let mut chain = BTreeSet::from([question.clone()]);
    loop {
        let before = chain.len();
        for record in internet(message) {
            if let RData::CNAME(target) = &record.data
                && chain.contains(&record.name)
            {
                chain.insert(target.0.clone());
            }
        }
        if chain.len() == before {
            return chain;
        }
    }
}

/// Every address that counts.
pub(crate) fn addresses(message: &Message) -> BTreeSet<Address> {
    let chain = chain(message);
    let on_chain = internet(message).filter(|record| chain.contains(&record.name));
    on_chain.flat_map(|record| of_record(record, &chain)).collect()
}

fn of_record(record: &Record, chain: &BTreeSet<Name>) -> Vec<Address> {
    if let RData::HTTPS(https) = &record.data {
        hints(&https.0, chain)
    } else if let RData::SVCB(svcb) = &record.data {
        hints(svcb, chain)
    } else {
        record.data.ip_addr().map(Address::from).into_iter().collect()
    }
}

fn hints(service: &SVCB, chain: &BTreeSet<Name>) -> Vec<Address> {
    let is_here = service.target_name.is_root() || chain.contains(&service.target_name);
    if service.svc_priority == 0 || !is_here {
        return Vec::new();
    }
    let mut addresses = Vec::new();
    for (_, value) in &service.svc_params {
        if let SvcParamValue::Ipv4Hint(hint) = value {
            addresses.extend(hint.0.iter().map(|it| Address::from_v4(it.0.octets())));
        } else if let SvcParamValue::Ipv6Hint(hint) = value {
            addresses.extend(hint.0.iter().map(|it| Address::from_v6(it.0.octets())));
        }
    }
    addresses
}

fn internet(message: &Message) -> impl Iterator<Item = &Record> {
    message.answers.iter().filter(|record| record.dns_class == DNSClass::IN)
}
