//! The whole value of a customer: what he buys and what his contracts bring.
//!
//! The parts come from tables that fill as they are asked, [`PurchaseOutlook`] for purchases and [`ContractOutlook`]
//! for contracts; what is left for each customer is his own: the probability that he is alive, his spend, his prices.
//! The two parts are taken to be independent of each other, and so are several contracts of a customer.

use crate::contract_outlook::{ContractOutlook, PAYMENTS_A_YEAR, Prospect, Year};
use crate::contribution::{Atom, BRANCHES, Bought, Branch, Contribution};
use crate::history::LARGEST_SUM_MINOR;
use crate::kernel::incomplete_beta::incomplete_beta;
use crate::purchase_outlook::{self, PurchaseOutlook};
use crate::scorer::whole_minor;
use crate::subscription::LONGEST_PERIOD;
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

/// Values customers with all that they bring; shared by threads.
///
/// [`value`](Self::value) allocates nothing, and gives the same bits whatever the order of the customers and the number
/// of threads.
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
        let subscriber = self.subscriber(&account.contracts)?;
        let historic_minor = self.historic_minor(account);
        // What is missing to the cost of acquisition, where that is known.
        let missing = account.acquisition_cost_minor.map(|cost| cost.saturating_sub(historic_minor));

        let (intervals, probability) = self.coming_year(account, buyer.as_ref(), &subscriber, missing);
        let payback = missing.map(|missing| Payback {
            months: self.months_to(missing, account, buyer.as_ref(), &subscriber),
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
            confidence: self.confidence(account, buyer.as_ref(), intervals, undiscounted),
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

    #[inline]
    fn subscriber(&self, contracts: &[Contract]) -> Result<Subscriber, Rejection> {
        let mut subscriber = Subscriber::NOBODY;
        for contract in contracts {
            let prospect = self.contracts.prospect(contract)?;
            let price = self.price(contract);
            let now = price * self.contracts.discount_to_renewal(contract);
            for (sum, months) in subscriber.discounted.iter_mut().zip([12, 24, 36]) {
                *sum += now * prospect.within_months(contract, months);
            }
            let for_ever = prospect.for_ever().map(|payments| now * payments);
            subscriber.for_ever = subscriber.for_ever.zip(for_ever).map(|(sum, more)| sum + more);
            subscriber.add_year(price, prospect.year(contract));
        }
        Ok(subscriber)
    }

    /// What a payment contributes.
    #[inline]
    fn price(&self, contract: &Contract) -> f64 {
        contract.price_minor as f64 * self.terms.contract_margin()
    }

    /// The intervals of the coming 12 months' contribution, and the probability that it is `missing` or more.
    fn coming_year(
        &self,
        account: &Account,
        buyer: Option<&Buyer>,
        subscriber: &Subscriber,
        missing: Option<i64>,
    ) -> (Option<[SpendInterval; 2]>, f64) {
        match account.contracts.as_slice() {
            [] => year_of(&[Atom { amount: 0.0, cdf: 1.0 }], buyer, subscriber, missing),
            [contract] => {
                let mut atoms = [Atom::default(); PAYMENTS_A_YEAR + 1];
                let Ok(prospect) = self.contracts.prospect(contract) else { return (None, 0.0) };
                let filled = fill_atoms(&mut atoms, &prospect, prospect.year(contract), self.price(contract));
                year_of(&atoms[..filled], buyer, subscriber, missing)
            }
            contracts => {
                let mut atoms = [Atom::default(); MOST_ATOMS];
                let filled = self.fill_atoms_of_all(&mut atoms, contracts);
                year_of(&atoms[..filled], buyer, subscriber, missing)
            }
        }
    }

    /// All sums of several contracts: exact as long as there are no more than [`MOST_ATOMS`] of them, else of means of
    /// neighbours.
    fn fill_atoms_of_all(&self, atoms: &mut [Atom; MOST_ATOMS], contracts: &[Contract]) -> usize {
        // While they are put together, `cdf` holds the probability of the sum by itself.
        atoms[0] = Atom { amount: 0.0, cdf: 1.0 };
        let mut filled = 1;
        for contract in contracts {
            let Ok(prospect) = self.contracts.prospect(contract) else { continue };
            let most = prospect.year(contract).most;
            let price = self.price(contract);
            filled = thin_out(&mut atoms[..filled], MOST_ATOMS / (most + 1));
            // From the last to the first, so that none is overwritten before it is read.
            for place in (0..filled).rev() {
                let before = atoms[place];
                for n in (0..=most).rev() {
                    atoms[place * (most + 1) + n] = Atom {
                        amount: before.amount + n as f64 * price,
                        cdf: before.cdf * prospect.probability(n, most),
                    };
                }
            }
            filled *= most + 1;
            atoms[..filled].sort_unstable_by(|one, two| one.amount.total_cmp(&two.amount));
            filled = join_equals(&mut atoms[..filled]);
        }
        let mut sum = 0.0;
        for atom in &mut atoms[..filled] {
            sum += atom.cdf;
            atom.cdf = sum;
        }
        filled
    }

    /// After how many months what is expected reaches what is missing.
    fn months_to(
        &self,
        missing: i64,
        account: &Account,
        buyer: Option<&Buyer>,
        subscriber: &Subscriber,
    ) -> Option<u8> {
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
                per_purchase * bought[month - 1] + self.payments(account, (12 * year + month) as u16);
            if reached >= missing { enough = month } else { too_few = month }
        }
        Some((12 * year + enough) as u8)
    }

    /// What contracts are expected to contribute within so many months, discounted.
    fn payments(&self, account: &Account, months: u16) -> f64 {
        let payments = account.contracts.iter().filter_map(|contract| {
            let prospect = self.contracts.prospect(contract).ok()?;
            let now = self.price(contract) * self.contracts.discount_to_renewal(contract);
            Some(now * prospect.within_months(contract, months))
        });
        payments.sum()
    }

    fn confidence(
        &self,
        account: &Account,
        buyer: Option<&Buyer>,
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
        let has_own = !account.contracts.is_empty() || buyer.is_some_and(|buyer| buyer.frequency > 0);
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
    prospect: purchase_outlook::Prospect,
}

impl Buyer {
    fn expected_purchases(&self) -> f64 {
        self.p_alive * self.prospect.expected
    }

    fn horizons(&self) -> Result<Horizons, Rejection> {
        let per_purchase = self.p_alive * self.per_purchase;
        let purchase_outlook::Prospect { discounted, for_ever, .. } = self.prospect;
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

/// A customer as far as he has contracts.
struct Subscriber {
    discounted: [f64; 3],
    for_ever: Option<f64>,
    /// Expected payments of 12 months, not discounted.
    year_mean: f64,
    contracts: usize,
    branches: [Branch; BRANCHES],
    filled: usize,
}

impl Subscriber {
    const NOBODY: Self = {
        let nothing = Branch { probability: 0.0, least: 0.0, mean: 0.0, variance: 0.0 };
        let mut branches = [nothing; BRANCHES];
        branches[0].probability = 1.0;
        Self { discounted: [0.0; 3], for_ever: Some(0.0), year_mean: 0.0, contracts: 0, branches, filled: 1 }
    };

    fn is_nobody(&self) -> bool {
        self.contracts == 0
    }

    fn branches(&self) -> &[Branch] {
        &self.branches[..self.filled]
    }

    /// Adds a contract: the courses of the first two are told apart, others blur them.
    fn add_year(&mut self, price: f64, year: &Year) {
        self.contracts += 1;
        self.year_mean += price * year.mean;
        if self.contracts > 2 {
            for branch in &mut self.branches[..self.filled] {
                branch.mean += price * year.mean;
                branch.variance += price * price * year.variance;
            }
            return;
        }
        let before = self.branches;
        let mut filled = 0;
        for course in year.courses() {
            for branch in &before[..self.filled] {
                self.branches[filled] = Branch {
                    probability: branch.probability * course.probability,
                    least: branch.least + price * course.least,
                    mean: branch.mean + price * course.mean,
                    variance: branch.variance + price * price * course.variance,
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
    subscriber: &Subscriber,
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
            && contract.days_to_renewal > 0
            && (0..=LARGEST_SUM_MINOR).contains(&contract.price_minor)
    };
    if !account.contracts.iter().all(can_be) {
        return Err(Rejection::ImpossibleContract);
    }
    let is_nobody = account.purchases.is_none() && account.contracts.is_empty() && account.paid_minor == 0;
    if is_nobody { Err(Rejection::NoPurchase) } else { Ok(()) }
}

fn horizons(discounted: [f64; 3], for_ever: Option<f64>) -> Result<Horizons, Rejection> {
    let [months_12, months_24, months_36] = discounted.map(whole_minor);
    Ok(Horizons {
        months_12: months_12?,
        months_24: months_24?,
        months_36: months_36?,
        for_ever: for_ever.map(whole_minor).transpose()?,
    })
}

/// Rounds both ends; what is beyond belief becomes the most that is believed.
fn between(interval: SpendInterval) -> Between {
    let whole = |amount: f64| libm::round(amount).clamp(0.0, LARGEST_SUM_MINOR as f64) as i64;
    Between { lower_minor: whole(interval.lower), upper_minor: whole(interval.upper) }
}

/// All sums that one contract may bring.
fn fill_atoms(
    atoms: &mut [Atom; PAYMENTS_A_YEAR + 1],
    prospect: &Prospect,
    year: &Year,
    price: f64,
) -> usize {
    let mut cdf = 0.0;
    for (n, atom) in atoms.iter_mut().enumerate().take(year.most + 1) {
        cdf += prospect.probability(n, year.most);
        *atom = Atom { amount: n as f64 * price, cdf };
    }
    year.most + 1
}

/// Puts equal sums together, each with its own probability in `cdf`.
fn join_equals(atoms: &mut [Atom]) -> usize {
    let mut last = 0;
    for place in 1..atoms.len() {
        if atoms[place].amount.to_bits() == atoms[last].amount.to_bits() {
            atoms[last].cdf += atoms[place].cdf;
        } else {
            last += 1;
            atoms[last] = atoms[place];
        }
    }
    last + 1
}

/// Puts neighbours together until no more than `most` are left, each with its own probability in `cdf`.
fn thin_out(atoms: &mut [Atom], most: usize) -> usize {
    if atoms.len() <= most {
        return atoms.len();
    }
    let together = atoms.len().div_ceil(most);
    let mut filled = 0;
    for start in (0..atoms.len()).step_by(together) {
        let group = &atoms[start..usize::min(start + together, atoms.len())];
        let probability: f64 = group.iter().map(|atom| atom.cdf).sum();
        let weighted: f64 = group.iter().map(|atom| atom.amount * atom.cdf).sum();
        let amount = if probability > 0.0 { weighted / probability } else { group[0].amount };
        atoms[filled] = Atom { amount, cdf: probability };
        filled += 1;
    }
    filled
}
