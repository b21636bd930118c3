//! Frames: how messages and what is said about them stand in the stream of a connection.
//!
//! A frame is a little-endian u32, whose low 24 bits are the length of what follows and whose high 8 the
//! [`Kind`], and that many bytes. A message is one part or several ([`Assembly`]), so that a long one of a
//! patient class leaves gaps for the others on the same connection. There is no checksum: TLS authenticates every record.

use base::{Malformed, Reader, Writer};
use bytes::{Buf, Bytes, BytesMut};

use crate::Class;

/// Bytes of a frame before what it carries.
pub(crate) const HEADER_BYTES: usize = 4;
/// The longest part of a message. A multiple of TLS records; a vote waits behind at most some of these.
pub(crate) const PART_MAX: usize = 32 << 10;
/// The longest frame that a connection carries once it stands.
pub(crate) const FRAME_MAX: usize = PART_MAX;
/// The longest hello or refusal. A later version may say more than this one.
pub(crate) const HELLO_MAX: usize = 4 << 10;
/// The longest question of somebody who is no node yet.
pub(crate) const ASK_MAX: usize = 64 << 10;
/// The longest answer to one.
pub(crate) const ANSWER_MAX: usize = 1 << 20;
/// What a part takes of the room beside its bytes, so that many empty messages take some too.
pub(crate) const PART_COST: usize = 64;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// From who connects: [`Opening`].
    Hello,
    /// The answer: [`Welcome`].
    Welcome,
    /// Or this, from either side: why not, as text. Nothing follows.
    Refused,
    /// A question instead of a hello; its bytes are the owner's.
    Ask,
    /// Its answer.
    Answer,
    /// Are you there?
    Ping,
    /// I am.
    Pong,
    /// A u64: so much more room for this class.
    Credit(Class),
    /// A part of a message.
    Part {
        /// Of which class.
        class: Class,
        /// Whether it is the last one of its message.
        last: bool,
    },
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Kind::Hello => 1,
            Kind::Welcome => 2,
            Kind::Refused => 3,
            Kind::Ask => 4,
            Kind::Answer => 5,
            Kind::Ping => 6,
            Kind::Pong => 7,
            Kind::Credit(class) => 0x10 | class as u8,
            Kind::Part { class, last: false } => 0x20 | class as u8,
            Kind::Part { class, last: true } => 0x30 | class as u8,
        }
    }

    fn of(code: u8) -> Option<Kind> {
        let class = || Class::ALL.get(usize::from(code & 0xf)).copied();
        Some(match code {
            1 => Kind::Hello,
            2 => Kind::Welcome,
            3 => Kind::Refused,
            4 => Kind::Ask,
            5 => Kind::Answer,
            6 => Kind::Ping,
            7 => Kind::Pong,
            0x10..0x20 => Kind::Credit(class()?),
            0x20..0x30 => Kind::Part { class: class()?, last: false },
            0x30..0x40 => Kind::Part { class: class()?, last: true },
            _ => return None,
        })
    }
}

/// Appends a frame.
pub(crate) fn put(out: &mut Vec<u8>, kind: Kind, bytes: &[u8]) {
    debug_assert!(bytes.len() <= ANSWER_MAX, "callers cut what may be long");
    out.extend_from_slice(&(bytes.len() as u32 | u32::from(kind.code()) << 24).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Takes the first frame off `input`; `None` as long as it is not whole. `longest` is what it may carry.
pub(crate) fn take(input: &mut BytesMut, longest: usize) -> Result<Option<(Kind, Bytes)>, Malformed> {
    let Some(header) = input.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let header = u32::from_le_bytes(*header);
    let kind = Kind::of((header >> 24) as u8).ok_or(Malformed("kind of a frame"))?;
    let length = (header & 0xff_ffff) as usize;
    if length > longest {
        return Err(Malformed("length of a frame"));
    }
    if input.len() < HEADER_BYTES + length {
        return Ok(None);
    }
    input.advance(HEADER_BYTES);
    Ok(Some((kind, input.split_to(length).freeze())))
}

/// What a credit is worth.
pub(crate) fn credit(bytes: &[u8]) -> Result<i64, Malformed> {
    let credit = Reader::new(bytes).u64("credit")?;
    i64::try_from(credit).map_err(|_| Malformed("credit"))
}

/// The two connections that one node has to another, so that what lies in the sockets of the one is not before
/// what goes through the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Control and log.
    Prompt,
    /// Snapshots.
    Bulk,
}

impl Lane {
    pub(crate) const ALL: [Lane; 2] = [Lane::Prompt, Lane::Bulk];

    /// Which messages of `class` take.
    pub(crate) fn of(class: Class) -> Lane {
        match class {
            Class::Control | Class::Log => Lane::Prompt,
            Class::Bulk => Lane::Bulk,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Lane::Prompt => "prompt",
            Lane::Bulk => "bulk",
        }
    }
}

/// The format of the frames here. Who connects tells the highest that it speaks; who is connected to chooses
/// one that is not higher.
pub(crate) const FORMAT: u8 = 1;

/// What who connects says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opening<H> {
    pub(crate) format: u8,
    pub(crate) lane: Lane,
    /// A [`crate::Hello`] as bytes.
    pub(crate) hello: H,
}

impl<H: AsRef<[u8]>> Opening<H> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(self.format);
        out.u8(self.lane as u8);
        out.raw(self.hello.as_ref());
        out.into_vec()
    }
}

impl<'a> Opening<&'a [u8]> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Opening<&'a [u8]>, Malformed> {
        let mut reader = Reader::new(bytes);
        let format = reader.u8("format")?;
        let lane = Lane::ALL.get(usize::from(reader.u8("lane")?)).ok_or(Malformed("lane"))?;
        Ok(Opening { format, lane: *lane, hello: reader.rest() })
    }
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Welcome<H> {
    pub(crate) format: u8,
    /// How much of each class may be sent, bytes. Not positive if what came over an earlier connection takes all the room.
    pub(crate) credits: [i64; Class::ALL.len()],
    /// A [`crate::Hello`] as bytes.
    pub(crate) hello: H,
}

impl<H: AsRef<[u8]>> Welcome<H> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(self.format);
        for credit in self.credits {
            out.i64(credit);
        }
        out.raw(self.hello.as_ref());
        out.into_vec()
    }
}

impl<'a> Welcome<&'a [u8]> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Welcome<&'a [u8]>, Malformed> {
        let mut reader = Reader::new(bytes);
        let format = reader.u8("format")?;
        let mut credits = [0; Class::ALL.len()];
        for credit in &mut credits {
            *credit = reader.i64("credit")?;
        }
        Ok(Welcome { format, credits, hello: reader.rest() })
    }
}
