//! Chance, from a seed: the same seed makes the same world on every machine.

/// A sequence of numbers (`SplitMix64`, Steele, Lea and Flood, OOPSLA 2014).
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("small");
        usize::try_from(self.next() % end).expect("small")
    }

    /// True this often in a hundred.
    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len())]
    }

    /// One of `items`, as text.
    pub(crate) fn word(&mut self, items: &[&str]) -> String {
        self.pick(items).to_owned()
    }

    /// Some of `items`, `least..=most` of them, each once and in their order.
    pub(crate) fn some(&mut self, items: &[&str], least: usize, most: usize) -> Vec<String> {
        let mut wanted = least + self.below(most - least + 1);
        let mut left = items.len();
        let mut chosen = Vec::new();
        for item in items {
            if self.below(left) < wanted {
                chosen.push((*item).to_owned());
                wanted -= 1;
            }
            left -= 1;
        }
        chosen
    }
}
