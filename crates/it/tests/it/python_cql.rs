//! The Cassandra driver that most Python programs use, connecting as it does by default.

use std::time::Duration;

use crate::{
    harness::{Program, Server},
    need_python,
};

fn passes(name: &str, program: &str, args: &[&str]) {
    let server = Server::start(name);
    assert!(!Program::run(&server, program, args).is_empty());
}

#[test]
fn every_native_type_goes_in_and_comes_out_equal_and_in_order() {
    need_python!();
    passes("cql-types", "cql_types.py", &[]);
}

#[test]
fn rows_follow_their_timestamps_expire_and_are_found_by_slices() {
    need_python!();
    passes("cql-rows", "cql_rows.py", &[]);
}

#[test]
fn more_rows_than_a_page_come_back_whole() {
    need_python!();
    passes("cql-paging", "cql_paging.py", &[]);
}

#[test]
fn prepared_statements_outlive_the_server() {
    need_python!();
    let mut server = Server::start("cql-prepared");
    let mut program = Program::start(&server, "cql_prepared.py", &[]);
    program.expect("prepared", Duration::from_secs(60));
    assert!(server.stop("TERM").success());
    server.restart();
    program.tell("restarted");
    program.finish();
}

#[test]
fn an_emptied_table_goes_on_under_the_same_prepared_statements() {
    need_python!();
    passes("cql-truncate", "cql_truncate.py", &[]);
}

#[test]
fn conditional_writes_tell_whether_they_were_applied() {
    need_python!();
    passes("cql-conditions", "cql_conditions.py", &[]);
}

#[test]
fn counting_by_compare_and_set_from_many_clients_loses_nothing() {
    need_python!();
    passes("cql-counters", "cql_counters.py", &["8", "25"]);
}

#[test]
fn the_driver_parses_the_schema_and_hears_of_changes() {
    need_python!();
    passes("cql-schema", "cql_schema.py", &[]);
}
