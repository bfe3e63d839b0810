//! Reads the `[[members]]` of a file.

use super::raw::{RawMember, Sourced};
use super::relations;
use super::row::{DefaultValue, Setting};
use super::settings::{
    MEMBER_CLIENT_PORT, MEMBER_CORE_PORT_BASE, MEMBER_CORES, MEMBER_HOST, MEMBER_ID, MEMBER_PEER_PORT,
};
use super::shape::Shape;
use crate::node::Member;
use crate::refusal::Refusal;
use synod_types::NodeId;

/// The members of the file at `place`, ascending by id. A member without a number of cores gets `node_cores`.
pub(super) fn read(
    raw: &[RawMember],
    node_cores: Option<&Sourced<u16>>,
    place: &str,
) -> Result<Vec<Member>, Refusal> {
    let invalid = |why: String| Refusal::ConfigInvalid { place: place.to_owned(), why };
    let mut members = raw.iter().map(|raw| read_one(raw, node_cores)).collect::<Result<Vec<_>, _>>()?;
    members.sort_by_key(|member| member.id);
    relations::members_fit_each_other(&members).map_err(invalid)?;
    if let (Some(given), Some(first)) = (node_cores, members.first()) {
        relations::cores_are_as_listed(given.value, first.cores)
            .map_err(|why| Refusal::ConfigValue { place: given.place.clone(), why })?;
    }
    relations::ports_are_apart(&members).map_err(invalid)?;
    Ok(members)
}

fn read_one(raw: &RawMember, node_cores: Option<&Sourced<u16>>) -> Result<Member, Refusal> {
    let host = value(raw, &MEMBER_HOST)?;
    let cores = MEMBER_CORES.given(&raw.value)?;
    let core_port_base = value(raw, &MEMBER_CORE_PORT_BASE)?;
    Ok(Member {
        id: NodeId::new(value(raw, &MEMBER_ID)?),
        host,
        client_port: value(raw, &MEMBER_CLIENT_PORT)?,
        core_port_base,
        peer_port: value(raw, &MEMBER_PEER_PORT)?,
        cores: cores.as_ref().or(node_cores).map_or(1, |cores| cores.value),
    })
}

/// The file's value for one key of a member, or the default if there is one.
fn value<S: Shape>(raw: &RawMember, setting: &Setting<S>) -> Result<S::Value, Refusal> {
    match setting.given(&raw.value)? {
        Some(given) => Ok(given.value),
        None if setting.row.default == DefaultValue::Required => Err(Refusal::ConfigInvalid {
            place: raw.place.clone(),
            why: format!("this member has no {}; add it", setting.row.key()),
        }),
        None => Ok(setting.default_value()),
    }
}
