//! The whole value of a customer: what he buys and what his contracts bring.
//!
//! The parts come from tables that fill as they are asked, [`PurchaseTables`] for purchases and [`ContractTables`]
//! for contracts; what is left for each customer is his own: the probability that he is alive, his spend, his prices.
//! The two parts are taken to be independent of each other, and so are several contracts of a customer.

use super::buyer::Buyer;
use super::coming_year::coming_year;
use super::contract_tables::ContractTables;
use super::purchase_tables::PurchaseTables;
use super::subscriber::{Paying, Subscriber};
use super::{Between, Confidence, Grade, Horizons, Payback, Value};
use crate::{Account, Clock, Contract, Models, Rejection, SpendInterval, Summary, ValueTerms};

/// What somebody who never bought anything will buy.
const NOTHING: Horizons = Horizons { months_12: 0, months_24: 0, months_36: 0, for_ever: Some(0) };

/// Values customers with all that they bring; shared by threads.
///
/// [`value`](Self::value) allocates nothing for who has at most two contracts, none of them older than a century. It
/// gives the same bits whatever the order of the customers, that of a customer's contracts, and the number of threads.
pub struct Valuer {
    models: Models,
    terms: ValueTerms,
    last_day: i64,
    clock: Clock,
    purchases: PurchaseTables,
    contracts: ContractTables,
}

impl Valuer {
    /// Prepares empty tables for customers whose histories end with `last_day`
    /// ([`Observation::last_day`](crate::Observation::last_day)), from which a season goes on.
    pub fn new(models: Models, terms: ValueTerms, last_day: i64) -> Self {
        const DOMAIN: &str = "three years and a rate of ValueTerms are in the domain of Terms";
        let season = models.season.clone().unwrap_or_default();
        let clock = season.clock(last_day);
        let purchases =
            PurchaseTables::new(models.purchases.bg_nbd, &season, last_day, &terms).expect(DOMAIN);
        let contracts = ContractTables::new(models.contracts.clone(), &terms).expect(DOMAIN);
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
        account.check()?;
        let buyer = account.purchases.as_ref().map(|summary| self.buyer(summary)).transpose()?;
        let subscriber = match self.subscriber(&account.contracts) {
            None if buyer.is_none() => return Err(Rejection::NoContractModel),
            known => known.unwrap_or_else(Subscriber::unknown),
        };
        let historic_minor = self.historic_minor(account);
        // What is missing to the cost of acquisition, where that is known.
        let missing = account.acquisition_cost_minor.map(|cost| cost.saturating_sub(historic_minor));

        let (intervals, probability) =
            coming_year(buyer.as_ref(), &subscriber, missing, self.terms.contract_margin());
        let intervals = intervals.filter(|_| !subscriber.is_unknown);
        let payback = missing.map(|missing| Payback {
            months: self.months_to(missing, buyer.as_ref(), &subscriber),
            probability,
        });
        let undiscounted = buyer.as_ref().map_or(0.0, Buyer::contribution_of_year) + subscriber.year_mean;
        Ok(Value {
            historic_minor,
            purchases: buyer.as_ref().map_or(Ok(NOTHING), Buyer::horizons)?,
            contracts: Horizons::rounded(subscriber.discounted, subscriber.for_ever)?,
            expected_purchases: buyer.as_ref().map_or(0.0, Buyer::expected_purchases),
            p_alive: buyer.as_ref().map(|buyer| buyer.p_alive),
            intervals: intervals.map(|intervals| intervals.map(Between::rounded)),
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
        let if_alive = self.purchases.if_alive(frequency, age);
        let variance = if_alive.spread.variance(p_alive, if_alive.expected);
        let spend = gamma_gamma.posterior_of_total(frequency, repeat_spend_minor as f64);
        let share = self.terms.take_rate() * (1.0 - self.terms.refund_rate());
        Ok(Buyer {
            frequency,
            age,
            p_alive,
            p_zero: if_alive.spread.p_zero(p_alive),
            share,
            per_purchase: mean_spend * share,
            moments: spend.total_spend(p_alive * if_alive.expected, variance).ok(),
            spend,
            if_alive,
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

    /// After how many months what is expected reaches what is missing.
    fn months_to(&self, missing: i64, buyer: Option<&Buyer>, subscriber: &Subscriber<'_>) -> Option<u8> {
        if missing <= 0 {
            return Some(0);
        }
        let missing = missing as f64;
        let per_purchase = buyer.map_or(0.0, |buyer| buyer.p_alive * buyer.per_purchase);
        let in_years = |years: usize| {
            let purchases = buyer.map_or(0.0, |buyer| buyer.if_alive.discounted[years]);
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
