//! Links to a folder that they lie in: followed, they go round, and give one class the images of all.

use std::ffi::OsStr;
use std::path::Path;

use super::listing::Listing;

/// The folders in a folder below `root`, but for links to it or to one above it, which are told if `is_told`. Only where a folder may have
/// links in it is there anything to ask the system.
pub(super) fn below<'a>(
    root: &Path,
    folder: &Path,
    listing: &'a Listing,
    is_told: bool,
) -> Vec<&'a OsStr> {
    let mut found: Vec<&OsStr> = listing.folders().collect();
    if found.is_empty() || !listing.may_have_links() {
        return found;
    }
    let full = root.canonicalize();
    let above: Vec<Id> = folder
        .ancestors()
        .map(|folder| root.join(folder))
        .chain(full.iter().flat_map(|root| root.ancestors().skip(1).map(Path::to_path_buf)))
        .filter_map(|folder| id(&folder))
        .collect();
    found.retain(|name| {
        let path = root.join(folder).join(name);
        let leads_above = id(&path).is_some_and(|id| above.contains(&id));
        if leads_above && is_told {
            let problem = "is a link to a folder it lies in; it is left out";
            crate::complain("warning", &format!("{} {problem}", path.display()));
        }
        !leads_above
    });
    found
}

/// What a folder is called by the system, by whatever path.
type Id = (u64, u64);

#[cfg(unix)]
fn id(folder: &Path) -> Option<Id> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(folder).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Not known: such a link is followed as deep as folders are.
#[cfg(not(unix))]
fn id(_: &Path) -> Option<Id> {
    None
}
