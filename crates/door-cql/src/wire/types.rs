//! How a type is told to a client (section 4.2.5.2 of the protocol).
//!
//! What a version has no option for (`duration` before 5, four types before 4, `vector` in any)
//! travels as "custom" under the name of Cassandra's Java class, which drivers know.

use super::{Version, write};
use crate::types::{CqlType, Native};

const PACKAGE: &str = "org.apache.cassandra.db.marshal.";

/// Appends the `[option]` of a type.
pub(super) fn option(out: &mut Vec<u8>, version: Version, ty: &CqlType) {
    match ty {
        CqlType::Frozen(inner) => option(out, version, inner),
        CqlType::Native(native) if !is_native(version, *native) => custom(out, &class(ty)),
        CqlType::Vector(..) => custom(out, &class(ty)),
        CqlType::Custom(class) => custom(out, class),
        CqlType::Native(_) => write::short(out, ty.wire_id()),
        CqlType::List(element) | CqlType::Set(element) => {
            write::short(out, ty.wire_id());
            option(out, version, element);
        }
        CqlType::Map(key, value) => {
            write::short(out, ty.wire_id());
            option(out, version, key);
            option(out, version, value);
        }
        CqlType::Tuple(parts) => {
            write::short(out, ty.wire_id());
            write::short(out, parts.len() as u16);
            for part in parts {
                option(out, version, part);
            }
        }
        CqlType::Udt(udt) => {
            write::short(out, ty.wire_id());
            write::string(out, udt.keyspace.as_deref().unwrap_or_default());
            write::string(out, &udt.name);
            write::short(out, udt.fields.len() as u16);
            for (name, field) in &udt.fields {
                write::string(out, name);
                option(out, version, field);
            }
        }
    }
}

fn custom(out: &mut Vec<u8>, class: &str) {
    write::short(out, 0);
    write::string(out, class);
}

fn is_native(version: Version, native: Native) -> bool {
    match native {
        Native::Duration => false,
        Native::Date | Native::Time | Native::Smallint | Native::Tinyint => version >= Version::V4,
        _ => true,
    }
}

/// The Java class of a type, which is how Cassandra names it inside.
fn class(ty: &CqlType) -> String {
    match ty {
        CqlType::Native(native) => format!("{PACKAGE}{}", native_class(*native)),
        CqlType::List(element) => format!("{PACKAGE}ListType({})", class(element)),
        CqlType::Set(element) => format!("{PACKAGE}SetType({})", class(element)),
        CqlType::Map(key, value) => format!("{PACKAGE}MapType({},{})", class(key), class(value)),
        CqlType::Tuple(parts) => {
            let parts: Vec<String> = parts.iter().map(class).collect();
            format!("{PACKAGE}TupleType({})", parts.join(","))
        }
        CqlType::Vector(element, dimension) => {
            format!("{PACKAGE}VectorType({} , {dimension})", class(element))
        }
        CqlType::Frozen(inner) => format!("{PACKAGE}FrozenType({})", class(inner)),
        CqlType::Udt(udt) => user_class(udt),
        CqlType::Custom(class) => class.clone(),
    }
}

fn user_class(udt: &crate::types::UserType) -> String {
    use std::fmt::Write;
    let hex = |text: &str| {
        text.bytes().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    };
    let mut name =
        format!("{PACKAGE}UserType({},{}", udt.keyspace.as_deref().unwrap_or_default(), hex(&udt.name));
    for (field, ty) in &udt.fields {
        let _ = write!(name, ",{}:{}", hex(field), class(ty));
    }
    name + ")"
}

fn native_class(native: Native) -> &'static str {
    match native {
        Native::Ascii => "AsciiType",
        Native::Bigint => "LongType",
        Native::Blob => "BytesType",
        Native::Boolean => "BooleanType",
        Native::Counter => "CounterColumnType",
        Native::Date => "SimpleDateType",
        Native::Decimal => "DecimalType",
        Native::Double => "DoubleType",
        Native::Duration => "DurationType",
        Native::Float => "FloatType",
        Native::Inet => "InetAddressType",
        Native::Int => "Int32Type",
        Native::Smallint => "ShortType",
        Native::Text => "UTF8Type",
        Native::Time => "TimeType",
        Native::Timestamp => "TimestampType",
        Native::Timeuuid => "TimeUUIDType",
        Native::Tinyint => "ByteType",
        Native::Uuid => "UUIDType",
        Native::Varint => "IntegerType",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_version_lacks_travels_as_a_class() {
        let told = |version, ty: &str| {
            let mut out = Vec::new();
            option(&mut out, version, &CqlType::parse(ty).expect("a type"));
            out
        };
        assert_eq!(told(Version::V4, "frozen<map<text, set<int>>>"), [0, 0x21, 0, 0x0d, 0, 0x22, 0, 9]);
        assert_eq!(told(Version::V4, "smallint"), [0, 0x13]);
        assert_eq!(&told(Version::V3, "smallint")[4..], b"org.apache.cassandra.db.marshal.ShortType");
        assert_eq!(&told(Version::V4, "duration")[4..], b"org.apache.cassandra.db.marshal.DurationType");
        let vector =
            b"org.apache.cassandra.db.marshal.VectorType(org.apache.cassandra.db.marshal.FloatType , 3)";
        assert_eq!(&told(Version::V4, "vector<float, 3>")[4..], vector);
    }
}
