//! The schema: embedded, checksummed migrations, applied under a lock.

use refinery::Target;
use tokio_postgres::Client;

use super::{Fault, Postgres, with_causes};
use crate::{Error, Result};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Any number that nobody else locks: two migrations at once wait for each other.
const LOCK: i64 = 0x6c74_765f_666c_6565;

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
        let mut client = self.connect_alone().await?;
        let name = |fault: Fault| fault.into_error("migrate");
        // The driver of the migrations takes no lock of its own. This one ends with the connection.
        client.execute("select pg_advisory_lock($1)", &[&LOCK]).await.map_err(|e| name(e.into()))?;
        let report = embedded::migrations::runner()
            .set_target(target)
            .run_async(&mut client)
            .await
            .map_err(|error| Error::Invalid { what: "migrate".into(), reason: with_causes(&error) })?;
        let advice = advise(&client).await.map_err(name)?;
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
