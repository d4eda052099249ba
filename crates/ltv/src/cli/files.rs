//! What needs no server, from files into files: `ltv predict`, `evaluate` and `backtest`.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use model::Currency;
use model::backtest::ContenderKind;
use offline::predict::Horizon;

use super::values::{ModelArg, above_zero, contender, currency, horizon, moment, rate, weeks};

/// `ltv predict`
#[derive(Debug, Args)]
#[command(after_long_help = PREDICT_FILES)]
pub struct PredictArgs {
    /// The model, as `ltv fit --input` wrote it
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,

    /// A fitted gamma_gamma beside a model of purchases: adds the spend
    #[arg(long, value_name = "FILE")]
    pub spend_model: Option<PathBuf>,

    /// Customers, as `ltv fit --input` reads them; for sbg and bdw a column n, the coming renewal
    #[arg(long, value_name = "FILE")]
    pub input: PathBuf,

    /// Where the rows go, with the predictions behind their columns
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// How much of the future counts: weeks such as 52w, days such as 365d, or a plain number of the model's
    /// periods (weeks, opportunities, renewals)
    #[arg(long, value_name = "TIME", value_parser = horizon, default_value = "52w")]
    pub horizon: Horizon,

    /// The yearly discount rate: 0.15 is 15 %
    #[arg(long, value_name = "RATE", value_parser = rate, default_value = "0.15")]
    pub annual_discount_rate: f64,

    /// Opportunities or renewals in a year, for the models that count them
    #[arg(long, value_name = "N", value_parser = above_zero, default_value = "1")]
    pub periods_per_year: f64,

    /// For transactions: look at nothing at or after this moment; the end of the last day unless given
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub as_of: Option<Timestamp>,

    /// For transactions: their currency; customers with another one are left out
    #[arg(long, value_parser = currency, default_value = "USD")]
    pub currency: Currency,
}

const PREDICT_FILES: &str = "\
What is predicted, column by column:

  bg_nbd, mbg_nbd, pareto_nbd   p_alive, cet (purchases over the horizon), det (the same, discounted),
                                dert (discounted, for ever), var_y (variance of the purchases), p_zero (no purchase);
                                with --spend-model: mean_spend, expected_spend (cet x mean_spend),
                                value (det x mean_spend)
  gamma_gamma                   mean_spend, var_mean_spend
  bg_bb                         p_alive (at the next opportunity), cet, det, dert
  sbg                           retention (at the coming renewal), expected_renewals and discounted_renewals
                                (over the horizon), derl (discounted, for ever), mean_churn
  bdw                           retention, expected_renewals, discounted_renewals

A quantity that is infinite is written `inf`.";

/// `ltv evaluate`
#[derive(Debug, Args)]
#[command(after_long_help = EVALUATE_FILES)]
pub struct EvaluateArgs {
    /// The model; rows that name another one in a column `model` are left empty
    #[arg(long, value_name = "NAME")]
    pub model: ModelArg,

    /// CSV, gzipped or not: the points, each with its parameters
    #[arg(long, value_name = "FILE")]
    pub input: PathBuf,

    /// Where the same rows go, with the model's quantities under their names
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

const EVALUATE_FILES: &str = "\
What --input holds, and what is computed:

  bg_nbd, mbg_nbd, pareto_nbd   r, alpha, a_or_s (a, s), b_or_beta (b, beta); x, t_x, T, t, delta
                                -> log_lik, p_alive, ln_p_alive, ln_p_dead, cet, det, dert, var_y, p_zero
  the same with p, q, v, zbar   -> pmf0, pmf1, pmf2, mean_y, var_y, mean_spend_total, var_spend_total,
                                   y_q05, v_q05, y_q50, v_q50, y_q95, v_q95, and further levels that the
                                   input has columns for, such as v_q995
  gamma_gamma                   p, q, v; x, zbar
                                -> mean_spend, var_mean_spend, log_lik, post_shape, post_scale
  bg_bb                         alpha, beta, gamma, delta; x, t_x, n, n_star, d
                                -> log_lik, p_alive_n, p_alive_n_plus_1, cet_n_star, dert
  sbg                           alpha, beta; n, d
                                -> survival_n, retention_n, pmf_n, del_d, derl_n_d, derl12_n_d,
                                   post_mean_churn, post_sd_churn
  bdw                           alpha, beta, bdw_c; n -> bdw_survival_n, bdw_retention_n

A computed column takes the place of one with its name, or follows the others. Times are weeks, delta and d are
rates per week and per period. An infinite quantity is written `inf`, and one below 1e-320 may be 0.0.";

/// `ltv backtest`
#[derive(Debug, Args)]
pub struct BacktestArgs {
    /// CSV as `ltv load` takes it, with the columns transaction_id, customer_id, occurred_at, currency, and amount or
    /// amount_minor
    #[arg(long, value_name = "FILE")]
    pub transactions: PathBuf,

    /// CSV as `ltv load` takes it; from it come the segments, and without it there is one
    #[arg(long, value_name = "FILE")]
    pub customers: Option<PathBuf>,

    /// How often histories are cut into what was known and what came
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=24))]
    pub origins: u32,

    /// How far is forecast from each origin, in weeks
    #[arg(long, value_name = "WEEKS", value_parser = weeks, default_value = "52w")]
    pub horizon: u32,

    /// Which models take part
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',', value_parser = contender,
          default_value = "bg_nbd,mbg_nbd,pareto_nbd")]
    pub models: Vec<ContenderKind>,

    /// The model that the others must beat
    #[arg(long, value_name = "NAME", value_parser = contender, default_value = "bg_nbd")]
    pub champion: ContenderKind,

    /// Look at nothing at or after this moment; the midnight after the last transaction unless given
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub as_of: Option<Timestamp>,

    /// The currency of the transactions; customers with another one are left out
    #[arg(long, value_parser = currency, default_value = "USD")]
    pub currency: Currency,

    /// The same seed gives the same bootstrap intervals, on every machine
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// Write one JSON document into this file; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write a page with all plots into this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}
