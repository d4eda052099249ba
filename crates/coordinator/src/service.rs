//! The loop: pass after pass while it leads, until it is asked to stop.
//!
//! # Failure by failure
//!
//! * **A pass fails.** The next one tries again, after a whole interval. The store counts as unwell until then
//!   (`Remembered::well_since`), so that nobody is rescued on the strength of what is not known.
//! * **A pass takes long,** because much is to be published. It says once a second that it is alive, and the leadership
//!   is renewed beside it. Runs are finished beside it, too, and written to the cache; when one is finished, the next pass
//!   comes at once.
//! * **It is asked to stop in the middle of a pass.** The pass is finished first, and then the runs whose end is under
//!   way, and the cache is told, unless that takes long (see `finishing`, `publication`). Then the leadership is given up;
//!   if the store does not hear that, the next coordinator waits for the end of the lease.

use std::collections::HashMap;
use std::time::Duration;

use batch::{Forecast, Outlook, RunId};
use cache::Cache;
use queue::Chunks;
use store::{Figuring, Publishing, Supervision};
use tokio::sync::watch;
use tokio::time::{interval, sleep, timeout};

use crate::finishing::GRACE;
use crate::leadership::keep_leading;
use crate::pass::PassReport;
use crate::remembered::Remembered;
use crate::{Coordinator, kind_of, metrics};

impl<S: Publishing + Supervision + Figuring, Q: Chunks, C: Cache> Coordinator<S, Q, C> {
    /// Leads, or waits to lead, until `shutdown` resolves.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let (led, term) = watch::channel(None);
        let mut remembered = Remembered::new();
        let broker = remembered.broker_away_since();
        let leadership = tokio::spawn(keep_leading(self.store.clone(), self.config.clone(), led, broker));

        tokio::pin!(shutdown);
        loop {
            let leads = *term.borrow();
            let turn = async {
                remembered.leads_under(leads);
                self.hear_of_finished(&mut remembered);
                let troubles = &self.config.troubles;
                let Some(leads) = leads else {
                    troubles.leads_no_more();
                    remembered.finishing.leads_no_more();
                    remembered.publication.leads_no_more();
                    remembered.figuring.leads_no_more();
                    metrics::held_now(0);
                    // One that would not reach it had better not lead.
                    remembered.hear_of_broker(&self.queue.waiting().await);
                    return self.config.pass_interval;
                };
                match self.pass(leads, &mut remembered).await {
                    Ok(report) => {
                        troubles.passes.over();
                        note(&report, &mut remembered.outlooks);
                        report.pause
                    }
                    Err(error) => {
                        troubles.passes.met(&error, kind_of(&error));
                        remembered.store_failed();
                        self.config.pass_interval
                    }
                }
            };
            // A pass that is under way is finished: its actions are not to be torn.
            let pause = self.while_alive(turn).await;
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                () = self.while_alive(sleep(pause)) => {}
                () = remembered.finishing.one_ends() => {}
            }
        }
        // The next coordinator begins them anew.
        remembered.figuring.leads_no_more();
        self.while_alive(remembered.finishing.all_end(GRACE)).await;
        self.hear_of_finished(&mut remembered);
        // The next coordinator would tell it too, some seconds later.
        let _ = timeout(GRACE, self.while_alive(self.tell_the_last(&mut remembered))).await;
        remembered.publication.leads_no_more();

        leadership.abort();
        let leads = *term.borrow();
        if let Some(leads) = leads {
            // The next one need not wait for the end of our lease.
            let _ = self.store.abdicate(&self.config.name, leads).await;
        }
    }

    /// Waits for something and says once a second that we are alive: what a pass has to do may take long.
    async fn while_alive<T>(&self, awaited: impl Future<Output = T>) -> T {
        tokio::pin!(awaited);
        let mut tick = interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                biased;
                _ = tick.tick() => (self.config.alive)(),
                result = &mut awaited => return result,
            }
        }
    }
}

/// Tells a person what changed.
fn note(report: &PassReport, outlooks: &mut HashMap<RunId, Outlook>) {
    if report.published > 0 {
        tracing::info!(chunks = report.published, "published again");
    }
    for &(run, Forecast { finish_at, outlook }) in &report.forecasts {
        let before = outlooks.insert(run, outlook).unwrap_or(Outlook::OnTrack);
        if before == outlook {
            continue;
        }
        let finish_at = finish_at.map(|at| at.to_string());
        if outlook == Outlook::OnTrack {
            tracing::info!(run.id = %run, finish_at, outlook = outlook.as_str(), "the outlook changed");
        } else {
            tracing::warn!(run.id = %run, finish_at, outlook = outlook.as_str(), "the outlook changed");
        }
    }
    outlooks.retain(|run, _| report.forecasts.iter().any(|(open, _)| open == run));
}
