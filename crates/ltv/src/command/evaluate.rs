//! `ltv evaluate`

use crate::cli::EvaluateArgs;
use crate::evaluate;
use crate::output::count;
use files::{NewFile, Rows, widen};

pub(crate) fn run(args: &EvaluateArgs) -> anyhow::Result<()> {
    let out = NewFile::create(&args.out, &[&args.input])?;
    let table = Rows::open(&args.input)?;
    let evaluation = evaluate::of(args.model, table.header())?;
    let widened = widen(table, &*evaluation, out)?;
    if widened.left_empty > 0 {
        eprintln!(
            "{} of {} rows are of another model than {} and were left empty",
            count(widened.left_empty),
            count(widened.rows),
            args.model.as_str()
        );
    }
    Ok(())
}
