//! Rules between settings. The rule for a single setting is in its row.
//!
//! Each function returns the fault and how to fix it; the caller knows the place of the value.

use super::raw::Sourced;
use crate::identity::Pins;
use crate::node::Member;
use crate::refusal::list;
use std::net::IpAddr;
use synod_net::access::Secret;
use synod_types::limits::MEMBER_COUNT_MAX;
use synod_types::{ClusterId, NodeId};

/// A leader subtracts the drift from its lease: enough of the lease must be left.
pub(super) fn drift_leaves_a_lease(drift_ms: u32, lease_ms: u32) -> Result<(), String> {
    if drift_ms * 4 <= lease_ms {
        return Ok(());
    }
    Err(format!(
        "a drift of {drift_ms} ms eats up a lease of {lease_ms} ms; make cluster.drift_ms at most a quarter \
         of cluster.lease_ms"
    ))
}

/// One lost heartbeat must not end a lease.
pub(super) fn a_lease_outlives_a_heartbeat(heartbeat_ms: u64, lease_ms: u32) -> Result<(), String> {
    if heartbeat_ms * 2 <= u64::from(lease_ms) {
        return Ok(());
    }
    Err(format!(
        "heartbeats every {heartbeat_ms} ms leave no room for a lost one in a lease of {lease_ms} ms; make \
         the heartbeat at most half the lease"
    ))
}

/// Either each core has a CPU or no core has one.
pub(super) fn pins_fit_cores(pins: &Pins, cores: u16) -> Result<(), String> {
    let count = pins.cpus().len();
    if count == 0 || count == usize::from(cores) {
        return Ok(());
    }
    Err(format!("{pins} pins {count} cores and there are {cores}; name one CPU for each core, or none"))
}

/// An old password is accepted beside a new one, not instead of it.
pub(super) fn an_old_password_has_a_new_one(new: Option<&Sourced<Secret>>) -> Result<(), String> {
    match new {
        Some(_) => Ok(()),
        None => Err("there is an old password and no new one; set security.password".to_owned()),
    }
}

/// A node with a list of members must know its cluster and its own entry in the list.
pub(super) fn the_list_holds_this_node(
    members: &[Member],
    cluster: Option<ClusterId>,
    node: Option<NodeId>,
) -> Result<(), String> {
    if cluster.is_none() {
        return Err("it lists members but no cluster; add cluster.name, the same on every node".to_owned());
    }
    let Some(node) = node else {
        return Err("it lists members but not which one this node is; add node.id".to_owned());
    };
    if members.iter().any(|member| member.id == node) {
        return Ok(());
    }
    Err(format!(
        "node.id is {} and no member has that id (members: {}); add this node to [[members]]",
        node.get(),
        list(members.iter().map(|member| member.id)),
    ))
}

/// Members, ascending by id, are different nodes with the same number of cores.
pub(super) fn members_fit_each_other(members: &[Member]) -> Result<(), String> {
    if members.len() > MEMBER_COUNT_MAX {
        return Err(format!("it lists {} members; at most {MEMBER_COUNT_MAX} can vote", members.len()));
    }
    if let Some(pair) = members.windows(2).find(|pair| pair[0].id == pair[1].id) {
        return Err(format!("it lists the member id {} twice; ids are unique", pair[0].id.get()));
    }
    // A group lives on the same core number on every node, so that its replicas find each other without
    // asking.
    if let Some(other) = members.iter().find(|member| member.cores != members[0].cores) {
        return Err(format!(
            "member {} has {} cores and member {} has {}; all members must have the same number",
            members[0].id.get(),
            members[0].cores,
            other.id.get(),
            other.cores
        ));
    }
    Ok(())
}

/// A cluster survives the loss of a node, or is one node. Returns advice on a number that is allowed and not the
/// best.
pub(super) fn members_are_worth_their_number(members: &[Member]) -> Result<Option<String>, String> {
    let count = members.len();
    if count == 2 {
        let ids = list(members.iter().map(|member| member.id));
        return Err(format!(
            "it lists 2 members ({ids}): both would be needed for every write, so the cluster would stop whenever \
             one of them does; list 1 member, or 3"
        ));
    }
    let survives = |count: usize| (count - 1) / 2;
    let advice = || {
        let (lost, fewer) = (survives(count), count - 1);
        format!("a cluster of {count} survives the loss of {lost} nodes, no more than one of {fewer} does")
    };
    Ok((count > 2 && count.is_multiple_of(2)).then(advice))
}

/// A node has the number of cores that the list gives the members.
pub(super) fn cores_are_as_listed(cores: u16, listed: u16) -> Result<(), String> {
    if cores == listed {
        return Ok(());
    }
    Err(format!("this says {cores} cores and the members have {listed}; make them equal, or leave one out"))
}

/// A node listens on the ports that the list gives to everyone else.
pub(super) fn a_port_is_as_listed(name: &str, port: u16, listed: u16, node: NodeId) -> Result<(), String> {
    if port == listed {
        return Ok(());
    }
    Err(format!(
        "{name} is {port}, but the members list tells everybody {listed} for node {node}; make them equal, \
         or leave {name} out"
    ))
}

/// The address to listen on: the given one, else this member's host, which must be an IP address then.
pub(super) fn listen_address(given: Option<IpAddr>, own: &Member) -> Result<IpAddr, String> {
    match given {
        Some(given) => Ok(given),
        None => own.host.parse().map_err(|_| {
            format!(
                "the host of node {} is the name \"{}\", so node.listen must say which IP address to listen \
                 on",
                own.id, own.host
            )
        }),
    }
}

/// All ports exist, and no two listeners on one host use the same port.
pub(super) fn ports_are_apart(members: &[Member]) -> Result<(), String> {
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
