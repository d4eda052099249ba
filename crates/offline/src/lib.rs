//! What needs no server, from files into files.
//!
//! * **[`fits`]** fit one model to a file, **[`predict`]** applies a fitted one to the customers of a file.
//! * **[`evaluate`]** computes what a model says at points that bring their own parameters.
//! * **[`local`]** is a night in one process: the roles of the fleet on seams in memory.
//! * **[`backtest`]** holds what the models would have forecast at past moments against what came.
//!
//! It knows no command line: what is wanted comes in as an order or a question, and what a person should know by the way
//! goes to whoever asked.

pub mod backtest;
pub mod evaluate;
pub mod fits;
pub mod layout;
pub mod local;
pub mod model_file;
pub mod predict;

mod models;

pub use models::{Model, ModelName};
