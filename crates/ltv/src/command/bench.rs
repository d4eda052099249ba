//! `ltv bench`
