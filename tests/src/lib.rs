//! Test support of exeat.
