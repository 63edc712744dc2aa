//! `mira-train export`: a run's weights for other programs.

use super::load_run;
use crate::Error;
use crate::cli::export::{ExportArgs, ExportFormat};
use crate::model::{Network, weights_of};
use crate::train;

/// Runs `mira-train export` and returns what to print.
///
/// # Errors
/// Every [`Error`].
pub fn run(args: &ExportArgs) -> Result<String, Error> {
    let (recipe, network, state) = load_run(&args.run)?;
    let mut weights = match args.format {
        ExportFormat::Torchvision => {
            weights_of(&network, &state.student, &state.running, Network::is_encoder)
        }
        ExportFormat::Safetensors => weights_of(&network, &state.student, &state.running, |_| true),
    }
    .map_err(train::Error::from)?;
    if let (ExportFormat::Safetensors, Some(teacher)) = (args.format, &state.teacher) {
        // The teacher has no statistics of its own, and takes the student's prototypes, but for DINO, which compares the heads of both.
        let has_prototypes = recipe.objective.name == crate::objective::dino::METHOD.name;
        let wanted = |name: &str| has_prototypes || name != crate::model::PROTOTYPES;
        let teacher =
            weights_of(&network, teacher, &state.running, wanted).map_err(train::Error::from)?;
        for (name, tensor) in teacher.iter().filter(|(name, _)| !name.contains(".running_")) {
            weights
                .insert(format!("teacher.{name}"), &tensor.shape, tensor.values.clone())
                .map_err(train::Error::from)?;
        }
    }
    weights.metadata.insert("step".into(), state.step.to_string());
    weights.metadata.insert("recipe_hash".into(), format!("{:016x}", recipe.hash()));
    weights.write(&args.out).map_err(train::Error::from)?;
    Ok(format!("{} tensors after step {} in {}\n", weights.len(), state.step, args.out.display()))
}
