//! A database of a test's own.

use store::postgres::{Postgres, PostgresConfig};
use tokio_postgres::Client;

use crate::{PATIENCE, Stack, eventually, finish_in_drop, unique};

/// A database that goes when it is dropped.
#[derive(Debug)]
pub struct Database {
    admin_url: String,
    name: String,
    url: String,
}

impl Database {
    /// Makes an empty database with the schema.
    pub async fn create(stack: &Stack) -> Self {
        let database = Self::create_from(stack, "template1").await;
        database.store().migrate().await.expect("an empty database can be migrated");
        database
    }

    /// Makes a copy of another database, to which nobody may be connected.
    pub(crate) async fn create_from(stack: &Stack, template: &str) -> Self {
        Self::copy_of(stack.database_url(), template).await
    }

    async fn copy_of(admin_url: &str, template: &str) -> Self {
        let name = unique("test").replace('-', "_");
        let admin_url = admin_url.to_owned();
        let admin = connect(&admin_url).await;
        let create = format!("create database {name} template {template}");
        admin.batch_execute(&create).await.expect("the stack's user may create databases");
        Self { url: with_name(&admin_url, &name), admin_url, name }
    }

    /// Makes a copy of it, for which nobody may be connected to it.
    pub async fn copied(&self) -> Self {
        let admin = connect(&self.admin_url).await;
        let end = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1";
        eventually(PATIENCE, "nobody is connected", async || {
            admin.query(end, &[&self.name]).await.ok().filter(Vec::is_empty).map(drop)
        })
        .await;
        Self::copy_of(&self.admin_url, &self.name).await
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Connects to it, as soon as the server answers.
    pub async fn client(&self) -> Client {
        connect(&self.url).await
    }

    /// The product's own way to look into it.
    pub fn store(&self) -> Postgres {
        let config = PostgresConfig::new(self.url.as_str(), "tests");
        Postgres::new(config).expect("it was made from a URL that works")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (admin_url, name) = (self.admin_url.clone(), self.name.clone());
        finish_in_drop(async move || {
            let admin = connect(&admin_url).await;
            let _ = admin.batch_execute(&format!("drop database if exists {name} with (force)")).await;
        });
    }
}

/// Connects as soon as the server answers.
pub(crate) async fn connect(url: &str) -> Client {
    let url = url.into();
    eventually(PATIENCE, "a connection to PostgreSQL", async || store::postgres::connect(&url).await.ok())
        .await
}

/// The database's name.
pub(crate) fn name_of(url: &str) -> &str {
    let place = url.split('?').next().unwrap_or_default();
    place.rsplit_once('/').expect("the URL names a database").1
}

/// The same server, another database.
fn with_name(url: &str, name: &str) -> String {
    let (place, options) = url.split_once('?').map_or((url, ""), |(place, options)| (place, options));
    let (server, _) = place.rsplit_once('/').expect("the URL names a database");
    let mark = if options.is_empty() { "" } else { "?" };
    format!("{server}/{name}{mark}{options}")
}
