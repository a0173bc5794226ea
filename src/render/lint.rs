//! Whether a minion keeps the rules of the house.
