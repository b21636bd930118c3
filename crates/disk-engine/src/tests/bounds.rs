//! What the engine refuses and what it forgets: keys that are too long, tables that were dropped,
//! batches that fail.

use base::{
    Cause, Cell, Change, Class, ColumnId, GroupId, MAX_CLUSTERING_KEY_BYTES, MAX_PARTITION_KEY_BYTES,
    Mutation, Page, Position, Selection, Slice, TableId, Token,
};
use bytes::Bytes;
use world::Disk;

use crate::{
    Engine, ReadSpec,
    tree::{Batch, Patience, TreeError, TreeId, TreeSettings, Work, decode_latest, encode_latest},
};

const TABLE: TableId = TableId(1);

fn open(disk: &Disk) -> Engine {
    Engine::open(disk.clone(), TreeSettings::default()).unwrap()
}

fn put(key: &[u8], clustering: &[u8]) -> Mutation {
    let cells = vec![(ColumnId(1), Cell::live(5, Bytes::from_static(b"v")))];
    let change = Change::Row { clustering: Bytes::copy_from_slice(clustering), cells };
    Mutation { table: TABLE, key: Bytes::copy_from_slice(key), changes: vec![change] }
}

fn delete_rows(from: &[u8], to: &[u8]) -> Mutation {
    let change = Change::DeleteRows {
        from: Bytes::copy_from_slice(from),
        to: Some(Bytes::copy_from_slice(to)),
        timestamp: 9,
    };
    Mutation { table: TABLE, key: Bytes::from_static(b"k"), changes: vec![change] }
}

fn everything(engine: &Engine) -> Page {
    let selection = Selection::Tokens { first: Token::MIN, last: Token::MAX };
    let spec = ReadSpec { selection, ..ReadSpec::partition(TABLE, Bytes::new(), 0) };
    engine.read(&spec, Patience::Wait).unwrap()
}

/// Makes files of all there is.
fn finish_work(engine: &Engine, position: u64) {
    engine.forest().freeze(Position(position));
    while engine.forest().work(u64::MAX, &|_| None).unwrap() == Work::More {}
}

/// The longest keys fit, whatever their bytes; one byte more is refused, and nothing of the batch
/// is done.
#[test]
fn keys_are_bounded() {
    let engine = open(&Disk::in_memory());
    let (key, row) = (vec![0; MAX_PARTITION_KEY_BYTES], vec![0; MAX_CLUSTERING_KEY_BYTES]);
    let behind = [&row[..], &[0]].concat();
    let longest = [put(&key, &row), delete_rows(&row, &behind), delete_rows(b"", &behind)];
    engine.apply(Position(1), &longest).unwrap();
    let check = || {
        let spec = ReadSpec::partition(TABLE, key.clone().into(), 0);
        let found = engine.read(&spec, Patience::Wait).unwrap();
        assert_eq!(found.partitions[0].rows[0].clustering, row);
    };
    check();
    finish_work(&engine, 1);
    check();
    let longer = |bytes: &[u8]| [bytes, &[0]].concat();
    let too_long = [
        put(&longer(&key), b""),
        put(b"k", &longer(&row)),
        delete_rows(&longer(&behind), b"\x01"),
        delete_rows(b"", &longer(&behind)),
    ];
    for (nth, refused) in too_long.into_iter().enumerate() {
        let error = engine.apply(Position(2 + nth as u64), &[put(b"seen", b""), refused]).unwrap_err();
        assert!(matches!(error, TreeError::TooLarge { .. }), "{error}");
        assert_eq!(Cause::from(error).class, Class::Invalid);
    }
    assert_eq!(everything(&engine).partitions.len(), 1);
}

#[test]
fn a_dropped_table_stays_dropped() {
    let disk = Disk::in_memory();
    let engine = open(&disk);
    engine.apply(Position(1), &[put(b"k", b"")]).unwrap();
    engine.apply(Position(2), &[Mutation { table: TableId(2), ..put(b"k", b"") }]).unwrap();
    assert_eq!(engine.tables(), [TABLE, TableId(2)]);
    finish_work(&engine, 2);
    assert_eq!(engine.table_stats(TABLE).rows, 1);
    assert!(engine.table_stats(TABLE).file_bytes > 0);
    engine.drop_table(TABLE).unwrap();
    engine.apply(Position(3), &[put(b"k", b"")]).unwrap();
    for engine in [engine, open(&disk)] {
        assert_eq!(engine.tables(), [TableId(2)]);
        assert_eq!(everything(&engine), Page::default());
        assert_eq!(engine.table_stats(TABLE), crate::TableEstimate::default());
    }
}

/// A table and the state of a Machine change in one batch, and are not mistaken for each other.
#[test]
fn machines_have_trees_of_their_own() {
    let engine = open(&Disk::in_memory());
    let machine = Engine::machine_tree(GroupId(TABLE.0), 0);
    assert_eq!((Engine::table_of(machine), Engine::tree_of(TABLE)), (None, TreeId(1)));
    for (group, generation) in [(0, 0), (1, 3), (Engine::MAX_GROUPS - 1, Engine::MAX_GENERATIONS - 1)] {
        let tree = Engine::machine_tree(GroupId(group), generation);
        assert_eq!(Engine::machine_of(tree), Some((GroupId(group), generation)));
        assert_eq!(Engine::table_of(tree), None);
    }
    assert_eq!(Engine::machine_of(Engine::tree_of(TABLE)), None);
    // The companions of tables have the highest bit.
    let companion = TableId(TABLE.0 | 1 << 63);
    assert_eq!(Engine::table_of(Engine::tree_of(companion)), Some(companion));
    let mut batch = Batch::new();
    engine.add(&mut batch, &[put(b"k", b"")]).unwrap();
    batch.put(machine, "applied", encode_latest(Some(b"7")));
    engine.forest().apply(Position(1), batch).unwrap();
    assert_eq!(everything(&engine).partitions.len(), 1);
    assert_eq!(engine.tables(), [TABLE]);
    let value = engine.forest().get(machine, b"applied").unwrap().unwrap();
    assert_eq!(decode_latest(&value).unwrap().as_deref(), Some(&b"7"[..]));
}

/// What says nothing leaves nothing: no row, no tree.
#[test]
fn what_says_nothing_leaves_nothing() {
    let engine = open(&Disk::in_memory());
    let nothing = base::NO_TIMESTAMP;
    let changes = vec![
        Change::Row { clustering: Bytes::new(), cells: vec![] },
        Change::Row { clustering: Bytes::new(), cells: vec![(ColumnId(1), Cell::tombstone(nothing))] },
        Change::DeleteRows { from: Bytes::new(), to: None, timestamp: nothing },
        Change::DeleteRows { from: Bytes::new(), to: Some(Bytes::new()), timestamp: 5 },
        Change::DeletePartition { timestamp: nothing },
    ];
    let mutation = Mutation { table: TABLE, key: Bytes::from_static(b"k"), changes };
    engine.apply(Position(1), &[mutation]).unwrap();
    assert_eq!(engine.tables(), []);
    assert_eq!(engine.forest().applied_position(), Position(1));
}

/// A column twice in one change, in any order: the version that stands.
#[test]
fn cells_in_any_order() {
    let engine = open(&Disk::in_memory());
    let cell = |column, timestamp, value: &'static [u8]| {
        (ColumnId(column), Cell::live(timestamp, Bytes::from_static(value)))
    };
    let cells = vec![cell(2, 5, b"a"), cell(1, 5, b"b"), cell(2, 7, b"c"), cell(2, 6, b"d")];
    let change = Change::Row { clustering: Bytes::new(), cells };
    engine.apply(Position(1), &[Mutation { changes: vec![change], ..put(b"k", b"") }]).unwrap();
    let slices = vec![Slice::row(Bytes::new())];
    let selection = Selection::Partition { key: Bytes::from_static(b"k"), slices, reversed: false };
    let spec = ReadSpec { selection, ..ReadSpec::partition(TABLE, Bytes::new(), 0) };
    let page = engine.read(&spec, Patience::Wait).unwrap();
    assert_eq!(page.partitions[0].rows[0].cells, [cell(1, 5, b"b"), cell(2, 7, b"c")]);
}

/// Bytes that pass their checksum and are no row are told as damage, with the tree.
#[test]
fn what_is_no_row_is_damage() {
    let engine = open(&Disk::in_memory());
    let mut batch = Batch::new();
    engine.add(&mut batch, &[put(b"k", b"")]).unwrap();
    batch.put(Engine::tree_of(TABLE), "no key of a row", b"\x01\x05\0\0\0\0\0\0\0".to_vec());
    engine.forest().apply(Position(1), batch).unwrap();
    let selection = Selection::Tokens { first: Token::MIN, last: Token::MAX };
    let spec = ReadSpec { selection, ..ReadSpec::partition(TABLE, Bytes::new(), 0) };
    let error = engine.read(&spec, Patience::Wait).unwrap_err();
    assert!(matches!(&error, TreeError::Damaged(damage) if damage.tree == Some(TreeId(1))), "{error}");
    assert_eq!(Cause::from(error).class, Class::Corrupt);
    // Others are read.
    let spec = ReadSpec::partition(TABLE, Bytes::from_static(b"k"), 0);
    assert_eq!(engine.read(&spec, Patience::Wait).unwrap().partitions.len(), 1);
}
