//! What a model version holds.

use serde::{Deserialize, Serialize};

use crate::{BgNbd, ContractModels, GammaGamma, Season};

/// The parameters of the two purchase models.
///
/// Serialised, every number is a decimal text that reads back to the same bits whatever parser is used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameters {
    /// How often customers buy, and when they stop.
    pub bg_nbd: BgNbd,
    /// How much they spend each time, in minor units.
    pub gamma_gamma: GammaGamma,
}

/// What a model version holds: the purchase models, the season that they were fitted in, the contract models.
///
/// A version of a program that knew the purchase models alone reads back as one without season and contracts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Models {
    /// How often customers buy, and how much they spend.
    #[serde(flatten)]
    pub purchases: Parameters,
    /// The season in whose time the purchase models were fitted; none for calendar time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub season: Option<Season>,
    /// How long subscribers keep renewing.
    #[serde(default)]
    pub contracts: ContractModels,
}

impl From<Parameters> for Models {
    fn from(purchases: Parameters) -> Self {
        Self { purchases, season: None, contracts: ContractModels::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parameters_survive_json_to_the_bit(r in 1e-3..10.0, alpha in 1e-3..1e3, a in 1e-3..10.0, b in 1e-3..10.0) {
            let parameters = Parameters {
                bg_nbd: BgNbd::new(r, alpha, a, b).unwrap(),
                gamma_gamma: GammaGamma::new(r, a + 1.0, alpha).unwrap(),
            };

            let json = serde_json::to_string(&parameters).unwrap();

            prop_assert_eq!(serde_json::from_str::<Parameters>(&json).unwrap(), parameters);
        }
    }
}
