//! Texts: what a module declares, and what is none or is not known.

use mira_ptx::{Module, Refused};

const PTX: &str = "// made by hand\n.version 9.0\n.target sm_80\n.address_size 64\n.global .align 4 .b8 table[8] = {1, 2};\n\
    .func (.param .b32 r) helper(\n.param .b64 x\n)\n{ ret; }\n\
    .visible .entry one(\n\t.param .align 8 .b8 one_param_0[200]\n)\n.maxntid 512, 1, 1\n.minnctapersm 1\n{\n ret;\n}\n\
    .entry two(\n\t.param .u64 two_param_0,\n\t.param .f32 two_param_1,\n\t.param .align 2 .b8 two_param_2[6]\n)\n{\n ret;\n}\n";

#[test]
fn kernels_as_declared() {
    let module = Module::new(PTX).unwrap();
    assert_eq!(module.version(), (9, 0));
    let found: Vec<_> = module.kernels().map(|k| (k.name, k.params, k.max_threads)).collect();
    assert_eq!(
        found,
        [("one".to_owned(), vec![200], 512), ("two".to_owned(), vec![8, 4, 6], 1024)]
    );
}

#[test]
fn other_files_are_refused() {
    for text in ["", "\u{7f}ELF", &PTX.replace(".target sm_80", ""), &PTX.replace("9.0", "new")] {
        Module::new(text).expect_err(text);
    }
    let open = PTX.trim_end().trim_end_matches('}');
    assert_eq!(
        Module::new(open).unwrap_err().line,
        u32::try_from(open.lines().count()).unwrap() + 1,
        "at the end"
    );
}

#[test]
fn what_is_not_known_is_said_with_its_line() {
    let module =
        Module::new(&PTX.replace("\n ret;", "\n wmma.load.a {%r1}, [%rd2];\n ret;")).unwrap();
    let Err(Refused::Unsupported { line, text }) = module.program("two") else {
        panic!("nobody knows it")
    };
    assert_eq!(text, "wmma.load.a {%r1}, [%rd2]");
    assert_eq!(line as usize, PTX.lines().count());
    assert!(matches!(module.program("three"), Err(Refused::Unknown { .. })));
}
