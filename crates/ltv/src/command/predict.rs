//! `ltv predict`

use files::NewFile;
use offline::predict::PredictOrder;

use crate::cli::PredictArgs;
use crate::output::count;
use crate::stdout::note;

pub(crate) fn run(args: &PredictArgs) -> anyhow::Result<()> {
    let order = PredictOrder {
        model: args.model.clone(),
        spend_model: args.spend_model.clone(),
        input: args.input.clone(),
        horizon: args.horizon,
        annual_discount_rate: args.annual_discount_rate,
        periods_per_year: args.periods_per_year,
        as_of: args.as_of,
        currency: args.currency,
    };
    let out = NewFile::create(&args.out, &order.paths())?;
    let prediction = order.prepare(|left_out| {
        note!("{} customers were left out: their histories cannot be summed up", count(left_out));
    })?;
    prediction.write(out)
}
