//! An entry as a tree of fields, whatever its message.

use std::collections::BTreeMap;
use std::fmt;

use criu_proto::schema::{FieldKind, MessageSchema};

/// The fields of a message that are there, each with its values in their order.
pub(crate) type Fields = BTreeMap<&'static str, Vec<Value>>;

/// One value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Any number, as on the wire.
    Number(u64),
    /// A string or bytes.
    Bytes(Vec<u8>),
    /// A number that means another object of the set, by the name that the object has in both sets.
    Object(String),
    /// A message.
    Message(Fields),
}

impl Value {
    /// The number, if it is one.
    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            Value::Number(n) => Some(*n),
            _ => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(n) if *n > 0xffff => write!(f, "{n:#x}"),
            Value::Number(n) => write!(f, "{n}"),
            Value::Bytes(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Value::Object(name) => write!(f, "<{name}>"),
            Value::Message(fields) => write!(f, "a message of {} fields", fields.len()),
        }
    }
}

/// The number of a field that is there once.
pub(crate) fn number(fields: &Fields, name: &str) -> Option<u64> {
    fields.get(name)?.first()?.number()
}

/// The nested message of a field that is there once.
pub(crate) fn message<'a>(fields: &'a Fields, name: &str) -> Option<&'a Fields> {
    match fields.get(name)?.first()? {
        Value::Message(fields) => Some(fields),
        _ => None,
    }
}

/// Takes an encoded message apart. The bytes come from an encoder, so they are well-formed.
pub(crate) fn decode(schema: &'static MessageSchema, bytes: &[u8]) -> Fields {
    let mut fields = Fields::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let key = varint(&mut rest);
        let number = u32::try_from(key >> 3).unwrap();
        let field = schema
            .field(number)
            .unwrap_or_else(|| panic!("{} has no field {number}", schema.name));
        let value = match (key & 7, field.kind) {
            (0, _) => Value::Number(varint(&mut rest)),
            (1, _) => Value::Number(u64::from_le_bytes(take(&mut rest, 8).try_into().unwrap())),
            (5, _) => Value::Number(u32::from_le_bytes(take(&mut rest, 4).try_into().unwrap()).into()),
            (2, kind) => {
                let length = usize::try_from(varint(&mut rest)).unwrap();
                let content = take(&mut rest, length);
                match kind {
                    FieldKind::Message(nested) => Value::Message(decode(nested, content)),
                    FieldKind::String | FieldKind::Bytes => Value::Bytes(content.to_vec()),
                    other => panic!("{}.{} packs {other:?}", schema.name, field.name),
                }
            }
            (wire, _) => panic!("wire type {wire} in {}", schema.name),
        };
        fields.entry(field.name).or_default().push(value);
    }
    fields
}

fn varint(rest: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = take(rest, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return value;
        }
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (value, after) = rest.split_at(length);
    *rest = after;
    value
}
