//! `ltv evaluate`

use crate::cli::EvaluateArgs;
use crate::output::count;
use crate::stdout::note;
use files::{NewFile, Rows, widen};
use offline::{ModelName, evaluate};

pub(crate) fn run(args: &EvaluateArgs) -> anyhow::Result<()> {
    let out = NewFile::create(&args.out, &[&args.input])?;
    let table = Rows::open(&args.input)?;
    let model = ModelName::from(args.model);
    let evaluation = evaluate::of(model, table.header())?;
    let widened = widen(table, &*evaluation, out)?;
    if widened.left_empty > 0 {
        note!(
            "{} of {} rows are of another model than {} and were left empty",
            count(widened.left_empty),
            count(widened.rows),
            model.as_str()
        );
    }
    Ok(())
}
