//! Values of system tables in the protocol's form, and rows put together by column name.

use std::{collections::BTreeMap, net::IpAddr};

use bytes::Bytes;

use crate::bind::TableView;

/// A row: one value or null for every column of its table.
pub(super) type Row = Vec<Option<Bytes>>;

/// The row of `view` with the values given by name; the others are null.
pub(super) fn row<const N: usize>(view: &TableView, values: [(&str, Option<Bytes>); N]) -> Row {
    let mut row = vec![None; view.columns.len()];
    for (name, value) in values {
        let place = view.find(name).expect("rows name columns of their definition");
        row[place] = value;
    }
    row
}

pub(super) fn text(value: &str) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(value.as_bytes()))
}

pub(super) fn blob(value: &[u8]) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(value))
}

pub(super) fn int(value: i32) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(&value.to_be_bytes()))
}

pub(super) fn double(value: f64) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(&value.to_be_bytes()))
}

pub(super) fn boolean(value: bool) -> Option<Bytes> {
    Some(Bytes::from_static(if value { &[1] } else { &[0] }))
}

pub(super) fn uuid(value: u128) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(&value.to_be_bytes()))
}

pub(super) fn inet(value: IpAddr) -> Option<Bytes> {
    match value {
        IpAddr::V4(v4) => blob(&v4.octets()),
        IpAddr::V6(v6) => blob(&v6.octets()),
    }
}

/// A `set<text>`; sorted, as sets are.
pub(super) fn text_set(mut values: Vec<String>) -> Option<Bytes> {
    values.sort();
    let mut out = count(values.len());
    for value in &values {
        element(&mut out, value);
    }
    Some(out.into())
}

/// A `map<text, text>`.
pub(super) fn text_map(values: &BTreeMap<String, String>) -> Option<Bytes> {
    let mut out = count(values.len());
    for (key, value) in values {
        element(&mut out, key);
        element(&mut out, value);
    }
    Some(out.into())
}

/// A map from what stands in the source.
pub(super) fn map_of(values: &[(&str, &str)]) -> BTreeMap<String, String> {
    values.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn count(len: usize) -> Vec<u8> {
    (len as i32).to_be_bytes().to_vec()
}

fn element(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as i32).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}
