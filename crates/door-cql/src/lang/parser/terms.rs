//! Terms (values) and types.

use super::Parser;
use crate::{
    bind::CqlError,
    lang::{
        ast::{Literal, LiteralKind, Marker, Term, TypeExpr},
        lexer::Kind,
    },
};

impl Parser<'_> {
    /// A value.
    pub(super) fn term(&mut self) -> Result<Term, CqlError> {
        let term = self.nested(Self::primary)?;
        self.refuse_arithmetic()?;
        if self.ends_a_term() { Ok(term) } else { Err(self.no_viable_alternative()) }
    }

    /// Whether what stands here can follow a value.
    fn ends_a_term(&self) -> bool {
        const WORDS: [&str; 14] = [
            "and", "if", "where", "allow", "limit", "per", "order", "group", "using", "as", "from", "apply",
            "insert", "update",
        ];
        const SIGNS: [&str; 6] = [")", "]", "}", ",", ":", ";"];
        let token = self.peek();
        matches!(token.kind, Kind::Eof | Kind::BadCharacter | Kind::Unterminated)
            || SIGNS.iter().any(|sign| self.is_symbol(sign))
            || self.is_any_keyword_at(self.at, &WORDS)
            || self.is_keyword("delete")
    }

    /// An integer or a marker, as LIMIT, TTL and TIMESTAMP take it.
    pub(super) fn whole_number(&mut self) -> Result<Term, CqlError> {
        let number = self.at + usize::from(self.is_symbol("-"));
        if self.is_marker() || self.token(number).kind == Kind::Integer {
            self.primary()
        } else {
            Err(self.no_viable_alternative())
        }
    }

    /// Whether a name and `(` stand here.
    pub(super) fn begins_call(&self) -> bool {
        self.is_symbol_at(self.at + 1, "(")
            || (self.is_symbol_at(self.at + 1, ".") && self.is_symbol_at(self.at + 3, "("))
    }

    /// Whether a word that is a constant stands here.
    pub(super) fn is_constant_word(&self) -> bool {
        self.is_any_keyword_at(self.at, &["true", "false", "nan", "infinity", "null"])
    }

    /// Refuses what the language could go on with after a value.
    pub(super) fn refuse_arithmetic(&self) -> Result<(), CqlError> {
        match ["+", "-", "*", "/", "%"].iter().find(|sign| self.is_symbol(sign)) {
            Some(sign) => Err(CqlError::unsupported(format!("arithmetic ('{sign}')"))),
            None => Ok(()),
        }
    }

    /// A value without arithmetic, at this depth.
    pub(super) fn primary(&mut self) -> Result<Term, CqlError> {
        if let Some(literal) = self.literal() {
            return Ok(Term::Literal(literal));
        }
        if self.is_symbol("?") || self.is_symbol(":") {
            return Ok(Term::Marker(self.marker()?));
        }
        if self.accept_keyword("null") {
            return Ok(Term::Null);
        }
        if self.accept("[") {
            let items = if self.is_symbol("]") { Vec::new() } else { self.list_of(Self::term)? };
            self.expect("]")?;
            return Ok(Term::List(items));
        }
        if self.accept("{") {
            return self.braced();
        }
        if self.is_symbol("(") {
            return self.parenthesised();
        }
        self.call()
    }

    /// A constant, if one is here.
    fn literal(&mut self) -> Option<Literal> {
        let minus = self.is_symbol("-");
        let at = self.at + usize::from(minus);
        let token = self.token(at);
        let text = self.text(token);
        let named = |word: &str| token.kind == Kind::Ident && text.eq_ignore_ascii_case(word);
        let (kind, text) = match token.kind {
            Kind::Integer => (LiteralKind::Integer, text.to_owned()),
            Kind::Float => (LiteralKind::Float, text.to_owned()),
            Kind::Duration => (LiteralKind::Duration, text.to_owned()),
            // It has no sign.
            Kind::Ident if named("nan") => (LiteralKind::Float, "NaN".to_owned()),
            Kind::Ident if named("infinity") => (LiteralKind::Float, "Infinity".to_owned()),
            _ if minus => return None,
            Kind::Uuid => (LiteralKind::Uuid, text.to_owned()),
            Kind::Hex => (LiteralKind::Hex, text.to_owned()),
            Kind::Str => (LiteralKind::String, unquoted(text)),
            Kind::Ident if named("true") || named("false") => (LiteralKind::Boolean, text.to_owned()),
            _ => return None,
        };
        self.at = at + 1;
        Some(Literal { kind, text: if minus && text != "NaN" { format!("-{text}") } else { text } })
    }

    /// `?` or `:name`.
    pub(super) fn marker(&mut self) -> Result<Marker, CqlError> {
        let name = if self.accept("?") {
            None
        } else {
            self.expect(":")?;
            Some(self.name()?)
        };
        let index = self.markers;
        self.markers += 1;
        Ok(Marker { index, name })
    }

    /// Whether a marker begins here.
    pub(super) fn is_marker(&self) -> bool {
        self.is_symbol("?") || self.is_symbol(":")
    }

    /// What follows `{`: a set, a map or a user type.
    fn braced(&mut self) -> Result<Term, CqlError> {
        if self.accept("}") {
            return Ok(Term::Set(Vec::new()));
        }
        if self.name_at(self.at).is_some() && self.is_symbol_at(self.at + 1, ":") {
            let fields = self.list_of(|parser| {
                let name = parser.name()?;
                parser.expect(":")?;
                Ok((name, parser.term()?))
            })?;
            self.expect("}")?;
            return Ok(Term::Udt(fields));
        }
        let first = self.term()?;
        if !self.is_symbol(":") {
            let mut items = vec![first];
            while self.accept(",") {
                items.push(self.term()?);
            }
            self.expect("}")?;
            return Ok(Term::Set(items));
        }
        self.expect(":")?;
        let mut entries = vec![(first, self.term()?)];
        while self.accept(",") {
            let key = self.term()?;
            self.expect(":")?;
            entries.push((key, self.term()?));
        }
        self.expect("}")?;
        Ok(Term::Map(entries))
    }

    /// `(type) term`, or a tuple.
    fn parenthesised(&mut self) -> Result<Term, CqlError> {
        let begins_type = self.name_at(self.at + 1).is_some()
            && !self.is_any_keyword_at(self.at + 1, &["true", "false"])
            && ["<", ")", "."].iter().any(|symbol| self.is_symbol_at(self.at + 2, symbol));
        self.expect("(")?;
        if begins_type && !(self.is_symbol_at(self.at + 1, ".") && self.is_symbol_at(self.at + 3, "(")) {
            let ty = self.type_expr()?;
            self.expect(")")?;
            return Ok(Term::TypeHint { ty, term: Box::new(self.nested(Self::primary)?) });
        }
        let items = self.list_of(Self::term)?;
        self.expect(")")?;
        Ok(Term::Tuple(items))
    }

    /// `function(term, ...)`.
    fn call(&mut self) -> Result<Term, CqlError> {
        let name = self.function_name()?;
        self.expect("(")?;
        let args = if self.is_symbol(")") { Vec::new() } else { self.list_of(Self::term)? };
        self.expect(")")?;
        Ok(Term::Call { name, args })
    }

    /// The name of a function before `(`; those of other keyspaces do not exist yet.
    pub(super) fn function_name(&mut self) -> Result<String, CqlError> {
        if self.is_keyword("token") && self.is_symbol_at(self.at + 1, "(") {
            self.advance();
            return Ok("token".to_owned());
        }
        let Some(mut name) = self.name_at(self.at) else {
            return Err(self.no_viable_alternative());
        };
        let mut after = self.at + 1;
        let mut keyspace = None;
        if self.is_symbol_at(after, ".")
            && let Some(function) = self.name_at(after + 1)
        {
            keyspace = Some(std::mem::replace(&mut name, function));
            after += 2;
        }
        if !self.is_symbol_at(after, "(") {
            return Err(self.no_viable_alternative());
        }
        self.at = after;
        match keyspace.as_deref() {
            None | Some("system") => Ok(name),
            Some(keyspace) => Err(CqlError::invalid(format!("Unknown function '{keyspace}.{name}'"))),
        }
    }

    /// A type.
    pub(super) fn type_expr(&mut self) -> Result<TypeExpr, CqlError> {
        self.nested(Self::type_here)
    }

    fn type_here(&mut self) -> Result<TypeExpr, CqlError> {
        let token = self.peek();
        if token.kind == Kind::Str {
            self.advance();
            return Ok(TypeExpr::Custom(unquoted(self.text(token))));
        }
        // `set` is reserved for UPDATE and names a type all the same.
        let name = if self.accept_keyword("set") { "set".to_owned() } else { self.name()? };
        let quoted = token.kind == Kind::Quoted;
        if self.accept(".") {
            let quoted = self.peek().kind == Kind::Quoted;
            return Ok(TypeExpr::Named { keyspace: Some(name), name: self.name()?, quoted });
        }
        if quoted || !self.accept("<") {
            return Ok(TypeExpr::Named { keyspace: None, name, quoted });
        }
        if !matches!(name.as_str(), "vector" | "list" | "set" | "map" | "tuple" | "frozen") {
            // No other type has parameters.
            return Err(self.no_viable_alternative_from(self.at - 2, self.at - 1));
        }
        if name == "vector" {
            let element = Box::new(self.type_expr()?);
            self.expect(",")?;
            let token = self.peek();
            let len = self.text(token).parse().ok().filter(|_| token.kind == Kind::Integer);
            let len = len.ok_or_else(|| self.no_viable_alternative())?;
            self.advance();
            self.expect(">")?;
            return Ok(TypeExpr::Vector { element, len });
        }
        let args = if name == "map" {
            let key = self.type_expr()?;
            self.expect(",")?;
            vec![key, self.type_expr()?]
        } else if name == "tuple" {
            self.list_of(Self::type_expr)?
        } else {
            vec![self.type_expr()?]
        };
        self.expect(">")?;
        Ok(TypeExpr::Generic { name, args })
    }
}

/// The content of a string token.
pub(super) fn unquoted(text: &str) -> String {
    match text.strip_prefix("$$") {
        Some(rest) => rest[..rest.len() - 2].to_owned(),
        None => text[1..text.len() - 1].replace("''", "'"),
    }
}
