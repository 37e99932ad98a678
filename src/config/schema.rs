//! The JSON Schema of the configuration file, for editors. Derived from `raw`, so it cannot disagree with it.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::Value;

use super::raw::Root;

/// JSON Schema (draft 2020-12) of the whole file; the manual of each key is its `description`. Unknown keys are
/// refused (`additionalProperties: false`), and so are nulls.
pub fn schema() -> String {
    let generator = SchemaSettings::draft2020_12()
        .with_transform(WithoutNull)
        .into_generator();
    let schema = generator.into_root_schema_for::<Root>();
    serde_json::to_string_pretty(&schema).expect("a schema is plain JSON")
}

/// Every field of `raw` is optional and every list item may be a null that `read` left behind; the file may hold none.
#[derive(Clone, Debug)]
struct WithoutNull;

impl Transform for WithoutNull {
    fn transform(&mut self, schema: &mut Schema) {
        for key in ["type", "enum", "anyOf"] {
            let Some(Value::Array(options)) = schema.get_mut(key) else {
                continue;
            };
            options.retain(|option| !is_null(option));
            if key == "type" && options.len() == 1 {
                let only = options.remove(0);
                schema.insert(key.to_string(), only);
            }
        }
        unwrap_single_option(schema);
        transform_subschemas(self, schema);
    }
}

fn is_null(option: &Value) -> bool {
    option.is_null() || option == "null" || option.get("type").is_some_and(|kind| kind == "null")
}

/// `anyOf` with one option left is that option; what the field says about itself goes before what its type says.
fn unwrap_single_option(schema: &mut Schema) {
    let only = match schema.get("anyOf") {
        Some(Value::Array(options)) if options.len() == 1 => options[0].clone(),
        _ => return,
    };
    schema.remove("anyOf");
    if let Value::Object(only) = only {
        for (key, value) in only {
            schema.ensure_object().entry(key).or_insert(value);
        }
    }
}
