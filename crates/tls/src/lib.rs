//! How we know a server, and how it knows us: TLS, the same way for all three.
//!
//! # What is this for?
//!
//! Each driver has an idea of its own of TLS: one talks in the clear where the server says so, one where a feature of
//! its build is missing, one trusts every public authority beside the private one. So the seams ask here, and hand
//! the drivers what they may use. There is one implementation (rustls) with one provider of cryptography (aws-lc-rs),
//! and one way of verifying: the server's certificate must come from an authority that is named, or that the system
//! trusts, and must be for the host that the URL names.
//!
//! # What does it not know?
//!
//! Which server it is, and when to connect.
//!
//! # Which type to look at first?
//!
//! [`Demand`]: what a URL asks for, and whether that is granted. [`Tls`] does it.
//!
//! # Failure by failure
//!
//! - *Plaintext to another machine*: refused, unless the URL says `sslmode=disable`. A URL that says nothing asks for
//!   TLS; only to the machine we are on it asks for plaintext.
//! - *The server, or whoever answers in its place, speaks no TLS*: the connection fails. There is no way back to
//!   plaintext.
//! - *A certificate of an unknown authority, for another host, expired; a client certificate that is missing or not
//!   liked*: the connection fails. [`explain`] says what it is and who mends it.
//! - *Files are replaced while we run*: they are read anew for each connection, so whoever renews a certificate ends or
//!   restarts nothing. Connections that stand keep what they began with.
//! - *Files are replaced by something unreadable, or one of a pair before the other*: the last ones that were good are
//!   kept, and it is said once. At the start, it is an error.

mod demand;
mod end_point;
mod explain;
mod files;
mod tls;

pub use demand::{Demand, Files, Scheme, WORDS};
pub use end_point::end_point;
pub use explain::{explain, explain_shown};
pub use tls::{Stream, Tls};
