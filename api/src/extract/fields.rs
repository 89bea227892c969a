//! The members of a JSON object, read once and without copying, with an error for each that is wrong.
//!
//! `serde`'s derived structs stop at the first error and do not say in which field it is; a caller wants to know all of
//! them by name.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::problem::{FieldError, Problem, ProblemCode, echo};

/// Unknown members that are named at most; a body may hold thousands.
const UNKNOWN_MAX: usize = 20;

/// A member's value as far as any field of ours cares.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar<'a> {
    /// `null`, which is the same as leaving the member out.
    Null,
    /// Text, borrowed from the body unless it holds escapes.
    Text(Cow<'a, str>),
    /// A whole number.
    Integer(i64),
    /// Any other value, by what it is called.
    Other(&'static str),
}

/// The members of an object, of which only `N` names are allowed.
pub(crate) struct Fields<'a, const N: usize> {
    names: [&'static str; N],
    values: [Scalar<'a>; N],
    /// What is wrong so far; readers of fields add to it.
    pub(crate) errors: Vec<FieldError>,
}

impl<'a, const N: usize> Fields<'a, N> {
    /// Reads an object. Unknown and doubled members are noted in `errors`.
    ///
    /// # Errors
    /// When the text is not JSON (naming the place) or not an object.
    pub(crate) fn parse(json: &'a [u8], names: [&'static str; N]) -> Result<Self, Problem> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let fields = ObjectSeed { names }.deserialize(&mut deserializer);
        fields.and_then(|fields| deserializer.end().map(|()| fields)).map_err(|error| not_an_object(&error))
    }

    /// The value under a name, `Null` if there is none.
    pub(crate) fn take(&mut self, name: &'static str) -> Scalar<'a> {
        let index = self.names.iter().position(|known| *known == name);
        let value = index.and_then(|index| self.values.get_mut(index));
        value.map_or(Scalar::Null, |value| std::mem::replace(value, Scalar::Null))
    }

    /// Text that must be there; without it an error is noted.
    pub(crate) fn required_text(&mut self, name: &'static str, example: &'static str) -> Option<Cow<'a, str>> {
        match self.take(name) {
            Scalar::Null => self.refuse(name, "required", "is required"),
            value => self.text(name, example, value),
        }
    }

    /// Text that may be left out.
    pub(crate) fn optional_text(&mut self, name: &'static str, example: &'static str) -> Option<Cow<'a, str>> {
        match self.take(name) {
            Scalar::Null => None,
            value => self.text(name, example, value),
        }
    }

    fn text(&mut self, name: &'static str, example: &'static str, value: Scalar<'a>) -> Option<Cow<'a, str>> {
        let got = match value {
            Scalar::Text(text) => return Some(text),
            Scalar::Null => "null",
            Scalar::Integer(_) => "a number",
            Scalar::Other(kind) => kind,
        };
        self.refuse(name, "wrong_type", format!("must be a JSON string such as {example:?}, not {got}"))
    }

    /// Notes an error; `None` so that a reader can end with it.
    pub(crate) fn refuse<T>(
        &mut self,
        name: &'static str,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Option<T> {
        self.errors.push(FieldError::new(name, code, message));
        None
    }
}

fn not_an_object(error: &serde_json::Error) -> Problem {
    if error.is_data() {
        let errors = vec![FieldError::new("body", "wrong_type", "must be a JSON object")];
        return Problem::fields(ProblemCode::InvalidFields, "The body must be a JSON object.", errors);
    }
    let errors = vec![FieldError::new("body", "malformed_json", error.to_string())];
    Problem::fields(ProblemCode::MalformedJson, format!("The body is not JSON: {error}."), errors)
}

struct ObjectSeed<const N: usize> {
    names: [&'static str; N],
}

impl<'de, const N: usize> DeserializeSeed<'de> for ObjectSeed<N> {
    type Value = Fields<'de, N>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for ObjectSeed<N> {
    type Value = Fields<'de, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields { names: self.names, values: [const { Scalar::Null }; N], errors: Vec::new() };
        let mut seen = [false; N];
        let mut unknown: usize = 0;
        while let Some(Scalar::Text(key)) = map.next_key_seed(ScalarSeed)? {
            let known = self.names.iter().position(|name| *name == key);
            let slots = known.and_then(|index| Some((fields.values.get_mut(index)?, seen.get_mut(index)?)));
            if let Some((value, seen)) = slots {
                if std::mem::replace(seen, true) {
                    fields.errors.push(FieldError::new(key.into_owned(), "duplicate", "is given more than once"));
                }
                *value = map.next_value_seed(ScalarSeed)?;
            } else {
                map.next_value::<IgnoredAny>()?;
                unknown = unknown.saturating_add(1);
                if unknown <= UNKNOWN_MAX {
                    fields.errors.push(FieldError::new(echo(&key), "unknown", "is not a field of this request"));
                }
            }
        }
        Ok(fields)
    }
}

struct ScalarSeed;

impl<'de> DeserializeSeed<'de> for ScalarSeed {
    type Value = Scalar<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ScalarSeed {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Other("a boolean"))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or(Scalar::Other("a huge number"), Scalar::Integer))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Other("a number with a point or exponent"))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other("an object"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Fields, Scalar};
    use crate::problem::ProblemCode;

    #[test]
    fn members_are_read_and_the_rest_is_named() {
        let json = br#"{"a": "x", "b": 3, "z": [1, {"a": 2}], "a": "y\n"}"#;
        let mut fields = Fields::parse(json, ["a", "b", "c"]).unwrap();
        let named: Vec<_> = fields.errors.iter().map(|error| (&*error.field, error.code)).collect();
        assert_eq!(named, [("z", "unknown"), ("a", "duplicate")]);
        assert_eq!(fields.take("a"), Scalar::Text("y\n".into()));
        assert_eq!(fields.take("b"), Scalar::Integer(3));
        assert_eq!(fields.take("c"), Scalar::Null);
    }

    #[test]
    fn what_is_not_an_object_is_a_problem() {
        let code = |json: &[u8]| Fields::parse(json, ["a"]).map(|_| ()).unwrap_err().code();
        for json in ["[]", "1", "\"x\"", "null", "true"] {
            assert_eq!(code(json.as_bytes()), ProblemCode::InvalidFields, "{json}");
        }
        for json in
            ["", "{", "{\"a\": }", "{} {}", "{\"a\": 1e999}", &"[".repeat(500), &format!("{{\"a\":{}", "[".repeat(500))]
        {
            let found = code(json.as_bytes());
            assert!(found == ProblemCode::MalformedJson || json.starts_with('['), "{json} {found:?}");
        }
    }
}
