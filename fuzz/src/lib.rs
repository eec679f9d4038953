//! What the fuzz targets assert: the very functions of the property tests.

#[path = "../../protocol/tests/invariants/mod.rs"]
pub mod invariants;
