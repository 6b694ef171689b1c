//! What the agent knows of names: only to explain. What the kernel enforces it learned itself.

pub mod cache;
pub mod message;
