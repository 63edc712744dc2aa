//! Paths of a recipe. They are relative to the folder in which a command is given, as those on its command line; a run's folder has them in
//! full, so that it may be resumed from anywhere. (What a recipe `extends` is relative to its own file, since both belong together.)

use std::path::{Path, PathBuf};

use super::Recipe;
use crate::data::{Classes, is_url};

impl Recipe {
    /// This recipe with paths that lead to the same places from any folder; addresses stay as they are.
    #[must_use]
    pub fn with_full_paths(mut self) -> Self {
        let data = &mut self.data;
        for path in [&mut data.path, &mut data.label_list] {
            *path = path.as_deref().map(full);
        }
        if let Some(Classes::List(path)) = &mut data.classes {
            *path = full(path);
        }
        self
    }
}

/// The path from the root; as it is where the present folder is gone, from which no relative path leads anywhere.
fn full(path: &Path) -> PathBuf {
    let full = if is_url(path) { None } else { std::path::absolute(path).ok() };
    full.unwrap_or_else(|| path.to_path_buf())
}
