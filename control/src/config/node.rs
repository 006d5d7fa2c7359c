//! A tree of values with places: what TOML files and JSON bodies have in common, so that both are read and checked by
//! the same code.

use std::ops::Range;

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
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or(Value::Other("a number that is too large"), Value::Integer),
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

/// Two to the 63rd. The parser makes fractions of whole numbers that have no room in 64 bits.
const BEYOND: f64 = 9_223_372_036_854_775_808.0;

/// A request's body.
pub fn from_json(json: serde_json::Value) -> Node {
    let value = match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(on) => Value::Boolean(on),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => Value::Integer(number),
            None if number.as_f64().is_some_and(|float| float.abs() < BEYOND) => Value::Other("a fraction"),
            None => Value::Other("a number that is too large"),
        },
        serde_json::Value::String(text) => Value::Text(text),
        serde_json::Value::Array(list) => Value::List(list.into_iter().map(from_json).collect()),
        serde_json::Value::Object(map) => {
            let entry = |(key, value)| Entry { key, key_span: 0..0, node: from_json(value) };
            Value::Table(map.into_iter().map(entry).collect())
        }
    };
    Node { span: 0..0, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_called_what_is_wrong_with_it() {
        let kind = |text| from_json(serde_json::from_str(text).unwrap()).value.kind();
        assert_eq!(["3", "-3", "1.5", "3.0"].map(kind), ["an integer", "an integer", "a fraction", "a fraction"]);
        for large in ["9223372036854775808", "99999999999999999999", "-99999999999999999999", "1e300"] {
            assert_eq!(kind(large), "a number that is too large", "{large}");
        }
    }
}
