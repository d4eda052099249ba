//! The schema: embedded, checksummed migrations, applied under a lock.
//!
//! # Failure by failure
//!
//! * **Two at once.** They wait for each other, by a lock that ends with a transaction: one of a session stays behind
//!   where a pooler keeps the session. It is held by a connection of its own, because each migration is a transaction
//!   by itself. Who has it too long is named.
//! * **The schemas were made by somebody else**, and the role may not make any. `create schema` asks for that right
//!   even where there is nothing to do, so the migrations go without it where the schema is there.
//! * **The role has a `search_path` of its own.** All names are qualified, that of the migrations' history too.
//! * **A publication for all tables** (logical replication) refuses the end of a subscription, since these rows have no
//!   key. The fleet's own table is told to identify them by all columns.

use refinery::{Migration, Target};
use refinery_core::AsyncMigrate;
use refinery_core::traits::r#async::{AsyncQuery, AsyncTransaction};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::pooling::FORGET;
use super::{Fault, Postgres, with_causes};
use crate::{Error, Result};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Any number that nobody else locks: two migrations at once wait for each other.
const LOCK: i64 = 0x6c74_765f_666c_6565;

/// How long the other one is waited for.
const LOCK_LIMIT_S: u32 = 30;

/// Where it is recorded which migrations were applied.
const HISTORY: &str = "public.refinery_schema_history";

/// What a migration did and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migrated {
    /// The migrations that were applied, by name.
    pub applied: Vec<String>,
    /// What a person should know about the source relations, in sentences.
    pub advice: Vec<String>,
}

impl Postgres {
    /// Creates or updates the schema. Migrations at once wait for each other; a changed or missing one that was
    /// applied before is an error.
    pub async fn migrate(&self) -> Result<Migrated> {
        self.migrate_up_to(Target::Latest).await
    }

    /// The same, but no further than to a version: what a release before would have done, for tests of an upgrade.
    #[cfg(feature = "promises")]
    pub async fn migrate_to(&self, version: i32) -> Result<Migrated> {
        self.migrate_up_to(Target::Version(version)).await
    }

    async fn migrate_up_to(&self, target: Target) -> Result<Migrated> {
        let name = |fault: Fault| fault.into_error("migrate");
        let (client, lock) = (self.connect_alone().await?, self.connect_alone().await?);
        self.look_for_pooler(&client).await?;
        take_lock(&lock).await?;
        let mut client = Schemas { client, are_sessions_shared: self.sessions.are_shared() };
        let mut runner = embedded::migrations::runner().set_target(target);
        runner.set_migration_table_name(HISTORY);
        let report = runner
            .run_async(&mut client)
            .await
            .map_err(|error| Error::Invalid { what: "migrate".into(), reason: with_causes(&error) })?;
        let client = client.client;
        identify_subscriptions(&client).await.map_err(name)?;
        client.batch_execute(&self.beginning("begin")).await.map_err(|error| name(error.into()))?;
        let advice = advise(&client).await.map_err(name)?;
        client.batch_execute("commit").await.map_err(|error| name(error.into()))?;
        lock.batch_execute("rollback").await.map_err(|error| name(error.into()))?;
        let applied = report.applied_migrations().iter().map(ToString::to_string).collect();
        Ok(Migrated { applied, advice })
    }

    /// Fails unless the schema is the one that this program was made for.
    pub async fn check_schema(&self) -> Result<()> {
        let expected = embedded::migrations::runner().get_migrations().len() as i64;
        let found = self
            .short("check the schema", async |client| {
                let exists = client
                    .query_one("select to_regclass('public.refinery_schema_history') is not null", &[])
                    .await?;
                if !exists.try_get::<_, bool>(0)? {
                    return Ok(0);
                }
                let row =
                    client.query_one("select count(*) from public.refinery_schema_history", &[]).await?;
                Ok(row.try_get::<_, i64>(0)?)
            })
            .await?;
        if found < expected {
            return Err(Error::Invalid {
                what: "check the schema".into(),
                reason: format!(
                    "{} has {found} of {expected} migrations; run `ltv migrate`",
                    self.config.url
                ),
            });
        }
        Ok(())
    }
}

/// Takes the lock, until the connection's transaction ends.
async fn take_lock(client: &Client) -> Result<()> {
    // By name, as the server shows a lock of one number: its two halves.
    const HOLDER: &str = "
        select format('process %s of user %s, %s since %s', a.pid, a.usename, a.state, a.state_change)
          from pg_locks l
          join pg_stat_activity a using (pid)
         where l.locktype = 'advisory'
           and l.granted
           and (l.classid::bigint << 32 | l.objid::bigint) = ";
    let begin = format!(
        "begin; set local lock_timeout = '{LOCK_LIMIT_S}s'; set local idle_in_transaction_session_timeout = 0;
         select pg_advisory_xact_lock({LOCK})"
    );
    let name = |error: tokio_postgres::Error| Fault::from(error).into_error("migrate");
    match client.batch_execute(&begin).await {
        Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {}
        taken => return taken.map_err(name),
    }
    client.batch_execute("rollback").await.map_err(name)?;
    let holders = client.simple_query(&format!("{HOLDER}{LOCK}")).await.map_err(name)?;
    let holder = holders.iter().find_map(first_column).unwrap_or_else(|| "nobody any more".into());
    Err(Error::Unavailable {
        what: "migrate".into(),
        reason: format!(
            "another migration has the lock since more than {LOCK_LIMIT_S} s: {holder}. Where nothing migrates, a \
             program of a release before left it in the session of a pooler: `select pg_terminate_backend(PROCESS)`"
        ),
    })
}

/// A connection that makes no schema which is there.
struct Schemas {
    client: Client,
    are_sessions_shared: bool,
}

impl AsyncTransaction for Schemas {
    type Error = tokio_postgres::Error;

    async fn execute<'a, T: Iterator<Item = &'a str> + Send + 'a>(
        &'a mut self,
        queries: T,
    ) -> std::result::Result<usize, Self::Error> {
        const PRESENT: &str = "select nspname::text from pg_namespace where nspname in ('source', 'fleet')";
        let messages = self.client.simple_query(PRESENT).await?;
        let present: Vec<String> = messages.iter().filter_map(first_column).collect();
        let queries: Vec<String> = queries.map(|sql| without_schemas(sql, &present)).collect();
        AsyncTransaction::execute(&mut self.client, queries.iter().map(String::as_str)).await
    }
}

impl AsyncQuery<Vec<Migration>> for Schemas {
    async fn query<'a>(&'a mut self, query: &'a str) -> std::result::Result<Vec<Migration>, Self::Error> {
        if self.are_sessions_shared {
            // It begins once more, which the server warns of; but what it prepares, it prepares here.
            self.client.batch_execute(&format!("begin; {FORGET}")).await?;
        }
        AsyncQuery::query(&mut self.client, query).await
    }
}

impl AsyncMigrate for Schemas {}

fn first_column(message: &SimpleQueryMessage) -> Option<String> {
    match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }
}

/// A migration without the making of what is there.
fn without_schemas(sql: &str, present: &[String]) -> String {
    present.iter().fold(sql.to_owned(), |sql, schema| {
        sql.replace(&format!("create schema if not exists {schema};"), "")
            .replace(&format!("create schema {schema};"), "")
    })
}

/// Lets a publication for all tables tell of the ends of subscriptions, where the table is the fleet's own to change
/// and nothing else identifies its rows.
async fn identify_subscriptions(client: &Client) -> Result<(), Fault> {
    const IDENTIFY: &str = "
        do $$
        begin
            if exists (select from pg_class c
                        where c.oid = to_regclass('source.subscriptions')
                          and c.relkind = 'r'
                          and c.relreplident = 'd'
                          and pg_has_role(c.relowner, 'usage')
                          and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary))
            then
                alter table source.subscriptions replica identity full;
            end if;
        end
        $$";
    Ok(client.batch_execute(IDENTIFY).await?)
}

/// A relation that a night reads by the index that holds all that it reads.
struct ReadByIndex {
    relation: &'static str,
    /// The columns that are read; the index begins with the first.
    columns: &'static [&'static str],
    /// The index's definition.
    index: &'static str,
    /// How much slower a night reads it without.
    slower: &'static str,
}

const READ_BY_INDEX: [ReadByIndex; 3] = [
    ReadByIndex {
        relation: "transactions",
        columns: &["customer_id", "occurred_at", "amount_minor", "currency"],
        index: "(customer_id, occurred_at) include (amount_minor, currency)",
        slower: "four times slower",
    },
    ReadByIndex {
        relation: "subscriptions",
        columns: &[
            "customer_id",
            "started_at",
            "plan",
            "period_months",
            "ended_at",
            "price_minor",
            "currency",
        ],
        index: "(customer_id, started_at) include (plan, period_months, ended_at, price_minor, currency)",
        slower: "slower",
    },
    ReadByIndex {
        relation: "acquisition_costs",
        columns: &["customer_id", "cost_minor", "currency"],
        index: "(customer_id) include (cost_minor, currency)",
        slower: "slower",
    },
];

/// Looks at the source relations and says what would make a night faster, or keep it from working.
async fn advise(client: &Client) -> Result<Vec<String>, Fault> {
    const RELATIONS: &str = "
        select c.relname, c.relkind::text
          from pg_class c
          join pg_namespace n on n.oid = c.relnamespace
         where n.nspname = 'source'
           and c.relname in ('customers', 'transactions', 'subscriptions', 'acquisition_costs')
         order by c.relname";

    let mut advice = Vec::new();
    for row in client.query(RELATIONS, &[]).await? {
        let (name, kind): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        if kind != "r" && kind != "p" {
            advice.push(format!(
                "source.{name} is not a table: its chunks are cut by customer count, and reading it costs \
                 what the relations behind it cost"
            ));
            continue;
        }
        let Some(read) = READ_BY_INDEX.iter().find(|read| read.relation == name) else { continue };
        if !has_covering_index(client, read).await? {
            advice.push(format!(
                "source.{name} has no covering index, a night reads it {}: create index on source.{name} {}",
                read.slower, read.index
            ));
        }
    }
    Ok(advice)
}

async fn has_covering_index(client: &Client, read: &ReadByIndex) -> Result<bool, Fault> {
    const COVERING_INDEX: &str = "
        select exists (
            select 1
              from pg_index i
             where i.indrelid = ('source.' || $1)::regclass
               and i.indisvalid
               and i.indpred is null
               and (select array_agg(a.attname::text order by k.position)
                      from unnest(i.indkey::smallint[]) with ordinality as k(attribute, position)
                      join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attribute)
                   @> $2::text[]
               and (select a.attname from pg_attribute a
                     where a.attrelid = i.indrelid and a.attnum = i.indkey[0]) = ($2::text[])[1])";
    Ok(client.query_one(COVERING_INDEX, &[&read.relation, &read.columns]).await?.try_get(0)?)
}
