//! Finds the parameters under which the observed customers are most likely.
//!
//! Maximum likelihood on the logarithms of the parameters, with analytic gradients. Equal customers are counted, not
//! repeated; everything that depends on `x` alone is computed once for each `x`. Sums are taken over blocks of fixed
//! size and then in pairs, so that a fit gives the same bits for every number of threads.

mod bdw;
mod bg_bb;
mod coin_dropout;
mod contract_models;
mod contract_row;
mod gamma_gamma;
pub mod guard;
mod optimum;
mod outcome;
mod parameters;
mod pareto_nbd;
mod purchase_row;
mod sbg;
mod segments;
mod sum;

pub use bdw::{bdw, bdw_from};
pub use bg_bb::{OpportunityRow, bg_bb, bg_bb_from};
pub use coin_dropout::{bg_nbd, bg_nbd_from, mbg_nbd, mbg_nbd_from};
pub use contract_models::{
    ConstantChurn, ContractDiagnostics, ContractFit, LEAST_RATIO_FOR_BDW, PlanDiagnostics, PlanRows,
    contract_models,
};
pub use contract_row::ContractRow;
pub use gamma_gamma::{SpendRow, Winsorised, gamma_gamma, gamma_gamma_from, winsorised};
pub use outcome::{FEWEST_CUSTOMERS, Fit, FitError};
pub use parameters::{Diagnostics, parameters, parameters_in_season, rows, rows_in_season};
pub use pareto_nbd::{pareto_nbd, pareto_nbd_from};
pub use purchase_row::PurchaseRow;
pub use sbg::{sbg, sbg_from};
pub use segments::{
    FEWEST_BUYERS_OF_A_SEGMENT, FEWEST_OF_A_SEGMENT, SegmentFit, SegmentFits, Shrunk, ShrunkFit,
    bg_nbd_by_segment, by_segment, gamma_gamma_by_segment, mbg_nbd_by_segment,
};

pub use crate::contracts::Tenure;

use outcome::{conclude, is_identified};
