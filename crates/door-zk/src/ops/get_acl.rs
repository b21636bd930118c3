//! getACL (6): a znode's access control list and Stat, for those who may read the znode or set the
//! list. Who may not set it sees of an id of scheme `digest` the user, not the hash.

use std::borrow::Cow;

use super::{Reading, Stop};
use crate::{
    acl,
    faults::Code,
    wire::{jute::Input, reply, request::Ace},
};

pub(super) fn read(reading: &mut Reading<'_>, mut record: Input<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
    let path = record.text()?;
    let place = reading.find(path)?.ok_or(Code::NO_NODE)?;
    let node = reading.node(place);
    node.acl().check(acl::READ | acl::ADMIN, reading.ids())?;
    if node.acl().allows(acl::ADMIN, reading.ids()) {
        reply::acl(out, node.acl().entries());
    } else {
        let masked: Vec<(Ace<'_>, Cow<'_, str>)> =
            node.acl().entries().map(|entry| (entry, masked(entry))).collect();
        reply::acl(out, masked.iter().map(|(entry, id)| Ace { id, ..*entry }));
    }
    reply::stat(out, &node.stat());
    Ok(())
}

/// An id without what a password could be guessed from.
fn masked(entry: Ace<'_>) -> Cow<'_, str> {
    match entry.id.split_once(':') {
        Some((user, _)) if entry.scheme == "digest" => Cow::Owned(format!("{user}:x")),
        _ => Cow::Borrowed(entry.id),
    }
}
