//! The definitions of the system tables, read from `definitions.txt`.

use std::{collections::BTreeMap, sync::Arc};

use store::ColumnKind;

use crate::bind::TableView;

const TEXT: &str = include_str!("definitions.txt");

/// A system table.
pub(super) struct Definition {
    pub(super) view: Arc<TableView>,
    /// The id shown to clients; a virtual table has none.
    pub(super) id: Option<u128>,
    pub(super) gc_grace_seconds: &'static str,
    pub(super) comment: &'static str,
}

/// Definitions by keyspace and name.
pub(super) type Definitions = BTreeMap<(&'static str, &'static str), Definition>;

/// All definitions.
///
/// # Panics
/// When the text is wrong, which the tests exclude.
pub(super) fn definitions() -> Definitions {
    let tables = TEXT.split("\ntable ").skip(1);
    tables.map(|table| parse(table).expect("definitions.txt is well formed")).collect()
}

fn parse(table: &'static str) -> Option<((&'static str, &'static str), Definition)> {
    let mut lines = table.lines();
    let mut head = lines.next()?.splitn(4, ' ');
    let (keyspace, name) = head.next()?.split_once('.')?;
    let id = match head.next()? {
        "none" => None,
        uuid => Some(u128::from_str_radix(&uuid.replace('-', ""), 16).ok()?),
    };
    let gc_grace_seconds = head.next()?;
    let comment = head.next()?;
    let columns = lines.filter(|line| !line.is_empty()).map(column).collect::<Option<Vec<_>>>()?;
    let view = Arc::new(TableView::define(keyspace, name, columns).ok()?);
    Some(((keyspace, name), Definition { view, id, gc_grace_seconds, comment }))
}

fn column(line: &'static str) -> Option<(&'static str, ColumnKind, &'static str)> {
    let mut words = line.trim().splitn(3, ' ');
    let name = words.next()?;
    let kind = match words.next()? {
        "partition_key" => ColumnKind::PartitionKey,
        "clustering" => ColumnKind::Clustering { descending: false },
        "regular" => ColumnKind::Regular,
        _ => return None,
    };
    Some((name, kind, words.next()?))
}
