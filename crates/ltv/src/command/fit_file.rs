//! `ltv fit --input`: one model to a file, without a server.

use std::path::Path;

use anyhow::Result;
use files::NewFile;
use offline::ModelName;
use offline::fits::{self, FitOrder};

use crate::cli::FitArgs;
use crate::stdout::{note, put, say};

pub(crate) fn run(args: &FitArgs, model: ModelName, input: &Path, out: &Path) -> Result<()> {
    let out = NewFile::create(out, &[input])?;
    let order = FitOrder {
        model,
        input: input.to_owned(),
        segment_column: args.segment_column.clone(),
        as_of: args.as_of,
        currency: args.currency,
    };
    let fitted = fits::fit(&order, &|remark| note!("{remark}"))?;
    fitted.write(out)?;
    if args.json {
        say!("{}", documents::line(&fitted.document()))?;
    } else {
        put(fitted.told())?;
    }
    Ok(())
}
