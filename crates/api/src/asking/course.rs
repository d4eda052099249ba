//! How a question goes on: from what happened to what is done next. It knows no clock, store or broker.

use std::time::Duration;

use batch::RequestState;
use queue::Heard;

/// How soon a store that did not say where a request stands is asked again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Messages that are sent for one question, at most.
const MOST_MESSAGES: u32 = 2;

/// Rows that are recorded for one question, at most.
const MOST_ROWS: u32 = 2;

/// What has been done for a question so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Course {
    rows: u32,
    /// Sent, and perhaps sent.
    messages: u32,
    /// Whether nobody may know of the last message, or nobody here of its reply.
    is_in_doubt: bool,
    /// Whether half of the wait was waited.
    is_past_half: bool,
    has_valued: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The store says where the request stands.
    Stands(Stand),
    /// The store did not say.
    Unknown,
    /// Its message was taken.
    Sent,
    /// Its message was not taken.
    Refused(Refusal),
    /// There was a reply, or none can come, or there was none in time.
    Heard(Heard),
    /// This process valued it, or could not.
    Worked(Worked),
}

/// Where a request stands, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    Open,
    Answered,
    Failed,
    /// Expired or abandoned.
    Over,
    /// There is no such request, or it is somebody else's.
    NotThere,
    /// Its key was used for something else.
    KeyReused,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// As many wait as may.
    Full,
    /// Nobody knows whether it was.
    Unconfirmed,
    /// The broker is away, or refuses everybody.
    NoWay {
        /// Whether it is about one customer, whom this process may value itself.
        is_single: bool,
    },
}

/// What came of valuing it here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worked {
    /// The store knows more now.
    Settled,
    /// Somebody else is at work on it, or this process has its hands full, or must not.
    Left,
    /// There is no model version.
    NoModel,
}

/// What is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Record the question.
    Record,
    /// Send a message for it.
    Send,
    /// Value it here.
    Value,
    /// Wait for a reply, this long at the most.
    Wait(Duration),
    /// Ask the store where it stands.
    Look,
    /// Say how it ended.
    End(End),
}

/// How a question ends, for whoever waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Answered,
    Failed,
    Over,
    /// His time is up, and the request is still good.
    Pending,
    /// Too many wait.
    Full,
    KeyReused,
    /// There is nothing to value with.
    NoModel,
    /// There is no such request.
    NotThere,
    /// The store cannot be asked.
    Away,
}

impl End {
    /// The label of it in metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Over => "over",
            Self::Pending => "pending",
            Self::Full => "full",
            Self::KeyReused => "key_reused",
            Self::NoModel => "no_model",
            Self::NotThere => "not_there",
            Self::Away => "store_away",
        }
    }
}

impl Course {
    /// That of a request for which a message was sent before.
    pub(super) fn of_one_that_was_sent() -> Self {
        Self { messages: 1, ..Self::default() }
    }

    /// What to do after an event, with so much of the wait left.
    pub(super) fn after(&mut self, event: Event, left: Duration) -> Step {
        match event {
            Event::Stands(stand) => self.stands(stand, left),
            Event::Unknown if left.is_zero() => Step::End(End::Away),
            Event::Unknown => Step::Wait(left.min(LOOK_AGAIN)),
            Event::Sent => {
                self.messages += 1;
                self.is_in_doubt = false;
                self.wait(left)
            }
            Event::Refused(refusal) => self.refused(refusal, left),
            Event::Heard(heard) => {
                // A reply that the store knows nothing of is that to somebody else's message: this one was not heard.
                self.is_in_doubt |= heard != Heard::Silent;
                Step::Look
            }
            Event::Worked(Worked::Settled) => Step::Look,
            Event::Worked(Worked::Left) => self.wait(left),
            Event::Worked(Worked::NoModel) => Step::End(End::NoModel),
        }
    }

    /// What to do first: record the question, or look at one that is recorded.
    pub(super) fn record(&mut self) -> Step {
        self.rows += 1;
        Step::Record
    }

    fn stands(&mut self, stand: Stand, left: Duration) -> Step {
        match stand {
            Stand::Open if self.messages == 0 => Step::Send,
            Stand::Open if left.is_zero() => Step::End(End::Pending),
            Stand::Open if self.is_in_doubt && self.messages < MOST_MESSAGES => Step::Send,
            Stand::Open => self.wait(left),
            Stand::Answered => Step::End(End::Answered),
            Stand::Failed => Step::End(End::Failed),
            Stand::Over => Step::End(End::Over),
            Stand::KeyReused => Step::End(End::KeyReused),
            Stand::NotThere if (1..MOST_ROWS).contains(&self.rows) => {
                *self = Self { rows: self.rows, is_past_half: self.is_past_half, ..Self::default() };
                self.record()
            }
            Stand::NotThere => Step::End(End::NotThere),
        }
    }

    fn refused(&mut self, refusal: Refusal, left: Duration) -> Step {
        match refusal {
            Refusal::Full if self.messages == 0 => Step::End(End::Full),
            // The first message may be there.
            Refusal::Full => {
                self.messages = MOST_MESSAGES;
                self.wait(left)
            }
            Refusal::Unconfirmed => {
                self.messages += 1;
                self.is_in_doubt = true;
                if left.is_zero() { Step::End(End::Pending) } else { Step::Look }
            }
            Refusal::NoWay { is_single: true } if !self.has_valued => {
                self.has_valued = true;
                Step::Value
            }
            Refusal::NoWay { .. } => self.wait(left),
        }
    }

    /// Waits for half of what is left, and then for the rest: a look follows each.
    fn wait(&mut self, left: Duration) -> Step {
        if left.is_zero() {
            return Step::End(End::Pending);
        }
        let is_past_half = std::mem::replace(&mut self.is_past_half, true);
        Step::Wait(if is_past_half { left } else { left / 2 })
    }
}

impl From<RequestState> for Stand {
    fn from(state: RequestState) -> Self {
        match state {
            RequestState::Waiting | RequestState::Leased => Self::Open,
            RequestState::Answered => Self::Answered,
            RequestState::Failed => Self::Failed,
            RequestState::Expired | RequestState::Abandoned => Self::Over,
        }
    }
}

impl Refusal {
    pub(super) fn new(error: &queue::Error, is_single: bool) -> Self {
        match error {
            queue::Error::Full { .. } => Self::Full,
            queue::Error::Unconfirmed { .. } => Self::Unconfirmed,
            queue::Error::Unavailable { .. }
            | queue::Error::Blocked { .. }
            | queue::Error::Unroutable { .. }
            | queue::Error::Refused { .. }
            | queue::Error::Configuration(_) => Self::NoWay { is_single },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(2);
    const HALF: Duration = Duration::from_secs(1);
    const OPEN: Event = Event::Stands(Stand::Open);
    const ONE: Refusal = Refusal::NoWay { is_single: true };
    const MANY: Refusal = Refusal::NoWay { is_single: false };

    /// Follows a question's course: each event with what is left of the wait, and what is to be done then.
    fn check(story: &[(Event, Duration, Step)]) {
        let mut course = Course::default();
        assert_eq!(course.record(), Step::Record);
        for (number, (event, left, step)) in story.iter().enumerate() {
            assert_eq!(course.after(*event, *left), *step, "event {number} of {story:?}");
        }
    }

    #[test]
    fn a_reply_is_followed_by_a_look_and_silence_by_one_at_half_and_one_at_the_end() {
        check(&[
            (OPEN, WAIT, Step::Send),
            (Event::Sent, WAIT, Step::Wait(HALF)),
            (Event::Heard(Heard::Done), HALF, Step::Look),
            (Event::Stands(Stand::Answered), HALF, Step::End(End::Answered)),
        ]);
        check(&[
            (OPEN, WAIT, Step::Send),
            (Event::Sent, WAIT, Step::Wait(HALF)),
            (Event::Heard(Heard::Silent), HALF, Step::Look),
            (OPEN, HALF, Step::Wait(HALF)),
            (Event::Heard(Heard::Silent), Duration::ZERO, Step::Look),
            (OPEN, Duration::ZERO, Step::End(End::Pending)),
        ]);
    }

    #[test]
    fn who_does_not_wait_has_a_message_sent_and_is_told_that_it_is_pending() {
        check(&[(OPEN, Duration::ZERO, Step::Send), (Event::Sent, Duration::ZERO, Step::End(End::Pending))]);
    }

    #[test]
    fn who_follows_a_request_has_it_sent_unless_it_was() {
        let mut course = Course::default();
        assert_eq!(course.after(OPEN, Duration::ZERO), Step::Send);
        let mut course = Course::of_one_that_was_sent();
        assert_eq!(course.after(OPEN, Duration::ZERO), Step::End(End::Pending));
    }

    #[test]
    fn what_is_lost_is_looked_for_and_sent_once_more_and_never_a_third_time() {
        for doubt in [Event::Heard(Heard::Lost), Event::Heard(Heard::Done)] {
            check(&[
                (OPEN, WAIT, Step::Send),
                (Event::Sent, WAIT, Step::Wait(HALF)),
                (doubt, WAIT, Step::Look),
                (OPEN, WAIT, Step::Send),
                (Event::Sent, HALF, Step::Wait(HALF)),
                (doubt, HALF, Step::Look),
                (OPEN, HALF, Step::Wait(HALF)),
            ]);
        }
    }

    #[test]
    fn what_is_unconfirmed_is_looked_for() {
        check(&[
            (OPEN, WAIT, Step::Send),
            (Event::Refused(Refusal::Unconfirmed), HALF, Step::Look),
            (Event::Stands(Stand::Answered), HALF, Step::End(End::Answered)),
        ]);
        check(&[
            (OPEN, WAIT, Step::Send),
            (Event::Refused(Refusal::Unconfirmed), HALF, Step::Look),
            (OPEN, HALF, Step::Send),
            (Event::Refused(Refusal::Full), HALF, Step::Wait(HALF / 2)),
        ]);
    }

    #[test]
    fn a_full_queue_sheds() {
        check(&[(OPEN, WAIT, Step::Send), (Event::Refused(Refusal::Full), WAIT, Step::End(End::Full))]);
    }

    #[test]
    fn without_a_way_one_customer_is_valued_here_and_many_are_sent_again() {
        check(&[
            (OPEN, WAIT, Step::Send),
            (Event::Refused(ONE), WAIT, Step::Value),
            (Event::Worked(Worked::Settled), HALF, Step::Look),
            (Event::Stands(Stand::Answered), HALF, Step::End(End::Answered)),
        ]);
        check(&[
            (OPEN, WAIT, Step::Send),
            (Event::Refused(MANY), WAIT, Step::Wait(HALF)),
            (Event::Heard(Heard::Silent), HALF, Step::Look),
            (OPEN, HALF, Step::Send),
            (Event::Refused(MANY), HALF, Step::Wait(HALF)),
            (Event::Heard(Heard::Silent), Duration::ZERO, Step::Look),
            (OPEN, Duration::ZERO, Step::Send),
            (Event::Refused(MANY), Duration::ZERO, Step::End(End::Pending)),
        ]);
    }

    #[test]
    fn what_somebody_else_is_at_work_on_is_waited_for() {
        check(&[
            (OPEN, WAIT, Step::Send),
            (Event::Refused(ONE), WAIT, Step::Value),
            (Event::Worked(Worked::Left), WAIT, Step::Wait(HALF)),
            (Event::Heard(Heard::Silent), HALF, Step::Look),
            (OPEN, HALF, Step::Send),
            (Event::Refused(ONE), HALF, Step::Wait(HALF)),
        ]);
    }

    #[test]
    fn a_question_that_the_store_forgot_is_recorded_once_more() {
        check(&[
            (OPEN, WAIT, Step::Send),
            (Event::Sent, WAIT, Step::Wait(HALF)),
            (Event::Heard(Heard::Done), WAIT, Step::Look),
            (Event::Stands(Stand::NotThere), WAIT, Step::Record),
            (OPEN, WAIT, Step::Send),
            (Event::Sent, WAIT, Step::Wait(WAIT)),
            (Event::Heard(Heard::Done), WAIT, Step::Look),
            (Event::Stands(Stand::NotThere), WAIT, Step::End(End::NotThere)),
        ]);
        // One that was only looked for is not recorded anew.
        let mut course = Course::default();
        assert_eq!(course.after(Event::Stands(Stand::NotThere), WAIT), Step::End(End::NotThere));
    }

    #[test]
    fn a_store_that_is_away_is_asked_again_until_the_time_is_up() {
        check(&[
            (OPEN, WAIT, Step::Send),
            (Event::Sent, WAIT, Step::Wait(HALF)),
            (Event::Heard(Heard::Done), HALF, Step::Look),
            (Event::Unknown, HALF, Step::Wait(LOOK_AGAIN)),
            (Event::Heard(Heard::Silent), HALF, Step::Look),
            (Event::Unknown, LOOK_AGAIN / 2, Step::Wait(LOOK_AGAIN / 2)),
            (Event::Heard(Heard::Silent), Duration::ZERO, Step::Look),
            (Event::Unknown, Duration::ZERO, Step::End(End::Away)),
        ]);
    }
}
