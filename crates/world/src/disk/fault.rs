//! [`Fault`]: what is to go wrong on a simulated disk, as one line of text, so that a test that
//! fails can print the line that makes it fail again.
//!
//! ```text
//! line      = outcome [occurrence] operation ["on" '"' pattern '"']
//! outcome   = fail | short | full | cut
//! occurrence= nth(N) | every | one-in(N)          nth(1) if left out
//! operation = create | open | read | write | sync | sync-folder | rename | remove | link | list
//!           | make-folder | change | any
//! pattern   = a name relative to the disk, in which * stands for any characters
//!
//! fail nth(3) write on "tree/*.tree"
//! fail rename
//! full create on "log/reserve"
//! fail one-in(20) read on "tree/*"
//! cut nth(7) change
//! ```
//!
//! Occurrences are counted from when the fault is injected, and only of what the rest of the line
//! means. `change` is each operation that changes the disk or is to make a change durable.

use std::{collections::BTreeMap, fmt, str::FromStr};

/// Something that will go wrong. Parsed from a line (see the module) and shown as one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What happens.
    pub outcome: Outcome,
    /// To which of the operations that match.
    pub occurrence: Occurrence,
    /// The operations that match.
    pub operations: Operations,
    /// The names that match: a rename or link by either of its names, a sync of a folder by the
    /// folder's name.
    pub pattern: String,
}

/// How an operation goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Outcome {
    /// It fails and has done nothing. A sync that fails loses any part of what it was to make
    /// durable for good, though reads still see it.
    Fail,
    /// It fails, and a beginning of its bytes was written or read; or its change of names was
    /// made nevertheless.
    Short,
    /// There is no room for it. Of a write, a beginning was written; a sync has lost bytes as one
    /// that fails.
    Full,
    /// The power goes just before it. Everything then fails until [`super::SimDisk::crash`].
    Cut,
}

/// Which of the operations that match.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Occurrence {
    /// This one only, counted from 1.
    Nth(u64),
    /// All of them.
    Every,
    /// Each with a chance of one in so many.
    OneIn(u64),
}

/// One kind of operation, or several.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operations {
    /// One kind.
    Only(Operation),
    /// All that change the disk or make a change durable.
    Change,
    /// All.
    Any,
}

/// What a disk is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Operation {
    /// Make a file.
    Create,
    /// Open a file.
    Open,
    /// Read from a file, or ask for its length.
    Read,
    /// Write to a file.
    Write,
    /// Make a file's bytes durable.
    Sync,
    /// Make a folder's names durable.
    SyncFolder,
    /// Give a file another name.
    Rename,
    /// Remove a name.
    Remove,
    /// Give a file one more name.
    Link,
    /// List a folder.
    List,
    /// Make a folder.
    MakeFolder,
}

use Operation::{Create, Link, List, MakeFolder, Open, Read, Remove, Rename, Sync, SyncFolder, Write};

impl Operation {
    /// All there are.
    pub const ALL: [Operation; 11] =
        [Create, Open, Read, Write, Sync, SyncFolder, Rename, Remove, Link, List, MakeFolder];

    /// Whether it changes the disk or makes a change durable, so that the disk before it and the
    /// disk after it differ in what a power cut leaves. (Making a folder is durable at once.)
    pub fn changes(self) -> bool {
        !matches!(self, Open | Read | List | MakeFolder)
    }

    /// Whether it can end so: a sync knows no half, and what takes no room is never told that
    /// there is none.
    pub fn can(self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Fail | Outcome::Cut => true,
            Outcome::Short => matches!(self, Create | Read | Write | Rename | Remove | Link),
            Outcome::Full => self != Remove && self != MakeFolder && self.changes(),
        }
    }

    /// The word for it, which errors name as what was tried.
    pub(super) fn word(self) -> &'static str {
        match self {
            Create => "create",
            Open => "open",
            Read => "read",
            Write => "write",
            Sync => "sync",
            SyncFolder => "sync-folder",
            Rename => "rename",
            Remove => "remove",
            Link => "link",
            List => "list",
            MakeFolder => "make-folder",
        }
    }
}

impl Operations {
    fn contain(self, operation: Operation) -> bool {
        match self {
            Operations::Only(only) => only == operation,
            Operations::Change => operation.changes(),
            Operations::Any => true,
        }
    }
}

impl Fault {
    /// Every fault there can be in what a disk was asked for (see
    /// [`super::SimDisk::take_operations`]): each operation goes wrong once, in each way but a
    /// power cut. `site` gives the pattern for a name, so that a fault still meets its operation
    /// where names differ from run to run.
    pub fn each_of(operations: &[(Operation, String)], site: fn(&str) -> &str) -> Vec<Fault> {
        let mut seen: BTreeMap<(Operation, &str), u64> = BTreeMap::new();
        let mut faults = Vec::new();
        for (operation, name) in operations {
            let pattern = site(name);
            let nth = seen.entry((*operation, pattern)).or_default();
            *nth += 1;
            for outcome in [Outcome::Fail, Outcome::Short, Outcome::Full] {
                if operation.can(outcome) {
                    faults.push(Fault {
                        outcome,
                        occurrence: Occurrence::Nth(*nth),
                        operations: Operations::Only(*operation),
                        pattern: pattern.to_owned(),
                    });
                }
            }
        }
        faults
    }

    /// Whether it is about an operation on a file of this name.
    pub(super) fn matches(&self, operation: Operation, name: &str) -> bool {
        self.operations.contain(operation)
            && operation.can(self.outcome)
            && glob(self.pattern.as_bytes(), name.as_bytes())
    }
}

/// Whether `name` is what `pattern` means. Each `*` first takes nothing, then one more each time
/// the rest does not fit; only the last one met can still have to take more.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p) == Some(&name[n]) {
            (p, n) = (p + 1, n + 1);
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            (p, n) = (at + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// A line that is no fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoFault(String);

impl fmt::Display for NoFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no fault: {}", self.0)
    }
}

impl std::error::Error for NoFault {}

impl FromStr for Fault {
    type Err = NoFault;

    fn from_str(line: &str) -> Result<Fault, NoFault> {
        let wrong = |what: &str| NoFault(format!("{what} in `{line}`"));
        let (words, pattern) = match line.split_once('"') {
            None => (line, "*"),
            Some((words, rest)) => {
                let words = words.trim_end().strip_suffix("on").ok_or_else(|| wrong("no `on`"))?;
                let pattern = rest.trim_end().strip_suffix('"');
                (words, pattern.filter(|it| !it.contains('"')).ok_or_else(|| wrong("a bad pattern"))?)
            }
        };
        let mut words = words.split_whitespace();
        let outcome = match words.next().unwrap_or_default() {
            "fail" => Outcome::Fail,
            "short" => Outcome::Short,
            "full" => Outcome::Full,
            "cut" => Outcome::Cut,
            _ => return Err(wrong("an unknown outcome")),
        };
        let mut word = words.next().unwrap_or_default();
        let occurrence = parse_occurrence(word).transpose().map_err(|()| wrong("a bad number"))?;
        if occurrence.is_some() {
            word = words.next().unwrap_or_default();
        }
        let operations = match word {
            "change" => Operations::Change,
            "any" => Operations::Any,
            _ => {
                let operation = Operation::ALL.into_iter().find(|operation| operation.word() == word);
                let operation = operation.ok_or_else(|| wrong("an unknown operation"))?;
                if !operation.can(outcome) {
                    return Err(wrong("an operation that cannot end so"));
                }
                Operations::Only(operation)
            }
        };
        if words.next().is_some() {
            return Err(wrong("a word too many"));
        }
        let occurrence = occurrence.unwrap_or(Occurrence::Nth(1));
        Ok(Fault { outcome, occurrence, operations, pattern: pattern.to_owned() })
    }
}

/// `None` if the word is not about occurrences at all.
fn parse_occurrence(word: &str) -> Option<Result<Occurrence, ()>> {
    let number = |rest: &str| {
        let number = rest.strip_suffix(')').and_then(|digits| digits.parse::<u64>().ok());
        number.filter(|&number| number > 0).ok_or(())
    };
    if word == "every" {
        Some(Ok(Occurrence::Every))
    } else if let Some(rest) = word.strip_prefix("nth(") {
        Some(number(rest).map(Occurrence::Nth))
    } else {
        word.strip_prefix("one-in(").map(|rest| number(rest).map(Occurrence::OneIn))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.outcome {
            Outcome::Fail => "fail",
            Outcome::Short => "short",
            Outcome::Full => "full",
            Outcome::Cut => "cut",
        })?;
        match self.occurrence {
            Occurrence::Nth(n) => write!(f, " nth({n}) ")?,
            Occurrence::Every => f.write_str(" every ")?,
            Occurrence::OneIn(n) => write!(f, " one-in({n}) ")?,
        }
        f.write_str(match self.operations {
            Operations::Only(operation) => operation.word(),
            Operations::Change => "change",
            Operations::Any => "any",
        })?;
        write!(f, " on \"{}\"", self.pattern)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_line_is_read_and_shown_again() {
        for (line, shown) in [
            (r#"fail nth(3) write on "tree/*.tree""#, r#"fail nth(3) write on "tree/*.tree""#),
            ("fail rename", r#"fail nth(1) rename on "*""#),
            (r#" full  create on  "log/reserve" "#, r#"full nth(1) create on "log/reserve""#),
            (r#"fail one-in(20) read on "tree/*""#, r#"fail one-in(20) read on "tree/*""#),
            (r#"fail every sync-folder on """#, r#"fail every sync-folder on """#),
            ("cut nth(7) change", r#"cut nth(7) change on "*""#),
            ("short any", r#"short nth(1) any on "*""#),
        ] {
            let fault: Fault = line.parse().unwrap();
            assert_eq!(fault.to_string(), shown);
            assert_eq!(shown.parse::<Fault>().unwrap(), fault);
        }
        for line in [
            "",
            "fail",
            "break write",
            "fail nth(0) write",
            "fail nth(x) write",
            "fail nth(3 write",
            "fail paint",
            "fail write now",
            "short sync",
            "full remove",
            "full read",
            r#"fail write "log""#,
            r#"fail write on "log"#,
            r#"fail write on "log" "tree""#,
        ] {
            let refused = line.parse::<Fault>().unwrap_err();
            assert!(refused.to_string().contains(line), "{refused}");
        }
    }

    #[test]
    fn a_star_is_any_characters() {
        for (pattern, name, fits) in [
            ("*", "", true),
            ("*", "log/1.seg", true),
            ("", "", true),
            ("", "log", false),
            ("log/*", "log/1.seg", true),
            ("log/*.seg", "log/1.seg", true),
            ("log/*.seg", "log/reserve", false),
            ("*1*1", "log/1.seg", false),
            ("*1*1", "log/11", true),
            ("*ab", "aab", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-", false),
            ("log", "logs", false),
            ("logs", "log", false),
            ("log**", "log", true),
        ] {
            assert_eq!(glob(pattern.as_bytes(), name.as_bytes()), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn a_fault_is_about_operations_that_can_end_so() {
        let fault = |line: &str| line.parse::<Fault>().unwrap();
        assert!(fault("full any").matches(Write, "x"));
        assert!(!fault("full any").matches(Read, "x"));
        assert!(fault("fail any").matches(Read, "x"));
        assert!(!fault("fail change").matches(Read, "x"));
        assert!(fault("cut change").matches(Rename, "x"));
        assert!(!fault(r#"fail write on "a""#).matches(Write, "b"));
        assert!(!fault("fail write").matches(Sync, "b"));
    }

    #[test]
    fn each_operation_goes_wrong_in_each_way_it_can() {
        let operations = [(Create, "a1"), (Sync, "a1"), (Open, "b"), (Create, "a2")];
        let operations = operations.map(|(operation, name)| (operation, name.to_owned()));
        let site = |name: &str| if name.starts_with('a') { "a*" } else { "b" };
        let lines: Vec<String> = Fault::each_of(&operations, site).iter().map(Fault::to_string).collect();
        let expected = [
            r#"fail nth(1) create on "a*""#,
            r#"short nth(1) create on "a*""#,
            r#"full nth(1) create on "a*""#,
            r#"fail nth(1) sync on "a*""#,
            r#"full nth(1) sync on "a*""#,
            r#"fail nth(1) open on "b""#,
            r#"fail nth(2) create on "a*""#,
            r#"short nth(2) create on "a*""#,
            r#"full nth(2) create on "a*""#,
        ];
        assert_eq!(lines, expected);
    }
}
