//! What the fuzz targets assert: the very functions of the property tests, and the world of the simulation.

// What the tests of the crates call the protocol.
extern crate oneloop_protocol as protocol;

#[path = "../../protocol/tests/invariants/mod.rs"]
pub mod invariants;

#[path = "../../worker/tests/simulation"]
pub mod simulation {
    pub mod client;
    pub mod directed;
    pub mod displacing;
    pub mod fault;
    pub mod letters;
    pub mod places;
    pub mod verdict;
    pub mod versions;
    pub mod wire;
    pub mod world;
}
