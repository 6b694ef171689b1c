//! The node agent of exeat.
