//! All that files say of the customers.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use batch::CustomerId;
use files::read::{self, FileToRead, Progress, ReadReport};
use fitter::{Before, FitData, Summaries};
use jiff::Timestamp;
use model::{Account, ContractModels, Currency, Observation, PurchaseCounts, Rejection, Season};
use store::NewModelVersion;
use store::memory::{Accounts, Customer};

use super::costs::Costs;
use super::customers::Customers;
use super::histories::{Each, Folded, Histories, Share};
use super::subscriptions::Subscriptions;
use crate::layout::count;

/// The segment of all where no file names any.
const EVERYBODY: &str = "all";

/// Where the customers come from.
#[derive(Clone, Debug)]
pub struct Files {
    /// What they bought.
    pub transactions: PathBuf,
    /// Who they are; whoever bought is a customer unless given.
    pub customers: Option<PathBuf>,
    /// What they subscribed to.
    pub subscriptions: Option<PathBuf>,
    /// What it cost to win them.
    pub acquisition_costs: Option<PathBuf>,
}

impl Files {
    /// All that are named.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let Self { transactions, customers, subscriptions, acquisition_costs } = self;
        [Some(transactions), customers.as_ref(), subscriptions.as_ref(), acquisition_costs.as_ref()]
            .into_iter()
            .flatten()
    }
}

/// How the files are to be read.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Until when; the midnight after the last transaction if nobody says.
    pub as_of: Option<Timestamp>,
    /// That of the run: a history in another one is a rejection.
    pub currency: Currency,
    /// Whether a season is estimated and the purchases are fitted in it.
    pub is_seasonal: bool,
    /// What the clock shows.
    pub now: Timestamp,
}

/// What became of a file's lines.
#[derive(Debug)]
pub struct FileReport {
    /// Where it is.
    pub path: PathBuf,
    /// What became of them.
    pub report: ReadReport,
}

/// What is known of the customers before it is known which models there are.
pub struct Known {
    observation: Observation,
    /// Who they are, in the order of the histories; none if whoever bought is a customer.
    customers: Option<Customers>,
    histories: Vec<Folded>,
    subscriptions: Subscriptions,
    costs: Costs,
    /// When everybody bought, where a season is wanted.
    purchases: Option<PurchaseCounts>,
    /// What became of each file's lines, in the order in which they were read.
    pub reports: Vec<FileReport>,
}

impl Known {
    /// Reads the files; `progress` is told how far that is.
    pub fn read(files: &Files, terms: Terms, progress: &dyn Fn(Progress)) -> Result<Self> {
        let Terms { as_of, currency, is_seasonal, now } = terms;
        ensure!(
            !is_seasonal || is_readable_again(&files.transactions),
            "{}: --season estimate reads the transactions twice, and these can be read only once; make a file of them",
            files.transactions.display()
        );
        let file = |path| FileToRead { path, now, is_again: false, progress };
        let mut reports = Vec::new();
        let mut note = |path: &Path, report: &mut ReadReport| {
            reports.push(FileReport { path: path.to_owned(), report: std::mem::take(report) });
        };
        let mut customers =
            files.customers.as_deref().map(|path| Customers::read(&file(path))).transpose()?;
        if let (Some(path), Some(customers)) = (&files.customers, &mut customers) {
            note(path, &mut customers.report);
        }

        let known = customers.as_ref().map(Customers::ids);
        let before_us = as_of.map_or(i64::MAX, Timestamp::as_microsecond);
        let mut look = looks(file(&files.transactions));
        let mut histories = Histories::read(before_us, known.as_deref(), currency, Share::USUAL, &mut look)?;
        note(&files.transactions, &mut histories.report);
        let as_of = match as_of {
            Some(as_of) => as_of,
            None => midnight_after(histories.latest_us)
                .with_context(|| format!("{}: there are no transactions", files.transactions.display()))?,
        };
        let observation = Observation::new(as_of.as_microsecond(), currency);
        let (histories, purchases) = histories.finish(&observation, is_seasonal, &mut look)?;

        let is_known =
            |customer: i64| histories.binary_search_by_key(&customer, |folded| folded.customer).is_ok();
        let mut subscriptions = Subscriptions::default();
        if let Some(path) = &files.subscriptions {
            subscriptions = Subscriptions::read(&file(path), is_known)?;
            note(path, &mut subscriptions.report);
        }
        let mut costs = Costs::default();
        if let Some(path) = &files.acquisition_costs {
            costs = Costs::read(&file(path), currency, is_known)?;
            note(path, &mut costs.report);
        }
        Ok(Self { observation, customers, histories, subscriptions, costs, purchases, reports })
    }

    /// The moment that the customers are valued for.
    pub fn as_of(&self) -> Timestamp {
        Timestamp::from_microsecond(self.observation.as_of_us()).expect("it was made from a moment")
    }

    /// What the models are fitted to: the same as when `ltv fit` reads the same customers from a database.
    fn fit_data(&self) -> Result<FitData> {
        // Contracts are read by their tenures; which model each has does not matter here.
        let contracts = ContractModels::default();
        let mut summaries = Summaries::with_capacity(self.histories.len());
        self.each(&contracts, |customer, account| {
            summaries.push(customer.id, account);
            Ok(())
        })
        .expect("nothing here fails");
        let season = self.purchases.as_ref().map(Season::estimate).transpose();
        let season = season.context("--season estimate; go without, --season none")?;
        let tenures = self.subscriptions.tenures(&self.observation);
        Ok(FitData::of(summaries, tenures, season, self.observation.last_day()))
    }

    /// Fits the models as `ltv fit` does where none is in force; `warn` hears what is thought of them.
    pub fn fitted(&self, currency: Currency, warn: impl FnMut(String)) -> Result<NewModelVersion> {
        let as_of = self.as_of();
        let data = self.fit_data()?;
        let fitted = data.fit(None).with_context(|| {
            let left_out = data.left_out;
            format!(
                "the histories at {as_of} cannot be fitted, {left_out} customers left out; name models with --model"
            )
        })?;
        let judgement = Before::none().judge(&fitted, &data.summaries, data.last_day);
        judgement.warnings().for_each(warn);
        Ok(fitter::model_version(&fitted, &judgement, as_of, currency, data.fingerprint()))
    }

    /// The base that the night values: who was a customer at that moment, and what is known of him.
    pub fn into_accounts(self, contracts: &ContractModels) -> Result<Accounts> {
        let mut accounts = Accounts::new(self.observation);
        self.each(contracts, |customer, account| Ok(accounts.push(customer, account)?))?;
        accounts.shrink_to_fit();
        Ok(accounts)
    }

    /// Hands out each customer who was there, ascending.
    fn each(
        &self,
        contracts: &ContractModels,
        mut each: impl FnMut(Customer<'_>, &Result<Account, Rejection>) -> Result<()>,
    ) -> Result<()> {
        let mut subscribed = self.subscriptions.subscribed(contracts, &self.observation).peekable();
        let mut costs = self.costs.costs.iter().peekable();
        let mut number = String::new();
        for (place, folded) in self.histories.iter().enumerate() {
            let mut account = Account::of_purchases(folded.history);
            if let Some((_, subscribed)) = subscribed.next_if(|(customer, _)| *customer == folded.customer) {
                Account::add_subscriptions(&mut account, subscribed);
            }
            if let Some((_, cost)) = costs.next_if(|(customer, _)| *customer == folded.customer) {
                Account::add_cost(&mut account, *cost);
            }
            let customer = match &self.customers {
                Some(customers) => customers.customer(place),
                None => unnamed(folded, &mut number),
            };
            if customer.acquired_at.as_microsecond() <= self.observation.as_of_us() {
                each(customer, &account)?;
            }
        }
        Ok(())
    }
}

impl FileReport {
    /// Says which rows were rejected, if any.
    pub fn warning(&self) -> Option<String> {
        let ReadReport { rows, rejected, first_problem } = &self.report;
        let (line, detail) = first_problem.as_ref()?;
        let reasons: Vec<String> =
            rejected.iter().map(|(reason, rows)| format!("{} {reason}", count(*rows))).collect();
        Some(format!(
            "{}: {} of {} rows were rejected ({}); the first is line {line}: {detail}",
            self.path.display(),
            count(self.report.rejected_rows()),
            count(*rows),
            reasons.join(", ")
        ))
    }
}

/// Looks at a file of transactions, as often as it is asked.
fn looks(mut file: FileToRead<'_>) -> impl FnMut(Each<'_>) -> Result<ReadReport> {
    move |each| {
        ensure!(
            !file.is_again || is_readable_again(file.path),
            "{}: its lines are not in order, so it has to be read again, and can be read only once; make a file of it",
            file.path.display()
        );
        let report = read::transactions_ahead(&file, each);
        file.is_again = true;
        report
    }
}

/// Whether a file can be read more than once, if it is there: what comes through a pipe is gone once it was read.
fn is_readable_again(path: &Path) -> bool {
    !path.exists() || path.is_file()
}

/// A customer of whom nothing is known but that he bought.
fn unnamed<'a>(folded: &Folded, number: &'a mut String) -> Customer<'a> {
    use std::fmt::Write as _;

    number.clear();
    write!(number, "{}", folded.customer).expect("writing to a string cannot fail");
    Customer {
        id: CustomerId(folded.customer),
        external_id: number,
        segment: EVERYBODY,
        acquired_at: Timestamp::from_microsecond(folded.first_us).expect("he has bought at a moment"),
    }
}

/// The midnight in UTC that ends the day of a moment; none if there is no moment.
fn midnight_after(moment_us: i64) -> Option<Timestamp> {
    const DAY_US: i64 = 86_400_000_000;
    let day = moment_us.checked_sub(moment_us.rem_euclid(DAY_US))?;
    Timestamp::from_microsecond(day.checked_add(DAY_US)?).ok()
}
