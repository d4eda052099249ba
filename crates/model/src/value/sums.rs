//! All sums that a customer's contracts may bring within 12 months, with their probabilities.

use super::contract_tables::PAYMENTS_A_YEAR;
use super::contribution::Atom;
use super::subscriber::Paying;

/// Different sums of several contracts are told apart up to this number: all of two contracts by the month, and
/// of four with the same price.
pub(super) const MOST_ATOMS: usize = 512;

/// All sums that one contract may bring.
pub(super) fn fill_atoms(atoms: &mut [Atom; PAYMENTS_A_YEAR + 1], paying: &Paying<'_>, margin: f64) -> usize {
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
pub(super) fn fill_atoms_of_all(
    atoms: &mut [Atom; MOST_ATOMS],
    contracts: &[Paying<'_>],
    margin: f64,
) -> usize {
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
