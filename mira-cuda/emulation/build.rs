//! Compiles every kernel of `mira-cuda` and of our own tests as C++, with the scheduler that runs them.
//!
//! Each `.cu` file becomes a unit of its own inside an unnamed namespace, so that structs and functions of one name in two files do not
//! meet. The units are named once in a generated function, for a linker takes from a library only what is asked for.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

fn main() {
    println!("cargo:rerun-if-env-changed=MIRA_EMULATION_LEFT_OUT");
    if env::var_os("MIRA_EMULATION_LEFT_OUT").is_some() {
        return; // for what checks types and links nothing
    }
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap());
    let folders = [here.join("../src"), here.join("kernels"), here.join("src")];
    for folder in &folders {
        println!("cargo:rerun-if-changed={}", folder.display());
    }

    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .opt_level(2)
        .include(&folders[0])
        .include(&folders[2])
        // Results must not depend on which operations the compiler happens to fuse; `fmaf` is fused everywhere.
        .flag("-ffp-contract=off")
        .flag_if_supported("-Wno-unused-function")
        .flag_if_supported("-Wno-unused-const-variable")
        .flag_if_supported("-Wno-unknown-pragmas")
        .file(here.join("src/fibre.cpp"))
        .file(here.join("src/scheduler.cpp"));
    if hardware_fma() {
        build.flag_if_supported("-mfma"); // otherwise a call of the C library's, which is correct as well
    }
    if env::var_os("MIRA_EMULATION_UCONTEXT").is_some() {
        build.define("EMULATION_FORCE_UCONTEXT", None);
    }
    println!("cargo:rerun-if-env-changed=MIRA_EMULATION_UCONTEXT");
    require_compiler(&build);

    let mut declarations = String::new();
    let mut calls = String::new();
    for (i, kernel) in kernels(&folders[..2]).iter().enumerate() {
        let unit = out.join(format!("unit_{i}.cpp"));
        let path = kernel.canonicalize().unwrap();
        write_if_changed(
            &unit,
            &format!(
                "#include \"device.cuh\"\nnamespace {{\n#include \"{}\"\n}}\nextern \"C\" void mira_emulation_unit_{i}() {{}}\n",
                path.display()
            ),
        );
        build.file(unit);
        writeln!(declarations, "extern \"C\" void mira_emulation_unit_{i}();").unwrap();
        writeln!(calls, "    mira_emulation_unit_{i}();").unwrap();
    }
    let link = out.join("link.cpp");
    write_if_changed(
        &link,
        &format!("{declarations}extern \"C\" void mira_emulation_link_kernels() {{\n{calls}}}\n"),
    );
    build.file(link).compile("mira_cuda_emulation");
}

/// The `.cu` files below `folders`, in the order of their paths.
fn kernels(folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = folders.to_vec();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "cu") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Whether the code will run on this machine and this machine has the instruction.
fn hardware_fma() -> bool {
    #[cfg(target_arch = "x86_64")]
    return env::var("HOST") == env::var("TARGET") && std::arch::is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    return false; // aarch64 always has it, and compilers know
}

fn require_compiler(build: &cc::Build) {
    if env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|f| f != "unix") {
        stop("the emulator runs on Linux and macOS only: its fibres need `mmap`");
    }
    let found = build.try_get_compiler();
    let runs = found.as_ref().is_ok_and(|tool| {
        Command::new(tool.path()).arg("--version").output().is_ok_and(|o| o.status.success())
    });
    if !runs {
        let tried = found.map_or_else(|e| e.to_string(), |tool| tool.path().display().to_string());
        stop(&format!(
            "the tests of the CUDA kernels run them as C++17, and no C++ compiler was found (tried: {tried}).\n\
             Install one: `apt install g++`, `dnf install gcc-c++`, `xcode-select --install` on macOS; or set CXX to yours.\n\
             The libraries and the trainer build without; only tests need it."
        ));
    }
}

fn stop(message: &str) -> ! {
    eprintln!("error: {message}");
    exit(1)
}

/// Leaves the file's time alone when nothing changed.
fn write_if_changed(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return;
    }
    fs::write(path, text).unwrap();
}
