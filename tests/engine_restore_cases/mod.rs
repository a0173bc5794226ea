mod backup;
mod drill;
mod dump;
mod killed;
mod rebuild;
mod round_trip;
