//! SELECT with any restrictions against brute force: all rows, the restrictions tested one by one.

use proptest::{collection::vec, prelude::*, sample::select};

use super::{all_pages, teller};

/// A row: k, c, v, w; the last two may be null.
type Values = (i32, i32, Option<i32>, Option<char>);

#[derive(Clone, Debug)]
struct Relation {
    column: &'static str,
    operator: &'static str,
    /// For text columns the letter after 'a'.
    value: i32,
}

impl Relation {
    fn text(&self) -> String {
        let Relation { column, operator, value } = self;
        let value = if *column == "w" { format!("'{}'", letter(*value)) } else { value.to_string() };
        format!("{column} {operator} {value}")
    }

    fn holds(&self, row: &Values) -> bool {
        let stored = match self.column {
            "k" => Some(row.0),
            "c" => Some(row.1),
            "v" => row.2,
            _ => row.3.map(|letter| letter as i32 - 'a' as i32),
        };
        stored.is_some_and(|stored| match self.operator {
            "=" => stored == self.value,
            "<" => stored < self.value,
            "<=" => stored <= self.value,
            ">" => stored > self.value,
            _ => stored >= self.value,
        })
    }
}

fn letter(number: i32) -> char {
    (b'a' + number as u8) as char
}

fn relation() -> impl Strategy<Value = Relation> {
    let columns = select(vec!["k", "c", "v", "w"]);
    let operators = select(vec!["=", "=", "<", "<=", ">", ">="]);
    (columns, operators, 0..4).prop_map(|(column, operator, value)| Relation { column, operator, value })
}

fn row() -> impl Strategy<Value = Values> {
    (0..4, 0..4, proptest::option::of(0..4), proptest::option::of((0..4).prop_map(letter)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn filtering_equals_brute_force(
        rows in vec(row(), 0..20),
        mut relations in vec(relation(), 0..4),
        descending: bool,
        step_rows in 1usize..9,
        page_size in 0u32..5,
        limit in proptest::option::of(1usize..6),
    ) {
        let mut teller = teller(step_rows);
        let order = if descending { "DESC" } else { "ASC" };
        let mut story = format!(
            "CREATE KEYSPACE test WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}\n\
             USE test\n\
             CREATE TABLE t (k int, c int, v int, w text, PRIMARY KEY (k, c)) WITH CLUSTERING ORDER BY (c {order})\n"
        );
        // Later rows replace earlier ones of their key.
        let mut stored: Vec<Values> = Vec::new();
        for row in &rows {
            let v = row.2.map_or("null".to_owned(), |v| v.to_string());
            let w = row.3.map_or("null".to_owned(), |w| format!("'{w}'"));
            story.push_str(&format!("INSERT INTO t (k, c, v, w) VALUES ({}, {}, {v}, {w})\n", row.0, row.1));
            stored.retain(|old| (old.0, old.1) != (row.0, row.1));
            stored.push(*row);
        }
        let told = teller.play(&story);
        prop_assert!(!told.contains("INVALID"), "{}", told);

        // Cassandra wants each column equal once, or bounded once at each end.
        let mut seen = std::collections::BTreeSet::new();
        relations.retain(|relation| seen.insert(relation.column));
        let clause: Vec<String> = relations.iter().map(Relation::text).collect();
        let clause = if clause.is_empty() { String::new() } else { format!("WHERE {}", clause.join(" AND ")) };
        let limit_text = limit.map_or(String::new(), |limit| format!("LIMIT {limit}"));
        let found = all_pages(&teller, &format!("SELECT k, c FROM t {clause} {limit_text} ALLOW FILTERING"), page_size);

        stored.retain(|row| relations.iter().all(|relation| relation.holds(row)));
        let token = |row: &Values| base::token_of(&row.0.to_be_bytes());
        stored.sort_by_key(|row| (token(row), if descending { -row.1 } else { row.1 }));
        stored.truncate(limit.unwrap_or(usize::MAX));
        let expected: Vec<Vec<String>> = stored.iter().map(|row| vec![row.0.to_string(), row.1.to_string()]).collect();
        prop_assert_eq!(found, expected);
    }
}
