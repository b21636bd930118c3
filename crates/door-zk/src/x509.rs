//! Scheme `x509`: a client is the subject of the certificate that it has shown.
//!
//! The id is the subject's distinguished name as Java writes it by default (RFC 2253, last part
//! first), because lists of other servers name clients so: `CN=worker,OU=test,O=Example`. The kit has
//! verified the certificate; here only the subject is picked out of its DER (X.690). What does not
//! read as expected is no id, which gives a client fewer rights, never more.

use std::fmt::Write;

/// Attributes that RFC 2253 has a short name for, by the bytes of their number.
const SHORT_NAMES: [(&[u8], &str); 9] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 9], "STREET"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
];

/// Names that Java reads besides numbers.
const KEYWORDS: [&str; 21] = [
    "C",
    "CN",
    "DC",
    "DNQ",
    "DNQUALIFIER",
    "EMAIL",
    "EMAILADDRESS",
    "GENERATION",
    "GIVENNAME",
    "INITIALS",
    "IP",
    "L",
    "O",
    "OU",
    "S",
    "SERIALNUMBER",
    "ST",
    "STREET",
    "SURNAME",
    "T",
    "UID",
];

/// What must be written with a backslash within a value.
const ESCAPED: &str = ",=+<>#;\"\\";

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const NUMBER: u8 = 0x06;

/// The id of a certificate's subject.
pub(crate) fn subject(certificate: &[u8]) -> Option<String> {
    let mut outer = certificate;
    let mut signed = element(&mut outer)?.of(SEQUENCE)?;
    let mut fields = element(&mut signed)?.of(SEQUENCE)?;
    let mut first = element(&mut fields)?;
    const VERSION: u8 = 0xa0;
    if first.tag == VERSION {
        first = element(&mut fields)?;
    }
    const INTEGER: u8 = 0x02;
    first.of(INTEGER)?;
    for _algorithm_issuer_validity in 0..3 {
        element(&mut fields)?.of(SEQUENCE)?;
    }
    let mut name = element(&mut fields)?.of(SEQUENCE)?;
    let mut parts = Vec::new();
    while !name.is_empty() {
        parts.push(part(element(&mut name)?.of(SET)?)?);
    }
    parts.reverse();
    Some(parts.join(","))
}

/// One part of a name: usually one attribute.
fn part(mut set: &[u8]) -> Option<String> {
    let mut text = String::new();
    while !set.is_empty() {
        let mut pair = element(&mut set)?.of(SEQUENCE)?;
        let number = element(&mut pair)?.of(NUMBER)?;
        let value = element(&mut pair)?;
        if !text.is_empty() {
            text.push('+');
        }
        let short = SHORT_NAMES.iter().find(|(known, _)| *known == number).map(|(_, name)| *name);
        match short {
            Some(name) if value.is_text() => {
                text += name;
                text.push('=');
                write_escaped(&String::from_utf8_lossy(value.content), &mut text);
            }
            _ => {
                text += &short.map_or_else(|| dotted(number), |name| Some(name.to_owned()))?;
                text += "=#";
                for byte in value.whole {
                    write!(text, "{byte:02x}").expect("writing to a string does not fail");
                }
            }
        }
    }
    Some(text)
}

fn write_escaped(value: &str, text: &mut String) {
    let is_space = |c: char| matches!(c, ' ' | '\r');
    let leading = value.len() - value.trim_start_matches(is_space).len();
    let trailing = value.trim_end_matches(is_space).len();
    for (at, c) in value.char_indices() {
        if c == '\0' {
            *text += "\\00";
            continue;
        }
        if ESCAPED.contains(c) || at < leading || at >= trailing {
            text.push('\\');
        }
        text.push(c);
    }
}

/// An object's number as text: base 128, and two numbers in the first.
fn dotted(bytes: &[u8]) -> Option<String> {
    let mut text = String::new();
    let mut number = 0u64;
    for byte in bytes {
        // Nobody's numbers are that long.
        number = number.checked_mul(128)? + u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if text.is_empty() {
            let first = (number / 40).min(2);
            write!(text, "{first}.{}", number - 40 * first).ok()?;
        } else {
            write!(text, ".{number}").ok()?;
        }
        number = 0;
    }
    (!text.is_empty()).then_some(text)
}

/// One element of DER.
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    /// With tag and length.
    whole: &'a [u8],
}

impl<'a> Element<'a> {
    fn of(&self, tag: u8) -> Option<&'a [u8]> {
        (self.tag == tag).then_some(self.content)
    }

    /// Whether Java writes it as text: UTF8, Printable, T61, IA5, General, BMP.
    fn is_text(&self) -> bool {
        matches!(self.tag, 12 | 19 | 20 | 22 | 27 | 30)
    }
}

/// Takes an element off the front. Lengths are checked against what is there; the indefinite form is
/// not DER.
fn element<'a>(bytes: &mut &'a [u8]) -> Option<Element<'a>> {
    let whole = *bytes;
    let (&tag, rest) = whole.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let (digits, behind) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.is_empty() || digits.len() > 4 {
            return None;
        }
        length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
        rest = behind;
    }
    let (content, behind) = rest.split_at_checked(length)?;
    *bytes = behind;
    Some(Element { tag, content, whole: &whole[..whole.len() - behind.len()] })
}

/// Whether `text` is a distinguished name, so that an access control list may name it.
pub(crate) fn is_name(text: &str) -> bool {
    text.is_empty() || attributes(text).is_some_and(|attributes| attributes.into_iter().all(is_attribute))
}

/// Cuts a name at `,`, `;` and `+` that are neither quoted nor escaped; `None` if a quote never ends.
fn attributes(text: &str) -> Option<Vec<&str>> {
    let (mut found, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ',' | ';' | '+' if !quoted => {
                found.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&text[start..]);
    (!quoted && !escaped).then_some(found)
}

/// `NAME=VALUE`.
fn is_attribute(text: &str) -> bool {
    let Some((keyword, value)) = text.split_once('=') else { return false };
    let keyword = keyword.trim().to_ascii_uppercase();
    let known = KEYWORDS.contains(&&*keyword) || is_number(keyword.strip_prefix("OID.").unwrap_or(&keyword));
    let value = value.trim_start_matches([' ', '\n']);
    known
        && if let Some(digits) = value.strip_prefix('#') {
            is_element(digits.trim_end())
        } else if let Some(quoted) = value.strip_prefix('"') {
            quoted.trim_end().strip_suffix('"').is_some_and(|inner| has_only_escaped(inner, "\""))
        } else {
            has_only_escaped(value, "<>\"")
        }
}

/// An object's number, dotted: below 0 and 1 the second is less than 40.
fn is_number(text: &str) -> bool {
    let numbers: Option<Vec<u64>> = text.split('.').map(|number| number.parse().ok()).collect();
    match numbers.as_deref() {
        Some([0 | 1, second, ..]) => *second < 40,
        Some([2, _, ..]) => true,
        _ => false,
    }
}

/// The hexadecimal digits of one element.
fn is_element(digits: &str) -> bool {
    let bytes: Option<Vec<u8>> = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
            u8::from_str_radix(pair, 16).ok()
        })
        .collect();
    bytes.is_some_and(|bytes| element(&mut &bytes[..]).is_some_and(|found| found.whole.len() == bytes.len()))
}

/// Whether `value` has none of `special` without a backslash, and a backslash only before what may
/// have one: a special character, or two hexadecimal digits.
fn has_only_escaped(value: &str, special: &str) -> bool {
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        if c == '\\' {
            let fits = match rest.next() {
                Some(c) if c.is_ascii_hexdigit() => rest.next().is_some_and(|c| c.is_ascii_hexdigit()),
                Some(c) => ESCAPED.contains(c) || matches!(c, ' ' | '\n'),
                None => false,
            };
            if !fits {
                return false;
            }
        } else if special.contains(c) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn wrapped(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag, 0x82];
        bytes.extend((content.len() as u16).to_be_bytes());
        bytes.extend(content);
        bytes
    }

    /// As much of a certificate as comes before its subject, and that.
    fn certificate(name: &str, version: bool) -> Vec<u8> {
        let name: Vec<u8> =
            (0..name.len()).step_by(2).map(|at| u8::from_str_radix(&name[at..at + 2], 16).unwrap()).collect();
        let version = if version { &b"\xa0\x03\x02\x01\x02"[..] } else { b"" };
        let fields =
            [version, b"\x02\x01\x05", b"\x30\x00", b"\x30\x00", b"\x30\x00", &name, b"rest"].concat();
        wrapped(SEQUENCE, &wrapped(SEQUENCE, &fields))
    }

    /// Names in DER, and what `X500Principal.getName()` of OpenJDK 17 made of them.
    const NAMES: [(&str, &str); 10] = [
        (
            "303b310b3009060355040613024445310c300a060355040a13034f7267310d300b060355040b130474657374310f300d06035504031306636c69656e74",
            "CN=client,OU=test,O=Org,C=DE",
        ),
        ("3022310a3008060355040a1301633114300806035504031301613008060355040b130162", "CN=a+OU=b,O=c"),
        (
            "3081c53111300f060a2b060104012a020b0201130131310a3008060355040713016c310a300806035504081301733111300f060a0992268993f22c6401011301753111300f060a0992268993f22c640119160164310a30080603550409130173310a300806035504051301353112301006092a864886f70d0109011603614062310a3008060355042c130178310a3008060355042b130178310a3008060355042a130178310a30080603550404130178310a3008060355042e130178310a3008060355040c130178",
            "2.5.4.12=#130178,2.5.4.46=#130178,2.5.4.4=#130178,2.5.4.42=#130178,2.5.4.43=#130178,2.5.4.44=#130178,1.2.840.113549.1.9.1=#1603614062,2.5.4.5=#130135,STREET=s,DC=d,UID=u,ST=s,L=l,1.3.6.1.4.1.42.2.11.2.1=#130131",
        ),
        ("301b3119301706035504031310206c65616420616e6420747261696c20", "CN=\\ lead and trail\\ "),
        ("30143112301006035504030c092368617368236d6964", "CN=\\#hash\\#mid"),
        (
            "301c311a301806035504030c11612c623b633c643e653d662b6722685c69",
            "CN=a\\,b\\;c\\<d\\>e\\=f\\+g\\\"h\\\\i",
        ),
        ("301b3119301706035504030c104ac3bc7267656e20e4b8ad20f09f9880", "CN=Jürgen 中 😀"),
        ("300e310c300a06035504030c03610062", "CN=a\\00b"),
        ("300c310a30080603883703130178", "2.999.3=#130178"),
        ("300b3109300706035504030500", "CN=#0500"),
    ];

    #[test]
    fn subjects_are_written_as_java_writes_them() {
        for (at, (der, name)) in NAMES.into_iter().enumerate() {
            // Without a version is version 1, which verifies nowhere but could be read.
            assert_eq!(subject(&certificate(der, at % 2 == 0)).as_deref(), Some(name));
            assert!(is_name(name), "{name}");
        }
        assert_eq!(subject(&certificate("3000", true)).as_deref(), Some(""));
    }

    #[test]
    fn what_is_cut_or_tampered_with_has_no_subject_and_does_no_harm() {
        for (der, _) in NAMES {
            let whole = certificate(der, true);
            for length in 0..whole.len() {
                assert_eq!(subject(&whole[..length]), None);
            }
            for at in 0..whole.len() {
                for bit in 0..8 {
                    let mut bytes = whole.clone();
                    bytes[at] ^= 1 << bit;
                    let _ = subject(&bytes);
                }
            }
        }
        for broken in
            [&b""[..], b"\x30", b"\x30\x80", b"\x30\x85\x01\x01\x01\x01\x01", b"\x30\x84\xff\xff\xff\xff"]
        {
            assert_eq!(subject(broken), None);
        }
    }

    /// What `new X500Principal(text)` of OpenJDK 17 takes, and what it does not.
    #[test]
    fn names_are_read_as_java_reads_them() {
        for good in [
            "",
            "CN=",
            "cn=a",
            "Cn = a , o = b",
            "OID.1.2.3=a",
            "1.2.3=a",
            "1.2=a",
            "CN=#0500",
            "CN=a;O=b",
            "CN=a\\41",
            "CN=\"a\"",
            "CN=a=b",
            "CN=a#b",
            "CN=a\\,b",
            "EMAIL=a",
            "S=a",
            "DNQUALIFIER=a",
            "CN=é",
            "CN=a\nO=b",
            "CN=#0c0161",
            "CN=\" a \" ",
            "CN=a +O=b",
            "CN=#0C0161",
            "CN=a\\ ",
            "2.999.3=x",
            "CN=\"a,b;c<d>e=f+g\\\"h\\\\i\"",
        ] {
            assert!(is_name(good), "{good:?}");
        }
        for bad in [
            " ",
            "x",
            "CN",
            "foo=a",
            "1=a",
            "3.2=a",
            "CN=#zz",
            "CN=#",
            "CN=#050",
            "CN=a,,O=b",
            "CN=a,",
            ",CN=a",
            "CN=a+",
            "CN=a\\",
            "CN=a\\q",
            "CN=a\"b",
            "CN=\"a",
            "CN=\"a\"b",
            "CN=a<b",
            "=a",
            "e=a",
            "E=a",
            "SN=a",
            "TITLE=a",
            "user:hash",
            "CN=#0c0261",
            "1.2.3.=a",
        ] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    /// Names come from clients as they please.
    #[test]
    fn no_text_does_harm() {
        const PIECES: [&str; 14] =
            ["CN", "=", "a", ",", "+", ";", "\"", "\\", "#", "0c0161", " ", "\n", "é", "1.2.3"];
        let entropy = world::Entropy::seeded(509);
        let mut names = 0;
        for _ in 0..50_000 {
            let mut text = if entropy.below(2) == 0 { "CN=".to_owned() } else { String::new() };
            for _ in 0..entropy.below(8) {
                text += PIECES[entropy.below(PIECES.len() as u64) as usize];
            }
            names += u32::from(is_name(&text));
        }
        assert!((1_000..49_000).contains(&names), "{names}");
    }
}
