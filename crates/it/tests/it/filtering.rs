//! A SELECT that Cassandra refuses without ALLOW FILTERING, and replicas that are not there.

use crate::{
    harness::{Launch, Program, Server},
    need_python,
};

fn filtering(rule: &str, server: &Server) {
    let said = Program::run(server, "cql_filtering.py", &[rule]);
    assert_eq!(said.last().map(String::as_str), Some("done"));
}

#[test]
fn by_default_the_answer_is_whole_and_carries_a_warning() {
    need_python!();
    filtering("bounded", &Server::start("filtering-default"));
}

#[test]
fn strict_is_one_flag_away_and_answers_as_cassandra() {
    need_python!();
    filtering("strict", &Launch::new("filtering-strict").flags(&["--set", "cql.filtering=strict"]).start());
}

#[test]
fn a_settings_file_says_the_same() {
    need_python!();
    filtering("strict", &Launch::new("filtering-file").config("[cql]\nfiltering = \"strict\"\n").start());
}

#[test]
fn over_the_budget_it_is_refused_whole_and_never_answered_in_part() {
    need_python!();
    let flags = ["--set", "cql.filtering_rows=150"];
    filtering("over-budget", &Launch::new("filtering-budget").flags(&flags).start());
}

#[test]
fn permissive_answers_whatever_it_costs() {
    need_python!();
    let flags = ["--set", "cql.filtering=permissive", "--set", "cql.filtering_rows=150"];
    filtering("permissive", &Launch::new("filtering-permissive").flags(&flags).start());
}

#[test]
fn three_replicas_on_one_node_are_kept_warned_about_and_counted_truthfully() {
    need_python!();
    let server = Server::start("consistency");
    assert_eq!(Program::run(&server, "cql_consistency.py", &[]), ["done"]);
}
