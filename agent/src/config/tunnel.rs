//! What questions below granted wildcards may carry.

use exeat_common::{abi::WildcardLimits, limits::NAME_BYTES};
use serde::Deserialize;

/// The limits of each workload. There are none by default: what is usual differs from one network
/// to the next, and the metrics tell it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Tunnel {
    queries_per_second: Limit<QUERIES_MOST>,
    label_length: Limit<LABEL_MOST>,
    entropy_bits: Limit<ENTROPY_MOST>,
}

/// More than one core answers.
const QUERIES_MOST: u32 = 1_000_000;
/// RFC 1035 §2.3.4.
const LABEL_MOST: u32 = 63;
/// Eight for each byte of a name.
#[expect(clippy::cast_possible_truncation, reason = "a name has 255 bytes")]
const ENTROPY_MOST: u32 = 8 * NAME_BYTES as u32;

impl Tunnel {
    /// As the kernel has them.
    pub fn limits(self) -> WildcardLimits {
        let short = |limit: u32| u16::try_from(limit).unwrap_or(u16::MAX);
        WildcardLimits {
            queries_per_second: self.queries_per_second.0,
            label_bytes: short(self.label_length.0),
            entropy_bits: short(self.entropy_bits.0),
        }
    }
}

/// 1 to `MOST`, or 0 where it was left out.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(try_from = "i64")]
struct Limit<const MOST: u32>(u32);

impl<const MOST: u32> TryFrom<i64> for Limit<MOST> {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, String> {
        match u32::try_from(number) {
            Ok(limit) if (1..=MOST).contains(&limit) => Ok(Self(limit)),
            _ => Err(format!(
                "`{number}` is not a number from 1 to {MOST} (leave the key out for no limit)"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use exeat_common::abi::WildcardLimits;

    use super::Tunnel;

    fn read(text: &str) -> Result<WildcardLimits, String> {
        let tunnel = serde_yaml::from_str::<Tunnel>(text);
        tunnel.map(Tunnel::limits).map_err(|error| error.to_string())
    }

    fn limits(queries_per_second: u32, label_bytes: u16, entropy_bits: u16) -> WildcardLimits {
        WildcardLimits { queries_per_second, label_bytes, entropy_bits }
    }

    #[test]
    fn each_limit_stands_for_itself() {
        for (text, expected) in [
            ("{}", limits(0, 0, 0)),
            ("{queriesPerSecond: 20}", limits(20, 0, 0)),
            ("{labelLength: 63}", limits(0, 63, 0)),
            ("{entropyBits: 2040}", limits(0, 0, 2040)),
            (
                "{queriesPerSecond: 1000000, labelLength: 1, entropyBits: 1}",
                limits(1_000_000, 1, 1),
            ),
        ] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for (text, part) in [
            ("{queriesPerSecond: 0}", "`0` is not a number from 1 to 1000000 (leave the key out"),
            ("{labelLength: 0}", "from 1 to 63"),
            ("{labelLength: 64}", "`64` is not a number from 1 to 63"),
            ("{entropyBits: 2041}", "from 1 to 2040"),
            ("{queriesPerSecond: 1000001}", "from 1 to 1000000"),
            ("{queriesPerSecond: -1}", "`-1` is not a number"),
            ("{queriesPerSecond: 1.5}", "invalid type"),
            ("{queriesPerSecond: 10/s}", "invalid type"),
            ("{labelLenght: 10}", "unknown field `labelLenght`"),
            ("20", "invalid type"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
