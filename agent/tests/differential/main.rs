//! The compiler of the registry against a naive model that was written from the words of the APIs,
//! over random registries. `EXEAT_DIFFERENTIAL_CASES` sets how many, `EXEAT_DIFFERENTIAL_SEED`
//! which one is the first.

#![cfg(test)]
#![expect(clippy::wildcard_enum_match_arm, reason = "a kind that is not asked for is none")]
#![expect(clippy::struct_field_names, reason = "fields are named as in the documents")]
#![expect(clippy::doc_markdown, reason = "kinds are named in sentences as their users name them")]

mod compare;
mod conformance;
mod dice;
mod generate;
mod judge;
mod manifest;
mod model;
mod properties;
mod shrink;
mod world;
mod yaml;
