//! Whether a minion keeps the rules of the house.
/// stub
#[must_use]
pub fn lint(_: &crate::minion::Minion) -> Vec<crate::problem::Problem> { vec![] }
