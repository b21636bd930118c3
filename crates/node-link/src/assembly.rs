//! Messages put together from their parts, as they come over one connection.

use std::sync::Arc;

use base::Malformed;
use bytes::{Bytes, BytesMut};

use crate::{
    Class, Received, Settings,
    frame::PART_COST,
    room::{Grants, Place, Rooms},
};

/// Unfinished messages of each class, and what their sender may still send.
pub(crate) struct Assembly {
    rooms: Arc<Rooms>,
    pub(crate) grants: Grants,
    longest: usize,
    unfinished: [Option<Unfinished>; Class::ALL.len()],
}

struct Unfinished {
    bytes: BytesMut,
    place: Place,
}

impl Assembly {
    pub(crate) fn new(rooms: Arc<Rooms>, settings: &Settings) -> Assembly {
        let grants = Grants::new(rooms.clone(), settings);
        Assembly { rooms, grants, longest: settings.message_bytes, unfinished: [const { None }; 3] }
    }

    /// Takes a part; the message, if it was the last one. A message of one part is not copied.
    pub(crate) fn add(
        &mut self,
        class: Class,
        last: bool,
        part: Bytes,
    ) -> Result<Option<Received>, Malformed> {
        let cost = part.len() + PART_COST;
        let unfinished = &mut self.unfinished[class as usize];
        let begins = unfinished.is_none();
        self.grants.spend(class, cost, begins).map_err(|_| Malformed("message: there is no room for it"))?;
        let Some(message) = unfinished else {
            let place = Place::take(&self.rooms, class, cost);
            if last {
                return Ok(Some(Received::in_place(part, place)));
            }
            *unfinished = Some(Unfinished { bytes: BytesMut::from(&part[..]), place });
            return Ok(None);
        };
        if part.is_empty() || message.bytes.len() + part.len() > self.longest {
            return Err(Malformed("message: its parts never end"));
        }
        message.place.grow(cost);
        message.bytes.extend_from_slice(&part);
        if !last {
            return Ok(None);
        }
        Ok(unfinished.take().map(|Unfinished { bytes, place }| Received::in_place(bytes.freeze(), place)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn classes_interleave_and_endless_messages_end() {
        let settings = Settings { message_bytes: 100, ..Settings::default() };
        let mut assembly = Assembly::new(Arc::default(), &settings);
        let part = |len| Bytes::from(vec![7; len]);
        assert!(assembly.add(Class::Log, false, part(60)).unwrap().is_none());
        assert_eq!(assembly.add(Class::Control, true, part(0)).unwrap().unwrap().len(), 0);
        assert_eq!(assembly.add(Class::Log, true, part(40)).unwrap().unwrap().len(), 100);
        assert!(assembly.add(Class::Log, false, part(60)).unwrap().is_none());
        assert!(assembly.add(Class::Log, false, part(41)).is_err());
        assert!(assembly.add(Class::Bulk, false, part(0)).unwrap().is_none());
        assert!(assembly.add(Class::Bulk, false, part(0)).is_err());
    }
}
