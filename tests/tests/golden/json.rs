//! Compares an encoded message with its decoded form.

use std::collections::BTreeMap;

use criu_proto::schema::{FieldKind, FieldSchema, Label, MessageSchema};
use serde_json::Value;

/// A field's value on the wire.
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Compares all fields both ways, but for `extra` (the payload) in the JSON. Returns how many values
/// were compared.
pub(crate) fn compare(schema: &MessageSchema, bytes: &[u8], expected: &Value) -> Result<usize, String> {
    let mut found: BTreeMap<&str, Vec<Wire<'_>>> = BTreeMap::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let key = varint(&mut rest);
        let value = match key & 7 {
            0 => Wire::Number(varint(&mut rest)),
            1 => Wire::Number(u64::from_le_bytes(take(&mut rest, 8).try_into().unwrap())),
            2 => {
                let length = varint(&mut rest) as usize;
                Wire::Bytes(take(&mut rest, length))
            }
            other => return Err(format!("wire type {other} in {}", schema.name)),
        };
        let number = u32::try_from(key >> 3).unwrap();
        let field = schema
            .field(number)
            .ok_or(format!("{} has no field {number}", schema.name))?;
        found.entry(field.name).or_default().push(value);
    }
    let expected = expected
        .as_object()
        .ok_or(format!("{expected} is no {}", schema.name))?;
    let mut names = expected
        .keys()
        .map(String::as_str)
        .filter(|name| *name != "extra");
    let mut compared = 0;
    for field in schema.fields {
        let context = |e: String| format!("{}.{}: {e}", schema.name, field.name);
        match (found.get(field.name), expected.get(field.name)) {
            (None, None) => {}
            (Some(values), Some(json)) => compared += compare_field(field, values, json).map_err(context)?,
            // Empty lists are shown or not; a default may be shown for a field that is not there.
            (None, Some(Value::Array(list))) if list.is_empty() => {}
            (values, json) => {
                return Err(context(format!(
                    "{} values on the wire, JSON {json:?}",
                    values.map_or(0, Vec::len)
                )));
            }
        }
    }
    match names.find(|name| schema.fields.iter().all(|f| f.name != *name)) {
        Some(name) => Err(format!("{} has no field {name}", schema.name)),
        None => Ok(compared),
    }
}

fn compare_field(field: &FieldSchema, values: &[Wire<'_>], json: &Value) -> Result<usize, String> {
    if field.label != Label::Repeated {
        let [value] = values else {
            return Err(format!("stands {} times", values.len()));
        };
        return compare_value(field, value, json);
    }
    if SHOWN_OTHERWISE.contains(&field.name) {
        return Ok(0);
    }
    let list = json.as_array().ok_or(format!("{json} is no list"))?;
    if list.len() != values.len() {
        return Err(format!("{} values, JSON has {}", values.len(), list.len()));
    }
    values
        .iter()
        .zip(list)
        .map(|(value, json)| compare_value(field, value, json))
        .sum()
}

/// Lists that the JSON shows in another form (addresses).
const SHOWN_OTHERWISE: [&str; 2] = ["src_addr", "dst_addr"];

fn compare_value(field: &FieldSchema, value: &Wire<'_>, json: &Value) -> Result<usize, String> {
    let equal = match (field.kind, value, json) {
        (FieldKind::Message(schema), Wire::Bytes(bytes), json) => return compare(schema, bytes, json),
        (FieldKind::String, Wire::Bytes(bytes), Value::String(text)) => text.as_bytes() == *bytes,
        (FieldKind::Bytes, Wire::Bytes(bytes), Value::String(text)) => {
            // Shown as text, perhaps with escapes (`=00`), or as base64.
            quoted(text) == *bytes || base64(text).as_deref() == Some(bytes)
        }
        (FieldKind::Bool, Wire::Number(n), Value::Bool(b)) => *n == u64::from(*b),
        (FieldKind::Enum(schema), Wire::Number(n), Value::String(name)) => schema
            .values
            .iter()
            .any(|(known, number)| known == name && *number as u64 == *n),
        (FieldKind::Sint32 | FieldKind::Sint64, Wire::Number(n), Value::Number(json)) => {
            json.as_i64() == Some((n >> 1) as i64 ^ -((n & 1) as i64))
        }
        (_, Wire::Number(n), Value::Number(json)) => {
            json.as_u64() == Some(*n) || json.as_i64() == Some(*n as i64)
        }
        (_, Wire::Number(n), Value::String(text)) => match text.strip_prefix("0x") {
            Some(digits) => match u64::from_str_radix(digits, 16) {
                // A flag word may mix names and a remainder.
                Ok(number) => number == *n,
                Err(_) => return Ok(0),
            },
            None => return symbolic(field, *n, text),
        },
        _ => false,
    };
    if equal {
        Ok(1)
    } else {
        Err(format!("differs from {json}"))
    }
}

/// Words of flags, device numbers and the like.
fn symbolic(field: &FieldSchema, number: u64, text: &str) -> Result<usize, String> {
    if let Some((major, minor)) = text.split_once(':') {
        let (Ok(major), Ok(minor)) = (major.parse::<u64>(), minor.parse::<u64>()) else {
            return Ok(0);
        };
        let equal = number == major << 20 | minor;
        return if equal {
            Ok(1)
        } else {
            Err(format!("device {number:#x} is not {text}"))
        };
    }
    if field.name == "flags" && text.contains("PE_") {
        let bits = [("PE_PARENT", 1), ("PE_LAZY", 2), ("PE_PRESENT", 4)];
        let sum: u64 = bits
            .iter()
            .filter(|(name, _)| text.contains(name))
            .map(|(_, bit)| bit)
            .sum();
        return if sum == number {
            Ok(1)
        } else {
            Err(format!("flags {number} are not {text}"))
        };
    }
    Ok(0)
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

/// Undoes `=XX`.
fn quoted(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|d| std::str::from_utf8(d).ok());
        let escaped = digits
            .and_then(|d| u8::from_str_radix(d, 16).ok())
            .filter(|_| *first == b'=');
        out.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    out
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.bytes().filter(|b| !b.is_ascii_whitespace() && *b != b'=');
    let (mut out, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}
