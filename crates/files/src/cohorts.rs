//! Counts of contracts: how many customers were left, or lost, at each renewal.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use model::fit::{ContractRow, Tenure};

use crate::header::Column;
use crate::row::{Record, Row};
use crate::table::Rows;

/// Rows of contracts, each with the segment that it is in, if there are any.
pub type Contracts = Vec<(Option<String>, ContractRow)>;

/// Reads `period,survivors[,cohort]` or `period,churned,active`.
pub fn read(rows: Rows, segment_column: Option<&str>) -> Result<Contracts> {
    let header = rows.header().clone();
    let period = header.column(&["period", "renewal", "n"])?;
    let segment = segment_column.map(|name| header.column(&[name])).transpose()?;
    if let Some(left) = header.optional(&["survivors"])? {
        let cohort = header.optional(&["cohort"])?;
        return Survivors { period, left, cohort, segment }.read(rows);
    }
    let churned = header.optional(&["churned"])?;
    let active = header.optional(&["active"])?;
    if churned.is_none() && active.is_none() {
        header.column(&["survivors", "churned", "active"])?;
    }
    Losses { period, churned, active, segment }.read(rows)
}

/// Where the survivors of cohorts are.
struct Survivors {
    period: Column,
    left: Column,
    cohort: Option<Column>,
    segment: Option<Column>,
}

impl Survivors {
    fn read(&self, mut rows: Rows) -> Result<Contracts> {
        let header = rows.header().clone();
        let mut cohorts: BTreeMap<(Option<String>, String), BTreeMap<u32, Record>> = BTreeMap::new();
        while let Some(record) = rows.next_row()? {
            let row = record.under(&header);
            let cohort = self.cohort.map_or_else(String::new, |column| row.text(column).into_owned());
            let period = row.count(self.period)?;
            let periods = cohorts.entry((segment(row, self.segment), cohort)).or_default();
            if periods.contains_key(&period) {
                return Err(row.bad(self.period, format_args!("the cohort has period {period} twice")));
            }
            periods.insert(period, record);
        }
        let mut contracts = Vec::new();
        for ((segment, _), periods) in &cohorts {
            let rows = periods.iter().map(|(&period, record)| (period, record.under(&header)));
            let survivors = self.falling(rows)?;
            contracts
                .extend(ContractRow::of_survivors(&survivors).into_iter().map(|row| (segment.clone(), row)));
        }
        Ok(contracts)
    }

    /// The survivors of a cohort from its start on, never more than before.
    fn falling<'a>(&self, rows: impl Iterator<Item = (u32, Row<'a>)>) -> Result<Vec<u64>> {
        let mut survivors: Vec<u64> = Vec::new();
        for (expected, (period, row)) in (0..).zip(rows) {
            if period != expected {
                let what = format!("period {expected} of the cohort is missing; 0 is its start");
                return Err(row.bad(self.period, what));
            }
            let left = u64::from(row.count(self.left)?);
            if survivors.last().is_some_and(|&before| left > before) {
                return Err(row.bad(self.left, "more customers are left than were before"));
            }
            survivors.push(left);
        }
        Ok(survivors)
    }
}

/// Where the customers who left, and those who stayed, are.
struct Losses {
    period: Column,
    churned: Option<Column>,
    active: Option<Column>,
    segment: Option<Column>,
}

impl Losses {
    fn read(&self, mut rows: Rows) -> Result<Contracts> {
        let header = rows.header().clone();
        let mut contracts = Vec::new();
        let mut counts = Vec::new();
        while let Some(record) = rows.next_row()? {
            let row = record.under(&header);
            let period = row.count(self.period)?;
            let count =
                |column: Option<Column>| column.map_or(Ok(0), |column| row.count(column).map(u64::from));
            let (churned, active) = (count(self.churned)?, count(self.active)?);
            if churned > 0 && period == 0 {
                return Err(row.bad(self.period, "nobody can leave at renewal 0; the first is 1"));
            }
            counts.push((churned, active));
            let segment = segment(row, self.segment);
            let rows = [(Tenure::ChurnedAt(period), churned), (Tenure::ActiveAfter(period), active)];
            let rows = rows.into_iter().filter(|(_, customers)| *customers > 0);
            contracts
                .extend(rows.map(|(tenure, customers)| (segment.clone(), ContractRow { tenure, customers })));
        }
        if are_survivors(&counts) {
            return Err(anyhow!(
                "{}, line 1: the column active counts the survivors of one cohort; call it survivors and leave \
                 churned out",
                header.path().display()
            ));
        }
        Ok(contracts)
    }
}

/// Whether what should be customers last seen active is what is left of one cohort, row by row.
fn are_survivors(counts: &[(u64, u64)]) -> bool {
    let falls = |pair: &[(u64, u64)]| pair[1].1 > 0 && pair[0].1 == pair[1].0 + pair[1].1;
    counts.len() > 2 && counts.windows(2).all(falls)
}

fn segment(row: Row<'_>, column: Option<Column>) -> Option<String> {
    column.map(|column| row.text(column).into_owned())
}
