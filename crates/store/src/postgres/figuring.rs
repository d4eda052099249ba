//! Works out what the segments of a finished run come to, and pins who is in which of them.
//!
//! Three reads by COPY (who is in which segment, the values, the rejections), sums over them in this process, and one
//! transaction that writes all there is: a row for each segment, and for each chunk its customers' segments. The rows are
//! not joined in the database: it would sort a million of them, and the customers may be on another server.
//!
//! # Failure by failure
//!
//! * **It ends in the middle,** or its answer is lost. Nothing is on record, or everything: it is done again from the
//!   start, or found to be done. Done again, it pins where customers are by then.
//! * **Two at once.** The second waits for the first one's row of `fleet.figures`, and writes nothing.
//! * **A customer moves or goes meanwhile.** Who is in which segment is one statement's snapshot where the run is over
//!   the whole base. Whoever is not in the source any more, or has no segment, is in none.
//! * **A customer stands in the source twice,** in two segments. He is in one of the two, and counted once.
//! * **Each customer has a segment of his own,** or the column holds something else. There are no figures of that run,
//!   and the reason is on record.
//! * **Somebody dropped the run's values before.** The same.
//! * **The rows are not as many as were counted when the run was finished.** [`Error::Invalid`](crate::Error::Invalid): no figures are better
//!   than wrong ones.
//! * **The source is away, lags behind, or fails.** As with every read of it: `elsewhere.rs`.

use std::pin::pin;

use batch::{CustomerId, RunId};
use bytes::Bytes;
use deadpool_postgres::ClientWrapper;
use futures_util::SinkExt;

use super::accounts::those;
use super::attempts::customers;
use super::copy::{RowWriter, read_rows};
use super::elsewhere::Needed;
use super::row::get;
use super::{Fault, Postgres};
use crate::Result;
use crate::encoding::segments;
use crate::figures::{Figured, Figures, Figuring, MOST_SEGMENTS, Membership, Roll, Tally, Worth};

/// A finished run without figures.
struct Due {
    is_whole: bool,
    /// Whether its values are still there.
    has_values: bool,
    /// Its customers, ascending.
    customers: Vec<CustomerId>,
    /// Its chunks by their customers, and how many customers each has.
    chunks: Vec<(i32, usize)>,
    values: u64,
    rejections: u64,
}

impl Figuring for Postgres {
    async fn runs_without_figures(&self, limit: u32) -> Result<Vec<RunId>> {
        const DUE: &str = "
            select run_id
              from fleet.runs r
             where state = 'finished'
               and not exists (select from fleet.figures f where f.run_id = r.run_id)
             order by visible_version desc nulls last
             limit $1";
        self.short("look for runs without figures", async |client| {
            let due = client.prepare_cached(DUE).await?;
            let rows = client.query(&due, &[&i64::from(limit)]).await?;
            rows.iter().map(|row| Ok(RunId(get(row, "run_id")?))).collect()
        })
        .await
    }

    async fn compute_figures(&self, run: RunId) -> Result<Figured> {
        let Some(due) = self.due(run).await? else { return Ok(Figured::Done) };
        if !due.has_values {
            return self.never(run, "its values were dropped before they were summed up".into()).await;
        }
        let Some(membership) = self.membership(run, &due).await? else {
            let reason = format!("source.customers holds more than {MOST_SEGMENTS} segments");
            return self.never(run, reason).await;
        };
        let (all, segments) = self.summed_up(run, &due, &membership).await?;
        let is_new = self.record(run, &due, &membership, &all, &segments).await?;
        let segments = membership.names.len() - 1;
        let customers = due.customers.len() as u64;
        Ok(if is_new { Figured::Computed { segments, customers } } else { Figured::Done })
    }
}

impl Postgres {
    async fn due(&self, run: RunId) -> Result<Option<Due>> {
        const RUN: &str = "
            select is_whole, to_regclass('fleet.values_' || run_id) is not null as has_values
              from fleet.runs r
             where run_id = $1
               and state = 'finished'
               and not exists (select from fleet.figures f where f.run_id = r.run_id)";
        const CHUNKS: &str = "
            select chunk_id, first_customer, customers, members, value_count, rejection_count
              from fleet.chunks
             where run_id = $1
             order by first_customer";
        self.call("read the customers of a run", self.config.bulk_limit, async |client| {
            let Some(row) = client.query_opt(RUN, &[&run.0]).await? else { return Ok(None) };
            let mut due = Due {
                is_whole: get(&row, "is_whole")?,
                has_values: get(&row, "has_values")?,
                customers: Vec::new(),
                chunks: Vec::new(),
                values: 0,
                rejections: 0,
            };
            for row in &client.query(CHUNKS, &[&run.0]).await? {
                let members = customers(row)?;
                due.chunks.push((get(row, "chunk_id")?, members.len()));
                due.customers.extend(members);
                due.values += get::<i32>(row, "value_count")? as u64;
                due.rejections += get::<i32>(row, "rejection_count")? as u64;
            }
            if !due.customers.is_sorted_by(|left, right| left < right) {
                return Err(Fault::nonsense(format!("the chunks of run {run} overlap")));
            }
            Ok(Some(due))
        })
        .await
    }

    /// In which segment the customers of a run are now; none if there are too many segments.
    async fn membership(&self, run: RunId, due: &Due) -> Result<Option<Membership>> {
        const NOW: &str = "select customer_id::bigint, segment::text from source.customers";
        // A partial run's are named, chunk by chunk.
        let queries: Vec<String> = if due.is_whole {
            vec![NOW.into()]
        } else {
            let sizes = due.chunks.iter().map(|(_, size)| *size);
            parts(&due.customers, sizes).map(|part| format!("{NOW} where {}", those(part, false))).collect()
        };
        self.read_source("read the segments", Needed::Run(run), || {
            async |client: &ClientWrapper| {
                let mut roll = Roll::new(&due.customers);
                for query in &queries {
                    let copy = format!("copy ({query}) to stdout (format binary)");
                    read_rows(client, &copy, |fields| {
                        let (customer, segment) = (fields.int8()?, fields.text()?);
                        if let (Some(customer), Some(segment)) = (customer, segment) {
                            roll.is_in(CustomerId(customer), segment);
                        }
                        Ok(())
                    })
                    .await?;
                }
                Ok(roll.finish())
            }
        })
        .await
    }

    /// What all customers of a run come to, and each segment by its number.
    async fn summed_up(
        &self,
        run: RunId,
        due: &Due,
        membership: &Membership,
    ) -> Result<(Figures, Vec<Figures>)> {
        let values = format!(
            "copy (select customer_id::bigint, value_minor::bigint, contract_12_minor::bigint,
                          historic_minor::bigint, p_alive::float8
                     from fleet.values
                    where run_id = {run})
               to stdout (format binary)"
        );
        let rejections = format!(
            "copy (select customer_id::bigint, reason::text from fleet.rejections where run_id = {run})
               to stdout (format binary)"
        );
        let what = "sum a run up by segment";
        self.call(what, self.config.bulk_limit, async |client| {
            let mut tally = Tally::new(&due.customers, membership);
            let (mut valued, mut rejected, mut others) = (0_u64, 0_u64, 0_u64);
            read_rows(client, &values, |fields| {
                let customer = CustomerId(fields.int8()?.unwrap_or_default());
                let worth = Worth {
                    value_minor: fields.int8()?.unwrap_or_default(),
                    contract_minor: fields.int8()?.unwrap_or_default(),
                    historic_minor: fields.int8()?.unwrap_or_default(),
                    p_alive: fields.float8()?,
                };
                valued += 1;
                others += u64::from(!tally.value(customer, worth));
                Ok(())
            })
            .await?;
            read_rows(client, &rejections, |fields| {
                let customer = CustomerId(fields.int8()?.unwrap_or_default());
                rejected += 1;
                others += u64::from(!tally.rejection(customer, fields.text()?.unwrap_or_default()));
                Ok(())
            })
            .await?;
            if (valued, rejected, others) != (due.values, due.rejections, 0) {
                return Err(Fault::nonsense(format!(
                    "run {run} was finished with {} values and {} rejections, and {valued} and {rejected} are \
                     stored, {others} of them of nobody whom it planned",
                    due.values, due.rejections
                )));
            }
            Ok(tally.finish())
        })
        .await
    }

    /// Puts everything on record; false if it is there already.
    async fn record(
        &self,
        run: RunId,
        due: &Due,
        membership: &Membership,
        all: &Figures,
        segments: &[Figures],
    ) -> Result<bool> {
        let mut rows = vec![(-1, None, all)];
        // Nobody without a segment is no row.
        let numbered = (0..).zip(membership.names.iter().zip(segments));
        rows.extend(numbered.filter_map(|(number, (name, figures))| {
            let is_there = number > 0 || figures.customers + figures.rejected() > 0;
            is_there.then_some((number, name.as_deref(), figures))
        }));
        self.transact("record the figures of a run", self.config.bulk_limit, "begin", async |client| {
            if insert_run(client, run, None).await? {
                insert_figures(client, run, &rows).await?;
                insert_pins(client, run, due, membership).await?;
                client.batch_execute("commit").await?;
                Ok(true)
            } else {
                client.batch_execute("rollback").await?;
                Ok(false)
            }
        })
        .await
    }

    /// Puts on record that a run has no figures and why.
    async fn never(&self, run: RunId, reason: String) -> Result<Figured> {
        let is_new = self
            .short("record that a run has no figures", async |client| {
                insert_run(client, run, Some(&reason)).await
            })
            .await?;
        Ok(if is_new { Figured::Never(reason) } else { Figured::Done })
    }
}

/// Parts of so many customers each, one behind the other.
fn parts(
    mut customers: &[CustomerId],
    sizes: impl Iterator<Item = usize>,
) -> impl Iterator<Item = &[CustomerId]> {
    sizes.map(move |size| {
        let (part, rest) = customers.split_at(size);
        customers = rest;
        part
    })
}

async fn insert_run(client: &ClientWrapper, run: RunId, reason: Option<&str>) -> Result<bool, Fault> {
    const INSERT: &str = "
        insert into fleet.figures
               (run_id, selection, is_whole, as_of, model_version, currency, finished_at, reason)
        select run_id, selection, is_whole, as_of, model_version, currency, finished_at, $2
          from fleet.runs
          join fleet.model_versions using (model_version)
         where run_id = $1
           and state = 'finished'
            on conflict (run_id) do nothing";
    Ok(client.execute(INSERT, &[&run.0, &reason]).await? == 1)
}

async fn insert_figures(
    client: &ClientWrapper,
    run: RunId,
    rows: &[(i32, Option<&str>, &Figures)],
) -> Result<(), Fault> {
    const INSERT: &str = "
        insert into fleet.segment_figures
               (run_id, number, segment, customers, value_minor, contract_minor, historic_minor,
                p10_minor, p50_minor, p90_minor, share_alive, rejected, rejections)
        select $1, rows.*
          from unnest($2::integer[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                      $8::bigint[], $9::bigint[], $10::bigint[], $11::float8[], $12::bigint[], $13::jsonb[])
               as rows";
    fn each<T>(rows: &[(i32, Option<&str>, &Figures)], field: impl Fn(&Figures) -> T) -> Vec<T> {
        rows.iter().map(|(_, _, figures)| field(figures)).collect()
    }
    let numbers: Vec<i32> = rows.iter().map(|(number, ..)| *number).collect();
    let names: Vec<Option<&str>> = rows.iter().map(|(_, name, _)| *name).collect();
    let rejections = each(rows, |figures| serde_json::to_value(&figures.rejections));
    let rejections: Vec<_> = rejections.into_iter().collect::<Result<_, _>>().map_err(Fault::nonsense)?;
    client
        .execute(
            INSERT,
            &[
                &run.0,
                &numbers,
                &names,
                &each(rows, |figures| figures.customers as i64),
                &each(rows, |figures| figures.value_minor),
                &each(rows, |figures| figures.contract_minor),
                &each(rows, |figures| figures.historic_minor),
                &each(rows, |figures| figures.percentiles.map(|values| values.p10_minor)),
                &each(rows, |figures| figures.percentiles.map(|values| values.p50_minor)),
                &each(rows, |figures| figures.percentiles.map(|values| values.p90_minor)),
                &each(rows, |figures| figures.share_alive),
                &each(rows, |figures| figures.rejected() as i64),
                &rejections,
            ],
        )
        .await?;
    Ok(())
}

async fn insert_pins(
    client: &ClientWrapper,
    run: RunId,
    due: &Due,
    membership: &Membership,
) -> Result<(), Fault> {
    const COPY: &str = "copy fleet.pinned_segments (run_id, chunk_id, segments) from stdin (format binary)";
    let mut sink = pin!(client.copy_in::<_, Bytes>(COPY).await?);
    let mut rows = RowWriter::new();
    let mut numbers = membership.numbers.as_slice();
    for &(chunk, size) in &due.chunks {
        let (of_chunk, rest) = numbers.split_at(size);
        numbers = rest;
        rows.row(3).int8(run.0).int4(chunk).bytes(&segments::encode(of_chunk));
        if let Some(piece) = rows.full_piece() {
            sink.send(piece).await?;
        }
    }
    sink.send(rows.finish()).await?;
    sink.finish().await?;
    Ok(())
}
