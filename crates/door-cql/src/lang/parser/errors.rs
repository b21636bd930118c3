//! Syntax errors in Cassandra's form: place, complaint, and a snippet of the text with the
//! offending token in brackets.

use super::Parser;
use crate::{
    bind::CqlError,
    lang::lexer::{self, Kind, Token},
};

/// Tokens shown before the offending one, space counted.
const TOKENS_BEFORE: usize = 10;
/// Tokens shown after it, space counted.
const TOKENS_AFTER: usize = 2;
/// The most characters of one token that are shown.
const SHOWN_CHARS: usize = 200;

impl Parser<'_> {
    /// Nothing the grammar knows goes on like this.
    pub(super) fn no_viable_alternative(&self) -> CqlError {
        self.complain(|shown| format!("no viable alternative at input '{shown}'"))
    }

    /// Something certain had to follow.
    pub(super) fn mismatched(&self, expected: &str) -> CqlError {
        self.complain(|shown| format!("mismatched input '{shown}' expecting {expected}"))
    }

    /// The statement is complete but the text goes on.
    pub(super) fn missing_end(&self) -> CqlError {
        self.complain(|shown| format!("missing EOF at '{shown}'"))
    }

    /// Parentheses within parentheses.
    pub(super) fn too_deep(&self, limit: usize) -> CqlError {
        self.complain(|shown| format!("nested more than {limit} levels deep at input '{shown}'"))
    }

    fn complain(&self, message: impl FnOnce(&str) -> String) -> CqlError {
        let token = self.peek();
        let (line, column) = self.place(token);
        let text = match token.kind {
            // The lexer's own errors come without a snippet.
            Kind::BadCharacter => {
                let character = self.text(token);
                return CqlError::Syntax(format!(
                    "line {line}:{column} no viable alternative at character '{character}'"
                ));
            }
            Kind::Unterminated => {
                let quote = self.text(token).chars().next().unwrap_or_default();
                return CqlError::Syntax(format!(
                    "line {line}:{column} mismatched character '<EOF>' expecting '{quote}'"
                ));
            }
            Kind::Eof => "<EOF>".to_owned(),
            Kind::Quoted | Kind::Str if self.text(token).len() > 1 => {
                let text = self.text(token);
                shortened(text.trim_matches(|c| matches!(c, '\'' | '"' | '$')))
            }
            _ => shortened(self.text(token)),
        };
        let snippet = self.snippet(token);
        CqlError::Syntax(format!("line {line}:{column} {}{snippet}", message(&text)))
    }

    /// Line from 1, column from 0 in characters.
    fn place(&self, token: Token) -> (usize, usize) {
        let before = &self.source[..token.start as usize];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
        (line, column)
    }

    fn snippet(&self, offending: Token) -> String {
        if offending.kind == Kind::Eof {
            return String::new();
        }
        let mut starts = std::collections::VecDeque::new();
        let mut at = 0;
        while at < offending.start as usize {
            starts.push_back(at);
            if starts.len() > TOKENS_BEFORE {
                starts.pop_front();
            }
            at = lexer::token_at(self.source, at).end as usize;
        }
        let from = starts.front().copied().unwrap_or(offending.start as usize);
        let mut to = offending.end as usize;
        for _ in 0..TOKENS_AFTER {
            to = lexer::token_at(self.source, to).end as usize;
        }
        let show = |from: usize, to: usize| shortened(&self.source[from..to]).replace('\n', "");
        format!(
            " ({}{}[{}]{}{})",
            if from == 0 { "" } else { "..." },
            show(from, offending.start as usize),
            show(offending.start as usize, offending.end as usize),
            show(offending.end as usize, to),
            if to == self.source.len() { "" } else { "..." },
        )
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
