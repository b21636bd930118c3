//! SELECT and DELETE with any restrictions against brute force: all rows, the restrictions tested
//! one by one.

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

/// Restrictions of the clustering columns c and d, as text and as what they mean.
#[derive(Clone, Debug)]
enum Rows {
    Prefix(i32),
    Range { operator: &'static str, value: i32 },
    Between { from: i32, to: i32 },
    PrefixAndRange { c: i32, operator: &'static str, d: i32 },
    Lists { c: Vec<i32>, d: Vec<i32> },
    Tuples(Vec<(i32, i32)>),
    TupleRange { operator: &'static str, bound: (i32, i32) },
    TuplePrefixRange { operator: &'static str, bound: i32 },
}

fn compare(operator: &str, order: std::cmp::Ordering) -> bool {
    match operator {
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    }
}

impl Rows {
    fn text(&self) -> String {
        let list = |values: &[i32]| values.iter().map(i32::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Rows::Prefix(c) => format!("c = {c}"),
            Rows::Range { operator, value } => format!("c {operator} {value}"),
            Rows::Between { from, to } => format!("c >= {from} AND c < {to}"),
            Rows::PrefixAndRange { c, operator, d } => format!("c = {c} AND d {operator} {d}"),
            Rows::Lists { c, d } => format!("c IN ({}) AND d IN ({})", list(c), list(d)),
            Rows::Tuples(rows) => {
                let rows: Vec<String> = rows.iter().map(|(c, d)| format!("({c}, {d})")).collect();
                format!("(c, d) IN ({})", rows.join(", "))
            }
            Rows::TupleRange { operator, bound: (c, d) } => format!("(c, d) {operator} ({c}, {d})"),
            Rows::TuplePrefixRange { operator, bound } => format!("(c) {operator} ({bound})"),
        }
    }

    fn hold(&self, (c, d): (i32, i32)) -> bool {
        match self {
            Rows::Prefix(value) => c == *value,
            Rows::Range { operator, value } => compare(operator, c.cmp(value)),
            Rows::Between { from, to } => (*from..*to).contains(&c),
            Rows::PrefixAndRange { c: value, operator, d: bound } => {
                c == *value && compare(operator, d.cmp(bound))
            }
            Rows::Lists { c: cs, d: ds } => cs.contains(&c) && ds.contains(&d),
            Rows::Tuples(rows) => rows.contains(&(c, d)),
            Rows::TupleRange { operator, bound } => compare(operator, (c, d).cmp(bound)),
            Rows::TuplePrefixRange { operator, bound } => compare(operator, c.cmp(bound)),
        }
    }
}

fn rows() -> impl Strategy<Value = Rows> {
    let operator = || select(vec!["<", "<=", ">", ">="]);
    let value = || -1..5;
    prop_oneof![
        value().prop_map(Rows::Prefix),
        (operator(), value()).prop_map(|(operator, value)| Rows::Range { operator, value }),
        (value(), value()).prop_map(|(from, to)| Rows::Between { from, to }),
        (value(), operator(), value()).prop_map(|(c, operator, d)| Rows::PrefixAndRange { c, operator, d }),
        (vec(value(), 1..4), vec(value(), 1..4)).prop_map(|(c, d)| Rows::Lists { c, d }),
        vec((value(), value()), 1..4).prop_map(Rows::Tuples),
        (operator(), (value(), value())).prop_map(|(operator, bound)| Rows::TupleRange { operator, bound }),
        (operator(), value()).prop_map(|(operator, bound)| Rows::TuplePrefixRange { operator, bound }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn slices_equal_brute_force(
        rows in rows(),
        (c_descending, d_descending) in any::<(bool, bool)>(),
        reversed: bool,
        step_rows in 1usize..9,
        page_size in 0u32..6,
    ) {
        // A range of tuples has one direction.
        let d_descending = if matches!(rows, Rows::TupleRange { .. }) { c_descending } else { d_descending };
        let mut teller = teller(step_rows);
        let word = |descending: bool| if descending { "DESC" } else { "ASC" };
        let mut story = format!(
            "CREATE KEYSPACE test WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}\n\
             USE test\n\
             CREATE TABLE t (k int, c int, d int, PRIMARY KEY (k, c, d)) WITH CLUSTERING ORDER BY (c {}, d {})\n",
            word(c_descending),
            word(d_descending),
        );
        let mut stored: Vec<(i32, i32)> = (0..4).flat_map(|c| (0..4).map(move |d| (c, d))).collect();
        for (c, d) in &stored {
            story.push_str(&format!("INSERT INTO t (k, c, d) VALUES (1, {c}, {d})\n"));
        }
        let told = teller.play(&story);
        prop_assert!(!told.contains("INVALID"), "{}", told);

        let turned = |value: i32, descending: bool| if descending != reversed { -value } else { value };
        stored.sort_by_key(|(c, d)| (turned(*c, c_descending), turned(*d, d_descending)));
        let text = |(c, d): &(i32, i32)| vec![c.to_string(), d.to_string()];
        let order = format!("ORDER BY c {}", word(c_descending != reversed));
        let clause = rows.text();
        let found = all_pages(&teller, &format!("SELECT c, d FROM t WHERE k = 1 AND {clause} {order}"), page_size);
        let expected: Vec<Vec<String>> = stored.iter().filter(|row| rows.hold(**row)).map(text).collect();
        prop_assert_eq!(found, expected, "{}", clause);

        // What is deleted is what was selected.
        let told = teller.play(&format!("DELETE FROM t WHERE k = 1 AND {clause}\n"));
        prop_assert!(told.ends_with("  ok\n"), "{}", told);
        let found = all_pages(&teller, &format!("SELECT c, d FROM t WHERE k = 1 {order}"), page_size);
        let expected: Vec<Vec<String>> = stored.iter().filter(|row| !rows.hold(**row)).map(text).collect();
        prop_assert_eq!(found, expected, "{}", clause);
    }
}
