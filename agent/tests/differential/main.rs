//! The compiler of the registry against a naive model that was written from the words of the APIs,
//! over random registries. `EXEAT_DIFFERENTIAL_CASES` sets how many, `EXEAT_DIFFERENTIAL_SEED`
//! which one is the first.

#![cfg(test)]

mod compare;
mod conformance;
mod dice;
mod generate;
mod judge;
mod manifest;
mod model;
mod shrink;
mod world;
mod yaml;
