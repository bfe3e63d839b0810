//! `DeclaredFacts`: the configured values of the facts that are fixed at format, and whether the data
//! directory agrees with them.

use super::facts::{ClusterFacts, KeyHash, cluster_id_of_name};
use super::raw::{RawMember, Sourced};
use super::row::Row;
use super::settings::{CLUSTER_ID, CLUSTER_NAME, CORES, DRIFT_MS, GROUPS, HASH, LEASE_MS, NODE_ID, PINS};
use super::values::Values;
use super::{members, relations};
use crate::identity::{Identity, Pins};
use crate::node::Member;
use crate::refusal::{Refusal, cluster_label, list};
use std::fmt;
use std::path::Path;
use synod_types::{ClusterId, Incarnation, NodeId};

/// The declared facts; `None` for a fact that was not configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeclaredFacts {
    /// The cluster, by id or by name.
    pub cluster: Option<Sourced<ClusterId>>,
    /// The cluster's name, or empty.
    pub cluster_name: String,
    /// The number of data groups.
    pub group_count: Option<Sourced<u16>>,
    /// The key hash.
    pub hash: Option<Sourced<KeyHash>>,
    /// The lease.
    pub lease_ms: Option<Sourced<u32>>,
    /// The drift bound.
    pub drift_ms: Option<Sourced<u32>>,
    /// This node's id.
    pub node: Option<Sourced<NodeId>>,
    /// This node's number of cores.
    pub cores: Option<Sourced<u16>>,
    /// This node's pins.
    pub pins: Option<Sourced<Pins>>,
    /// The founding members, ascending.
    pub members: Option<Sourced<Vec<Member>>>,
}

/// The values that a new identity needs and that no configuration holds.
#[derive(Clone, Copy, Debug)]
pub struct GeneratedFacts {
    /// The id of a cluster without a configured name or id.
    pub cluster: ClusterId,
    /// The incarnation: a new one for each format of the disk.
    pub incarnation: Incarnation,
    /// The number of cores of a node whose configuration gives none.
    pub cores: u16,
}

impl DeclaredFacts {
    pub(super) fn read(values: &Values, raw_members: &[RawMember], place: &str) -> Result<Self, Refusal> {
        let invalid = |why: String| Refusal::ConfigInvalid { place: place.to_owned(), why };
        let name = values.given(&CLUSTER_NAME);
        let cluster_name = name.as_ref().map(|name| name.value.clone()).unwrap_or_default();
        let by_name = name.map(|name| name.map(|name| cluster_id_of_name(&name)));
        let cluster = values.given(&CLUSTER_ID).or(by_name);

        relations::drift_leaves_a_lease(values.value(&DRIFT_MS), values.value(&LEASE_MS)).map_err(invalid)?;
        let node = values.given(&NODE_ID).map(|id| id.map(NodeId::new));
        let own_cores = values.given(&CORES);
        let (members, cores) = if raw_members.is_empty() {
            (None, own_cores)
        } else {
            let members = members::read(raw_members, own_cores.as_ref(), place)?;
            let (cluster, node) = (value_of(&cluster), value_of(&node));
            relations::the_list_holds_this_node(&members, cluster, node).map_err(invalid)?;
            let cores = Sourced { value: members[0].cores, place: place.to_owned() };
            (Some(Sourced { value: members, place: place.to_owned() }), Some(own_cores.unwrap_or(cores)))
        };
        let pins = values.given(&PINS);
        if let (Some(pins), Some(cores)) = (&pins, &cores) {
            relations::pins_fit_cores(&pins.value, cores.value)
                .map_err(|why| Refusal::ConfigValue { place: pins.place.clone(), why })?;
        }
        Ok(Self {
            cluster,
            cluster_name,
            group_count: values.given(&GROUPS),
            hash: values.given(&HASH),
            lease_ms: values.given(&LEASE_MS),
            drift_ms: values.given(&DRIFT_MS),
            node,
            cores,
            pins,
            members,
        })
    }

    /// This node's entry in the list of members, if there is a list.
    pub fn own_member(&self) -> Option<&Member> {
        let (members, node) = (self.members.as_ref()?, self.node.as_ref()?);
        members.value.iter().find(|member| member.id == node.value)
    }

    /// Checks the number of members of a cluster that is being set up. Returns advice on a number that is allowed
    /// and not the best.
    pub fn check_member_count(&self) -> Result<Option<String>, Refusal> {
        let Some(members) = &self.members else { return Ok(None) };
        relations::members_are_worth_their_number(&members.value)
            .map_err(|why| Refusal::ConfigInvalid { place: members.place.clone(), why })
    }

    /// The identity that `format` writes.
    pub fn identity(&self, generated: GeneratedFacts) -> Result<Identity, Refusal> {
        let node = value_of(&self.node).unwrap_or_else(|| NodeId::new(NODE_ID.default_value()));
        let founders = match &self.members {
            Some(members) => members.value.iter().map(|member| member.id).collect(),
            None => vec![node],
        };
        let pins = self.pins.as_ref().map_or_else(|| PINS.default_value(), |pins| pins.value.clone());
        let cores = match (&self.cores, &pins) {
            (Some(cores), _) => cores.value,
            // One core for each pin, if only pins were declared.
            (None, Pins::Cpus(cpus)) => cpus.len() as u16,
            (None, Pins::None) => generated.cores,
        };
        if let (Some(declared), Err(why)) = (&self.pins, relations::pins_fit_cores(&pins, cores)) {
            return Err(Refusal::ConfigValue { place: declared.place.clone(), why });
        }
        Ok(Identity {
            facts: ClusterFacts {
                cluster: value_of(&self.cluster).unwrap_or(generated.cluster),
                group_count: value_of(&self.group_count).unwrap_or_else(|| GROUPS.default_value()),
                hash: value_of(&self.hash).unwrap_or_else(|| HASH.default_value()),
                lease_ms: value_of(&self.lease_ms).unwrap_or_else(|| LEASE_MS.default_value()),
                drift_ms: value_of(&self.drift_ms).unwrap_or_else(|| DRIFT_MS.default_value()),
                founders,
            },
            cluster_name: self.cluster_name.clone(),
            node,
            incarnation: generated.incarnation,
            cores,
            pins,
        })
    }

    /// Checks that the data directory at `path`, whose identity is `found`, may be served under these
    /// declarations.
    pub fn verify(&self, path: &Path, found: &Identity) -> Result<(), Refusal> {
        let path = || path.to_owned();
        let facts = &found.facts;
        if let Some(declared) = differing(&self.cluster, &facts.cluster) {
            return Err(Refusal::ForeignCluster {
                path: path(),
                found: found.cluster_label(),
                place: declared.place.clone(),
                wanted: cluster_label(declared.value, &self.cluster_name),
            });
        }
        if let Some(declared) = differing(&self.node, &found.node) {
            let (place, wanted) = (declared.place.clone(), declared.value);
            return Err(Refusal::OtherNode { path: path(), found: found.node, place, wanted });
        }
        if let Some(declared) = differing(&self.cores, &found.cores) {
            let (place, wanted) = (declared.place.clone(), declared.value);
            return Err(Refusal::CoresChanged { path: path(), found: found.cores, place, wanted });
        }
        if let Some(declared) = differing(&self.pins, &found.pins) {
            let (place, wanted) = (declared.place.clone(), declared.value.to_string());
            return Err(Refusal::PinsChanged { path: path(), found: found.pins.to_string(), place, wanted });
        }
        let fact = |row: &Row, found: String, declared: Option<(String, String)>| match declared {
            Some((place, wanted)) => {
                Err(Refusal::FactChanged { path: path(), name: row.key(), found, place, wanted })
            }
            None => Ok(()),
        };
        fact(&GROUPS.row, facts.group_count.to_string(), shown(&self.group_count, &facts.group_count))?;
        fact(&LEASE_MS.row, facts.lease_ms.to_string(), shown(&self.lease_ms, &facts.lease_ms))?;
        fact(&DRIFT_MS.row, facts.drift_ms.to_string(), shown(&self.drift_ms, &facts.drift_ms))?;
        fact(&HASH.row, facts.hash.name().to_owned(), self.hash_changed(facts.hash))?;
        if let Some(members) = &self.members {
            let wanted: Vec<NodeId> = members.value.iter().map(|member| member.id).collect();
            if wanted != facts.founders {
                let (found, wanted) = (list(&facts.founders), list(wanted));
                return Err(Refusal::MembersChanged {
                    path: path(),
                    found,
                    place: members.place.clone(),
                    wanted,
                });
            }
        }
        Ok(())
    }

    fn hash_changed(&self, found: KeyHash) -> Option<(String, String)> {
        differing(&self.hash, &found)
            .map(|declared| (declared.place.clone(), declared.value.name().to_owned()))
    }
}

fn value_of<T: Copy>(declared: &Option<Sourced<T>>) -> Option<T> {
    declared.as_ref().map(|declared| declared.value)
}

fn differing<'s, T: PartialEq>(declared: &'s Option<Sourced<T>>, found: &T) -> Option<&'s Sourced<T>> {
    declared.as_ref().filter(|declared| declared.value != *found)
}

/// The place and the value of a declaration that differs from `found`.
fn shown<T: PartialEq + fmt::Display>(declared: &Option<Sourced<T>>, found: &T) -> Option<(String, String)> {
    differing(declared, found).map(|declared| (declared.place.clone(), declared.value.to_string()))
}
