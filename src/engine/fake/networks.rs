//! The networks of the fake.

use std::net::Ipv4Addr;

use super::world::World;
use crate::engine::{EndpointSpec, EngineError, Network, NetworkSpec, RunState};

impl World {
    /// The id of the one network of that name or id.
    pub(super) fn network(&self, name: &str) -> Result<&str, EngineError> {
        let mut found = self
            .networks
            .iter()
            .filter(|n| n.id == name || n.name == name);
        match (found.next(), found.next()) {
            (Some(network), None) => Ok(&network.id),
            (Some(_), Some(_)) => Err(EngineError::Other {
                action: format!("find the network `{name}`"),
                reason: "there are two of that name".to_owned(),
            }),
            (None, _) => Err(EngineError::NotFound {
                kind: "network",
                name: name.to_owned(),
            }),
        }
    }

    pub(super) fn network_name_of(&self, id: &str) -> String {
        self.networks
            .iter()
            .find(|n| n.id == id)
            .map_or_else(|| id.to_owned(), |n| n.name.clone())
    }

    /// Makes another one when there is one of that name already, as old engines do.
    pub(super) fn create_network(&mut self, spec: &NetworkSpec) -> Result<String, EngineError> {
        let overlaps = self
            .networks
            .iter()
            .flat_map(|n| &n.subnets)
            .any(|subnet| overlap(subnet, &spec.subnet));
        if overlaps {
            return Err(EngineError::Conflict(format!(
                "failed to create the network `{}`: Pool overlaps with other one on this address space",
                spec.name
            )));
        }
        let id = format!("{:064x}", u64::from(self.next()) << 16);
        self.networks.push(Network {
            id: id.clone(),
            name: spec.name.clone(),
            labels: spec.labels.clone(),
            subnets: vec![spec.subnet.clone()],
        });
        Ok(id)
    }

    pub(super) fn remove_network(&mut self, id: &str) -> Result<(), EngineError> {
        let id = match self.network(id) {
            Ok(id) => id.to_owned(),
            Err(EngineError::NotFound { .. }) => return Ok(()),
            Err(other) => return Err(other),
        };
        let in_use = self
            .containers
            .iter()
            .any(|c| c.state == RunState::Running && c.endpoints.contains_key(&id));
        if in_use {
            return Err(EngineError::Conflict(format!(
                "failed to remove the network `{}`: it has active endpoints",
                self.network_name_of(&id)
            )));
        }
        self.networks.retain(|n| n.id != id);
        Ok(())
    }

    pub(super) fn connect(
        &mut self,
        network: &str,
        container: &str,
        endpoint: &EndpointSpec,
    ) -> Result<(), EngineError> {
        let network = self.network(network)?.to_owned();
        let index = self.index(container)?;
        let stored = &mut self.containers[index];
        if stored.endpoints.contains_key(&network) {
            return Err(EngineError::Conflict(format!(
                "the container `{}` is in that network already",
                stored.name
            )));
        }
        stored.endpoints.insert(network, endpoint.clone());
        Ok(())
    }

    pub(super) fn disconnect(&mut self, network: &str, container: &str) -> Result<(), EngineError> {
        let id = self.network(network)?.to_owned();
        let index = self.index(container)?;
        match self.containers[index].endpoints.remove(&id) {
            Some(_) => Ok(()),
            None => Err(EngineError::Other {
                action: format!("disconnect a container from the network `{network}`"),
                reason: "it is not connected".to_owned(),
            }),
        }
    }
}

/// Whether two IPv4 subnets in CIDR form share an address.
fn overlap(a: &str, b: &str) -> bool {
    let parse = |cidr: &str| {
        let (address, bits) = cidr.split_once('/')?;
        let bits = bits.parse::<u32>().ok().filter(|bits| *bits <= 32)?;
        Some((u32::from(address.parse::<Ipv4Addr>().ok()?), bits))
    };
    let (Some((a, a_bits)), Some((b, b_bits))) = (parse(a), parse(b)) else {
        return false;
    };
    let shift = 32 - a_bits.min(b_bits);
    a.checked_shr(shift) == b.checked_shr(shift)
}

#[cfg(test)]
mod tests {
    use super::overlap;

    #[test]
    fn subnets_overlap_when_one_holds_the_other() {
        assert!(overlap("10.1.0.0/16", "10.1.2.0/26"));
        assert!(overlap("10.1.2.0/26", "10.1.2.0/26"));
        assert!(!overlap("10.1.2.0/26", "10.1.2.64/26"));
    }
}
