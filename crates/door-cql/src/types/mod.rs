//! CQL's types: what they are called, how their values look as bytes, and how they order.
//!
//! A value travels through the whole door in the form the protocol gives it (an `int` is four
//! big-endian bytes), so storing and returning it copies nothing. Code here turns literals into
//! that form ([`literal`]), checks bytes a client bound ([`validate`]), orders values
//! ([`order`]) and makes clustering keys whose bytes order as the values do ([`keys`]).

mod decimal;
mod duration;
pub(crate) mod keys;
mod literal;
mod name;
mod order;
mod time;
pub(crate) mod uuid;
mod validate;

pub(crate) use literal::{fits, literal_value};
pub(crate) use order::compare;
pub(crate) use time::{MICROS_PER_SECOND, date_to_millis, days_to_date, micros_to_time};
pub(crate) use validate::validate;

/// The types that are one value, not made of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Native {
    Ascii,
    Bigint,
    Blob,
    Boolean,
    Counter,
    Date,
    Decimal,
    Double,
    Duration,
    Float,
    Inet,
    Int,
    Smallint,
    /// Also called `varchar`.
    Text,
    Time,
    Timestamp,
    Timeuuid,
    Tinyint,
    Uuid,
    Varint,
}

/// A type. `Display` prints it as Cassandra does; [`CqlType::parse`] reads it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CqlType {
    Native(Native),
    List(Box<CqlType>),
    Set(Box<CqlType>),
    Map(Box<CqlType>, Box<CqlType>),
    /// Always frozen, and printed so.
    Tuple(Vec<CqlType>),
    /// A user-defined type, by the name of its definition.
    Udt(UserType),
    Vector(Box<CqlType>, u32),
    /// A value that is written and read as a whole; invisible on the wire.
    Frozen(Box<CqlType>),
    /// A Java class name.
    Custom(String),
}

/// A user-defined type: `fields` are empty where only its name is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserType {
    /// Its keyspace; `None` is the one of the table that uses it.
    pub(crate) keyspace: Option<String>,
    pub(crate) name: String,
    pub(crate) fields: Vec<(String, CqlType)>,
}

impl CqlType {
    /// `int`.
    pub(crate) const INT: CqlType = CqlType::Native(Native::Int);
    /// `bigint`.
    pub(crate) const BIGINT: CqlType = CqlType::Native(Native::Bigint);
    /// `boolean`.
    pub(crate) const BOOLEAN: CqlType = CqlType::Native(Native::Boolean);

    /// The option id of a type in protocol v4 (section 6); the parts of collections, tuples and
    /// user types follow it on the wire, a class name follows `0x0000`.
    pub(crate) fn wire_id(&self) -> u16 {
        match self {
            CqlType::Native(native) => native.wire_id(),
            CqlType::List(_) => 0x20,
            CqlType::Map(..) => 0x21,
            CqlType::Set(_) => 0x22,
            CqlType::Udt(_) => 0x30,
            CqlType::Tuple(_) => 0x31,
            CqlType::Frozen(inner) => inner.wire_id(),
            CqlType::Vector(..) | CqlType::Custom(_) => 0x00,
        }
    }

    /// Whether bytes of the other type are values of this one, so that they may stand for it: the
    /// result of a function, a constant that says its type. Cassandra's `isValueCompatibleWith`.
    pub(crate) fn takes(&self, other: &CqlType) -> bool {
        use Native as N;
        let (Some(this), Some(other_native)) = (self.native(), other.native()) else {
            return self == other || self.native() == Some(N::Blob);
        };
        this == other_native
            || matches!(
                (this, other_native),
                (N::Blob, _)
                    | (N::Text, N::Ascii)
                    | (N::Uuid, N::Timeuuid)
                    | (N::Bigint, N::Timestamp)
                    | (N::Timestamp | N::Time, N::Bigint)
                    | (N::Varint, N::Bigint | N::Int | N::Timestamp)
                    | (N::Date, N::Int)
            )
    }

    /// The native type, if it is one.
    pub(crate) fn native(&self) -> Option<Native> {
        match self {
            CqlType::Native(native) => Some(*native),
            CqlType::Frozen(inner) => inner.native(),
            _ => None,
        }
    }

    /// Whether single elements of a value can be changed.
    pub(crate) fn is_multi_cell(&self) -> bool {
        matches!(self, CqlType::List(_) | CqlType::Set(_) | CqlType::Map(..) | CqlType::Udt(_))
    }

    /// Whether it is a `duration` or has one inside, which gives it no order.
    pub(crate) fn references_duration(&self) -> bool {
        match self {
            CqlType::Native(native) => *native == Native::Duration,
            CqlType::List(inner)
            | CqlType::Set(inner)
            | CqlType::Vector(inner, _)
            | CqlType::Frozen(inner) => inner.references_duration(),
            CqlType::Map(key, value) => key.references_duration() || value.references_duration(),
            CqlType::Tuple(parts) => parts.iter().any(CqlType::references_duration),
            CqlType::Udt(udt) => udt.fields.iter().any(|(_, ty)| ty.references_duration()),
            CqlType::Custom(_) => false,
        }
    }
}

impl Native {
    /// All of them, with their CQL names.
    pub(crate) const NAMES: [(Native, &str); 20] = [
        (Native::Ascii, "ascii"),
        (Native::Bigint, "bigint"),
        (Native::Blob, "blob"),
        (Native::Boolean, "boolean"),
        (Native::Counter, "counter"),
        (Native::Date, "date"),
        (Native::Decimal, "decimal"),
        (Native::Double, "double"),
        (Native::Duration, "duration"),
        (Native::Float, "float"),
        (Native::Inet, "inet"),
        (Native::Int, "int"),
        (Native::Smallint, "smallint"),
        (Native::Text, "text"),
        (Native::Time, "time"),
        (Native::Timestamp, "timestamp"),
        (Native::Timeuuid, "timeuuid"),
        (Native::Tinyint, "tinyint"),
        (Native::Uuid, "uuid"),
        (Native::Varint, "varint"),
    ];

    fn wire_id(self) -> u16 {
        match self {
            Native::Ascii => 0x01,
            Native::Bigint => 0x02,
            Native::Blob => 0x03,
            Native::Boolean => 0x04,
            Native::Counter => 0x05,
            Native::Decimal => 0x06,
            Native::Double => 0x07,
            Native::Float => 0x08,
            Native::Int => 0x09,
            Native::Timestamp => 0x0b,
            Native::Uuid => 0x0c,
            Native::Text => 0x0d,
            Native::Varint => 0x0e,
            Native::Timeuuid => 0x0f,
            Native::Inet => 0x10,
            Native::Date => 0x11,
            Native::Time => 0x12,
            Native::Smallint => 0x13,
            Native::Tinyint => 0x14,
            Native::Duration => 0x15,
        }
    }
}
