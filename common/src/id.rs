//! Identifiers that join facts, rules and workloads.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd,
            FromBytes, Immutable, IntoBytes, KnownLayout,
        )]
        #[repr(transparent)]
        pub struct $name(u32);

        impl $name {
            #[inline(always)]
            pub const fn new(raw: u32) -> Self {
                Self(raw)
            }

            #[inline(always)]
            pub const fn raw(self) -> u32 {
                self.0
            }
        }
    };
}

id!(
    /// A workload: a pod, or a cgroup named in the configuration. 0 is no workload.
    WorkloadId
);
id!(
    /// A compiled view of the registry. Workloads with equal views share one.
    PolicyId
);
id!(
    /// What a rule speaks of: an address prefix or a name pattern. 0 is none.
    ///
    /// The upper bits rank patterns, so that among the names of one address the larger id is the
    /// more specific pattern: exact before wildcard, more labels before fewer. Prefixes are found
    /// by longest match and carry no rank.
    SubjectId
);

impl PolicyId {
    /// The prefixes under this policy are those inside the cluster (`clusterCidrs`).
    pub const INTERNAL: Self = Self(0);
}

impl SubjectId {
    pub const NONE: Self = Self(0);
    /// Every address (`match: istio-compat`). It ranks below all other subjects.
    pub const ANYWHERE: Self = Self::prefix(0);

    const PREFIX: u32 = 1 << 31;
    const EXACT: u32 = 1 << 30;
    const LABELS_SHIFT: u32 = 23;
    const LABELS_MASK: u32 = 0x7f;

    /// Largest serial number that fits beside the rank.
    pub const SERIAL_MAX: u32 = (1 << Self::LABELS_SHIFT) - 1;

    /// A pattern of `labels` labels; `serial` is 1..=[`Self::SERIAL_MAX`] and unique.
    pub const fn pattern(serial: u32, exact: bool, labels: u8) -> Self {
        let exact = if exact { Self::EXACT } else { 0 };
        Self(exact | (labels as u32 & Self::LABELS_MASK) << Self::LABELS_SHIFT | serial)
    }

    /// A prefix; `serial` is 1 to 2^31 - 1 and unique.
    pub const fn prefix(serial: u32) -> Self {
        Self(Self::PREFIX | serial)
    }

    #[inline(always)]
    pub const fn is_prefix(self) -> bool {
        self.0 & Self::PREFIX != 0
    }

    #[inline(always)]
    pub const fn is_some(self) -> bool {
        self.0 != 0
    }

    /// The number that was given to [`Self::pattern`] or [`Self::prefix`].
    pub const fn serial(self) -> u32 {
        if self.is_prefix() { self.0 & !Self::PREFIX } else { self.0 & Self::SERIAL_MAX }
    }
}

/// How specific a pattern is: exact before wildcard, more labels before fewer. `labels` is at most
/// 127.
pub const fn rank(exact: bool, labels: u8) -> u8 {
    (exact as u8) << 7 | (labels & 0x7f)
}

#[cfg(test)]
mod tests {
    use super::SubjectId;

    #[test]
    fn larger_pattern_ids_are_more_specific() {
        let exact = SubjectId::pattern(1, true, 3);
        let long = SubjectId::pattern(2, false, 4);
        let short = SubjectId::pattern(SubjectId::SERIAL_MAX, false, 3);
        assert!(exact > long && long > short);
        assert_eq!(short.serial(), SubjectId::SERIAL_MAX);
        assert!(!exact.is_prefix() && SubjectId::prefix(7).is_prefix());
        assert_eq!(SubjectId::prefix(7).serial(), 7);
        assert!(SubjectId::ANYWHERE.is_some() && SubjectId::ANYWHERE.is_prefix());
    }
}
