//! Who a client is: the ids of its connection.
//!
//! Every connection has the id of its address, and, if it has shown a certificate, the id `x509` of
//! that one's subject. Credentials add ids: scheme `digest` the name and hash of a user and a password,
//! and, when these are the operator's, the id `super`, which may do everything. Ids belong to the connection, not to the session: a client that comes back shows
//! its credentials again. A request has the ids of the moment it arrived, and an entry of the log
//! carries them, so that applying it asks nobody.

use std::net::IpAddr;

use sha1::{Digest, Sha1};

use crate::x509;

/// Ids of one connection: the address, and one or two for each user.
const MAX_IDS: usize = 32;

/// Bytes of all of them; every entry of the log carries them.
const MAX_BYTES: usize = 8 << 10;

/// The scheme whose ids may do everything.
pub(crate) const SUPER: &str = "super";

/// The scheme of clients that have shown a certificate.
const X509: &str = "x509";

/// An id: `digest` and `user:hash`, `ip` and an address, `x509` and a subject's name, `super` and
/// nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id<'a> {
    /// How the id is to be understood.
    pub(crate) scheme: &'a str,
    /// Who it is.
    pub(crate) id: &'a str,
}

impl<'a> Id<'a> {
    /// Whether it was proven by credentials or a key. An address proves nothing.
    pub(crate) fn is_authenticated(self) -> bool {
        matches!(self.scheme, "digest" | X509)
    }

    /// The name of it that is told to clients.
    pub(crate) fn user(self) -> &'a str {
        match self.scheme {
            "digest" => self.id.split(':').next().unwrap_or_default(),
            "ip" | X509 => self.id,
            _ => "",
        }
    }

    /// Whether this id is one that an entry of an access control list with the same scheme is for.
    pub(crate) fn matches(self, pattern: &str) -> bool {
        match self.scheme {
            "ip" => Network::parse(pattern).is_some_and(|network| network.contains(self.id)),
            _ => self.id == pattern,
        }
    }
}

/// Whether an access control list may name this id.
pub(crate) fn is_valid(scheme: &str, id: &str) -> bool {
    match scheme {
        "ip" => Network::parse(id).is_some(),
        // As Java splits: what is empty at the end does not count.
        "digest" => id.trim_end_matches(':').matches(':').count() == 1,
        X509 => x509::is_name(id),
        _ => false,
    }
}

/// The ids of a connection, in the order in which it got them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity(Vec<(String, String)>);

impl Identity {
    /// Someone at this address who has shown `certificate`. A subject that is too long to remember,
    /// or whose name cannot be read, is nobody.
    pub(crate) fn of(address: IpAddr, certificate: Option<&[u8]>) -> Identity {
        let mut identity = Identity(vec![("ip".to_owned(), address_text(address))]);
        let subject = certificate.and_then(x509::subject);
        if let Some(subject) = subject.filter(|subject| subject.len() <= MAX_BYTES / 2) {
            identity.add(X509, &subject);
        }
        identity
    }

    /// The ids.
    pub(crate) fn ids(&self) -> impl Iterator<Item = Id<'_>> + Clone {
        self.0.iter().map(|(scheme, id)| Id { scheme, id })
    }

    /// This, and what these credentials prove; `None` if they prove nothing, or too much to
    /// remember. `super_digest` is the `user:hash` of the operator.
    pub(crate) fn with(
        &self,
        scheme: &str,
        credentials: Option<&[u8]>,
        super_digest: Option<&str>,
    ) -> Option<Identity> {
        let mut more = self.clone();
        match scheme {
            // The address is known anyway.
            "ip" => {}
            // So is the certificate, if there is one.
            X509 => _ = more.ids().find(|id| id.scheme == X509)?,
            "digest" => {
                let digest = digest(&String::from_utf8_lossy(credentials?));
                if super_digest == Some(&*digest) {
                    more.add(SUPER, "");
                }
                more.add(scheme, &digest);
            }
            _ => return None,
        }
        let bytes: usize = more.ids().map(|id| id.scheme.len() + id.id.len()).sum();
        (more.0.len() <= MAX_IDS && bytes <= MAX_BYTES).then_some(more)
    }

    fn add(&mut self, scheme: &str, id: &str) {
        if self.ids().all(|known| known != Id { scheme, id }) {
            self.0.push((scheme.to_owned(), id.to_owned()));
        }
    }
}

/// The id of a `user:password`: the user and a hash of all of it. SHA-1 without salt is what every
/// client computes too, when it names itself in a list.
fn digest(credentials: &str) -> String {
    let user = credentials.split(':').next().unwrap_or_default();
    format!("{user}:{}", base64(&Sha1::digest(credentials.as_bytes())))
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let sextet = (bits >> (18 - 6 * place)) as usize & 63;
            text.push(if place <= chunk.len() { char::from(ALPHABET[sextet]) } else { '=' });
        }
    }
    text
}

/// An address as ZooKeeper writes it: IPv6 without shortening.
fn address_text(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => address.segments().map(|segment| format!("{segment:x}")).join(":"),
    }
}

/// An address and how many of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// `address` or `address/bits`.
    fn parse(text: &str) -> Option<Network> {
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(all), |bits| bits.parse().ok())?;
        (bits <= all).then_some(Network { address, bits })
    }

    fn contains(self, address: &str) -> bool {
        match (self.address, address.parse()) {
            (IpAddr::V4(network), Ok(IpAddr::V4(address))) => {
                (u32::from(network) ^ u32::from(address)).leading_zeros() >= self.bits
            }
            (IpAddr::V6(network), Ok(IpAddr::V6(address))) => {
                (u128::from(network) ^ u128::from(address)).leading_zeros() >= self.bits
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn someone() -> Identity {
        Identity::of("10.1.2.3".parse().unwrap(), None)
    }

    #[test]
    fn the_hash_is_the_one_that_clients_compute() {
        assert_eq!(digest("super:test"), "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
        assert_eq!(digest("pat:pass"), "pat:WHGn0d6WM4lGFEKDvqymXAwzUzA=");
        assert_eq!([base64(b""), base64(b"f"), base64(b"fo"), base64(b"foo")], ["", "Zg==", "Zm8=", "Zm9v"]);
    }

    #[test]
    fn credentials_add_ids_once() {
        let pat =
            someone().with("digest", Some(b"pat:pass"), Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=")).unwrap();
        assert_eq!(pat.ids().map(Id::user).collect::<Vec<_>>(), ["10.1.2.3", "pat"]);
        assert_eq!(pat.with("digest", Some(b"pat:pass"), None), Some(pat.clone()));
        assert_eq!(pat.with("ip", None, None), Some(pat.clone()));
        assert_eq!(pat.with("digest", None, None), None);
        assert_eq!(pat.with("world", Some(b"anyone"), None), None);
        let operator =
            pat.with("digest", Some(b"super:test"), Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=")).unwrap();
        assert!(operator.ids().any(|id| id.scheme == SUPER));
    }

    #[test]
    fn a_certificate_makes_its_subject_an_id() {
        // CN=client, and the fields before it.
        let certificate = b"\x30\x1e\x30\x1c\x02\x01\x05\x30\x00\x30\x00\x30\x00\x30\x11\x31\x0f\
            \x30\x0d\x06\x03\x55\x04\x03\x0c\x06client";
        let client = Identity::of("10.1.2.3".parse().unwrap(), Some(certificate));
        let [home, id] = client.ids().collect::<Vec<_>>()[..] else { panic!("{client:?}") };
        assert_eq!((home.scheme, id), ("ip", Id { scheme: "x509", id: "CN=client" }));
        assert!(id.is_authenticated() && id.matches("CN=client") && !id.matches("CN=clients"));
        assert_eq!(id.user(), "CN=client");
        assert_eq!(client.with("x509", None, None), Some(client.clone()));
        assert_eq!(someone().with("x509", Some(b"CN=client"), None), None, "a name alone proves nothing");
        assert_eq!(Identity::of("10.1.2.3".parse().unwrap(), Some(b"no certificate")), someone());
        assert!(is_valid("x509", "CN=client") && !is_valid("x509", "client"));
    }

    #[test]
    fn a_connection_has_a_bounded_number_of_ids() {
        let mut identity = someone();
        for user in 0.. {
            match identity.with("digest", Some(format!("{user}:x").as_bytes()), None) {
                Some(more) => identity = more,
                None => break,
            }
        }
        assert_eq!(identity.ids().count(), MAX_IDS);
        assert_eq!(someone().with("digest", Some(&[b'u'; MAX_BYTES]), None), None);
    }

    #[test]
    fn networks_contain_addresses_of_their_kind() {
        for (pattern, address, contains) in [
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.4", "10.1.2.3", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.1.3.0/23", "10.1.2.3", true),
            ("10.1.4.0/23", "10.1.2.3", false),
            ("0.0.0.0/0", "10.1.2.3", true),
            ("::/0", "10.1.2.3", false),
            ("2001:db8::/32", "2001:db8:0:0:0:0:0:1", true),
            ("2001:db9::/32", "2001:db8:0:0:0:0:0:1", false),
            ("::1", "0:0:0:0:0:0:0:1", true),
        ] {
            assert!(is_valid("ip", pattern));
            assert_eq!(Id { scheme: "ip", id: address }.matches(pattern), contains, "{pattern} {address}");
        }
        for broken in
            ["", "10.1.2", "10.1.2.3/33", "10.1.2.3/-1", "10.1.2.3/x", "::1/129", "host", "1.2.3.4/"]
        {
            assert!(!is_valid("ip", broken), "{broken}");
        }
    }

    #[test]
    fn an_id_of_scheme_digest_is_a_name_and_a_hash() {
        for (id, valid) in [
            ("u:h", true),
            (":h", true),
            ("u:h:", true),
            ("u:", false),
            ("u", false),
            ("a:b:c", false),
            ("", false),
        ] {
            assert_eq!(is_valid("digest", id), valid, "{id:?}");
        }
        assert!(!is_valid("world", "someone") && !is_valid("super", "") && !is_valid("auth", ""));
    }

    #[test]
    fn addresses_are_written_as_zookeeper_writes_them() {
        for (address, text) in [
            ("::1", "0:0:0:0:0:0:0:1"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
            ("2001:db8::a", "2001:db8:0:0:0:0:0:a"),
        ] {
            assert_eq!(address_text(address.parse().unwrap()), text);
        }
    }
}
