//! Stories: statements and their outcomes, as text.
//!
//! ```text
//! SELECT ...            a statement (one line)
//!   outcome             what came of it: rows, an error, `ok`
//! @ bind 1, 'x', null   values for the next statement: constants, `unset`
//! @ page 2              page size from now on (0: none); pages are told one by one
//! @ filtering strict    likewise
//! @ budget 10           rows
//! @ consistency quorum  from now on
//! @ timestamp 5         of the client, from now on (0: none)
//! @ advance 10          seconds
//! ```

use std::{fmt::Write, sync::Arc, time::Duration};

use bytes::Bytes;
use store::{Consistency, Done, Store, waiter};
use tokio::runtime::Runtime;
use world::{Clock, Entropy};

use crate::{
    bind::{CqlError, TableView},
    exec::{
        Answer, Answered, BoundValue, BoundValues, Budget, Engine, EngineSettings, Filtering, Outcome,
        Prepared, Request, Rows, VirtualTables,
    },
    lang::{self, Statement, Term},
    types::{CqlType, Native, literal_value},
};

/// One system table with a few rows.
struct OneTable(Arc<TableView>);

impl OneTable {
    fn new() -> OneTable {
        use store::ColumnKind::{Clustering, PartitionKey, Regular};
        let columns = [
            ("keyspace_name", PartitionKey, "text"),
            ("table_name", Clustering { descending: false }, "text"),
            ("flags", Regular, "frozen<set<text>>"),
            ("size", Regular, "int"),
        ];
        OneTable(Arc::new(TableView::define("system_schema", "tables", columns).unwrap()))
    }
}

impl VirtualTables for OneTable {
    fn has_keyspace(&self, keyspace: &str) -> bool {
        keyspace == "system_schema"
    }

    fn table(&self, keyspace: &str, name: &str) -> Option<Arc<TableView>> {
        (keyspace == "system_schema" && name == "tables").then(|| self.0.clone())
    }

    fn rows(&self, _: &TableView) -> Vec<Vec<Option<Bytes>>> {
        let text = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        let row = |keyspace, table, size: Option<i32>| {
            // Columns of one kind stand in the order of their names.
            let flags = Some(Bytes::from_static(b"\0\0\0\x01\0\0\0\x08compound"));
            vec![
                text(keyspace),
                text(table),
                flags,
                size.map(|size| Bytes::copy_from_slice(&size.to_be_bytes())),
            ]
        };
        vec![row("a", "t2", Some(2)), row("b", "t3", None), row("a", "t1", Some(1)), row("c", "t4", Some(4))]
    }
}

pub(super) struct Teller {
    store: Store,
    engine: Arc<Engine>,
    runtime: Runtime,
    clock: Clock,
    settings: EngineSettings,
    keyspace: Option<String>,
    request: Request,
}

impl Teller {
    pub(super) fn new(store: Store, clock: Clock) -> Teller {
        let settings = EngineSettings::default();
        let engine = engine(&store, &clock, settings);
        let request = Request::default();
        let runtime = world::task::runtime(1).unwrap();
        Teller { store, engine, runtime, clock, settings, keyspace: None, request }
    }

    /// Plays a story and returns it with the outcomes that came.
    pub(super) fn play(&mut self, story: &str) -> String {
        let mut told = String::new();
        for line in story.lines().filter(|line| !line.starts_with("  ")) {
            told.push_str(line);
            told.push('\n');
            if let Some(directive) = line.strip_prefix("@ ") {
                self.direct(directive);
            } else if !line.is_empty() && !line.starts_with('#') {
                self.tell(line, &mut told);
            }
        }
        told
    }

    fn direct(&mut self, directive: &str) {
        let (word, rest) = directive.split_once(' ').unwrap();
        let number = || rest.parse::<u64>().unwrap();
        match word {
            "bind" => self.request.values = BoundValues::Positional(values(rest)),
            "page" => self.request.page_size = Some(number() as u32).filter(|size| *size > 0),
            "timestamp" => self.request.timestamp_micros = Some(number() as i64).filter(|time| *time > 0),
            "advance" => self.clock.advance(Duration::from_secs(number())),
            "consistency" => {
                self.request.consistency = match rest {
                    "one" => Consistency::One,
                    "quorum" => Consistency::Quorum,
                    "any" => Consistency::Any,
                    "each_quorum" => Consistency::EachQuorum,
                    "serial" => Consistency::Serial,
                    other => panic!("{other}"),
                }
            }
            "filtering" => {
                self.settings.filtering = match rest {
                    "strict" => Filtering::Strict,
                    "bounded" => Filtering::Bounded,
                    "permissive" => Filtering::Permissive,
                    other => panic!("{other}"),
                };
                self.engine = engine(&self.store, &self.clock, self.settings);
            }
            "budget" => {
                self.settings.budget = Budget { rows: number(), ..Budget::default() };
                self.engine = engine(&self.store, &self.clock, self.settings);
            }
            other => panic!("{other}"),
        }
    }

    fn tell(&mut self, statement: &str, told: &mut String) {
        let mut request = self.request.clone();
        self.request.values = BoundValues::Positional(Vec::new());
        loop {
            match self.execute(statement, request.clone()) {
                Err(error) => {
                    writeln!(told, "  {}", error_text(&error)).unwrap();
                    return;
                }
                Ok(answered) => {
                    for warning in &answered.warnings {
                        writeln!(told, "  warning: {warning}").unwrap();
                    }
                    match answered.answer {
                        Answer::Void => writeln!(told, "  ok").unwrap(),
                        Answer::SetKeyspace(keyspace) => {
                            writeln!(told, "  now in {keyspace}").unwrap();
                            self.keyspace = Some(keyspace);
                        }
                        Answer::SchemaChange(changed) => {
                            let verb = if changed.created { "created" } else { "dropped" };
                            let name = changed.table.map(|table| format!(".{table}")).unwrap_or_default();
                            writeln!(told, "  {verb} {}{name}", changed.keyspace).unwrap();
                        }
                        Answer::Rows(rows) => {
                            rows_text(&rows, told);
                            if let Some(state) = rows.paging_state {
                                writeln!(told, "  -- next page").unwrap();
                                request.paging_state = Some(state);
                                continue;
                            }
                        }
                    }
                    return;
                }
            }
        }
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn execute(&self, statement: &str, request: Request) -> Result<Answered, CqlError> {
        self.run(&self.prepare(statement)?, request)
    }

    pub(super) fn prepare(&self, statement: &str) -> Result<Arc<Prepared>, CqlError> {
        self.engine.prepare(self.keyspace.as_deref(), statement)
    }

    /// Begins a statement, and waits until its task has ended.
    pub(super) fn run_for(&self, prepared: &Arc<Prepared>, done: Done<Outcome>) {
        let _entered = self.runtime.enter();
        self.engine.execute(prepared, Request::default(), done);
        while self.runtime.metrics().num_alive_tasks() > 0 {
            std::thread::yield_now();
        }
    }

    pub(super) fn run(&self, prepared: &Arc<Prepared>, request: Request) -> Result<Answered, CqlError> {
        let (done, waiter) = waiter();
        let _entered = self.runtime.enter();
        self.engine.execute(prepared, request, done);
        self.runtime.block_on(waiter).unwrap()
    }
}

fn engine(store: &Store, clock: &Clock, settings: EngineSettings) -> Arc<Engine> {
    let entropy = Entropy::seeded(1);
    Arc::new(Engine::new(store.clone(), clock.clone(), entropy, settings, Arc::new(OneTable::new())))
}

/// Constants as values of the type each is usually of.
fn values(text: &str) -> Vec<BoundValue> {
    let parsed =
        lang::parse(&format!("INSERT INTO t (a) VALUES ({})", text.replace("unset", "unset()"))).unwrap();
    let Statement::Insert(insert) = parsed.statement else { panic!() };
    let value = |term: &Term| match term {
        Term::Null => BoundValue::Null,
        Term::Call { .. } => BoundValue::Unset,
        Term::List(items) => {
            let mut list = (items.len() as i32).to_be_bytes().to_vec();
            for item in items {
                let item = constant(item);
                list.extend_from_slice(&(item.len() as i32).to_be_bytes());
                list.extend_from_slice(&item);
            }
            BoundValue::Value(list.into())
        }
        term => BoundValue::Value(constant(term)),
    };
    insert.values.iter().map(value).collect()
}

fn constant(term: &Term) -> Bytes {
    let (ty, literal) = match term {
        Term::TypeHint { ty, term } => match &**term {
            Term::Literal(literal) => (CqlType::from_expr(ty).unwrap(), literal),
            other => panic!("{other}"),
        },
        Term::Literal(literal) => {
            let native = match literal.kind {
                lang::LiteralKind::String => Native::Text,
                lang::LiteralKind::Integer => Native::Int,
                lang::LiteralKind::Hex => Native::Blob,
                lang::LiteralKind::Uuid => Native::Uuid,
                lang::LiteralKind::Boolean => Native::Boolean,
                lang::LiteralKind::Float => Native::Double,
                lang::LiteralKind::Duration => Native::Duration,
            };
            (CqlType::Native(native), literal)
        }
        other => panic!("{other}"),
    };
    literal_value(&ty, literal, "").unwrap()
}

fn error_text(error: &CqlError) -> String {
    match error {
        CqlError::Syntax(message) => format!("SYNTAX {message}"),
        CqlError::Invalid(message) => format!("INVALID {message}"),
        CqlError::Config(message) => format!("CONFIG {message}"),
        CqlError::Unauthorized(message) => format!("UNAUTHORIZED {message}"),
        CqlError::Protocol(message) => format!("PROTOCOL {message}"),
        CqlError::AlreadyExists { message, keyspace, table } => {
            format!("EXISTS {message} [{keyspace}.{table}]")
        }
        CqlError::Store { cause, doing, consistency } => {
            let class = format!("{:?}", cause.class);
            format!("STORE {class} {doing:?} {consistency:?}")
        }
    }
}

fn rows_text(rows: &Rows, told: &mut String) {
    let names: Vec<String> =
        rows.metadata.columns.iter().map(|column| format!("{} {}", column.name, column.ty)).collect();
    writeln!(told, "  {}", names.join(" | ")).unwrap();
    for row in row_texts(rows) {
        writeln!(told, "    {}", row.join(" | ")).unwrap();
    }
}

/// The values of a result, as text.
pub(super) fn row_texts(rows: &Rows) -> Vec<Vec<String>> {
    let mut texts = Vec::new();
    let mut cells = rows.cells.as_slice();
    for _ in 0..rows.count {
        let mut values = Vec::new();
        for column in &rows.metadata.columns {
            let (len, rest) = cells.split_first_chunk::<4>().unwrap();
            let Ok(len) = usize::try_from(i32::from_be_bytes(*len)) else {
                values.push("null".to_owned());
                cells = rest;
                continue;
            };
            let (value, rest) = rest.split_at(len);
            values.push(value_text(&column.ty, value));
            cells = rest;
        }
        texts.push(values);
    }
    assert!(cells.is_empty(), "cells and columns agree");
    texts
}

fn value_text(ty: &CqlType, value: &[u8]) -> String {
    match ty.native() {
        _ if value.is_empty() => "(empty)".to_owned(),
        Some(Native::Text | Native::Ascii) => format!("'{}'", String::from_utf8_lossy(value)),
        Some(Native::Int) => i32::from_be_bytes(value.try_into().unwrap()).to_string(),
        Some(Native::Bigint | Native::Timestamp) => i64::from_be_bytes(value.try_into().unwrap()).to_string(),
        Some(Native::Boolean) => (value[0] != 0).to_string(),
        Some(Native::Double) => f64::from_be_bytes(value.try_into().unwrap()).to_string(),
        _ => format!("0x{}", value.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}
