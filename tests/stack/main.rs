//! The seams on real servers, each by itself. `scripts/test` runs this; it needs `scripts/stack`.

mod accounts;
mod brokers;
mod cache;
mod doors;
mod exports;
mod fit;
mod guard;
mod installations;
mod load;
mod local;
mod locks;
mod models;
mod poolers;
mod proxy;
mod queue;
mod readiness;
mod replicas;
mod replies;
mod requests;
mod rows;
mod scripts;
mod shell;
mod store;
mod telemetry;
mod tls;
mod unreadable;
