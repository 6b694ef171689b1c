//! Every map key, map value and ring buffer event: `repr(C)`, no padding, sizes asserted.
//!
//! Ports are in host order, addresses in their 16-byte form. A change here raises
//! [`crate::limits::ABI_VERSION`].

mod count;
mod dns;
mod fact;
mod flow;
mod name;
mod redirect;
mod ring;
mod rule;
mod settings;
mod share;
mod stream;
mod target;
mod wildcard;
mod workload;

pub use count::{CounterKey, CounterValue, PassedValue};
pub use dns::{QueryKey, QueryValue, ResolverKey};
pub use fact::{Fact, FactKey, FactValue};
pub use flow::{FlowKey, FlowValue, direction};
pub use name::{NameKeyLong, NameKeyShort, NameValue, name_flag};
pub use redirect::{Dialled, HandoverKey, HandoverValue, Redirect};
pub use ring::{AnswerHeader, EVENT_MAX_BYTES, FlowEvent, QueryHeader, event};
pub use rule::{PrefixData, RuleKey, RuleValue, action};
pub use settings::{QueryTypeSet, Settings, setting_flag};
pub use share::QuotaValue;
pub use stream::{StreamValue, stream_part};
pub use target::{BackendKey, BackendValue, TargetValue, target_kind};
pub use wildcard::{WildcardLimits, WildcardValue};
pub use workload::{Workload, mode, workload_flag};

/// A layout: `repr(C)`, plain bytes, its size stated and checked.
macro_rules! abi {
    ($(#[$doc:meta])* pub struct $name:ident ($size:literal bytes) { $($(#[$fdoc:meta])* $fvis:vis $field:ident: $type:ty,)+ }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, zerocopy::FromBytes,
            zerocopy::Immutable, zerocopy::IntoBytes, zerocopy::KnownLayout,
        )]
        #[repr(C)]
        pub struct $name {
            $($(#[$fdoc])* $fvis $field: $type,)+
        }

        const _: () = assert!(size_of::<$name>() == $size);
    };
}
use abi;

/// Two halfwords that lie one after the other, as the word they make.
///
/// The kernel hashes a key by words. Where a key was written in smaller pieces just before, the
/// processor cannot forward them and waits; so the keys of every packet are made of words.
#[inline(always)]
const fn halves(first: u16, second: u16) -> u32 {
    let [a, b] = first.to_ne_bytes();
    let [c, d] = second.to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}
