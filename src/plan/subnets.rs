//! Subnets of networks: /26 blocks of our own choice, since the engine's default pools end at
//! about 31 networks and know nothing of the host's routes.

use std::net::Ipv4Addr;

/// Length of the prefix of every network we make: 62 addresses.
pub const PREFIX: u8 = 26;

/// An IPv4 block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    first: u32,
    last: u32,
}

fn parse(cidr: &str) -> Option<Block> {
    let (address, prefix) = cidr.split_once('/')?;
    let address = u32::from(address.parse::<Ipv4Addr>().ok()?);
    let prefix: u32 = prefix.parse().ok().filter(|p| *p <= 32)?;
    let size = 1_u64 << (32 - prefix);
    let mask = u32::try_from(size - 1).ok()?;
    Some(Block {
        first: address & !mask,
        last: address | mask,
    })
}

/// The first free /26 of `pools` that overlaps nothing in `taken` (CIDR; anything else, such as an
/// IPv6 subnet, is passed over).
#[must_use]
pub fn free<'a>(pools: &[String], taken: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let taken: Vec<Block> = taken.into_iter().filter_map(parse).collect();
    let size = 1_u32 << (32 - PREFIX);
    for pool in pools.iter().filter_map(|p| parse(p)) {
        let mut first = pool.first;
        while let Some(last) = first
            .checked_add(size - 1)
            .filter(|last| *last <= pool.last)
        {
            match taken
                .iter()
                .filter(|t| t.first <= last && first <= t.last)
                .map(|t| t.last)
                .max()
            {
                None => return Some(format!("{}/{PREFIX}", Ipv4Addr::from(first))),
                // On to the first block after what is in the way.
                Some(end) => match end.max(last).checked_add(1) {
                    Some(next) => first = next.div_ceil(size) * size,
                    None => break,
                },
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_first_block_that_overlaps_nothing() {
        let pools = ["10.210.0.0/24".to_owned(), "172.28.0.0/16".to_owned()];
        assert_eq!(free(&pools, []).unwrap(), "10.210.0.0/26");
        assert_eq!(free(&pools, ["10.210.0.0/26"]).unwrap(), "10.210.0.64/26");
        assert_eq!(
            free(&pools, ["10.210.0.70/32", "10.210.0.1/32"]).unwrap(),
            "10.210.0.128/26"
        );
        assert_eq!(
            free(&pools, ["10.0.0.0/8", "fd00::/64"]).unwrap(),
            "172.28.0.0/26"
        );
        assert_eq!(free(&pools, ["0.0.0.0/0"]), None);
    }
}
