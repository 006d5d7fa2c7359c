//! A tree of values with places: what TOML files and JSON bodies have in common, so that both are read and checked by
//! the same code.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value, and where it stands in the text (JSON bodies have no places: 0..0).
#[derive(Debug, Clone)]
pub struct Node {
    /// Bytes of the text.
    pub span: Range<usize>,
    /// What stands there.
    pub value: Value,
}

/// The kinds of values.
#[derive(Debug, Clone)]
pub enum Value {
    /// A string.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Boolean(bool),
    /// JSON's null.
    Null,
    /// A kind that no key takes, by its name with an article.
    Other(&'static str),
    /// Values in order.
    List(Vec<Node>),
    /// Keys and values.
    Table(Vec<Entry>),
}

/// One key of a table.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_span: Range<usize>,
    /// Its value.
    pub node: Node,
}

impl Value {
    /// The kind with its article, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Boolean(_) => "a boolean",
            Value::Null => "null",
            Value::Other(kind) => kind,
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// The whole file.
pub fn from_toml(table: &Spanned<DeTable<'_>>) -> Node {
    Node { span: table.span(), value: toml_table(table.get_ref()) }
}

fn toml_table(table: &DeTable<'_>) -> Value {
    let entry = |(key, value): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| Entry {
        key: key.get_ref().to_string(),
        key_span: key.span(),
        node: Node { span: value.span(), value: toml_value(value.get_ref()) },
    };
    Value::Table(table.iter().map(entry).collect())
}

fn toml_value(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(integer) => {
            i64::from_str_radix(integer.as_str(), integer.radix()).map_or(TOO_LARGE, Value::Integer)
        }
        DeValue::Float(_) => Value::Other("a fraction"),
        DeValue::Boolean(on) => Value::Boolean(*on),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(list) => {
            let node = |item: &Spanned<DeValue<'_>>| Node { span: item.span(), value: toml_value(item.get_ref()) };
            Value::List(list.iter().map(node).collect())
        }
        DeValue::Table(table) => toml_table(table),
    }
}

const TOO_LARGE: Value = Value::Other("a number that is too large");
/// Two to the 63rd. The parser makes fractions of whole numbers that have no room in 64 bits.
const BEYOND: f64 = 9_223_372_036_854_775_808.0;

/// A request's body.
impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Node, D::Error> {
        let value = json.deserialize_any(Json)?;
        Ok(Node { span: 0..0, value })
    }
}

/// Makes a tree of JSON. Its own libraries take the last of several keys that are the same, and the file none.
struct Json;

impl<'de> Visitor<'de> for Json {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, on: bool) -> Result<Value, E> {
        Ok(Value::Boolean(on))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(TOO_LARGE, Value::Integer))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(if number.abs() < BEYOND { Value::Other("a fraction") } else { TOO_LARGE })
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = items.next_element()? {
            list.push(node);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Value, A::Error> {
        // Sorted, so that a large body costs no more than its length.
        let mut table = BTreeMap::new();
        while let Some(key) = pairs.next_key::<String>()? {
            if table.contains_key(&key) {
                return Err(A::Error::custom(format_args!("duplicate key `{key}`")));
            }
            table.insert(key, pairs.next_value()?);
        }
        let entry = |(key, node)| Entry { key, key_span: 0..0, node };
        Ok(Value::Table(table.into_iter().map(entry).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_called_what_is_wrong_with_it() {
        let kind = |text| serde_json::from_str::<Node>(text).unwrap().value.kind();
        assert_eq!(["3", "-3", "1.5", "3.0"].map(kind), ["an integer", "an integer", "a fraction", "a fraction"]);
        for large in ["9223372036854775808", "99999999999999999999", "-99999999999999999999", "1e300"] {
            assert_eq!(kind(large), "a number that is too large", "{large}");
        }
    }
}
