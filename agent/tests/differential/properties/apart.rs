//! Worlds in which nothing stands behind anything: no two objects speak of one name or address, so
//! that what is taken away uncovers nothing.

use super::{
    super::{dice::Dice, generate, manifest::Object, world::World},
    claims::{Place, claims, is_refused},
    declared::closed,
};

/// The world of a seed, without the objects that meet others in a name or address, and without
/// those that are refused.
pub(super) fn world(seed: u64) -> World {
    let mut world = closed(generate::world(seed));
    let mut dice = Dice::new(seed ^ 0x5eed);
    let mut taken: Vec<Place> = Vec::new();
    let mut kept: Vec<(usize, Object)> = Vec::new();
    let mut order: Vec<(usize, Object)> = world.registry.drain(..).enumerate().collect();
    while !order.is_empty() {
        let (index, object) = order.swap_remove(dice.below(order.len()));
        let places: Vec<Place> = claims(&object).into_iter().map(|it| it.place).collect();
        let is_apart = |(index, place): (usize, &Place)| {
            let earlier = &places[..index];
            !taken.iter().chain(earlier).any(|it| it.meets(place))
        };
        if !is_refused(&object) && places.iter().enumerate().all(is_apart) {
            taken.extend(places);
            kept.push((index, object));
        }
    }
    kept.sort_by_key(|(index, _)| *index);
    world.registry = kept.into_iter().map(|(_, object)| object).collect();
    world.reject.clear();
    world
}
