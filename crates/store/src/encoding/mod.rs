//! How the store writes what is not a number or a text: small, and refused when it does not read back.
//!
//! The PostgreSQL backend keeps these bytes in columns, so what one release has written the next must read.

pub(crate) mod contracts;
pub(crate) mod members;
pub(crate) mod segments;
pub(crate) mod varint;
