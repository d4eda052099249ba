//! A chunk to be worked on, version 2: `{"v":2,"installation":"9f86d081884c7d65","run":7,"chunk":118,"attempt":0}`.
//!
//! Version 1 had no installation. Nobody knows whose database such a message is about; no release since writes it, nor
//! reads the queues that it was sent to. One that gets here all the same is foreign.

use batch::{Attempt, AttemptId, ChunkId, ChunkRef, InstallationId, RunId};
use serde::{Deserialize, Serialize};

use super::{Malformed, Message, malformed, require};

const VERSION: u64 = 2;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    v: u64,
    installation: String,
    run: i64,
    chunk: i32,
    attempt: i32,
}

/// Is read first: only the version says what the other fields mean.
#[derive(Deserialize)]
struct Version {
    v: u64,
}

impl Message for AttemptId {
    fn encode(&self, from: InstallationId) -> Vec<u8> {
        let wire = Wire {
            v: VERSION,
            installation: from.to_string(),
            run: self.chunk.run.0,
            chunk: self.chunk.chunk.0,
            attempt: self.attempt.0,
        };
        serde_json::to_vec(&wire).expect("numbers and a name can always be written as JSON")
    }

    fn decode(body: &[u8], to: InstallationId) -> Result<Self, Malformed> {
        let (from, message) = read(body)?;
        if from != to {
            return Err(Malformed::foreign(format!("installation {from} sent it, and this is {to}")));
        }
        Ok(message)
    }

    fn name(&self) -> String {
        self.chunk.to_string()
    }
}

/// Reads a message, whoever sent it.
pub(crate) fn read(body: &[u8]) -> Result<(InstallationId, AttemptId), Malformed> {
    let Version { v } = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    match v {
        VERSION => {}
        1 => {
            return Err(Malformed::foreign("an older release sent it, which says of no installation".into()));
        }
        _ => {
            let reason = format!("v: version {v} is not known here, only {VERSION} is");
            return Err(Malformed::senseless(reason));
        }
    }
    let wire: Wire = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    let from = wire
        .installation
        .parse()
        .map_err(|_| Malformed::senseless("installation: 16 hexadecimal digits were expected".into()))?;
    require(wire.run >= 1, "run", wire.run)?;
    require(wire.chunk >= 1, "chunk", wire.chunk.into())?;
    require(wire.attempt >= 0, "attempt", wire.attempt.into())?;

    let chunk = ChunkRef { run: RunId(wire.run), chunk: ChunkId(wire.chunk) };
    Ok((from, AttemptId { chunk, attempt: Attempt(wire.attempt) }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OURS: InstallationId = InstallationId(0x9f86_d081_884c_7d65);
    const MESSAGE: AttemptId =
        AttemptId { chunk: ChunkRef { run: RunId(7), chunk: ChunkId(118) }, attempt: Attempt(2) };

    #[test]
    fn a_message_is_written_as_documented_and_read_back() {
        let body = MESSAGE.encode(OURS);

        assert_eq!(
            std::str::from_utf8(&body),
            Ok(r#"{"v":2,"installation":"9f86d081884c7d65","run":7,"chunk":118,"attempt":2}"#)
        );
        assert_eq!(AttemptId::decode(&body, OURS), Ok(MESSAGE));
    }

    #[test]
    fn the_largest_numbers_survive() {
        let largest = AttemptId {
            chunk: ChunkRef { run: RunId(i64::MAX), chunk: ChunkId(i32::MAX) },
            attempt: Attempt(i32::MAX),
        };

        assert_eq!(AttemptId::decode(&largest.encode(OURS), OURS), Ok(largest));
    }

    #[test]
    fn what_is_not_exactly_a_message_is_malformed_and_the_reason_names_the_place() {
        let check = |body: &str, expected: &str| {
            let reason = AttemptId::decode(body.as_bytes(), OURS).unwrap_err().reason;
            assert!(reason.contains(expected), "{body}: {reason}");
        };

        check("", "line 1 column 0");
        check("garbage", "line 1 column 1");
        check(r#"{"v":2,"\u001b[2J":1}"#, "unknown field `\u{fffd}[2J`");
        check("[1,7,118,2,5]", "line 1 column");
        check("{}", "missing field `v`");
        check(r#"{"run":7,"chunk":118,"attempt":2}"#, "missing field `v`");
        check(r#"{"v":3,"somebody":"else"}"#, "v: version 3 is not known here");
        check(r#"{"v":2,"run":7,"chunk":118,"attempt":2}"#, "missing field `installation`");
        check(
            r#"{"v":2,"installation":"ours","run":7,"chunk":118,"attempt":2}"#,
            "installation: 16 hexadecimal",
        );
        check(r#"{"v":2,"installation":"9f86d081884c7d65","run":7,"attempt":2}"#, "missing field `chunk`");
        check(
            r#"{"v":2,"installation":"9f86d081884c7d65","run":7,"chunk":"118","attempt":2}"#,
            "invalid type: string \"118\", expected i32",
        );
        check(
            r#"{"v":2,"installation":"9f86d081884c7d65","run":7,"chunk":118.5,"attempt":2}"#,
            "line 1 column",
        );
        check(
            r#"{"v":2,"installation":"9f86d081884c7d65","run":7,"run":8,"chunk":118,"attempt":2}"#,
            "duplicate field `run`",
        );
        check(
            r#"{"v":2,"installation":"9f86d081884c7d65","run":7,"chunk":118,"attempt":2,"customer":5}"#,
            "unknown field `customer`",
        );
        check(
            r#"{"v":2,"installation":"9f86d081884c7d65","run":7,"chunk":118,"attempt":2} {}"#,
            "trailing characters",
        );
        check(
            r#"{"v":2,"installation":"9f86d081884c7d65","run":0,"chunk":118,"attempt":2}"#,
            "run: 0 is out of range",
        );
        check(
            r#"{"v":2,"installation":"9f86d081884c7d65","run":7,"chunk":-1,"attempt":2}"#,
            "chunk: -1 is out of range",
        );
        check(
            r#"{"v":2,"installation":"9f86d081884c7d65","run":7,"chunk":118,"attempt":-2}"#,
            "attempt: -2 is out of range",
        );
        check(
            r#"{"v":2,"installation":"9f86d081884c7d65","run":7,"chunk":2147483648,"attempt":2}"#,
            "expected i32",
        );
    }

    #[test]
    fn a_message_of_another_installation_or_of_one_that_did_not_say_is_foreign() {
        let check = |body: &[u8], expected: &str| {
            let refused = AttemptId::decode(body, OURS).unwrap_err();
            assert!(refused.is_foreign && refused.to_string().contains(expected), "{refused}");
        };

        check(&MESSAGE.encode(InstallationId(0xabc)), "installation 0000000000000abc sent it");
        check(br#"{"v":1,"run":7,"chunk":118,"attempt":0}"#, "foreign message: an older release sent it");
    }

    #[test]
    fn bytes_that_are_not_text_are_malformed() {
        assert!(AttemptId::decode(&[0xff, 0x00, 0xfe], OURS).is_err());
        assert!(AttemptId::decode(b"{\"v\":2,\"\xff\":1}", OURS).is_err());
    }

    #[test]
    fn a_reason_stays_short_and_keeps_its_place_whatever_the_message_holds() {
        let body = format!(r#"{{"v":2,"run":"{}"}}"#, "ä".repeat(10_000));

        let reason = AttemptId::decode(body.as_bytes(), OURS).unwrap_err().reason;

        assert!(reason.len() < 500, "{} bytes", reason.len());
        assert!(reason.contains("line 1 column"), "{reason}");
    }

    /// What is read is a message that can be sent, and what is not says why in a few words.
    fn is_read_or_refused(body: &[u8]) -> Result<(), TestCaseError> {
        match AttemptId::decode(body, OURS) {
            Ok(message) => {
                prop_assert!(message.chunk.run.0 >= 1 && message.chunk.chunk.0 >= 1);
                prop_assert!(message.attempt.0 >= 0);
                prop_assert_eq!(AttemptId::decode(&message.encode(OURS), OURS), Ok(message));
            }
            Err(malformed) => prop_assert!(malformed.reason.len() < 1_000, "{}", malformed.reason),
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn every_message_comes_back(run in 1..=i64::MAX, chunk in 1..=i32::MAX, attempt in 0..=i32::MAX) {
            let chunk = ChunkRef { run: RunId(run), chunk: ChunkId(chunk) };
            let message = AttemptId { chunk, attempt: Attempt(attempt) };

            prop_assert_eq!(AttemptId::decode(&message.encode(OURS), OURS), Ok(message));
        }

        #[test]
        fn any_bytes_give_a_message_or_a_reason(body: Vec<u8>) {
            is_read_or_refused(&body)?;
        }

        #[test]
        fn any_text_of_the_characters_that_mean_something_does_too(body in "[{}\\[\\]\":,0-9a-z.eE+\\\\ -]{0,80}") {
            is_read_or_refused(body.as_bytes())?;
        }

        #[test]
        fn a_message_that_was_damaged_does_too(
            at: prop::sample::Index,
            removed in 0..4_usize,
            put in prop::collection::vec(any::<u8>(), 0..4),
        ) {
            let mut body = MESSAGE.encode(OURS);
            let at = at.index(body.len() + 1);
            let end = body.len().min(at + removed);
            body.splice(at..end, put);

            is_read_or_refused(&body)?;
        }

        #[test]
        fn a_message_that_breaks_off_is_malformed(kept: prop::sample::Index) {
            let body = MESSAGE.encode(OURS);

            prop_assert!(AttemptId::decode(&body[..kept.index(body.len())], OURS).is_err());
        }
    }

    #[test]
    fn a_message_without_a_bottom_is_malformed() {
        for (open, field) in [("[", ""), ("{\"v\":", ""), ("[", "{\"v\":2,\"x\":")] {
            let body = format!("{field}{}", open.repeat(100_000));

            assert!(AttemptId::decode(body.as_bytes(), OURS).is_err(), "{field}{open}");
        }
    }
}
