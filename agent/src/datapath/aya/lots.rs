//! Weights as the kernel draws by them: one number and one comparison, whatever the number of backends.
//!
//! The alias method (A. J. Walker 1977; M. D. Vose, "A linear algorithm for generating random numbers with
//! a given distribution", 1991). Every backend is drawn alike often; what one has too much goes to others,
//! each of which says with what chance it keeps a draw and who has it otherwise.

/// What one backend does with a draw.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Lot {
    /// Keeps it if another drawn number is below this.
    pub(super) chance: u32,
    /// Who has it otherwise, as an index among the weights.
    pub(super) alias: usize,
}

/// One for each of these weights.
pub(super) fn lots(weights: &[u32]) -> Vec<Lot> {
    let total: u128 = weights.iter().copied().map(u128::from).sum();
    let count = weights.len() as u128;
    // In parts of which an even share has `total`.
    let mut parts: Vec<u128> = weights.iter().map(|weight| u128::from(*weight) * count).collect();
    let mut lots: Vec<Lot> =
        (0..weights.len()).map(|alias| Lot { chance: u32::MAX, alias }).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) =
        (0..weights.len()).partition(|index| parts.get(*index).is_some_and(|part| *part < total));
    while let (Some(poor), Some(rich)) = (small.pop(), large.pop()) {
        let own = parts.get(poor).copied().unwrap_or(total);
        if let Some(lot) = lots.get_mut(poor) {
            *lot = Lot { chance: chance(own, total), alias: rich };
        }
        if let Some(part) = parts.get_mut(rich) {
            *part -= total - own;
            if *part < total { small.push(rich) } else { large.push(rich) }
        }
    }
    lots
}

fn chance(part: u128, total: u128) -> u32 {
    u32::try_from((part << 32) / total.max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::{Lot, lots};

    /// How often each is taken, out of `2^32` draws for each.
    fn taken(lots: &[Lot]) -> Vec<u64> {
        let mut taken = vec![0; lots.len()];
        for (index, lot) in lots.iter().enumerate() {
            taken[index] += u64::from(lot.chance);
            taken[lot.alias] += (1 << 32) - u64::from(lot.chance);
        }
        taken
    }

    #[test]
    fn even_weights_keep_what_they_draw() {
        for lot in lots(&[5, 5, 5]) {
            assert_eq!(lot.chance, u32::MAX);
        }
        assert!(lots(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn each_is_taken_as_often_as_its_weight_says(weights in vec(1..=u32::MAX, 1..40)) {
            let total: f64 = weights.iter().copied().map(f64::from).sum();
            #[expect(clippy::cast_precision_loss, reason = "compared with a tolerance")]
            let draws = (weights.len() as f64) * 4_294_967_296.0;
            for (weight, taken) in weights.iter().zip(taken(&lots(&weights))) {
                #[expect(clippy::cast_precision_loss, reason = "compared with a tolerance")]
                let share = taken as f64 / draws;
                prop_assert!((share - f64::from(*weight) / total).abs() < 1e-8);
            }
        }
    }
}
