//! A store in a few maps: what the engine's statements are tried on. Its pages end early, at a
//! bound of rows looked at, so that everything that goes on after a page is tried too.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use base::{
    Bound, Cause, Cell, Change, Class, ColumnId, GroupId, Mutation, NodeId, SpaceId, TableId, Token, token_of,
};
use bytes::Bytes;
use store::{
    Cas, CasOutcome, Catalog, Cluster, Consistency, Done, Gate, Machines, Node, Page, PartitionRows, Permit,
    Place, Read, Row, Schema, SchemaChange, SchemaEvent, Selection, Slice, Space, Store, Table, Tables,
    Write,
};
use tokio::sync::broadcast;

#[derive(Default)]
struct Partition {
    rows: BTreeMap<Bytes, BTreeMap<ColumnId, Cell>>,
    deletes: Vec<(Bytes, Bound, i64)>,
}

impl Partition {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Row { clustering, cells } => {
                let row = self.rows.entry(clustering).or_default();
                for (column, cell) in cells {
                    match row.get(&column) {
                        Some(old) if !cell.supersedes(old) => {}
                        _ => drop(row.insert(column, cell)),
                    }
                }
            }
            Change::DeleteRows { from, to, timestamp } => self.deletes.push((from, to, timestamp)),
            Change::DeletePartition { timestamp } => self.deletes.push((Bytes::new(), None, timestamp)),
        }
    }

    /// The row as readers see it, if it exists.
    fn row(&self, clustering: &Bytes, now: u32, columns: Option<&[ColumnId]>) -> Option<Row> {
        let covers = |(from, to, timestamp): &(Bytes, Bound, i64)| {
            let slice = Slice { from: from.clone(), to: to.clone() };
            slice.contains(clustering).then_some(*timestamp)
        };
        let deleted_at = self.deletes.iter().filter_map(covers).max().unwrap_or(i64::MIN);
        let cells = self.rows.get(clustering)?.iter();
        let live: Vec<_> =
            cells.filter(|(_, cell)| cell.timestamp > deleted_at && cell.is_live(now)).collect();
        if live.is_empty() {
            return None;
        }
        let wanted = live.into_iter().filter(|(id, _)| columns.is_none_or(|columns| columns.contains(id)));
        Some(Row {
            clustering: clustering.clone(),
            cells: wanted.map(|(id, cell)| (*id, cell.clone())).collect(),
        })
    }
}

type Ring = BTreeMap<(Token, Bytes), Partition>;

pub(super) struct Model {
    schema: Mutex<Arc<Schema>>,
    tables: Mutex<BTreeMap<TableId, Ring>>,
    events: broadcast::Sender<SchemaEvent>,
    /// Rows looked at before a page ends.
    step_rows: usize,
}

impl Model {
    pub(super) fn store(step_rows: usize) -> Store {
        let model = Arc::new(Model {
            schema: Mutex::default(),
            tables: Mutex::default(),
            events: broadcast::channel(16).0,
            step_rows,
        });
        Store { gate: Arc::new(Gate::open()), catalog: model.clone(), tables: model.clone(), machines: model }
    }

    /// Why a request cannot be: its table is gone, or this node alone is not enough.
    fn refusal(&self, table: TableId, consistency: Consistency) -> Option<Cause> {
        let schema = self.schema();
        let space = schema.spaces.values().find(|space| space.tables.values().any(|t| t.id == table));
        let Some(space) = space else { return Some(Cause::absent("the table does not exist any more")) };
        let replicas = space.replication_factor();
        let required = match consistency {
            Consistency::Quorum => replicas / 2 + 1,
            Consistency::All => replicas,
            _ => 1,
        };
        let class = Class::Unavailable { required, alive: 1 };
        (required > 1).then(|| Cause::new(class, "Cannot achieve consistency level"))
    }

    fn page(&self, read: &Read) -> Page {
        let tables = self.tables.lock().unwrap();
        let mut page = Page::default();
        let Some(ring) = tables.get(&read.table) else {
            return page;
        };
        let mut candidates: Vec<(&Bytes, &Partition, Vec<&Bytes>)> = Vec::new();
        match &read.selection {
            Selection::Tokens { first, last } => {
                for ((token, key), partition) in ring {
                    let passed =
                        read.after.as_ref().is_some_and(|p| (*token, key) < (token_of(&p.key), &p.key));
                    if (*first..=*last).contains(token) && !passed {
                        candidates.push((key, partition, partition.rows.keys().collect()));
                    }
                }
            }
            Selection::Partition { key, slices, reversed } => {
                if let Some((stored, partition)) = ring.get_key_value(&(token_of(key), key.clone())) {
                    let within = |row: &&Bytes| slices.iter().any(|slice| slice.contains(row));
                    let mut rows: Vec<&Bytes> = partition.rows.keys().filter(within).collect();
                    if *reversed {
                        rows.reverse();
                    }
                    candidates.push((&stored.1, partition, rows));
                }
            }
        }
        let reversed = matches!(read.selection, Selection::Partition { reversed: true, .. });
        let mut returned = 0;
        for (key, partition, rows) in candidates {
            for clustering in rows {
                if let Some(place) = read.after.as_ref().filter(|place| place.key == *key) {
                    let passed = place
                        .clustering
                        .as_ref()
                        .is_none_or(|last| if reversed { clustering >= last } else { clustering <= last });
                    if passed {
                        continue;
                    }
                }
                if returned == read.limit_rows || page.scanned_rows as usize == self.step_rows {
                    return page;
                }
                page.scanned_rows += 1;
                page.more = Some(Place { key: key.clone(), clustering: Some(clustering.clone()) });
                let Some(row) = partition.row(clustering, read.now_seconds, read.columns.as_deref()) else {
                    continue;
                };
                let values = row.cells.iter().filter_map(|(_, cell)| cell.value.as_ref());
                page.scanned_bytes += values.map(|value| value.len() as u64).sum::<u64>();
                returned += 1;
                match page.partitions.last_mut().filter(|last| last.key == *key) {
                    Some(last) => last.rows.push(row),
                    None => page.partitions.push(PartitionRows { key: key.clone(), rows: vec![row] }),
                }
            }
        }
        page.more = None;
        page
    }

    fn apply(&self, mutation: Mutation) {
        let mut tables = self.tables.lock().unwrap();
        let ring = tables.entry(mutation.table).or_default();
        let partition = ring.entry((token_of(&mutation.key), mutation.key)).or_default();
        mutation.changes.into_iter().for_each(|change| partition.apply(change));
    }
}

impl Tables for Model {
    fn write(&self, _: Permit, write: Write, done: Done<()>) {
        done.complete(match self.refusal(write.mutation.table, write.consistency) {
            Some(cause) => Err(cause),
            None => {
                self.apply(write.mutation);
                Ok(())
            }
        });
    }

    fn read(&self, _: Permit, read: Read, done: Done<Page>) {
        done.complete(match self.refusal(read.table, read.consistency) {
            Some(cause) => Err(cause),
            None => Ok(self.page(&read)),
        });
    }

    fn compare_and_set(&self, _: Permit, mut cas: Cas, done: Done<CasOutcome>) {
        if let Some(cause) = self.refusal(cas.table, cas.serial) {
            return done.complete(Err(cause));
        }
        let read = Read {
            table: cas.table,
            selection: Selection::Partition {
                key: cas.key.clone(),
                slices: cas.slices.clone(),
                reversed: false,
            },
            after: None,
            columns: None,
            limit_rows: usize::MAX,
            limit_bytes: usize::MAX,
            now_seconds: cas.now_seconds,
            consistency: Consistency::One,
        };
        let page = self.page(&read);
        let decided = (cas.decide)(i64::from(cas.now_seconds) * 1_000_000 + 999_999, &page);
        done.complete(decided.map(|mutation| {
            let applied = mutation.is_some();
            mutation.into_iter().for_each(|mutation| self.apply(mutation));
            CasOutcome { applied, page }
        }));
    }
}

impl Catalog for Model {
    fn schema(&self) -> Arc<Schema> {
        self.schema.lock().unwrap().clone()
    }

    fn cluster(&self) -> Arc<Cluster> {
        let node = Node {
            id: NodeId(1),
            host_uuid: 1,
            locality: store::Locality::default(),
            state: store::NodeState::Member,
            versions: store::Versions::BUILD,
            tokens: vec![0],
            addresses: BTreeMap::new(),
        };
        Arc::new(Cluster {
            name: "test".to_owned(),
            local: NodeId(1),
            nodes: vec![node],
            ..Cluster::default()
        })
    }

    fn change(&self, _: Permit, change: SchemaChange, done: Done<Arc<Schema>>) {
        let mut current = self.schema.lock().unwrap();
        let mut schema = Schema::clone(&current);
        schema.epoch += 1;
        let id = schema.epoch;
        match change {
            SchemaChange::CreateSpace { name, replication, durable_writes } => {
                let space = Space {
                    id: SpaceId(id),
                    name: name.clone(),
                    replication,
                    durable_writes,
                    tables: BTreeMap::new(),
                };
                schema.spaces.insert(name, Arc::new(space));
            }
            SchemaChange::DropSpace { name } => drop(schema.spaces.remove(&name)),
            SchemaChange::CreateTable(draft) => {
                let mut columns = draft.columns;
                for (i, column) in columns.iter_mut().enumerate() {
                    column.id = ColumnId(i as u32 + 1);
                }
                let (name, options, uuid) = (draft.name, draft.options, draft.uuid);
                let table = Table {
                    id: TableId(id),
                    uuid,
                    space: draft.space.clone(),
                    name: name.clone(),
                    columns,
                    options,
                };
                let space = schema.spaces.get_mut(&draft.space).unwrap();
                Arc::make_mut(space).tables.insert(name, Arc::new(table));
            }
            SchemaChange::DropTable { space, name } => {
                Arc::make_mut(schema.spaces.get_mut(&space).unwrap()).tables.remove(&name);
            }
            SchemaChange::TruncateTable { space, name } => {
                let space = Arc::make_mut(schema.spaces.get_mut(&space).unwrap());
                Arc::make_mut(space.tables.get_mut(&name).unwrap()).id = TableId(id);
            }
        }
        *current = Arc::new(schema);
        done.complete(Ok(current.clone()));
    }

    fn events(&self) -> broadcast::Receiver<SchemaEvent> {
        self.events.subscribe()
    }
}

impl Machines for Model {
    fn propose(&self, _: Permit, _: GroupId, _: store::Proposal, done: Done<Bytes>) {
        done.complete(Err(Cause::unsupported("no Machines here")));
    }

    fn barrier(&self, _: Permit, _: GroupId, done: Done<()>) {
        done.complete(Err(Cause::unsupported("no Machines here")));
    }
}
