//! Stands between the broker and lapin, and keeps from lapin what would end it.
//!
//! **Why.** Whoever may publish into our queues chooses the properties of a message, and RabbitMQ hands them on as
//! they came. lapin reads them on the thread of the connection: what it cannot read ends the connection, with all
//! feeds on it, and headers that lie deep enough within each other overflow that thread's stack, which aborts the
//! process. Either way the message goes back to the head of its queue, and takes the next one. (What is lapin's to
//! mend stands in `docs/upstream.md`.)
//!
//! **How.** The stream is cut into frames. A frame that lapin can read passes as it is; lapin's own parser is asked,
//! after nobody but us has looked how deep the headers go ([`content`]). Of one that it cannot read, the parts that are
//! at fault are left out, and the header [`UNREADABLE`] says why. So the message arrives, is found to make no sense,
//! and goes to the dead letters like any other, with its body. Nothing dies, and no chunk is charged.
//!
//! **Failure by failure.**
//!
//! - *A property that is no UTF-8, an unknown type, a length that does not fit*: the message comes without its
//!   properties.
//! - *Headers nested deeper than [`DEEPEST`](content::DEEPEST), or properties larger than [`LARGEST_PROPERTIES`] or than
//!   a frame may be*: the same. RabbitMQ cuts bodies to the size of frames that was agreed on and properties not: a
//!   publisher that agreed on more, or the broker itself, which adds to the headers of what it delivers again, makes
//!   them larger, and lapin ends the connection.
//! - *A routing key that is no UTF-8* (a message may have come through another exchange): it is left out as well.
//! - *A body larger than [`LARGEST_BODY`]*: the message comes without it. Ours have less than a hundred bytes, and a
//!   prefetch of bodies of 128 MB, which RabbitMQ takes, is more memory than a worker has.
//! - *What is no AMQP at all*, or a frame larger than was agreed on: passes from there on as it is, and lapin says so.

mod content;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

pub(super) use content::UNREADABLE;
use content::{LARGEST_PROPERTIES, can_be_read, fault_of, header_saying, without_bad_names};

const LARGEST_BODY: u64 = 64 * 1024;
/// The largest frame that is agreed on if nobody asks for another size: RabbitMQ's own default.
pub(super) const USUAL_FRAME_MAX: u32 = 128 * 1024;
/// AMQP knows no smaller limit.
const SMALLEST_FRAME_MAX: u32 = 4096;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
/// What every frame ends with.
const FRAME_END: u8 = 0xCE;
/// The type, the channel and the size.
const FRAME_START: usize = 7;
/// The class, the weight and the size of the body, before the properties.
const HEADER_START: usize = 12;
/// The class of the methods that bring a message.
const BASIC: [u8; 2] = [0, 60];
/// The class and the number of `connection.tune`.
const TUNE: [u8; 4] = [0, 10, 0, 30];

/// Takes what the broker sends, and gives what lapin may have.
#[derive(Debug)]
pub(super) struct Sieve {
    /// The largest frame that both sides agreed on.
    frame_max: usize,
    /// The beginning of a frame whose end has not come.
    partial: Vec<u8>,
    /// A header too large to be kept until its end has come.
    passing_by: Option<LargeHeader>,
    ready: Vec<u8>,
    /// How much of `ready` was given.
    given: usize,
    /// By channel: why the content that follows counts as unreadable.
    suspects: HashMap<u16, String>,
    /// By channel: how many bytes of a body are still to be left out.
    left_out: HashMap<u16, u64>,
    /// What came is no AMQP, so nothing is looked at any more.
    is_open: bool,
}

#[derive(Debug)]
struct LargeHeader {
    channel: u16,
    start: [u8; HEADER_START],
    properties: usize,
    /// How many bytes are still to come, the frame's last one included.
    left: usize,
}

impl Sieve {
    /// Expects frames of the size that lapin asks for, or less if the broker does.
    pub(super) fn new(frame_max: u32) -> Self {
        Self {
            frame_max: frame_max.max(SMALLEST_FRAME_MAX) as usize,
            partial: Vec::new(),
            passing_by: None,
            ready: Vec::new(),
            given: 0,
            suspects: HashMap::new(),
            left_out: HashMap::new(),
            is_open: false,
        }
    }

    /// Takes bytes as they came.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        let mut came = std::mem::take(&mut self.partial);
        if came.is_empty() {
            let rest = self.sift(bytes);
            came.extend_from_slice(rest);
        } else {
            came.extend_from_slice(bytes);
            let rest = self.sift(&came).len();
            // What is moved came with these bytes, or nothing is.
            came.drain(..came.len() - rest);
        }
        self.partial = came;
    }

    /// Gives as much as fits; nothing if nothing is ready.
    pub(super) fn give(&mut self, into: &mut [u8]) -> usize {
        let ready = &self.ready[self.given..];
        let count = ready.len().min(into.len());
        into[..count].copy_from_slice(&ready[..count]);
        self.given += count;
        if self.given == self.ready.len() {
            self.ready.clear();
            self.given = 0;
        }
        count
    }

    /// Does with these bytes what can be done; returns the beginning of a frame whose end has not come.
    fn sift<'a>(&mut self, mut rest: &'a [u8]) -> &'a [u8] {
        while !rest.is_empty() {
            if self.is_open {
                self.ready.extend_from_slice(rest);
                return &[];
            }
            if let Some(header) = self.passing_by.take() {
                rest = self.pass_by(header, rest);
                continue;
            }
            match cut(rest, self.frame_max) {
                Cut::Frame(frame, after) => {
                    self.pass(frame);
                    rest = after;
                }
                Cut::LargeHeader(header, after) => {
                    self.passing_by = Some(header);
                    rest = after;
                }
                Cut::Partial => return rest,
                Cut::NotAmqp => self.is_open = true,
            }
        }
        rest
    }

    fn pass_by<'a>(&mut self, mut header: LargeHeader, bytes: &'a [u8]) -> &'a [u8] {
        let (gone, after) = bytes.split_at(header.left.min(bytes.len()));
        header.left -= gone.len();
        if header.left > 0 {
            self.passing_by = Some(header);
        } else if gone.ends_with(&[FRAME_END]) {
            let fault = format!("its properties are too large: {} bytes", header.properties);
            self.suspects.remove(&header.channel);
            self.push_header(header.channel, &header.start, Some(fault), &[]);
        } else {
            self.is_open = true;
        }
        after
    }

    fn pass(&mut self, frame: &[u8]) {
        let channel = u16::from_be_bytes([frame[1], frame[2]]);
        let payload = &frame[FRAME_START..frame.len() - 1];
        match frame[0] {
            METHOD => self.pass_method(channel, frame, payload),
            HEADER => self.pass_header(channel, frame, payload),
            BODY => self.pass_body(channel, frame, payload),
            _ => self.ready.extend_from_slice(frame),
        }
    }

    fn pass_method(&mut self, channel: u16, frame: &[u8], payload: &[u8]) {
        if let Some(&[_, _, _, _, _, _, a, b, c, d]) = payload.first_chunk().filter(|p| p.starts_with(&TUNE))
        {
            self.agree(u32::from_be_bytes([a, b, c, d]));
        }
        let cleaned = if can_be_read(frame) { None } else { without_bad_names(payload) };
        match cleaned {
            None => self.ready.extend_from_slice(frame),
            Some(cleaned) => {
                if payload.starts_with(&BASIC) {
                    self.suspects.insert(channel, "its routing key is not text".to_owned());
                }
                self.push(METHOD, channel, &cleaned);
            }
        }
    }

    /// Takes the smaller of both wishes, as lapin does. The broker's may be 0: it has none.
    fn agree(&mut self, frame_max: u32) {
        if frame_max > 0 {
            self.frame_max = self.frame_max.min(frame_max.max(SMALLEST_FRAME_MAX) as usize);
        }
    }

    fn pass_header(&mut self, channel: u16, frame: &[u8], payload: &[u8]) {
        let suspicion = self.suspects.remove(&channel);
        match payload.split_first_chunk() {
            None => self.ready.extend_from_slice(frame),
            Some((start, properties)) => {
                let fault = suspicion.or_else(|| fault_of(frame, properties));
                self.push_header(channel, start, fault, frame);
            }
        }
    }

    /// Passes the frame on, or one that says what was at fault with it.
    fn push_header(&mut self, channel: u16, start: &[u8; HEADER_START], fault: Option<String>, frame: &[u8]) {
        let [class_and_weight @ .., a, b, c, d, e, f, g, h] = *start;
        let size = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        self.left_out.remove(&channel);
        if size > LARGEST_BODY {
            self.left_out.insert(channel, size);
            let fault = format!("its body of {size} bytes was left out");
            self.push(HEADER, channel, &header_saying(class_and_weight, 0, &fault));
        } else if let Some(fault) = fault {
            self.push(HEADER, channel, &header_saying(class_and_weight, size, &fault));
        } else {
            self.ready.extend_from_slice(frame);
        }
    }

    fn pass_body(&mut self, channel: u16, frame: &[u8], payload: &[u8]) {
        match self.left_out.get_mut(&channel) {
            None => self.ready.extend_from_slice(frame),
            Some(left) => {
                *left = left.saturating_sub(payload.len() as u64);
                if *left == 0 {
                    self.left_out.remove(&channel);
                }
            }
        }
    }

    fn push(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let size = u32::try_from(payload.len()).expect("what is made here is small");
        self.ready.push(kind);
        self.ready.extend_from_slice(&channel.to_be_bytes());
        self.ready.extend_from_slice(&size.to_be_bytes());
        self.ready.extend_from_slice(payload);
        self.ready.push(FRAME_END);
    }
}

enum Cut<'a> {
    Frame(&'a [u8], &'a [u8]),
    /// What it is, and what follows its start.
    LargeHeader(LargeHeader, &'a [u8]),
    Partial,
    NotAmqp,
}

fn cut(bytes: &[u8], frame_max: usize) -> Cut<'_> {
    if bytes.first().is_some_and(|kind| ![METHOD, HEADER, BODY, HEARTBEAT].contains(kind)) {
        return Cut::NotAmqp;
    }
    let Some((&[kind, x, y, a, b, c, d], payload)) = bytes.split_first_chunk::<FRAME_START>() else {
        return Cut::Partial;
    };
    let size = u32::from_be_bytes([a, b, c, d]) as usize;
    let is_too_large = FRAME_START + size + 1 > frame_max;
    if kind == HEADER && size > HEADER_START && (is_too_large || size - HEADER_START > LARGEST_PROPERTIES) {
        let Some((&start, after)) = payload.split_first_chunk() else { return Cut::Partial };
        let channel = u16::from_be_bytes([x, y]);
        let properties = size - HEADER_START;
        return Cut::LargeHeader(LargeHeader { channel, start, properties, left: properties + 1 }, after);
    }
    if is_too_large {
        return Cut::NotAmqp;
    }
    match payload.get(size) {
        None => Cut::Partial,
        Some(&FRAME_END) => {
            let (frame, after) = bytes.split_at(FRAME_START + size + 1);
            Cut::Frame(frame, after)
        }
        Some(_) => Cut::NotAmqp,
    }
}
