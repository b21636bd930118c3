//! The readers of bytes from outside, for tests and fuzzers: what a client sends, what the log and the
//! store hold. Each is a [`Target`] with good samples and a law that no bytes may break.

use std::sync::LazyLock;

use base::Cause;
use bytes::Bytes;
use store::Changes;
use world::{Clock, Entropy, garbage::Target};

use crate::{
    Settings,
    entry::Entry,
    ops::OPERATIONS,
    testing::{Durable, House, client::*, line::Line},
    wire::{
        Frame, LENGTH_BYTES, frame,
        jute::Input,
        request::{self, opcode},
    },
    x509,
};

/// Every reader.
pub const TARGETS: [Target; 6] = [
    Target { name: "zk_session", samples: streams, read: session },
    Target { name: "zk_request", samples: requests, read: one_request },
    Target { name: "zk_records", samples: records, read: round_trips },
    Target { name: "zk_log", samples: entries, read: apply },
    Target { name: "zk_state", samples: states, read: restore },
    Target { name: "zk_certificate", samples: certificates, read: certificate },
];

/// A connection that asks without waiting for answers.
struct Wire(Line);

impl Wire {
    fn new(house: &House) -> Wire {
        Wire(Line::new(house, 1 << 20))
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.send(bytes);
    }

    /// The xids of the answers since; a connect response counts as 0.
    fn answers(&self) -> Vec<i32> {
        let bytes = self.0.receive();
        let mut rest = &bytes[..];
        let mut xids = Vec::new();
        while !rest.is_empty() {
            let Frame::Whole(body) = frame(rest, 1 << 30) else { panic!("no frame: {rest:?}") };
            xids.push(Input::new(body).i32().expect("a message is four bytes at least"));
            rest = &rest[LENGTH_BYTES + body.len()..];
        }
        xids
    }
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes()[..], body].concat()
}

/// The connect request of a new session.
fn hello() -> Vec<u8> {
    let mut body = vec![0; 44];
    body[12..16].copy_from_slice(&10_000_i32.to_be_bytes());
    body[27] = 16;
    framed(&body)
}

fn header(xid: i32, code: i32, record: &[u8]) -> Vec<u8> {
    framed(&[&xid.to_be_bytes()[..], &code.to_be_bytes(), record].concat())
}

/// The requests of a lively session: every operation there is.
pub(crate) fn lively() -> Vec<(i32, Vec<u8>)> {
    let multi = transaction(&[
        (opcode::CREATE2, create("/m", Some(b"1"), &EVERYONE, 0)),
        (opcode::SET_DATA, set_data("/m", Some(b"22"), 0)),
        (opcode::CHECK, versioned("/m", 1)),
        (opcode::DELETE, versioned("/m", -1)),
    ]);
    let reads = [(opcode::GET_DATA, look("/t", false)), (opcode::GET_CHILDREN, look("/a", false))];
    vec![
        (opcode::CREATE, create("/a", Some(b"x"), &EVERYONE, 0)),
        (opcode::CREATE2, create("/a/b-", None, &EVERYONE, 3)),
        (opcode::EXISTS, look("/none", true)),
        (opcode::GET_DATA, look("/a", true)),
        (opcode::GET_CHILDREN, look("/a", true)),
        (opcode::GET_CHILDREN2, look("/a", true)),
        (opcode::SYNC, look("/a", false)),
        (opcode::MULTI, multi),
        (opcode::CREATE_CONTAINER, create("/c", None, &EVERYONE, 4)),
        (opcode::CREATE_TTL, [create("/t", None, &EVERYONE, 5), vec![0, 0, 0, 0, 0, 0, 1, 0]].concat()),
        (opcode::AUTH, auth("digest", Some(&"pat:pass"))),
        (opcode::SET_ACL, set_acl("/t", &[(31, "auth", ""), (1, "ip", "127.0.0.0/8")], 0)),
        (opcode::GET_ACL, text("/t")),
        (opcode::ADD_WATCH, versioned("/", 1)),
        (opcode::SET_WATCHES, set_watches(1, &["/a", "/b", "/a"])),
        (opcode::SET_WATCHES2, set_watches(1, &["/a", "/b", "/a", "/c", "/d"])),
        (opcode::CHECK_WATCHES, versioned("/d", 5)),
        (opcode::REMOVE_WATCHES, versioned("/c", 3)),
        (opcode::MULTI_READ, transaction(&reads)),
        (opcode::GET_EPHEMERALS, text("/")),
        (opcode::GET_ALL_CHILDREN_NUMBER, text("/")),
        (opcode::WHO_AM_I, vec![]),
        (opcode::RECONFIG, vec![0xff; 20]),
        (opcode::SASL, vec![0, 0, 0, 2, 1, 2]),
        (opcode::CREATE, create("/zookeeper/quota/a", None, &EVERYONE, 0)),
        (opcode::PING, vec![]),
        (opcode::SET_DATA, set_data("/a", Some(&[7; 300]), -1)),
        (opcode::DELETE, versioned("/a", 9)),
        (opcode::CLOSE_SESSION, vec![]),
    ]
}

/// [`lively`] as one stream of bytes behind the connect request.
pub(crate) fn recording() -> Vec<u8> {
    let requests = lively().into_iter().enumerate();
    requests.flat_map(|(n, (code, record))| header(n as i32 + 1, code, &record)).collect()
}

/// What `kazoo` sent behind its connect request, in a story of its own.
pub(crate) fn kazoo() -> Vec<u8> {
    let story = include_str!("../tests/golden/kazoo.story");
    let frames = story.lines().filter_map(|line| line.strip_prefix("first> sends ")).skip(1);
    from_hex(&frames.collect::<String>())
}

fn from_hex(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("a sample is hexadecimal");
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn streams() -> Vec<Vec<u8>> {
    let hello = hello();
    let words = ["ruok", "mntr"].map(|word| [&[0], word.as_bytes()].concat());
    [vec![[&[7], &hello[..], &recording()].concat(), [&[200], &hello[..], &kazoo()].concat()], words.into()]
        .concat()
}

/// A whole connection: the first byte says how large the pieces are in which the others come. Another
/// client is served before and after, nothing of this one stays, and what it is told are frames.
fn session(bytes: &[u8]) -> bool {
    let Some((&piece, stream)) = bytes.split_first() else { return false };
    let house = House::new(Settings::default());
    let mut other = Wire::new(&house);
    other.send(&hello());
    other.send(&header(1, opcode::ADD_WATCH, &versioned("/", 1)));
    assert_eq!(other.answers(), [0, 1]);
    let mut wire = Wire::new(&house);
    for part in stream.chunks(usize::from(piece).max(1)) {
        wire.send(part);
    }
    // Four letters are answered with a text.
    let is_good = stream.first() != Some(&0) || wire.answers().first() == Some(&0);
    drop(wire);
    assert_eq!(house.hub().lock().watches.len(), 1, "watches of a connection that is gone");
    other.send(&header(2, opcode::CREATE, &create("/other", None, &EVERYONE, 0)));
    let told = other.answers();
    assert!(told.ends_with(&[2]) && told.iter().rev().skip(1).all(|xid| *xid == -1), "{told:?}");
    is_good
}

fn requests() -> Vec<Vec<u8>> {
    let row = |code| OPERATIONS.iter().position(|operation| operation.code == code);
    let numbered = |(code, record): (i32, Vec<u8>)| Some([&[row(code)? as u8][..], &record].concat());
    lively().into_iter().filter_map(numbered).collect()
}

/// One request, whose operation the first byte names by its row in the table: it is answered once, and the
/// connection goes on.
fn one_request(bytes: &[u8]) -> bool {
    let Some((&row, record)) = bytes.split_first() else { return false };
    let operation = &OPERATIONS[usize::from(row) % OPERATIONS.len()];
    let (_house, mut wire) = lived_in(6);
    wire.answers();
    wire.send(&header(77, operation.code, record));
    wire.send(&header(-2, opcode::PING, &[]));
    let mut answers = wire.answers();
    answers.retain(|xid| *xid != -1);
    let expected: &[i32] = if operation.code == opcode::CLOSE_SESSION { &[77] } else { &[77, -2] };
    assert_eq!(answers, expected, "{}", operation.name);
    true
}

fn records() -> Vec<Vec<u8>> {
    // The others have no record, one text, or texts behind a number.
    const READ: [i32; 9] = [
        opcode::CREATE,
        opcode::CREATE_CONTAINER,
        opcode::CREATE_TTL,
        opcode::DELETE,
        opcode::SET_DATA,
        opcode::SET_ACL,
        opcode::AUTH,
        opcode::GET_DATA,
        opcode::MULTI,
    ];
    let records = lively().into_iter().filter(|(code, _)| READ.contains(code)).map(|(_, record)| record);
    let texts = [0, 0, 0, 2, 0, 0, 0, 1, b'a', 0, 0, 0, 0];
    records.chain([texts.to_vec(), hello()[LENGTH_BYTES..].to_vec()]).collect()
}

/// Bytes as every record there is: what is read and written again is read as the same.
fn round_trips(bytes: &[u8]) -> bool {
    let mut is_good = request::connect(bytes).is_ok();
    let input = Input::new(bytes);
    if let Ok(look_at) = request::look(&mut input.clone()) {
        let again = look(look_at.path, look_at.watch);
        assert_eq!(request::look(&mut Input::new(&again)), Ok(look_at));
        is_good = true;
    }
    if let Ok(credentials) = request::credentials(&mut input.clone())
        && let Ok(shown) = std::str::from_utf8(credentials.auth.unwrap_or_default())
    {
        let again = auth(credentials.scheme, credentials.auth.map(|_| &shown));
        assert_eq!(request::credentials(&mut Input::new(&again)), Ok(credentials));
        is_good = true;
    }
    if let Ok(texts) = request::texts(&mut input.clone()) {
        assert!(texts.len() <= bytes.len() / LENGTH_BYTES);
        is_good = true;
    }
    if let Ok(changes) = request::multi(&mut input.clone()) {
        assert!(changes.len() <= bytes.len() / 9, "an operation has a header of nine bytes");
        // A mode that nobody knows is read in a createTTL only, and refused later.
        let is_known = |change: &request::Change<'_>| !matches!(change, request::Change::Create { mode, .. } if !(0..=6).contains(mode));
        if changes.iter().all(is_known) {
            let again = multi_bytes(&changes);
            assert_eq!(request::multi(&mut Input::new(&again)), Ok(changes));
        }
        is_good = true;
    }
    let one = [
        request::create(&mut input.clone(), request::Form::Plain),
        request::create_ttl(&mut input.clone()),
        request::delete(&mut input.clone()),
        request::set_data(&mut input.clone()),
        request::set_acl(&mut input.clone()),
    ];
    for change in one.into_iter().flatten() {
        let again = change_bytes(&change);
        let mut input = Input::new(&again);
        let read = match &change {
            request::Change::Create { form: request::Form::Ttl(_), .. } => request::create_ttl(&mut input),
            request::Change::Create { form, .. } => request::create(&mut input, *form),
            request::Change::Delete { .. } | request::Change::Check { .. } => request::delete(&mut input),
            request::Change::SetData { .. } => request::set_data(&mut input),
            request::Change::SetAcl { .. } => request::set_acl(&mut input),
        };
        assert_eq!(read, Ok(change));
        assert!(input.rest().is_empty());
        is_good = true;
    }
    is_good
}

/// A change as a client would send it.
fn change_bytes(change: &request::Change<'_>) -> Vec<u8> {
    match change {
        request::Change::Create { path, data, acl, mode, form } => {
            let mut out = create(path, *data, &entries_of(acl), *mode);
            if let request::Form::Ttl(ms) = form {
                out.extend_from_slice(&ms.to_be_bytes());
            }
            out
        }
        request::Change::Delete { path, version } | request::Change::Check { path, version } => {
            versioned(path, *version)
        }
        request::Change::SetData { path, data, version } => set_data(path, *data, *version),
        request::Change::SetAcl { path, acl, version } => set_acl(path, &entries_of(acl), *version),
    }
}

fn entries_of<'a>(acl: &[request::Ace<'a>]) -> Vec<(i32, &'a str, &'a str)> {
    acl.iter().map(|ace| (ace.perms, ace.scheme, ace.id)).collect()
}

/// A multi as a client would send it.
fn multi_bytes(changes: &[request::Change<'_>]) -> Vec<u8> {
    let code = |change: &request::Change<'_>| match change {
        request::Change::Create { form: request::Form::Plain, .. } => opcode::CREATE,
        request::Change::Create { form: request::Form::WithStat, .. } => opcode::CREATE2,
        request::Change::Create { form: request::Form::Container, .. } => opcode::CREATE_CONTAINER,
        request::Change::Create { form: request::Form::Ttl(_), .. } => opcode::CREATE_TTL,
        request::Change::Delete { .. } => opcode::DELETE,
        request::Change::SetData { .. } => opcode::SET_DATA,
        request::Change::Check { .. } => opcode::CHECK,
        request::Change::SetAcl { .. } => opcode::SET_ACL,
    };
    let operations: Vec<_> = changes.iter().map(|change| (code(change), change_bytes(change))).collect();
    transaction(&operations)
}

/// A house in which the first requests of [`lively`] have been done, and the connection that they came over.
fn lived_in(requests: usize) -> (House, Wire) {
    let house = House::new(Settings::default());
    let mut wire = Wire::new(&house);
    wire.send(&hello());
    for (n, (code, record)) in lively().into_iter().take(requests).enumerate() {
        wire.send(&header(n as i32 + 1, code, &record));
    }
    (house, wire)
}

/// A house in which all of them have been done, but for the end of the session.
fn left() -> House {
    lived_in(lively().len() - 1).0
}

fn entries() -> Vec<Vec<u8>> {
    left().machine.log().iter().map(|entry| entry.to_vec()).collect()
}

/// An entry of the log, applied twice to what a session left: the same result and changes both times,
/// whatever it is; and one that can be read is written and read again as the same.
fn apply(bytes: &[u8]) -> bool {
    if let Ok(entry) = Entry::decode(bytes) {
        assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
    }
    let apply = || {
        let (house, _wire) = lived_in(6);
        let mut changes = Changes::new();
        let result = house.hub().apply(bytes);
        house.hub().lock().replica.settle(&mut changes);
        (result, changes)
    };
    assert_eq!(apply(), apply());
    Entry::decode(bytes).is_ok()
}

/// The keys and values that a session left, one behind the other, each behind its length of two bytes.
fn states() -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for (key, value) in left().machine.state().map() {
        for part in [&key, &value] {
            out.extend_from_slice(&(part.len() as u16).to_be_bytes());
            out.extend_from_slice(part);
        }
    }
    vec![out]
}

/// What a session did.
static ENTRIES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(entries);

/// Keys and values of the store: they are taken up or refused.
fn restore(bytes: &[u8]) -> bool {
    restored(bytes).is_ok()
}

/// The weight of the state that is taken up.
fn restored(bytes: &[u8]) -> Result<usize, Cause> {
    let mut rest = bytes;
    let mut part = || -> Option<Bytes> {
        let (len, behind) = rest.split_first_chunk::<2>()?;
        let (part, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        rest = behind;
        Some(Bytes::copy_from_slice(part))
    };
    // As the store gives them: ascending by key, each once.
    let mut state = std::collections::BTreeMap::new();
    while let (Some(key), Some(value)) = (part(), part()) {
        state.insert(key, value);
    }
    let clock = Clock::simulated(1_700_000_000_000_000);
    let (mut machine, _door) = crate::new(Settings::default(), clock, Entropy::seeded(1));
    machine.restore(Durable::of(state).handle())?;
    let weight = machine.weight();
    // Most of it is read only when it is needed.
    for (index, entry) in ENTRIES.iter().enumerate() {
        machine.apply(index as u64 + 1, entry, &mut Changes::new())?;
        machine.settle(&mut Changes::new());
    }
    Ok(weight)
}

/// As much of a certificate as is read: a serial number, three things that are passed over, the subject.
fn certificates() -> Vec<Vec<u8>> {
    // CN=client,OU=test,O=Org,C=DE, and CN=a+OU=b,O=c.
    let names = [
        "303b310b3009060355040613024445310c300a060355040a13034f7267310d300b060355040b130474657374310f300d060355040\
         31306636c69656e74",
        "3022310a3008060355040a1301633114300806035504031301613008060355040b130162",
    ];
    let sequence =
        |content: &[u8]| [&[0x30, 0x82][..], &(content.len() as u16).to_be_bytes(), content].concat();
    let certificate = |name: &str| {
        let before = [0xa0, 3, 2, 1, 2, 2, 1, 5, 0x30, 0, 0x30, 0, 0x30, 0];
        sequence(&sequence(&[&before[..], &from_hex(name)].concat()))
    };
    names.map(certificate).to_vec()
}

/// A client's certificate: its subject is a name that access control lists take, or there is none.
fn certificate(bytes: &[u8]) -> bool {
    let Some(name) = x509::subject(bytes) else { return false };
    // Java does not read the carriage return that it writes at the end of a value, nor do we.
    assert!(x509::is_name(&name) || name.contains('\r'), "{name}");
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attack(name: &str, rounds: usize) {
        let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
        target.attack(6, rounds);
    }

    #[test]
    fn no_stream_of_bytes_harms_anybody() {
        attack("zk_session", 3000);
    }

    #[test]
    fn every_record_is_answered_once() {
        attack("zk_request", 6000);
    }

    #[test]
    fn records_come_back() {
        attack("zk_records", 50_000);
    }

    #[test]
    fn entries_of_the_log_do_the_same_everywhere() {
        attack("zk_log", 3000);
    }

    #[test]
    fn a_certificate_has_a_good_subject_or_none() {
        attack("zk_certificate", 100_000);
    }

    #[test]
    fn a_damaged_state_is_taken_up_or_refused() {
        let (whole, empty) = (restored(&states()[0]), restored(&[]));
        assert!(whole.expect("it is sound") > empty.expect("as on the first start"));
        attack("zk_state", 3000);
    }

    /// A fuzzer's find: the number of children at its end, and one more child.
    #[test]
    fn a_state_whose_numbers_lie_is_taken_up_or_refused() {
        let state = states().remove(0);
        for lie in [&[0xff; 4][..], &[0; 4], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]] {
            for at in 0..=state.len() - lie.len() {
                let mut state = state.clone();
                state[at..at + lie.len()].copy_from_slice(lie);
                restore(&state);
            }
        }
    }
}
