//! Lists as Docker answers them. One element that cannot be read must not cost the others: it is left out, and said.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::parse;
use super::labels::printable;

/// The elements that can be read, and a sentence for each that cannot. `kind` is what they are.
pub fn parse_list<T: DeserializeOwned>(body: &[u8], kind: &str) -> Result<(Vec<T>, Vec<String>), String> {
    if let Ok(all) = parse(body) {
        return Ok((all, Vec::new()));
    }
    let (mut all, mut odd) = (Vec::new(), Vec::new());
    for element in parse::<Vec<Value>>(body)? {
        match T::deserialize(&element) {
            Ok(element) => all.push(element),
            Err(error) => odd.push(left_out(kind, &element, &error)),
        }
    }
    Ok((all, odd))
}

fn left_out(kind: &str, element: &Value, error: &serde_json::Error) -> String {
    let names = ["/Spec/Name", "/Name", "/ID", "/Id"].map(|place| element.pointer(place).and_then(Value::as_str));
    let name = names.into_iter().flatten().find(|name| !name.is_empty()).unwrap_or("without a name");
    format!("{kind} {}: left out: {}", printable(name), printable(&error.to_string()))
}
