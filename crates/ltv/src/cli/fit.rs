//! `ltv fit`, to the database or to a file.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use model::Currency;
use resilience::ServerUrl;

use super::values::{ModelArg, currency, duration, moment};
use super::{ByArgs, DatabaseArgs};

/// `ltv fit`
#[derive(Debug, Args)]
#[command(after_long_help = FIT_FILES)]
pub struct FitArgs {
    /// PostgreSQL, as postgres://user:password@host:port/database; not asked where there is --input
    #[arg(
        long,
        env = "LTV_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true,
        required_unless_present = "input"
    )]
    pub database_url: Option<ServerUrl>,

    /// PostgreSQL that histories are read from, where that is not the fleet's own: a read replica of it, or another
    /// database with the schema source
    #[arg(long, env = "LTV_SOURCE_URL", value_name = "URL", hide_env_values = true)]
    pub source_url: Option<ServerUrl>,

    /// How long reading a page of histories may take; more for a slow source
    #[arg(long, env = "LTV_BULK_LIMIT", value_name = "TIME", value_parser = duration, default_value = "1m")]
    pub bulk_limit: Duration,

    /// Look at nothing at or after this moment; the present one unless given, or the end of a file's last day
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub as_of: Option<Timestamp>,

    /// The currency of the transactions; customers with another one are left out
    #[arg(long, value_parser = currency, default_value = "USD")]
    pub currency: Currency,

    /// Store the model version and leave the promoted one in force; without it, the new one is what the next run
    /// pins. While none was ever promoted, a run pins the latest
    #[arg(long)]
    pub no_promote: bool,

    /// Promote the model version even if it is too far from the one in force; without it, such a one is stored and not
    /// promoted, and the command fails
    #[arg(long, conflicts_with = "input")]
    pub accept_breaches: bool,

    /// Whether purchases follow the weeks of the year: then the season is estimated first, from two years at least, and
    /// the purchases are fitted in its time
    #[arg(long, value_enum, value_name = "HOW", default_value_t, conflicts_with = "input")]
    pub season: SeasonChoice,

    /// Who promotes it
    #[command(flatten)]
    pub by: ByArgs,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,

    /// Fit this model to --input, and nothing to the database
    #[arg(long, value_name = "NAME", requires_all = ["input", "out"], help_heading = FILE_FORM)]
    pub model: Option<ModelArg>,

    /// CSV, gzipped or not: transactions, a summary of customers, or counts of contracts; see below
    #[arg(long, value_name = "FILE", requires_all = ["model", "out"], help_heading = FILE_FORM)]
    pub input: Option<PathBuf>,

    /// Fit a model to each segment too, whose name stands in this column; segments of fewer than 300 customers have the
    /// parameters of all, and those of bg_nbd and gamma_gamma stay the nearer to them the smaller they are
    #[arg(long, value_name = "COLUMN", requires = "input", help_heading = FILE_FORM)]
    pub segment_column: Option<String>,

    /// Where the fitted model goes, as JSON
    #[arg(long, value_name = "FILE", requires = "input", help_heading = FILE_FORM)]
    pub out: Option<PathBuf>,
}

impl FitArgs {
    /// The database, where the models are fitted to it.
    pub(crate) fn database(&self) -> Option<DatabaseArgs> {
        let database_url = self.database_url.clone()?;
        Some(DatabaseArgs { database_url, source_url: self.source_url.clone(), bulk_limit: self.bulk_limit })
    }
}

/// Where the season of a fit comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SeasonChoice {
    /// Every week is like any other
    #[default]
    None,
    /// From the purchases of all customers
    Estimate,
}

const FILE_FORM: &str = "To a file, without a server";

const FIT_FILES: &str = "\
What --input may hold, its columns in any order, further ones ignored:

  transactions        customer_id (or external_id), occurred_at, amount (or amount_minor), [currency],
                      as `ltv load` reads them, for the models of purchases and of spend
  customers           x, t_x, T (or frequency, recency, T), times in weeks, for bg_nbd, mbg_nbd, pareto_nbd;
                      x, zbar for gamma_gamma; [weights] (weight, customers, donors, count): how many are like this
  opportunities       x, t_x, n (or frequency, recency, periods), [weights], for bg_bb
  contracts           for sbg and bdw, period, survivors: customers left after so many renewals, 0 for the start,
                      [cohort]; or period, churned, active: customers lost at that renewal, and customers
                      still there who have made so many renewals and not yet faced another

The document has model, parameters and standard_errors by name, log_likelihood, gradient_norm, customers and
converged; with --segment-column, the same for each segment, and weight_of_parent: how much of its parameters is
that of all customers, 0 for nothing, 1 for everything.";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::Cli;

    #[test]
    fn a_fit_is_to_the_database_or_to_a_file() {
        let check = |arguments: &str, is_right: bool| {
            let arguments = arguments.split_ascii_whitespace();
            assert_eq!(Cli::try_parse_from(arguments.clone()).is_ok(), is_right, "{arguments:?}");
        };
        check("ltv fit --database-url postgres://u:p@localhost/d", true);
        check("ltv fit --model bg_nbd --input f.csv --out m.json", true);
        check("ltv fit --model bg_nbd --input f.csv --out m.json --segment-column s", true);
        check("ltv fit --input f.csv --out m.json", false);
        check("ltv fit --model bg_nbd --input f.csv", false);
        check("ltv fit --database-url postgres://u:p@localhost/d --model bg_nbd", false);
        check("ltv fit --database-url postgres://u:p@localhost/d --segment-column s", false);
    }
}
