//! [`TableView`]: a table as the language sees it, wherever its rows come from.
//!
//! SELECT is planned on views only, so one planner serves tables of the store and the system
//! tables, whose rows are computed.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use base::{ColumnId, TableId};
use store::{ColumnKind, Table};

use super::error::CqlError;
use crate::types::CqlType;

/// A column of a [`TableView`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ViewColumn {
    /// Its id in the store; for system tables its place, from 1.
    pub(crate) id: ColumnId,
    pub(crate) name: Arc<str>,
    pub(crate) ty: CqlType,
    pub(crate) kind: ColumnKind,
}

impl ViewColumn {
    /// Whether it is part of the primary key.
    pub(crate) fn is_key(&self) -> bool {
        matches!(self.kind, ColumnKind::PartitionKey | ColumnKind::Clustering { .. })
    }
}

/// A table: its columns in the order partition key, clustering, static, regular (each of the last
/// two by name), which is the order of `SELECT *`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableView {
    pub(crate) keyspace: Arc<str>,
    pub(crate) name: Arc<str>,
    /// The table's data in the store; `None` for a system table.
    pub(crate) id: Option<TableId>,
    /// The table's id as clients see it; 0 for a system table.
    pub(crate) uuid: u128,
    pub(crate) columns: Vec<ViewColumn>,
    /// The first `partition_len` columns are the partition key.
    pub(crate) partition_len: usize,
    /// The next `clustering_len` columns are the clustering key.
    pub(crate) clustering_len: usize,
    /// `default_time_to_live`, in seconds.
    pub(crate) default_ttl_seconds: u32,
    /// Whether unindexed filtering needs no leave (Cassandra: virtual tables).
    pub(crate) implicit_filtering: bool,
    by_name: BTreeMap<Arc<str>, usize>,
}

impl TableView {
    /// A system table. Columns may come in any order within their kind except that key columns
    /// come in key order; `ty` is CQL text.
    ///
    /// # Errors
    /// A type that cannot be read.
    pub(crate) fn define<'a>(
        keyspace: &str,
        name: &str,
        columns: impl IntoIterator<Item = (&'a str, ColumnKind, &'a str)>,
    ) -> Result<TableView, CqlError> {
        let mut view = Vec::new();
        for (name, kind, ty) in columns {
            view.push(ViewColumn { id: ColumnId(0), name: name.into(), ty: CqlType::parse(ty)?, kind });
        }
        let mut table = TableView::new(keyspace, name, None, view);
        for (place, column) in table.columns.iter_mut().enumerate() {
            column.id = ColumnId(place as u32 + 1);
        }
        table.implicit_filtering = matches!(keyspace, "system_views" | "system_virtual_schema");
        Ok(table)
    }

    /// A table of the store.
    ///
    /// # Errors
    /// A type that cannot be read, which only a damaged catalog has.
    pub(crate) fn of(table: &Table) -> Result<TableView, CqlError> {
        let mut columns = Vec::with_capacity(table.columns.len());
        for column in &table.columns {
            columns.push(ViewColumn {
                id: column.id,
                name: column.name.as_str().into(),
                ty: CqlType::parse(&column.type_name)?,
                kind: column.kind,
            });
        }
        let mut view = TableView::new(&table.space, &table.name, Some(table.id), columns);
        let ttl = table.options.get("default_time_to_live").and_then(|ttl| ttl.parse().ok());
        view.default_ttl_seconds = ttl.unwrap_or(0);
        view.uuid = table.uuid;
        Ok(view)
    }

    fn new(keyspace: &str, name: &str, id: Option<TableId>, mut columns: Vec<ViewColumn>) -> TableView {
        let rank = |column: &ViewColumn| match column.kind {
            ColumnKind::PartitionKey => 0,
            ColumnKind::Clustering { .. } => 1,
            ColumnKind::Static => 2,
            ColumnKind::Regular => 3,
        };
        columns.sort_by(|a, b| {
            let by_name = || if a.is_key() { std::cmp::Ordering::Equal } else { a.name.cmp(&b.name) };
            rank(a).cmp(&rank(b)).then_with(by_name)
        });
        TableView {
            keyspace: keyspace.into(),
            name: name.into(),
            id,
            uuid: 0,
            partition_len: columns.iter().filter(|column| rank(column) == 0).count(),
            clustering_len: columns.iter().filter(|column| rank(column) == 1).count(),
            default_ttl_seconds: 0,
            implicit_filtering: false,
            by_name: columns.iter().enumerate().map(|(i, column)| (column.name.clone(), i)).collect(),
            columns,
        }
    }

    /// Columns of the partition key.
    pub(crate) fn partition(&self) -> &[ViewColumn] {
        &self.columns[..self.partition_len]
    }

    /// Columns of the clustering key.
    pub(crate) fn clustering(&self) -> &[ViewColumn] {
        &self.columns[self.partition_len..self.key_len()]
    }

    /// How many columns the primary key has.
    pub(crate) fn key_len(&self) -> usize {
        self.partition_len + self.clustering_len
    }

    /// The place of a column, if it exists.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The place of a column.
    ///
    /// # Errors
    /// There is none of that name.
    pub(crate) fn column(&self, name: &str) -> Result<usize, CqlError> {
        self.find(name).ok_or_else(|| {
            CqlError::Invalid(format!(
                "Undefined column name {} in table {self}",
                crate::lang::quoted_name(name)
            ))
        })
    }
}

/// The views of one epoch of the definitions, made when first asked for: their types are kept as
/// texts, which take as long to read as a statement.
#[derive(Default)]
pub(crate) struct Views(RwLock<(u64, BTreeMap<TableId, Arc<TableView>>)>);

impl Views {
    /// The view of a table as it is defined at `epoch`.
    ///
    /// # Errors
    /// As [`TableView::of`].
    pub(crate) fn of(&self, epoch: u64, table: &Table) -> Result<Arc<TableView>, CqlError> {
        {
            let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(view) = known.1.get(&table.id).filter(|_| known.0 == epoch) {
                return Ok(view.clone());
            }
        }
        let view = Arc::new(TableView::of(table)?);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.0 < epoch {
            *known = (epoch, BTreeMap::new());
        }
        // Who still works with older definitions finds nothing here and leaves nothing.
        if known.0 == epoch {
            known.1.insert(table.id, view.clone());
        }
        Ok(view)
    }
}

impl fmt::Display for TableView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.keyspace, self.name)
    }
}
