//! Works out what moved since the run before, and why, once readers see a run.
//!
//! A role that may run in any number of processes; the coordinators' have it beside their passes. It takes a comparison of
//! two runs from the store, and goes over the customers of both piece by piece: whoever is in one of them alone is a
//! movement by himself, and whoever has a value in both is revalued step by step. Look first at [`Mover`], then at
//! `revaluation`.
//!
//! It is nobody's hurry: no piece is begun while a run is open, and between two pieces it rests as long as the last one
//! took, so that what people ask by day finds a free processor.
//!
//! # Failure by failure
//!
//! * **It is killed.** What was added of a comparison stays, with how far it has come. Whoever takes it next, once the
//!   lease has expired, goes on from there.
//! * **It is asked to stop.** The same, without the wait: the comparison is put back.
//! * **A run is opened meanwhile.** The piece at hand is added, and the comparison put back until no run is open.
//! * **The store, or the server that histories are read from, is away, or something is missing there.** The comparison is put
//!   back and tried again after a pause. The reason is told once.
//! * **The source has changed since the runs read it.** What that did to the older run's inputs is a cause of its own,
//!   `corrected`. Where the newer run's are not there any more either, the rest of that customer's difference is
//!   `corrected` as a whole: what time and events did to him cannot be told from it.
//! * **Two runs cannot be compared:** there is none before, its segments are not on record, its money is another, its values
//!   are gone or say less, or the sums do not add up. The comparison is over, with the reason on record.
//! * **The mathematics panic.** The same.

mod comparison;
mod metrics;
mod revaluation;

use std::time::Duration;

use resilience::trouble::{Kind, Trouble};
use store::{Archive, Comparisons, Values};
use tokio::time::sleep;

use comparison::End;
pub use metrics::describe as describe_metrics;

/// How it works.
#[derive(Clone, Debug)]
pub struct MoverConfig {
    /// Its name in the store and the logs; unique for each process that ever lived.
    pub name: String,
    /// How long a comparison is believed to be at work without a piece.
    pub lease: Duration,
    /// The pause between two looks for one.
    pub pause: Duration,
    /// What keeps it from its work.
    pub trouble: Trouble,
}

impl MoverConfig {
    /// With the name of its process.
    pub fn named(name: String) -> Self {
        Self {
            name,
            lease: Duration::from_mins(1),
            pause: Duration::from_secs(5),
            trouble: Trouble::new("work out what moved"),
        }
    }
}

/// Works out what moved, with the store that it is in.
pub struct Mover<S> {
    /// Where runs are, and where it is recorded.
    pub store: S,
    /// How it works.
    pub config: MoverConfig,
}

impl<S: Comparisons + Archive + Values> Mover<S> {
    /// Works out one comparison after the other, until `shutdown` resolves.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        tokio::pin!(shutdown);
        loop {
            let turn = async {
                let is_next_at_once = self.turn().await;
                if !is_next_at_once {
                    sleep(self.config.pause).await;
                }
            };
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                () = turn => {}
            }
        }
        // What was under way is dropped, and its statement cancelled: nothing of a piece is added, or all.
        let _ = self.store.put_comparisons_back(&self.config.name).await;
    }

    /// Works on a comparison, if there is one; whether the next may be taken at once.
    async fn turn(&self) -> bool {
        let taken = self.store.take_comparison(&self.config.name, self.config.lease).await;
        let comparison = match taken {
            Ok(Some(comparison)) => comparison,
            Ok(None) => {
                self.config.trouble.over();
                return false;
            }
            Err(error) => {
                self.config.trouble.met(&error, kind_of(&error));
                return false;
            }
        };
        let run = comparison.run;
        let end = match self.compare(&comparison).await {
            Ok(end) => end,
            Err(error) => {
                self.config.trouble.met(format_args!("run {run}: {error}"), kind_of(&error));
                let _ = self.store.put_comparisons_back(&self.config.name).await;
                return false;
            }
        };
        self.config.trouble.over();
        metrics::ended(&end);
        match end {
            End::Complete { customers } => {
                tracing::info!(run.id = %run, customers, "what moved since the run before is known");
            }
            End::Impossible(reason) => {
                tracing::info!(run.id = %run, reason, "it cannot be told what moved since the run before");
            }
            End::Later => {
                let _ = self.store.put_comparisons_back(&self.config.name).await;
                return false;
            }
            End::Lost => {}
        }
        true
    }
}

/// Whether what is in the way of a call to the store passes by itself.
fn kind_of(error: &store::Error) -> Kind {
    if error.is_transient() { Kind::Passing } else { Kind::Lasting }
}
