//! Record types that workloads may ask for: their names, and the set that the kernel has of them.

use std::{collections::BTreeSet, num::NonZeroU16};

use exeat_common::{abi::QueryTypeSet, limits::QUERY_TYPES};
use hickory_proto::rr::RecordType;
use serde::{Deserialize, Deserializer, de::Error as _};

/// A set of record types. By default those that applications ask for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QueryTypes(BTreeSet<u16>);

/// What applications ask for. Not among them: what serves the maintenance of zones (AXFR, IXFR,
/// DNSSEC) and what carries anything at all (NULL, ANY).
const DEFAULT: [RecordType; 11] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::CNAME,
    RecordType::HTTPS,
    RecordType::SVCB,
    RecordType::SRV,
    RecordType::TXT,
    RecordType::MX,
    RecordType::NS,
    RecordType::PTR,
    RecordType::SOA,
];

impl Default for QueryTypes {
    fn default() -> Self {
        Self(DEFAULT.into_iter().map(u16::from).collect())
    }
}

impl QueryTypes {
    /// As the kernel has it.
    pub fn bits(&self) -> QueryTypeSet {
        let mut bits = QueryTypeSet::default();
        for number in self.0.iter().copied().map(usize::from) {
            if let Some(word) = bits.get_mut(number / 32) {
                *word |= 1 << (number % 32);
            }
        }
        bits
    }
}

impl<'de> Deserialize<'de> for QueryTypes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let types = Vec::<QueryType>::deserialize(deserializer)?;
        if types.is_empty() {
            return Err(D::Error::custom(
                "an empty list would refuse every question (leave the key out for the usual types)",
            ));
        }
        Ok(Self(types.into_iter().map(|it| it.0).collect()))
    }
}

/// One type, by name or as `TYPE123` (RFC 3597 §5).
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct QueryType(u16);

impl TryFrom<String> for QueryType {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let name = text.to_ascii_uppercase();
        let number = match name.strip_prefix("TYPE") {
            Some(digits) => digits.parse().ok().map(NonZeroU16::get),
            None => name.parse::<RecordType>().ok().map(u16::from),
        };
        match number {
            Some(number) if number == u16::from(RecordType::OPT) => {
                Err(format!("`{text}` is no type of records that could be asked for"))
            }
            Some(number) if usize::from(number) >= QUERY_TYPES => Err(format!(
                "`{text}` has the number {number}, and types above {} cannot be allowed",
                QUERY_TYPES - 1
            )),
            Some(number) => Ok(Self(number)),
            None => Err(format!("`{text}` is not a record type such as A, TXT or TYPE99")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::QueryTypes;

    fn read(text: &str) -> Result<QueryTypes, String> {
        serde_yaml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn types_have_names_and_numbers() {
        let types = read("[a, TXT, TYPE65, type257, caa]").expect("valid");
        assert_eq!(types.0.iter().copied().collect::<Vec<_>>(), [1, 16, 65, 257]);
        let bits = types.bits();
        assert_eq!((bits[0], bits[2], bits[8]), (1 << 1 | 1 << 16, 1 << 1, 1 << 1));
    }

    #[test]
    fn what_is_no_type_is_refused() {
        for (text, part) in [
            ("[A, TEXT]", "`TEXT` is not a record type"),
            ("[TYPE0]", "`TYPE0`"),
            ("[TYPE65536]", "`TYPE65536`"),
            ("[TYPE512]", "above 511"),
            ("[OPT]", "`OPT` is not a record type"),
            ("[TYPE41]", "could be asked for"),
            ("[]", "empty list"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
