//! What `mira-train assign` refuses: exit code 2, one line on stderr, and not a byte changed on disk.

use super::support::{Order, Sandbox, npy, with_header};

const NAN: f64 = f64::NAN;
const INF: f64 = f64::INFINITY;

/// Runs with both outputs present beforehand, and checks that the refusal left everything alone.
#[track_caller]
fn refused(sandbox: &Sandbox, logits: &str, flags: &[&str], words: &[&str]) {
    sandbox.write("w.npy", b"precious W");
    sandbox.write("r.json", b"precious R");
    let before = sandbox.files();
    let outputs = ["--out", "w.npy", "--report", "r.json"];
    sandbox.run(logits, &[flags, &outputs].concat()).is_refused(words);
    assert_eq!(sandbox.files(), before);
    assert_eq!(sandbox.read("w.npy"), b"precious W");
    assert_eq!(sandbox.read("r.json"), b"precious R");
}

fn header(descr: &str, shape: &str) -> Vec<u8> {
    with_header(&format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"))
}

#[test]
fn files_that_are_no_logits() {
    let good = npy("<f4", Order::C, (2, 3), &[0.0; 6]);
    let mut longer = good.clone();
    longer.extend(b"tail");
    let mut future = good.clone();
    future[6] = 4;
    let mut boastful = b"\x93NUMPY\x02\x00".to_vec();
    boastful.extend(u32::MAX.to_le_bytes());
    let huge = "(18446744073709551615, 18446744073709551615)";
    let files: &[(&str, Vec<u8>, &[&str])] = &[
        ("empty file", vec![], &["not a .npy file"]),
        ("text", b"0.1,0.2\n0.3,0.4\n".to_vec(), &["not a .npy file", "numpy.save"]),
        ("zip", b"PK\x03\x04 and so on, an .npz".to_vec(), &["not a .npy file"]),
        ("magic alone", b"\x93NUMPY".to_vec(), &["not a .npy file"]),
        ("no header", good[..9].to_vec(), &["header is damaged", "ends early"]),
        ("half a header", good[..40].to_vec(), &["header is damaged", "ends early"]),
        ("header of 4 GB", boastful, &["header is damaged", "4294967295"]),
        ("version 4", future, &["version 1, 2 or 3, got 4"]),
        ("truncated", good[..good.len() - 1].to_vec(), &["24 bytes", "got 23", "truncated"]),
        ("no data", header("'<f8'", "(1000, 1000)"), &["8000000 bytes", "got 0", "truncated"]),
        ("terabytes", header("'<f4'", "(1000000, 1000000)"), &["4000000000000", "truncated"]),
        ("beyond u128", header("'<f8'", huge), &["truncated"]),
        ("garbage after", longer, &["24 bytes", "got 28", "has more after its array"]),
        ("0-D", header("'<f4'", "()"), &["2-D", "0-D", "()"]),
        ("1-D", header("'<f4'", "(6,)"), &["2-D", "1-D", "(6,)"]),
        ("3-D", header("'<f4'", "(1, 2, 3)"), &["2-D", "3-D", "(1, 2, 3)"]),
        ("no rows", header("'<f4'", "(0, 3)"), &["0 rows × 3 prototypes"]),
        ("no columns", header("'<f4'", "(3, 0)"), &["3 rows × 0 prototypes"]),
        ("i8", header("'<i8'", "(2, 3)"), &["dtype <i8", "astype('float32')"]),
        ("bool", header("'|b1'", "(2, 3)"), &["dtype |b1"]),
        ("complex", header("'<c8'", "(2, 3)"), &["dtype <c8"]),
        ("objects", header("'|O'", "(2, 3)"), &["dtype |O"]),
        ("long double", header("'<f16'", "(2, 3)"), &["dtype <f16"]),
        ("records", header("[('a', '<f4')]", "(2, 3)"), &["structured array"]),
        ("escapes", header("'\x1b[2J\r\n'", "(2, 3)"), &["\\u{1b}[2J\\r\\n"]),
    ];
    let sandbox = Sandbox::new();
    for (name, bytes, words) in files {
        println!("{name}");
        sandbox.write("s.npy", bytes);
        refused(&sandbox, "s.npy", &[], &[words, &["s.npy: "][..]].concat());
    }
    refused(&sandbox, "missing.npy", &[], &["cannot read missing.npy", "No such file"]);
    std::fs::create_dir(sandbox.path("folder.npy")).unwrap();
    refused(&sandbox, "folder.npy", &[], &["folder.npy: expected a .npy file, got a directory"]);
    #[cfg(unix)]
    {
        let _socket = std::os::unix::net::UnixListener::bind(sandbox.path("socket")).unwrap();
        refused(&sandbox, "socket", &[], &["socket: expected a .npy file, got a pipe or device"]);
    }
    sandbox.write("two\nlines.npy", b"");
    refused(&sandbox, "two\nlines.npy", &[], &["two\\nlines.npy: not a .npy file"]);
}

#[test]
fn logits_that_are_not_numbers_are_named_by_row_and_column() {
    let sandbox = Sandbox::new();
    for order in [Order::C, Order::Fortran] {
        for descr in ["<f2", ">f4", "<f8"] {
            for (value, text) in [(NAN, "is NaN"), (INF, "is inf")] {
                let mut logits = [0.25; 12];
                logits[2 * 4 + 1] = value;
                sandbox.write("s.npy", &npy(descr, order, (3, 4), &logits));
                refused(&sandbox, "s.npy", &[], &["s.npy: logit at row 2, column 1", text]);
            }
        }
    }
    sandbox.write("s.npy", &npy("<f4", Order::C, (2, 2), &[0.1, 0.2, -INF, -INF]));
    refused(&sandbox, "s.npy", &[], &["row 1 has no finite logit"]);
}

#[test]
fn flags_out_of_range_or_out_of_place() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["--beta", "1"], &["beta must be in [0, 1), got 1"]),
        (&["--beta", "-0.5"], &["beta must be in [0, 1), got -0.5"]),
        (&["--beta", "nan"], &["beta", "NaN"]),
        (&["--temperature", "0"], &["temperature must be a positive finite number, got 0"]),
        (&["--temperature", "1e-300"], &["kernel's scale"]),
        (&["--method", "sinkhorn", "--epsilon", "0"], &["epsilon must be", "got 0"]),
        (&["--method", "sinkhorn", "--epsilon", "-1"], &["epsilon must be", "got -1"]),
        (&["--method", "sinkhorn", "--iterations", "0"], &["at least 1 sweep"]),
        (&["--method", "softmax", "--temperature", "inf"], &["temperature", "got inf"]),
        (&["--tolerance", "0"], &["tolerance must be", "got 0"]),
        (&["--tolerance", "small"], &["'small'", "--tolerance"]),
        (&["--iterations", "-3"], &["'-3'", "--iterations"]),
        (&["--iterations", "1.5"], &["'1.5'", "--iterations"]),
        (&["--iterations", "99999999999999999999"], &["--iterations"]),
        (&["--max-sweeps", "0"], &["'0'", "--max-sweeps"]),
        (&["--iterations", "3", "--tolerance", "1e-3"], &["'--iterations", "'--tolerance"]),
        (&["--iterations", "3", "--max-sweeps", "9"], &["'--iterations", "'--max-sweeps"]),
        (&["--epsilon", "0.05"], &["--epsilon does not apply to mira"]),
        (&["--method", "sinkhorn", "--temperature", "1"], &["--temperature does not apply"]),
        (&["--method", "sinkhorn", "--beta", "0.5"], &["--beta does not apply to sinkhorn"]),
        (&["--method", "softmax", "--beta", "0.5"], &["--beta does not apply to softmax"]),
        (&["--method", "softmax", "--epsilon", "0.5"], &["--epsilon does not apply to softmax"]),
        (&["--method", "softmax", "--iterations", "3"], &["--iterations does not apply"]),
        (&["--method", "softmax", "--tolerance", "0.1"], &["--tolerance does not apply"]),
        (&["--method", "softmax", "--max-sweeps", "9"], &["--max-sweeps does not apply"]),
        (&["--method", "sinkhron"], &["'sinkhron'", "sinkhorn"]),
        (&["--backend", "quantum"], &["'quantum'", "reference"]),
        (&["--bta", "0.5"], &["'--bta'", "'--beta'"]),
        (&["another.npy"], &["'another.npy'"]),
    ];
    let sandbox = Sandbox::with_logits();
    for (flags, words) in cases {
        println!("{flags:?}");
        refused(&sandbox, "s.npy", flags, words);
    }
    for args in [&[][..], &["assign"], &["asign", "s.npy"]] {
        sandbox.command(args).is_refused(&["--help"]);
    }
}

#[test]
fn outputs_that_cannot_be() {
    let sandbox = Sandbox::with_logits();
    let input = sandbox.read("s.npy");
    std::fs::create_dir(sandbox.path("folder")).unwrap();
    let mut cases: Vec<(&[&str], &[&str])> = vec![
        (&["--out", "s.npy"], &["LOGITS.npy and --out are the same file"]),
        (&["--report", "folder/../s.npy"], &["LOGITS.npy and --report are the same file"]),
        (&["--out", "x", "--report", "./x"], &["--out and --report are the same file"]),
        (&["--out", "-"], &["cannot write --out to -", "stdout"]),
        (&["--out", "folder"], &["cannot write --out to folder", "directory"]),
        (&["--out", "folder/.."], &["cannot write --out"]),
        (&["--out", "w.npy/"], &["cannot write --out to w.npy/", "names a folder"]),
        (&["--out", ""], &["--out", "none was supplied"]),
        (&["--report", "nowhere/r.json"], &["cannot write --report to nowhere/r.json"]),
        (&["--report", "s.npy/r.json"], &["cannot write --report to s.npy/r.json"]),
    ];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("s.npy", sandbox.path("link")).unwrap();
        std::os::unix::fs::symlink("nothing", sandbox.path("dangling")).unwrap();
        cases.push((&["--out", "link"], &["LOGITS.npy and --out are the same file"]));
        cases.push((&["--out", "dangling"], &["symbolic link to nothing"]));
        // Stands for /dev/null, which a test must not risk: the superuser could rename over it.
        std::os::unix::net::UnixListener::bind(sandbox.path("socket")).unwrap();
        cases.push((&["--out", "socket"], &["not a regular file"]));
    }
    if cfg!(target_os = "linux") {
        // A directory in which nobody can make a file, the superuser included.
        cases.push((&["--out", "/proc/w.npy"], &["cannot write --out to /proc/w.npy"]));
    }
    let before = sandbox.files();
    for (flags, words) in cases {
        println!("{flags:?}");
        sandbox.run("s.npy", flags).is_refused(words);
        assert_eq!(sandbox.files(), before);
        assert_eq!(sandbox.read("s.npy"), input);
    }
    // Found before the logits are read: the complaint is about the output.
    sandbox.run("missing.npy", &["--out", "nowhere/w.npy"]).is_refused(&["--out to nowhere"]);
}
