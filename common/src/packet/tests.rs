//! Frames and what is read from them.
