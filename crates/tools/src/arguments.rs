//! Reading arguments that a model wrote, as if an attacker had: every error is a sentence that tells the model what to send instead.
use serde_json::{Map, Value, json};

/// Arguments: an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arguments<'a>(&'a Map<String, Value>);

impl<'a> Arguments<'a> {
    pub(crate) fn of(args: &'a Value) -> Result<Self, String> {
        args.as_object().map(Self).ok_or_else(|| "the arguments must be a JSON object".to_owned())
    }

    /// No other names than these.
    pub(crate) fn only(self, known: &[&str]) -> Result<(), String> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(format!("unknown argument {name:?}; known are {}", known.join(", "))),
            None => Ok(()),
        }
    }

    pub(crate) fn text(self, name: &str) -> Result<String, String> {
        self.optional_text(name)?.ok_or_else(|| format!("{name} is missing; it must be a string"))
    }

    pub(crate) fn optional_text(self, name: &str) -> Result<Option<String>, String> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(format!("{name} must be a string")),
        }
    }

    pub(crate) fn whole(self, name: &str, min: u64, max: u64) -> Result<Option<u64>, String> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(n) if (min..=max).contains(&n) => Ok(Some(n)),
                _ => Err(format!("{name} must be a whole number from {min} to {max}")),
            },
        }
    }

    pub(crate) fn flag(self, name: &str) -> Result<bool, String> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(value)) => Ok(*value),
            Some(_) => Err(format!("{name} must be true or false")),
        }
    }
}

/// The schema of an object with these members and no others.
pub(crate) fn schema(required: &[(&str, Value)], optional: &[(&str, Value)]) -> Value {
    let members: Map<String, Value> = required.iter().chain(optional).map(|(name, member)| ((*name).to_owned(), member.clone())).collect();
    let names: Vec<&str> = required.iter().map(|(name, _)| *name).collect();
    json!({"type": "object", "properties": members, "required": names, "additionalProperties": false})
}
