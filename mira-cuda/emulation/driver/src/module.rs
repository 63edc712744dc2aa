//! What a module of PTX says of its kernels.

/// A kernel as its PTX declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    pub(crate) name: String,
    /// Bytes of each parameter.
    pub(crate) params: Vec<usize>,
    /// `.maxntid`
    pub(crate) max_threads: u32,
}

/// A version of PTX.
pub(crate) type Version = (u32, u32);

/// The newest that drivers of CUDA 13.0 know.
pub(crate) const NEWEST: Version = (9, 0);

/// Why a module is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Version,
    Image,
}

/// The kernels of a module.
pub(crate) fn kernels(ptx: &str, newest: Version) -> Result<Vec<Kernel>, Refused> {
    let directive = |name| ptx.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if directive(".version").and_then(version).ok_or(Refused::Image)? > newest {
        return Err(Refused::Version);
    }
    directive(".target").ok_or(Refused::Image)?;
    ptx.split(".entry ").skip(1).map(kernel).collect()
}

/// Of `9.0`.
pub(crate) fn version(text: &str) -> Option<Version> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// What follows `.entry`.
fn kernel(text: &str) -> Result<Kernel, Refused> {
    let (head, _) = text.split_once('{').ok_or(Refused::Image)?;
    let (name, rest) = head.split_once('(').ok_or(Refused::Image)?;
    let (params, directives) = rest.split_once(')').ok_or(Refused::Image)?;
    let params = params.split(',').map(str::trim).filter(|p| !p.is_empty()).map(bytes);
    let max_threads = directives
        .split_once(".maxntid")
        .and_then(|(_, threads)| {
            threads.split(|c: char| c == ',' || c.is_whitespace()).find(|w| !w.is_empty())
        })
        .map_or(Ok(1024), |threads| threads.parse().map_err(|_| Refused::Image))?;
    Ok(Kernel {
        name: name.trim().to_string(),
        params: params.collect::<Result<_, _>>()?,
        max_threads,
    })
}

/// Of `.param .align 8 .b8 name[72]` or `.param .u64 name`.
fn bytes(declaration: &str) -> Result<usize, Refused> {
    let bits = declaration
        .split_whitespace()
        .filter_map(|word| word.strip_prefix(['.']))
        .find_map(|word| word.strip_prefix(['b', 'u', 's', 'f'])?.parse::<usize>().ok())
        .ok_or(Refused::Image)?;
    let count = match declaration.split_once('[') {
        Some((_, count)) => count.trim_end_matches(']').parse().map_err(|_| Refused::Image)?,
        None => 1,
    };
    Ok(bits / 8 * count)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PTX: &str = "// made by hand\n.version 9.0\n.target sm_80\n.address_size 64\n\
        .func (.param .b32 r) helper(\n.param .b64 x\n)\n{ ret; }\n\
        .visible .entry one(\n\t.param .align 8 .b8 one_param_0[200]\n)\n.maxntid 512, 1, 1\n.minnctapersm 1\n{\n ret;\n}\n\
        .entry two(\n\t.param .u64 two_param_0,\n\t.param .f32 two_param_1,\n\t.param .align 2 .b8 two_param_2[6]\n)\n{\n ret;\n}\n";

    #[test]
    fn kernels_as_declared() {
        let one = Kernel { name: "one".into(), params: vec![200], max_threads: 512 };
        let two = Kernel { name: "two".into(), params: vec![8, 4, 6], max_threads: 1024 };
        assert_eq!(kernels(PTX, NEWEST).unwrap(), [one, two]);
    }

    #[test]
    fn newer_versions_and_other_files_are_refused() {
        assert_eq!(kernels(&PTX.replace("9.0", "9.1"), NEWEST), Err(Refused::Version));
        assert_eq!(kernels("\u{7f}ELF", NEWEST), Err(Refused::Image));
        assert_eq!(kernels(&PTX.replace(".target sm_80", ""), NEWEST), Err(Refused::Image));
    }
}
