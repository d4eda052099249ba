//! The contracts of a customer that go on, as the column `contracts` holds them.
//!
//! One after the other, each as five numbers: price in minor units, renewals, days to the next renewal, months of a
//! period, place of the plan's model in the model version, each a [`varint`]. A contract is about eight bytes.

use bytes::BufMut;
use model::{Contract, Contracts, PlanIndex};

use super::varint;

/// Why stored contracts cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("contracts: {0}")]
pub(crate) struct Malformed(&'static str);

/// Writes a customer's contracts.
pub(crate) fn encode(contracts: &Contracts, bytes: &mut impl BufMut) {
    for contract in contracts {
        // A price below nothing is not believed anywhere, and survives as ten bytes all the same.
        varint::put(contract.price_minor as u64, bytes);
        varint::put(contract.renewals.into(), bytes);
        varint::put(contract.days_to_renewal.into(), bytes);
        varint::put(contract.period_months.into(), bytes);
        varint::put(contract.plan.0.into(), bytes);
    }
}

/// Reads a customer's contracts.
pub(crate) fn decode(mut bytes: &[u8]) -> Result<Contracts, Malformed> {
    let mut contracts = Contracts::new();
    while !bytes.is_empty() {
        contracts.push(Contract {
            price_minor: take(&mut bytes)? as i64,
            renewals: fitting(take(&mut bytes)?)?,
            days_to_renewal: match fitting(take(&mut bytes)?)? {
                0 => return Err(Malformed("a renewal is due on a day that is over")),
                days => days,
            },
            period_months: fitting(take(&mut bytes)?)?,
            plan: PlanIndex(fitting(take(&mut bytes)?)?),
        });
    }
    Ok(contracts)
}

fn take(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    varint::take(bytes).map_err(|malformed| match malformed {
        varint::Malformed::BreaksOff => Malformed("they break off"),
        varint::Malformed::TooWide => Malformed("a number does not fit 64 bits"),
    })
}

fn fitting<T: TryFrom<u64>>(number: u64) -> Result<T, Malformed> {
    T::try_from(number).map_err(|_| Malformed("a number is larger than it can be"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contract() -> impl Strategy<Value = Contract> {
        (any::<i64>(), any::<u32>(), 1..=u32::MAX, any::<u16>(), any::<u16>()).prop_map(
            |(price_minor, renewals, days_to_renewal, period_months, plan)| Contract {
                price_minor,
                renewals,
                days_to_renewal,
                period_months,
                plan: PlanIndex(plan),
            },
        )
    }

    #[test]
    fn a_contract_is_written_as_documented() {
        let contract = Contract {
            price_minor: 4_900,
            renewals: 13,
            days_to_renewal: 200,
            period_months: 1,
            plan: PlanIndex::OTHER,
        };
        let mut bytes = Vec::new();

        encode(&Contracts::from_iter([contract]), &mut bytes);

        assert_eq!(bytes, [0xA4, 0x26, 13, 0xC8, 0x01, 1, 0xFF, 0xFF, 0x03]);
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        let mut too_wide = vec![0xFF; 9];
        too_wide.push(0x02);
        let too_many_months = [1, 1, 1, 0x80, 0x80, 0x04, 1];

        assert_eq!(decode(&too_wide), Err(Malformed("a number does not fit 64 bits")));
        assert_eq!(decode(&too_many_months), Err(Malformed("a number is larger than it can be")));
    }

    #[test]
    fn a_renewal_is_at_least_a_day_ahead() {
        let due = |days| [1, 1, days, 1, 1];

        assert_eq!(decode(&due(0)), Err(Malformed("a renewal is due on a day that is over")));
        assert_eq!(decode(&due(1)).map(|contracts| contracts[0].days_to_renewal), Ok(1));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(contracts in proptest::collection::vec(contract(), 0..5)) {
            let contracts = Contracts::from_vec(contracts);
            let mut bytes = Vec::new();
            encode(&contracts, &mut bytes);

            prop_assert_eq!(decode(&bytes), Ok(contracts));
        }

        #[test]
        fn contracts_that_break_off_are_an_error(contract in contract(), kept: prop::sample::Index) {
            let mut bytes = Vec::new();
            encode(&Contracts::from_iter([contract]), &mut bytes);
            let kept = 1 + kept.index(bytes.len() - 1);

            prop_assert_eq!(decode(&bytes[..kept]).is_ok(), kept == bytes.len());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
