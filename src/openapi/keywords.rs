//! The keywords of a schema in `OpenAPI`, and the treatment of each.

use super::document::Version;

/// The treatment of a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Omitted: an annotation that does not affect validity.
    Nothing,
    /// Kept unchanged.
    AsIs,
    /// A schema, or in old drafts a list of them.
    Schema,
    /// A list of schemas.
    List,
    /// Schemas by name (or, under `dependencies`, lists of names).
    Map,
    /// Handled individually in `convert.rs`.
    Special,
    /// Refused: it would change the meaning of references.
    Refused,
}

use Keep::{AsIs, List, Map, Nothing, Refused, Schema, Special};

/// The annotations of both versions: they do not affect validity.
pub(crate) const ANNOTATIONS: &[&str] = &[
    "title",
    "description",
    "externalDocs",
    "xml",
    "example",
    "examples",
    "deprecated",
    // What it chooses, `discriminator.rs` adds.
    "discriminator",
    "readOnly",
    "writeOnly",
    "$comment",
];

/// The other keywords of version 3.0 (`OpenAPI` 3.0.4 section 4.7.24): those of an early draft and
/// its own.
pub(crate) const V30: &[(&str, Keep)] = &[
    ("$ref", Special),
    ("type", Special),
    ("nullable", Special),
    ("format", Special),
    ("required", Special),
    ("properties", Special),
    ("minimum", AsIs),
    ("maximum", AsIs),
    ("exclusiveMinimum", Special),
    ("exclusiveMaximum", Special),
    ("multipleOf", AsIs),
    ("minLength", AsIs),
    ("maxLength", AsIs),
    ("pattern", AsIs),
    ("minItems", AsIs),
    ("maxItems", AsIs),
    ("uniqueItems", AsIs),
    ("minProperties", AsIs),
    ("maxProperties", AsIs),
    ("enum", AsIs),
    ("default", AsIs),
    ("allOf", List),
    ("anyOf", List),
    ("oneOf", List),
    ("not", Schema),
    ("items", Schema),
    ("additionalProperties", Schema),
];

/// The other keywords of versions 3.1 and 3.2, if they are not kept unchanged: those of JSON Schema
/// (2020-12 or the dialect that the document names) and a few of its own.
pub(crate) const V31: &[(&str, Keep)] = &[
    // References reach these schemas by their pointers.
    ("$defs", Nothing),
    ("definitions", Nothing),
    ("$ref", Special),
    ("$schema", Special),
    ("nullable", Special),
    ("format", Special),
    ("required", Special),
    ("properties", Special),
    ("default", AsIs),
    ("enum", AsIs),
    ("const", AsIs),
    ("allOf", List),
    ("anyOf", List),
    ("oneOf", List),
    ("prefixItems", List),
    ("not", Schema),
    ("if", Schema),
    ("then", Schema),
    ("else", Schema),
    ("items", Schema),
    ("additionalItems", Schema),
    ("contains", Schema),
    ("additionalProperties", Schema),
    ("propertyNames", Schema),
    ("unevaluatedItems", Schema),
    ("unevaluatedProperties", Schema),
    ("contentSchema", Nothing),
    ("patternProperties", Map),
    ("dependentSchemas", Map),
    ("dependencies", Map),
    ("$id", Refused),
    ("$anchor", Refused),
    ("$dynamicAnchor", Refused),
    ("$dynamicRef", Refused),
    ("$recursiveAnchor", Refused),
    ("$recursiveRef", Refused),
    ("$vocabulary", Refused),
];

/// The treatment of a keyword; `None` if the version's list does not have it.
pub(crate) fn keep(version: Version, name: &str) -> Option<Keep> {
    if ANNOTATIONS.contains(&name) {
        return Some(Nothing);
    }
    let table = match version {
        Version::V30 => V30,
        Version::V31 | Version::V32 => V31,
    };
    table.iter().find(|(known, _)| *known == name).map(|(_, keep)| *keep)
}

/// Whether `key` is a specification extension (section 4.9).
pub(crate) fn is_extension(key: &str) -> bool {
    key.starts_with("x-")
}
