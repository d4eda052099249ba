//! A request to be worked, version 1: `{"v":1,"installation":"9f86d081884c7d65","request":17}`; and the reply to it,
//! version 1: `{"v":1,"request":17}`, which says that it is done.
//!
//! A reply goes to a queue that one process made for itself, so it need not say whose it is.

use batch::{InstallationId, RequestId};
use serde::{Deserialize, Serialize};

use super::{Malformed, Message, malformed, require};

const VERSION: u64 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    v: u64,
    installation: String,
    request: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplyWire {
    v: u64,
    request: i64,
}

/// Is read first: only the version says what the other fields mean.
#[derive(Deserialize)]
struct Version {
    v: u64,
}

impl Message for RequestId {
    fn encode(&self, from: InstallationId) -> Vec<u8> {
        let wire = Wire { v: VERSION, installation: from.to_string(), request: self.0 };
        serde_json::to_vec(&wire).expect("numbers and a name can always be written as JSON")
    }

    fn decode(body: &[u8], to: InstallationId) -> Result<Self, Malformed> {
        require_version(body)?;
        let wire: Wire = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
        let from: InstallationId = wire
            .installation
            .parse()
            .map_err(|_| Malformed::senseless("installation: 16 hexadecimal digits were expected".into()))?;
        require(wire.request >= 1, "request", wire.request)?;
        if from != to {
            return Err(Malformed::foreign(format!("installation {from} sent it, and this is {to}")));
        }
        Ok(Self(wire.request))
    }

    fn name(&self) -> String {
        format!("request {self}")
    }
}

/// Writes the reply to a request.
pub(crate) fn encode_reply(request: RequestId) -> Vec<u8> {
    serde_json::to_vec(&ReplyWire { v: VERSION, request: request.0 })
        .expect("numbers can always be written as JSON")
}

/// Reads a reply: which request is done.
pub(crate) fn decode_reply(body: &[u8]) -> Result<RequestId, Malformed> {
    require_version(body)?;
    let wire: ReplyWire = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    require(wire.request >= 1, "request", wire.request)?;
    Ok(RequestId(wire.request))
}

fn require_version(body: &[u8]) -> Result<(), Malformed> {
    let Version { v } = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    if v == VERSION {
        return Ok(());
    }
    Err(Malformed::senseless(format!("v: version {v} is not known here, only {VERSION} is")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OURS: InstallationId = InstallationId(0x9f86_d081_884c_7d65);

    #[test]
    fn a_request_and_its_reply_are_written_as_documented_and_read_back() {
        for request in [RequestId(17), RequestId(i64::MAX)] {
            let (body, reply) = (request.encode(OURS), encode_reply(request));

            assert_eq!(
                String::from_utf8(body.clone()).unwrap(),
                format!(r#"{{"v":1,"installation":"9f86d081884c7d65","request":{request}}}"#)
            );
            assert_eq!(
                String::from_utf8(reply.clone()).unwrap(),
                format!(r#"{{"v":1,"request":{request}}}"#)
            );
            assert_eq!(RequestId::decode(&body, OURS), Ok(request));
            assert_eq!(decode_reply(&reply), Ok(request));
        }
    }

    #[test]
    fn what_is_not_exactly_a_request_is_malformed_and_the_reason_names_the_place() {
        let check = |body: &str, expected: &str| {
            let reason = RequestId::decode(body.as_bytes(), OURS).unwrap_err().reason;
            assert!(reason.contains(expected), "{body}: {reason}");
        };

        check("garbage", "line 1 column 1");
        check("{}", "missing field `v`");
        check(r#"{"v":2,"installation":"9f86d081884c7d65","request":17}"#, "v: version 2 is not known here");
        check(r#"{"v":1,"request":17}"#, "missing field `installation`");
        check(r#"{"v":1,"installation":"ours","request":17}"#, "installation: 16 hexadecimal");
        check(r#"{"v":1,"installation":"9f86d081884c7d65","request":0}"#, "request: 0 is out of range");
        check(
            r#"{"v":1,"installation":"9f86d081884c7d65","request":17,"customer":5}"#,
            "unknown field `customer`",
        );
        check(r#"{"v":1,"installation":"9f86d081884c7d65","request":17} {}"#, "trailing characters");
    }

    #[test]
    fn a_reply_carries_the_number_and_nothing_else() {
        for body in [
            "",
            "{}",
            r#"{"v":2,"request":17}"#,
            r#"{"v":1,"request":0}"#,
            r#"{"v":1,"request":17,"value":5}"#,
        ] {
            assert!(decode_reply(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_request_of_another_installation_is_foreign() {
        let refused = RequestId::decode(&RequestId(17).encode(InstallationId(0xabc)), OURS).unwrap_err();

        assert!(refused.is_foreign && refused.reason.contains("0000000000000abc"), "{refused}");
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_number_or_a_reason(body: Vec<u8>) {
            for read in [RequestId::decode(&body, OURS), decode_reply(&body)] {
                match read {
                    Ok(request) => prop_assert!(request.0 >= 1),
                    Err(malformed) => prop_assert!(malformed.reason.len() < 1_000),
                }
            }
        }
    }
}
