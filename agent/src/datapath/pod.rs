//! Shared layouts as aya wants them: the one `unsafe impl` of its `Pod`.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A layout of `exeat-common` as a map key or value.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(transparent)]
pub(super) struct Abi<T>(pub(super) T);

// SAFETY: `IntoBytes` proves that a value has no padding, `FromBytes` that any bytes are a value,
// and `Immutable` with `Copy` that it holds nothing but those bytes; the wrapper is transparent.
unsafe impl<T: Copy + FromBytes + IntoBytes + Immutable + 'static> aya::Pod for Abi<T> {}
