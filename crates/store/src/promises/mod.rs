//! What every backend of the store promises, as a suite that each of them passes.
//!
//! What is not tested here is not promised. A test is a function over a [`Ground`]: a fresh store over the customers
//! of [`base`], and a way to let time pass. [`promise_tests!`](crate::promise_tests) makes a test of each.

mod answers;
mod archive;
mod attempts;
mod base;
mod exports;
mod guard;
mod keys;
mod models;
mod planning;
mod publishing;
mod requests;
mod steps;
mod supervision;
mod values;

use std::future::Future;
use std::time::Duration;

use batch::CustomerId;
use jiff::Timestamp;

use crate::{
    Archive, Attempts, Exports, Keys, ModelVersions, Planning, Publishing, Requests, Supervision, Values,
};

pub use answers::*;
pub use archive::*;
pub use attempts::*;
pub use base::{BaseCustomer, accounts, as_of, base, observation};
pub use exports::*;
pub use guard::*;
pub use keys::*;
pub use models::*;
pub use planning::*;
pub use publishing::*;
pub use requests::*;
pub use steps::{chunk, dead, done, models, part, published, results, with_a_customer_twice};
pub use supervision::*;
pub use values::*;

/// A backend on trial.
pub trait Ground {
    /// The backend.
    type Store: Planning
        + Publishing
        + Attempts
        + Values
        + Supervision
        + Archive
        + ModelVersions
        + Requests
        + Keys
        + Exports;

    /// The store: fresh, over the customers of [`base`].
    fn store(&self) -> &Self::Store;

    /// Lets time pass, for leases, retries and leaderships: by a clock, or by moving what is stored back.
    fn pass(&self, time: Duration) -> impl Future<Output = ()>;

    /// Sets the store's clock back, or moves what is stored forward.
    fn set_back(&self, time: Duration) -> impl Future<Output = ()>;

    /// Enters what a customer did, or is going to do.
    fn happens(&self, happening: Happening) -> impl Future<Output = ()>;
}

/// What a customer does at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Happening {
    /// He.
    pub customer: CustomerId,
    /// What he does.
    pub deed: Deed,
    /// The moment.
    pub at: Timestamp,
}

/// What a customer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// He buys.
    Purchase,
    /// He begins a subscription.
    Subscription,
    /// He ends one that he began long before.
    End,
}

/// Makes a test of each function of the suite: with this attribute, over the [`Ground`] that the future gives.
#[macro_export]
macro_rules! promise_tests {
    ($test:meta, $fresh:expr) => {
        $crate::promise_tests! { @each $test, $fresh,
            a_selection_is_whoever_was_there_in_ascending_order
            a_night_is_planned_once
            what_was_confirmed_is_published_and_what_has_moved_on_is_left_alone
            a_run_keeps_its_trace
            a_run_pins_what_is_named_else_what_is_promoted_else_the_latest
            each_roll_back_goes_further_back
            model_versions_are_listed_and_the_runs_that_pin_each
            a_run_over_a_model_version_that_is_not_there_is_refused
            a_begin_counts_the_attempt_and_tells_all_that_it_needs
            what_is_leased_settled_not_due_or_of_no_run_is_not_begun
            a_repeated_begin_excuses_the_one_that_nobody_heard_of
            a_repeated_begin_excuses_its_workers_loss_where_nothing_is_begun
            a_repeated_begin_takes_nothing_from_another_worker
            only_the_latest_attempt_of_an_open_run_renews_its_lease
            an_attempt_that_comes_back_is_told_where_it_stands_and_its_loss_is_excused
            a_chunk_is_tried_again_later_until_its_failures_are_used_up
            an_attempt_that_was_superseded_cannot_fail
            giving_back_costs_nothing
            every_planned_customer_is_answered_in_order_and_nobody_else
            a_late_commit_is_refused_and_leaves_nothing_behind
            a_commit_that_is_not_whole_is_refused_and_leaves_nothing_behind
            what_was_committed_is_read_back_to_the_bit
            a_model_version_is_read_back_as_it_was_stored
            terms_grow_and_one_leads
            a_leadership_that_ends_later_than_one_can_is_not_believed
            a_lease_from_before_the_clock_was_set_back_is_shortened_by_who_leads
            a_rescue_needs_the_term_an_expired_lease_and_the_latest_attempt
            a_snapshot_shows_open_runs_by_sums_and_their_open_chunks
            who_worked_on_a_run_is_told_by_what_each_said_itself
            a_settled_run_is_finished_once_by_who_leads
            a_settled_run_that_makes_no_sense_is_not_finished
            values_become_visible_all_at_once
            customers_of_dead_chunks_become_rejections
            readers_see_the_last_whole_run_and_the_partial_ones_after_it
            a_cancelled_run_is_over_and_its_night_is_free
            a_settled_run_is_judged_beside_the_finished_run_before_it
            a_run_that_is_held_is_seen_by_nobody_until_it_is_released
            a_run_is_held_by_who_leads_once_it_is_settled
            a_run_that_is_rejected_is_over_and_its_night_is_free
            a_run_that_is_released_late_stays_behind_a_newer_one
            a_redrive_of_a_run_that_is_held_has_it_judged_anew
            a_redrive_of_a_run_that_was_released_has_it_judged_anew
            it_is_told_who_is_at_work_on_a_run
            a_redrive_forgives_and_puts_back_to_work
            a_run_is_summed_up_and_each_customer_explained
            customers_are_found_by_name_and_by_number
            the_story_tells_of_chunks_that_did_not_go_through_at_once
            runs_are_listed_a_page_at_a_time
            customers_are_ranked_by_their_value_after_one
            all_values_of_a_finished_run_are_exported
            a_key_is_claimed_by_one_at_a_time
            a_claim_that_lapsed_is_taken_over_and_what_it_would_do_is_refused
            what_did_not_happen_can_be_claimed_anew_at_once
            what_came_of_a_call_is_kept_with_it
            dead_chunks_are_redriven_once_under_a_key
            a_question_is_recorded_once_under_its_key
            a_question_that_was_abandoned_or_has_expired_can_be_asked_again
            a_question_about_nobody_or_in_no_order_is_refused
            the_first_attempt_at_a_request_pins_what_all_of_them_value
            a_request_that_is_over_or_at_work_or_not_due_is_not_begun
            a_repeated_begin_of_a_request_costs_nothing
            a_request_is_taken_over_from_a_lost_worker_but_not_too_often
            a_worker_that_comes_back_to_a_request_is_excused_and_told_where_it_stands
            a_request_is_tried_again_later_until_it_has_failed
            a_request_s_lease_and_pause_from_before_the_clock_was_set_back_are_not_believed
            giving_a_request_back_costs_nothing
            an_answer_is_read_back_to_the_bit
            a_late_answer_is_refused_and_leaves_nothing_behind
            an_answer_that_is_not_whole_is_refused_and_leaves_nothing_behind
            the_newest_of_answers_and_visible_runs_is_known
            what_customers_have_done_since_they_were_valued_makes_that_stale
            old_answers_are_absorbed_where_something_newer_is_known
            requests_are_cleared_away_a_few_at_a_time
        }
    };
    (@each $test:meta, $fresh:expr, $($name:ident)*) => {
        $(
            #[$test]
            async fn $name() {
                let ground = $fresh.await;

                $crate::promises::$name(&ground).await;
            }
        )*
    };
}
