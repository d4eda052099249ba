use amq_protocol::frame::{AMQPFrame, gen_frame, parse_frame};
use amq_protocol::protocol::{AMQPClass, basic};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldArray, FieldTable, LongString, ShortString};
use proptest::prelude::*;

use super::*;

const CHANNEL: u16 = 7;

#[test]
fn a_clean_stream_passes_byte_for_byte_wherever_it_is_cut() {
    let stream =
        [heartbeat(), deliver(b"normal"), header(3, &with_headers(&text("k", "v"))), body(b"abc")].concat();

    for at in 0..=stream.len() {
        let mut sieve = Sieve::new(USUAL_FRAME_MAX);
        sieve.put(&stream[..at]);
        sieve.put(&stream[at..]);
        assert_eq!(all_of(&mut sieve), stream, "cut at {at}");
    }
    assert_eq!(one_by_one(&stream), stream);
}

#[test]
fn a_heartbeat_passes_at_once_also_in_the_middle_of_a_message() {
    let mut sieve = Sieve::new(USUAL_FRAME_MAX);

    sieve.put(&[deliver(b"normal"), large_header(100_000)[..50_000].to_vec()].concat());
    assert_eq!(all_of(&mut sieve), deliver(b"normal"));
    sieve.put(&[large_header(100_000)[50_000..].to_vec(), heartbeat(), body(b"abc")].concat());

    let read = frames(&all_of(&mut sieve));
    assert!(
        matches!(read[..], [AMQPFrame::Header(..), AMQPFrame::Heartbeat, AMQPFrame::Body(..)]),
        "{read:?}"
    );
}

#[test]
fn what_lapin_cannot_read_comes_with_the_reason_instead_of_its_properties_wherever_it_is_cut() {
    let check = |properties: &[u8], expected: &str| {
        let stream = [deliver(b"normal"), header(3, properties), body(b"abc"), heartbeat()].concat();
        let passed = sieved(&stream);
        assert_eq!(one_by_one(&stream), passed);
        let [
            AMQPFrame::Method(..),
            AMQPFrame::Header(CHANNEL, header),
            AMQPFrame::Body(..),
            AMQPFrame::Heartbeat,
        ] = &frames(&passed)[..]
        else {
            panic!("{passed:?}");
        };
        assert_eq!(header.body_size, 3);
        let reason = reason(&header.properties);
        assert!(reason.contains(expected), "{reason:?}, not {expected:?}");
    };

    check(&[0x80, 0, 2, 0xFF, 0xFE], "not well-formed AMQP");
    check(&with_headers(b"\x01kQ"), "not well-formed AMQP");
    check(&with_headers(b"\x01kS\0\0\0\x09short"), "not well-formed AMQP");
    check(&with_headers(b"\x01\xFFV"), "not well-formed AMQP");
    check(&[0x20, 0, 0, 0, 1, 0], "not well-formed AMQP");
    check(&[0, 0, 1], "not well-formed AMQP");
    check(&[0x80], "not well-formed AMQP");
    check(&nested(b'F', 9), "nested more than 8 deep");
    check(&nested(b'A', 9), "nested more than 8 deep");
    check(&nested(b'F', 2_000), "nested more than 8 deep");
    check(&nested(b'F', 15_000), "too large: 90006 bytes");
}

#[test]
fn headers_as_deep_and_as_large_as_ours_may_be_pass() {
    let largest = with_headers(&text("k", &"v".repeat(LARGEST_PROPERTIES - 13)));
    assert_eq!(largest.len(), LARGEST_PROPERTIES);

    for properties in [nested(b'F', 8), nested(b'A', 8), largest, vec![0, 0]] {
        let stream = [deliver(b"normal"), header(0, &properties)].concat();
        assert!(sieved(&stream) == stream, "{} bytes", properties.len());
    }
}

#[test]
fn a_header_larger_than_the_frames_that_were_agreed_on_is_replaced_and_what_follows_is_read() {
    let check = |asked: u32, offered: u32, properties: usize, is_replaced: bool| {
        let stream = [tune(offered), deliver(b"normal"), large_header(properties), body(b"abc")].concat();
        let mut sieve = Sieve::new(asked);
        sieve.put(&stream);
        let passed = all_of(&mut sieve);
        let [_, _, AMQPFrame::Header(_, header), AMQPFrame::Body(..)] = &frames(&passed)[..] else {
            panic!()
        };
        let replaced = reason(&header.properties).contains("too large");
        assert_eq!(replaced, is_replaced, "{asked} {offered} {properties}");
    };

    check(USUAL_FRAME_MAX, 131_072, 30_000, false);
    check(USUAL_FRAME_MAX, 0, 30_000, false);
    check(USUAL_FRAME_MAX, 8_192, 8_172, false);
    check(USUAL_FRAME_MAX, 8_192, 8_173, true);
    check(8_192, 131_072, 8_173, true);
    check(USUAL_FRAME_MAX, 131_072, 140_000, true);
    check(USUAL_FRAME_MAX, 131_072, 3_000_000, true);
}

#[test]
fn another_frame_larger_than_was_agreed_on_opens_the_sieve() {
    let large = body(&[b' '; 8_185]);

    let mut sieve = Sieve::new(USUAL_FRAME_MAX);
    sieve.put(&[tune(8_192), large.clone(), b"anything".to_vec()].concat());

    assert!(sieve.is_open);
    assert_eq!(all_of(&mut sieve), [tune(8_192), large, b"anything".to_vec()].concat());
}

#[test]
fn what_is_no_amqp_passes_as_it_is() {
    let unfinished = [&large_header(100_000)[..100_019], b"no end of a frame".as_slice()].concat();
    for stream in
        [b"AMQP\0\0\x09\x01".to_vec(), b"HTTP/1.1 400".to_vec(), [heartbeat(), b"\x15\x03".to_vec()].concat()]
    {
        assert_eq!(sieved(&stream), stream);
    }
    let mut sieve = Sieve::new(USUAL_FRAME_MAX);
    sieve.put(&unfinished);
    assert!(sieve.is_open);
}

#[test]
fn a_large_body_is_left_out_and_the_next_message_is_whole() {
    let size = LARGEST_BODY + 1;
    let part = body(&vec![b' '; 32 * 1024]);
    let large = [deliver(b"normal"), header(size, &[0, 0]), part.clone(), part, body(b" ")].concat();
    let sound = [deliver(b"normal"), header(3, &[0, 0]), body(b"abc")].concat();

    let passed = sieved(&[large, sound.clone()].concat());

    let [_, AMQPFrame::Header(_, header), ..] = &frames(&passed)[..] else { panic!() };
    assert_eq!(
        (header.body_size, reason(&header.properties)),
        (0, format!("its body of {size} bytes was left out"))
    );
    assert!(passed.ends_with(&sound));
    assert_eq!(frames(&passed).len(), 5);
}

#[test]
fn a_name_that_is_no_text_is_left_out_and_its_message_is_suspect() {
    let read = frames(&sieved(&[deliver(b"\xFF\xFE"), header(3, &[0, 0]), body(b"abc")].concat()));

    let [
        AMQPFrame::Method(_, AMQPClass::Basic(basic::AMQPMethod::Deliver(deliver))),
        AMQPFrame::Header(_, header),
        _,
    ] = &read[..]
    else {
        panic!("{read:?}");
    };
    assert_eq!((deliver.routing_key.as_str(), deliver.delivery_tag), ("", 42));
    assert_eq!(reason(&header.properties), "its routing key is not text");
}

#[test]
fn the_reason_of_an_end_that_was_cut_in_the_middle_of_a_letter_is_left_out() {
    for (class, method) in [(10, 50), (20, 40)] {
        let mut close = vec![0, class, 0, method, 1, 64];
        close.extend_from_slice(b"\x03no\xC3\0\0\0\0");
        let stream = [frame(METHOD, &close), deliver(b"normal"), header(0, &[0, 0])].concat();

        let passed = sieved(&stream);

        let [AMQPFrame::Method(..), _, AMQPFrame::Header(_, header)] = &frames(&passed)[..] else { panic!() };
        assert_eq!(reason(&header.properties), "");
    }
}

proptest! {
    #[test]
    fn lapin_reads_all_that_passes_whatever_the_properties_are(
        messages in prop::collection::vec((any_properties(), prop::collection::vec(any::<u8>(), 0..20)), 1..5),
        key in prop::collection::vec(any::<u8>(), 0..9),
        cut in 1_usize..200,
    ) {
        let mut stream = Vec::new();
        for (properties, bytes) in &messages {
            stream.extend(deliver(&key));
            stream.extend(header(bytes.len() as u64, properties));
            stream.extend(body(bytes));
        }

        let mut sieve = Sieve::new(USUAL_FRAME_MAX);
        stream.chunks(cut).for_each(|bytes| sieve.put(bytes));

        let read = frames(&all_of(&mut sieve));
        prop_assert_eq!(read.len(), 3 * messages.len());
        for (read, (_, bytes)) in read.chunks(3).zip(&messages) {
            let [AMQPFrame::Method(..), AMQPFrame::Header(_, header), AMQPFrame::Body(_, body)] = read else {
                return Err(TestCaseError::fail(format!("{read:?}")));
            };
            prop_assert_eq!(header.body_size, bytes.len() as u64);
            prop_assert_eq!(body, bytes);
        }
    }

    #[test]
    fn what_lapin_writes_passes_byte_for_byte(properties in sound_properties(), cut in 1_usize..100) {
        let header = protocol_header(&properties);
        let stream = [deliver(b"normal"), header, body(b"abc")].concat();

        let mut sieve = Sieve::new(USUAL_FRAME_MAX);
        stream.chunks(cut).for_each(|bytes| sieve.put(bytes));

        prop_assert_eq!(all_of(&mut sieve), stream);
    }
}

fn all_of(sieve: &mut Sieve) -> Vec<u8> {
    let mut all = Vec::new();
    let mut part = [0; 1000];
    loop {
        match sieve.give(&mut part) {
            0 => return all,
            count => all.extend_from_slice(&part[..count]),
        }
    }
}

fn sieved(stream: &[u8]) -> Vec<u8> {
    let mut sieve = Sieve::new(USUAL_FRAME_MAX);
    sieve.put(stream);
    all_of(&mut sieve)
}

fn one_by_one(stream: &[u8]) -> Vec<u8> {
    let mut sieve = Sieve::new(USUAL_FRAME_MAX);
    stream
        .iter()
        .flat_map(|byte| {
            sieve.put(&[*byte]);
            all_of(&mut sieve)
        })
        .collect()
}

/// What lapin reads.
fn frames(mut bytes: &[u8]) -> Vec<AMQPFrame> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (rest, frame) = parse_frame(bytes).expect("lapin can read it");
        frames.push(frame);
        bytes = rest;
    }
    frames
}

fn reason(properties: &BasicProperties) -> String {
    let text = properties.headers().as_ref().and_then(|headers| headers.inner().get(UNREADABLE));
    text.and_then(AMQPValue::as_long_string).map(ToString::to_string).unwrap_or_default()
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend_from_slice(&CHANNEL.to_be_bytes());
    frame.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    frame.extend_from_slice(payload);
    frame.push(FRAME_END);
    frame
}

fn heartbeat() -> Vec<u8> {
    vec![HEARTBEAT, 0, 0, 0, 0, 0, 0, FRAME_END]
}

fn tune(frame_max: u32) -> Vec<u8> {
    frame(METHOD, &[&TUNE[..], &[0, 0], &frame_max.to_be_bytes(), &[0, 10]].concat())
}

fn deliver(routing_key: &[u8]) -> Vec<u8> {
    let key = [&[routing_key.len() as u8], routing_key].concat();
    let tag = [0, 0, 0, 0, 0, 0, 0, 42, 0];
    frame(METHOD, &[&[0, 60, 0, 60, 2, b'c', b't'], &tag[..], b"\x02ex", &key].concat())
}

fn header(body: u64, properties: &[u8]) -> Vec<u8> {
    frame(HEADER, &[&[0, 60, 0, 0], &body.to_be_bytes()[..], properties].concat())
}

/// A header with properties of this size, for a body of three bytes.
fn large_header(properties: usize) -> Vec<u8> {
    header(3, &with_headers(&text("k", &"v".repeat(properties - 13))))
}

fn body(bytes: &[u8]) -> Vec<u8> {
    frame(BODY, bytes)
}

fn with_headers(table: &[u8]) -> Vec<u8> {
    [&[0x20, 0], &(table.len() as u32).to_be_bytes()[..], table].concat()
}

fn text(key: &str, value: &str) -> Vec<u8> {
    [&[key.len() as u8], key.as_bytes(), b"S", &(value.len() as u32).to_be_bytes(), value.as_bytes()].concat()
}

/// Headers with tables, or arrays, in each other, `depth` of them.
fn nested(kind: u8, depth: usize) -> Vec<u8> {
    let mut inner = Vec::new();
    for left in 0..depth {
        let mut outer = if kind == b'F' || left + 1 == depth { vec![0] } else { Vec::new() };
        outer.push(kind);
        outer.extend_from_slice(&(inner.len() as u32).to_be_bytes());
        outer.append(&mut inner);
        inner = outer;
    }
    with_headers(&inner)
}

/// Properties in AMQP's form or near it.
fn any_properties() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop::collection::vec(any::<u8>(), 0..60);
    let table = || any_table().prop_map(|table| with_headers(&table));
    prop_oneof![
        bytes.clone(),
        (any::<u16>(), bytes).prop_map(|(flags, bytes)| [&flags.to_be_bytes()[..], &bytes].concat()),
        table(),
        (table(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut properties, at, byte)| {
            *at.get_mut(&mut properties) = byte;
            properties
        }),
        (prop::sample::select(b"FA".to_vec()), 0_usize..3_000).prop_map(|(kind, depth)| nested(kind, depth)),
    ]
}

fn any_table() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop::collection::vec(any::<u8>(), 0..12);
    let leaf = (any::<u8>(), bytes).prop_map(|(kind, bytes)| [&[kind], &bytes[..]].concat());
    let value = leaf.prop_recursive(12, 40, 3, |inner| {
        (any::<bool>(), prop::collection::vec(inner, 0..3)).prop_map(|(is_table, values)| {
            let inner: Vec<u8> = if is_table {
                values.into_iter().flat_map(|v| [vec![1, b'k'], v].concat()).collect()
            } else {
                values.concat()
            };
            [&[if is_table { b'F' } else { b'A' }], &(inner.len() as u32).to_be_bytes()[..], &inner].concat()
        })
    });
    prop::collection::vec(value, 0..3)
        .prop_map(|values| values.into_iter().flat_map(|v| [vec![1, b'k'], v].concat()).collect())
}

fn sound_properties() -> impl Strategy<Value = BasicProperties> {
    let value = prop_oneof![
        ".{0,40}".prop_map(|text| AMQPValue::LongString(LongString::from(text))),
        any::<i32>().prop_map(AMQPValue::LongInt),
        any::<u64>().prop_map(AMQPValue::Timestamp),
        any::<bool>().prop_map(AMQPValue::Boolean),
        Just(AMQPValue::Void),
    ]
    .prop_recursive(6, 20, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3)
                .prop_map(|all| AMQPValue::FieldArray(FieldArray::from(all))),
            prop::collection::btree_map("[a-z]{1,9}", inner, 0..3)
                .prop_map(|all| AMQPValue::FieldTable(table_of(all))),
        ]
    });
    let headers = prop::collection::btree_map("[a-zä]{1,9}", value, 0..5).prop_map(table_of);
    (headers, ".{0,9}", any::<Option<u64>>(), 0_u8..3).prop_map(|(headers, text, timestamp, mode)| {
        let short = || ShortString::try_new(text.as_str()).expect("short");
        let properties = BasicProperties::default().with_headers(headers).with_delivery_mode(mode);
        let properties = properties.with_content_type(short()).with_message_id(short());
        match timestamp {
            Some(timestamp) => properties.with_timestamp(timestamp),
            None => properties,
        }
    })
}

fn table_of(entries: std::collections::BTreeMap<String, AMQPValue>) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in entries {
        table.insert(ShortString::try_new(key.as_str()).expect("short"), value);
    }
    table
}

/// As lapin writes it.
fn protocol_header(properties: &BasicProperties) -> Vec<u8> {
    let header =
        amq_protocol::frame::AMQPContentHeader { class_id: 60, body_size: 3, properties: properties.clone() };
    let frame = AMQPFrame::Header(CHANNEL, header);
    gen_frame(&frame)(Vec::new().into()).expect("it fits").into_inner().0
}
