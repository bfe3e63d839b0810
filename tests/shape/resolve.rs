//! Resolves a path to its module or item.

use super::modules::Crate;
use std::collections::BTreeSet;

/// The target of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Target {
    /// A module of the crate.
    Module(usize),
    /// An item that this module defines.
    Item(usize),
}

/// The target of `path` in `module`; nothing if it leads out of the crate.
pub(super) fn resolve(of: &Crate, module: usize, path: &[String]) -> Option<Target> {
    resolve_from(of, module, path, &mut BTreeSet::new())
}

fn resolve_from(
    of: &Crate,
    module: usize,
    path: &[String],
    seen: &mut BTreeSet<(usize, String)>,
) -> Option<Target> {
    let mut current = module;
    for name in path {
        current = match name.as_str() {
            "crate" => 0,
            "self" => current,
            "super" => of.modules[current].parent?,
            name => match name_in(of, current, name, seen)? {
                Target::Module(child) => child,
                // The rest of the path names a variant or a function of the item.
                item @ Target::Item(_) => return Some(item),
            },
        };
    }
    Some(Target::Module(current))
}

fn name_in(of: &Crate, module: usize, name: &str, seen: &mut BTreeSet<(usize, String)>) -> Option<Target> {
    let place = (module, name.to_owned());
    if !seen.insert(place.clone()) {
        return None;
    }
    let found = look_up(of, module, name, seen);
    seen.remove(&place);
    found
}

fn look_up(of: &Crate, at: usize, name: &str, seen: &mut BTreeSet<(usize, String)>) -> Option<Target> {
    let module = &of.modules[at];
    if let Some(&child) = module.children.get(name) {
        return Some(Target::Module(child));
    }
    if module.items.contains(name) {
        return Some(Target::Item(at));
    }
    let named = module.imports.iter().filter(|import| import.name == name);
    // `use name;` names another crate; resolving it would come back to itself.
    let named = named.filter(|import| import.path.len() > 1);
    for import in named {
        if let Some(found) = resolve_from(of, at, &import.path, seen) {
            return Some(found);
        }
    }
    for import in module.imports.iter().filter(|import| import.name == "*") {
        if let Some(Target::Module(from)) = resolve_from(of, at, &import.path, seen)
            && let Some(found) = name_in(of, from, name, seen)
        {
            return Some(found);
        }
    }
    None
}
