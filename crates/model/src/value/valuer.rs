//! The whole value of a customer: what he buys and what his contracts bring.
//!
//! The parts come from tables that fill as they are asked, [`PurchaseOutlook`] for purchases and [`ContractOutlook`]
//! for contracts; what is left for each customer is his own: the probability that he is alive, his spend, his prices.
//! The two parts are taken to be independent of each other, and so are several contracts of a customer.

use std::cmp::Ordering;

use smallvec::SmallVec;

use super::contract_outlook::{ContractOutlook, Found, PAYMENTS_A_YEAR, Year};
use super::contribution::{Atom, BRANCHES, Bought, Branch, Contribution};
use super::purchase_outlook::{Prospect, PurchaseOutlook};
use crate::account::LONGEST_PERIOD;
use crate::account::money::{LARGEST_SUM_MINOR, whole_minor};
use crate::kernel::incomplete_beta::incomplete_beta;
use crate::{
    Account, Between, Clock, Confidence, Contract, Grade, Horizons, Level, Models, Payback, Rejection,
    SpendInterval, SpendMoments, SpendPosterior, Summary, Value, ValueTerms,
};

/// The levels of a value's intervals.
const LEVELS: [Level; 2] = [Level::EIGHTY, Level::NINETY];

/// What somebody who never bought anything will buy.
const NOTHING: Horizons = Horizons { months_12: 0, months_24: 0, months_36: 0, for_ever: Some(0) };

/// Different sums of several contracts are told apart up to this number: all of two contracts by the month, and
/// of four with the same price.
const MOST_ATOMS: usize = 512;

/// A month has at most so many days.
const LONGEST_MONTH: u32 = 31;

/// Values customers with all that they bring; shared by threads.
///
/// [`value`](Self::value) allocates nothing for who has at most two contracts, none of them older than a century. It
/// gives the same bits whatever the order of the customers, that of a customer's contracts, and the number of threads.
pub struct Valuer {
    models: Models,
    terms: ValueTerms,
    last_day: i64,
    clock: Clock,
    purchases: PurchaseOutlook,
    contracts: ContractOutlook,
}

impl Valuer {
    /// Prepares empty tables for customers whose histories end with `last_day`
    /// ([`Observation::last_day`](crate::Observation::last_day)), from which a season goes on.
    pub fn new(models: Models, terms: ValueTerms, last_day: i64) -> Self {
        const DOMAIN: &str = "three years and a rate of ValueTerms are in the domain of Terms";
        let season = models.season.clone().unwrap_or_default();
        let clock = season.clock(last_day);
        let purchases =
            PurchaseOutlook::new(models.purchases.bg_nbd, &season, last_day, &terms).expect(DOMAIN);
        let contracts = ContractOutlook::new(models.contracts.clone(), &terms).expect(DOMAIN);
        Self { models, terms, last_day, clock, purchases, contracts }
    }

    /// The models it values under.
    pub fn models(&self) -> &Models {
        &self.models
    }

    /// The terms it values under.
    pub fn terms(&self) -> &ValueTerms {
        &self.terms
    }

    /// The last observed day of all customers, in days since 1970-01-01 UTC.
    pub fn last_day(&self) -> i64 {
        self.last_day
    }

    /// Values a customer. What it returns is finite, whatever the account.
    pub fn value(&self, account: &Account) -> Result<Value, Rejection> {
        check(account)?;
        let buyer = account.purchases.as_ref().map(|summary| self.buyer(summary)).transpose()?;
        let subscriber = match self.subscriber(&account.contracts) {
            None if buyer.is_none() => return Err(Rejection::NoContractModel),
            known => known.unwrap_or_else(Subscriber::unknown),
        };
        let historic_minor = self.historic_minor(account);
        // What is missing to the cost of acquisition, where that is known.
        let missing = account.acquisition_cost_minor.map(|cost| cost.saturating_sub(historic_minor));

        let (intervals, probability) = self.coming_year(buyer.as_ref(), &subscriber, missing);
        let intervals = intervals.filter(|_| !subscriber.is_unknown);
        let payback = missing.map(|missing| Payback {
            months: self.months_to(missing, buyer.as_ref(), &subscriber),
            probability,
        });
        let undiscounted = buyer.as_ref().map_or(0.0, Buyer::contribution_of_year) + subscriber.year_mean;
        Ok(Value {
            historic_minor,
            purchases: buyer.as_ref().map_or(Ok(NOTHING), Buyer::horizons)?,
            contracts: horizons(subscriber.discounted, subscriber.for_ever)?,
            expected_purchases: buyer.as_ref().map_or(0.0, Buyer::expected_purchases),
            p_alive: buyer.as_ref().map(|buyer| buyer.p_alive),
            intervals: intervals.map(|intervals| intervals.map(between)),
            confidence: self.confidence(buyer.as_ref(), &subscriber, intervals, undiscounted),
            payback,
        })
    }

    /// What he has contributed: exact where a rate is 1.
    fn historic_minor(&self, account: &Account) -> i64 {
        let shares = [
            (self.terms.take_rate(), account.spend_minor),
            (self.terms.contract_margin(), account.paid_minor),
        ];
        let (mut whole, mut rest) = (0, 0.0);
        for (share, amount) in shares {
            // The sum of both may be more than a float holds to the unit.
            if share >= 1.0 { whole += amount } else { rest += share * amount as f64 }
        }
        whole + libm::round(rest) as i64
    }

    #[inline]
    fn buyer(&self, summary: &Summary) -> Result<Buyer, Rejection> {
        let bg_nbd = &self.models.purchases.bg_nbd;
        let gamma_gamma = &self.models.purchases.gamma_gamma;
        let &Summary { frequency, repeat_spend_minor, .. } = summary;
        let mean_spend = gamma_gamma
            .mean_of_total(frequency, repeat_spend_minor as f64)
            .map_err(|_| Rejection::SpendHasNoMean)?;
        let (t_x, age) = self.clock.times(summary);
        let p_alive = bg_nbd.p_alive(frequency, t_x, age);
        let prospect = self.purchases.prospect(frequency, age);
        let variance = prospect.spread.variance(p_alive, prospect.expected);
        let spend = gamma_gamma.posterior_of_total(frequency, repeat_spend_minor as f64);
        let share = self.terms.take_rate() * (1.0 - self.terms.refund_rate());
        Ok(Buyer {
            frequency,
            age,
            p_alive,
            p_zero: prospect.spread.p_zero(p_alive),
            share,
            per_purchase: mean_spend * share,
            moments: spend.total_spend(p_alive * prospect.expected, variance).ok(),
            spend,
            prospect,
        })
    }

    /// Follows all contracts that contribute something; none if the models know nothing of one of them.
    #[inline]
    fn subscriber<'a>(&'a self, contracts: &'a [Contract]) -> Option<Subscriber<'a>> {
        let mut subscriber = Subscriber::nobody();
        for contract in contracts {
            let price = contract.price_minor as f64 * self.terms.contract_margin();
            // A free one would divide what is certain into several equal sums.
            if price <= 0.0 {
                continue;
            }
            let payments = self.contracts.payments(contract)?;
            let now = price * self.contracts.discount_to_renewal(contract);
            let scatter = price * price * payments.year(contract).variance;
            subscriber.contracts.push(Paying { contract, price, now, scatter, payments });
        }
        subscriber.contracts.sort_unstable_by(Paying::by_scatter);
        for place in 0..subscriber.contracts.len() {
            subscriber.add(place);
        }
        Some(subscriber)
    }

    /// The intervals of the coming 12 months' contribution, and the probability that it is `missing` or more.
    fn coming_year(
        &self,
        buyer: Option<&Buyer>,
        subscriber: &Subscriber<'_>,
        missing: Option<i64>,
    ) -> (Option<[SpendInterval; 2]>, f64) {
        let margin = self.terms.contract_margin();
        match subscriber.contracts.as_slice() {
            [] => year_of(&[Atom { amount: 0.0, cdf: 1.0 }], buyer, subscriber, missing),
            [paying] => {
                let mut atoms = [Atom::default(); PAYMENTS_A_YEAR + 1];
                let filled = fill_atoms(&mut atoms, paying, margin);
                year_of(&atoms[..filled], buyer, subscriber, missing)
            }
            contracts => {
                let mut atoms = [Atom::default(); MOST_ATOMS];
                let filled = fill_atoms_of_all(&mut atoms, contracts, margin);
                year_of(&atoms[..filled], buyer, subscriber, missing)
            }
        }
    }

    /// After how many months what is expected reaches what is missing.
    fn months_to(&self, missing: i64, buyer: Option<&Buyer>, subscriber: &Subscriber<'_>) -> Option<u8> {
        if missing <= 0 {
            return Some(0);
        }
        let missing = missing as f64;
        let per_purchase = buyer.map_or(0.0, |buyer| buyer.p_alive * buyer.per_purchase);
        let in_years = |years: usize| {
            let purchases = buyer.map_or(0.0, |buyer| buyer.prospect.discounted[years]);
            per_purchase * purchases + subscriber.discounted[years]
        };
        let year = (0..3).find(|&year| in_years(year) >= missing)?;
        let bought = match buyer {
            Some(buyer) if per_purchase > 0.0 => {
                self.purchases.months_of_year(buyer.frequency, buyer.age, year)
            }
            _ => [0.0; 12],
        };
        let (mut too_few, mut enough) = (0, 12);
        while enough - too_few > 1 {
            let month = usize::midpoint(too_few, enough);
            let reached =
                per_purchase * bought[month - 1] + subscriber.within_months((12 * year + month) as u16);
            if reached >= missing { enough = month } else { too_few = month }
        }
        Some((12 * year + enough) as u8)
    }

    fn confidence(
        &self,
        buyer: Option<&Buyer>,
        subscriber: &Subscriber<'_>,
        intervals: Option<[SpendInterval; 2]>,
        expected: f64,
    ) -> Confidence {
        let parameters = &self.models.purchases;
        let own_rate = |buyer: &Buyer| buyer.age / (parameters.bg_nbd.alpha() + buyer.age);
        let own_spend = |buyer: &Buyer| {
            let own = parameters.gamma_gamma.p() * f64::from(buyer.frequency);
            if own > 0.0 { own / (own + (parameters.gamma_gamma.q() - 1.0)) } else { 0.0 }
        };
        let relative_width = intervals
            .filter(|[eighty, _]| expected > 0.0 && eighty.upper >= expected)
            .map(|[eighty, _]| ((eighty.upper - eighty.lower) / expected) as f32);
        let has_own = !subscriber.is_nobody() || buyer.is_some_and(|buyer| buyer.frequency > 0);
        let grade = match relative_width {
            _ if !has_own => Grade::PriorOnly,
            Some(width) if width <= 0.5 => Grade::A,
            Some(width) if width <= 1.0 => Grade::B,
            Some(width) if width <= 2.0 => Grade::C,
            _ => Grade::D,
        };
        Confidence {
            grade,
            own_rate: buyer.map_or(0.0, own_rate) as f32,
            own_spend: buyer.map_or(0.0, own_spend) as f32,
            relative_width,
        }
    }
}

/// A customer as far as he buys.
struct Buyer {
    frequency: u32,
    age: f64,
    p_alive: f64,
    /// The probability of no purchase in 12 months.
    p_zero: f64,
    /// The share of spend that stays.
    share: f64,
    /// What a purchase contributes on average.
    per_purchase: f64,
    spend: SpendPosterior,
    /// Of the spend in 12 months, where its variance is finite.
    moments: Option<SpendMoments>,
    prospect: Prospect,
}

impl Buyer {
    fn expected_purchases(&self) -> f64 {
        self.p_alive * self.prospect.expected
    }

    fn horizons(&self) -> Result<Horizons, Rejection> {
        let per_purchase = self.p_alive * self.per_purchase;
        let Prospect { discounted, for_ever, .. } = self.prospect;
        horizons(discounted.map(|purchases| per_purchase * purchases), for_ever.map(|all| per_purchase * all))
    }

    fn contribution_of_year(&self) -> f64 {
        self.expected_purchases() * self.per_purchase
    }

    /// The probability that he contributes `missing` in 12 months where the variance of his spend is infinite, beside
    /// contracts that bring the mean of their course: with as many purchases as are expected if there is one, the
    /// spend is what the spend model says exactly ([`SpendDistribution`](crate::SpendDistribution)).
    fn reaches(&self, missing: f64, branches: &[Branch]) -> f64 {
        let positive = 1.0 - self.p_zero;
        let branch = |branch: &Branch| {
            let open = missing - branch.mean;
            if open <= 0.0 {
                return branch.probability;
            }
            if !(positive > 0.0 && self.share > 0.0) {
                return 0.0;
            }
            let purchases = f64::max(self.expected_purchases() / positive, 1.0);
            let shape = self.spend.p() * purchases;
            let spend = incomplete_beta(shape, self.spend.shape(), open / self.share, self.spend.scale());
            branch.probability * positive * spend.upper
        };
        branches.iter().map(branch).sum::<f64>().clamp(0.0, 1.0)
    }
}

/// A customer as far as he has contracts that contribute something.
struct Subscriber<'a> {
    /// Those whose payments scatter most come first, whatever the order they are known in.
    contracts: SmallVec<[Paying<'a>; 2]>,
    /// The models know nothing of one of them, and so nothing is counted.
    is_unknown: bool,
    discounted: [f64; 3],
    for_ever: Option<f64>,
    /// Expected payments of 12 months, not discounted.
    year_mean: f64,
    branches: [Branch; BRANCHES],
    filled: usize,
}

/// A contract that contributes something.
struct Paying<'a> {
    contract: &'a Contract,
    /// What a payment contributes.
    price: f64,
    /// What one on the day of the next counts today.
    now: f64,
    /// The variance of what it contributes in 12 months.
    scatter: f64,
    payments: Found<'a>,
}

impl Paying<'_> {
    fn by_scatter(one: &Self, two: &Self) -> Ordering {
        two.scatter.total_cmp(&one.scatter).then_with(|| one.contract.cmp(two.contract))
    }

    fn within_months(&self, months: u16) -> f64 {
        self.now * self.payments.within_months(self.contract, months)
    }

    fn year(&self) -> &Year {
        self.payments.year(self.contract)
    }
}

impl Subscriber<'_> {
    fn nobody() -> Self {
        let mut branches = [Branch::default(); BRANCHES];
        branches[0].probability = 1.0;
        Self {
            contracts: SmallVec::new(),
            is_unknown: false,
            discounted: [0.0; 3],
            for_ever: Some(0.0),
            year_mean: 0.0,
            branches,
            filled: 1,
        }
    }

    fn unknown() -> Self {
        Self { is_unknown: true, for_ever: None, ..Self::nobody() }
    }

    fn is_nobody(&self) -> bool {
        self.contracts.is_empty() && !self.is_unknown
    }

    fn branches(&self) -> &[Branch] {
        &self.branches[..self.filled]
    }

    /// What contracts are expected to contribute within so many months, discounted.
    fn within_months(&self, months: u16) -> f64 {
        self.contracts.iter().map(|paying| paying.within_months(months)).sum()
    }

    /// Adds what the contract at a place brings. The cases of the first two are told apart; the others, which scatter
    /// less, blur them.
    fn add(&mut self, place: usize) {
        let paying = &self.contracts[place];
        for (sum, months) in self.discounted.iter_mut().zip([12, 24, 36]) {
            *sum += paying.within_months(months);
        }
        let for_ever = paying.payments.for_ever().map(|payments| paying.now * payments);
        self.for_ever = self.for_ever.zip(for_ever).map(|(sum, more)| sum + more);
        let (price, year) = (paying.price, paying.year());
        self.year_mean += price * year.mean;
        if place >= 2 {
            for branch in &mut self.branches[..self.filled] {
                branch.mean += price * year.mean;
                branch.variance += paying.scatter;
            }
            return;
        }
        let before = self.branches;
        let mut filled = 0;
        for case in year.cases() {
            for branch in &before[..self.filled] {
                self.branches[filled] = Branch {
                    probability: branch.probability * case.probability,
                    least: branch.least + price * case.least,
                    mean: branch.mean + price * case.mean,
                    variance: branch.variance + price * price * case.variance,
                };
                filled += 1;
            }
        }
        self.filled = filled;
    }
}

/// The intervals of the coming 12 months' contribution, and the probability that it is `missing` or more, from all sums
/// that contracts may bring.
#[inline]
fn year_of(
    atoms: &[Atom],
    buyer: Option<&Buyer>,
    subscriber: &Subscriber<'_>,
    missing: Option<i64>,
) -> (Option<[SpendInterval; 2]>, f64) {
    let open = missing.filter(|&missing| missing > 0).map(|missing| missing as f64);
    let branches = subscriber.branches();
    let (p_zero, share, moments) = match buyer {
        Some(buyer) => (buyer.p_zero, buyer.share, buyer.moments),
        None => (1.0, 1.0, Some(SpendMoments::new(0.0, 0.0))),
    };
    let Some(moments) = moments else {
        let reaches = |missing| buyer.map_or(0.0, |buyer| buyer.reaches(missing, branches));
        return (None, open.map_or(1.0, reaches));
    };
    if subscriber.is_nobody() && open.is_none() {
        return (Some(of_purchases(p_zero, &moments, share)), 1.0);
    }
    let contribution = Contribution::new(&Bought::new(p_zero, &moments, share), atoms, branches);
    let probability = open.map_or(1.0, |missing| contribution.at_least(missing));
    if subscriber.is_nobody() {
        return (Some(of_purchases(p_zero, &moments, share)), probability);
    }
    let p_zero = contribution.p_zero();
    let interval = |level| SpendInterval::of(level, p_zero, |level| contribution.quantile(level));
    let [eighty, mut ninety] = LEVELS.map(interval);
    // Each quantile has an error of its own.
    ninety.lower = f64::min(ninety.lower, eighty.lower);
    ninety.upper = f64::max(ninety.upper, eighty.upper);
    (Some([eighty, ninety]), probability)
}

/// The intervals of [`Scorer::forecast`](crate::Scorer::forecast), of the share that stays.
#[inline]
fn of_purchases(p_zero: f64, moments: &SpendMoments, share: f64) -> [SpendInterval; 2] {
    SpendInterval::from_moments(p_zero, moments, LEVELS)
        .map(|SpendInterval { lower, upper }| SpendInterval { lower: share * lower, upper: share * upper })
}

/// Refuses accounts that cannot be.
#[inline]
fn check(account: &Account) -> Result<(), Rejection> {
    if account.purchases.is_some_and(|summary| !summary.is_consistent()) {
        return Err(Rejection::InconsistentSummary);
    }
    let believed = -LARGEST_SUM_MINOR..=LARGEST_SUM_MINOR;
    if !(believed.contains(&account.spend_minor) && believed.contains(&account.paid_minor)) {
        return Err(Rejection::SpendOutOfRange);
    }
    let can_be = |contract: &Contract| {
        (1..=LONGEST_PERIOD).contains(&contract.period_months)
            && (1..=LONGEST_MONTH * u32::from(contract.period_months)).contains(&contract.days_to_renewal)
            && (0..=LARGEST_SUM_MINOR).contains(&contract.price_minor)
    };
    if !account.contracts.iter().all(can_be) {
        return Err(Rejection::ImpossibleContract);
    }
    let is_nobody = account.purchases.is_none() && account.contracts.is_empty() && account.paid_minor == 0;
    if is_nobody { Err(Rejection::NoPurchase) } else { Ok(()) }
}

/// Rounds them. What is asked for may not be beyond belief; the sum for ever may, and is none then.
fn horizons(discounted: [f64; 3], for_ever: Option<f64>) -> Result<Horizons, Rejection> {
    let [months_12, months_24, months_36] = discounted.map(whole_minor);
    Ok(Horizons {
        months_12: months_12?,
        months_24: months_24?,
        months_36: months_36?,
        for_ever: for_ever.and_then(|sum| whole_minor(sum).ok()),
    })
}

/// Rounds both ends; what is beyond belief becomes the most that is believed.
fn between(interval: SpendInterval) -> Between {
    let whole = |amount: f64| libm::round(amount).clamp(0.0, LARGEST_SUM_MINOR as f64) as i64;
    Between { lower_minor: whole(interval.lower), upper_minor: whole(interval.upper) }
}

/// All sums that one contract may bring.
fn fill_atoms(atoms: &mut [Atom; PAYMENTS_A_YEAR + 1], paying: &Paying<'_>, margin: f64) -> usize {
    let most = paying.year().most;
    let mut cdf = 0.0;
    for (n, atom) in atoms.iter_mut().enumerate().take(most + 1) {
        cdf += paying.payments.probability(n, most);
        let minor = n as i64 * paying.contract.price_minor;
        *atom = Atom { amount: minor as f64 * margin, cdf };
    }
    most + 1
}

/// Payments of several contracts together, before the margin.
#[derive(Clone, Copy, Default)]
struct Sum {
    minor: i64,
    probability: f64,
}

/// All sums of several contracts: exact as long as there are no more than [`MOST_ATOMS`] of them, else of means of
/// neighbours. That they bring nothing is always by itself.
fn fill_atoms_of_all(atoms: &mut [Atom; MOST_ATOMS], contracts: &[Paying<'_>], margin: f64) -> usize {
    let mut sums = [Sum::default(); MOST_ATOMS];
    sums[0].probability = 1.0;
    let mut filled = 1;
    // Those that scatter least come first: what they bring is put together before the rest, and costs least.
    for paying in contracts.iter().rev() {
        let most = paying.year().most;
        filled = thin_out(&mut sums[..filled], MOST_ATOMS / (most + 1));
        // From the last to the first, so that none is overwritten before it is read.
        for place in (0..filled).rev() {
            let before = sums[place];
            for n in (0..=most).rev() {
                sums[place * (most + 1) + n] = Sum {
                    minor: before.minor.saturating_add(n as i64 * paying.contract.price_minor),
                    probability: before.probability * paying.payments.probability(n, most),
                };
            }
        }
        filled *= most + 1;
        sums[..filled].sort_unstable_by_key(|sum| sum.minor);
        filled = join_equals(&mut sums[..filled]);
    }
    let mut cdf = 0.0;
    for (atom, sum) in atoms.iter_mut().zip(&sums[..filled]) {
        cdf += sum.probability;
        *atom = Atom { amount: sum.minor as f64 * margin, cdf };
    }
    filled
}

/// Puts equal sums together.
fn join_equals(sums: &mut [Sum]) -> usize {
    let mut last = 0;
    for place in 1..sums.len() {
        if sums[place].minor == sums[last].minor {
            sums[last].probability += sums[place].probability;
        } else {
            last += 1;
            sums[last] = sums[place];
        }
    }
    last + 1
}

/// Puts neighbours together until no more than `most` are left; the first, which is nothing, stays as it is.
fn thin_out(sums: &mut [Sum], most: usize) -> usize {
    if sums.len() <= most {
        return sums.len();
    }
    let together = (sums.len() - 1).div_ceil(most - 1);
    let mut filled = 1;
    for start in (1..sums.len()).step_by(together) {
        let group = &sums[start..usize::min(start + together, sums.len())];
        let probability: f64 = group.iter().map(|sum| sum.probability).sum();
        let weighted: f64 = group.iter().map(|sum| sum.minor as f64 * sum.probability).sum();
        let minor =
            if probability > 0.0 { libm::round(weighted / probability) as i64 } else { group[0].minor };
        sums[filled] = Sum { minor, probability };
        filled += 1;
    }
    filled
}
