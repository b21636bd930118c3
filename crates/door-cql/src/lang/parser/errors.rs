//! Syntax errors in Cassandra's form: place, complaint, and a snippet of the text with the
//! offending token in brackets.

use super::Parser;
use crate::{
    bind::CqlError,
    lang::lexer::{self, Kind, Token},
};

/// Tokens shown before the offending one, space counted.
const TOKENS_BEFORE: usize = 10;
/// Tokens shown after it, space counted, of those that were looked at.
const TOKENS_AFTER: usize = 2;
/// The most characters of one token that are shown.
const SHOWN_CHARS: usize = 200;

impl Parser<'_> {
    /// Nothing the grammar knows goes on like this.
    pub(super) fn no_viable_alternative(&self) -> CqlError {
        self.no_viable_alternative_from(self.at, self.at)
    }

    /// No rule that begins at the token `from` goes on with the token `at`: Cassandra's parser
    /// was still choosing a rule, so it points at where the rule would begin.
    pub(super) fn no_viable_alternative_from(&self, from: usize, at: usize) -> CqlError {
        self.complain(from, at, |shown| format!("no viable alternative at input '{shown}'"))
    }

    /// Something certain had to follow.
    pub(super) fn mismatched(&self, expected: &str) -> CqlError {
        self.complain(self.at, self.at, |shown| format!("mismatched input '{shown}' expecting {expected}"))
    }

    /// Parentheses within parentheses.
    pub(super) fn too_deep(&self, limit: usize) -> CqlError {
        self.complain(self.at, self.at, |shown| {
            format!("nested more than {limit} levels deep at input '{shown}'")
        })
    }

    /// Complains about the token `at`, with the token `from` in brackets.
    fn complain(&self, from: usize, at: usize, message: impl FnOnce(&str) -> String) -> CqlError {
        let token = self.token(at);
        let (line, column) = self.place(token.start as usize);
        let text = match token.kind {
            // The lexer's own errors come without a snippet.
            Kind::BadCharacter => {
                let character = self.text(token);
                return CqlError::Syntax(format!(
                    "line {line}:{column} no viable alternative at character '{character}'"
                ));
            }
            Kind::Unterminated => {
                let first = self.text(token).chars().next().unwrap_or_default();
                let end = if first == '/' { '*' } else { first };
                let (line, column) = self.place(token.end as usize);
                return CqlError::Syntax(format!(
                    "line {line}:{column} mismatched character '<EOF>' expecting '{end}'"
                ));
            }
            // Cassandra's end of text has no place.
            Kind::Eof => return CqlError::Syntax(format!("line 0:-1 {}", message("<EOF>"))),
            _ => shortened(self.content(token)),
        };
        let snippet = self.snippet(self.token(from), token);
        CqlError::Syntax(format!("line {line}:{column} {}{snippet}", message(&text)))
    }

    /// What Cassandra takes for the text of a token: that of a string or a quoted name is what
    /// stands between the quotes.
    fn content(&self, token: Token) -> &str {
        let text = self.text(token);
        match token.kind {
            Kind::Quoted | Kind::Str if text != "\"\"" => {
                let quotes = if text.starts_with('$') { 2 } else { 1 };
                &text[quotes..text.len() - quotes]
            }
            _ => text,
        }
    }

    /// Line from 1, column from 0 in characters.
    fn place(&self, start: usize) -> (usize, usize) {
        let before = &self.source[..start];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
        (line, column)
    }

    /// The text around the token `offending`; tokens after `last` were never looked at.
    fn snippet(&self, offending: Token, last: Token) -> String {
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
        // Cassandra counts the characters of the content from the opening quote.
        let chars = self.content(offending).chars().count();
        let shown = self.text(offending).char_indices().nth(chars);
        let shown_end = shown.map_or(offending.end as usize, |(end, _)| offending.start as usize + end);
        let mut to = shown_end;
        let mut next = offending.end as usize;
        for _ in 0..TOKENS_AFTER {
            if next >= last.end as usize {
                break;
            }
            next = lexer::token_at(self.source, next).end as usize;
            to = next;
        }
        let show = |from: usize, to: usize| shortened(&self.source[from..to]).replace('\n', "");
        format!(
            " ({}{}[{}]{}{})",
            if from == 0 { "" } else { "..." },
            show(from, offending.start as usize),
            show(offending.start as usize, shown_end),
            show(shown_end, to),
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
