//! A message as it might have been: one or a few of its fields are others.

use pbkv::protocol::codec;
use pbkv::protocol::message::Message;
use serde_json::Value;

use super::super::bytes::Bytes;
use super::world::Letter;

/// None if the fields no longer make a message.
pub fn alter(message: &Message, other: Option<&Letter>, bytes: &mut Bytes<'_>) -> Option<Message> {
    let mut value = json(message);
    let other = other.map(|letter| json(&letter.message));
    for _ in 0..=bytes.byte() % 4 / 2 {
        let count = places(&mut value);
        let at = bytes.below(count);
        let (name, place) = find(&mut value, "", at).ok()?;
        let taken = other.as_ref().filter(|_| bytes.byte().is_multiple_of(3));
        match taken.and_then(|other| named(other, &name)) {
            Some(found) => *place = found.clone(),
            None => change(place, bytes),
        }
    }
    codec::decode(value.to_string().as_bytes()).ok()
}

fn json(message: &Message) -> Value {
    serde_json::to_value(message).expect("every message is JSON")
}

/// Values within the value, itself included.
fn places(value: &mut Value) -> usize {
    let within = match value {
        Value::Array(items) => items.iter_mut().map(places).sum(),
        Value::Object(fields) => fields.values_mut().map(places).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    };
    1 + within
}

/// The value at this index, with the name of the field that it stands in; else how many there were.
fn find<'a>(value: &'a mut Value, name: &str, at: usize) -> Result<(String, &'a mut Value), usize> {
    if at == 0 {
        return Ok((name.to_owned(), value));
    }
    let mut left = at - 1;
    match value {
        Value::Array(items) => {
            for item in items {
                match find(item, name, left) {
                    Ok(found) => return Ok(found),
                    Err(rest) => left = rest,
                }
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                match find(field, name, left) {
                    Ok(found) => return Ok(found),
                    Err(rest) => left = rest,
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    Err(left)
}

/// A field of this name, wherever it stands.
fn named<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(fields) => {
            fields.get(name).or_else(|| fields.values().find_map(|field| named(field, name)))
        }
        Value::Array(items) => items.iter().find_map(|item| named(item, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn change(value: &mut Value, bytes: &mut Bytes<'_>) {
    match value {
        Value::Null => {
            *value = match bytes.byte() % 4 {
                0 => Value::Bool(true),
                1 => Value::from(bytes.number(0)),
                2 => Value::from(vec![bytes.number(0), bytes.number(1)]),
                _ => Value::from(bytes.text().into_owned()),
            }
        }
        Value::Bool(it) => *it = !*it,
        Value::Number(it) => {
            let drawn = bytes.number(it.as_u64().unwrap_or(0));
            *value = if it.is_i64() && bytes.byte().is_multiple_of(8) {
                Value::from(drawn.cast_signed())
            } else {
                Value::from(drawn)
            };
        }
        Value::String(it) => match bytes.byte() % 4 {
            0 => it.clear(),
            1 => *it = it.repeat(usize::from(bytes.byte())),
            2 => {
                *it = ["put", "get", "proposed", "active", "stalled", "s1", "s2"][bytes.below(7)]
                    .into()
            }
            _ => *it = bytes.text().into_owned(),
        },
        Value::Array(items) => match bytes.byte() % 5 {
            0 => items.clear(),
            1 => {
                items.pop();
            }
            2 => items.reverse(),
            3 => {
                if let Some(item) = items.first().cloned() {
                    items.push(item);
                }
            }
            _ => {
                let copies = usize::from(bytes.byte() % 32);
                let item = items.last().cloned();
                items.extend(item.into_iter().flat_map(|item| vec![item; copies]));
            }
        },
        Value::Object(fields) => {
            let at = bytes.below(fields.len());
            if let Some(name) = fields.keys().nth(at).cloned() {
                fields.remove(&name);
            } else {
                *value = Value::Null;
            }
        }
    }
}
