//! `ltv load`

use std::cell::RefCell;
use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::LoadArgs;
use crate::config;
use crate::load::{LoadInput, Progress, Stage, load};
use crate::output::count;

pub(crate) async fn run(args: &LoadArgs) -> anyhow::Result<()> {
    let store = config::store_now(&args.database, "load").await?;
    let input = LoadInput {
        customers: args.customers.clone(),
        transactions: args.transactions.clone(),
        subscriptions: args.subscriptions.clone(),
        acquisition_costs: args.acquisition_costs.clone(),
        rejects: args.rejects.clone(),
    };
    let mut client = store.connect_alone().await?;
    let display = RefCell::new(Display::default());
    let report = load(&mut client, &input, |progress| display.borrow_mut().show(progress)).await?;
    display.into_inner().finish();
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

/// A bar over the bytes of a file on a terminal, a line for each stage elsewhere.
#[derive(Default)]
struct Display {
    bar: Option<ProgressBar>,
    stage: Option<Stage>,
}

impl Display {
    fn show(&mut self, progress: Progress) {
        let is_new = self.stage != Some(progress.stage);
        self.stage = Some(progress.stage);
        if !std::io::stderr().is_terminal() {
            if is_new {
                eprintln!("  {}", progress.stage);
            }
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("  {msg:28} {bar:40.cyan/dim} {prefix}")
                .expect("the template is a constant");
            ProgressBar::new(1).with_style(style.progress_chars("━╸─"))
        });
        bar.set_length(progress.total_bytes.max(1));
        bar.set_position(progress.bytes);
        bar.set_message(progress.stage.to_string());
        bar.set_prefix(if progress.rows > 0 { count(progress.rows) } else { String::new() });
    }

    fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
