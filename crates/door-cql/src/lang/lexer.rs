//! Text to tokens.
//!
//! Tokens are places in the text, nothing is copied. Space and comments are tokens too
//! ([`Kind::Hidden`]): the parser does not see them, but Cassandra counts them when it cuts the
//! snippet that follows a syntax error.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or a keyword, not quoted.
    Ident,
    /// A name in double quotes.
    Quoted,
    /// A string in single quotes or between `$$`.
    Str,
    Integer,
    Float,
    Duration,
    Uuid,
    Hex,
    Symbol,
    Hidden,
    Eof,
    /// A character no token begins with.
    BadCharacter,
    /// A string, name or comment without its end.
    Unterminated,
}

/// A token: a kind and a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Token {
    /// Its text.
    pub(super) fn text(self, source: &str) -> &str {
        &source[self.start as usize..self.end as usize]
    }
}

const SYMBOLS: [&str; 26] = [
    "!=", "<=", ">=", "+=", "-=", "..", "(", ")", "[", "]", "{", "}", ",", ";", ":", ".", "=", "<", ">", "+",
    "-", "*", "/", "%", "?", "!",
];

/// The token that begins at `start`. `source` is shorter than 4 GiB.
pub(super) fn token_at(source: &str, start: usize) -> Token {
    let rest = &source[start..];
    let (kind, len) = match rest.chars().next() {
        None => (Kind::Eof, 0),
        Some(first) => scan(rest, first),
    };
    Token { kind, start: start as u32, end: (start + len) as u32 }
}

/// Every token of `source`, without the hidden ones; the last is `Eof`. A text that does not
/// lex ends with the token that is wrong.
pub(super) fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(source.len() / 6 + 2);
    let mut at = 0;
    loop {
        let token = token_at(source, at);
        at = token.end as usize;
        match token.kind {
            Kind::Hidden => {}
            Kind::Eof | Kind::BadCharacter | Kind::Unterminated => {
                tokens.push(token);
                return tokens;
            }
            _ => tokens.push(token),
        }
    }
}

fn scan(rest: &str, first: char) -> (Kind, usize) {
    let bytes = rest.as_bytes();
    if matches!(first, ' ' | '\t' | '\r' | '\n') {
        return (Kind::Hidden, run(bytes, |byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')));
    }
    if rest.starts_with("--") || rest.starts_with("//") {
        return (Kind::Hidden, rest.find('\n').unwrap_or(rest.len()));
    }
    if let Some(comment) = rest.strip_prefix("/*") {
        return match comment.find("*/") {
            Some(end) => (Kind::Hidden, end + 4),
            None => (Kind::Unterminated, rest.len()),
        };
    }
    match first {
        '\'' => delimited(rest, '\'', Kind::Str),
        '"' => delimited(rest, '"', Kind::Quoted),
        '$' if rest.starts_with("$$") => match rest[2..].find("$$") {
            Some(end) => (Kind::Str, end + 4),
            None => (Kind::Unterminated, rest.len()),
        },
        '0'..='9' | 'a'..='z' | 'A'..='Z' => word(rest),
        _ => match SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            Some(symbol) => (Kind::Symbol, symbol.len()),
            None => (Kind::BadCharacter, first.len_utf8()),
        },
    }
}

fn run(bytes: &[u8], accept: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| accept(**byte)).count()
}

/// Text up to the next `quote` that is not doubled.
fn delimited(rest: &str, quote: char, kind: Kind) -> (Kind, usize) {
    let mut at = 1;
    while let Some(found) = rest[at..].find(quote) {
        at += found + 1;
        if !rest[at..].starts_with(quote) {
            return (kind, at);
        }
        at += 1;
    }
    (Kind::Unterminated, rest.len())
}

/// A token that begins with a letter or digit: of those possible, the longest.
fn word(rest: &str) -> (Kind, usize) {
    let bytes = rest.as_bytes();
    if is_uuid(bytes) {
        return (Kind::Uuid, 36);
    }
    if let Some(len) = iso_duration(bytes) {
        return (Kind::Duration, len);
    }
    if !bytes[0].is_ascii_digit() {
        return (Kind::Ident, run(bytes, |byte| byte.is_ascii_alphanumeric() || byte == b'_'));
    }
    if bytes.len() >= 2 && bytes[0] == b'0' && matches!(bytes[1], b'x' | b'X') {
        return (Kind::Hex, 2 + run(&bytes[2..], |byte| byte.is_ascii_hexdigit()));
    }
    if let Some(len) = simple_duration(rest) {
        return (Kind::Duration, len);
    }
    number(bytes)
}

fn number(bytes: &[u8]) -> (Kind, usize) {
    let mut len = run(bytes, |byte| byte.is_ascii_digit());
    let mut kind = Kind::Integer;
    // `1..2` is a range, `1.` a number.
    if bytes.get(len) == Some(&b'.') && bytes.get(len + 1) != Some(&b'.') {
        kind = Kind::Float;
        len += 1 + run(&bytes[len + 1..], |byte| byte.is_ascii_digit());
    }
    if matches!(bytes.get(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(len + 1), Some(b'+' | b'-')));
        let digits = run(bytes.get(len + 1 + sign..).unwrap_or_default(), |byte| byte.is_ascii_digit());
        if digits > 0 {
            kind = Kind::Float;
            len += 1 + sign + digits;
        }
    }
    (kind, len)
}

/// The length of `1y2mo3d`, which needs at least one unit and nothing word-like after it.
fn simple_duration(rest: &str) -> Option<usize> {
    const UNITS: [&str; 11] = ["mo", "ms", "us", "µs", "ns", "y", "w", "d", "h", "m", "s"];
    let mut at = 0;
    loop {
        let digits = run(&rest.as_bytes()[at..], |byte| byte.is_ascii_digit());
        let after = &rest[at + digits..];
        if digits == 0 {
            break;
        }
        let unit = UNITS
            .iter()
            .find(|unit| after.get(..unit.len()).is_some_and(|text| text.eq_ignore_ascii_case(unit)))?;
        at += digits + unit.len();
    }
    let ends = !rest[at..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    (at > 0 && ends).then_some(at)
}

/// The length of `P1Y2M3DT4H5M6S`, `P2W` or `P0001-02-03T04:05:06`.
fn iso_duration(bytes: &[u8]) -> Option<usize> {
    if !matches!(bytes.first(), Some(b'p' | b'P')) {
        return None;
    }
    let alternative = b"dddd-dd-ddTdd:dd:dd";
    let is_alternative = bytes.len() > alternative.len()
        && alternative.iter().zip(&bytes[1..]).all(|(pattern, byte)| match pattern {
            b'd' => byte.is_ascii_digit(),
            pattern => pattern.eq_ignore_ascii_case(byte),
        });
    if is_alternative {
        return Some(1 + alternative.len());
    }
    let len = run(bytes, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let mut at = 1;
    let mut in_time = false;
    let mut parts = 0;
    while at < len {
        if !in_time && bytes[at].eq_ignore_ascii_case(&b'T') {
            in_time = true;
            at += 1;
            continue;
        }
        let digits = run(&bytes[at..len], |byte| byte.is_ascii_digit());
        let units: &[u8] = if in_time { b"HMS" } else { b"YMDW" };
        let unit = bytes.get(at + digits).filter(|_| at + digits < len)?;
        if digits == 0 || !units.contains(&unit.to_ascii_uppercase()) {
            return None;
        }
        at += digits + 1;
        parts += 1;
    }
    (parts > 0).then_some(len)
}

fn is_uuid(bytes: &[u8]) -> bool {
    let shaped = bytes.len() >= 36
        && bytes[..36].iter().enumerate().all(|(i, byte)| match i {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    shaped && !bytes.get(36).is_some_and(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<(Kind, &str)> {
        tokens(source).into_iter().map(|token| (token.kind, token.text(source))).collect()
    }

    #[test]
    fn words_of_every_kind() {
        use Kind::{Duration, Float, Hex, Hidden, Ident, Integer, Quoted, Str, Uuid};
        let cases = [
            ("abc_1", Ident),
            ("\"A \"\"b\"", Quoted),
            ("'it''s'", Str),
            ("$$it's$$", Str),
            ("12", Integer),
            ("12.", Float),
            ("1.5e-3", Float),
            ("1e5", Float),
            ("1h30m", Duration),
            ("5µs", Duration),
            ("P1Y2M3DT4H5M6S", Duration),
            ("P2W", Duration),
            ("P0001-02-03T04:05:06", Duration),
            ("P", Ident),
            ("p1_x", Ident),
            ("0xCAFE", Hex),
            ("6ab09bec-e68e-48d9-a5f8-97e6fb4c9b47", Uuid),
            ("-- to the end", Hidden),
            ("// to the end", Hidden),
            ("/* over\nlines */", Hidden),
        ];
        for (text, kind) in cases {
            assert_eq!(token_at(text, 0), Token { kind, start: 0, end: text.len() as u32 }, "{text}");
        }
    }

    #[test]
    fn tokens_end_where_they_should() {
        use Kind::{BadCharacter, Eof, Ident, Integer, Symbol, Unterminated};
        assert_eq!(kinds("a<=-1"), [(Ident, "a"), (Symbol, "<="), (Symbol, "-"), (Integer, "1"), (Eof, "")]);
        assert_eq!(kinds("1..2"), [(Integer, "1"), (Symbol, ".."), (Integer, "2"), (Eof, "")]);
        assert_eq!(kinds("a @ b"), [(Ident, "a"), (BadCharacter, "@")]);
        assert_eq!(kinds("'a"), [(Unterminated, "'a")]);
    }
}
