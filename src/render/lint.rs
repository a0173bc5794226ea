//! Whether a minion keeps the rules of the house.
/// stub
pub fn todo(_: &crate::minion::Minion) -> Vec<crate::problem::Problem> { vec![] }
