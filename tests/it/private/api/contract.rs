//! Every answer that a test gets is held against the description of the API.

use std::sync::LazyLock;

use margay::api::describe;
use margay::api::route;
use serde_json::Value;

static DOCUMENT: LazyLock<Value> = LazyLock::new(describe::document);

/// The answer is one of those that are described, and looks as it is described.
#[track_caller]
pub(super) fn check(method: &str, path: &str, status: u16, value: &Value) {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let Ok((call, _)) = route::find(method, &format!("/api/v1/{path}")) else {
        assert_eq!(value["error"]["message"].as_str().map(str::is_empty), Some(false), "{value}");
        return;
    };
    let route = route::ROUTES.iter().find(|route| route.call == call).unwrap();
    let operation =
        &DOCUMENT["paths"][format!("/api/v1/{}", route.path)][method.to_ascii_lowercase()];
    let answer = &operation["responses"][status.to_string()];
    assert!(answer.is_object(), "{method} {path} is not described to answer {status}: {value}");
    let schema = &answer["content"]["application/json"]["schema"];
    conforms(value, schema, &format!("{method} {path}"));
}

/// The schema itself, where it is referred to.
fn resolved(schema: &Value) -> &Value {
    let reference = schema["$ref"].as_str();
    reference.map_or(schema, |to| DOCUMENT.pointer(to.trim_start_matches('#')).unwrap())
}

/// A value is as its schema says, as far as schemas here say something.
#[track_caller]
fn conforms(value: &Value, schema: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = DOCUMENT.pointer(reference.trim_start_matches('#')).unwrap();
        return conforms(value, schema, at);
    }
    for choice in ["oneOf", "anyOf"] {
        if let Some(schemas) = schema[choice].as_array() {
            let schemas: Vec<&Value> = schemas.iter().map(resolved).collect();
            let fields = || value.as_object().into_iter().flatten().map(|(name, _)| name);
            let fits = |schema: &&&Value| {
                let required = schema["required"].as_array().into_iter().flatten();
                fields().all(|name| !schema["properties"][name].is_null())
                    && required.flat_map(|name| name.as_str()).all(|name| value.get(name).is_some())
            };
            let schema = schemas.iter().find(fits);
            let schema = schema.unwrap_or_else(|| panic!("{at}: as none is described: {value}"));
            return conforms(value, schema, at);
        }
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    match &schema["type"] {
        Value::String(wanted) => assert_eq!(kind, wanted, "{at}: {value}"),
        Value::Array(kinds) => assert!(kinds.contains(&kind.into()), "{at}: {value}"),
        _ => {}
    }
    if let Some(values) = schema["enum"].as_array() {
        assert!(values.contains(value), "{at}: {value} is none of {values:?}");
    }
    let required = schema["required"].as_array().filter(|_| value.is_object());
    for name in required.into_iter().flatten() {
        let name = name.as_str().unwrap();
        assert!(value.get(name).is_some(), "{at}: {name} is missing in {value}");
    }
    if let (Some(fields), Some(described)) = (value.as_object(), schema["properties"].as_object()) {
        for (name, field) in fields {
            let schema = described.get(name);
            let schema = schema.unwrap_or_else(|| panic!("{at}: {name} is not described: {value}"));
            conforms(field, schema, &format!("{at}: {name}"));
        }
    }
    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
        conforms(item, &schema["items"], &format!("{at}[{number}]"));
    }
}
