//! Texts: what a module declares, and what is none or is not known.

use mira_ptx::{Module, Refused};

use super::{ONE_WARP, Size, launch_module};

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

/// Variables of the device lie where whoever loads the module says, and begin as zeros; others have values that nobody reads here.
#[test]
fn variables_of_the_device() {
    let text = ".version 8.0\n.target sm_80\n.global .align 4 .b8 table[8] = {1, 2};\n.visible .global .align 8 .u64 sum;\n\
                .global .align 8 .b8 many[24];\n.visible .entry k(.param .u64 p)\n{\n.reg .b64 %rd<4>;\nmov.u64 %rd1, many;\n\
                cvta.global.u64 %rd1, %rd1;\nld.u64 %rd2, [%rd1+16];\nst.global.u64 [sum], %rd2;\nret;\n}\n";
    let mut module = Module::new(text).unwrap();
    let globals: Vec<_> = module.globals().map(|(name, len)| (name.to_owned(), len)).collect();
    assert_eq!(globals, [("sum".to_owned(), 8), ("many".to_owned(), 24)]);
    assert!(matches!(module.program("k"), Err(Refused::Unsupported { .. })), "nobody said where");
    let mut memory = [0, 0, 0, 7];
    let start = memory.as_mut_ptr().expose_provenance() as u64;
    module.place("sum", start);
    module.place("many", start + 8);
    // As the kernel's parameter, what it is given is of no use to it.
    launch_module(&module, &mut memory, Size { threads: 1, ..ONE_WARP }).unwrap();
    assert_eq!(memory, [7, 0, 0, 7]);
    let of_table = Module::new(&text.replace("[sum]", "[table]")).unwrap();
    assert!(matches!(of_table.program("k"), Err(Refused::Unsupported { .. })));
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
