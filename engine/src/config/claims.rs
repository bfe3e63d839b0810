//! `Claims`: what a configuration says about facts that were fixed at format, and whether the data directory agrees.

use super::facts::{
    ClusterFacts, DRIFT_MS_DEFAULT, GROUP_COUNT_DEFAULT, KeyHash, LEASE_MS_DEFAULT, cluster_id_of_name,
};
use super::raw::{RawMember, RawValue, Said};
use super::values::{self, Taker};
use super::{keys, limits};
use crate::identity::{Identity, Pins};
use crate::node::Member;
use crate::refusal::{Refusal, cluster_label, list};
use std::fmt;
use std::path::Path;
use synod_types::limits::MEMBER_COUNT_MAX;
use synod_types::{ClusterId, Incarnation, NodeId};

/// What was said; `None` where nothing was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claims {
    /// The cluster, by id or by name.
    pub cluster: Option<Said<ClusterId>>,
    /// Its name, or empty.
    pub cluster_name: String,
    /// The number of data groups.
    pub group_count: Option<Said<u16>>,
    /// The key hash.
    pub hash: Option<Said<KeyHash>>,
    /// The lease.
    pub lease_ms: Option<Said<u32>>,
    /// The drift bound.
    pub drift_ms: Option<Said<u32>>,
    /// This node's id.
    pub node: Option<Said<NodeId>>,
    /// This node's number of cores.
    pub cores: Option<Said<u16>>,
    /// This node's pins.
    pub pins: Option<Said<Pins>>,
    /// The founding members, ascending.
    pub members: Option<Said<Vec<Member>>>,
}

/// What a new identity needs that no configuration holds.
#[derive(Clone, Copy, Debug)]
pub struct Drawn {
    /// For a cluster that nobody named.
    pub cluster: ClusterId,
    /// For this life of the disk.
    pub incarnation: Incarnation,
    /// Cores of a node whose configuration does not say.
    pub cores: u16,
}

impl Claims {
    pub(super) fn take(
        taken: &mut Taker<'_>,
        raw_members: &[Said<RawMember>],
        place: &str,
    ) -> Result<Self, Refusal> {
        let invalid = |why: String| Refusal::ConfigInvalid { place: place.to_owned(), why };
        let name = taken.take(&keys::CLUSTER_NAME, values::cluster_name)?;
        let id = taken.take(&keys::CLUSTER_ID, values::cluster_id)?;
        let cluster_name = name.as_ref().map(|name| name.value.clone()).unwrap_or_default();
        let by_name = name.map(|name| Said { value: cluster_id_of_name(&name.value), place: name.place });
        let cluster = id.or(by_name);

        let group_count = taken.take(&keys::GROUPS, values::group_count)?;
        let hash = taken.take(&keys::HASH, values::key_hash)?;
        let lease_ms = taken.take(&keys::LEASE_MS, |raw| values::range32(&raw, 20, 60_000))?;
        let drift_ms = taken.take(&keys::DRIFT_MS, |raw| values::range32(&raw, 1, 10_000))?;
        let (lease, drift) = (value_or(&lease_ms, LEASE_MS_DEFAULT), value_or(&drift_ms, DRIFT_MS_DEFAULT));
        if drift * 4 > lease {
            return Err(invalid(format!(
                "a drift of {drift} ms eats up a lease of {lease} ms; make cluster.drift_ms at most a quarter of \
                 cluster.lease_ms"
            )));
        }
        let node = taken.take(&keys::NODE_ID, |raw| values::range16(&raw, 1, u16::MAX).map(NodeId::new))?;
        let said_cores = taken.take(&keys::CORES, |raw| values::range16(&raw, 1, limits::CORE_COUNT_MAX))?;
        let pins = taken.take(&keys::PINS, values::pins)?;

        let (members, cores) = if raw_members.is_empty() {
            (None, said_cores)
        } else {
            let members = read_members(raw_members, said_cores.as_ref(), place)?;
            let cores = Said { value: members[0].cores, place: place.to_owned() };
            (Some(Said { value: members, place: place.to_owned() }), Some(said_cores.unwrap_or(cores)))
        };
        if let Some(members) = &members {
            if cluster.is_none() {
                return Err(invalid(
                    "it lists members but no cluster; add cluster.name, the same on every node".to_owned(),
                ));
            }
            let Some(node) = &node else {
                return Err(invalid(
                    "it lists members but not which one this node is; add node.id".to_owned(),
                ));
            };
            if !members.value.iter().any(|member| member.id == node.value) {
                return Err(invalid(format!(
                    "node.id is {} and no member has that id (members: {}); add this node to [[members]]",
                    node.value.get(),
                    list(members.value.iter().map(|member| member.id)),
                )));
            }
        }
        if let (Some(pins), Some(cores)) = (&pins, &cores)
            && let Err(why) = fit(&pins.value, cores.value)
        {
            return Err(Refusal::ConfigValue { place: pins.place.clone(), why });
        }
        Ok(Self { cluster, cluster_name, group_count, hash, lease_ms, drift_ms, node, cores, pins, members })
    }

    /// This node's entry in the list of members, if there is a list.
    pub fn own_member(&self) -> Option<&Member> {
        let (members, node) = (self.members.as_ref()?, self.node.as_ref()?);
        members.value.iter().find(|member| member.id == node.value)
    }

    /// The identity that `format` writes.
    pub fn identity(&self, drawn: Drawn) -> Result<Identity, Refusal> {
        let node = value_or(&self.node, NodeId::new(1));
        let founders = match &self.members {
            Some(members) => members.value.iter().map(|member| member.id).collect(),
            None => vec![node],
        };
        let pins = value_or(&self.pins, Pins::None);
        let cores = match (&self.cores, &pins) {
            (Some(cores), _) => cores.value,
            // One core for each pin, if pins are all that was said.
            (None, Pins::Cpus(cpus)) => cpus.len() as u16,
            (None, Pins::None) => drawn.cores,
        };
        if let (Some(said), Err(why)) = (&self.pins, fit(&pins, cores)) {
            return Err(Refusal::ConfigValue { place: said.place.clone(), why });
        }
        Ok(Identity {
            facts: ClusterFacts {
                cluster: value_or(&self.cluster, drawn.cluster),
                group_count: value_or(&self.group_count, GROUP_COUNT_DEFAULT),
                hash: value_or(&self.hash, KeyHash::Crc16),
                lease_ms: value_or(&self.lease_ms, LEASE_MS_DEFAULT),
                drift_ms: value_or(&self.drift_ms, DRIFT_MS_DEFAULT),
                founders,
            },
            cluster_name: self.cluster_name.clone(),
            node,
            incarnation: drawn.incarnation,
            cores,
            pins,
        })
    }

    /// Whether the data directory at `path`, which is `found`'s, may be served under these claims.
    pub fn verify(&self, path: &Path, found: &Identity) -> Result<(), Refusal> {
        let path = || path.to_owned();
        let facts = &found.facts;
        if let Some(said) = differing(&self.cluster, &facts.cluster) {
            return Err(Refusal::ForeignCluster {
                path: path(),
                found: found.cluster_label(),
                place: said.place.clone(),
                wanted: cluster_label(said.value, &self.cluster_name),
            });
        }
        if let Some(said) = differing(&self.node, &found.node) {
            let (place, wanted) = (said.place.clone(), said.value);
            return Err(Refusal::OtherNode { path: path(), found: found.node, place, wanted });
        }
        if let Some(said) = differing(&self.cores, &found.cores) {
            let (place, wanted) = (said.place.clone(), said.value);
            return Err(Refusal::CoresChanged { path: path(), found: found.cores, place, wanted });
        }
        if let Some(said) = differing(&self.pins, &found.pins) {
            let (place, wanted) = (said.place.clone(), said.value.to_string());
            return Err(Refusal::PinsChanged { path: path(), found: found.pins.to_string(), place, wanted });
        }
        let fact = |name, found: String, said: Option<(String, String)>| match said {
            Some((place, wanted)) => Err(Refusal::FactChanged { path: path(), name, found, place, wanted }),
            None => Ok(()),
        };
        fact("groups", facts.group_count.to_string(), shown(&self.group_count, &facts.group_count))?;
        fact("lease_ms", facts.lease_ms.to_string(), shown(&self.lease_ms, &facts.lease_ms))?;
        fact("drift_ms", facts.drift_ms.to_string(), shown(&self.drift_ms, &facts.drift_ms))?;
        fact("hash", facts.hash.name().to_owned(), self.hash_changed(facts.hash))?;
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
        differing(&self.hash, &found).map(|said| (said.place.clone(), said.value.name().to_owned()))
    }
}

fn value_or<T: Clone>(said: &Option<Said<T>>, default: T) -> T {
    said.as_ref().map_or(default, |said| said.value.clone())
}

fn differing<'s, T: PartialEq>(said: &'s Option<Said<T>>, found: &T) -> Option<&'s Said<T>> {
    said.as_ref().filter(|said| said.value != *found)
}

fn shown<T: PartialEq + fmt::Display>(said: &Option<Said<T>>, found: &T) -> Option<(String, String)> {
    differing(said, found).map(|said| (said.place.clone(), said.value.to_string()))
}

fn fit(pins: &Pins, cores: u16) -> Result<(), String> {
    let count = pins.cpus().len();
    if count == 0 || count == usize::from(cores) {
        return Ok(());
    }
    Err(format!("{pins} pins {count} cores and there are {cores}; name one CPU for each core, or none"))
}

fn read_members(
    raw: &[Said<RawMember>],
    node_cores: Option<&Said<u16>>,
    place: &str,
) -> Result<Vec<Member>, Refusal> {
    let invalid = |why: String| Refusal::ConfigInvalid { place: place.to_owned(), why };
    let mut members = raw.iter().map(|raw| read_member(raw, node_cores)).collect::<Result<Vec<_>, _>>()?;
    members.sort_by_key(|member| member.id);
    if members.len() > MEMBER_COUNT_MAX {
        return Err(invalid(format!(
            "it lists {} members; at most {MEMBER_COUNT_MAX} can vote",
            members.len()
        )));
    }
    if let Some(pair) = members.windows(2).find(|pair| pair[0].id == pair[1].id) {
        return Err(invalid(format!("it lists the member id {} twice; ids are unique", pair[0].id.get())));
    }
    // A group lives on the same core number on every node, so that its replicas find each other without asking.
    if let Some(other) = members.iter().find(|member| member.cores != members[0].cores) {
        return Err(invalid(format!(
            "member {} has {} cores and member {} has {}; all members must have the same number",
            members[0].id.get(),
            members[0].cores,
            other.id.get(),
            other.cores
        )));
    }
    if let Some(said) = node_cores
        && said.value != members[0].cores
    {
        return Err(Refusal::ConfigValue {
            place: said.place.clone(),
            why: format!(
                "this says {} cores and the members have {}; make them equal, or leave one out",
                said.value, members[0].cores
            ),
        });
    }
    check_ports(&members).map_err(invalid)?;
    Ok(members)
}

fn read_member(raw: &Said<RawMember>, node_cores: Option<&Said<u16>>) -> Result<Member, Refusal> {
    let optional = |key: &str| raw.value.get(key).cloned();
    let needed = |key: &str| {
        optional(key).ok_or_else(|| Refusal::ConfigInvalid {
            place: raw.place.clone(),
            why: format!("this member has no {key}; add it"),
        })
    };
    let host = needed("host")?.parse(|raw: RawValue| {
        let host = values::text(raw)?;
        let right = host.parse::<std::net::IpAddr>().is_ok()
            || host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        right
            .then_some(host.clone())
            .ok_or_else(|| format!("'{host}' is neither an IP address nor a host name"))
    })?;
    let cores = optional("cores")
        .map(|raw| raw.parse(|raw| values::range16(&raw, 1, limits::CORE_COUNT_MAX)))
        .transpose()?;
    let core_port_base = optional("core_port_base").map(|raw| raw.parse(values::port_or_none)).transpose()?;
    Ok(Member {
        id: needed("id")?.parse(|raw| values::range16(&raw, 1, u16::MAX).map(NodeId::new))?.value,
        host: host.value,
        client_port: needed("client_port")?.parse(values::port)?.value,
        core_port_base: core_port_base.map_or(0, |said| said.value),
        peer_port: needed("peer_port")?.parse(values::port)?.value,
        cores: cores.map_or_else(|| node_cores.map_or(1, |said| said.value), |said| said.value),
    })
}

/// Whether all ports exist and no two listeners on one host want the same.
pub(super) fn check_ports(members: &[Member]) -> Result<(), String> {
    let mut taken: Vec<(&str, u32, u32, String)> = Vec::new();
    for member in members {
        let cores = u32::from(member.cores);
        let ranges = [
            ("client port", u32::from(member.client_port), 1),
            (
                "core ports",
                u32::from(member.core_port_base),
                if member.core_port_base == 0 { 0 } else { cores },
            ),
            ("peer ports", u32::from(member.peer_port), cores),
        ];
        for (what, first, count) in ranges.into_iter().filter(|&(_, _, count)| count > 0) {
            let end = first + count;
            let label = format!("the {what} of node {}", member.id.get());
            if end > 1 << 16 {
                return Err(format!(
                    "{label} begin at {first}, and {count} of them do not fit below 65536; start lower"
                ));
            }
            let clash =
                taken.iter().find(|(host, from, to, _)| *host == member.host && first < *to && *from < end);
            if let Some((_, from, _, other)) = clash {
                return Err(format!(
                    "{label} and {other} meet at port {}; move one of them",
                    first.max(*from)
                ));
            }
            taken.push((&member.host, first, end, label));
        }
    }
    Ok(())
}
