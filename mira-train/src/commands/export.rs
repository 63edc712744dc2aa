//! `mira-train export`: a run's weights for other programs.

use super::{Run, chosen, load_run};
use crate::Error;
use crate::cli::export::{ExportArgs, ExportFormat};
use crate::model::{Network, weights_of};
use crate::train::{self, Which};

/// Runs `mira-train export` and returns what to print.
///
/// # Errors
/// Every [`Error`].
pub fn run(args: &ExportArgs) -> Result<String, Error> {
    let Run { recipe, network, networks: state, .. } = load_run(&args.run)?;
    if let (ExportFormat::Safetensors, Some(which)) = (args.format, args.network) {
        return Err(Error::Usage(format!(
            "--network {} does not go with --format safetensors, which writes all networks; leave it out, or choose --format torchvision",
            which.name()
        )));
    }
    if args.out.extension().is_none_or(|end| end != "safetensors") {
        return Err(Error::Usage(format!(
            "--out {} is to be a file of safetensors, which torch.load does not read; name it {}, and load it with safetensors.torch.load_file",
            args.out.display(),
            args.out.with_extension("safetensors").display()
        )));
    }
    let mut metadata = None;
    let mut weights = match args.format {
        ExportFormat::Torchvision => {
            let (which, values, running) = chosen(&state, args.network, &recipe, &args.run)?;
            metadata = Some(which.name());
            weights_of(&network, values, running, Network::is_encoder)
        }
        ExportFormat::Safetensors => weights_of(&network, &state.student, &state.running, |_| true),
    }
    .map_err(train::Error::from)?;
    if let (ExportFormat::Safetensors, Some((values, running))) =
        (args.format, state.of(Which::Teacher))
    {
        // The teacher takes the student's prototypes, but for DINO, which compares the heads of both.
        let has_prototypes = recipe.objective.name == crate::objective::dino::METHOD.name;
        let wanted = |name: &str| has_prototypes || name != crate::model::PROTOTYPES;
        let teacher = weights_of(&network, values, running, wanted).map_err(train::Error::from)?;
        for (name, tensor) in teacher.iter() {
            weights
                .insert(format!("teacher.{name}"), &tensor.shape, tensor.values.clone())
                .map_err(train::Error::from)?;
        }
    }
    weights.metadata.insert("step".into(), state.step.to_string());
    if let Some(name) = metadata {
        weights.metadata.insert("network".into(), name.into());
    }
    weights.metadata.insert("recipe_hash".into(), format!("{:016x}", recipe.hash()));
    weights.write(&args.out).map_err(train::Error::from)?;
    Ok(format!("{} tensors after step {} in {}\n", weights.len(), state.step, args.out.display()))
}
