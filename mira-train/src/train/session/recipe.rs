//! What there is to see to with a session's recipe.

use serde_json::json;

use crate::recipe::Recipe;
use crate::run_folder::{MetricsLog, RunFolder, check_resume};
use crate::train::Error;

/// Has a run's log and then its folder say with which recipe the run goes on: once the folder has it, nothing tells what was new in it.
pub(super) fn adopt(
    folder: &RunFolder,
    recipe: &Recipe,
    metrics: &mut MetricsLog,
    step: u64,
) -> Result<(), Error> {
    let origin = folder.path().join("recipe.toml").display().to_string();
    let saved = Recipe::from_toml(&folder.recipe()?, &origin)
        .map_err(|error| Error::Recipe(Box::new(error)))?;
    let changes = check_resume(folder.path(), &saved.to_json(), &recipe.to_json())?;
    if changes.is_empty() {
        return Ok(());
    }
    let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
    metrics.append(&json!({ "kind": "recipe", "step": step, "changes": changes }))?;
    metrics.sync()?;
    Ok(folder.set_recipe(&recipe.to_toml())?)
}

/// What there is to say of prototypes that never move.
pub(crate) fn frozen_for_ever(recipe: &Recipe) -> Option<String> {
    let (frozen, epochs) = (recipe.prototypes.as_ref()?.freeze_epochs, recipe.schedule.epochs);
    (frozen >= epochs as f64).then(|| {
        format!("prototypes.freeze_epochs is {frozen} of {epochs} epochs: the prototypes never move; lower it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prototypes_that_never_move_are_warned_of() {
        let warning = |frozen: &str| {
            let settings =
                [format!("prototypes.freeze_epochs={frozen}"), "schedule.epochs=5".into()];
            let recipe = Recipe::builtin("default").unwrap().with_overrides(&settings).unwrap();
            frozen_for_ever(&recipe)
        };
        assert_eq!(warning("4.5"), None);
        assert!(warning("5").unwrap().contains("prototypes.freeze_epochs is 5 of 5"));
    }
}
