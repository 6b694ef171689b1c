//! Command line of exeat.

fn main() {}
